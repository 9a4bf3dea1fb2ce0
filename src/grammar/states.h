/* The automaton that a matcher finds while it goes: a state is a set of places in the grammar, each
 * with the rules that are open round it; equal states are one. */
#pragma once

#include "grammar/build.h"
#include "grammar/trie.h"

enum {
    HN_STACK_EMPTY = 0,       /* the first frame: nothing is open */
    HN_STATE_DEAD = 0,        /* the first state: no place at all */
    HN_STATE_UNKNOWN = -1,    /* not looked at yet */
    HN_STATES_MAX_DEPTH = 512 /* open rules; deeper texts aren't made */
};

/* An open rule: the edge that went into it, how many times, and what is open round it. */
typedef struct hn_frame {
    int32_t parent, edge;
    uint32_t count, depth;
    int32_t canon; /* see hn_states_canon; HN_STATE_UNKNOWN at first */
} hn_frame;

typedef struct hn_place {
    int32_t node, frame;
} hn_place;

typedef struct hn_state {
    uint32_t first, n;        /* in hn_states.places */
    int32_t row, canon, mask; /* indices, or HN_STATE_UNKNOWN */
    bool may_end, may_go_on;
} hn_state;

typedef struct hn_table { /* open addressing; -1 = free */
    int32_t *slots;
    uint32_t size; /* a power of two */
} hn_table;

typedef struct hn_move {
    int32_t to, frame;
    uint8_t lo, hi;
} hn_move;

typedef struct hn_states {
    const hn_grammar *g;
    uint32_t horizon; /* bytes that masks look ahead */
    hn_frame *frames;
    hn_place *places;
    hn_state *states;
    int32_t (*rows)[256]; /* the state after each byte */
    uint32_t n_frames, n_places, n_states, n_rows;
    uint32_t cap_frames, cap_places, cap_states, cap_rows;
    hn_table frame_table, state_table;
    /* Working room for one closure and one row. */
    hn_place *work, *kept;
    hn_move *moves;
    uint32_t n_work, n_kept, n_moves, cap_moves;
    uint32_t *seen; /* stamps by hash */
    hn_place *seen_place;
    uint32_t stamp;
    uint64_t steps; /* since hn_states_budget */
} hn_states;

HN_MUST_CHECK hn_status hn_states_init(hn_states *s, const hn_grammar *g, uint32_t horizon,
                                       hn_error *err);
void hn_states_done(hn_states *s);
/* Starts counting the work of one call, which is bounded. */
void hn_states_budget(hn_states *s);
size_t hn_states_bytes(const hn_states *s);
/* The state of the empty text. */
HN_MUST_CHECK hn_status hn_states_start(hn_states *s, int32_t *state, hn_error *err);
/* Makes sure that the state has a row. */
HN_MUST_CHECK hn_status hn_states_row(hn_states *s, int32_t state, hn_error *err);
/* The state that stands for all those which differ from it only in counts that are further from
 * their limits than `horizon` bytes can go: they have the same mask. */
HN_MUST_CHECK hn_status hn_states_canon(hn_states *s, int32_t state, int32_t *canon, hn_error *err);
/* Takes over a state of `from`, which may be the same automaton before it was emptied. */
HN_MUST_CHECK hn_status hn_states_copy(hn_states *s, const hn_states *from, int32_t state,
                                       int32_t *copy, hn_error *err);
