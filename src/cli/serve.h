/* What `hone serve` serves: the models of its arguments as an app of serve/server.h. */
#pragma once

#include "cli/cli.h"
#include "serve/server.h"

enum { HN_CLI_SERVE_MAX_MODELS = 32 };

typedef struct hn_cli_serve hn_cli_serve;

/* Options about models and how they are computed. */
extern const hn_option HN_CLI_SERVE_OPTIONS[];

/* Looks at the options, opens nothing; *app refers to *serve. */
HN_MUST_CHECK hn_status hn_cli_serve_new(hn_cli_serve **serve, hn_cli *cli, hn_serve_app *app,
                                         hn_error *err);
void hn_cli_serve_free(hn_cli_serve *serve);
/* Paths for the sandbox, NULL at the end. */
const char *const *hn_cli_serve_readable(const hn_cli_serve *serve);
const char *const *hn_cli_serve_writable(const hn_cli_serve *serve);
