/* States of the automaton: closing over free steps and rules, and telling equal ones. */
#include "grammar/states.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_PLACES = 4096, /* of one state */
    SEEN_SLOTS = 4 * MAX_PLACES,
    FIRST_TABLE = 1024,
};
static const uint64_t MAX_STEPS = 10u * 1000 * 1000; /* of one call: some tenths of a second */

static uint32_t hash_bytes(const void *data, size_t n) {
    return (uint32_t)hn_hash64(data, n, 0);
}

/* Room for `extra` more entries. */
static hn_status reserve(void *array, uint32_t n, uint32_t extra, uint32_t *capacity, size_t size,
                         hn_error *err) {
    if (n + extra <= *capacity)
        return HN_OK;
    uint32_t wanted = *capacity ? *capacity : 64;
    while (wanted < n + extra)
        wanted *= 2;
    void *old;
    memcpy(&old, array, sizeof old);
    void *new = hn_reallocarray(old, wanted, size);
    if (!new)
        return hn_fail_no_memory(err, (size_t)wanted * size);
    memcpy(array, &new, sizeof new);
    *capacity = wanted;
    return HN_OK;
}

static hn_status table_init(hn_table *table, uint32_t size, hn_error *err) {
    int32_t *slots = hn_malloc(size * sizeof *slots);
    if (!slots)
        return hn_fail_no_memory(err, size * sizeof *slots);
    memset(slots, 0xff, size * sizeof *slots);
    hn_free(table->slots);
    *table = (hn_table){.slots = slots, .size = size};
    return HN_OK;
}

static uint32_t frame_hash(const hn_frame *f) {
    return hash_bytes(f, offsetof(hn_frame, depth));
}

static uint32_t places_hash(const hn_place *places, uint32_t n) {
    return hash_bytes(places, n * sizeof *places);
}

static void table_put(hn_table *table, uint32_t hash, int32_t index) {
    uint32_t at = hash & (table->size - 1);
    while (table->slots[at] >= 0)
        at = (at + 1) & (table->size - 1);
    table->slots[at] = index;
}

/* Doubles a table that is half full. */
static hn_status tables_grow(hn_states *s, hn_error *err) {
    if (s->n_frames * 2 >= s->frame_table.size) {
        HN_TRY(table_init(&s->frame_table, s->frame_table.size * 2, err));
        for (uint32_t i = 0; i < s->n_frames; i++)
            table_put(&s->frame_table, frame_hash(&s->frames[i]), (int32_t)i);
    }
    if (s->n_states * 2 >= s->state_table.size) {
        HN_TRY(table_init(&s->state_table, s->state_table.size * 2, err));
        for (uint32_t i = 0; i < s->n_states; i++)
            table_put(&s->state_table, places_hash(s->places + s->states[i].first, s->states[i].n),
                      (int32_t)i);
    }
    return HN_OK;
}

/* The frame's index, made when it is new; HN_STATE_DEAD in *out for one that would lie too deep. */
static hn_status frame_of(hn_states *s, int32_t parent, int32_t edge, uint32_t count, int32_t *out,
                          hn_error *err) {
    hn_frame f = {.parent = parent, .edge = edge, .count = count, .canon = HN_STATE_UNKNOWN};
    f.depth = s->frames[parent].depth + 1;
    uint32_t hash = frame_hash(&f);
    const hn_table *table = &s->frame_table;
    for (uint32_t at = hash & (table->size - 1); table->slots[at] >= 0;
         at = (at + 1) & (table->size - 1)) {
        const hn_frame *known = &s->frames[table->slots[at]];
        if (known->parent == parent && known->edge == edge && known->count == count) {
            *out = table->slots[at];
            return HN_OK;
        }
    }
    HN_TRY(reserve(&s->frames, s->n_frames, 1, &s->cap_frames, sizeof f, err));
    s->frames[s->n_frames] = f;
    table_put(&s->frame_table, hash, (int32_t)s->n_frames);
    *out = (int32_t)s->n_frames++;
    return tables_grow(s, err);
}

static hn_status too_ambiguous(hn_error *err) {
    return hn_fail(err, HN_UNSUPPORTED,
                   "the grammar can be read in too many ways at once: begin its alternatives "
                   "differently");
}

/* Puts a place on the worklist unless this closure has seen it. */
static hn_status visit(hn_states *s, int32_t node, int32_t frame, hn_error *err) {
    hn_place place = {node, frame};
    uint32_t at = hash_bytes(&place, sizeof place) & (SEEN_SLOTS - 1);
    for (; s->seen[at] == s->stamp; at = (at + 1) & (SEEN_SLOTS - 1))
        if (s->seen_place[at].node == node && s->seen_place[at].frame == frame)
            return HN_OK;
    if (s->n_work == MAX_PLACES || ++s->steps > MAX_STEPS)
        return too_ambiguous(err);
    s->seen[at] = s->stamp;
    s->seen_place[at] = place;
    s->work[s->n_work++] = place;
    return HN_OK;
}

static hn_status enter(hn_states *s, const hn_edge *e, int32_t index, uint32_t count,
                       int32_t parent, hn_error *err) {
    int32_t start = s->g->rules[e->rule].start, frame;
    if (e->kind == HN_EDGE_CALL && s->g->nodes[e->to].end)
        return visit(s, start, parent, err); /* the last thing a rule does needs no way back */
    if (s->frames[parent].depth >= HN_STATES_MAX_DEPTH)
        return HN_OK;
    HN_TRY(frame_of(s, parent, index, count, &frame, err));
    return visit(s, start, frame, err);
}

/* Behind the end of a rule: back to where it was entered, or into it once more. */
static hn_status leave(hn_states *s, int32_t frame, hn_error *err) {
    const hn_frame f = s->frames[frame];
    const hn_edge *e = &s->g->edges[f.edge];
    if (e->kind == HN_EDGE_CALL || f.count >= e->min)
        HN_TRY(visit(s, e->to, f.parent, err));
    if (e->kind == HN_EDGE_REPEAT && (e->max == HN_REPEAT_MAX || f.count < e->max)) {
        bool counts = e->max != HN_REPEAT_MAX || f.count < e->min;
        return enter(s, e, f.edge, f.count + counts, f.parent, err);
    }
    return HN_OK;
}

static hn_status pass(hn_states *s, hn_place place, hn_error *err) {
    const hn_node *node = &s->g->nodes[place.node];
    for (int32_t i = node->edges; i >= 0; i = s->g->edges[i].next) {
        const hn_edge *e = &s->g->edges[i];
        if (e->kind == HN_EDGE_FREE || (e->kind == HN_EDGE_REPEAT && e->min == 0))
            HN_TRY(visit(s, e->to, place.frame, err));
        if (e->kind == HN_EDGE_CALL || e->kind == HN_EDGE_REPEAT)
            HN_TRY(enter(s, e, i, e->kind == HN_EDGE_REPEAT, place.frame, err));
    }
    if (node->end && place.frame != HN_STACK_EMPTY)
        HN_TRY(leave(s, place.frame, err));
    if (node->has_bytes || (node->end && place.frame == HN_STACK_EMPTY))
        s->kept[s->n_kept++] = place;
    return HN_OK;
}

static int by_place(const void *a, const void *b) {
    const hn_place *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* The state of the places in `kept`, which are sorted and made unique first. */
static hn_status state_of(hn_states *s, int32_t *out, hn_error *err) {
    uint32_t n = 0;
    if (s->n_kept > 1)
        qsort(s->kept, s->n_kept, sizeof *s->kept, by_place);
    for (uint32_t i = 0; i < s->n_kept; i++)
        if (n == 0 || by_place(&s->kept[i], &s->kept[n - 1]))
            s->kept[n++] = s->kept[i];
    uint32_t hash = places_hash(s->kept, n);
    const hn_table *table = &s->state_table;
    for (uint32_t at = hash & (table->size - 1); table->slots[at] >= 0;
         at = (at + 1) & (table->size - 1)) {
        const hn_state *known = &s->states[table->slots[at]];
        if (known->n == n &&
            (n == 0 || memcmp(s->places + known->first, s->kept, n * sizeof *s->kept) == 0)) {
            *out = table->slots[at];
            return HN_OK;
        }
    }
    HN_TRY(reserve(&s->places, s->n_places, n + 1, &s->cap_places, sizeof *s->places, err));
    HN_TRY(reserve(&s->states, s->n_states, 1, &s->cap_states, sizeof *s->states, err));
    hn_state state = {.first = s->n_places,
                      .n = n,
                      .row = HN_STATE_UNKNOWN,
                      .canon = HN_STATE_UNKNOWN,
                      .mask = HN_STATE_UNKNOWN};
    for (uint32_t i = 0; i < n; i++) {
        const hn_node *node = &s->g->nodes[s->kept[i].node];
        s->places[s->n_places++] = s->kept[i];
        state.may_go_on |= node->has_bytes;
        state.may_end |= node->end && s->kept[i].frame == HN_STACK_EMPTY;
    }
    table_put(&s->state_table, hash, (int32_t)s->n_states);
    *out = (int32_t)s->n_states;
    s->states[s->n_states++] = state;
    return tables_grow(s, err);
}

static void begin(hn_states *s) {
    s->n_work = s->n_kept = 0;
    if (++s->stamp == 0) {
        memset(s->seen, 0, SEEN_SLOTS * sizeof *s->seen);
        s->stamp = 1;
    }
}

/* The state of the places on the worklist and all that lie behind them without a byte. */
static hn_status close_over(hn_states *s, int32_t *out, hn_error *err) {
    for (uint32_t i = 0; i < s->n_work; i++)
        HN_TRY(pass(s, s->work[i], err));
    return state_of(s, out, err);
}

hn_status hn_states_start(hn_states *s, int32_t *state, hn_error *err) {
    begin(s);
    HN_TRY(visit(s, s->g->rules[0].start, HN_STACK_EMPTY, err));
    return close_over(s, state, err);
}

/* The byte edges of a state's places; borders[b]: another set of them holds from byte b on. */
static hn_status collect_moves(hn_states *s, const hn_state *state, bool borders[257],
                               hn_error *err) {
    s->n_moves = 0;
    for (uint32_t p = 0; p < state->n; p++) {
        const hn_place place = s->places[state->first + p];
        for (int32_t i = s->g->nodes[place.node].edges; i >= 0; i = s->g->edges[i].next) {
            const hn_edge *e = &s->g->edges[i];
            if (e->kind != HN_EDGE_BYTES)
                continue;
            HN_TRY(reserve(&s->moves, s->n_moves, 1, &s->cap_moves, sizeof *s->moves, err));
            s->moves[s->n_moves++] =
                (hn_move){.to = e->to, .frame = place.frame, .lo = e->lo, .hi = e->hi};
            borders[e->lo] = borders[e->hi + 1] = true;
        }
    }
    return HN_OK;
}

hn_status hn_states_row(hn_states *s, int32_t state, hn_error *err) {
    bool borders[257] = {true};
    int32_t row[256];
    if (s->states[state].row >= 0)
        return HN_OK;
    const hn_state from = s->states[state];
    HN_TRY(collect_moves(s, &from, borders, err));
    for (int b = 0; b < 256; b++) {
        if (!borders[b]) {
            row[b] = row[b - 1];
            continue;
        }
        begin(s);
        s->steps += s->n_moves;
        for (uint32_t i = 0; i < s->n_moves; i++)
            if (b >= s->moves[i].lo && b <= s->moves[i].hi)
                HN_TRY(visit(s, s->moves[i].to, s->moves[i].frame, err));
        row[b] = HN_STATE_DEAD;
        if (s->n_work)
            HN_TRY(close_over(s, &row[b], err));
    }
    HN_TRY(reserve(&s->rows, s->n_rows, 1, &s->cap_rows, sizeof *s->rows, err));
    memcpy(s->rows[s->n_rows], row, sizeof row);
    s->states[state].row = (int32_t)s->n_rows++;
    return HN_OK;
}

/* The count that stands for `count` when no more than `far` rounds can follow. */
static uint32_t canon_count(const hn_edge *e, uint32_t count, uint32_t far) {
    if (e->kind != HN_EDGE_REPEAT)
        return count;
    if (count >= e->min) /* above the minimum only the distance to the maximum matters */
        return e->max == HN_REPEAT_MAX || e->max - count > far ? e->min : count;
    return e->min - count > far ? e->min - far - 1 : count;
}

static hn_status canon_frame(hn_states *s, int32_t frame, int32_t *out, hn_error *err) {
    if (frame == HN_STACK_EMPTY || s->frames[frame].canon >= 0) {
        *out = frame == HN_STACK_EMPTY ? frame : s->frames[frame].canon;
        return HN_OK;
    }
    const hn_frame f = s->frames[frame];
    int32_t parent;
    HN_TRY(canon_frame(s, f.parent, &parent, err));
    uint32_t count = canon_count(&s->g->edges[f.edge], f.count, s->horizon);
    HN_TRY(frame_of(s, parent, f.edge, count, out, err));
    s->frames[frame].canon = *out;
    return HN_OK;
}

hn_status hn_states_canon(hn_states *s, int32_t state, int32_t *canon, hn_error *err) {
    if (s->states[state].canon < 0) {
        const hn_state from = s->states[state];
        for (uint32_t i = 0; i < from.n; i++) {
            int32_t frame;
            HN_TRY(canon_frame(s, s->places[from.first + i].frame, &frame, err));
            s->kept[i] = (hn_place){s->places[from.first + i].node, frame};
        }
        s->n_kept = from.n;
        int32_t found;
        HN_TRY(state_of(s, &found, err));
        s->states[state].canon = found;
        s->states[found].canon = found;
    }
    *canon = s->states[state].canon;
    return HN_OK;
}

static hn_status copy_frame(hn_states *s, const hn_states *from, int32_t frame, int32_t *out,
                            hn_error *err) {
    if (frame == HN_STACK_EMPTY) {
        *out = frame;
        return HN_OK;
    }
    const hn_frame *f = &from->frames[frame];
    int32_t parent;
    HN_TRY(copy_frame(s, from, f->parent, &parent, err));
    return frame_of(s, parent, f->edge, f->count, out, err);
}

hn_status hn_states_copy(hn_states *s, const hn_states *from, int32_t state, int32_t *copy,
                         hn_error *err) {
    const hn_state *old = &from->states[state];
    for (uint32_t i = 0; i < old->n; i++) {
        s->kept[i].node = from->places[old->first + i].node;
        HN_TRY(copy_frame(s, from, from->places[old->first + i].frame, &s->kept[i].frame, err));
    }
    s->n_kept = old->n;
    return state_of(s, copy, err);
}

void hn_states_budget(hn_states *s) {
    s->steps = 0;
}

size_t hn_states_bytes(const hn_states *s) {
    return s->cap_frames * sizeof *s->frames + s->cap_places * sizeof *s->places +
           s->cap_states * sizeof *s->states + s->cap_rows * sizeof *s->rows +
           (s->frame_table.size + s->state_table.size) * sizeof(int32_t);
}

hn_status hn_states_init(hn_states *out, const hn_grammar *g, uint32_t horizon, hn_error *err) {
    hn_states s = {.g = g, .horizon = horizon};
    hn_status status;
    int32_t dead;
    s.work = hn_malloc(MAX_PLACES * sizeof *s.work);
    s.kept = hn_malloc(MAX_PLACES * sizeof *s.kept);
    s.seen = hn_calloc(SEEN_SLOTS, sizeof *s.seen);
    s.seen_place = hn_malloc(SEEN_SLOTS * sizeof *s.seen_place);
    HN_GO(s.work && s.kept && s.seen && s.seen_place
              ? HN_OK
              : hn_fail_no_memory(err, SEEN_SLOTS * sizeof *s.seen_place));
    HN_GO(table_init(&s.frame_table, FIRST_TABLE, err));
    HN_GO(table_init(&s.state_table, FIRST_TABLE, err));
    HN_GO(reserve(&s.frames, 0, 1, &s.cap_frames, sizeof *s.frames, err));
    s.frames[s.n_frames++] = (hn_frame){.parent = -1, .edge = -1};
    begin(&s);
    HN_GO(state_of(&s, &dead, err)); /* no places: HN_STATE_DEAD */
    *out = s;
    return HN_OK;
done:
    hn_states_done(&s);
    return status;
}

void hn_states_done(hn_states *s) {
    hn_free(s->frames);
    hn_free(s->places);
    hn_free(s->states);
    hn_free(s->rows);
    hn_free(s->frame_table.slots);
    hn_free(s->state_table.slots);
    hn_free(s->work);
    hn_free(s->kept);
    hn_free(s->moves);
    hn_free(s->seen);
    hn_free(s->seen_place);
    *s = (hn_states){0};
}
