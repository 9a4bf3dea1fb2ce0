/* Methods of everything but str, and the look-up of all; those that would change their object are
 * forbidden by the sandbox. */
#include "template/render.h"

#include <math.h>

/* --- dict ------------------------------------------------------------------------------------- */

static hn_status make_view(hn_render *r, const hn_call *call, int kind, hn_tv *out) {
    void *view;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tview), &view));
    ((hn_tview *)view)->kind = kind;
    ((hn_tview *)view)->dict = call->self.u.dict;
    *out = (hn_tv){.type = HN_TV_VIEW, .u.view = view};
    return HN_OK;
}
static hn_status d_keys(hn_render *r, const hn_call *call, hn_tv *out) {
    return make_view(r, call, HN_VIEW_KEYS, out);
}
static hn_status d_values(hn_render *r, const hn_call *call, hn_tv *out) {
    return make_view(r, call, HN_VIEW_VALUES, out);
}
static hn_status d_items(hn_render *r, const hn_call *call, hn_tv *out) {
    return make_view(r, call, HN_VIEW_ITEMS, out);
}

static hn_status d_get(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv *slot;
    bool hashable;
    HN_TRY(hn_tdict_find(r, call->self.u.dict, call->args[0], &slot, &hashable));
    if (!hashable)
        return hn_render_fail(r, "unhashable type: '%s'", hn_tv_type_name(call->args[0]));
    *out = slot ? *slot : call->args[1].type == HN_TV_MISSING ? hn_tv_none() : call->args[1];
    return HN_OK;
}

static hn_status d_copy(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tdict *from = call->self.u.dict, *to;
    HN_TRY(hn_tdict_open(r, from));
    HN_TRY(hn_tdict_new(r, &to));
    for (uint32_t i = 0; i < from->n; i++)
        HN_TRY(hn_tdict_put(r, to, from->entries[i].key, from->entries[i].value));
    *out = hn_tv_dict(to);
    return HN_OK;
}

static const hn_tmethod DICT_METHODS[] = {
    {{"keys", "", 0, d_keys}},  {{"values", "", 0, d_values}}, {{"items", "", 0, d_items}},
    {{"get", "/,/", 1, d_get}}, {{"copy", "", 0, d_copy}},     {{NULL, NULL, 0, NULL}},
};

/* --- list, tuple, range ----------------------------------------------------------------------- */

static hn_status l_count(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_titer *it;
    int64_t n = 0;
    HN_TRY(hn_tv_iter(r, call->self, &it));
    for (;;) {
        hn_tv item;
        bool more, same;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            break;
        HN_TRY(hn_tv_equal(r, item, call->args[0], &same));
        n += same;
    }
    *out = hn_tv_int(n);
    return HN_OK;
}

static hn_status l_index(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tlist *list;
    int64_t from, to;
    HN_TRY(hn_tv_to_list(r, call->self, &list));
    int64_t n = list->n;
    HN_TRY(hn_arg_int(r, call->args[1], 0, &from));
    HN_TRY(hn_arg_int(r, call->args[2], n, &to));
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
    to = to < 0 ? to + n : to > n ? n : to;
    for (int64_t i = from; i < to; i++) {
        bool same;
        HN_TRY(hn_tv_equal(r, list->items[i], call->args[0], &same));
        if (same) {
            *out = hn_tv_int(i);
            return HN_OK;
        }
    }
    return hn_render_fail(r, "the value is not in the %s", hn_tv_type_name(call->self));
}

static hn_status l_copy(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tlist *list;
    HN_TRY(hn_tv_to_list(r, call->self, &list));
    *out = hn_tv_list(list);
    return HN_OK;
}

static const hn_tmethod LIST_METHODS[] = {
    {{"count", "/", 1, l_count}},
    {{"index", "/,/,/", 1, l_index}},
    {{"copy", "", 0, l_copy}},
    {{NULL, NULL, 0, NULL}},
};
static const hn_tmethod TUPLE_METHODS[] = {
    {{"count", "/", 1, l_count}},
    {{"index", "/,/,/", 1, l_index}},
    {{NULL, NULL, 0, NULL}},
};

/* --- numbers ---------------------------------------------------------------------------------- */

static hn_status n_is_integer(hn_render *r, const hn_call *call, hn_tv *out) {
    (void)r;
    *out = hn_tv_bool(isfinite(call->self.u.f) && call->self.u.f == floor(call->self.u.f));
    return HN_OK;
}

static hn_status n_bit_length(hn_render *r, const hn_call *call, hn_tv *out) {
    (void)r;
    int64_t i = hn_tv_index(call->self);
    uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    *out = hn_tv_int(magnitude ? 64 - __builtin_clzll(magnitude) : 0);
    return HN_OK;
}

static const hn_tmethod FLOAT_METHODS[] = {
    {{"is_integer", "", 0, n_is_integer}},
    {{NULL, NULL, 0, NULL}},
};
static const hn_tmethod INT_METHODS[] = {
    {{"bit_length", "", 0, n_bit_length}},
    {{NULL, NULL, 0, NULL}},
};

/* --- loop, cycler ----------------------------------------------------------------------------- */

static hn_status loop_cycle(hn_render *r, const hn_call *call, hn_tv *out) {
    if (!call->raw->n_pos || call->raw->n_kw)
        return hn_render_fail(r, "no items for cycling given");
    *out = call->raw->pos[call->self.u.loop->index0 % call->raw->n_pos];
    return HN_OK;
}

static hn_status loop_changed(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tloop *loop = call->self.u.loop;
    hn_tlist *list;
    bool same = false;
    if (call->raw->n_kw)
        return hn_render_fail(r, "loop.changed takes no keyword arguments");
    HN_TRY(hn_tlist_new(r, call->raw->n_pos, &list));
    for (uint32_t i = 0; i < call->raw->n_pos; i++)
        HN_TRY(hn_tlist_push(r, list, call->raw->pos[i]));
    if (loop->changed.type == HN_TV_TUPLE)
        HN_TRY(hn_tv_equal(r, loop->changed, hn_tv_tuple(list), &same));
    loop->changed = hn_tv_tuple(list);
    *out = hn_tv_bool(!same);
    return HN_OK;
}

static const hn_tmethod LOOP_METHODS[] = {
    {{"cycle", NULL, 0, loop_cycle}},
    {{"changed", NULL, 0, loop_changed}},
    {{NULL, NULL, 0, NULL}},
};

static hn_status cycler_next(hn_render *r, const hn_call *call, hn_tv *out) {
    (void)r;
    hn_tlist *list = call->self.u.list;
    *out = list->items[list->position];
    list->position = (list->position + 1) % list->n;
    return HN_OK;
}

static hn_status cycler_reset(hn_render *r, const hn_call *call, hn_tv *out) {
    (void)r;
    call->self.u.list->position = 0;
    *out = hn_tv_none();
    return HN_OK;
}

static const hn_tmethod CYCLER_METHODS[] = {
    {{"next", "", 0, cycler_next}},
    {{"reset", "", 0, cycler_reset}},
    {{NULL, NULL, 0, NULL}},
};

/* --- look-up ---------------------------------------------------------------------------------- */

static const hn_tmethod *find_in(const hn_tmethod *table, const char *name, size_t n) {
    for (; table->def.name; table++)
        if (strlen(table->def.name) == n && !memcmp(table->def.name, name, n))
            return table;
    return NULL;
}

static bool is_one_of(const char *const *names, const char *name, size_t n) {
    for (; *names; names++)
        if (strlen(*names) == n && !memcmp(*names, name, n))
            return true;
    return false;
}

const hn_tmethod *hn_method_find(hn_tv v, const char *name, size_t n_bytes, bool *unsafe) {
    static const char *const LIST_UNSAFE[] = {"append", "clear",  "pop",    "reverse", "insert",
                                              "sort",   "extend", "remove", NULL};
    static const char *const DICT_UNSAFE[] = {"clear",      "pop",    "popitem",
                                              "setdefault", "update", NULL};
    const hn_tmethod *found;
    switch (v.type) {
    case HN_TV_STR:
        found = find_in(HN_METHODS_TEXT, name, n_bytes);
        return found ? found : find_in(HN_METHODS_SPLIT, name, n_bytes);
    case HN_TV_LIST:
        *unsafe = is_one_of(LIST_UNSAFE, name, n_bytes);
        return find_in(LIST_METHODS, name, n_bytes);
    case HN_TV_DICT:
        *unsafe = is_one_of(DICT_UNSAFE, name, n_bytes);
        return find_in(DICT_METHODS, name, n_bytes);
    case HN_TV_TUPLE:
    case HN_TV_RANGE:
        return find_in(TUPLE_METHODS, name, n_bytes);
    case HN_TV_FLOAT:
        return find_in(FLOAT_METHODS, name, n_bytes);
    case HN_TV_INT:
    case HN_TV_BOOL:
        return find_in(INT_METHODS, name, n_bytes);
    case HN_TV_LOOP:
        return find_in(LOOP_METHODS, name, n_bytes);
    case HN_TV_CYCLER:
        return find_in(CYCLER_METHODS, name, n_bytes);
    default:
        return NULL;
    }
}
