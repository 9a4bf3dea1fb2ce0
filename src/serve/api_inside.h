/* What the files of the API share. */
#pragma once

#include "base/rng.h"
#include "serve/api.h"
#include "serve/request.h"
#include "serve/workers.h"

#include <pthread.h>
#include <stdatomic.h>

struct hn_api {
    hn_http_server *server;
    hn_models *models;
    hn_api_options options;
    hn_workers *workers;
    hn_workers *openers;  /* for requests whose model must be opened first: they wait long */
    pthread_mutex_t lock; /* from here on */
    pthread_cond_t idle;
    int n_under_way;               /* exchanges and small requests */
    struct hn_exchange *exchanges; /* all that are under way */
    bool ending;
    hn_rng rng;
    pthread_t keeper; /* pings, and closes idle models */
    pthread_cond_t end;
    bool has_keeper;
};

/* `prefix` and 24 letters or digits that nobody can guess. */
void hn_api_new_id(hn_api *api, const char *prefix, char *out, size_t size);
uint64_t hn_api_random(hn_api *api);
/* Counts what hn_api_free waits for. */
void hn_api_enter(hn_api *api);
void hn_api_leave(hn_api *api);

/* ---- small requests: answered as a whole by a worker ---- */

/* Whether a worker had better leave this to an opener. `model`: as the request has it. */
bool hn_api_waits_long(hn_api *api, const char *model);

/* Writes the answer to *out, or fails. body: NULL for GET. */
typedef hn_status hn_api_small(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                               hn_problem *problem);
/* On a worker, with the body parsed (POST); on an opener where it is of a model that isn't open. */
void hn_api_small_begin(hn_api *api, hn_http_call *call, hn_api_small *work, bool of_model);

void hn_api_reply_json(hn_http_call *call, int status, const hn_buf *body);
/* As JSON in OpenAI's form, or as `write` has it. */
void hn_api_reply_problem(hn_http_call *call, const hn_problem *problem,
                          void (*write)(const hn_problem *, hn_buf *));

/* The model that a body names; *adapter as hn_models_take. */
HN_MUST_CHECK hn_status hn_api_take_model(hn_api *api, const json_t *body, hn_served **served,
                                          int *adapter, hn_problem *problem);
/* What the query says of the model (?model=NAME); "" = nothing. */
typedef struct hn_api_name {
    char text[256];
} hn_api_name;
hn_api_name hn_api_queried_model(const hn_http_call *call);

/* text.c */
hn_api_small hn_api_tokenize, hn_api_detokenize, hn_api_apply_template, hn_api_count_tokens;
/* info.c */
hn_api_small hn_api_models, hn_api_model, hn_api_props, hn_api_slots, hn_api_loras,
    hn_api_loras_set;
