/* Calls: arguments, macros, call blocks and generation blocks. */
#include "template/render.h"

static hn_status expand_list(hn_render *r, hn_tv v, hn_targs *args) {
    hn_tlist *list;
    void *pos;
    HN_TRY(hn_tv_to_list(r, v, &list));
    HN_TRY(hn_render_alloc(r, args->n_pos + list->n + 1, sizeof(hn_tv), &pos));
    if (args->n_pos)
        memcpy(pos, args->pos, args->n_pos * sizeof(hn_tv));
    if (list->n)
        memcpy((hn_tv *)pos + args->n_pos, list->items, list->n * sizeof(hn_tv));
    args->pos = pos;
    args->n_pos += list->n;
    return HN_OK;
}

static bool has_keyword(const hn_targs *args, const hn_tstr *name) {
    for (uint32_t i = 0; i < args->n_kw; i++)
        if (args->kw[i].name->n_bytes == name->n_bytes &&
            !memcmp(args->kw[i].name->data, name->data, name->n_bytes))
            return true;
    return false;
}

static hn_status expand_dict(hn_render *r, hn_tv v, hn_targs *args) {
    if (v.type != HN_TV_DICT)
        return hn_render_fail(r, "argument after ** must be a mapping, not %s", hn_tv_type_name(v));
    HN_TRY(hn_tdict_open(r, v.u.dict));
    void *kw;
    HN_TRY(hn_render_charge(r, v.u.dict->n));
    HN_TRY(hn_render_alloc(r, args->n_kw + v.u.dict->n + 1, sizeof(hn_targ_kw), &kw));
    if (args->n_kw)
        memcpy(kw, args->kw, args->n_kw * sizeof(hn_targ_kw));
    args->kw = kw;
    for (uint32_t i = 0; i < v.u.dict->n; i++) {
        const hn_tentry *entry = &v.u.dict->entries[i];
        if (entry->key.type != HN_TV_STR)
            return hn_render_fail(r, "keywords must be strings");
        if (has_keyword(args, entry->key.u.s))
            return hn_render_fail(r, "got multiple values for keyword argument '%.*s'",
                                  (int)entry->key.u.s->n_bytes, entry->key.u.s->data);
        args->kw[args->n_kw++] = (hn_targ_kw){entry->key.u.s, entry->value};
    }
    return HN_OK;
}

hn_status hn_eval_args(hn_render *r, const hn_node *node, hn_targs *args) {
    void *pos = NULL, *kw = NULL;
    *args = (hn_targs){0};
    if (node->x.n)
        HN_TRY(hn_render_alloc(r, node->x.n, sizeof(hn_tv), &pos));
    args->pos = pos;
    for (uint32_t i = 0; i < node->x.n; i++)
        HN_TRY(hn_eval(r, node->x.items[i], &args->pos[i]));
    args->n_pos = node->x.n;
    if (node->b) {
        hn_tv more;
        HN_TRY(hn_eval(r, node->b, &more));
        HN_TRY(expand_list(r, more, args));
    }
    if (node->y.n)
        HN_TRY(hn_render_alloc(r, node->y.n, sizeof(hn_targ_kw), &kw));
    args->kw = kw;
    for (uint32_t i = 0; i < node->y.n; i++) {
        args->kw[i].name = node->y.items[i]->name;
        HN_TRY(hn_eval(r, node->y.items[i]->a, &args->kw[i].value));
    }
    args->n_kw = node->y.n;
    if (node->c) {
        hn_tv more;
        HN_TRY(hn_eval(r, node->c, &more));
        HN_TRY(expand_dict(r, more, args));
    }
    return HN_OK;
}

/* --- macros ----------------------------------------------------------------------------------- */

hn_status hn_activation_new(hn_render *r, hn_activation *outer, uint32_t n_slots,
                            hn_activation **out) {
    void *frame, *slots;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_activation), &frame));
    HN_TRY(hn_render_alloc(r, n_slots + 1, sizeof(hn_tv), &slots));
    *(hn_activation *)frame = (hn_activation){.outer = outer, .slots = slots};
    *out = frame;
    return HN_OK;
}

hn_status hn_eval_macro_define(hn_render *r, const hn_node *node, hn_tv *out) {
    void *macro;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tmacro), &macro));
    *(hn_tmacro *)macro = (hn_tmacro){.node = node, .outer = r->frame};
    *out = (hn_tv){.type = HN_TV_MACRO, .u.macro = macro};
    return HN_OK;
}

/* Takes a keyword out of `args`; false when it isn't there. */
static bool pop_keyword(hn_targs *args, const hn_tstr *name, hn_tv *out) {
    for (uint32_t i = 0; i < args->n_kw; i++) {
        const hn_tstr *given = args->kw[i].name;
        if (given->n_bytes != name->n_bytes || memcmp(given->data, name->data, name->n_bytes))
            continue;
        *out = args->kw[i].value;
        args->n_kw--;
        memmove(&args->kw[i], &args->kw[i + 1], (args->n_kw - i) * sizeof *args->kw);
        return true;
    }
    return false;
}

static hn_status keep_kwargs(hn_render *r, const hn_targs *args, hn_tv *out) {
    hn_tdict *dict;
    HN_TRY(hn_tdict_new(r, &dict));
    for (uint32_t i = 0; i < args->n_kw; i++)
        HN_TRY(hn_tdict_put(r, dict, hn_tv_str((hn_tstr *)args->kw[i].name), args->kw[i].value));
    *out = hn_tv_dict(dict);
    return HN_OK;
}

static hn_status keep_varargs(hn_render *r, const hn_targs *args, uint32_t from, hn_tv *out) {
    hn_tlist *list;
    uint32_t n = args->n_pos > from ? args->n_pos - from : 0;
    HN_TRY(hn_tlist_new(r, n, &list));
    if (n)
        memcpy(list->items, args->pos + from, n * sizeof(hn_tv));
    list->n = n;
    *out = hn_tv_tuple(list);
    return HN_OK;
}

static hn_status bind_special(hn_render *r, const hn_node *node, hn_targs *args, hn_tv *slots) {
    static const hn_tstr CALLER = {.data = "caller", .n_bytes = 6, .n_chars = 6};
    const hn_node_more *more = node->more;
    hn_tv caller;
    if (more->wants_caller) {
        bool given = pop_keyword(args, &CALLER, &caller) && caller.type != HN_TV_NONE;
        if (!given)
            HN_TRY(hn_tv_undefined_hint(r, "No caller defined", &caller));
        slots[more->caller_slot] = caller;
    }
    if (more->wants_kwargs)
        HN_TRY(keep_kwargs(r, args, &slots[more->kwargs_slot]));
    else if (args->n_kw)
        return hn_render_fail(r, "the macro takes no keyword argument '%.*s'",
                              (int)args->kw[0].name->n_bytes, args->kw[0].name->data);
    if (more->wants_varargs)
        HN_TRY(keep_varargs(r, args, node->x.n, &slots[more->varargs_slot]));
    else if (args->n_pos > node->x.n)
        return hn_render_fail(r, "the macro takes not more than %u argument(s)", node->x.n);
    return HN_OK;
}

static hn_status bind_macro(hn_render *r, const hn_node *node, const hn_targs *given,
                            hn_tv *slots) {
    hn_targs args = *given;
    void *kw = NULL;
    if (args.n_kw) { /* taken apart below */
        HN_TRY(hn_render_alloc(r, args.n_kw, sizeof(hn_targ_kw), &kw));
        memcpy(kw, given->kw, args.n_kw * sizeof(hn_targ_kw));
    }
    args.kw = kw;
    for (uint32_t i = 0; i < node->x.n; i++) {
        hn_tv v = {0};
        if (i < args.n_pos)
            v = args.pos[i];
        else
            pop_keyword(&args, node->x.items[i]->name, &v);
        slots[node->x.items[i]->var.slot] = v;
    }
    return bind_special(r, node, &args, slots);
}

static hn_status fill_defaults(hn_render *r, const hn_node *node) {
    for (uint32_t i = 0; i < node->x.n; i++) {
        const hn_node *param = node->x.items[i];
        hn_tv v;
        if (r->frame->slots[param->var.slot].type != HN_TV_MISSING)
            continue;
        if (i + node->y.n >= node->x.n)
            HN_TRY(hn_eval(r, node->y.items[i + node->y.n - node->x.n], &v));
        else
            HN_TRY(hn_tv_undefined(r, NULL, param->name, &v));
        r->frame->slots[param->var.slot] = v;
    }
    return HN_OK;
}

hn_status hn_eval_macro(hn_render *r, hn_tmacro *macro, const hn_targs *args, hn_tv *out) {
    const hn_node *node = macro->node;
    hn_activation *caller = r->frame, *frame;
    if (r->calls >= HN_RENDER_MAX_CALLS)
        return hn_render_fail(r, "maximum recursion depth exceeded");
    HN_TRY(hn_activation_new(r, macro->outer, node->more->n_slots, &frame));
    HN_TRY(bind_macro(r, node, args, frame->slots));
    r->calls++;
    r->frame = frame;
    size_t start = hn_render_capture_begin(r);
    HN_TRY(hn_eval_scope_enter(r, &node->more->scope));
    HN_TRY(fill_defaults(r, node));
    HN_TRY(hn_eval_body(r, node->z));
    r->frame = caller;
    r->calls--;
    return hn_render_capture_end(r, start, out);
}

/* --- calling ---------------------------------------------------------------------------------- */

static hn_status call_joiner(hn_render *r, hn_tjoiner *joiner, const hn_targs *args, hn_tv *out) {
    if (args->n_pos || args->n_kw)
        return hn_render_fail(r, "a joiner takes no arguments");
    if (joiner->used) {
        *out = joiner->separator;
        return HN_OK;
    }
    joiner->used = true;
    return hn_tv_from_text(r, "", out);
}

hn_status hn_eval_call(hn_render *r, hn_tv callee, const hn_targs *args, hn_tv *out) {
    switch (callee.type) {
    case HN_TV_FUNCTION:
        return hn_render_apply(r, &callee.u.function->def, callee, args, out);
    case HN_TV_METHOD:
        return hn_render_apply(r, &callee.u.bound->method->def, callee.u.bound->self, args, out);
    case HN_TV_MACRO:
        return hn_eval_macro(r, callee.u.macro, args, out);
    case HN_TV_LOOP:
        if (args->n_pos != 1 || args->n_kw)
            return hn_render_fail(r, "loop() takes one argument");
        return hn_eval_loop_again(r, callee.u.loop, args->pos[0], out);
    case HN_TV_JOINER:
        return call_joiner(r, callee.u.joiner, args, out);
    case HN_TV_UNDEFINED:
        return hn_tv_undefined_fail(r, callee);
    default:
        return hn_render_fail(r, "'%s' object is not callable", hn_tv_type_name(callee));
    }
}

hn_status hn_eval_call_node(hn_render *r, const hn_node *node, hn_tv *out) {
    hn_tv callee;
    hn_targs args;
    HN_TRY(hn_eval(r, node->a, &callee));
    HN_TRY(hn_eval_args(r, node, &args));
    r->line = node->line;
    return hn_eval_call(r, callee, &args, out);
}

hn_status hn_eval_call_block(hn_render *r, const hn_node *node) {
    static const hn_tstr CALLER = {.data = "caller", .n_bytes = 6, .n_chars = 6};
    const hn_node *call = node->a;
    hn_tv caller, callee, result;
    hn_targs args;
    void *kw;
    HN_TRY(hn_eval_macro_define(r, node, &caller));
    HN_TRY(hn_eval(r, call->a, &callee));
    HN_TRY(hn_eval_args(r, call, &args));
    if (has_keyword(&args, &CALLER))
        return hn_render_fail(r, "got multiple values for keyword argument 'caller'");
    HN_TRY(hn_render_alloc(r, args.n_kw + 1, sizeof(hn_targ_kw), &kw));
    if (args.n_kw)
        memcpy(kw, args.kw, args.n_kw * sizeof(hn_targ_kw));
    args.kw = kw;
    args.kw[args.n_kw++] = (hn_targ_kw){&CALLER, caller};
    r->line = node->line;
    HN_TRY(hn_eval_call(r, callee, &args, &result));
    return hn_tv_write(r, result, false);
}

hn_status hn_eval_generation(hn_render *r, const hn_node *node) {
    hn_tv body, text;
    HN_TRY(hn_eval_macro_define(r, node, &body));
    HN_TRY(hn_eval_macro(r, body.u.macro, &(hn_targs){0}, &text));
    hn_template_span span = {.start = r->captures ? r->captured_at : r->text.size};
    span.end = span.start + text.u.s->n_bytes;
    if (!hn_buf_append(&r->spans, &span, sizeof span))
        return hn_fail_no_memory(r->err, sizeof span);
    return hn_tv_write(r, text, false);
}
