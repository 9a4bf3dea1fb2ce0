/* Gives every name its slot, every scope what it loads, every filter and test its function, in the
 * way that jinja2's compiler generates Python: see symbols.h. */
#include "template/render.h"
#include "template/symbols.h"

typedef struct frame {
    hn_symbols *symbols;
    hn_fn *fn;
    bool soft;    /* inside an `if`: an unknown filter fails only when it is reached */
    bool in_loop; /* of the same function, where break and continue may stand */
} frame;

static hn_status resolve(hn_resolver *rs, hn_node *node, frame f);

static hn_status resolve_all(hn_resolver *rs, hn_nodes nodes, frame f) {
    for (uint32_t i = 0; i < nodes.n; i++)
        HN_TRY(resolve(rs, nodes.items[i], f));
    return HN_OK;
}

static hn_var var_of(const hn_fn *from, const hn_fn *fn, uint32_t slot) {
    hn_var var = {.slot = slot};
    for (; from != fn; from = from->outer)
        var.up++;
    return var;
}

static hn_status resolve_name(hn_resolver *rs, hn_node *node, frame f) {
    hn_fn *fn = NULL;
    hn_symbol *symbol = hn_symbols_find(rs, f.symbols, node->name, &fn);
    if (!symbol)
        return hn_template_fail(rs->err, node->line, "%.*s can't be used here",
                                (int)node->name->n_bytes, node->name->data);
    node->var = var_of(f.fn, fn, symbol->slot);
    return HN_OK;
}

/* A scope inside f, in `fn`. */
static hn_status inner(hn_resolver *rs, frame f, hn_fn *fn, frame *out) {
    *out = (frame){.fn = fn, .in_loop = fn == f.fn && f.in_loop};
    return hn_symbols_new(rs, f.symbols, fn, &out->symbols);
}

static hn_status new_fn(hn_resolver *rs, hn_fn *outer, hn_fn **out) {
    hn_fn *fn = HN_ARENA_NEW(rs->scratch, hn_fn, 1);
    if (!fn)
        return hn_fail(rs->err, HN_NO_MEMORY, "out of memory: resolving a template's names");
    fn->outer = outer;
    *out = fn;
    return HN_OK;
}

static hn_status keep_scope(hn_resolver *rs, const hn_symbols *s, hn_scope *scope) {
    scope->n_loads = s->n;
    scope->loads = HN_ARENA_NEW(rs->arena, hn_load, s->n + 1);
    if (!scope->loads)
        return hn_fail(rs->err, HN_NO_MEMORY, "out of memory: resolving a template's names");
    for (uint32_t i = 0; i < s->n; i++) {
        const hn_symbol *symbol = &s->items[i];
        hn_load *to = &scope->loads[i];
        to->action = symbol->action;
        to->slot = symbol->slot;
        to->name = symbol->name;
        if (symbol->action == HN_LOAD_ALIAS)
            to->from = var_of(s->fn, symbol->alias_fn, symbol->alias_slot);
    }
    return HN_OK;
}

/* --- what a body mentions --------------------------------------------------------------------- */

typedef struct mentions {
    const char *names[3];
    bool found[3], hidden[3];
} mentions;

static void find_mentions(const hn_node *node, mentions *m);

static void find_mentions_all(hn_nodes nodes, mentions *m) {
    for (uint32_t i = 0; i < nodes.n; i++)
        find_mentions(nodes.items[i], m);
}

static void find_mentions(const hn_node *node, mentions *m) {
    if (!node)
        return;
    if (node->kind == HN_NODE_NAME) {
        hn_tv name = {.type = HN_TV_STR, .u.s = (hn_tstr *)node->name};
        for (int i = 0; i < 3 && m->names[i]; i++) {
            if (!hn_tv_is_text(name, m->names[i]))
                continue;
            if (node->op != HN_NAME_LOAD)
                m->hidden[i] = true;
            else if (!m->hidden[i])
                m->found[i] = true;
        }
        return;
    }
    bool b_early = node->kind == HN_NODE_FOR || node->kind == HN_NODE_SET_BLOCK;
    bool a_late = node->kind == HN_NODE_FILTER_BLOCK;
    if (!a_late)
        find_mentions(node->a, m);
    if (b_early)
        find_mentions(node->b, m);
    find_mentions_all(node->x, m);
    find_mentions_all(node->y, m);
    find_mentions_all(node->z, m);
    if (a_late)
        find_mentions(node->a, m);
    if (!b_early)
        find_mentions(node->b, m);
    find_mentions(node->c, m);
}

static bool stores_loop(const hn_node *node) {
    if (!node)
        return false;
    if (node->kind == HN_NODE_NAME)
        return node->op == HN_NAME_STORE &&
               hn_tv_is_text((hn_tv){.type = HN_TV_STR, .u.s = (hn_tstr *)node->name}, "loop");
    const hn_nodes lists[] = {node->x, node->y, node->z};
    for (int k = 0; k < 3; k++)
        for (uint32_t i = 0; i < lists[k].n; i++)
            if (stores_loop(lists[k].items[i]))
                return true;
    return stores_loop(node->a) || stores_loop(node->b) || stores_loop(node->c);
}

/* A name as the tree spells it (names are told apart by their pointers), or NULL. */
static const hn_tstr *find_name(const hn_node *node, const char *text);

static const hn_tstr *find_name_all(hn_nodes nodes, const char *text) {
    const hn_tstr *found = NULL;
    for (uint32_t i = 0; i < nodes.n && !found; i++)
        found = find_name(nodes.items[i], text);
    return found;
}

static const hn_tstr *find_name(const hn_node *node, const char *text) {
    if (!node)
        return NULL;
    if (node->kind == HN_NODE_NAME) {
        hn_tv name = {.type = HN_TV_STR, .u.s = (hn_tstr *)node->name};
        return hn_tv_is_text(name, text) ? node->name : NULL;
    }
    const hn_tstr *found = find_name(node->a, text);
    found = found ? found : find_name(node->b, text);
    found = found ? found : find_name(node->c, text);
    found = found ? found : find_name_all(node->x, text);
    found = found ? found : find_name_all(node->y, text);
    return found ? found : find_name_all(node->z, text);
}

/* --- loops ------------------------------------------------------------------------------------ */

static hn_status clone_target(hn_resolver *rs, const hn_node *target, hn_node **out) {
    hn_node *copy = HN_ARENA_NEW(rs->arena, hn_node, 1);
    hn_node **items = HN_ARENA_NEW(rs->arena, hn_node *, target->x.n + 1);
    if (!copy || !items)
        return hn_fail(rs->err, HN_NO_MEMORY, "out of memory: resolving a template's names");
    *copy = *target;
    copy->x.items = items;
    for (uint32_t i = 0; i < target->x.n; i++)
        HN_TRY(clone_target(rs, target->x.items[i], &items[i]));
    *out = copy;
    return HN_OK;
}

static hn_status resolve_loop_test(hn_resolver *rs, hn_node *node, frame f) {
    hn_fn *fn;
    frame test;
    HN_TRY(new_fn(rs, f.fn, &fn));
    HN_TRY(inner(rs, f, fn, &test));
    HN_TRY(hn_symbols_analyse_params(rs, test.symbols, node->a));
    HN_TRY(hn_symbols_analyse(rs, test.symbols, node->c));
    HN_TRY(clone_target(rs, node->a, &node->more->test_target));
    HN_TRY(resolve(rs, node->more->test_target, test));
    HN_TRY(resolve(rs, node->c, test));
    HN_TRY(keep_scope(rs, test.symbols, &node->more->test_scope));
    node->more->n_test_slots = fn->n;
    return HN_OK;
}

static hn_status resolve_for(hn_resolver *rs, hn_node *node, frame f) {
    mentions m = {.names = {"loop"}};
    find_mentions_all(node->x, &m);
    if (stores_loop(node))
        return hn_template_fail(rs->err, node->line,
                                "Can't assign to special loop variable in for-loop target");
    hn_node_more *more = node->more;
    const hn_tstr *loop_name = find_name_all(node->x, "loop");
    more->extended = node->recursive || m.found[0];
    hn_fn *fn = f.fn;
    if (node->recursive)
        HN_TRY(new_fn(rs, f.fn, &fn));
    frame body, other;
    HN_TRY(inner(rs, f, fn, &body));
    body.in_loop = true;
    more->loop.up = UINT32_MAX; /* not stored: nothing in the body reads it */
    if (more->extended && loop_name) {
        more->loop.up = 0;
        HN_TRY(hn_symbols_declare(rs, body.symbols, loop_name, &more->loop.slot));
    }
    HN_TRY(hn_symbols_analyse_params(rs, body.symbols, node->a));
    HN_TRY(hn_symbols_analyse_all(rs, body.symbols, node->x));
    HN_TRY(inner(rs, f, fn, &other));
    HN_TRY(hn_symbols_analyse_all(rs, other.symbols, node->y));
    if (node->c)
        HN_TRY(resolve_loop_test(rs, node, f));
    HN_TRY(resolve(rs, node->b, f));
    HN_TRY(resolve(rs, node->a, body));
    HN_TRY(resolve_all(rs, node->x, body));
    HN_TRY(resolve_all(rs, node->y, other));
    HN_TRY(keep_scope(rs, body.symbols, &more->scope));
    HN_TRY(keep_scope(rs, other.symbols, &more->else_scope));
    more->n_slots = node->recursive ? fn->n : 0;
    return HN_OK;
}

/* --- macros ----------------------------------------------------------------------------------- */

static bool has_param(const hn_node *node, const hn_tstr *name) {
    for (uint32_t i = 0; i < node->x.n; i++)
        if (node->x.items[i]->name == name)
            return true;
    return false;
}

static hn_status declare_special(hn_resolver *rs, hn_node *node, frame body, const char *text,
                                 bool mentioned, bool *wants, uint32_t *slot) {
    const hn_tstr *name = mentioned ? find_name_all(node->z, text) : NULL;
    if (!name || has_param(node, name))
        return HN_OK;
    *wants = true;
    return hn_symbols_declare(rs, body.symbols, name, slot);
}

static hn_status resolve_macro_body(hn_resolver *rs, hn_node *node, frame f) {
    hn_node_more *more = node->more;
    hn_fn *fn;
    frame body;
    HN_TRY(new_fn(rs, f.fn, &fn));
    HN_TRY(inner(rs, f, fn, &body));
    mentions m = {.names = {"caller", "kwargs", "varargs"}};
    find_mentions_all(node->z, &m);
    for (uint32_t i = 0; i < node->x.n; i++) {
        HN_TRY(hn_symbols_analyse(rs, body.symbols, node->x.items[i]));
        hn_tv name = {.type = HN_TV_STR, .u.s = (hn_tstr *)node->x.items[i]->name};
        if (!hn_tv_is_text(name, "caller"))
            continue;
        more->explicit_caller = true;
        if (m.found[0] && i + node->y.n < node->x.n)
            return hn_template_fail(rs->err, node->line,
                                    "the special \"caller\" argument must be omitted or be given "
                                    "a default");
    }
    HN_TRY(hn_symbols_analyse_all(rs, body.symbols, node->y));
    HN_TRY(hn_symbols_analyse_all(rs, body.symbols, node->z));
    HN_TRY(declare_special(rs, node, body, "caller", m.found[0], &more->wants_caller,
                           &more->caller_slot));
    HN_TRY(declare_special(rs, node, body, "kwargs", m.found[1], &more->wants_kwargs,
                           &more->kwargs_slot));
    HN_TRY(declare_special(rs, node, body, "varargs", m.found[2], &more->wants_varargs,
                           &more->varargs_slot));
    HN_TRY(resolve_all(rs, node->x, body));
    HN_TRY(resolve_all(rs, node->y, body));
    HN_TRY(resolve_all(rs, node->z, body));
    HN_TRY(keep_scope(rs, body.symbols, &more->scope));
    more->n_slots = fn->n;
    return HN_OK;
}

/* --- everything else -------------------------------------------------------------------------- */

static hn_status resolve_builtin(hn_resolver *rs, hn_node *node, frame f) {
    bool filter = node->kind == HN_NODE_FILTER;
    node->builtin = (filter ? hn_filter_find : hn_test_find)(node->name->data, node->name->n_bytes);
    if (!node->builtin && !f.soft)
        return hn_template_fail(rs->err, node->line, "No %s named '%.*s'.",
                                filter ? "filter" : "test", (int)node->name->n_bytes,
                                node->name->data);
    return HN_OK;
}

static hn_status resolve_children(hn_resolver *rs, hn_node *node, frame f) {
    HN_TRY(resolve(rs, node->a, f));
    HN_TRY(resolve(rs, node->b, f));
    HN_TRY(resolve(rs, node->c, f));
    HN_TRY(resolve_all(rs, node->x, f));
    HN_TRY(resolve_all(rs, node->y, f));
    return resolve_all(rs, node->z, f);
}

static hn_status resolve_set_block(hn_resolver *rs, hn_node *node, frame f) {
    frame body;
    HN_TRY(inner(rs, f, f.fn, &body));
    HN_TRY(hn_symbols_analyse_all(rs, body.symbols, node->x));
    HN_TRY(resolve_all(rs, node->x, body));
    HN_TRY(resolve(rs, node->b, body));
    HN_TRY(keep_scope(rs, body.symbols, &node->more->scope));
    return resolve(rs, node->a, f);
}

static hn_status resolve_filter_block(hn_resolver *rs, hn_node *node, frame f) {
    frame body;
    HN_TRY(inner(rs, f, f.fn, &body));
    HN_TRY(hn_symbols_analyse_all(rs, body.symbols, node->x));
    HN_TRY(hn_symbols_analyse(rs, body.symbols, node->a));
    HN_TRY(resolve_all(rs, node->x, body));
    HN_TRY(resolve(rs, node->a, body));
    return keep_scope(rs, body.symbols, &node->more->scope);
}

static hn_status resolve_with(hn_resolver *rs, hn_node *node, frame f) {
    frame body;
    HN_TRY(inner(rs, f, f.fn, &body));
    HN_TRY(hn_symbols_analyse_all(rs, body.symbols, node->x));
    HN_TRY(hn_symbols_analyse_all(rs, body.symbols, node->z));
    HN_TRY(resolve_all(rs, node->y, f));
    HN_TRY(resolve_all(rs, node->x, body));
    HN_TRY(resolve_all(rs, node->z, body));
    return keep_scope(rs, body.symbols, &node->more->scope);
}

static hn_status resolve(hn_resolver *rs, hn_node *node, frame f) {
    if (!node)
        return HN_OK;
    switch ((hn_node_kind)node->kind) {
    case HN_NODE_NAME:
    case HN_NODE_NSREF:
        return resolve_name(rs, node, f);
    case HN_NODE_FOR:
        return resolve_for(rs, node, f);
    case HN_NODE_MACRO:
        HN_TRY(resolve_macro_body(rs, node, f));
        return resolve_name(rs, node, f);
    case HN_NODE_CALL_BLOCK:
        HN_TRY(resolve_macro_body(rs, node, f));
        return resolve(rs, node->a, f);
    case HN_NODE_GENERATION:
        return resolve_macro_body(rs, node, f);
    case HN_NODE_SET_BLOCK:
        return resolve_set_block(rs, node, f);
    case HN_NODE_FILTER_BLOCK:
        return resolve_filter_block(rs, node, f);
    case HN_NODE_WITH:
        return resolve_with(rs, node, f);
    case HN_NODE_BREAK:
    case HN_NODE_CONTINUE:
        return f.in_loop ? HN_OK
                         : hn_template_fail(rs->err, node->line, "'%s' outside loop",
                                            node->kind == HN_NODE_BREAK ? "break" : "continue");
    case HN_NODE_FILTER:
    case HN_NODE_TEST:
        HN_TRY(resolve_builtin(rs, node, f));
        return resolve_children(rs, node, f);
    case HN_NODE_IF:
    case HN_NODE_COND:
        f.soft = true;
        return resolve_children(rs, node, f);
    default:
        return resolve_children(rs, node, f);
    }
}

hn_status hn_template_resolve(hn_template *tmpl, hn_error *err) {
    hn_arena scratch = {.max_bytes = HN_TEMPLATE_MAX_ARENA_BYTES};
    hn_resolver rs = {.arena = &tmpl->arena, .scratch = &scratch, .err = err};
    frame f = {0};
    hn_status status = HN_OK;
    HN_GO(new_fn(&rs, NULL, &f.fn));
    HN_GO(hn_symbols_new(&rs, NULL, f.fn, &f.symbols));
    HN_GO(hn_symbols_analyse_all(&rs, f.symbols, tmpl->body));
    HN_GO(resolve_all(&rs, tmpl->body, f));
    HN_GO(keep_scope(&rs, f.symbols, &tmpl->scope));
    tmpl->n_slots = f.fn->n;
done:
    hn_arena_done(&scratch);
    return status;
}
