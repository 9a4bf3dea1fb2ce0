/* The access log: a JSON object a line for each finished request. It holds no content: no path or
 * query (the route's pattern stands for them), no header, no body, no address. */
#pragma once

#include "http/server.h"

typedef struct hn_access_log hn_access_log;

/* `path` "-" = standard error; NULL = none, *log = NULL. */
HN_MUST_CHECK hn_status hn_access_log_open(hn_access_log **log, const char *path, hn_error *err);
/* Opens the file again, as logrotate expects; the old one stays where that fails. NULL is nothing.
 */
HN_MUST_CHECK hn_status hn_access_log_reopen(hn_access_log *log, hn_error *err);
/* Never waits: where nobody reads a pipe, lines are dropped. NULL is nothing. */
void hn_access_log_write(hn_access_log *log, const hn_http_record *record);
void hn_access_log_close(hn_access_log *log);
