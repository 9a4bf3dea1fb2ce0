/* jinja2's idtracking: which names a scope reads and writes, and so where each variable lives. */
#pragma once

#include "template/ast.h"

/* A compiled function: the slots that its scopes need, one for each (level, name). */
typedef struct hn_fn {
    struct hn_fn *outer;
    struct hn_fn_slot {
        int level;
        const hn_tstr *name;
    } * slots;
    uint32_t n, cap;
} hn_fn;

typedef struct hn_symbol {
    const hn_tstr *name;
    uint32_t slot;
    int action; /* as hn_load.action */
    hn_fn *alias_fn;
    uint32_t alias_slot;
    bool stored;
} hn_symbol;

typedef struct hn_symbols {
    struct hn_symbols *parent;
    hn_fn *fn;
    int level;
    hn_symbol *items;
    uint32_t n, cap;
} hn_symbols;

typedef struct hn_resolver {
    hn_arena *arena;   /* the template's */
    hn_arena *scratch; /* dies after resolving */
    size_t work;       /* symbols looked at, against hostile templates */
    hn_error *err;
} hn_resolver;

enum { HN_SYMBOLS_MAX = 4000, HN_RESOLVE_MAX_WORK = 200 << 20 };

HN_MUST_CHECK hn_status hn_symbols_new(hn_resolver *rs, hn_symbols *parent, hn_fn *fn,
                                       hn_symbols **out);
HN_MUST_CHECK hn_status hn_symbols_declare(hn_resolver *rs, hn_symbols *s, const hn_tstr *name,
                                           uint32_t *slot);
/* Reads what `node` does to the names of the scope it stands in. */
HN_MUST_CHECK hn_status hn_symbols_analyse(hn_resolver *rs, hn_symbols *s, const hn_node *node);
HN_MUST_CHECK hn_status hn_symbols_analyse_all(hn_resolver *rs, hn_symbols *s, hn_nodes nodes);
/* A target whose names are parameters of the scope. */
HN_MUST_CHECK hn_status hn_symbols_analyse_params(hn_resolver *rs, hn_symbols *s,
                                                  const hn_node *node);
hn_symbol *hn_symbols_find(hn_resolver *rs, hn_symbols *s, const hn_tstr *name, hn_fn **fn);
