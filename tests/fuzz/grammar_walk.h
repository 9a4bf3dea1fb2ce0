/* What the two grammar targets share: a text that a grammar has, chosen token by token by what its
 * masks allow. */
#pragma once

#include "base/buf.h"
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

static const char *const WALK_WORDS[] = {"\"", "{\"",  "\": ", "\", \"", "true", "null", "[[", "]}",
                                         "a",  "aaaa", "b",    "0",      "12",   "-",    ".5", "e",
                                         ",",  "\xC3", "\xA9", "\\u00",  "name", "{",    "}",  ":",
                                         " ",  "[",    "]",    "\n",     "1",    "}"};
enum { N_WALK_WORDS = sizeof WALK_WORDS / sizeof *WALK_WORDS };

static void walk_word(void *context, int32_t id, const char **data, size_t *n) {
    (void)context;
    *data = WALK_WORDS[id];
    *n = strlen(*data);
}

/* Appends the text to *out; true when it is whole. Whatever a mask allows must be accepted. */
static inline bool walk_grammar(const hn_grammar *g, unsigned seed, hn_buf *out) {
    static hn_token_trie *trie;
    hn_matcher *m = NULL;
    hn_error err;
    if (!trie && hn_token_trie_new(&trie, N_WALK_WORDS, walk_word, NULL, &err) != HN_OK)
        abort();
    if (hn_matcher_new(&m, g, trie, &err) != HN_OK)
        return false;
    for (int step = 0; step < 48; step++) {
        const uint64_t *mask;
        int32_t n_allowed, at = 0;
        bool accepted;
        if (hn_matcher_mask(m, &mask, &n_allowed, &err) != HN_OK || n_allowed == 0)
            break;
        if (step > 24 && hn_matcher_may_end(m))
            break;
        seed = seed * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        int32_t wanted = (int32_t)((seed >> 8) % (unsigned)n_allowed);
        while (!(mask[0] >> at & 1) || wanted-- > 0)
            at++;
        if (hn_matcher_feed(m, WALK_WORDS[at], strlen(WALK_WORDS[at]), &accepted, &err) != HN_OK)
            break;
        if (!accepted)
            abort();
        hn_buf_puts(out, WALK_WORDS[at]);
    }
    bool whole = hn_matcher_may_end(m);
    hn_matcher_free(m);
    return whole;
}
