/* The web page of `hone serve`: its files lie in page/ and are built into the program. */
#pragma once

#include "http/server.h"

typedef struct hn_page_file {
    const char *name, *content_type;
    const char *etag; /* with its quotes */
    const unsigned char *data;
    size_t n_bytes;
} hn_page_file;

/* Made at build time by page/embed.py; index.html is the one at "/". */
extern const hn_page_file HN_PAGE_FILES[];
extern const size_t HN_PAGE_N_FILES;

/* Adds "/" and "/page/NAME". They need no key: nothing is in them that isn't in this repository. */
HN_MUST_CHECK hn_status hn_page_routes(hn_http_server *server, hn_error *err);
