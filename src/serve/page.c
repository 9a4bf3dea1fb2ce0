/* Serves the files of the web page, under a policy that lets it load and reach nothing but this
 * server, run no script but those files, and make no markup out of text. */
#include "serve/page.h"

#include <string.h>

static const char POLICY[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

/* Whether an If-None-Match names the tag; tags here are hexadecimal, so that none is part of
 * another. */
static bool is_known(const char *list, const char *etag) {
    return list && (strcmp(list, "*") == 0 || strstr(list, etag));
}

static void reply(hn_http_call *call, const hn_page_file *file) {
    const hn_http_field fields[] = {{"ETag", file->etag},
                                    {"Cache-Control", "no-cache"},
                                    {"Content-Security-Policy", POLICY},
                                    {"Referrer-Policy", "no-referrer"},
                                    {"Cross-Origin-Resource-Policy", "same-origin"},
                                    {0}};
    if (is_known(hn_http_header(call, "If-None-Match"), file->etag))
        hn_http_reply(call, 304, NULL, NULL, 0, fields);
    else
        hn_http_reply(call, 200, file->content_type, file->data, file->n_bytes, fields);
}

static void get_named(hn_http_call *call, const char *name) {
    for (size_t i = 0; i < HN_PAGE_N_FILES; i++)
        if (strcmp(HN_PAGE_FILES[i].name, name) == 0) {
            reply(call, &HN_PAGE_FILES[i]);
            return;
        }
    hn_http_fail(call, &(hn_http_problem){.status = 404, .code = "not_found"},
                 "the page has no such file");
}

static void get_index(hn_http_call *call, void *context) {
    (void)context;
    get_named(call, "index.html");
}

static void get_file(hn_http_call *call, void *context) {
    (void)context;
    get_named(call, hn_http_tail(call));
}

/* Also during a drain: a page loaded then can say what is going on. */
static const hn_http_route ROUTES[] = {
    {.method = "GET", .path = "/", .is_public = true, .while_draining = true, .handler = get_index},
    {.method = "GET",
     .path = "/page/*",
     .is_public = true,
     .while_draining = true,
     .handler = get_file},
};

hn_status hn_page_routes(hn_http_server *server, hn_error *err) {
    return hn_http_routes_add(server, ROUTES, sizeof ROUTES / sizeof *ROUTES, NULL, err);
}
