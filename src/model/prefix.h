/* Beginnings of texts that a KV cache remembers: full blocks of sequences, whether those still live
 * or not, as a tree by (the block before, adapter, tokens). A new text begins with the longest
 * beginning that is remembered; what nobody uses any more stays until its block is needed, the last
 * used longest. Where nothing is remembered a cache is as it was: plain blocks. */
#pragma once

#include "model/kv.h"

/* The cache remembers from now on. Everything is allocated here. Up to n_share blocks memory grows
 * rather than that something is forgotten; beyond them only where sequences need more at once, so
 * that under a load that stays the same it soon stays the same too. */
HN_MUST_CHECK hn_status hn_prefix_enable(hn_kv *kv, int32_t n_share, hn_error *err);

typedef struct hn_prefix_match {
    int32_t length; /* tokens that are remembered */
    int32_t n_live; /* their blocks that running sequences hold anyway */
} hn_prefix_match;
/* The longest remembered beginning of `tokens` (n), made with this adapter (NULL = the base alone).
 */
hn_prefix_match hn_prefix_find(const hn_kv *kv, const hn_adapter *adapter, const int32_t *tokens,
                               int32_t n);
/* Lets the empty sequence begin with that; returns its length. Part of a block is shared too, and
 * copied when it is written to. */
int32_t hn_prefix_adopt(hn_kv *kv, int seq, const hn_adapter *adapter, const int32_t *tokens,
                        int32_t n);
/* Remembers the full blocks of the sequence's first n tokens. What another sequence computed
 * already is held once from then on. Sequences of several adapters aren't remembered. */
void hn_prefix_remember(hn_kv *kv, int seq, int32_t n);
/* Blocks that only the tree holds: they are to be had. */
int32_t hn_prefix_idle(const hn_kv *kv);
/* Memory may not grow any more for them. */
bool hn_prefix_share_is_full(const hn_kv *kv);
/* Forgets what no sequence holds. */
void hn_prefix_forget(hn_kv *kv);

/* For kv.c: counted holds on blocks. */
void hn_prefix_free(struct hn_prefix *prefix);
/* A block that was held once more or less; a sequence let it go with one hold left. */
void hn_prefix_held(hn_kv *kv, int32_t block);
void hn_prefix_let_go(hn_kv *kv, int32_t block);
/* Makes one block free that only the tree holds; false when there is none. */
bool hn_prefix_evict(hn_kv *kv);
