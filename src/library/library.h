/* What lies behind hone.h's opaque types. Engines and adapters are counted: closing one only drops
 * the caller's hold, so that the order in which a program closes things doesn't matter. */
#pragma once

#include "hone.h"

#include "model/constraint_pool.h"
#include "model/generate.h"
#include "model/model.h"

#include <stdatomic.h>

struct hone_engine {
    hn_model *model;
    hn_constraint_pool *constraints;
    int context;
    atomic_int holds; /* the caller's, adapters', sessions' */
};

struct hone_adapter {
    hone_engine *engine; /* held */
    hn_adapter *adapter;
    atomic_int holds;
};

struct hone_session {
    hone_engine *engine;   /* held */
    hone_adapter *adapter; /* held, or NULL */
    hn_kv *kv;             /* one sequence */
    hn_speculator *speculator;
    atomic_bool busy; /* a call runs on it */
    atomic_bool cancel;
};

enum { HONE_CONTEXT_DEFAULT_MAX = 4096 }; /* what a session takes without being told */

/* Copies a failure to the caller and returns its status; HN_OK leaves `out` alone. */
hone_status hn_library_report(hn_status status, const hn_error *err, hone_error *out);

/* HN_USAGE, naming `what`, when `pointer` is NULL. */
HN_MUST_CHECK hn_status hn_library_need(const void *pointer, const char *what, hn_error *err);

/* False for what no initialised struct says of its size. */
bool hn_library_size_ok(size_t size);
/* Lays what a caller's struct says over the defaults that `out` (of `size` bytes) holds. `given`
 * may be NULL, may be shorter (older programs), or longer where the rest is zero. */
HN_MUST_CHECK hn_status hn_library_options_read(void *out, size_t size, const void *given,
                                                const char *name, hn_error *err);
/* Fills a caller's struct of `given_size` bytes with `defaults` (of `size` bytes, its first field
 * being the size). NULL is nothing. */
void hn_library_options_write(void *options, size_t given_size, const void *defaults, size_t size);

void hn_library_engine_hold(hone_engine *engine);
void hn_library_adapter_hold(hone_adapter *adapter);

/* Takes the session for one call; HN_USAGE when another call has it. */
HN_MUST_CHECK hn_status hn_library_session_take(hone_session *session, hn_error *err);
void hn_library_session_give(hone_session *session);
static inline const hn_adapter *hn_library_session_lora(const hone_session *session) {
    return session->adapter ? session->adapter->adapter : NULL;
}
