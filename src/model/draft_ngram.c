/* Guesses from the text itself: what followed where its last tokens stood before. */
#include "model/speculate.h"

#include "base/mem.h"

#include <string.h>

enum {
    MIN_MATCH = 2,    /* tokens that must agree */
    MAX_MATCH = 32,   /* beyond this the longest match is no better */
    MAX_TRIES = 64,   /* places looked at, latest first */
    N_HEADS = 1 << 13 /* hash table of pairs of tokens */
};

/* Pairs of tokens and where they ended: head[hash] is the last place, before[i] the one before
 * place i, -1 = none. */
typedef struct ngram {
    int32_t heads[N_HEADS];
    int32_t *before;
    int n, capacity; /* tokens in the table: their pairs end below n */
    int place;       /* where the guesses of the last look begin */
} ngram;

static uint32_t hash_of(int32_t a, int32_t b) {
    uint64_t x = ((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(x >> 51); /* 13 bits */
}
_Static_assert(N_HEADS == 1 << 13, "hash_of gives 13 bits");

static void start(void *self) {
    ngram *g = self;
    memset(g->heads, 0xff, sizeof g->heads);
    g->n = 0;
}

static hn_status reserve(ngram *g, int n, hn_error *err) {
    if (n <= g->capacity)
        return HN_OK;
    int wanted = n > 2 * g->capacity ? n + 256 : 2 * g->capacity;
    int32_t *before = hn_reallocarray(g->before, (size_t)wanted, sizeof *before);
    if (!before)
        return hn_fail_no_memory(err, (size_t)wanted * sizeof *before);
    g->before = before;
    g->capacity = wanted;
    return HN_OK;
}

/* Tokens before and at a and b that agree; both do at a and b - 1 already. */
static int match_length(const int32_t *text, int a, int b) {
    int n = 0;
    while (n < MAX_MATCH && n <= a && text[a - n] == text[b - n])
        n++;
    return n;
}

/* Kinds: matches of 2, 3, 4 to 5, 6 to 8, 9 to 15, 16 and more tokens. */
static int kind_of(int length) {
    static const int FROM[] = {3, 4, 6, 9, 16};
    int kind = 0;
    while (kind < 5 && length >= FROM[kind])
        kind++;
    return kind;
}

static hn_status look(void *self, const int32_t *text, int n, int max, int *found, int *kind,
                      hn_error *err) {
    ngram *g = self;
    *found = 0;
    if (n < MIN_MATCH + 1)
        return HN_OK;
    HN_TRY(reserve(g, n, err));
    for (int i = g->n > 1 ? g->n : 1; i < n - 1; i++) { /* all pairs but the last */
        int32_t *head = &g->heads[hash_of(text[i - 1], text[i])];
        g->before[i] = *head;
        *head = i;
    }
    g->n = n - 1;
    int longest = MIN_MATCH - 1, tries = 0;
    for (int at = g->heads[hash_of(text[n - 2], text[n - 1])]; at >= 0 && tries < MAX_TRIES;
         at = g->before[at], tries++) {
        int length = match_length(text, at, n - 1);
        if (length > longest) {
            longest = length;
            g->place = at + 1;
            if (length == MAX_MATCH)
                break;
        }
    }
    if (longest < MIN_MATCH)
        return HN_OK;
    *kind = kind_of(longest);
    *found = max;
    return HN_OK;
}

/* Where the guesses reach the text's end they go on with themselves: a text that turns in circles
 * is guessed, too. */
static hn_status draft(void *self, const int32_t *text, int n, int wanted, int32_t *tokens,
                       int *made, hn_error *err) {
    const ngram *g = self;
    (void)err;
    for (int i = 0; i < wanted; i++) {
        int from = g->place + i;
        tokens[i] = from < n ? text[from] : tokens[from - n];
    }
    *made = wanted;
    return HN_OK;
}

static void free_ngram(void *self) {
    ngram *g = self;
    hn_free(g->before);
    hn_free(g);
}

hn_status hn_speculator_new_ngram(hn_speculator **out, hn_error *err) {
    ngram *g = hn_calloc(1, sizeof *g);
    if (!g)
        return hn_fail_no_memory(err, sizeof *g);
    start(g);
    const hn_drafter drafter = {.self = g,
                                .start = start,
                                .look = look,
                                .draft = draft,
                                .free = free_ngram,
                                .n_kinds = 6,
                                .chances = {0.25f, 0.45f, 0.6f, 0.75f, 0.85f, 0.92f}};
    return hn_speculator_new(out, &drafter, err);
}
