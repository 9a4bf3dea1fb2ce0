/* Follows a text through the grammar and makes masks: the trie is walked with the automaton, and
 * each state's mask is kept. */
#include "grammar/states.h"

#include "base/mem.h"

#include <string.h>

/* What the cache may hold before it is emptied, and what one call may add to it. */
static const size_t MAX_CACHE_BYTES = (size_t)64 << 20, MAX_CALL_BYTES = (size_t)256 << 20;

typedef struct token_mask {
    uint64_t *bits;
    int32_t n_allowed;
} token_mask;

struct hn_matcher {
    const hn_token_trie *trie; /* or NULL */
    hn_states states;
    int32_t start, now; /* states */
    token_mask *masks;
    uint32_t n_masks, cap_masks;
    int32_t *path; /* (longest + 1) states down to a node of the trie */
};

static size_t mask_words(const hn_matcher *m) {
    return ((size_t)m->trie->n_tokens + 63) / 64;
}

static size_t bytes_held(const hn_matcher *m) {
    return hn_states_bytes(&m->states) + (m->trie ? m->n_masks * mask_words(m) * 8 : 0);
}

static void drop_masks(hn_matcher *m) {
    for (uint32_t i = 0; i < m->n_masks; i++)
        hn_free(m->masks[i].bits);
    m->n_masks = 0;
}

/* Empties the cache when it has grown too large; the place in the text is kept. */
static hn_status tidy(hn_matcher *m, hn_error *err) {
    hn_states_budget(&m->states);
    if (bytes_held(m) <= MAX_CACHE_BYTES)
        return HN_OK;
    hn_states fresh;
    int32_t start, now;
    HN_TRY(hn_states_init(&fresh, m->states.g, m->states.horizon, err));
    hn_status status = hn_states_start(&fresh, &start, err);
    if (status == HN_OK)
        status = hn_states_copy(&fresh, &m->states, m->now, &now, err);
    if (status != HN_OK) {
        hn_states_done(&fresh);
        return status;
    }
    drop_masks(m);
    hn_states_done(&m->states);
    m->states = fresh;
    m->start = start;
    m->now = now;
    return HN_OK;
}

hn_status hn_matcher_new(hn_matcher **out, const hn_grammar *grammar, const hn_token_trie *trie,
                         hn_error *err) {
    hn_matcher *m = hn_calloc(1, sizeof *m);
    hn_status status;
    size_t longest = trie ? trie->longest : 0;
    HN_GO(m ? HN_OK : hn_fail_no_memory(err, sizeof *m));
    m->trie = trie;
    m->path = hn_malloc((longest + 1) * sizeof *m->path);
    HN_GO(m->path ? HN_OK : hn_fail_no_memory(err, (longest + 1) * sizeof *m->path));
    HN_GO(hn_states_init(&m->states, grammar, (uint32_t)longest, err));
    HN_GO(hn_states_start(&m->states, &m->start, err));
    m->now = m->start;
    *out = m;
    return HN_OK;
done:
    hn_matcher_free(m);
    return status;
}

void hn_matcher_free(hn_matcher *m) {
    if (!m)
        return;
    drop_masks(m);
    hn_free(m->masks);
    hn_free(m->path);
    hn_states_done(&m->states);
    hn_free(m);
}

hn_status hn_matcher_restart(hn_matcher *m, hn_error *err) {
    m->now = m->start;
    return tidy(m, err);
}

hn_status hn_matcher_go(hn_matcher *m, const char *data, size_t n_bytes, bool *accepted,
                        hn_error *err) {
    int32_t at = m->now;
    hn_states_budget(&m->states);
    for (size_t i = 0; i < n_bytes && at != HN_STATE_DEAD; i++) {
        HN_TRY(hn_states_row(&m->states, at, err));
        at = m->states.rows[m->states.states[at].row][(uint8_t)data[i]];
    }
    *accepted = at != HN_STATE_DEAD;
    if (*accepted)
        m->now = at;
    return HN_OK;
}

hn_status hn_matcher_feed(hn_matcher *m, const char *data, size_t n_bytes, bool *accepted,
                          hn_error *err) {
    HN_TRY(tidy(m, err));
    return hn_matcher_go(m, data, n_bytes, accepted, err);
}

int32_t hn_matcher_place(const hn_matcher *m) {
    return m->now;
}

void hn_matcher_return(hn_matcher *m, int32_t place) {
    m->now = place;
}

bool hn_matcher_may_end(const hn_matcher *m) {
    return m->states.states[m->now].may_end;
}

bool hn_matcher_may_go_on(const hn_matcher *m) {
    return m->states.states[m->now].may_go_on;
}

/* Sets the bits of all tokens that lead from `state` to some other. */
static hn_status walk(hn_matcher *m, int32_t state, token_mask *mask, hn_error *err) {
    const hn_token_trie *trie = m->trie;
    hn_states *s = &m->states;
    HN_TRY(hn_states_row(s, state, err));
    m->path[0] = s->states[state].row;
    for (uint32_t i = 0; i < trie->n_nodes;) {
        const hn_trie_node *node = &trie->nodes[i];
        int32_t next = s->rows[m->path[node->depth - 1]][node->byte];
        if (next == HN_STATE_DEAD) {
            i = node->skip;
            continue;
        }
        for (int32_t id = node->token; id >= 0; id = trie->same[id]) {
            mask->bits[id >> 6] |= (uint64_t)1 << (id & 63);
            mask->n_allowed++;
        }
        if (node->skip > i + 1) {
            if (s->states[next].row < 0) {
                HN_TRY(hn_states_row(s, next, err));
                if (hn_states_bytes(s) > MAX_CALL_BYTES)
                    return hn_fail(err, HN_UNSUPPORTED,
                                   "the grammar has too many states: make it simpler");
            }
            m->path[node->depth] = s->states[next].row;
        }
        i++;
    }
    return HN_OK;
}

static hn_status make_mask(hn_matcher *m, int32_t state, hn_error *err) {
    if (m->n_masks == m->cap_masks) {
        uint32_t wanted = m->cap_masks ? m->cap_masks * 2 : 32;
        token_mask *masks = hn_reallocarray(m->masks, wanted, sizeof *masks);
        if (!masks)
            return hn_fail_no_memory(err, wanted * sizeof *masks);
        m->masks = masks;
        m->cap_masks = wanted;
    }
    token_mask mask = {.bits = hn_calloc(mask_words(m) + 1, sizeof *mask.bits)};
    if (!mask.bits)
        return hn_fail_no_memory(err, mask_words(m) * sizeof *mask.bits);
    hn_status status = walk(m, state, &mask, err);
    if (status != HN_OK) {
        hn_free(mask.bits);
        return status;
    }
    m->states.states[state].mask = (int32_t)m->n_masks;
    m->masks[m->n_masks++] = mask;
    return HN_OK;
}

hn_status hn_matcher_look(hn_matcher *m, const uint64_t **mask, int32_t *n_allowed, hn_error *err) {
    int32_t canon;
    if (!m->trie)
        return hn_fail(err, HN_USAGE, "this matcher has no vocabulary");
    hn_states_budget(&m->states);
    HN_TRY(hn_states_canon(&m->states, m->now, &canon, err));
    if (m->states.states[canon].mask < 0)
        HN_TRY(make_mask(m, canon, err));
    const token_mask *known = &m->masks[m->states.states[canon].mask];
    *mask = known->bits;
    *n_allowed = known->n_allowed;
    return HN_OK;
}

hn_status hn_matcher_mask(hn_matcher *m, const uint64_t **mask, int32_t *n_allowed, hn_error *err) {
    HN_TRY(tidy(m, err));
    return hn_matcher_look(m, mask, n_allowed, err);
}

/* The only byte that leads on from a state with a row, or -1. */
static int only_byte(const int32_t row[256]) {
    int only = -1;
    for (int byte = 0; byte < 256; byte++) {
        if (row[byte] == HN_STATE_DEAD)
            continue;
        if (only >= 0)
            return -1;
        only = byte;
    }
    return only;
}

hn_status hn_matcher_forced(hn_matcher *m, char *bytes, size_t max, size_t *n, hn_error *err) {
    int32_t at = m->now;
    size_t made = 0;
    hn_states_budget(&m->states);
    while (made < max && !m->states.states[at].may_end) {
        HN_TRY(hn_states_row(&m->states, at, err));
        const int32_t *row = m->states.rows[m->states.states[at].row];
        int byte = only_byte(row);
        if (byte < 0)
            break;
        bytes[made++] = (char)byte;
        at = row[byte];
    }
    *n = made;
    return HN_OK;
}
