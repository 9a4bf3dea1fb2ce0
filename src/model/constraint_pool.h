/* Constraints by the text of their grammar or schema, kept between requests: a second answer to the
 * same schema finds the grammar compiled and the masks made. */
#pragma once

#include "model/constraint.h"

typedef enum hn_constraint_kind {
    HN_CONSTRAINT_GBNF,
    HN_CONSTRAINT_SCHEMA,
    HN_CONSTRAINT_CALLS, /* grammar/calls.h */
} hn_constraint_kind;

typedef struct hn_constraint_pool hn_constraint_pool;

typedef struct hn_pooled_constraint {
    hn_constraint *constraint; /* the caller's until it is given back; NULL = none */
    struct hn_pool_entry *entry;
} hn_pooled_constraint;

/* `tokenizer` is borrowed. Any number of threads may use a pool at once. */
HN_MUST_CHECK hn_status hn_constraint_pool_new(hn_constraint_pool **out,
                                               const hn_tokenizer *tokenizer, hn_error *err);
/* Everything must have been given back. NULL is nothing. */
void hn_constraint_pool_free(hn_constraint_pool *pool);
/* `where` opens messages about the text. HN_UNSUPPORTED, HN_BAD_INPUT as hn_grammar_from_... */
HN_MUST_CHECK hn_status hn_constraint_pool_take(hn_constraint_pool *pool, hn_constraint_kind kind,
                                                const char *text, size_t n_bytes, const char *where,
                                                hn_pooled_constraint *out, hn_error *err);
/* Without a constraint it does nothing. */
void hn_constraint_pool_give(hn_constraint_pool *pool, hn_pooled_constraint *pooled);
