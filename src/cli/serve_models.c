/* The models that `hone serve` serves: from arguments and options to serve/models.h and
 * serve/api.h, with their numbers for Prometheus. */
#include "cli/serve.h"

#include "base/file.h"
#include "base/mem.h"
#include "cli/session.h"
#include "model/kv_type.h"
#include "serve/api.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ADAPTERS = 64, MAX_PATHS = HN_CLI_SERVE_MAX_MODELS + MAX_ADAPTERS + 3 };

struct hn_cli_serve {
    hn_cli *cli;
    hn_model_place places[HN_CLI_SERVE_MAX_MODELS]; /* names are owned, paths borrowed */
    int n_places;
    hn_adapter_place adapters[MAX_ADAPTERS]; /* in the order of their models; names are owned */
    size_t n_adapters;
    hn_models_options options;
    hn_models *models;
    hn_api *api;
    hn_metrics *all_metrics;
    hn_model_metrics *metrics[HN_CLI_SERVE_MAX_MODELS];
    char *cache_dir, *weights_dir; /* or NULL */
    const char *readable[MAX_PATHS], *writable[2];
};

/* ---- names ---- */

/* NAME=PATH, or a path whose last part without .gguf is the name. *name is freed with hn_free. */
static hn_status split_name(const char *text, char **name, const char **path, hn_error *err) {
    const char *equals = strchr(text, '='), *slash = strchr(text, '/');
    if (equals && (!slash || equals < slash)) {
        *name = hn_strndup(text, (size_t)(equals - text));
        *path = equals + 1;
    } else {
        static const char SUFFIX[] = ".gguf";
        size_t n = strlen(text);
        while (n > 1 && text[n - 1] == '/')
            n--;
        size_t begin = n;
        while (begin > 0 && text[begin - 1] != '/')
            begin--;
        if (n - begin > sizeof SUFFIX - 1 &&
            strncmp(text + n - (sizeof SUFFIX - 1), SUFFIX, sizeof SUFFIX - 1) == 0)
            n -= sizeof SUFFIX - 1;
        *name = hn_strndup(text + begin, n - begin);
        *path = text;
    }
    return *name ? HN_OK : hn_fail_no_memory(err, strlen(text));
}

/* "MODEL:" before an adapter says whose it is; without it, the first model's. */
static const char *adapter_owner(const hn_cli_serve *s, const char *text, int *owner) {
    *owner = 0;
    for (int i = 0; i < s->n_places; i++) {
        const size_t n = strlen(s->places[i].name);
        if (strncmp(text, s->places[i].name, n) == 0 && text[n] == ':') {
            *owner = i;
            return text + n + 1;
        }
    }
    return text;
}

static hn_status name_adapters(hn_cli_serve *s, hn_error *err) {
    const hn_opt_value *list = hn_parsed_get(&s->cli->opts, "adapter");
    if (list->n_list > MAX_ADAPTERS)
        return hn_fail(err, HN_USAGE, "%zu adapters: at most %d are possible", list->n_list,
                       MAX_ADAPTERS);
    for (int model = 0; model < s->n_places; model++) {
        s->places[model].adapters = &s->adapters[s->n_adapters];
        for (size_t i = 0; i < list->n_list; i++) {
            int owner;
            const char *text = adapter_owner(s, list->list[i], &owner);
            hn_adapter_place *place = &s->adapters[s->n_adapters];
            if (owner != model)
                continue;
            HN_TRY(split_name(text, (char **)(uintptr_t)&place->name, &place->path, err));
            s->n_adapters++;
            s->places[model].n_adapters++;
        }
    }
    return HN_OK;
}

static hn_status name_models(hn_cli_serve *s, hn_error *err) {
    const char *text;
    for (; (text = hn_cli_arg(s->cli, s->n_places)); s->n_places++) {
        hn_model_place *place = &s->places[s->n_places];
        HN_TRY(split_name(text, (char **)(uintptr_t)&place->name, &place->path, err));
    }
    return name_adapters(s, err);
}

/* ---- options ---- */

static hn_status read_options(hn_cli_serve *s, hn_error *err) {
    const hn_cli *cli = s->cli;
    const double gigabyte = 1e9;
    const char *speculate = hn_cli_text(cli, "speculate");
    const int ctx = hn_cli_int(cli, "ctx"), slots = hn_cli_int(cli, "slots");
    s->options =
        (hn_models_options){.model = {.n_threads = hn_session_threads(cli),
                                      .isa = hn_cli_text(cli, "isa"),
                                      .numerics = HN_NUMERICS_INT8},
                            .engine = {.n_slots = slots,
                                       .n_context = ctx,
                                       .n_positions = hn_cli_int(cli, "kv-tokens"),
                                       .max_queued = hn_cli_int(cli, "queue"),
                                       .speculation = HN_SPECULATION_MODEL},
                            .draft_path = speculate,
                            .idle_unload_s = hn_cli_real(cli, "idle-unload"),
                            .memory_bytes = (uint64_t)(hn_cli_real(cli, "memory") * gigabyte),
                            .lazy = hn_cli_flag(cli, "lazy")};
    if (strcmp(speculate, "none") == 0 || strcmp(speculate, "ngram") == 0) {
        s->options.engine.speculation =
            speculate[1] == 'o' ? HN_SPECULATION_NONE : HN_SPECULATION_NGRAM;
        s->options.draft_path = NULL;
    }
    HN_TRY(hn_kv_type_parse(hn_cli_text(cli, "kv-type"), &s->options.model.kv_type, err));
    return hn_session_weights_cache(cli, &s->options.model.weights_cache, &s->weights_dir, err);
}

/* What the sandbox leaves open. */
static void list_paths(hn_cli_serve *s) {
    int n = 0;
    for (int i = 0; i < s->n_places; i++)
        s->readable[n++] = s->places[i].path;
    for (size_t i = 0; i < s->n_adapters; i++)
        s->readable[n++] = s->adapters[i].path;
    if (s->options.draft_path)
        s->readable[n++] = s->options.draft_path;
    if (hn_cli_cache_dir(&s->cache_dir, NULL) == HN_OK) /* models there are links within it */
        s->readable[n++] = s->cache_dir;
    if (s->weights_dir && hn_dir_make(s->weights_dir, NULL) == HN_OK)
        s->writable[0] = s->weights_dir;
}

/* ---- numbers ---- */

static hn_model_metrics *metrics_of(const hn_cli_serve *s, const char *model) {
    for (int i = 0; i < s->n_places; i++)
        if (strcmp(s->places[i].name, model) == 0)
            return s->metrics[i];
    return NULL;
}

static void on_first_token(void *context, const char *model, double seconds) {
    hn_metrics_first_token(metrics_of(context, model), seconds);
}

static void on_next_token(void *context, const char *model, double seconds) {
    hn_metrics_next_token(metrics_of(context, model), seconds);
}

static void on_outcome(void *context, const hn_api_outcome *o) {
    static const char *const REASONS[] = {[HN_FINISHED_STOP] = "stop",
                                          [HN_FINISHED_LENGTH] = "length",
                                          [HN_FINISHED_TOOL_CALLS] = "tool_calls",
                                          [HN_FINISHED_ABORT] = "cancelled",
                                          [HN_FINISHED_ERROR] = "error"};
    const hn_cli_serve *s = context;
    hn_model_metrics *m = metrics_of(s, o->model);
    int reason = 0;
    while (reason + 1 < HN_FINISHED_COUNT && strcmp(REASONS[reason], o->finish) != 0)
        reason++;
    if (!m) { /* refused before it was clear which model it was for */
        hn_metrics_refused(s->all_metrics);
        return;
    }
    hn_metrics_dequeued(m, o->queue_s);
    hn_metrics_finished(m, &(hn_finished_request){.reason = (hn_finished)reason,
                                                  .prompt_tok = (uint64_t)o->n_prompt,
                                                  .cached_tok = (uint64_t)o->n_cached,
                                                  .generated_tok = (uint64_t)o->n_generated,
                                                  .seconds = o->e2e_s});
}

static void on_scrape(void *context) {
    hn_cli_serve *s = context;
    for (int i = 0; i < s->n_places; i++) {
        hn_model_gauges gauges = {0};
        hn_served *served = hn_models_peek(s->models, (size_t)i);
        if (served) {
            hn_engine_counts counts;
            hn_engine_counts_get(served->engine, &counts);
            hn_models_unpeek(s->models, served);
            gauges = (hn_model_gauges){.running = counts.running,
                                       .waiting = counts.waiting,
                                       .kv_usage = counts.kv_blocks ? (double)counts.kv_live /
                                                                          (double)counts.kv_blocks
                                                                    : 0,
                                       .loaded = 1};
        }
        hn_metrics_gauges(s->metrics[i], &gauges);
    }
}

/* ---- the app ---- */

static void stop(void *context) {
    hn_cli_serve *s = context;
    hn_api_free(s->api);
    hn_models_free(s->models);
    s->api = NULL;
    s->models = NULL;
}

static hn_status start(void *context, hn_http_server *server, hn_metrics *metrics, hn_error *err) {
    hn_cli_serve *s = context;
    hn_status status = HN_OK;
    s->all_metrics = metrics;
    for (int i = 0; i < s->n_places; i++)
        HN_GO(hn_metrics_model(metrics, s->places[i].name, &s->metrics[i], err));
    HN_GO(hn_models_new(&s->models, s->places, (size_t)s->n_places, &s->options, err));
    const hn_api_options options = {.timeout_s = hn_cli_real(s->cli, "answer-timeout"),
                                    .observer = {.context = s,
                                                 .first_token = on_first_token,
                                                 .next_token = on_next_token,
                                                 .outcome = on_outcome}};
    HN_GO(hn_api_new(&s->api, server, s->models, &options, err));
    HN_GO(hn_metrics_on_scrape(metrics, on_scrape, s, err));
done:
    if (status != HN_OK)
        stop(s);
    return status;
}

static hn_status load(void *context, hn_error *err) {
    return hn_models_open_all(((hn_cli_serve *)context)->models, err);
}

static void drain(void *context) {
    hn_models_drain(((hn_cli_serve *)context)->models);
}

hn_status hn_cli_serve_new(hn_cli_serve **out, hn_cli *cli, hn_serve_app *app, hn_error *err) {
    hn_cli_serve *s = hn_calloc(1, sizeof *s);
    hn_status status;
    if (!s)
        return hn_fail_no_memory(err, sizeof *s);
    s->cli = cli;
    HN_GO(name_models(s, err));
    HN_GO(read_options(s, err));
    list_paths(s);
    *app = (hn_serve_app){.context = s, .start = start, .load = load, .drain = drain, .stop = stop};
done:
    if (status == HN_OK)
        *out = s;
    else
        hn_cli_serve_free(s);
    return status;
}

void hn_cli_serve_free(hn_cli_serve *s) {
    if (!s)
        return;
    for (int i = 0; i < HN_CLI_SERVE_MAX_MODELS; i++)
        hn_free((char *)(uintptr_t)s->places[i].name);
    for (int i = 0; i < MAX_ADAPTERS; i++)
        hn_free((char *)(uintptr_t)s->adapters[i].name);
    hn_free(s->cache_dir);
    hn_free(s->weights_dir);
    hn_free(s);
}

const char *const *hn_cli_serve_readable(const hn_cli_serve *serve) {
    return serve->readable;
}

const char *const *hn_cli_serve_writable(const hn_cli_serve *serve) {
    return serve->writable;
}

const hn_option HN_CLI_SERVE_OPTIONS[] = {
    {"adapter", 0, HN_OPT_LIST, "[MODEL:][NAME=]PATH", NULL,
     "An adapter that requests may name as their model or in 'lora'; of the first model, or of "
     "MODEL"},
    {"ctx", 'c', HN_OPT_INT, "N", "0",
     "Tokens of a prompt and its answer together, no more than the model was trained for; 0 = "
     "that, "
     "at most 4096",
     NULL, 0, 1 << 24},
    {"slots", 0, HN_OPT_INT, "N", "16", "Answers computed at once", NULL, 1, 512},
    {"kv-tokens", 0, HN_OPT_INT, "N", "0",
     "Tokens that all answers and remembered beginnings together may hold; 0 = 1,024 a slot, at "
     "least ctx",
     NULL, 0, 1 << 30},
    {"kv-type", 0, HN_OPT_CHOICE, "NAME", "f16", "How the cache holds keys and values",
     HN_CLI_KV_TYPES},
    {"queue", 0, HN_OPT_INT, "N", "512", "Requests that may wait; more get 429", NULL, 1, 1 << 20},
    {"answer-timeout", 0, HN_OPT_REAL, "S", "0",
     "Seconds a request that doesn't say may take altogether; 0 = any", NULL, 0, 1e6},
    {"speculate", 0, HN_OPT_TEXT, "HOW", "ngram",
     "Guess tokens: ngram (from the text so far), none, or a small model with the same vocabulary"},
    {"lazy", 0, HN_OPT_FLAG, NULL, NULL, "Open a model at its first request, not at the start"},
    {"idle-unload", 0, HN_OPT_REAL, "S", "0",
     "Close a model that nobody has asked for so long; 0 = never", NULL, 0, 1e9},
    {"memory", 0, HN_OPT_REAL, "GB", "0",
     "Models held at once, by the size of their files: the idlest make room; 0 = no limit", NULL, 0,
     1e6},
    {"weights-cache", 0, HN_OPT_CHOICE, "WHEN", "auto",
     "Keep the weights as they are laid out in memory in a file, which the next start maps; auto = "
     "from 64 MiB on, where disk and memory have plenty of room",
     "auto|on|off", 0, 0},
    {0},
};
