/* Expressions. */
#include "template/render.h"

hn_status hn_eval_down(hn_render *r, const hn_node *node) {
    HN_TRY(hn_render_charge(r, 1));
    r->line = node->line;
    if (r->depth >= HN_RENDER_MAX_DEPTH)
        return hn_render_fail(r, "maximum recursion depth exceeded");
    r->depth++;
    return HN_OK;
}

static hn_tv *slot_of(const hn_render *r, hn_var var) {
    hn_activation *frame = r->frame;
    for (uint32_t up = var.up; up; up--)
        frame = frame->outer;
    return &frame->slots[var.slot];
}

hn_status hn_eval_var(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tv v = *slot_of(r, node->var);
    if (v.type == HN_TV_MISSING)
        return hn_tv_undefined(r, NULL, node->name, out);
    *out = v;
    return HN_OK;
}

static hn_status eval_items(hn_render *r, hn_nodes nodes, hn_tlist **out) {
    hn_tlist *list;
    HN_TRY(hn_tlist_new(r, nodes.n, &list));
    for (uint32_t i = 0; i < nodes.n; i++)
        HN_TRY(hn_eval(r, nodes.items[i], &list->items[i]));
    list->n = nodes.n;
    *out = list;
    return HN_OK;
}

static hn_status eval_dict(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tdict *dict;
    HN_TRY(hn_tdict_new(r, &dict));
    for (uint32_t i = 0; i < node->x.n; i++) {
        hn_tv key, value;
        HN_TRY(hn_eval(r, node->x.items[i], &key));
        HN_TRY(hn_eval(r, node->y.items[i], &value));
        HN_TRY(hn_tdict_put(r, dict, key, value));
    }
    *out = hn_tv_dict(dict);
    return HN_OK;
}

static hn_status eval_truth(hn_render *r, const hn_node *node, bool *out) {
    hn_tv v;
    HN_TRY(hn_eval(r, node, &v));
    return hn_tv_truth(r, v, out);
}

static hn_status eval_cond(hn_render *r, const hn_node *node, hn_tv *out) {
    bool truth;
    HN_TRY(eval_truth(r, node->a, &truth));
    if (truth || node->c)
        return hn_eval(r, truth ? node->b : node->c, out);
    return hn_tv_undefined_hint(
        r, "the inline if-expression evaluated to false and no else section was defined.", out);
}

static hn_status eval_logic(hn_render *r, const hn_node *node, hn_tv *out) {
    bool truth;
    HN_TRY(hn_eval(r, node->a, out));
    HN_TRY(hn_tv_truth(r, *out, &truth));
    return truth == (node->kind == HN_NODE_AND) ? hn_eval(r, node->b, out) : HN_OK;
}

static hn_status eval_binary(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tv a, b;
    HN_TRY(hn_eval(r, node->a, &a));
    HN_TRY(hn_eval(r, node->b, &b));
    r->line = node->line;
    return hn_tv_arith(r, (char)node->op, a, b, out);
}

/* Long text on the left grows in place, so that building a chat piece by piece stays linear; short
 * pieces are gathered in the output buffer. */
static hn_status eval_concat(hn_render *r, const hn_node *node, hn_tv *out) {
    enum { GROW_FROM_BYTES = 128 };
    hn_tlist *list;
    hn_tv left, right;
    size_t start = r->text.size;
    HN_TRY(eval_items(r, node->x, &list));
    HN_TRY(hn_tv_to_str(r, list->items[0], &left));
    if (list->n > 2 && left.u.s->n_bytes < GROW_FROM_BYTES) {
        for (uint32_t i = 0; i < list->n; i++)
            HN_TRY(hn_tv_write(r, list->items[i], false));
        return hn_render_take_text(r, start, out);
    }
    for (uint32_t i = 1; i < list->n; i++) {
        HN_TRY(hn_tv_to_str(r, list->items[i], &right));
        HN_TRY(hn_tstr_concat(r, left.u.s, right.u.s, &left));
    }
    left.u.s->markup = false;
    *out = left;
    return HN_OK;
}

static hn_status compare(hn_render *r, hn_compare_op op, hn_tv a, hn_tv b, bool *out) {
    static const char *const ORDER[] = {
        [HN_CMP_LT] = "<", [HN_CMP_LE] = "<=", [HN_CMP_GT] = ">", [HN_CMP_GE] = ">="};
    switch (op) {
    case HN_CMP_EQ:
        return hn_tv_equal(r, a, b, out);
    case HN_CMP_NE:
        HN_TRY(hn_tv_equal(r, a, b, out));
        *out = !*out;
        return HN_OK;
    case HN_CMP_IN:
        return hn_tv_contains(r, a, b, out);
    case HN_CMP_NOT_IN:
        HN_TRY(hn_tv_contains(r, a, b, out));
        *out = !*out;
        return HN_OK;
    default:
        return hn_tv_order(r, a, b, ORDER[op], out);
    }
}

static hn_status eval_compare(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tv left, right;
    bool truth = true;
    HN_TRY(hn_eval(r, node->a, &left));
    for (uint32_t i = 0; i < node->x.n && truth; i++) {
        const hn_node *operand = node->x.items[i];
        HN_TRY(hn_eval(r, operand->a, &right));
        r->line = node->line;
        HN_TRY(compare(r, (hn_compare_op)operand->op, left, right, &truth));
        left = right;
    }
    *out = hn_tv_bool(truth);
    return HN_OK;
}

static hn_status eval_optional(hn_render *r, const hn_node *node, hn_tv *out) {
    *out = hn_tv_none();
    return node ? hn_eval(r, node, out) : HN_OK;
}

static hn_status eval_getitem(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tv object, key, stop, step;
    HN_TRY(hn_eval(r, node->a, &object));
    if (node->b->kind != HN_NODE_SLICE) {
        HN_TRY(hn_eval(r, node->b, &key));
        r->line = node->line;
        return hn_attr_item(r, object, key, out);
    }
    HN_TRY(eval_optional(r, node->b->a, &key));
    HN_TRY(eval_optional(r, node->b->b, &stop));
    HN_TRY(eval_optional(r, node->b->c, &step));
    r->line = node->line;
    return hn_attr_slice(r, object, key, stop, step, out);
}

static hn_status eval_builtin(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tv self = r->block_text;
    hn_targs args;
    if (node->a)
        HN_TRY(hn_eval(r, node->a, &self));
    HN_TRY(hn_eval_args(r, node, &args));
    r->line = node->line;
    if (!node->builtin)
        return hn_render_fail(r, "No %s named '%.*s' found.",
                              node->kind == HN_NODE_FILTER ? "filter" : "test",
                              (int)node->name->n_bytes, node->name->data);
    return hn_render_apply(r, node->builtin, self, &args, out);
}

static hn_status eval_node(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tv v;
    hn_tlist *list;
    bool truth;
    switch ((hn_node_kind)node->kind) {
    case HN_NODE_CONST:
    case HN_NODE_DATA:
        *out = node->value;
        return HN_OK;
    case HN_NODE_NAME:
        return hn_eval_var(r, node, out);
    case HN_NODE_TUPLE:
    case HN_NODE_LIST:
        HN_TRY(eval_items(r, node->x, &list));
        *out = node->kind == HN_NODE_LIST ? hn_tv_list(list) : hn_tv_tuple(list);
        return HN_OK;
    case HN_NODE_DICT:
        return eval_dict(r, node, out);
    case HN_NODE_COND:
        return eval_cond(r, node, out);
    case HN_NODE_BINARY:
        return eval_binary(r, node, out);
    case HN_NODE_UNARY:
        HN_TRY(hn_eval(r, node->a, &v));
        return node->op == '-' ? hn_tv_negate(r, v, out) : hn_tv_plus(r, v, out);
    case HN_NODE_AND:
    case HN_NODE_OR:
        return eval_logic(r, node, out);
    case HN_NODE_NOT:
        HN_TRY(eval_truth(r, node->a, &truth));
        *out = hn_tv_bool(!truth);
        return HN_OK;
    case HN_NODE_CONCAT:
        return eval_concat(r, node, out);
    case HN_NODE_COMPARE:
        return eval_compare(r, node, out);
    case HN_NODE_GETATTR:
        HN_TRY(hn_eval(r, node->a, &v));
        r->line = node->line;
        return hn_attr_get(r, v, node->name, out);
    case HN_NODE_GETITEM:
        return eval_getitem(r, node, out);
    case HN_NODE_CALL:
        return hn_eval_call_node(r, node, out);
    case HN_NODE_FILTER:
    case HN_NODE_TEST:
        return eval_builtin(r, node, out);
    default:
        return hn_render_fail(r, "this can't be evaluated");
    }
}

hn_status hn_eval(hn_render *r, const hn_node *node, hn_tv *out) {
    HN_TRY(hn_eval_down(r, node));
    hn_status status = eval_node(r, node, out);
    r->depth--;
    return status;
}
