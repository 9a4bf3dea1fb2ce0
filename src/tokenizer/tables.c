/* The hash tables: text to id, and pairs of tokens to what they merge into. They are filled in
 * batches, so that the cache misses of one batch overlap: that is most of a tokenizer's loading. */
#include "tokenizer/tk.h"

enum { BATCH = 32, PAGE_BYTES = 4096 };

/* Half of them stay empty. */
static uint32_t slots_for(uint32_t count) {
    enum { FEWEST = 16 };
    const uint64_t twice = (uint64_t)count * 2 + FEWEST;
    return twice < UINT32_MAX ? (uint32_t)twice : UINT32_MAX;
}

/* Fresh memory is looked at before it is written, which would cost two page faults a page. */
static void touch_pages(void *memory, size_t size) {
    for (size_t i = 0; i < size; i += PAGE_BYTES)
        ((volatile char *)memory)[i] = 0;
}

hn_status hn_tk_table_new(hn_tokenizer *tk, hn_tk_table *table, const hn_vocab_text *keys,
                          uint32_t count, hn_error *err) {
    const uint32_t n = slots_for(count);
    table->slots = HN_ARENA_NEW(&tk->arena, hn_tk_slot, n);
    if (!table->slots)
        return hn_tk_no_memory(err);
    touch_pages(table->slots, sizeof *table->slots * n);
    table->n_slots = n;
    table->keys = keys;
    table->seed = tk->seed;
    return HN_OK;
}

static bool add_key(hn_tk_table *table, hn_tk_key key, uint32_t id) {
    const hn_vocab_text text = table->keys[id];
    if (hn_tk_table_slot(table, key, text.data, text.size))
        return false;
    uint32_t i = hn_tk_home(key.hash, table->n_slots);
    while (hn_tk_slot_id1(&table->slots[i]))
        i = hn_tk_next(i, table->n_slots);
    table->slots[i].head = key.head;
    table->slots[i].tag = key.tag;
    atomic_store_explicit(&table->slots[i].id1, id + 1, memory_order_relaxed);
    return true;
}

bool hn_tk_table_add(hn_tk_table *table, uint32_t id) {
    const hn_vocab_text text = table->keys[id];
    return add_key(table, hn_tk_key_of(text.data, text.size, table->seed), id);
}

static inline void prefetch_slot(const hn_tk_table *table, hn_tk_key key) {
    __builtin_prefetch(&table->slots[hn_tk_home(key.hash, table->n_slots)]);
}

uint32_t hn_tk_table_fill(hn_tk_table *table, const uint32_t *ids, uint32_t count) {
    uint32_t twice = count;
    for (uint32_t from = 0; from < count; from += BATCH) {
        uint32_t n = count - from < BATCH ? count - from : BATCH;
        hn_tk_key keys[BATCH];
        for (uint32_t i = 0; i < n; i++) {
            const hn_vocab_text text = table->keys[ids[from + i]];
            keys[i] = hn_tk_key_of(text.data, text.size, table->seed);
            prefetch_slot(table, keys[i]);
        }
        for (uint32_t i = 0; i < n; i++)
            if (!add_key(table, keys[i], ids[from + i]) && twice == count)
                twice = from + i;
    }
    return twice;
}

uint32_t hn_tk_table_find(const hn_tk_table *table, const char *data, size_t size) {
    const hn_tk_slot *slot =
        hn_tk_table_slot(table, hn_tk_key_of(data, size, table->seed), data, size);
    return slot ? (hn_tk_slot_id1(slot) & HN_TK_ID1) - 1 : HN_TK_NONE;
}

/* --- merges --- */

static hn_status pairs_new(hn_tokenizer *tk, uint32_t n_merges, hn_error *err) {
    const uint32_t n = slots_for(n_merges);
    tk->pairs.slots = HN_ARENA_NEW(&tk->pairs_arena, hn_tk_pair, n);
    if (!tk->pairs.slots)
        return hn_tk_no_memory(err);
    touch_pages(tk->pairs.slots, sizeof *tk->pairs.slots * n);
    tk->pairs.n_slots = n;
    return HN_OK;
}

/* A pair given twice keeps its last rank, as the `tokenizers` package does. */
static void pairs_add(const hn_tk_pairs *pairs, hn_tk_pair pair) {
    uint32_t i = hn_tk_pair_home(pairs, pair.left, pair.right);
    while (pairs->slots[i].rank1 &&
           (pairs->slots[i].left != pair.left || pairs->slots[i].right != pair.right))
        i = hn_tk_next(i, pairs->n_slots);
    pairs->slots[i] = pair;
}

/* One merge on its way into the table: left, right, and both together. */
typedef struct merge_parts {
    hn_vocab_text text[3];
    hn_tk_key key[3];
} merge_parts;

/* Looks up one part; HN_BAD_INPUT names what is no token. */
static hn_status find_part(const hn_tokenizer *tk, const merge_parts *parts, int part,
                           uint32_t rank, const char *where, uint32_t *id, hn_error *err) {
    const hn_vocab_text text = parts->text[part];
    const hn_tk_slot *slot = hn_tk_table_slot(&tk->by_text, parts->key[part], text.data, text.size);
    if (!slot)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: merge %u: '%.*s' is not in the vocabulary; the merges belong to "
                       "another vocabulary or the file is damaged",
                       where, rank, (int)(text.size < 80 ? text.size : 80), text.data);
    *id = (hn_tk_slot_id1(slot) & HN_TK_ID1) - 1;
    return HN_OK;
}

/* Cuts a merge at n_left; the joined text goes to *joined, which moves on. */
static void cut_merge(const hn_tokenizer *tk, hn_vocab_text merge, uint32_t n_left, char **joined,
                      merge_parts *parts) {
    size_t n_right = merge.size - n_left - 1;
    memcpy(*joined, merge.data, n_left);
    memcpy(*joined + n_left, merge.data + n_left + 1, n_right);
    parts->text[0] = (hn_vocab_text){merge.data, n_left};
    parts->text[1] = (hn_vocab_text){merge.data + n_left + 1, n_right};
    parts->text[2] = (hn_vocab_text){*joined, merge.size - 1};
    *joined += merge.size - 1;
    for (int k = 0; k < 3; k++) {
        parts->key[k] = hn_tk_key_of(parts->text[k].data, parts->text[k].size, tk->by_text.seed);
        prefetch_slot(&tk->by_text, parts->key[k]);
    }
}

hn_status hn_tk_merges_fill(hn_tokenizer *tk, const hn_vocab_text *merges, const uint32_t *n_left,
                            const char *where, hn_error *err) {
    HN_TRY(pairs_new(tk, tk->n_merges, err));
    hn_buf joined = {.max = SIZE_MAX};
    hn_status status = HN_OK;
    for (uint32_t from = 0; from < tk->n_merges; from += BATCH) {
        uint32_t n = tk->n_merges - from < BATCH ? tk->n_merges - from : BATCH;
        merge_parts parts[BATCH];
        hn_tk_pair pairs[BATCH];
        size_t total = 1;
        for (uint32_t i = 0; i < n; i++)
            total += merges[from + i].size;
        hn_buf_reset(&joined);
        hn_buf_reserve(&joined, total);
        HN_GO(hn_buf_check(&joined, err));
        char *out = joined.data;
        for (uint32_t i = 0; i < n; i++)
            cut_merge(tk, merges[from + i], n_left[from + i], &out, &parts[i]);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t ids[3];
            for (int k = 0; k < 3; k++)
                HN_GO(find_part(tk, &parts[i], k, from + i, where, &ids[k], err));
            pairs[i] = (hn_tk_pair){ids[0], ids[1], from + i + 1, ids[2]};
            __builtin_prefetch(&tk->pairs.slots[hn_tk_pair_home(&tk->pairs, ids[0], ids[1])]);
        }
        for (uint32_t i = 0; i < n; i++)
            pairs_add(&tk->pairs, pairs[i]);
    }
done:
    hn_buf_done(&joined);
    return status;
}
