/* What a grammar must be before it is run: every rule ends somewhere, none calls itself before it
 * has read a byte, and what is counted isn't empty. All in time linear in the grammar. */
#include "grammar/build.h"

#include "base/mem.h"

#include <string.h>

/* Edges by the node they lead to, and calls by the rule's start. */
typedef struct reverse {
    int32_t *first_to, *next_to;     /* (n_nodes), (n_edges); -1 ends */
    int32_t *first_call, *next_call; /* by start node */
    int32_t *from;                   /* (n_edges) */
    int32_t *queue;                  /* (n_nodes) */
} reverse;

static void reverse_done(reverse *r) {
    hn_free(r->first_to);
    hn_free(r->next_to);
    hn_free(r->first_call);
    hn_free(r->next_call);
    hn_free(r->from);
    hn_free(r->queue);
}

static bool is_call(const hn_edge *e) {
    return e->kind == HN_EDGE_CALL || e->kind == HN_EDGE_REPEAT;
}

static hn_status reverse_init(reverse *r, const hn_grammar *g, hn_error *err) {
    size_t nodes = (size_t)g->n_nodes, edges = (size_t)g->n_edges + 1;
    r->first_to = hn_malloc(nodes * sizeof(int32_t));
    r->first_call = hn_malloc(nodes * sizeof(int32_t));
    r->queue = hn_malloc(nodes * sizeof(int32_t));
    r->next_to = hn_malloc(edges * sizeof(int32_t));
    r->next_call = hn_malloc(edges * sizeof(int32_t));
    r->from = hn_malloc(edges * sizeof(int32_t));
    if (!r->first_to || !r->first_call || !r->queue || !r->next_to || !r->next_call || !r->from)
        return hn_fail_no_memory(err, edges * sizeof(int32_t));
    memset(r->first_to, 0xff, nodes * sizeof(int32_t));
    memset(r->first_call, 0xff, nodes * sizeof(int32_t));
    for (int32_t node = 0; node < g->n_nodes; node++)
        for (int32_t i = g->nodes[node].edges; i >= 0; i = g->edges[i].next) {
            const hn_edge *e = &g->edges[i];
            r->from[i] = node;
            r->next_to[i] = r->first_to[e->to];
            r->first_to[e->to] = i;
            if (is_call(e)) {
                int32_t start = g->rules[e->rule].start;
                r->next_call[i] = r->first_call[start];
                r->first_call[start] = i;
            }
        }
    return HN_OK;
}

/* Marks the nodes from which a rule's end can be reached; without_bytes: reading nothing. */
static void reach_back(const hn_grammar *g, reverse *r, bool without_bytes, bool *good) {
    int32_t n = 0;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        good[i] = g->nodes[i].end;
        if (good[i])
            r->queue[n++] = i;
    }
    for (int32_t at = 0; at < n; at++) {
        int32_t node = r->queue[at];
        for (int32_t i = r->first_to[node]; i >= 0; i = r->next_to[i]) {
            const hn_edge *e = &g->edges[i];
            bool passes = e->kind == HN_EDGE_FREE || (e->kind == HN_EDGE_BYTES && !without_bytes) ||
                          (e->kind == HN_EDGE_REPEAT && e->min == 0) ||
                          (is_call(e) && good[g->rules[e->rule].start]);
            if (passes && !good[r->from[i]]) {
                good[r->from[i]] = true;
                r->queue[n++] = r->from[i];
            }
        }
        for (int32_t i = r->first_call[node]; i >= 0; i = r->next_call[i])
            if (good[g->edges[i].to] && !good[r->from[i]]) {
                good[r->from[i]] = true;
                r->queue[n++] = r->from[i];
            }
    }
}

static const char *name_of(const hn_grammar *g, int32_t rule) {
    return g->rules[rule].name ? g->rules[rule].name : "(unnamed)";
}

static hn_status check_ends(const hn_grammar *g, const bool *productive, const char *where,
                            hn_error *err) {
    if (!productive[g->rules[0].start])
        return hn_fail(err, HN_BAD_INPUT, "%s: nothing fits: '%s' asks for itself without end",
                       where, name_of(g, 0));
    return HN_OK;
}

/* Steps that lead nowhere are taken out, so that no text can get stuck in them. */
static void drop_dead(hn_grammar *g, const bool *productive) {
    for (int32_t node = 0; node < g->n_nodes; node++) {
        int32_t *link = &g->nodes[node].edges;
        while (*link >= 0) {
            hn_edge *e = &g->edges[*link];
            bool callee = !is_call(e) || productive[g->rules[e->rule].start];
            if (!callee && e->kind == HN_EDGE_REPEAT && e->min == 0) {
                e->kind = HN_EDGE_FREE;
                callee = true;
            }
            if (productive[e->to] && callee)
                link = &e->next;
            else
                *link = e->next;
        }
    }
}

/* Depth-first over "may be here without having read a byte"; a node that is met again while it is
 * open lies on a circle, which is left recursion when the circle goes into a rule. A circle of free
 * steps alone (an empty part repeated) is harmless: such steps are looked at rule by rule. */
typedef struct left_search {
    const hn_grammar *g;
    const bool *empty; /* by node: a rule's end can be reached reading nothing */
    int32_t *rule_of;  /* by start node: rule, or -1 */
    int32_t *calls;    /* rules that a rule calls first, one list after the other */
    int32_t *first;    /* (n_rules + 1) into calls */
    int32_t n_calls, cap_calls;
    int32_t *seen; /* (n_nodes) the rule that came by last, + 1 */
    int32_t *queue;
} left_search;

static bool push_call(left_search *s, int32_t rule) {
    if (s->n_calls == s->cap_calls) {
        int32_t wanted = s->cap_calls ? 2 * s->cap_calls : 256;
        int32_t *calls = hn_reallocarray(s->calls, (size_t)wanted, sizeof *calls);
        if (!calls)
            return false;
        s->calls = calls;
        s->cap_calls = wanted;
    }
    s->calls[s->n_calls++] = rule;
    return true;
}

/* The rules that `rule` can go into first. */
static bool find_left_calls(left_search *s, int32_t rule) {
    const hn_grammar *g = s->g;
    int32_t n = 0;
    s->first[rule] = s->n_calls;
    s->queue[n++] = g->rules[rule].start;
    s->seen[g->rules[rule].start] = rule + 1;
    for (int32_t at = 0; at < n; at++)
        for (int32_t i = g->nodes[s->queue[at]].edges; i >= 0; i = g->edges[i].next) {
            const hn_edge *e = &g->edges[i];
            if (is_call(e) && !push_call(s, e->rule))
                return false;
            bool passes = e->kind == HN_EDGE_FREE || (e->kind == HN_EDGE_REPEAT && e->min == 0) ||
                          (is_call(e) && s->empty[g->rules[e->rule].start]);
            if (passes && s->seen[e->to] != rule + 1) {
                s->seen[e->to] = rule + 1;
                s->queue[n++] = e->to;
            }
        }
    s->first[rule + 1] = s->n_calls;
    return true;
}

/* A rule on a circle of left calls, or -1. `state` and `at`, `stack` have room for all rules. */
static int32_t find_circle(const left_search *s, uint8_t *state, int32_t *at, int32_t *stack) {
    enum { NEW, OPEN, CLOSED };
    for (int32_t root = 0; root < s->g->n_rules; root++) {
        int32_t depth = 0;
        if (state[root] != NEW)
            continue;
        stack[depth++] = root;
        state[root] = OPEN;
        at[root] = s->first[root];
        while (depth) {
            int32_t rule = stack[depth - 1];
            if (at[rule] == s->first[rule + 1]) {
                state[rule] = CLOSED;
                depth--;
                continue;
            }
            int32_t next = s->calls[at[rule]++];
            if (state[next] == OPEN)
                return s->g->rules[next].name ? next : rule;
            if (state[next] == NEW) {
                state[next] = OPEN;
                at[next] = s->first[next];
                stack[depth++] = next;
            }
        }
    }
    return -1;
}

static hn_status check_left(const hn_grammar *g, const bool *empty, int32_t *queue,
                            const char *where, hn_error *err) {
    size_t rules = (size_t)g->n_rules;
    left_search s = {.g = g, .empty = empty, .queue = queue};
    hn_status status = HN_OK;
    uint8_t *state = hn_calloc(rules, 1);
    int32_t *at = hn_calloc(rules, sizeof *at), *stack = hn_calloc(rules, sizeof *stack);
    s.first = hn_calloc(rules + 1, sizeof *s.first);
    s.seen = hn_calloc((size_t)g->n_nodes, sizeof *s.seen);
    bool ok = state && at && stack && s.first && s.seen;
    for (int32_t i = 0; ok && i < g->n_rules; i++)
        ok = find_left_calls(&s, i);
    int32_t circle = ok ? find_circle(&s, state, at, stack) : -1;
    if (!ok)
        status = hn_fail_no_memory(err, rules * sizeof *at);
    else if (circle >= 0)
        status = hn_fail(err, HN_UNSUPPORTED,
                         "%s: '%s' begins with itself (left recursion): put the repeated part "
                         "behind something, or write it with *",
                         where, name_of(g, circle));
    hn_free(state);
    hn_free(at);
    hn_free(stack);
    hn_free(s.first);
    hn_free(s.seen);
    hn_free(s.calls);
    return status;
}

static hn_status check_counted(const hn_grammar *g, const bool *empty, const char *where,
                               hn_error *err) {
    for (int32_t i = 0; i < g->n_edges; i++) {
        const hn_edge *e = &g->edges[i];
        if (e->kind == HN_EDGE_REPEAT && empty[g->rules[e->rule].start])
            return hn_fail(err, HN_UNSUPPORTED,
                           "%s: a part that is repeated {%u,...} times may be empty: write it so "
                           "that it reads something",
                           where, e->min);
    }
    return HN_OK;
}

/* A node whose only way on is free is passed over. A chain is followed only so far: a circle of
 * free steps has no end. */
static int32_t shortcut(const hn_grammar *g, int32_t node) {
    enum { FAR = 16 };
    for (int i = 0; i < FAR && !g->nodes[node].end; i++) {
        int32_t e = g->nodes[node].edges;
        if (e < 0 || g->edges[e].next >= 0 || g->edges[e].kind != HN_EDGE_FREE)
            break;
        node = g->edges[e].to;
    }
    return node;
}

hn_status hn_grammar_check(hn_grammar *g, const char *where, hn_error *err) {
    HN_TRY(hn_build_check(g, where, err));
    reverse r = {0};
    hn_status status;
    bool *productive = hn_malloc((size_t)g->n_nodes), *empty = hn_malloc((size_t)g->n_nodes);
    HN_GO(productive && empty ? HN_OK : hn_fail_no_memory(err, (size_t)g->n_nodes));
    for (int32_t i = 0; i < g->n_rules; i++)
        g->nodes[g->rules[i].end].end = true;
    HN_GO(reverse_init(&r, g, err));
    reach_back(g, &r, false, productive);
    reach_back(g, &r, true, empty);
    HN_GO(check_ends(g, productive, where, err));
    HN_GO(check_counted(g, empty, where, err));
    HN_GO(check_left(g, empty, r.queue, where, err));
    drop_dead(g, productive);
    for (int32_t i = 0; i < g->n_edges; i++)
        g->edges[i].to = shortcut(g, g->edges[i].to);
    for (int32_t i = 0; i < g->n_nodes; i++)
        for (int32_t e = g->nodes[i].edges; e >= 0; e = g->edges[e].next)
            g->nodes[i].has_bytes |= g->edges[e].kind == HN_EDGE_BYTES;
done:
    hn_free(productive);
    hn_free(empty);
    reverse_done(&r);
    return status;
}
