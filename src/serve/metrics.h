/* Counters, gauges and histograms, and their text for Prometheus (exposition format 0.0.4). vLLM's
 * names under the prefix hone_, each with the label model. Any thread may count: an update is one
 * or two atomic additions. */
#pragma once

#include "base/buf.h"
#include "base/status.h"

#include <stdint.h>

typedef struct hn_metrics hn_metrics;
/* One model's; lives as long as the hn_metrics. */
typedef struct hn_model_metrics hn_model_metrics;

HN_MUST_CHECK hn_status hn_metrics_new(hn_metrics **metrics, hn_error *err);
void hn_metrics_free(hn_metrics *metrics);

/* The metrics of a model by its name, made at the first call; at start-up. */
HN_MUST_CHECK hn_status hn_metrics_model(hn_metrics *metrics, const char *model,
                                         hn_model_metrics **out, hn_error *err);

typedef enum hn_finished { /* label finished_reason of request_success_total */
                           HN_FINISHED_STOP,
                           HN_FINISHED_LENGTH,
                           HN_FINISHED_TOOL_CALLS,
                           HN_FINISHED_ABORT, /* the client hung up, or a time limit */
                           HN_FINISHED_ERROR,
                           HN_FINISHED_COUNT,
} hn_finished;

/* A request left the queue `seconds` after it arrived. request_queue_time_seconds */
void hn_metrics_dequeued(hn_model_metrics *model, double seconds);
/* Its first token, counted from arrival. time_to_first_token_seconds */
void hn_metrics_first_token(hn_model_metrics *model, double seconds);
/* A later token, counted from the one before. inter_token_latency_seconds */
void hn_metrics_next_token(hn_model_metrics *model, double seconds);
/* A request ended, whichever way. prompt_tokens_total, generation_tokens_total,
 * prefix_cache_queries (prompt tokens looked up), prefix_cache_hits (of those, found),
 * request_success_total, e2e_request_latency_seconds */
typedef struct hn_finished_request {
    hn_finished reason;
    uint64_t prompt_tok, cached_tok, generated_tok;
    double seconds; /* from arrival to the end */
} hn_finished_request;
void hn_metrics_finished(hn_model_metrics *model, const hn_finished_request *request);

/* A request was refused before it was clear which model it was for: no model's
 * request_success_total has it. requests_refused_total */
void hn_metrics_refused(hn_metrics *metrics);

/* How it stands at this moment; set by whoever knows, or by a hn_metrics_on_scrape callback. */
typedef struct hn_model_gauges {
    double running, waiting; /* num_requests_running, num_requests_waiting */
    double kv_usage;         /* kv_cache_usage_perc: 0 to 1 */
    double loaded;           /* model_loaded: 0 or 1 */
} hn_model_gauges;
void hn_metrics_gauges(hn_model_metrics *model, const hn_model_gauges *gauges);

/* `fn` is called before each text is made, on the thread that makes it. At start-up. */
HN_MUST_CHECK hn_status hn_metrics_on_scrape(hn_metrics *metrics, void (*fn)(void *context),
                                             void *context, hn_error *err);

/* An answer on a route; the http_requests_total{route, status} of the access log. `route` must be
 * from a route table (few, and alive for ever). */
void hn_metrics_answered(hn_metrics *metrics, const char *route, int status, double seconds);
/* The server's own counts, before a text is made. */
typedef struct hn_server_gauges {
    double connections, calls, accepted, refused, rejected_keys, cut_slow;
} hn_server_gauges;
void hn_metrics_server(hn_metrics *metrics, const hn_server_gauges *gauges);

/* Appends the whole text. */
HN_MUST_CHECK hn_status hn_metrics_text(hn_metrics *metrics, hn_buf *out, hn_error *err);
