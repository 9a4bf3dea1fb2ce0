/* Makes the tree: the tokens are sorted, and each adds the nodes that its neighbour lacks. */
#include "grammar/trie.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_TOKEN_BYTES = UINT16_MAX }; /* a longer one is in no mask */

typedef struct word {
    const char *data;
    size_t size;
    int32_t id;
} word;

static int by_bytes(const void *a, const void *b) {
    const word *x = a, *y = b;
    size_t n = x->size < y->size ? x->size : y->size;
    int order = memcmp(x->data, y->data, n);
    if (order)
        return order;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static size_t common(const word *a, const word *b) {
    size_t n = 0;
    while (n < a->size && n < b->size && a->data[n] == b->data[n])
        n++;
    return n;
}

/* Lays the nodes out; open[d] is the node of depth d + 1 on the path to the last word. */
static void lay_out(hn_token_trie *trie, const word *words, size_t n, uint32_t *open) {
    size_t depth = 0;
    for (size_t i = 0; i < n; i++) {
        size_t kept = i ? common(&words[i - 1], &words[i]) : 0;
        while (depth > kept)
            trie->nodes[open[--depth]].skip = trie->n_nodes;
        for (; depth < words[i].size; depth++) {
            open[depth] = trie->n_nodes;
            trie->nodes[trie->n_nodes++] = (hn_trie_node){
                .token = -1, .depth = (uint16_t)(depth + 1), .byte = (uint8_t)words[i].data[depth]};
        }
        hn_trie_node *last = &trie->nodes[open[depth - 1]];
        trie->same[words[i].id] = last->token;
        last->token = words[i].id;
    }
    while (depth > 0)
        trie->nodes[open[--depth]].skip = trie->n_nodes;
}

static hn_status fill(hn_token_trie *trie, word *words, size_t n, hn_error *err) {
    qsort(words, n, sizeof *words, by_bytes);
    size_t nodes = 1;
    for (size_t i = 0; i < n; i++)
        nodes += words[i].size - (i ? common(&words[i - 1], &words[i]) : 0);
    if (nodes > UINT32_MAX / 2)
        return hn_fail(err, HN_UNSUPPORTED, "the vocabulary's tokens are too long for a grammar");
    uint32_t *open = hn_malloc((trie->longest + 1) * sizeof *open);
    trie->nodes = hn_malloc(nodes * sizeof *trie->nodes);
    trie->same = hn_malloc(((size_t)trie->n_tokens + 1) * sizeof *trie->same);
    if (open && trie->nodes && trie->same)
        lay_out(trie, words, n, open);
    bool ok = open && trie->nodes && trie->same;
    hn_free(open);
    return ok ? HN_OK : hn_fail_no_memory(err, nodes * sizeof *trie->nodes);
}

hn_status hn_token_trie_new(hn_token_trie **out, int32_t n_tokens, hn_token_text *text,
                            void *context, hn_error *err) {
    hn_token_trie *trie = hn_calloc(1, sizeof *trie);
    word *words = hn_calloc((size_t)n_tokens + 1, sizeof *words);
    hn_status status = HN_OK;
    size_t n = 0;
    HN_GO(trie && words ? HN_OK : hn_fail_no_memory(err, (size_t)n_tokens * sizeof *words));
    trie->n_tokens = n_tokens;
    for (int32_t id = 0; id < n_tokens; id++) {
        word one = {.id = id};
        text(context, id, &one.data, &one.size);
        if (one.size == 0 || one.size > MAX_TOKEN_BYTES)
            continue;
        if (one.size > trie->longest)
            trie->longest = (uint32_t)one.size;
        words[n++] = one;
    }
    HN_GO(fill(trie, words, n, err));
    *out = trie;
    trie = NULL;
done:
    hn_free(words);
    hn_token_trie_free(trie);
    return status;
}

void hn_token_trie_free(hn_token_trie *trie) {
    if (!trie)
        return;
    hn_free(trie->nodes);
    hn_free(trie->same);
    hn_free(trie);
}

int32_t hn_token_trie_size(const hn_token_trie *trie) {
    return trie->n_tokens;
}
