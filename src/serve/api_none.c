/* The API in a build without libevent: hn_serve_run says so before anybody gets here. */
#include "serve/api.h"

hn_status hn_api_new(hn_api **out, hn_http_server *server, hn_models *models,
                     const hn_api_options *options, hn_error *err) {
    (void)out, (void)server, (void)models, (void)options;
    return hn_fail(err, HN_UNSUPPORTED, "this hone was built without libevent");
}

void hn_api_free(hn_api *api) {
    (void)api;
}
