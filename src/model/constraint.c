/* Masks over logits: what the grammar allows, and the tokens that end an answer. */
#include "model/constraint.h"

#include "base/arena.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

struct hn_constraint {
    const hn_tokenizer *tokenizer;
    hn_matcher *matcher;
    int32_t *ends; /* ids that end an answer */
    float *kept;   /* (n_ends) their logits */
    int32_t n_ends, n_vocab;
    uint64_t *first_mask; /* tokens that may not come first; NULL = all may */
    bool at_start;
};

/* Room for a control token's name; one that is longer can't come. */
typedef struct name_room {
    char bytes[128];
} name_room;

/* What a grammar reads for the token, in `room` or the tokenizer; *n_bytes 0 = it can't come: the
 * end of an answer, which has its own rules, and what looks like a control token. */
static void token_text(const hn_tokenizer *tokenizer, int32_t id, name_room *room,
                       const char **data, size_t *n_bytes) {
    const bool control = hn_tokenizer_is_control(tokenizer, id);
    *data = NULL;
    *n_bytes = 0;
    if (hn_tokenizer_is_end(tokenizer, id))
        return;
    hn_token_bytes(tokenizer, id, control, data, n_bytes);
    if (*n_bytes >= sizeof room->bytes ? control
                                       : *n_bytes && memchr(*data, HN_GRAMMAR_CONTROL, *n_bytes))
        *n_bytes = 0;
    if (!control || !*n_bytes)
        return;
    room->bytes[0] = (char)HN_GRAMMAR_CONTROL;
    memcpy(room->bytes + 1, *data, *n_bytes);
    *data = room->bytes;
    ++*n_bytes;
}

/* Names of control tokens, for as long as the tree is being made. */
typedef struct trie_texts {
    const hn_tokenizer *tokenizer;
    hn_arena names;
    bool failed;
} trie_texts;

static void trie_text(void *context, int32_t id, const char **data, size_t *n_bytes) {
    trie_texts *t = context;
    name_room room;
    token_text(t->tokenizer, id, &room, data, n_bytes);
    if (*data != room.bytes)
        return;
    *data = hn_arena_strndup(&t->names, room.bytes, *n_bytes);
    t->failed |= !*data;
    *n_bytes = *data ? *n_bytes : 0;
}

hn_status hn_tokenizer_trie(hn_token_trie **out, const hn_tokenizer *tokenizer, hn_error *err) {
    trie_texts texts = {.tokenizer = tokenizer};
    hn_token_trie *trie = NULL;
    hn_status status =
        hn_token_trie_new(&trie, (int32_t)hn_tokenizer_size(tokenizer), trie_text, &texts, err);
    if (status == HN_OK && texts.failed)
        status = hn_fail_no_memory(err, sizeof(name_room));
    hn_arena_done(&texts.names);
    if (status == HN_OK)
        *out = trie;
    else
        hn_token_trie_free(trie);
    return status;
}

/* Decodes `n` times the token and compares: *first, the token loses bytes at a text's beginning;
 * *between, the text isn't its tokens' bytes one after the other. */
static hn_status look_at_decoder(const hn_tokenizer *tokenizer, int32_t id, bool *first,
                                 bool *between, hn_error *err) {
    const int32_t twice[2] = {id, id};
    const char *data;
    size_t size;
    hn_buf one = {0}, two = {0};
    hn_token_bytes(tokenizer, id, false, &data, &size);
    hn_status status = hn_decode(tokenizer, twice, 1, false, &one, err);
    if (status == HN_OK)
        status = hn_decode(tokenizer, twice, 2, false, &two, err);
    *first = one.size != size;
    *between = two.size != one.size + size;
    hn_buf_done(&one);
    hn_buf_done(&two);
    return status;
}

/* Where the decoder takes a blank from the first token, tokens with a blank may not come first. */
static hn_status find_first_mask(hn_constraint *c, bool starts_free, hn_error *err) {
    bool first = false, between = false, found = false;
    const size_t words = ((size_t)c->n_vocab + 63) / 64;
    for (int32_t id = 0; id < c->n_vocab && !found; id++) {
        name_room room;
        const char *data;
        size_t size;
        token_text(c->tokenizer, id, &room, &data, &size);
        found = size == 2 && data[0] == ' ' && data[1] >= 'a' && data[1] <= 'z';
        if (found)
            HN_TRY(look_at_decoder(c->tokenizer, id, &first, &between, err));
    }
    if (between)
        return hn_fail(err, HN_UNSUPPORTED,
                       "a grammar isn't possible with this tokenizer: it puts text between tokens");
    if (!first || starts_free)
        return HN_OK;
    c->first_mask = hn_calloc(words, sizeof *c->first_mask);
    if (!c->first_mask)
        return hn_fail_no_memory(err, words * sizeof *c->first_mask);
    for (int32_t id = 0; id < c->n_vocab; id++) {
        name_room room;
        const char *data;
        size_t size;
        token_text(c->tokenizer, id, &room, &data, &size);
        if (size && memchr(data, ' ', size))
            c->first_mask[id >> 6] |= (uint64_t)1 << (id & 63);
    }
    return HN_OK;
}

static hn_status find_ends(hn_constraint *c, hn_error *err) {
    for (int pass = 0; pass < 2; pass++) {
        int32_t n = 0;
        for (int32_t id = 0; id < c->n_vocab; id++) {
            if (!hn_tokenizer_is_end(c->tokenizer, id))
                continue;
            if (pass == 1)
                c->ends[n] = id;
            n++;
        }
        c->n_ends = n;
        if (pass == 1)
            break;
        c->ends = hn_malloc(((size_t)n + 1) * sizeof *c->ends);
        c->kept = hn_malloc(((size_t)n + 1) * sizeof *c->kept);
        if (!c->ends || !c->kept)
            return hn_fail_no_memory(err, (size_t)n * sizeof *c->ends);
    }
    return HN_OK;
}

hn_status hn_constraint_new(hn_constraint **out, const hn_grammar *grammar,
                            const hn_token_trie *trie, const hn_tokenizer *tokenizer,
                            hn_error *err) {
    hn_status status;
    hn_constraint *c = hn_calloc(1, sizeof *c);
    HN_GO(c ? HN_OK : hn_fail_no_memory(err, sizeof *c));
    c->tokenizer = tokenizer;
    c->n_vocab = hn_token_trie_size(trie);
    c->at_start = true;
    HN_GO(hn_matcher_new(&c->matcher, grammar, trie, err));
    HN_GO(find_ends(c, err));
    HN_GO(find_first_mask(c, hn_grammar_starts_free(grammar), err));
    *out = c;
    return HN_OK;
done:
    hn_constraint_free(c);
    return status;
}

void hn_constraint_free(hn_constraint *c) {
    if (!c)
        return;
    hn_matcher_free(c->matcher);
    hn_free(c->ends);
    hn_free(c->kept);
    hn_free(c->first_mask);
    hn_free(c);
}

hn_status hn_constraint_start(hn_constraint *c, hn_error *err) {
    c->at_start = true;
    return hn_matcher_restart(c->matcher, err);
}

/* Forbids the tokens without a bit; returns how many are left. Whole words are quick: most masks
 * allow nearly nothing or nearly all. */
static int32_t forbid(float *logits, const uint64_t *allowed, const uint64_t *not_first,
                      int32_t n) {
    int32_t left = 0;
    for (int32_t word = 0; word * 64 < n; word++) {
        int32_t count = n - word * 64 < 64 ? n - word * 64 : 64;
        float *x = logits + (size_t)word * 64;
        uint64_t bits = allowed[word] & ~(not_first ? not_first[word] : 0);
        left += __builtin_popcountll(bits);
        if (bits == 0) {
            for (int32_t i = 0; i < count; i++)
                x[i] = -INFINITY;
            continue;
        }
        uint64_t out = ~bits & (count < 64 ? ((uint64_t)1 << count) - 1 : ~(uint64_t)0);
        for (; out; out &= out - 1)
            x[__builtin_ctzll(out)] = -INFINITY;
    }
    return left;
}

hn_status hn_constraint_apply(hn_constraint *c, float *logits, bool ignore_end, hn_error *err) {
    const uint64_t *mask;
    int32_t n_allowed;
    bool may_end = hn_matcher_may_end(c->matcher) && !ignore_end;
    HN_TRY(hn_matcher_mask(c->matcher, &mask, &n_allowed, err));
    for (int32_t i = 0; i < c->n_ends; i++)
        c->kept[i] = logits[c->ends[i]];
    n_allowed = forbid(logits, mask, c->at_start ? c->first_mask : NULL, c->n_vocab);
    for (int32_t i = 0; may_end && i < c->n_ends; i++, n_allowed++)
        logits[c->ends[i]] = c->kept[i];
    if (n_allowed == 0)
        return hn_fail(err, HN_FAILED,
                       "no token may come next: the grammar nests too deeply here, or asks for "
                       "bytes that the vocabulary lacks");
    return HN_OK;
}

hn_status hn_constraint_accept(hn_constraint *c, int32_t token, hn_error *err) {
    name_room room;
    const char *data;
    size_t size;
    bool accepted;
    token_text(c->tokenizer, token, &room, &data, &size);
    HN_TRY(hn_matcher_feed(c->matcher, data, size, &accepted, err));
    if (!accepted || size == 0)
        return hn_fail(err, HN_USAGE, "token %d isn't what the grammar allows here", token);
    c->at_start = false;
    return HN_OK;
}

hn_status hn_constraint_foresee(hn_constraint *c, const int32_t *tokens, int n, int *n_allowed,
                                hn_error *err) {
    const int32_t place = hn_matcher_place(c->matcher);
    const bool at_start = c->at_start;
    hn_status status = HN_OK;
    int allowed = 0;
    for (bool fits = true; allowed < n && fits; allowed += fits) {
        const int32_t id = tokens[allowed];
        name_room room;
        const char *data;
        size_t size;
        fits = !(c->at_start && c->first_mask && c->first_mask[id >> 6] >> (id & 63) & 1);
        token_text(c->tokenizer, id, &room, &data, &size);
        if (fits && size)
            status = hn_matcher_go(c->matcher, data, size, &fits, err);
        fits = fits && size > 0 && status == HN_OK;
        c->at_start = false;
    }
    c->at_start = at_start;
    hn_matcher_return(c->matcher, place);
    /* What is too hard to follow is no failure of a text that may never go there. */
    if (status == HN_NO_MEMORY)
        return status;
    *n_allowed = allowed;
    return HN_OK;
}

hn_status hn_constraint_only(hn_constraint *c, bool ignore_end, int32_t *token, hn_error *err) {
    const uint64_t *mask;
    int32_t n_allowed;
    *token = -1;
    if (c->at_start || (hn_matcher_may_end(c->matcher) && !ignore_end))
        return HN_OK;
    HN_TRY(hn_matcher_mask(c->matcher, &mask, &n_allowed, err));
    if (n_allowed != 1)
        return HN_OK;
    size_t word = 0;
    while (mask[word] == 0)
        word++;
    *token = (int32_t)(word * 64) + __builtin_ctzll(mask[word]);
    return HN_OK;
}

hn_status hn_constraint_forced(hn_constraint *c, int32_t *tokens, int max, int *n, hn_error *err) {
    enum { BYTES = 256 };
    char bytes[BYTES];
    size_t n_bytes;
    hn_ids ids = {0};
    *n = 0;
    if (hn_matcher_forced(c->matcher, bytes, sizeof bytes, &n_bytes, err) != HN_OK || n_bytes < 2)
        return HN_OK; /* a single byte is the beginning of too many tokens */
    hn_status status = hn_encode(c->tokenizer, bytes, n_bytes, 0, &ids, err);
    if (status == HN_OK)
        for (; *n < max && (size_t)*n < ids.size; ++*n)
            tokens[*n] = ids.data[*n];
    hn_ids_done(&ids);
    return status == HN_NO_MEMORY ? status : HN_OK; /* half a character at the end has no tokens */
}

/* Adds what may come here; false when that is too much. */
static bool add_wanted(hn_constraint *c, uint64_t *wanted) {
    enum { MANY = 512 }; /* spread over the whole vocabulary they leave nothing out */
    const uint64_t *mask;
    int32_t n_allowed;
    hn_error err;
    if (hn_matcher_look(c->matcher, &mask, &n_allowed, &err) != HN_OK || n_allowed > MANY)
        return false;
    for (size_t i = 0; i < ((size_t)c->n_vocab + 63) / 64; i++)
        wanted[i] |= mask[i];
    for (int32_t i = 0; hn_matcher_may_end(c->matcher) && i < c->n_ends; i++)
        wanted[c->ends[i] >> 6] |= (uint64_t)1 << (c->ends[i] & 63);
    return true;
}

int hn_constraint_wanted(hn_constraint *c, const int32_t *tokens, int n, uint64_t *wanted) {
    const int32_t place = hn_matcher_place(c->matcher);
    int places = 0;
    while (places <= n && add_wanted(c, wanted)) {
        name_room room;
        const char *data;
        size_t size;
        hn_error err;
        bool accepted;
        if (++places > n)
            break;
        token_text(c->tokenizer, tokens[places - 1], &room, &data, &size);
        if (hn_matcher_go(c->matcher, data, size, &accepted, &err) != HN_OK || !accepted)
            break;
    }
    hn_matcher_return(c->matcher, place);
    return places;
}

bool hn_constraint_is_over(const hn_constraint *c) {
    return hn_matcher_may_end(c->matcher) && !hn_matcher_may_go_on(c->matcher);
}
