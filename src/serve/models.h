/* The models that are served: opened at the start or at the first request, with their engines and
 * adapters, closed again when nobody has asked for them for a while or another one needs the
 * memory. Names are those of models and of adapters: asking for an adapter is asking for its model
 * with it.
 *
 * Any thread. */
#pragma once

#include "engine/engine.h"
#include "serve/problem.h"

typedef struct hn_models hn_models;

typedef struct hn_adapter_place {
    const char *name, *path;
    float scale; /* where a request doesn't say; 0 = only when it is asked for */
} hn_adapter_place;

typedef struct hn_model_place {
    const char *name, *path;
    const hn_adapter_place *adapters; /* (n_adapters) */
    size_t n_adapters;
} hn_model_place;

typedef struct hn_models_options {
    hn_model_options model;
    hn_engine_options engine;
    const char *draft_path; /* of engine.speculation MODEL; NULL = none */
    double idle_unload_s;   /* a model nobody asks for is closed; 0 = never */
    uint64_t memory_bytes;  /* of models held at once, by the size of their files; 0 = no limit */
    bool lazy;              /* open at the first request, not now */
} hn_models_options;

/* Copies everything; opens nothing. HN_USAGE for a name that is given twice. */
HN_MUST_CHECK hn_status hn_models_new(hn_models **out, const hn_model_place *places, size_t n,
                                      const hn_models_options *options, hn_error *err);
/* Opens as many as the memory allows, in their order, unless `lazy`; what can't be opened is an
 * error. May be called while others take models. */
HN_MUST_CHECK hn_status hn_models_open_all(hn_models *models, hn_error *err);
/* Everything must have been given back. NULL is nothing. */
void hn_models_free(hn_models *models);

/* A model that is open, until it is given back. */
typedef struct hn_served {
    const char *name;
    size_t index; /* below hn_models_count */
    hn_model *model;
    hn_engine *engine;
    size_t n_adapters;
} hn_served;

/* By the name of a model or adapter; NULL or "" = the first model. *adapter: index of the adapter
 * that was named, -1 = none. Opens the model where it isn't: not on a thread that must not wait.
 * 404 for an unknown name, 503 where memory is short and stays so for seconds. */
HN_MUST_CHECK hn_status hn_models_take(hn_models *models, const char *name, hn_served **out,
                                       int *adapter, hn_problem *problem);
void hn_models_give(hn_models *models, hn_served *served);
/* False: hn_models_take would have to wait until the model is open. */
bool hn_models_is_open(hn_models *models, const char *name);
/* Closes what has been idle for too long; to be called every few seconds. */
void hn_models_sweep(hn_models *models);
/* As hn_engine_drain, for all of them, also for those opened later. */
void hn_models_drain(hn_models *models);

/* One adapter that does what these do together, each at its scale: NULL for none. Kept, so that the
 * next request with the same ones shares its cache. Lives as long as `served` is held. */
typedef struct hn_adapter_use {
    int index;
    float scale;
} hn_adapter_use;
HN_MUST_CHECK hn_status hn_served_adapter(hn_models *models, hn_served *served,
                                          const hn_adapter_use *uses, size_t n,
                                          const hn_adapter **out, hn_problem *problem);
/* What there is, open or not; i below hn_models_count. Texts live as long as `models`. */
typedef struct hn_model_info {
    const char *name, *path;
    size_t n_adapters;
    bool is_open;
    int64_t created; /* seconds since the epoch: the start */
} hn_model_info;
size_t hn_models_count(const hn_models *models);
void hn_models_info(hn_models *models, size_t i, hn_model_info *out);
/* The model of this name, or whose adapter has it; NULL or "" = the first. 404 for an unknown one.
 */
HN_MUST_CHECK hn_status hn_models_find(hn_models *models, const char *name, size_t *i,
                                       hn_problem *problem);
/* Adapters of model i, with the scales in force where a request doesn't say (GET and POST
 * /lora-adapters). */
typedef struct hn_adapter_info {
    const char *name, *path;
    float scale;
} hn_adapter_info;
void hn_models_adapter_info(hn_models *models, size_t i, size_t adapter, hn_adapter_info *out);
void hn_models_adapter_scale(hn_models *models, size_t i, size_t adapter, float scale);
/* Model i where it is open now, until hn_models_unpeek; NULL where it isn't. Opens nothing, and
 * doesn't count as use: for metrics and lists. */
hn_served *hn_models_peek(hn_models *models, size_t i);
void hn_models_unpeek(hn_models *models, hn_served *served);
