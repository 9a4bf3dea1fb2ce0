/* Statements. */
#include "template/render.h"

static hn_status resolve_variable(hn_render *r, const hn_tstr *name, hn_tv *out) {
    hn_tv *slot;
    bool hashable;
    HN_TRY(hn_tdict_find(r, r->variables, hn_tv_str((hn_tstr *)name), &slot, &hashable));
    if (slot) {
        *out = *slot;
        return HN_OK;
    }
    const hn_tfunction *function = hn_global_find(name->data, name->n_bytes);
    *out = (hn_tv){.type = function ? HN_TV_FUNCTION : HN_TV_MISSING, .u.function = function};
    return HN_OK;
}

hn_status hn_eval_scope_enter(hn_render *r, const hn_scope *scope) {
    for (uint32_t i = 0; i < scope->n_loads; i++) {
        const hn_load *load = &scope->loads[i];
        hn_tv *slot = &r->frame->slots[load->slot];
        hn_activation *from = r->frame;
        switch (load->action) {
        case HN_LOAD_RESOLVE:
            HN_TRY(resolve_variable(r, load->name, slot));
            break;
        case HN_LOAD_ALIAS:
            for (uint32_t up = load->from.up; up; up--)
                from = from->outer;
            *slot = from->slots[load->from.slot];
            break;
        case HN_LOAD_EMPTY:
            *slot = (hn_tv){0};
            break;
        default:
            break;
        }
    }
    return HN_OK;
}

void hn_eval_scope_leave(hn_render *r, const hn_scope *scope) {
    for (uint32_t i = 0; i < scope->n_loads; i++)
        r->frame->slots[scope->loads[i].slot] = (hn_tv){0};
}

/* --- assignment ------------------------------------------------------------------------------- */

static hn_status unpack(hn_render *r, const hn_node *target, hn_tv v) {
    hn_titer *it;
    uint32_t n = 0;
    HN_TRY(hn_tv_iter(r, v, &it));
    for (;;) {
        hn_tv item;
        bool more;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            break;
        if (n == target->x.n)
            return hn_render_fail(r, "too many values to unpack (expected %u)", target->x.n);
        HN_TRY(hn_eval_assign(r, target->x.items[n++], item));
    }
    if (n < target->x.n)
        return hn_render_fail(r, "not enough values to unpack (expected %u, got %u)", target->x.n,
                              n);
    return HN_OK;
}

static hn_status assign_attribute(hn_render *r, const hn_node *target, hn_tv v) {
    hn_tv ns;
    HN_TRY(hn_eval_var(r, target, &ns));
    if (ns.type != HN_TV_NAMESPACE)
        return hn_render_fail(r, "cannot assign attribute on non-namespace object");
    if (target->attr->data[0] == '_')
        return hn_render_fail(r, "Chat templates cannot store underscore-prefixed attributes on a "
                                 "namespace");
    return hn_tdict_put(r, ns.u.dict, hn_tv_str((hn_tstr *)target->attr), v);
}

hn_status hn_eval_assign(hn_render *r, const hn_node *target, hn_tv v) {
    switch ((hn_node_kind)target->kind) {
    case HN_NODE_NAME:
        r->frame->slots[target->var.slot] = v;
        return HN_OK;
    case HN_NODE_NSREF:
        return assign_attribute(r, target, v);
    default:
        return unpack(r, target, v);
    }
}

/* --- blocks that capture ---------------------------------------------------------------------- */

static hn_status filter_text(hn_render *r, const hn_node *filters, hn_tv text, hn_tv *out) {
    hn_tv before = r->block_text;
    r->block_text = text;
    HN_TRY(hn_eval(r, filters, out));
    r->block_text = before;
    return HN_OK;
}

static hn_status eval_set_block(hn_render *r, const hn_node *node) {
    hn_tv text;
    HN_TRY(hn_eval_scope_enter(r, &node->more->scope));
    size_t start = hn_render_capture_begin(r);
    HN_TRY(hn_eval_body(r, node->x));
    HN_TRY(hn_render_capture_end(r, start, &text));
    if (r->flow != HN_FLOW_NEXT)
        return HN_OK;
    if (node->b)
        HN_TRY(filter_text(r, node->b, text, &text));
    HN_TRY(hn_eval_assign(r, node->a, text));
    hn_eval_scope_leave(r, &node->more->scope);
    return HN_OK;
}

static hn_status eval_filter_block(hn_render *r, const hn_node *node) {
    hn_tv text;
    HN_TRY(hn_eval_scope_enter(r, &node->more->scope));
    size_t start = hn_render_capture_begin(r);
    HN_TRY(hn_eval_body(r, node->x));
    HN_TRY(hn_render_capture_end(r, start, &text));
    if (r->flow != HN_FLOW_NEXT)
        return HN_OK;
    HN_TRY(filter_text(r, node->a, text, &text));
    HN_TRY(hn_tv_write(r, text, false));
    hn_eval_scope_leave(r, &node->more->scope);
    return HN_OK;
}

static hn_status eval_with(hn_render *r, const hn_node *node) {
    HN_TRY(hn_eval_scope_enter(r, &node->more->scope));
    for (uint32_t i = 0; i < node->x.n; i++) {
        hn_tv v;
        HN_TRY(hn_eval(r, node->y.items[i], &v));
        HN_TRY(hn_eval_assign(r, node->x.items[i], v));
    }
    HN_TRY(hn_eval_body(r, node->z));
    hn_eval_scope_leave(r, &node->more->scope);
    return HN_OK;
}

/* --- the rest --------------------------------------------------------------------------------- */

static hn_status eval_output(hn_render *r, const hn_node *node) {
    for (uint32_t i = 0; i < node->x.n; i++) {
        const hn_node *item = node->x.items[i];
        hn_tv v = item->value;
        if (item->kind != HN_NODE_DATA)
            HN_TRY(hn_eval(r, item, &v));
        HN_TRY(hn_tv_write(r, v, false));
    }
    return HN_OK;
}

static hn_status eval_if(hn_render *r, const hn_node *node) {
    for (uint32_t i = 0; i <= node->y.n; i++) {
        const hn_node *branch = i == 0 ? node : node->y.items[i - 1];
        hn_tv v;
        bool truth;
        HN_TRY(hn_eval(r, branch->a, &v));
        HN_TRY(hn_tv_truth(r, v, &truth));
        if (truth)
            return hn_eval_body(r, branch->x);
    }
    return hn_eval_body(r, node->z);
}

static bool targets_namespaces(const hn_render *r, const hn_node *target) {
    if (target->kind == HN_NODE_NSREF) {
        const hn_activation *frame = r->frame;
        for (uint32_t up = target->var.up; up; up--)
            frame = frame->outer;
        return frame->slots[target->var.slot].type == HN_TV_NAMESPACE;
    }
    for (uint32_t i = 0; i < target->x.n; i++)
        if (!targets_namespaces(r, target->x.items[i]))
            return false;
    return true;
}

static hn_status eval_set(hn_render *r, const hn_node *node) {
    hn_tv v;
    if (!targets_namespaces(r, node->a)) /* jinja2 looks before it evaluates */
        return hn_render_fail(r, "cannot assign attribute on non-namespace object");
    HN_TRY(hn_eval(r, node->b, &v));
    return hn_eval_assign(r, node->a, v);
}

static hn_status eval_macro_statement(hn_render *r, const hn_node *node) {
    hn_tv macro;
    HN_TRY(hn_eval_macro_define(r, node, &macro));
    r->frame->slots[node->var.slot] = macro;
    return HN_OK;
}

static hn_status eval_statement(hn_render *r, const hn_node *node) {
    switch ((hn_node_kind)node->kind) {
    case HN_NODE_OUTPUT:
        return eval_output(r, node);
    case HN_NODE_FOR:
        return hn_eval_for(r, node);
    case HN_NODE_IF:
        return eval_if(r, node);
    case HN_NODE_SET:
        return eval_set(r, node);
    case HN_NODE_SET_BLOCK:
        return eval_set_block(r, node);
    case HN_NODE_MACRO:
        return eval_macro_statement(r, node);
    case HN_NODE_CALL_BLOCK:
        return hn_eval_call_block(r, node);
    case HN_NODE_GENERATION:
        return hn_eval_generation(r, node);
    case HN_NODE_FILTER_BLOCK:
        return eval_filter_block(r, node);
    case HN_NODE_WITH:
        return eval_with(r, node);
    case HN_NODE_BREAK:
    case HN_NODE_CONTINUE:
        r->flow = node->kind == HN_NODE_BREAK ? HN_FLOW_BREAK : HN_FLOW_CONTINUE;
        return HN_OK;
    default:
        return hn_render_fail(r, "other templates can't be loaded (include, import, extends)");
    }
}

hn_status hn_eval_statement(hn_render *r, const hn_node *node) {
    HN_TRY(hn_eval_down(r, node));
    hn_status status = eval_statement(r, node);
    r->depth--;
    return status;
}

hn_status hn_eval_body(hn_render *r, hn_nodes body) {
    for (uint32_t i = 0; i < body.n && r->flow == HN_FLOW_NEXT; i++)
        HN_TRY(hn_eval_statement(r, body.items[i]));
    return HN_OK;
}
