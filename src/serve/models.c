/* One lock guards the table; opening and closing happen outside it, under the states OPENING and
 * CLOSING, and whoever wants the model meanwhile waits. */
#include "serve/models.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/dora.h"
#include "serve/models_open.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct hn_models {
    hn_models_options options;
    hn_model_entry *entries; /* (n) */
    size_t n;
    char *draft_path;
    bool draining;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static hn_model_entry *entry_of(hn_served *served) {
    return (hn_model_entry *)(void *)((char *)served - offsetof(hn_model_entry, served));
}

/* ---- opening and closing, under the lock ---- */

static void close_entry(hn_models *m, hn_model_entry *e) {
    e->state = HN_ENTRY_CLOSING;
    pthread_mutex_unlock(&m->lock);
    hn_model_entry_close(e);
    pthread_mutex_lock(&m->lock);
    e->state = HN_ENTRY_CLOSED;
    pthread_cond_broadcast(&m->changed);
}

static bool is_idle(const hn_model_entry *e) {
    return e->state == HN_ENTRY_OPEN && e->n_users == 0 && e->n_peeks == 0;
}

/* The open model that nobody uses and that was used longest ago. */
static hn_model_entry *idlest(hn_models *m) {
    hn_model_entry *best = NULL;
    for (size_t i = 0; i < m->n; i++) {
        hn_model_entry *e = &m->entries[i];
        if (is_idle(e) && (!best || e->last_used_ns < best->last_used_ns))
            best = e;
    }
    return best;
}

static uint64_t held_bytes(const hn_models *m) {
    uint64_t total = 0;
    for (size_t i = 0; i < m->n; i++)
        if (m->entries[i].state != HN_ENTRY_CLOSED)
            total += m->entries[i].n_bytes;
    return total;
}

/* Alone a model may be as large as it is. */
static bool has_room(const hn_models *m, const hn_model_entry *e) {
    const uint64_t limit = m->options.memory_bytes, held = held_bytes(m);
    return !limit || held == 0 || held + e->n_bytes <= limit;
}

static hn_status open_entry(hn_models *m, hn_model_entry *e, hn_error *err) {
    e->state = HN_ENTRY_OPENING;
    pthread_mutex_unlock(&m->lock);
    hn_status status = hn_model_entry_open(e, &m->options, m->draft_path, err);
    pthread_mutex_lock(&m->lock);
    e->state = status == HN_OK ? HN_ENTRY_OPEN : HN_ENTRY_CLOSED;
    e->last_used_ns = hn_clock_ns();
    if (status == HN_OK && m->draining)
        hn_engine_drain(e->served.engine);
    pthread_cond_broadcast(&m->changed);
    return status;
}

/* ---- the table ---- */

static void init_changed(pthread_cond_t *changed) {
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

hn_status hn_models_new(hn_models **out, const hn_model_place *places, size_t n,
                        const hn_models_options *options, hn_error *err) {
    hn_models *m = hn_calloc(1, sizeof *m);
    hn_status status = HN_OK;
    if (!m)
        return hn_fail_no_memory(err, sizeof *m);
    m->options = *options;
    pthread_mutex_init(&m->lock, NULL);
    init_changed(&m->changed);
    m->entries = hn_calloc(n ? n : 1, sizeof *m->entries);
    m->draft_path = options->draft_path ? hn_strdup(options->draft_path) : NULL;
    if (!m->entries || (options->draft_path && !m->draft_path))
        HN_GO(hn_fail_no_memory(err, n * sizeof *m->entries));
    for (; m->n < n; m->n++) {
        HN_GO(hn_model_entry_init(&m->entries[m->n], &places[m->n], err));
        m->entries[m->n].served.index = m->n;
    }
    HN_GO(hn_model_entries_check(m->entries, n, err));
done:
    if (status == HN_OK)
        *out = m;
    else
        hn_models_free(m);
    return status;
}

hn_status hn_models_open_all(hn_models *m, hn_error *err) {
    hn_status status = HN_OK;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n && !m->options.lazy && !m->draining && status == HN_OK; i++) {
        hn_model_entry *e = &m->entries[i];
        while (e->state == HN_ENTRY_OPENING) /* for a request that has come already */
            pthread_cond_wait(&m->changed, &m->lock);
        if (e->state == HN_ENTRY_CLOSED && has_room(m, e))
            status = open_entry(m, e, err);
    }
    pthread_mutex_unlock(&m->lock);
    return status;
}

void hn_models_free(hn_models *m) {
    if (!m)
        return;
    for (size_t i = 0; i < m->n; i++) {
        if (m->entries[i].state == HN_ENTRY_OPEN)
            hn_model_entry_close(&m->entries[i]);
        hn_model_entry_done(&m->entries[i]);
    }
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    hn_free(m->entries);
    hn_free(m->draft_path);
    hn_free(m);
}

/* Names are never changed: no lock. */
static hn_model_entry *find(hn_models *m, const char *name, int *adapter) {
    *adapter = -1;
    if (!name || !*name)
        return m->n ? &m->entries[0] : NULL;
    for (size_t i = 0; i < m->n; i++)
        if (strcmp(m->entries[i].name, name) == 0)
            return &m->entries[i];
    for (size_t i = 0; i < m->n; i++)
        for (size_t j = 0; j < m->entries[i].served.n_adapters; j++)
            if (strcmp(m->entries[i].adapters[j].name, name) == 0) {
                *adapter = (int)j;
                return &m->entries[i];
            }
    return NULL;
}

/* What may change soon: a request that ends, a model that is being closed. False after a while. */
static bool wait_for_room(hn_models *m, struct timespec *until) {
    enum { PATIENCE_S = 2 };
    if (until->tv_sec == 0) {
        clock_gettime(CLOCK_MONOTONIC, until);
        until->tv_sec += PATIENCE_S;
    }
    return pthread_cond_timedwait(&m->changed, &m->lock, until) == 0;
}

/* Returns with the model open; idle ones make room. Under the lock, which others get meanwhile. */
static hn_status make_open(hn_models *m, hn_model_entry *e, hn_problem *problem) {
    enum { AGAIN_S = 5 };
    struct timespec until = {0};
    hn_error err = {0};
    while (e->state != HN_ENTRY_OPEN) {
        hn_model_entry *victim = idlest(m);
        if (e->state != HN_ENTRY_CLOSED) {
            pthread_cond_wait(&m->changed, &m->lock);
        } else if (has_room(m, e)) {
            if (open_entry(m, e, &err) != HN_OK)
                return hn_problem_http(problem, 500, "the model '%s' can't be opened", e->name);
        } else if (victim) {
            close_entry(m, victim);
        } else if (!wait_for_room(m, &until)) {
            (void)hn_problem_http(problem, 503,
                                  "there is no memory for the model '%s' while others are in use: "
                                  "try later",
                                  e->name);
            problem->retry_after_s = AGAIN_S;
            return HN_BUSY;
        }
    }
    return HN_OK;
}

hn_status hn_models_take(hn_models *m, const char *name, hn_served **out, int *adapter,
                         hn_problem *problem) {
    hn_model_entry *e = find(m, name, adapter);
    if (!e)
        return hn_problem_no_model(problem, name ? name : "");
    pthread_mutex_lock(&m->lock);
    const hn_status status = make_open(m, e, problem);
    if (status == HN_OK) {
        e->n_users++;
        e->last_used_ns = hn_clock_ns();
        *out = &e->served;
    }
    pthread_mutex_unlock(&m->lock);
    return status;
}

bool hn_models_is_open(hn_models *m, const char *name) {
    int adapter;
    const hn_model_entry *e = find(m, name, &adapter);
    pthread_mutex_lock(&m->lock);
    const bool is_open = !e || e->state == HN_ENTRY_OPEN; /* an unknown one is refused at once */
    pthread_mutex_unlock(&m->lock);
    return is_open;
}

hn_status hn_models_find(hn_models *m, const char *name, size_t *i, hn_problem *problem) {
    int adapter;
    const hn_model_entry *e = find(m, name, &adapter);
    if (!e)
        return hn_problem_no_model(problem, name ? name : "");
    *i = e->served.index;
    return HN_OK;
}

void hn_models_give(hn_models *m, hn_served *served) {
    hn_model_entry *e = entry_of(served);
    pthread_mutex_lock(&m->lock);
    if (--e->n_users == 0)
        pthread_cond_broadcast(&m->changed);
    e->last_used_ns = hn_clock_ns();
    pthread_mutex_unlock(&m->lock);
}

void hn_models_sweep(hn_models *m) {
    const uint64_t idle_ns = (uint64_t)(m->options.idle_unload_s * 1e9);
    if (!idle_ns)
        return;
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->n; i++) {
        hn_model_entry *e = &m->entries[i];
        if (is_idle(e) && hn_clock_ns() - e->last_used_ns > idle_ns)
            close_entry(m, e);
    }
    pthread_mutex_unlock(&m->lock);
}

void hn_models_drain(hn_models *m) {
    pthread_mutex_lock(&m->lock);
    m->draining = true;
    for (size_t i = 0; i < m->n; i++)
        if (m->entries[i].state == HN_ENTRY_OPEN)
            hn_engine_drain(m->entries[i].served.engine);
    pthread_mutex_unlock(&m->lock);
}

/* ---- what there is ---- */

size_t hn_models_count(const hn_models *m) {
    return m->n;
}

void hn_models_info(hn_models *m, size_t i, hn_model_info *out) {
    const hn_model_entry *e = &m->entries[i];
    pthread_mutex_lock(&m->lock);
    *out = (hn_model_info){.name = e->name,
                           .path = e->path,
                           .n_adapters = e->served.n_adapters,
                           .is_open = e->state == HN_ENTRY_OPEN,
                           .created = e->created};
    pthread_mutex_unlock(&m->lock);
}

void hn_models_adapter_info(hn_models *m, size_t i, size_t adapter, hn_adapter_info *out) {
    const hn_entry_adapter *a = &m->entries[i].adapters[adapter];
    pthread_mutex_lock(&m->lock);
    *out = (hn_adapter_info){a->name, a->path, a->scale};
    pthread_mutex_unlock(&m->lock);
}

void hn_models_adapter_scale(hn_models *m, size_t i, size_t adapter, float scale) {
    pthread_mutex_lock(&m->lock);
    m->entries[i].adapters[adapter].scale = scale;
    pthread_mutex_unlock(&m->lock);
}

hn_served *hn_models_peek(hn_models *m, size_t i) {
    hn_served *served = NULL;
    pthread_mutex_lock(&m->lock);
    if (m->entries[i].state == HN_ENTRY_OPEN) {
        served = &m->entries[i].served;
        m->entries[i].n_peeks++;
    }
    pthread_mutex_unlock(&m->lock);
    return served;
}

void hn_models_unpeek(hn_models *m, hn_served *served) {
    pthread_mutex_lock(&m->lock);
    if (--entry_of(served)->n_peeks == 0)
        pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

/* ---- adapters ---- */

hn_status hn_served_adapter(hn_models *m, hn_served *served, const hn_adapter_use *uses, size_t n,
                            const hn_adapter **out, hn_problem *problem) {
    hn_error err;
    pthread_mutex_lock(&m->lock); /* mixing two adapters takes milliseconds, and is kept */
    hn_status status = hn_model_entry_mix(entry_of(served), uses, n, out, &err);
    pthread_mutex_unlock(&m->lock);
    return status == HN_OK ? HN_OK : hn_problem_from(problem, "lora", &err);
}
