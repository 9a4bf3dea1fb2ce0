/* See symbols.h. Follows jinja2.idtracking step by step: a difference would move a variable. */
#include "template/symbols.h"

#include "base/mem.h"

static hn_status no_memory(hn_resolver *rs) {
    return hn_fail(rs->err, HN_NO_MEMORY, "out of memory: resolving a template's names");
}

/* Grows an array in the scratch arena by doubling; the old one is left there. */
static hn_status grow(hn_resolver *rs, void **items, uint32_t n, uint32_t *cap, size_t size) {
    if (n < *cap)
        return HN_OK;
    if (n >= HN_SYMBOLS_MAX)
        return hn_fail(rs->err, HN_BAD_INPUT, "the template has more than %d variables in a scope",
                       HN_SYMBOLS_MAX);
    uint32_t wanted = *cap ? *cap * 2 : 8;
    void *grown = hn_arena_alloc_array(rs->scratch, wanted, size, HN_ALIGN_BYTES);
    if (!grown)
        return no_memory(rs);
    if (n)
        memcpy(grown, *items, n * size);
    *items = grown;
    *cap = wanted;
    return HN_OK;
}

hn_status hn_symbols_new(hn_resolver *rs, hn_symbols *parent, hn_fn *fn, hn_symbols **out) {
    hn_symbols *s = HN_ARENA_NEW(rs->scratch, hn_symbols, 1);
    if (!s)
        return no_memory(rs);
    *s = (hn_symbols){.parent = parent, .fn = fn, .level = parent ? parent->level + 1 : 0};
    *out = s;
    return HN_OK;
}

static hn_symbol *find_own(hn_resolver *rs, hn_symbols *s, const hn_tstr *name) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->items[i].name == name) {
            rs->work += i;
            return &s->items[i];
        }
    rs->work += s->n;
    return NULL;
}

hn_symbol *hn_symbols_find(hn_resolver *rs, hn_symbols *s, const hn_tstr *name, hn_fn **fn) {
    for (; s; s = s->parent) {
        hn_symbol *found = find_own(rs, s, name);
        if (found) {
            if (fn)
                *fn = s->fn;
            return found;
        }
    }
    return NULL;
}

static hn_status slot_for(hn_resolver *rs, hn_fn *fn, int level, const hn_tstr *name,
                          uint32_t *out) {
    for (uint32_t i = 0; i < fn->n; i++)
        if (fn->slots[i].name == name && fn->slots[i].level == level) {
            *out = i;
            return HN_OK;
        }
    rs->work += fn->n;
    void *slots = fn->slots;
    HN_TRY(grow(rs, &slots, fn->n, &fn->cap, sizeof *fn->slots));
    fn->slots = slots;
    fn->slots[fn->n].level = level;
    fn->slots[fn->n].name = name;
    *out = fn->n++;
    return HN_OK;
}

static hn_status define(hn_resolver *rs, hn_symbols *s, const hn_tstr *name, int action,
                        hn_symbol **out) {
    if (rs->work > HN_RESOLVE_MAX_WORK)
        return hn_fail(rs->err, HN_BAD_INPUT, "the template's variables are too many to resolve");
    hn_symbol *symbol = find_own(rs, s, name);
    if (!symbol) {
        void *items = s->items;
        HN_TRY(grow(rs, &items, s->n, &s->cap, sizeof *s->items));
        s->items = items;
        symbol = &s->items[s->n];
        *symbol = (hn_symbol){.name = name};
        HN_TRY(slot_for(rs, s->fn, s->level, name, &symbol->slot));
        s->n++;
    }
    symbol->action = action;
    *out = symbol;
    return HN_OK;
}

hn_status hn_symbols_declare(hn_resolver *rs, hn_symbols *s, const hn_tstr *name, uint32_t *slot) {
    hn_symbol *symbol;
    HN_TRY(define(rs, s, name, HN_LOAD_PARAM, &symbol));
    symbol->stored = true;
    if (slot)
        *slot = symbol->slot;
    return HN_OK;
}

static void set_alias(hn_symbol *symbol, const hn_symbol *outer, hn_fn *fn) {
    symbol->action = HN_LOAD_ALIAS;
    symbol->alias_fn = fn;
    symbol->alias_slot = outer->slot;
}

static hn_status store(hn_resolver *rs, hn_symbols *s, const hn_tstr *name) {
    hn_symbol *symbol = find_own(rs, s, name);
    if (!symbol) {
        hn_fn *fn = NULL;
        hn_symbol *outer = s->parent ? hn_symbols_find(rs, s->parent, name, &fn) : NULL;
        HN_TRY(define(rs, s, name, HN_LOAD_EMPTY, &symbol));
        if (outer)
            set_alias(symbol, outer, fn);
    }
    symbol->stored = true;
    return HN_OK;
}

static hn_status load(hn_resolver *rs, hn_symbols *s, const hn_tstr *name) {
    hn_symbol *ignored;
    return hn_symbols_find(rs, s, name, NULL) ? HN_OK
                                              : define(rs, s, name, HN_LOAD_RESOLVE, &ignored);
}

/* Brings what a branch of an `if` did back into the scope around it. */
static hn_status merge_branch(hn_resolver *rs, hn_symbols *s, const hn_symbols *branch) {
    for (uint32_t i = 0; i < branch->n; i++) {
        const hn_symbol *from = &branch->items[i];
        hn_symbol *to;
        HN_TRY(define(rs, s, from->name, from->action, &to));
        to->alias_fn = from->alias_fn;
        to->alias_slot = from->alias_slot;
        to->stored |= from->stored;
    }
    return HN_OK;
}

static hn_status copy_symbols(hn_resolver *rs, const hn_symbols *s, hn_symbols *out) {
    *out = *s;
    out->cap = s->n + 8;
    out->items = hn_arena_alloc_array(rs->scratch, out->cap, sizeof *out->items, HN_ALIGN_BYTES);
    rs->work += s->n;
    if (!out->items)
        return no_memory(rs);
    if (s->n)
        memcpy(out->items, s->items, s->n * sizeof *s->items);
    return HN_OK;
}

static hn_status analyse_if(hn_resolver *rs, hn_symbols *s, const hn_node *node) {
    HN_TRY(hn_symbols_analyse(rs, s, node->a));
    const hn_nodes bodies[3] = {node->x, node->y, node->z};
    hn_symbols branches[3];
    uint32_t n_before = s->n;
    bool *stored = HN_ARENA_NEW(rs->scratch, bool, n_before + 1);
    if (!stored)
        return no_memory(rs);
    for (uint32_t i = 0; i < n_before; i++)
        stored[i] = s->items[i].stored;
    for (int i = 0; i < 3; i++) {
        HN_TRY(copy_symbols(rs, s, &branches[i]));
        HN_TRY(hn_symbols_analyse_all(rs, &branches[i], bodies[i]));
    }
    for (int i = 0; i < 3; i++)
        HN_TRY(merge_branch(rs, s, &branches[i]));
    /* what only a branch stores may not have been stored: it starts as what is seen outside */
    for (uint32_t i = 0; i < s->n; i++) {
        hn_symbol *symbol = &s->items[i];
        if (!symbol->stored || (i < n_before && stored[i]))
            continue;
        hn_fn *fn = NULL;
        hn_symbol *outer = s->parent ? hn_symbols_find(rs, s->parent, symbol->name, &fn) : NULL;
        if (outer)
            set_alias(symbol, outer, fn);
        else
            symbol->action = HN_LOAD_RESOLVE;
    }
    return HN_OK;
}

hn_status hn_symbols_analyse_params(hn_resolver *rs, hn_symbols *s, const hn_node *node) {
    if (node->kind == HN_NODE_NAME)
        return hn_symbols_declare(rs, s, node->name, NULL);
    for (uint32_t i = 0; i < node->x.n; i++)
        HN_TRY(hn_symbols_analyse_params(rs, s, node->x.items[i]));
    return HN_OK;
}

hn_status hn_symbols_analyse_all(hn_resolver *rs, hn_symbols *s, hn_nodes nodes) {
    for (uint32_t i = 0; i < nodes.n; i++)
        HN_TRY(hn_symbols_analyse(rs, s, nodes.items[i]));
    return HN_OK;
}

static hn_status analyse_name(hn_resolver *rs, hn_symbols *s, const hn_node *node) {
    switch ((hn_name_use)node->op) {
    case HN_NAME_PARAM:
        return hn_symbols_declare(rs, s, node->name, NULL);
    case HN_NAME_STORE:
        return store(rs, s, node->name);
    default:
        return load(rs, s, node->name);
    }
}

hn_status hn_symbols_analyse(hn_resolver *rs, hn_symbols *s, const hn_node *node) {
    if (!node)
        return HN_OK;
    rs->work++;
    switch ((hn_node_kind)node->kind) {
    case HN_NODE_NAME:
        return analyse_name(rs, s, node);
    case HN_NODE_NSREF:
        return load(rs, s, node->name);
    case HN_NODE_IF:
        return analyse_if(rs, s, node);
    case HN_NODE_MACRO:
        return store(rs, s, node->name);
    case HN_NODE_FOR:
        return hn_symbols_analyse(rs, s, node->b);
    case HN_NODE_CALL_BLOCK:
    case HN_NODE_FILTER_BLOCK:
    case HN_NODE_SET_BLOCK:
        return hn_symbols_analyse(rs, s, node->a);
    case HN_NODE_GENERATION:
        return HN_OK;
    case HN_NODE_WITH:
        return hn_symbols_analyse_all(rs, s, node->y);
    case HN_NODE_SET:
        HN_TRY(hn_symbols_analyse(rs, s, node->b));
        return hn_symbols_analyse(rs, s, node->a);
    default:
        HN_TRY(hn_symbols_analyse(rs, s, node->a));
        HN_TRY(hn_symbols_analyse_all(rs, s, node->x));
        HN_TRY(hn_symbols_analyse_all(rs, s, node->y));
        HN_TRY(hn_symbols_analyse_all(rs, s, node->z));
        HN_TRY(hn_symbols_analyse(rs, s, node->b));
        return hn_symbols_analyse(rs, s, node->c);
    }
}
