/* Engines and adapters: what sessions share. */
#include "library/library.h"

#include "base/mem.h"
#include "base/pool.h"
#include "base/version.h"
#include "model/dora.h"

#include <pthread.h>
#include <signal.h>

const char *hone_version(void) {
    return HN_VERSION;
}

void hone_free(void *memory) {
    hn_free(memory);
}

void hone_engine_options_init(hone_engine_options *options, size_t size) {
    const hone_engine_options defaults = {.numerics = HONE_NUMERICS_INT8};
    hn_library_options_write(options, size, &defaults, sizeof defaults);
}

/* The threads that come with the model are ours: the program's signals are none of their business.
 */
static hn_status open_model(hn_model **out, const char *path, const hn_model_options *options,
                            hn_error *err) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    hn_status status = hn_model_open(out, path, options, err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

static hn_weights_cache weights_cache(const hone_engine_options *options) {
    if (!options->weights_cache || !options->weights_cache[0])
        return (hn_weights_cache){.use = HN_WEIGHTS_CACHE_OFF};
    return (hn_weights_cache){.use = HN_WEIGHTS_CACHE_ON,
                              .dir = options->weights_cache,
                              .max_bytes = options->weights_cache_bytes
                                               ? options->weights_cache_bytes
                                               : HN_WEIGHTS_CACHE_MAX_BYTES};
}

static hn_status engine_open(hone_engine **out, const char *path, const hone_engine_options *given,
                             hn_error *err) {
    hone_engine_options options;
    hone_engine_options_init(&options, sizeof options);
    HN_TRY(hn_library_need(out, "out", err));
    HN_TRY(hn_library_need(path, "path", err));
    HN_TRY(hn_library_options_read(&options, sizeof options, given, "hone_engine_options", err));
    if (options.numerics != HONE_NUMERICS_INT8 && options.numerics != HONE_NUMERICS_F32)
        return hn_fail(err, HN_USAGE, "numerics %d is not one of hone_numerics",
                       (int)options.numerics);
    if (options.context < 0 || options.context > HN_ARCH_MAX_CTX)
        return hn_fail(err, HN_USAGE, "a context of %d tokens is not possible", options.context);
    const bool f32 = options.numerics == HONE_NUMERICS_F32;
    const hn_model_options model_options = {.n_threads = options.n_threads,
                                            .isa = options.isa,
                                            .numerics = f32 ? HN_NUMERICS_F32 : HN_NUMERICS_INT8,
                                            .kv_type = f32 ? HN_F32 : HN_F16,
                                            .weights_cache = weights_cache(&options)};
    hone_engine *engine = hn_calloc(1, sizeof *engine);
    if (!engine)
        return hn_fail_no_memory(err, sizeof *engine);
    hn_status status = open_model(&engine->model, path, &model_options, err);
    if (status == HN_OK)
        status = hn_constraint_pool_new(&engine->constraints, engine->model->ckpt.tokenizer, err);
    if (status != HN_OK) {
        hn_model_free(engine->model);
        hn_free(engine);
        return status;
    }
    const int trained = engine->model->arch.n_ctx_train;
    engine->context = options.context ? options.context
                      : trained > 0 && trained < HONE_CONTEXT_DEFAULT_MAX
                          ? trained
                          : HONE_CONTEXT_DEFAULT_MAX;
    atomic_init(&engine->holds, 1);
    *out = engine;
    return HN_OK;
}

hone_status hone_engine_open(hone_engine **out, const char *path,
                             const hone_engine_options *options, hone_error *err) {
    hn_error why;
    return hn_library_report(engine_open(out, path, options, &why), &why, err);
}

void hn_library_engine_hold(hone_engine *engine) {
    atomic_fetch_add(&engine->holds, 1);
}

void hone_engine_close(hone_engine *engine) {
    if (!engine || atomic_fetch_sub(&engine->holds, 1) > 1)
        return;
    hn_constraint_pool_free(engine->constraints);
    hn_model_free(engine->model);
    hn_free(engine);
}

int hone_engine_n_vocab(const hone_engine *engine) {
    return engine ? engine->model->arch.n_vocab : 0;
}

int hone_engine_n_embd(const hone_engine *engine) {
    return engine ? engine->model->arch.n_embd : 0;
}

int hone_engine_context(const hone_engine *engine) {
    return engine ? engine->context : 0;
}

int hone_engine_n_threads(const hone_engine *engine) {
    return engine ? hn_pool_threads(hn_compute_pool(engine->model->compute)) : 0;
}

const char *hone_engine_isa(const hone_engine *engine) {
    return engine ? hn_isa_name(hn_compute_isa(engine->model->compute)) : NULL;
}

static hn_status adapter_open(hone_adapter **out, hone_engine *engine, const char *path,
                              hn_error *err) {
    HN_TRY(hn_library_need(out, "out", err));
    HN_TRY(hn_library_need(engine, "engine", err));
    HN_TRY(hn_library_need(path, "path", err));
    hone_adapter *adapter = hn_calloc(1, sizeof *adapter);
    if (!adapter)
        return hn_fail_no_memory(err, sizeof *adapter);
    hn_status status = hn_adapter_load(&adapter->adapter, path, engine->model, err);
    if (status != HN_OK) {
        hn_free(adapter);
        return status;
    }
    atomic_init(&adapter->holds, 1);
    adapter->engine = engine;
    hn_library_engine_hold(engine);
    *out = adapter;
    return HN_OK;
}

hone_status hone_adapter_open(hone_adapter **out, hone_engine *engine, const char *path,
                              hone_error *err) {
    hn_error why;
    return hn_library_report(adapter_open(out, engine, path, &why), &why, err);
}

void hn_library_adapter_hold(hone_adapter *adapter) {
    atomic_fetch_add(&adapter->holds, 1);
}

void hone_adapter_close(hone_adapter *adapter) {
    if (!adapter || atomic_fetch_sub(&adapter->holds, 1) > 1)
        return;
    hone_engine_close(adapter->engine);
    hn_adapter_free(adapter->adapter);
    hn_free(adapter);
}
