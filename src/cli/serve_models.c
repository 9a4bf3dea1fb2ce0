/* The models that `hone serve` serves. */
#include "cli/serve.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli/session.h"

#include <string.h>

struct hn_cli_serve {
    hn_cli *cli;
    hn_session sessions[HN_CLI_SERVE_MAX_MODELS];
    int n_sessions;
    char *cache_dir, *weights_dir; /* or NULL */
    const char *readable[HN_CLI_SERVE_MAX_MODELS + 2], *writable[2];
};

static void close_models(hn_cli_serve *serve) {
    while (serve->n_sessions > 0)
        hn_session_done(&serve->sessions[--serve->n_sessions]);
}

static hn_status start(void *context, hn_http_server *server, hn_metrics *metrics, hn_error *err) {
    hn_cli_serve *serve = context;
    hn_status status = HN_OK;
    (void)server;
    for (int i = 0; status == HN_OK && hn_cli_arg(serve->cli, i); i++) {
        const char *path = hn_cli_arg(serve->cli, i);
        hn_model_metrics *m;
        HN_GO(hn_metrics_model(metrics, path, &m, err));
        HN_GO(hn_session_open_cached(&serve->sessions[i], serve->cli, path, HN_NUMERICS_INT8, false,
                                     err));
        serve->n_sessions++;
        hn_metrics_gauges(m, &(hn_model_gauges){.loaded = 1});
    }
done:
    if (status != HN_OK)
        close_models(serve);
    return status;
}

static void stop(void *context) {
    close_models(context);
}

hn_status hn_cli_serve_new(hn_cli_serve **out, hn_cli *cli, hn_serve_app *app, hn_error *err) {
    hn_cli_serve *serve = hn_calloc(1, sizeof *serve);
    if (!serve)
        return hn_fail_no_memory(err, sizeof *serve);
    int n = 0;
    serve->cli = cli;
    for (; hn_cli_arg(cli, n); n++)
        serve->readable[n] = hn_cli_arg(cli, n);
    if (hn_cli_cache_dir(&serve->cache_dir, NULL) == HN_OK) /* models there are links within it */
        serve->readable[n++] = serve->cache_dir;
    if (strcmp(hn_cli_text(cli, "weights-cache"), "off") != 0 &&
        hn_session_weights_dir(&serve->weights_dir, NULL) == HN_OK &&
        hn_dir_make(serve->weights_dir, NULL) == HN_OK)
        serve->writable[0] = serve->weights_dir;
    *app = (hn_serve_app){.context = serve, .start = start, .stop = stop};
    *out = serve;
    return HN_OK;
}

void hn_cli_serve_free(hn_cli_serve *serve) {
    if (!serve)
        return;
    hn_free(serve->cache_dir);
    hn_free(serve->weights_dir);
    hn_free(serve);
}

const char *const *hn_cli_serve_readable(const hn_cli_serve *serve) {
    return serve->readable;
}

const char *const *hn_cli_serve_writable(const hn_cli_serve *serve) {
    return serve->writable;
}

const hn_option HN_CLI_SERVE_OPTIONS[] = {
    {"weights-cache", 0, HN_OPT_CHOICE, "WHEN", "auto",
     "Keep the weights as they are laid out in memory in a file, which the next start maps; auto = "
     "from 64 MiB on, where disk and memory have plenty of room",
     "auto|on|off", 0, 0},
    {0},
};
