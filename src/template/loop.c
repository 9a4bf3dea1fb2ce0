/* Loops and the `loop` variable, as jinja2's LoopContext. */
#include "template/render.h"

/* --- the loop object -------------------------------------------------------------------------- */

hn_status hn_loop_next(hn_render *r, hn_tloop *loop, bool *more) {
    hn_tv item = loop->after;
    *more = item.type != HN_TV_MISSING;
    loop->after = (hn_tv){0};
    if (!*more)
        HN_TRY(hn_titer_next(r, loop->iter, &item, more));
    if (!*more)
        return HN_OK;
    loop->index0++;
    loop->before = loop->current;
    loop->current = item;
    return HN_OK;
}

static hn_status peek(hn_render *r, hn_tloop *loop, bool *more) {
    *more = loop->after.type != HN_TV_MISSING;
    if (*more)
        return HN_OK;
    hn_tv item;
    HN_TRY(hn_titer_next(r, loop->iter, &item, more));
    if (*more)
        loop->after = item;
    return HN_OK;
}

hn_status hn_loop_length(hn_render *r, hn_tloop *loop, int64_t *out) {
    bool has = loop->length >= 0;
    if (!has)
        HN_TRY(hn_tv_length(r, loop->iterable, &has, &loop->length));
    if (!has) { /* a generator: read it to the end, and go on from what was read */
        hn_tlist *rest;
        hn_titer *it;
        HN_TRY(hn_tv_to_list(r, (hn_tv){.type = HN_TV_ITER, .u.iter = loop->iter}, &rest));
        HN_TRY(hn_tv_iter(r, hn_tv_list(rest), &it));
        loop->iter = it;
        loop->length = rest->n + loop->index0 + 1 + (loop->after.type != HN_TV_MISSING);
    }
    *out = loop->length;
    return HN_OK;
}

typedef enum loop_name {
    LOOP_INDEX,
    LOOP_INDEX0,
    LOOP_FIRST,
    LOOP_LAST,
    LOOP_LENGTH,
    LOOP_REVINDEX,
    LOOP_REVINDEX0,
    LOOP_DEPTH,
    LOOP_DEPTH0,
    LOOP_PREVITEM,
    LOOP_NEXTITEM,
} loop_name;

static hn_status neighbour(hn_render *r, hn_tloop *loop, bool next, hn_tv *out) {
    bool more = false;
    if (!next && loop->index0 == 0)
        return hn_tv_undefined_hint(r, "there is no previous item", out);
    if (!next) {
        *out = loop->before;
        return HN_OK;
    }
    HN_TRY(peek(r, loop, &more));
    *out = loop->after;
    return more ? HN_OK : hn_tv_undefined_hint(r, "there is no next item", out);
}

static hn_status loop_value(hn_render *r, hn_tloop *loop, loop_name name, hn_tv *out) {
    int64_t length = 0;
    bool more;
    switch (name) {
    case LOOP_INDEX:
    case LOOP_INDEX0:
        *out = hn_tv_int(loop->index0 + (name == LOOP_INDEX));
        return HN_OK;
    case LOOP_FIRST:
        *out = hn_tv_bool(loop->index0 == 0);
        return HN_OK;
    case LOOP_LAST:
        HN_TRY(peek(r, loop, &more));
        *out = hn_tv_bool(!more);
        return HN_OK;
    case LOOP_LENGTH:
    case LOOP_REVINDEX:
    case LOOP_REVINDEX0:
        HN_TRY(hn_loop_length(r, loop, &length));
        *out = hn_tv_int(name == LOOP_LENGTH     ? length
                         : name == LOOP_REVINDEX ? length - loop->index0
                                                 : length - loop->index0 - 1);
        return HN_OK;
    case LOOP_DEPTH:
    case LOOP_DEPTH0:
        *out = hn_tv_int(loop->depth0 + (name == LOOP_DEPTH));
        return HN_OK;
    default:
        return neighbour(r, loop, name == LOOP_NEXTITEM, out);
    }
}

hn_status hn_loop_attr(hn_render *r, hn_tloop *loop, const hn_tstr *name, hn_tv *out, bool *found) {
    static const char *const NAMES[] = {
        [LOOP_INDEX] = "index",         [LOOP_INDEX0] = "index0",     [LOOP_FIRST] = "first",
        [LOOP_LAST] = "last",           [LOOP_LENGTH] = "length",     [LOOP_REVINDEX] = "revindex",
        [LOOP_REVINDEX0] = "revindex0", [LOOP_DEPTH] = "depth",       [LOOP_DEPTH0] = "depth0",
        [LOOP_PREVITEM] = "previtem",   [LOOP_NEXTITEM] = "nextitem",
    };
    *found = false;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strlen(NAMES[i]) == name->n_bytes && !memcmp(NAMES[i], name->data, name->n_bytes)) {
            *found = true;
            return loop_value(r, loop, (loop_name)i, out);
        }
    return HN_OK;
}

/* --- running ---------------------------------------------------------------------------------- */

static hn_status run_body(hn_render *r, const hn_node *node, hn_tv item, hn_tv loop, bool *stop,
                          bool *empty) {
    HN_TRY(hn_eval_assign(r, node->a, item));
    if (loop.type == HN_TV_LOOP && node->more->loop.up == 0)
        r->frame->slots[node->more->loop.slot] = loop;
    HN_TRY(hn_eval_scope_enter(r, &node->more->scope));
    HN_TRY(hn_eval_body(r, node->x));
    *stop = r->flow == HN_FLOW_BREAK;
    if (r->flow == HN_FLOW_NEXT)
        *empty = false; /* jinja2 clears its flag at the end of a body only */
    r->flow = HN_FLOW_NEXT;
    return HN_OK;
}

static hn_status run_plain(hn_render *r, const hn_node *node, hn_tv iterable, bool *empty) {
    hn_titer *it;
    HN_TRY(hn_tv_iter(r, iterable, &it));
    for (bool stop = false; !stop;) {
        hn_tv item;
        bool more;
        r->line = node->line;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            break;
        HN_TRY(run_body(r, node, item, (hn_tv){0}, &stop, empty));
    }
    return HN_OK;
}

static hn_status run_extended(hn_render *r, const hn_node *node, hn_tv iterable, int64_t depth0,
                              bool *empty) {
    void *memory;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tloop), &memory));
    hn_tloop *loop = memory;
    *loop = (hn_tloop){.iterable = iterable, .index0 = -1, .depth0 = depth0, .length = -1};
    if (node->recursive) {
        loop->node = node;
        loop->outer = r->frame->outer;
    }
    HN_TRY(hn_tv_iter(r, iterable, &loop->iter));
    hn_tv self = {.type = HN_TV_LOOP, .u.loop = loop};
    for (bool stop = false; !stop;) {
        bool more;
        r->line = node->line;
        HN_TRY(hn_loop_next(r, loop, &more));
        if (!more)
            break;
        HN_TRY(run_body(r, node, loop->current, self, &stop, empty));
    }
    return HN_OK;
}

static hn_status run(hn_render *r, const hn_node *node, hn_tv iterable, int64_t depth0) {
    bool empty = true;
    if (node->c)
        HN_TRY(hn_titer_new(r,
                            (hn_titer){.kind = HN_ITER_LOOP_TEST,
                                       .source = iterable,
                                       .loop = node,
                                       .outer = node->recursive ? r->frame->outer : r->frame},
                            &iterable));
    HN_TRY(node->more->extended ? run_extended(r, node, iterable, depth0, &empty)
                                : run_plain(r, node, iterable, &empty));
    hn_eval_scope_leave(r, &node->more->scope);
    if (!empty || !node->y.n)
        return HN_OK;
    HN_TRY(hn_eval_scope_enter(r, &node->more->else_scope));
    HN_TRY(hn_eval_body(r, node->y));
    hn_eval_scope_leave(r, &node->more->else_scope);
    return HN_OK;
}

/* The body of a recursive loop is a function of its own. */
static hn_status run_function(hn_render *r, const hn_node *node, hn_activation *outer,
                              hn_tv iterable, int64_t depth0, hn_tv *out) {
    hn_activation *caller = r->frame, *frame;
    if (r->calls >= HN_RENDER_MAX_CALLS)
        return hn_render_fail(r, "maximum recursion depth exceeded");
    HN_TRY(hn_activation_new(r, outer, node->more->n_slots, &frame));
    r->calls++;
    r->frame = frame;
    size_t start = hn_render_capture_begin(r);
    HN_TRY(run(r, node, iterable, depth0));
    r->frame = caller;
    r->calls--;
    return hn_render_capture_end(r, start, out);
}

hn_status hn_eval_for(hn_render *r, const hn_node *node) {
    hn_tv iterable, text;
    HN_TRY(hn_eval(r, node->b, &iterable));
    if (!node->recursive)
        return run(r, node, iterable, 0);
    HN_TRY(run_function(r, node, r->frame, iterable, 0, &text));
    return hn_tv_write(r, text, false);
}

hn_status hn_eval_loop_again(hn_render *r, hn_tloop *loop, hn_tv iterable, hn_tv *out) {
    if (!loop->node)
        return hn_render_fail(
            r, "The loop must have the 'recursive' marker to be called recursively.");
    return run_function(r, loop->node, loop->outer, iterable, loop->depth0 + 1, out);
}

hn_status hn_eval_loop_test(hn_render *r, hn_titer *it, hn_tv item, bool *keep) {
    const hn_node *node = it->loop;
    hn_activation *before = r->frame, *frame;
    hn_tv v;
    HN_TRY(hn_activation_new(r, it->outer, node->more->n_test_slots, &frame));
    r->frame = frame;
    HN_TRY(hn_eval_scope_enter(r, &node->more->test_scope));
    HN_TRY(hn_eval_assign(r, node->more->test_target, item));
    HN_TRY(hn_eval(r, node->c, &v));
    r->frame = before;
    return hn_tv_truth(r, v, keep);
}
