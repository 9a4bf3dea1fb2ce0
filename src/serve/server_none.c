/* `hone serve` in a build without libevent. */
#include "serve/server.h"

hn_status hn_serve_run(const hn_serve_options *options, const hn_serve_app *app, hn_error *err) {
    (void)options;
    (void)app;
    return hn_fail(err, HN_UNSUPPORTED,
                   "this hone was built without libevent, so that it can't serve: install "
                   "libevent-dev and build it again (meson setup --reconfigure -Dserve=enabled)");
}
