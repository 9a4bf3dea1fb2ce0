/* What each command does; table.c says how each is called. One file cmd_NAME.c a command. */
#pragma once

#include "cli/cli.h"

hn_status hn_cmd_help(hn_cli *cli, hn_error *err);
hn_status hn_cmd_pull(hn_cli *cli, hn_error *err);
