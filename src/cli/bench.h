/* What hone bench shows a person. */
#pragma once

#include "cli/cli.h"

/* The tests of hn_bench_run as a table, and how a sustained one went. `with_model`: a column says
 * which file each is of. */
HN_MUST_CHECK hn_status hn_bench_show(const hn_cli *cli, const json_t *tests, bool with_model,
                                      hn_error *err);
