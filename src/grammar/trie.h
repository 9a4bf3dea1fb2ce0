/* A vocabulary's tokens as a tree by their bytes, laid out depth first. */
#pragma once

#include "grammar/grammar.h"

typedef struct hn_trie_node {
    uint32_t skip; /* the next node that doesn't lie below this one */
    int32_t
        token; /* with exactly the bytes up to here, or -1; more of them by hn_token_trie.same */
    uint16_t depth; /* bytes up to here, from 1 */
    uint8_t byte;
} hn_trie_node;

struct hn_token_trie {
    hn_trie_node *nodes;
    uint32_t n_nodes;
    int32_t *same; /* (n_tokens) another token with the same bytes, or -1 */
    int32_t n_tokens;
    uint32_t longest; /* bytes of the longest token */
};
