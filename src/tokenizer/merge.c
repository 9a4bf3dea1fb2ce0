/* One word to ids: merge the best pair, leftmost first, until no pair merges. Most words are one
 * token and found whole; short words search their few pairs in a line; long ones keep the pairs in
 * a heap, so that a megabyte without a space costs n log n. */
#include "tokenizer/tk.h"

#include "base/text.h"

enum {
    SHORT_WORD = 48, /* symbols that are searched in a line */
};

#define NO_MERGE UINT32_MAX /* rank of a pair that doesn't merge */

/* Symbols of one word, side by side. Symbol i is text[at[i] .. at[i + 1]). */
typedef struct symbols {
    int32_t *ids;    /* -1 = unknown so far (only where scores decide) */
    uint32_t *at;    /* one more than symbols */
    uint32_t *rank;  /* of the pair (i, i + 1) */
    int32_t *merged; /* what that pair becomes */
    uint32_t count;
} symbols;

/* What a long word needs beyond; kept from word to word. */
typedef struct hn_tk_word_memory {
    uint32_t capacity;
    symbols s;
    uint32_t *next, *previous;
    uint64_t *heap; /* rank << 32 | symbol */
    size_t n_heap;
} hn_tk_word_memory;

static void word_memory_done(hn_tk_encoder *encoder) {
    hn_tk_word_memory *m = encoder->memory;
    if (!m)
        return;
    hn_free(m->s.ids);
    hn_free(m->s.at);
    hn_free(m->s.rank);
    hn_free(m->s.merged);
    hn_free(m->next);
    hn_free(m->previous);
    hn_free(m->heap);
    hn_free(m);
    encoder->memory = NULL;
}

void hn_tk_encoder_done(hn_tk_encoder *encoder) {
    word_memory_done(encoder);
    hn_free(encoder->memo);
}

/* Scores in the order of merging: the highest is the smallest number. */
static uint32_t score_rank(float score) {
    union {
        float f;
        uint32_t u;
    } bits = {score};
    uint32_t ordered = bits.u ^ (bits.u >> 31 ? 0xffffffffu : 0x80000000u);
    return ~ordered;
}

/* Fills rank and merged of the pair of symbols i and j (its right neighbour, ending at `end`). */
static inline void rank_pair(const hn_tokenizer *tk, const char *text, const symbols *s, uint32_t i,
                             uint32_t j, uint32_t end) {
    if (tk->pairs.slots) {
        const hn_tk_pair *pair =
            hn_tk_pair_find(&tk->pairs, (uint32_t)s->ids[i], (uint32_t)s->ids[j]);
        s->rank[i] = pair->rank1 - 1;
        s->merged[i] = (int32_t)pair->id;
        return;
    }
    uint32_t id = hn_tk_table_find(&tk->by_text, text + s->at[i], end - s->at[i]);
    s->rank[i] = id == HN_TK_NONE ? NO_MERGE : score_rank(tk->scores[id]);
    s->merged[i] = (int32_t)id;
}

/* Merges s in place, searching all pairs for the best each time. */
static void merge_short(const hn_tokenizer *tk, const char *text, symbols *s) {
    uint32_t n = s->count;
    for (uint32_t i = 0; i + 1 < n; i++)
        rank_pair(tk, text, s, i, i + 1, s->at[i + 2]);
    while (n > 1) {
        uint32_t best = NO_MERGE, where = 0;
        for (uint32_t i = 0; i + 1 < n; i++)
            if (s->rank[i] < best) {
                best = s->rank[i];
                where = i;
            }
        if (best == NO_MERGE)
            break;
        s->ids[where] = s->merged[where];
        n--;
        for (uint32_t i = where + 1; i < n; i++) {
            s->ids[i] = s->ids[i + 1];
            s->rank[i] = s->rank[i + 1];
            s->merged[i] = s->merged[i + 1];
            s->at[i] = s->at[i + 1];
        }
        s->at[n] = s->at[n + 1];
        if (where + 1 < n)
            rank_pair(tk, text, s, where, where + 1, s->at[where + 2]);
        if (where > 0)
            rank_pair(tk, text, s, where - 1, where, s->at[where + 1]);
    }
    s->count = n;
}

static void heap_push(hn_tk_word_memory *m, uint64_t value) {
    size_t i = m->n_heap++;
    while (i > 0 && m->heap[(i - 1) / 2] > value) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = value;
}

static uint64_t heap_pop(hn_tk_word_memory *m) {
    uint64_t top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= m->n_heap)
            break;
        if (child + 1 < m->n_heap && m->heap[child + 1] < m->heap[child])
            child++;
        if (m->heap[child] >= last)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* Ranks the pair that starts at symbol i, and queues it when it merges. */
static void rank_linked(const hn_tokenizer *tk, const char *text, hn_tk_word_memory *m,
                        uint32_t i) {
    uint32_t j = m->next[i];
    if (j >= m->s.count) {
        m->s.rank[i] = NO_MERGE;
        return;
    }
    rank_pair(tk, text, &m->s, i, j, m->s.at[m->next[j]]);
    if (m->s.rank[i] != NO_MERGE)
        heap_push(m, (uint64_t)m->s.rank[i] << 32 | i);
}

/* Merges a long word: symbols stay where they are, linked; a queued pair is stale when its first
 * symbol has another rank by now. Packs the remaining symbols to the front at the end. */
static void merge_long(const hn_tokenizer *tk, const char *text, hn_tk_word_memory *m) {
    symbols *s = &m->s;
    const uint32_t n = s->count;
    m->n_heap = 0;
    for (uint32_t i = 0; i <= n; i++) {
        m->next[i] = i + 1;
        m->previous[i] = i - 1;
    }
    for (uint32_t i = 0; i < n; i++)
        rank_linked(tk, text, m, i);
    while (m->n_heap) {
        uint64_t top = heap_pop(m);
        uint32_t i = (uint32_t)top;
        if (s->rank[i] != (uint32_t)(top >> 32))
            continue;
        uint32_t gone = m->next[i];
        s->ids[i] = s->merged[i];
        s->rank[gone] = NO_MERGE; /* and what is queued for it is stale */
        m->next[i] = m->next[gone];
        m->previous[m->next[i]] = i;
        rank_linked(tk, text, m, i);
        if (i > 0)
            rank_linked(tk, text, m, m->previous[i]);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i = m->next[i]) {
        s->ids[kept] = s->ids[i];
        s->at[kept++] = s->at[i];
    }
    s->at[kept] = s->at[n];
    s->count = kept;
}

static void add_symbol(symbols *s, int32_t id, size_t at) {
    s->ids[s->count] = id;
    s->at[s->count++] = (uint32_t)at;
}

static int32_t char_id(const hn_tokenizer *tk, const char *p, size_t size) {
    return size == 1 ? tk->ascii_ids[(uint8_t)*p]
                     : (int32_t)hn_tk_table_find(&tk->by_text, p, size);
}

/* True and added when every byte of the character has a token. */
static bool add_byte_tokens(const hn_tokenizer *tk, symbols *s, const char *p, size_t size,
                            size_t at) {
    for (size_t k = 0; k < size; k++)
        if (tk->byte_ids[(uint8_t)p[k]] < 0)
            return false;
    for (size_t k = 0; k < size; k++)
        add_symbol(s, tk->byte_ids[(uint8_t)p[k]], at + k);
    return true;
}

/* Splits a word into its first symbols. What the vocabulary lacks becomes byte tokens, the unknown
 * token (one for a run of them with fuse_unk), or nothing, in the order in which the `tokenizers`
 * package adds them: a waiting unknown comes out only before the next known character. */
static void split_symbols(const hn_tokenizer *tk, const char *text, size_t size, symbols *s) {
    bool scored = !tk->pairs.slots, waiting = false;
    size_t waiting_at = 0;
    s->count = 0;
    for (size_t i = 0, n; i < size; i += n) {
        n = tk->byte_level ? 1 : hn_tk_char_size((uint8_t)text[i]);
        int32_t id = tk->byte_level ? tk->byte_ids[(uint8_t)text[i]] : char_id(tk, text + i, n);
        if (id >= 0 || scored) {
            if (waiting)
                add_symbol(s, tk->model_unk, waiting_at);
            waiting = false;
            add_symbol(s, id, i);
            continue;
        }
        if (tk->byte_fallback && add_byte_tokens(tk, s, text + i, n, i))
            continue;
        if (tk->model_unk < 0)
            continue;
        if (waiting && !tk->fuse_unk)
            add_symbol(s, tk->model_unk, waiting_at);
        if (!waiting || !tk->fuse_unk)
            waiting_at = i;
        waiting = true;
    }
    if (waiting)
        add_symbol(s, tk->model_unk, waiting_at);
    s->at[s->count] = (uint32_t)size;
}

/* Ids out; a symbol that scores left without a token becomes its bytes' tokens. */
static hn_status push_symbols(hn_tk_encoder *encoder, const char *text, const symbols *s) {
    const hn_tokenizer *tk = encoder->tk;
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->ids[i] >= 0) {
            HN_TRY(hn_ids_push(encoder->out, s->ids[i], encoder->err));
            continue;
        }
        for (uint32_t k = s->at[i]; k < s->at[i + 1]; k++) {
            int32_t id = tk->byte_ids[(uint8_t)text[k]];
            if (id < 0)
                id = tk->model_unk;
            if (id >= 0)
                HN_TRY(hn_ids_push(encoder->out, id, encoder->err));
        }
    }
    return HN_OK;
}

static hn_status word_memory(hn_tk_encoder *encoder, size_t size) {
    hn_tk_word_memory *m = encoder->memory;
    if (m && m->capacity >= size)
        return HN_OK;
    if (size >= UINT32_MAX / 2)
        return hn_fail(encoder->err, HN_BAD_INPUT, "a word of %zu bytes is too long", size);
    word_memory_done(encoder);
    m = hn_calloc(1, sizeof *m);
    if (!m)
        return hn_fail_no_memory(encoder->err, sizeof *m);
    encoder->memory = m;
    m->s.ids = hn_reallocarray(NULL, size + 2, sizeof *m->s.ids);
    m->s.at = hn_reallocarray(NULL, size + 2, sizeof *m->s.at);
    m->s.rank = hn_reallocarray(NULL, size + 2, sizeof *m->s.rank);
    m->s.merged = hn_reallocarray(NULL, size + 2, sizeof *m->s.merged);
    m->next = hn_reallocarray(NULL, size + 2, sizeof *m->next);
    m->previous = hn_reallocarray(NULL, size + 2, sizeof *m->previous);
    /* a merge takes one entry out and puts at most two in */
    m->heap = hn_reallocarray(NULL, size + 2, 2 * sizeof *m->heap);
    if (!m->s.ids || !m->s.at || !m->s.rank || !m->s.merged || !m->next || !m->previous || !m->heap)
        return hn_fail_no_memory(encoder->err, (size + 2) * 40);
    m->capacity = (uint32_t)size;
    return HN_OK;
}

static hn_status merge_word(hn_tk_encoder *encoder, const char *text, size_t size) {
    const hn_tokenizer *tk = encoder->tk;
    if (size > SHORT_WORD) {
        HN_TRY(word_memory(encoder, size));
        hn_tk_word_memory *m = encoder->memory;
        split_symbols(tk, text, size, &m->s);
        if (m->s.count > SHORT_WORD)
            merge_long(tk, text, m);
        else
            merge_short(tk, text, &m->s);
        return push_symbols(encoder, text, &m->s);
    }
    int32_t ids[SHORT_WORD + 2], merged[SHORT_WORD + 2];
    uint32_t at[SHORT_WORD + 2], rank[SHORT_WORD + 2];
    symbols s = {ids, at, rank, merged, 0};
    split_symbols(tk, text, size, &s);
    merge_short(tk, text, &s);
    return push_symbols(encoder, text, &s);
}

/* What became of words that are several tokens, for texts that are worth it: the last word of each
 * hash counts. */
enum { MEMO_WORD = 16, MEMO_IDS = 6, MEMO_SLOTS = 2048, MEMO_MIN_TEXT = 4096 };

typedef struct hn_tk_memo {
    uint64_t word[2];     /* its bytes, zero-filled */
    uint32_t size, n_ids; /* size 0 = empty */
    int32_t ids[MEMO_IDS];
} hn_tk_memo;

/* The word's place, or NULL when nothing is kept; *hit when the word lies there. */
static hn_tk_memo *memo_of(hn_tk_encoder *encoder, hn_tk_key key, const char *text, size_t size,
                           uint64_t word[2], bool *hit) {
    *hit = false;
    if (size > MEMO_WORD || encoder->text_size < MEMO_MIN_TEXT)
        return NULL;
    if (!encoder->memo) /* without memory there is no memo, and all still works */
        encoder->memo = hn_calloc(MEMO_SLOTS, sizeof *encoder->memo);
    if (!encoder->memo)
        return NULL;
    word[0] = key.head;
    word[1] = 0;
    if (size > 8)
        memcpy(&word[1], text + size - 8, 8);
    hn_tk_memo *memo = &encoder->memo[key.hash % MEMO_SLOTS];
    *hit = memo->size == size && memo->word[0] == word[0] && memo->word[1] == word[1];
    return memo;
}

/* merge_word, unless the word was merged just before. */
static hn_status merge_or_recall(hn_tk_encoder *encoder, hn_tk_key key, const char *text,
                                 size_t size) {
    bool hit;
    uint64_t word[2];
    hn_ids *out = encoder->out;
    hn_tk_memo *memo = memo_of(encoder, key, text, size, word, &hit);
    if (hit) {
        for (uint32_t i = 0; i < memo->n_ids; i++)
            HN_TRY(hn_ids_push(out, memo->ids[i], encoder->err));
        return HN_OK;
    }
    size_t before = out->size;
    HN_TRY(merge_word(encoder, text, size));
    size_t n = out->size - before;
    if (memo && n <= MEMO_IDS) {
        *memo = (hn_tk_memo){{word[0], word[1]}, (uint32_t)size, (uint32_t)n, {0}};
        for (size_t i = 0; i < n; i++)
            memo->ids[i] = out->data[before + i];
    }
    return HN_OK;
}

hn_status hn_tk_word(hn_tk_encoder *encoder, const char *text, size_t size) {
    const hn_tokenizer *tk = encoder->tk;
    if (size == 0)
        return HN_OK;
    hn_tk_key key = hn_tk_key_of(text, size, tk->by_word.seed);
    hn_tk_slot *slot = hn_tk_table_slot(&tk->by_word, key, text, size);
    uint32_t id1 = slot ? hn_tk_slot_id1(slot) : 0;
    uint32_t whole = id1 >> HN_TK_WHOLE_SHIFT;
    int32_t id = (int32_t)(id1 & HN_TK_ID1) - 1;
    if (slot && (whole == HN_TK_ITSELF || tk->ignore_merges))
        return hn_ids_push(encoder->out, id, encoder->err);
    if (!slot || whole == HN_TK_SPLITS)
        return merge_or_recall(encoder, key, text, size);
    size_t before = encoder->out->size;
    HN_TRY(merge_word(encoder, text, size));
    bool itself = encoder->out->size == before + 1 && encoder->out->data[before] == id;
    whole = itself ? HN_TK_ITSELF : HN_TK_SPLITS;
    atomic_store_explicit(&slot->id1, (id1 & HN_TK_ID1) | whole << HN_TK_WHOLE_SHIFT,
                          memory_order_relaxed);
    return HN_OK;
}
