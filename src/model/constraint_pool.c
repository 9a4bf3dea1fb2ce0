#include "model/constraint_pool.h"

#include "base/mem.h"
#include "grammar/calls.h"

#include <pthread.h>
#include <string.h>

enum {
    MAX_GRAMMARS = 8, /* that are kept while nobody uses them; the last used ones */
    MAX_IDLE = 8,     /* constraints a grammar: their masks are what takes memory */
};

typedef struct hn_pool_entry {
    struct hn_pool_entry *next; /* used before this one */
    hn_constraint_kind kind;
    char *text; /* (n_bytes) */
    size_t n_bytes;
    hn_grammar *grammar;
    hn_constraint *idle[MAX_IDLE];
    int n_idle, n_used;
} hn_pool_entry;

struct hn_constraint_pool {
    pthread_mutex_t lock;
    const hn_tokenizer *tokenizer;
    pthread_mutex_t trie_lock;
    hn_token_trie *trie;    /* made with the first constraint */
    hn_pool_entry *entries; /* the last used first */
};

hn_status hn_constraint_pool_new(hn_constraint_pool **out, const hn_tokenizer *tokenizer,
                                 hn_error *err) {
    hn_constraint_pool *pool = hn_calloc(1, sizeof *pool);
    if (!pool)
        return hn_fail_no_memory(err, sizeof *pool);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->trie_lock, NULL);
    pool->tokenizer = tokenizer;
    *out = pool;
    return HN_OK;
}

static void entry_free(hn_pool_entry *entry) {
    while (entry->n_idle)
        hn_constraint_free(entry->idle[--entry->n_idle]);
    hn_grammar_free(entry->grammar);
    hn_free(entry->text);
    hn_free(entry);
}

void hn_constraint_pool_free(hn_constraint_pool *pool) {
    if (!pool)
        return;
    while (pool->entries) {
        hn_pool_entry *entry = pool->entries;
        pool->entries = entry->next;
        entry_free(entry);
    }
    hn_token_trie_free(pool->trie);
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->trie_lock);
    hn_free(pool);
}

/* Takes the entry of this text out of the list; NULL when there is none. */
static hn_pool_entry *unlink_entry(hn_constraint_pool *pool, hn_constraint_kind kind,
                                   const char *text, size_t n_bytes) {
    for (hn_pool_entry **at = &pool->entries; *at; at = &(*at)->next) {
        hn_pool_entry *entry = *at;
        if (entry->kind != kind || entry->n_bytes != n_bytes ||
            memcmp(entry->text, text, n_bytes) != 0)
            continue;
        *at = entry->next;
        return entry;
    }
    return NULL;
}

static hn_status compile(hn_pool_entry **out, hn_constraint_kind kind, const char *text,
                         size_t n_bytes, const char *where, hn_error *err) {
    hn_pool_entry *entry = hn_calloc(1, sizeof *entry);
    hn_status status = HN_OK;
    HN_GO(entry ? HN_OK : hn_fail_no_memory(err, sizeof *entry));
    entry->kind = kind;
    entry->n_bytes = n_bytes;
    entry->text = hn_malloc(n_bytes + 1);
    HN_GO(entry->text ? HN_OK : hn_fail_no_memory(err, n_bytes));
    memcpy(entry->text, text, n_bytes);
    if (kind == HN_CONSTRAINT_GBNF)
        HN_GO(hn_grammar_from_gbnf(&entry->grammar, text, n_bytes, where, err));
    else if (kind == HN_CONSTRAINT_SCHEMA)
        HN_GO(hn_grammar_from_schema_text(&entry->grammar, text, n_bytes, where, err));
    else
        HN_GO(hn_grammar_from_calls_text(&entry->grammar, text, n_bytes, where, err));
    *out = entry;
    entry = NULL;
done:
    if (entry)
        entry_free(entry);
    return status;
}

/* Drops what was used longest ago and isn't now. */
static void trim(hn_constraint_pool *pool) {
    int n = 0;
    for (hn_pool_entry **at = &pool->entries; *at;) {
        hn_pool_entry *entry = *at;
        if (++n > MAX_GRAMMARS && entry->n_used == 0) {
            *at = entry->next;
            entry_free(entry);
        } else {
            at = &entry->next;
        }
    }
}

/* The entry is used once less; the constraint (may be NULL) waits for the next one. */
static void give_entry(hn_constraint_pool *pool, hn_pool_entry *entry, hn_constraint *constraint) {
    pthread_mutex_lock(&pool->lock);
    entry->n_used--;
    if (constraint && entry->n_idle < MAX_IDLE) {
        entry->idle[entry->n_idle++] = constraint;
        constraint = NULL;
    }
    trim(pool);
    pthread_mutex_unlock(&pool->lock);
    hn_constraint_free(constraint);
}

/* Puts the entry first; it won't go while it is used. */
static void use_entry(hn_constraint_pool *pool, hn_pool_entry *entry) {
    entry->next = pool->entries;
    pool->entries = entry;
    entry->n_used++;
}

/* The entry of this text, in use. Compiling may take long: others needn't wait for it. */
static hn_status take_entry(hn_constraint_pool *pool, hn_constraint_kind kind, const char *text,
                            size_t n_bytes, const char *where, hn_pool_entry **out, hn_error *err) {
    hn_pool_entry *made = NULL;
    pthread_mutex_lock(&pool->lock);
    hn_pool_entry *entry = unlink_entry(pool, kind, text, n_bytes);
    if (!entry) {
        pthread_mutex_unlock(&pool->lock);
        HN_TRY(compile(&made, kind, text, n_bytes, where, err));
        pthread_mutex_lock(&pool->lock);
        entry = unlink_entry(pool, kind, text, n_bytes); /* another thread was quicker */
        if (!entry) {
            entry = made;
            made = NULL;
        }
    }
    use_entry(pool, entry);
    trim(pool);
    pthread_mutex_unlock(&pool->lock);
    if (made)
        entry_free(made);
    *out = entry;
    return HN_OK;
}

static hn_status take_trie(hn_constraint_pool *pool, hn_error *err) {
    hn_status status = HN_OK;
    pthread_mutex_lock(&pool->trie_lock);
    if (!pool->trie)
        status = hn_tokenizer_trie(&pool->trie, pool->tokenizer, err);
    pthread_mutex_unlock(&pool->trie_lock);
    return status;
}

hn_status hn_constraint_pool_take(hn_constraint_pool *pool, hn_constraint_kind kind,
                                  const char *text, size_t n_bytes, const char *where,
                                  hn_pooled_constraint *out, hn_error *err) {
    hn_pooled_constraint taken = {0};
    if (n_bytes > HN_GRAMMAR_MAX_BYTES)
        return hn_fail(err, HN_BAD_INPUT, "%s: %zu bytes, at most %d are possible", where, n_bytes,
                       HN_GRAMMAR_MAX_BYTES);
    HN_TRY(take_trie(pool, err));
    HN_TRY(take_entry(pool, kind, text, n_bytes, where, &taken.entry, err));
    pthread_mutex_lock(&pool->lock);
    if (taken.entry->n_idle)
        taken.constraint = taken.entry->idle[--taken.entry->n_idle];
    pthread_mutex_unlock(&pool->lock);
    if (!taken.constraint) {
        hn_status status = hn_constraint_new(&taken.constraint, taken.entry->grammar, pool->trie,
                                             pool->tokenizer, err);
        if (status != HN_OK) {
            give_entry(pool, taken.entry, NULL);
            return status;
        }
    }
    *out = taken;
    return HN_OK;
}

void hn_constraint_pool_give(hn_constraint_pool *pool, hn_pooled_constraint *pooled) {
    if (!pooled->constraint)
        return;
    give_entry(pool, pooled->entry, pooled->constraint);
    *pooled = (hn_pooled_constraint){0};
}
