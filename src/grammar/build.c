/* Building a grammar's graph: nodes, edges, rules, words. */
#include "grammar/build.h"

#include "base/mem.h"

#include <string.h>

enum {
    MAX_NODES = 1 << 18, /* 2 MB of nodes and some 12 MB of edges: far above any honest schema */
    MAX_EDGES = 1 << 19,
    MAX_RULES = 1 << 16,
};

/* Room for one more of `size` bytes each; false sets `failed`. */
static bool grow(hn_grammar *g, void *array, int32_t n, int32_t *capacity, int32_t max,
                 size_t size) {
    if (g->failed)
        return false;
    if (n >= max) {
        g->failed = HN_UNSUPPORTED;
        return false;
    }
    if (n < *capacity)
        return true;
    int32_t wanted = *capacity ? *capacity * 2 : 64;
    void *old, *new;
    memcpy(&old, array, sizeof old);
    new = hn_reallocarray(old, (size_t)wanted, size);
    if (!new) {
        g->failed = HN_NO_MEMORY;
        return false;
    }
    memcpy(array, &new, sizeof new);
    *capacity = wanted;
    return true;
}

/* After a failure all nodes are the first one, and edges are dropped. */
int32_t hn_build_node(hn_grammar *g) {
    if (!grow(g, &g->nodes, g->n_nodes, &g->cap_nodes, MAX_NODES, sizeof *g->nodes))
        return 0;
    g->nodes[g->n_nodes] = (hn_node){.edges = -1};
    return g->n_nodes++;
}

hn_part hn_build_part(hn_grammar *g) {
    int32_t in = hn_build_node(g);
    return (hn_part){.in = in, .out = hn_build_node(g)};
}

static void add_edge(hn_grammar *g, int32_t from, hn_edge edge) {
    if (!grow(g, &g->edges, g->n_edges, &g->cap_edges, MAX_EDGES, sizeof *g->edges))
        return;
    edge.next = g->nodes[from].edges;
    g->edges[g->n_edges] = edge;
    g->nodes[from].edges = g->n_edges++;
}

void hn_build_bytes(hn_grammar *g, int32_t from, int lo, int hi, int32_t to) {
    add_edge(g, from,
             (hn_edge){.to = to, .kind = HN_EDGE_BYTES, .lo = (uint8_t)lo, .hi = (uint8_t)hi});
}

void hn_build_free(hn_grammar *g, int32_t from, int32_t to) {
    add_edge(g, from, (hn_edge){.to = to, .kind = HN_EDGE_FREE});
}

void hn_build_call(hn_grammar *g, int32_t from, int32_t rule, int32_t to) {
    add_edge(g, from, (hn_edge){.to = to, .rule = rule, .kind = HN_EDGE_CALL});
}

void hn_build_repeat(hn_grammar *g, int32_t from, hn_part part, uint32_t min, uint32_t max,
                     int32_t to) {
    if (max == 0) {
        hn_build_free(g, from, to);
    } else if (min == 1 && max == 1) {
        hn_build_free(g, from, part.in);
        hn_build_free(g, part.out, to);
    } else if (min == 0 && max == 1) {
        hn_build_free(g, from, part.in);
        hn_build_free(g, from, to);
        hn_build_free(g, part.out, to);
    } else if (min <= 1 && max == HN_REPEAT_MAX) {
        hn_build_free(g, from, part.in);
        hn_build_free(g, part.out, part.in);
        hn_build_free(g, part.out, to);
        if (min == 0)
            hn_build_free(g, from, to);
    } else {
        hn_edge edge = {.to = to, .kind = HN_EDGE_REPEAT, .min = min, .max = max};
        edge.rule = hn_build_rule_over(g, part);
        add_edge(g, from, edge);
    }
}

int32_t hn_build_rule_over(hn_grammar *g, hn_part part) {
    if (!grow(g, &g->rules, g->n_rules, &g->cap_rules, MAX_RULES, sizeof *g->rules))
        return 0;
    g->rules[g->n_rules] = (hn_rule){.start = part.in, .end = part.out};
    return g->n_rules++;
}

int32_t hn_build_rule(hn_grammar *g) {
    return hn_build_rule_over(g, hn_build_part(g));
}

int32_t hn_build_text(hn_grammar *g, int32_t from, const char *data, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes && !g->failed; i++) {
        int32_t to = hn_build_node(g);
        hn_build_bytes(g, from, (uint8_t)data[i], (uint8_t)data[i], to);
        from = to;
    }
    return from;
}

void hn_build_word(hn_grammar *g, int32_t from, const char *data, size_t n_bytes, int32_t to) {
    for (size_t i = 0; i < n_bytes && !g->failed; i++) {
        uint8_t byte = (uint8_t)data[i];
        int32_t next = -1;
        for (int32_t e = g->nodes[from].edges; e >= 0 && next < 0; e = g->edges[e].next)
            if (g->edges[e].kind == HN_EDGE_BYTES && g->edges[e].lo == byte)
                next = g->edges[e].to;
        if (next < 0) {
            next = hn_build_node(g);
            hn_build_bytes(g, from, byte, byte, next);
        }
        from = next;
    }
    hn_build_free(g, from, to);
}

hn_status hn_build_check(const hn_grammar *g, const char *where, hn_error *err) {
    if (g->failed == HN_NO_MEMORY)
        return hn_fail_no_memory(err, (size_t)g->n_edges * sizeof *g->edges);
    if (g->failed)
        return hn_fail(err, HN_UNSUPPORTED,
                       "%s: the grammar needs more than %d states, %d steps or %d rules: make it "
                       "smaller",
                       where, MAX_NODES, MAX_EDGES, MAX_RULES);
    return HN_OK;
}

bool hn_grammar_starts_free(const hn_grammar *g) {
    return g->starts_free;
}

void hn_grammar_free(hn_grammar *g) {
    if (!g)
        return;
    for (int32_t i = 0; i < g->n_rules; i++)
        hn_free(g->rules[i].name);
    hn_free(g->nodes);
    hn_free(g->edges);
    hn_free(g->rules);
    hn_free(g);
}
