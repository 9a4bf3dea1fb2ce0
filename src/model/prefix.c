/* The prefix tree: one node a block, its links in arrays as long as the cache has blocks. */
#include "model/prefix.h"

#include "base/mem.h"

#include <string.h>

enum { NONE = -1 };

/* A remembered block. Its tokens are the cache's. */
typedef struct node {
    bool remembered;
    uint64_t adapter_id;
    int32_t parent;       /* the block before it in its text; NONE = it begins one */
    int32_t child;        /* the latest of those that follow it */
    int32_t next, before; /* siblings, the latest first */
    int32_t chained;      /* the next in its hash bucket */
    int32_t newer, older; /* while only the tree holds it: by when it was let go */
    bool idle;
} node;

typedef struct hn_prefix {
    node *nodes;      /* (n_blocks) */
    int32_t *buckets; /* (n_buckets) the first block of each, a power of two of them */
    uint32_t n_buckets;
    int32_t first;          /* the latest block that begins a text */
    int32_t newest, oldest; /* of those that only the tree holds */
    int32_t n_idle;
    int32_t n_share; /* blocks of the cache up to which memory grows for them */
} hn_prefix;

hn_status hn_prefix_enable(hn_kv *kv, int32_t n_share, hn_error *err) {
    const size_t n = (size_t)kv->n_blocks;
    hn_prefix *p = hn_calloc(1, sizeof *p);
    if (!p)
        return hn_fail_no_memory(err, sizeof *p);
    p->n_share = n_share;
    p->n_buckets = 1;
    while (p->n_buckets < n)
        p->n_buckets *= 2;
    p->nodes = hn_calloc(n, sizeof *p->nodes);
    p->buckets = hn_calloc(p->n_buckets, sizeof *p->buckets);
    if (!p->nodes || !p->buckets) {
        hn_prefix_free(p);
        return hn_fail_no_memory(err, n * sizeof *p->nodes);
    }
    for (uint32_t i = 0; i < p->n_buckets; i++)
        p->buckets[i] = NONE;
    p->first = p->newest = p->oldest = NONE;
    hn_prefix_free(kv->prefix);
    kv->prefix = p;
    return HN_OK;
}

void hn_prefix_free(hn_prefix *p) {
    if (!p)
        return;
    hn_free(p->nodes);
    hn_free(p->buckets);
    hn_free(p);
}

static const int32_t *tokens_of(const hn_kv *kv, int32_t block) {
    return kv->tokens + (size_t)block * HN_KV_BLOCK;
}

static uint32_t bucket_of(const hn_prefix *p, int32_t parent, uint64_t adapter_id,
                          const int32_t *tokens) {
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t hash = (adapter_id + 1) * odd ^ (uint64_t)(uint32_t)parent;
    for (int i = 0; i < HN_KV_BLOCK; i++)
        hash = (hash ^ hash >> 29 ^ (uint64_t)(uint32_t)tokens[i]) * odd;
    return (uint32_t)(hash >> 32) & (p->n_buckets - 1);
}

/* The block with these tokens behind `parent`; NONE. */
static int32_t find_block(const hn_kv *kv, int32_t parent, uint64_t adapter_id,
                          const int32_t *tokens) {
    const hn_prefix *p = kv->prefix;
    int32_t block = p->buckets[bucket_of(p, parent, adapter_id, tokens)];
    for (; block != NONE; block = p->nodes[block].chained) {
        const node *at = &p->nodes[block];
        if (at->parent == parent && at->adapter_id == adapter_id &&
            memcmp(tokens_of(kv, block), tokens, HN_KV_BLOCK * sizeof *tokens) == 0)
            return block;
    }
    return NONE;
}

/* Of the blocks behind `parent`, the one that begins with most of these tokens; *length of them. */
static int32_t find_part(const hn_kv *kv, int32_t parent, uint64_t adapter_id,
                         const int32_t *tokens, int32_t n, int32_t *length) {
    enum { MAX_TRIES = 64 }; /* the latest ones */
    const hn_prefix *p = kv->prefix;
    int32_t best = NONE, tries = 0;
    *length = 0;
    for (int32_t block = parent == NONE ? p->first : p->nodes[parent].child;
         block != NONE && tries < MAX_TRIES; block = p->nodes[block].next, tries++) {
        if (p->nodes[block].adapter_id != adapter_id)
            continue;
        const int32_t *held = tokens_of(kv, block);
        int32_t same = 0;
        while (same < HN_KV_BLOCK && same < n && held[same] == tokens[same])
            same++;
        if (same > *length) {
            *length = same;
            best = block;
        }
    }
    return best;
}

/* Walks down the tree along the tokens; blocks: (blocks of n), may be NULL. */
static int32_t walk(const hn_kv *kv, uint64_t adapter_id, const int32_t *tokens, int32_t n,
                    int32_t *blocks, int32_t *n_live) {
    const hn_prefix *p = kv->prefix;
    int32_t parent = NONE, length = 0, part;
    *n_live = 0;
    if (!p)
        return 0;
    while (length + HN_KV_BLOCK <= n) {
        const int32_t block = find_block(kv, parent, adapter_id, tokens + length);
        if (block == NONE)
            break;
        if (blocks)
            blocks[length / HN_KV_BLOCK] = block;
        *n_live += !p->nodes[block].idle;
        length += HN_KV_BLOCK;
        parent = block;
    }
    const int32_t block = find_part(kv, parent, adapter_id, tokens + length, n - length, &part);
    if (block != NONE && blocks)
        blocks[length / HN_KV_BLOCK] = block;
    return length + part;
}

static uint64_t id_of(const hn_adapter *adapter) {
    return adapter ? adapter->id : 0;
}

hn_prefix_match hn_prefix_find(const hn_kv *kv, const hn_adapter *adapter, const int32_t *tokens,
                               int32_t n) {
    hn_prefix_match match;
    match.length = walk(kv, id_of(adapter), tokens, n, NULL, &match.n_live);
    return match;
}

int32_t hn_prefix_adopt(hn_kv *kv, int seq, const hn_adapter *adapter, const int32_t *tokens,
                        int32_t n) {
    hn_kv_seq *s = &kv->seqs[seq];
    int32_t n_live;
    hn_kv_truncate(kv, seq, 0);
    const int32_t length = walk(kv, id_of(adapter), tokens, n, s->blocks, &n_live);
    for (int32_t i = 0; i < hn_kv_blocks_of(length); i++)
        hn_kv_hold(kv, s->blocks[i]);
    s->length = length;
    s->adapter_id = id_of(adapter);
    s->n_remembered = length / HN_KV_BLOCK;
    return length;
}

static void link_node(hn_kv *kv, int32_t block, int32_t parent, uint64_t adapter_id) {
    hn_prefix *p = kv->prefix;
    int32_t *first = parent == NONE ? &p->first : &p->nodes[parent].child;
    int32_t *bucket = &p->buckets[bucket_of(p, parent, adapter_id, tokens_of(kv, block))];
    p->nodes[block] = (node){.remembered = true,
                             .adapter_id = adapter_id,
                             .parent = parent,
                             .child = NONE,
                             .next = *first,
                             .before = NONE,
                             .chained = *bucket,
                             .newer = NONE,
                             .older = NONE};
    if (*first != NONE)
        p->nodes[*first].before = block;
    *first = block;
    *bucket = block;
    kv->refs[block]++; /* the tree's own */
}

static void unlink_node(hn_kv *kv, int32_t block) {
    hn_prefix *p = kv->prefix;
    node *at = &p->nodes[block];
    int32_t *link = &p->buckets[bucket_of(p, at->parent, at->adapter_id, tokens_of(kv, block))];
    while (*link != block)
        link = &p->nodes[*link].chained;
    *link = at->chained;
    if (at->before != NONE)
        p->nodes[at->before].next = at->next;
    else if (at->parent != NONE)
        p->nodes[at->parent].child = at->next;
    else
        p->first = at->next;
    if (at->next != NONE)
        p->nodes[at->next].before = at->before;
    at->remembered = false;
}

void hn_prefix_remember(hn_kv *kv, int seq, int32_t n) {
    hn_kv_seq *s = &kv->seqs[seq];
    if (!kv->prefix || s->adapter_id == HN_KV_MIXED_ADAPTERS)
        return;
    n = n < s->length ? n : s->length;
    for (int32_t i = s->n_remembered; (i + 1) * HN_KV_BLOCK <= n; i++) {
        const int32_t parent = i > 0 ? s->blocks[i - 1] : NONE, block = s->blocks[i];
        const int32_t same = find_block(kv, parent, s->adapter_id, tokens_of(kv, block));
        if (same == NONE && !kv->prefix->nodes[block].remembered) {
            link_node(kv, block, parent, s->adapter_id);
        } else if (same != NONE && same != block) {
            hn_kv_hold(kv, same);
            s->blocks[i] = same;
            hn_kv_let_go(kv, block);
        }
        s->n_remembered = i + 1;
    }
}

/* Takes the block out of the list of those that only the tree holds. */
static void leave_idle(hn_prefix *p, int32_t block) {
    node *at = &p->nodes[block];
    *(at->newer != NONE ? &p->nodes[at->newer].older : &p->newest) = at->older;
    *(at->older != NONE ? &p->nodes[at->older].newer : &p->oldest) = at->newer;
    at->newer = at->older = NONE;
    at->idle = false;
    p->n_idle--;
}

void hn_prefix_held(hn_kv *kv, int32_t block) {
    if (kv->prefix && kv->prefix->nodes[block].idle)
        leave_idle(kv->prefix, block);
}

/* Whoever holds a block holds those before it, and lets them go later: in this list a block is
 * always older than the one before it in its text, so that the oldest has nothing behind it. */
void hn_prefix_let_go(hn_kv *kv, int32_t block) {
    hn_prefix *p = kv->prefix;
    if (!p || !p->nodes[block].remembered || p->nodes[block].idle)
        return;
    node *at = &p->nodes[block];
    at->idle = true;
    at->newer = NONE;
    at->older = p->newest;
    *(p->newest != NONE ? &p->nodes[p->newest].newer : &p->oldest) = block;
    p->newest = block;
    p->n_idle++;
}

bool hn_prefix_evict(hn_kv *kv) {
    hn_prefix *p = kv->prefix;
    if (!p || p->oldest == NONE)
        return false;
    const int32_t block = p->oldest;
    leave_idle(p, block);
    unlink_node(kv, block);
    hn_kv_let_go(kv, block);
    return true;
}

void hn_prefix_forget(hn_kv *kv) {
    while (hn_prefix_evict(kv)) {
    }
}

int32_t hn_prefix_idle(const hn_kv *kv) {
    return kv->prefix ? kv->prefix->n_idle : 0;
}

bool hn_prefix_share_is_full(const hn_kv *kv) {
    return kv->prefix && kv->n_touched >= kv->prefix->n_share;
}
