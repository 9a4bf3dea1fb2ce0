/* Metrics: atomics that are counted up, and one text made of them. Sums of seconds are kept as
 * whole nanoseconds, so that an observation is two additions. */
#include "serve/metrics.h"

#include "base/mem.h"
#include "base/version.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Upper bounds of the buckets of all histograms, in nanoseconds and as Prometheus reads them. */
static const struct {
    uint64_t ns;
    const char *text;
} BOUNDS[] = {{1000000, "0.001"},    {2500000, "0.0025"},  {5000000, "0.005"},  {10000000, "0.01"},
              {20000000, "0.02"},    {40000000, "0.04"},   {60000000, "0.06"},  {80000000, "0.08"},
              {100000000, "0.1"},    {250000000, "0.25"},  {500000000, "0.5"},  {750000000, "0.75"},
              {1000000000, "1"},     {2500000000, "2.5"},  {5000000000, "5"},   {7500000000, "7.5"},
              {10000000000, "10"},   {20000000000, "20"},  {40000000000, "40"}, {80000000000, "80"},
              {160000000000, "160"}, {640000000000, "640"}};
enum { N_BOUNDS = sizeof BOUNDS / sizeof *BOUNDS, MAX_ANSWERS = 512, MAX_SCRAPES = 8 };

typedef _Atomic uint64_t count;

typedef struct histogram {
    count buckets[N_BOUNDS + 1]; /* each its own; the text adds them up */
    count sum_ns;
} histogram;

typedef enum model_counter {
    PROMPT_TOKENS,
    GENERATION_TOKENS,
    PREFIX_QUERIES,
    PREFIX_HITS,
    N_COUNTERS,
} model_counter;
typedef enum model_gauge { RUNNING, WAITING, KV_USAGE, LOADED, N_GAUGES } model_gauge;
typedef enum model_histogram {
    FIRST_TOKEN,
    NEXT_TOKEN,
    END_TO_END,
    QUEUE,
    N_HISTOGRAMS
} model_histogram;

typedef struct family {
    const char *name, *help;
} family;

static const family COUNTERS[N_COUNTERS] = {
    {"hone_prompt_tokens_total", "Prompt tokens of finished requests."},
    {"hone_generation_tokens_total", "Tokens generated for finished requests."},
    {"hone_prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache."},
    {"hone_prefix_cache_hits_total", "Prompt tokens found in the prefix cache."},
};
static const family GAUGES[N_GAUGES] = {
    {"hone_num_requests_running", "Requests being computed."},
    {"hone_num_requests_waiting", "Requests in the queue."},
    {"hone_kv_cache_usage_perc", "Share of the KV cache in use; 1 is all of it."},
    {"hone_model_loaded", "Whether the model is in memory."},
};
static const family HISTOGRAMS[N_HISTOGRAMS] = {
    {"hone_time_to_first_token_seconds", "Time from a request's arrival to its first token."},
    {"hone_inter_token_latency_seconds", "Time between two tokens of an answer."},
    {"hone_e2e_request_latency_seconds", "Time from a request's arrival to its end."},
    {"hone_request_queue_time_seconds", "Time a request waited before it was computed."},
};
static const char *const REASONS[HN_FINISHED_COUNT] = {"stop", "length", "tool_calls", "abort",
                                                       "error"};

struct hn_model_metrics {
    char *name; /* as a label's value, escaped */
    count counters[N_COUNTERS];
    count gauges[N_GAUGES]; /* in millionths */
    count finished[HN_FINISHED_COUNT];
    histogram histograms[N_HISTOGRAMS];
    struct hn_model_metrics *next;
};

typedef struct answered {
    const char *route;
    int status;
    uint64_t n;
} answered;

struct hn_metrics {
    pthread_mutex_t mutex; /* of the list of models, answers and scrapes */
    hn_model_metrics *models, **models_end;
    answered answers[MAX_ANSWERS];
    size_t n_answers;
    histogram http;
    count server[6], refused;
    struct {
        void (*fn)(void *context);
        void *context;
    } scrapes[MAX_SCRAPES];
    size_t n_scrapes;
    int statm_fd; /* kept open: a sandbox may close the way to it */
    long long start_s;
};

hn_status hn_metrics_new(hn_metrics **metrics, hn_error *err) {
    hn_metrics *m = hn_calloc(1, sizeof *m);
    if (!m)
        return hn_fail_no_memory(err, sizeof *m);
    pthread_mutex_init(&m->mutex, NULL);
    m->models_end = &m->models;
    m->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    m->start_s = (long long)time(NULL);
    *metrics = m;
    return HN_OK;
}

void hn_metrics_free(hn_metrics *metrics) {
    if (!metrics)
        return;
    while (metrics->models) {
        hn_model_metrics *next = metrics->models->next;
        hn_free(metrics->models->name);
        hn_free(metrics->models);
        metrics->models = next;
    }
    if (metrics->statm_fd >= 0)
        close(metrics->statm_fd);
    pthread_mutex_destroy(&metrics->mutex);
    hn_free(metrics);
}

/* What stands between the quotes of a label. */
static char *label_value(const char *text) {
    hn_buf out = {0};
    for (; *text; text++) {
        if (*text == '\\' || *text == '"')
            hn_buf_putc(&out, '\\');
        if (*text == '\n')
            hn_buf_puts(&out, "\\n");
        else
            hn_buf_putc(&out, *text);
    }
    if (out.size)
        return hn_buf_take(&out);
    return hn_strdup("");
}

hn_status hn_metrics_model(hn_metrics *metrics, const char *model, hn_model_metrics **out,
                           hn_error *err) {
    hn_status status = HN_OK;
    char *name = label_value(model);
    if (!name)
        return hn_fail_no_memory(err, strlen(model));
    pthread_mutex_lock(&metrics->mutex);
    hn_model_metrics *m = metrics->models;
    while (m && strcmp(m->name, name) != 0)
        m = m->next;
    if (!m && (m = hn_calloc(1, sizeof *m))) {
        m->name = name;
        name = NULL;
        *metrics->models_end = m;
        metrics->models_end = &m->next;
    }
    pthread_mutex_unlock(&metrics->mutex);
    if (m)
        *out = m;
    else
        status = hn_fail_no_memory(err, sizeof *m);
    hn_free(name);
    return status;
}

/* ---- counting ---- */

static void add(count *c, uint64_t n) {
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static uint64_t get(const count *c) {
    return atomic_load_explicit(c, memory_order_relaxed);
}

static void observe(histogram *h, double seconds) {
    const uint64_t ns = seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
    int i = 0;
    while (i < N_BOUNDS && ns > BOUNDS[i].ns)
        i++;
    add(&h->buckets[i], 1);
    add(&h->sum_ns, ns);
}

void hn_metrics_dequeued(hn_model_metrics *model, double seconds) {
    observe(&model->histograms[QUEUE], seconds);
}

void hn_metrics_first_token(hn_model_metrics *model, double seconds) {
    observe(&model->histograms[FIRST_TOKEN], seconds);
}

void hn_metrics_next_token(hn_model_metrics *model, double seconds) {
    observe(&model->histograms[NEXT_TOKEN], seconds);
}

void hn_metrics_finished(hn_model_metrics *model, const hn_finished_request *request) {
    add(&model->counters[PROMPT_TOKENS], request->prompt_tok);
    add(&model->counters[GENERATION_TOKENS], request->generated_tok);
    add(&model->counters[PREFIX_QUERIES], request->prompt_tok);
    add(&model->counters[PREFIX_HITS], request->cached_tok);
    add(&model->finished[request->reason], 1);
    observe(&model->histograms[END_TO_END], request->seconds);
}

void hn_metrics_refused(hn_metrics *metrics) {
    add(&metrics->refused, 1);
}

static void set(count *gauge, double value) {
    atomic_store_explicit(gauge, value > 0 ? (uint64_t)(value * 1e6 + 0.5) : 0,
                          memory_order_relaxed);
}

void hn_metrics_gauges(hn_model_metrics *model, const hn_model_gauges *gauges) {
    set(&model->gauges[RUNNING], gauges->running);
    set(&model->gauges[WAITING], gauges->waiting);
    set(&model->gauges[KV_USAGE], gauges->kv_usage);
    set(&model->gauges[LOADED], gauges->loaded);
}

hn_status hn_metrics_on_scrape(hn_metrics *metrics, void (*fn)(void *context), void *context,
                               hn_error *err) {
    if (metrics->n_scrapes == MAX_SCRAPES)
        return hn_fail(err, HN_FAILED, "more than %d callbacks for metrics", MAX_SCRAPES);
    metrics->scrapes[metrics->n_scrapes].fn = fn;
    metrics->scrapes[metrics->n_scrapes++].context = context;
    return HN_OK;
}

void hn_metrics_answered(hn_metrics *metrics, const char *route, int status, double seconds) {
    observe(&metrics->http, seconds);
    pthread_mutex_lock(&metrics->mutex);
    size_t i = 0;
    while (i < metrics->n_answers &&
           (metrics->answers[i].status != status || strcmp(metrics->answers[i].route, route) != 0))
        i++;
    if (i == metrics->n_answers && i < MAX_ANSWERS)
        metrics->answers[metrics->n_answers++] = (answered){route, status, 0};
    if (i < MAX_ANSWERS)
        metrics->answers[i].n++;
    pthread_mutex_unlock(&metrics->mutex);
}

void hn_metrics_server(hn_metrics *metrics, const hn_server_gauges *gauges) {
    const double values[] = {gauges->connections, gauges->calls,         gauges->accepted,
                             gauges->refused,     gauges->rejected_keys, gauges->cut_slow};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        set(&metrics->server[i], values[i]);
}

/* ---- the text ---- */

static void head(hn_buf *out, const char *name, const char *type, const char *help) {
    hn_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Millionths, whatever the locale. */
static void value(hn_buf *out, uint64_t millionths) {
    hn_buf_printf(out, " %llu", (unsigned long long)(millionths / 1000000));
    if (millionths % 1000000)
        hn_buf_printf(out, ".%06llu", (unsigned long long)(millionths % 1000000));
    hn_buf_putc(out, '\n');
}

/* `labels` is `model="x",` or "". */
static void histogram_text(hn_buf *out, const char *name, const char *labels, const histogram *h) {
    uint64_t total = 0;
    const int n = (int)strlen(labels);
    for (int i = 0; i <= N_BOUNDS; i++) {
        total += get(&h->buckets[i]);
        hn_buf_printf(out, "%s_bucket{%sle=\"%s\"} %llu\n", name, labels,
                      i < N_BOUNDS ? BOUNDS[i].text : "+Inf", (unsigned long long)total);
    }
    const uint64_t ns = get(&h->sum_ns);
    const char *open = n ? "{" : "", *shut = n ? "}" : "";
    const int kept = n ? n - 1 : 0; /* without the comma */
    hn_buf_printf(out, "%s_sum%s%.*s%s %llu.%09llu\n%s_count%s%.*s%s %llu\n", name, open, kept,
                  labels, shut, (unsigned long long)(ns / 1000000000),
                  (unsigned long long)(ns % 1000000000), name, open, kept, labels, shut,
                  (unsigned long long)total);
}

static void models_text(const hn_metrics *metrics, hn_buf *out) {
    for (int i = 0; i < N_GAUGES; i++) {
        head(out, GAUGES[i].name, "gauge", GAUGES[i].help);
        for (const hn_model_metrics *m = metrics->models; m; m = m->next) {
            hn_buf_printf(out, "%s{model=\"%s\"}", GAUGES[i].name, m->name);
            value(out, get(&m->gauges[i]));
        }
    }
    for (int i = 0; i < N_COUNTERS; i++) {
        head(out, COUNTERS[i].name, "counter", COUNTERS[i].help);
        for (const hn_model_metrics *m = metrics->models; m; m = m->next)
            hn_buf_printf(out, "%s{model=\"%s\"} %llu\n", COUNTERS[i].name, m->name,
                          (unsigned long long)get(&m->counters[i]));
    }
    head(out, "hone_request_success_total", "counter", "Requests ended, by the reason.");
    for (const hn_model_metrics *m = metrics->models; m; m = m->next)
        for (int i = 0; i < HN_FINISHED_COUNT; i++)
            hn_buf_printf(out,
                          "hone_request_success_total{model=\"%s\",finished_reason=\"%s\"} %llu\n",
                          m->name, REASONS[i], (unsigned long long)get(&m->finished[i]));
    for (int i = 0; i < N_HISTOGRAMS; i++) {
        head(out, HISTOGRAMS[i].name, "histogram", HISTOGRAMS[i].help);
        for (const hn_model_metrics *m = metrics->models; m; m = m->next) {
            hn_buf labels = {0};
            hn_buf_printf(&labels, "model=\"%s\",", m->name);
            histogram_text(out, HISTOGRAMS[i].name, hn_buf_text(&labels), &m->histograms[i]);
            out->failed |= labels.failed;
            hn_buf_done(&labels);
        }
    }
}

static void server_text(const hn_metrics *metrics, hn_buf *out) {
    static const struct {
        const char *name, *type, *help;
    } SERVER[] = {
        {"hone_http_connections", "gauge", "Connections open."},
        {"hone_http_requests_in_flight", "gauge", "Requests being answered."},
        {"hone_http_accepted_total", "counter", "Connections accepted."},
        {"hone_http_refused_total", "counter", "Connections closed to make room for others."},
        {"hone_http_rejected_keys_total", "counter", "Requests without a right API key."},
        {"hone_http_slow_clients_total", "counter", "Clients cut off because they didn't read."},
    };
    for (size_t i = 0; i < sizeof SERVER / sizeof *SERVER; i++) {
        head(out, SERVER[i].name, SERVER[i].type, SERVER[i].help);
        hn_buf_puts(out, SERVER[i].name);
        value(out, get(&metrics->server[i]));
    }
    head(out, "hone_requests_refused_total", "counter",
         "Requests refused before it was clear which model they were for.");
    hn_buf_printf(out, "hone_requests_refused_total %llu\n",
                  (unsigned long long)get(&metrics->refused));
    head(out, "hone_http_requests_total", "counter", "Requests answered, by route and status.");
    for (size_t i = 0; i < metrics->n_answers; i++)
        hn_buf_printf(out, "hone_http_requests_total{route=\"%s\",status=\"%d\"} %llu\n",
                      metrics->answers[i].route, metrics->answers[i].status,
                      (unsigned long long)metrics->answers[i].n);
    head(out, "hone_http_request_duration_seconds", "histogram",
         "Time from a request's first byte to its answer's last.");
    histogram_text(out, "hone_http_request_duration_seconds", "", &metrics->http);
}

static void process_text(const hn_metrics *metrics, hn_buf *out) {
    char text[128] = "";
    unsigned long long pages = 0;
    if (metrics->statm_fd >= 0 && pread(metrics->statm_fd, text, sizeof text - 1, 0) > 0) {
        const char *second = strchr(text, ' ');
        for (; second && second[1] >= '0' && second[1] <= '9'; second++)
            pages = pages * 10 + (unsigned long long)(second[1] - '0');
    }
    head(out, "process_resident_memory_bytes", "gauge", "Resident memory.");
    hn_buf_printf(out, "process_resident_memory_bytes %llu\n",
                  pages * (unsigned long long)sysconf(_SC_PAGESIZE));
    head(out, "process_start_time_seconds", "gauge", "When the process started, in Unix time.");
    hn_buf_printf(out, "process_start_time_seconds %lld\n", metrics->start_s);
    head(out, "hone_build_info", "gauge", "Constant 1, with the version.");
    hn_buf_puts(out, "hone_build_info{version=\"" HN_VERSION "\"} 1\n");
}

hn_status hn_metrics_text(hn_metrics *metrics, hn_buf *out, hn_error *err) {
    for (size_t i = 0; i < metrics->n_scrapes; i++)
        metrics->scrapes[i].fn(metrics->scrapes[i].context);
    pthread_mutex_lock(&metrics->mutex);
    models_text(metrics, out);
    server_text(metrics, out);
    pthread_mutex_unlock(&metrics->mutex);
    process_text(metrics, out);
    return hn_buf_check(out, err);
}
