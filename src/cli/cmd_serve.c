/* hone serve: models behind an OpenAI-compatible endpoint. */
#include "cli/commands.h"
#include "cli/serve.h"

#include "serve/server.h"

#include <stdlib.h>
#include <string.h>

static void on_ready(void *context, const char *address) {
    hn_cli_note(context, "listening on %s", address);
}

static void on_note(void *context, const char *text) {
    hn_cli_note(context, "%s", text);
}

static hn_http_options http_options(const hn_cli *cli) {
    const double mebibyte = 1 << 20;
    const char *host = hn_cli_text(cli, "host");
    const char *key = getenv("HONE_API_KEY");
    /* A unix socket alone, unless a host is asked for too. */
    if (hn_cli_text(cli, "unix-socket") && !hn_cli_given(cli, "host") && !hn_cli_given(cli, "port"))
        host = "";
    return (hn_http_options){
        .host = host,
        .port = hn_cli_int(cli, "port"),
        .unix_path = hn_cli_text(cli, "unix-socket"),
        .activation = true,
        .tls_cert = hn_cli_text(cli, "tls-cert"),
        .tls_key = hn_cli_text(cli, "tls-key"),
        .keys_path = hn_cli_text(cli, "api-keys"),
        .key = key && key[0] ? key : NULL,
        .cors_origins = hn_cli_text(cli, "cors-origin"),
        .max_body_bytes = (size_t)(hn_cli_real(cli, "max-body") * mebibyte),
        .max_connections = hn_cli_int(cli, "max-connections"),
        .header_timeout_s = hn_cli_real(cli, "request-timeout"),
        .body_timeout_s = hn_cli_real(cli, "request-timeout"),
        .idle_timeout_s = hn_cli_real(cli, "idle-timeout"),
        .write_timeout_s = hn_cli_real(cli, "write-timeout"),
    };
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_cli_serve *serve = NULL;
    hn_serve_app app;
    const char *log = hn_cli_text(cli, "access-log");
    HN_TRY(hn_cli_serve_new(&serve, cli, &app, err));
    const hn_serve_options options = {
        .http = http_options(cli),
        .access_log = strcmp(log, "none") == 0 ? NULL : log,
        .drain_s = hn_cli_real(cli, "drain"),
        .sandbox = !hn_cli_flag(cli, "no-sandbox"),
        .readable = hn_cli_serve_readable(serve),
        .writable = hn_cli_serve_writable(serve),
        .cancel = cli->cancel,
        .on_ready = on_ready,
        .note = on_note,
        .context = cli,
    };
    hn_status status = hn_serve_run(&options, &app, err);
    hn_cli_serve_free(serve);
    return status;
}

static const hn_option NETWORK[] = {
    {"host", 0, HN_OPT_TEXT, "NAME", "127.0.0.1",
     "Address or name to listen on; 0.0.0.0 or :: = all of this machine's"},
    {"port", 'p', HN_OPT_INT, "N", "8080", "Port; 0 = any free one", NULL, 0, 65535},
    {"unix-socket", 0, HN_OPT_TEXT, "PATH", NULL,
     "Listen on a unix socket; on TCP too only with --host or --port"},
    {"tls-cert", 0, HN_OPT_TEXT, "FILE", NULL, "Certificate chain in PEM form: HTTPS", NULL, 0, 0,
     "tls-key", NULL},
    {"tls-key", 0, HN_OPT_TEXT, "FILE", NULL, "Its private key", NULL, 0, 0, "tls-cert", NULL},
    {"api-keys", 0, HN_OPT_TEXT, "FILE", NULL,
     "Keys that open the API, one a line, or a name and a key; HONE_API_KEY holds one more"},
    {"cors-origin", 0, HN_OPT_TEXT, "LIST", NULL,
     "Origins whose pages may use the API, separated by commas; * = all"},
    {"max-body", 0, HN_OPT_REAL, "MIB", "16", "Largest request body", NULL, 0.001, 4096},
    {"max-connections", 0, HN_OPT_INT, "N", "16384",
     "Connections at a time, as far as the limit of open files goes; beyond it the idlest is "
     "closed",
     NULL, 1, 1 << 20},
    {"request-timeout", 0, HN_OPT_REAL, "S", "30",
     "Seconds for a request's head to arrive, and again for its body", NULL, 0.1, 86400},
    {"idle-timeout", 0, HN_OPT_REAL, "S", "75", "Seconds a connection is kept without a request",
     NULL, 0.1, 86400},
    {"write-timeout", 0, HN_OPT_REAL, "S", "60", "Seconds a client may take nothing of its answer",
     NULL, 0.1, 86400},
    {0},
};

static const hn_option PROCESS[] = {
    {"access-log", 0, HN_OPT_TEXT, "FILE", "-",
     "A JSON line for each request, without content; - = standard error, none = off"},
    {"drain", 0, HN_OPT_REAL, "S", "30", "Seconds that running answers get after SIGTERM", NULL, 0,
     86400},
    {"no-sandbox", 0, HN_OPT_FLAG, NULL, NULL,
     "Keep all rights of the process after the start (Landlock, seccomp)"},
    {0},
};

const hn_command HN_CMD_SERVE = {
    .name = "serve",
    .args = "MODEL...",
    .min_args = 1,
    .max_args = HN_CLI_SERVE_MAX_MODELS,
    .summary = "serve models to OpenAI's clients",
    .details =
        "Listens on loopback until SIGTERM or Ctrl-C: running answers are finished, new requests "
        "get 503, then it leaves with 0; a second signal ends it at once. SIGHUP reads keys and "
        "certificates again and opens the log again. Sockets from systemd (LISTEN_FDS) take the "
        "place of --host, --port and --unix-socket.\n\n"
        "GET /health answers while the process lives, /ready while it takes requests, /metrics "
        "for Prometheus. Nothing that clients send is written to disk or logs.",
    .groups = {NETWORK, PROCESS, HN_CLI_SERVE_OPTIONS, HN_OPTIONS_COMPUTE},
    .examples = "hone serve model.gguf\n"
                "hone serve model.gguf --host 0.0.0.0 --api-keys keys --tls-cert c.pem --tls-key "
                "k.pem\n"
                "hone serve model.gguf --unix-socket /run/hone/hone.sock",
    .run = run,
};
