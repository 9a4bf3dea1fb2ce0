/* Filters that look at a sequence as a whole. */
#include "template/render.h"

static hn_status f_length(hn_render *r, const hn_call *call, hn_tv *out) {
    bool has;
    int64_t n;
    HN_TRY(hn_tv_length(r, call->self, &has, &n));
    if (!has)
        return hn_render_fail(r, "object of type '%s' has no len()", hn_tv_type_name(call->self));
    *out = hn_tv_int(n);
    return HN_OK;
}

static hn_status f_list(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tlist *list;
    HN_TRY(hn_tv_to_list(r, call->self, &list));
    *out = hn_tv_list(list);
    return HN_OK;
}

static hn_status f_join(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_titer *it;
    hn_tv separator = call->args[0];
    if (separator.type == HN_TV_MISSING)
        HN_TRY(hn_tv_from_text(r, "", &separator));
    HN_TRY(hn_tv_to_str(r, separator, &separator));
    HN_TRY(hn_tv_iter(r, call->self, &it));
    hn_tlist *list;
    HN_TRY(hn_tlist_new(r, 4, &list));
    for (;;) {
        hn_tv item;
        bool more;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            break;
        HN_TRY(hn_attr_path(r, item, call->args[1], (hn_tv){0}, &item));
        HN_TRY(hn_tv_to_str(r, item, &item));
        HN_TRY(hn_tlist_push(r, list, item));
    }
    return hn_str_join(r, separator.u.s, list, out);
}

static hn_status first_of(hn_render *r, hn_titer *it, const char *if_empty, hn_tv *out) {
    bool more;
    HN_TRY(hn_titer_next(r, it, out, &more));
    return more ? HN_OK : hn_tv_undefined_hint(r, if_empty, out);
}

static hn_status f_first(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_titer *it;
    HN_TRY(hn_tv_iter(r, call->self, &it));
    return first_of(r, it, "No first item, sequence was empty.", out);
}

/* Python's reversed(v): TypeError for what has no order to go back in. */
static hn_status reversed(hn_render *r, hn_tv v, hn_titer **out) {
    if (v.type == HN_TV_ITER || !hn_tv_is_iterable(v))
        return hn_render_fail(r, "'%s' object is not reversible", hn_tv_type_name(v));
    HN_TRY(hn_tv_iter(r, v, out));
    (*out)->reversed = true;
    return HN_OK;
}

static hn_status f_last(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_titer *it;
    HN_TRY(reversed(r, call->self, &it));
    return first_of(r, it, "No last item, sequence was empty.", out);
}

static hn_status f_reverse(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv none = hn_tv_none();
    hn_titer *it;
    if (call->self.type == HN_TV_STR)
        return hn_attr_slice(r, call->self, none, none, hn_tv_int(-1), out);
    if (call->self.type == HN_TV_ITER) { /* a generator: turned round as a list */
        hn_tlist *list;
        HN_TRY(hn_tv_to_list(r, call->self, &list));
        return hn_attr_slice(r, hn_tv_list(list), none, none, hn_tv_int(-1), out);
    }
    HN_TRY(reversed(r, call->self, &it));
    *out = (hn_tv){.type = HN_TV_ITER, .u.iter = it};
    return HN_OK;
}

static hn_status f_sum(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_titer *it;
    hn_tv sum = call->args[1].type == HN_TV_MISSING ? hn_tv_int(0) : call->args[1];
    if (sum.type == HN_TV_STR)
        return hn_render_fail(r, "sum() can't sum strings [use ''.join(seq) instead]");
    HN_TRY(hn_tv_iter(r, call->self, &it));
    for (;;) {
        hn_tv item;
        bool more;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            break;
        HN_TRY(hn_attr_path(r, item, call->args[0], (hn_tv){0}, &item));
        HN_TRY(hn_tv_arith(r, '+', sum, item, &sum));
    }
    *out = sum;
    return HN_OK;
}

const hn_builtin HN_FILTERS_LIST[] = {
    {"length", "", 0, f_length},
    {"count", "", 0, f_length},
    {"join", "d,attribute", 0, f_join},
    {"list", "", 0, f_list},
    {"first", "", 0, f_first},
    {"last", "", 0, f_last},
    {"reverse", "", 0, f_reverse},
    {"sum", "attribute,start", 0, f_sum},
    {NULL, NULL, 0, NULL},
};
