/* Filters that Python writes as generators. */
#include "template/render.h"

static hn_targs drop_args(const hn_targs *args, uint32_t n) {
    hn_targs rest = *args;
    rest.pos += n;
    rest.n_pos -= n;
    return rest;
}

static hn_status name_of(hn_render *r, const hn_targs *args, const hn_tstr **out) {
    if (args->pos[0].type == HN_TV_STR) {
        *out = args->pos[0].u.s;
        return HN_OK;
    }
    return hn_render_fail(r, "the name of a filter or test must be a string");
}

/* --- map -------------------------------------------------------------------------------------- */

static hn_status prepare_map(hn_render *r, hn_titer *it, hn_tlist **out) {
    (void)out;
    const hn_targs *args = &it->args;
    for (uint32_t i = 0; i < args->n_kw && !args->n_pos; i++)
        if (hn_tv_is_text(hn_tv_str((hn_tstr *)args->kw[i].name), "attribute"))
            it->by_attribute = true;
    if (it->by_attribute) {
        static const hn_builtin SIGNATURE = {"map", "attribute,default", 1, NULL};
        hn_tv bound[HN_ARGS_MAX];
        HN_TRY(hn_render_bind(r, &SIGNATURE, args, bound));
        it->attribute = bound[0];
        it->fallback = bound[1];
        return HN_OK;
    }
    if (!args->n_pos)
        return hn_render_fail(r, "map requires a filter argument");
    const hn_tstr *name;
    HN_TRY(name_of(r, args, &name));
    it->builtin = hn_filter_find(name->data, name->n_bytes);
    if (!it->builtin)
        return hn_render_fail(r, "No filter named '%.*s'.", (int)name->n_bytes, name->data);
    it->args = drop_args(args, 1);
    return HN_OK;
}

static hn_status f_map(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_titer_new(
        r,
        (hn_titer){
            .kind = HN_ITER_MAP, .source = call->self, .args = *call->raw, .make = prepare_map},
        out);
}

/* --- select and its kin ----------------------------------------------------------------------- */

static hn_status prepare_select(hn_render *r, hn_titer *it, hn_tlist **out) {
    (void)out;
    if (it->by_attribute) {
        if (!it->args.n_pos)
            return hn_render_fail(r, "Missing parameter for attribute name");
        it->attribute = it->args.pos[0];
        it->args = drop_args(&it->args, 1);
    }
    if (!it->args.n_pos)
        return HN_OK; /* the truth of the item */
    const hn_tstr *name;
    HN_TRY(name_of(r, &it->args, &name));
    it->builtin = hn_test_find(name->data, name->n_bytes);
    if (!it->builtin)
        return hn_render_fail(r, "No test named '%.*s'.", (int)name->n_bytes, name->data);
    it->args = drop_args(&it->args, 1);
    return HN_OK;
}

static hn_status select_items(hn_render *r, const hn_call *call, bool invert, bool by_attribute,
                              hn_tv *out) {
    return hn_titer_new(r,
                        (hn_titer){.kind = HN_ITER_SELECT,
                                   .source = call->self,
                                   .args = *call->raw,
                                   .invert = invert,
                                   .by_attribute = by_attribute,
                                   .make = prepare_select},
                        out);
}
static hn_status f_select(hn_render *r, const hn_call *call, hn_tv *out) {
    return select_items(r, call, false, false, out);
}
static hn_status f_reject(hn_render *r, const hn_call *call, hn_tv *out) {
    return select_items(r, call, true, false, out);
}
static hn_status f_selectattr(hn_render *r, const hn_call *call, hn_tv *out) {
    return select_items(r, call, false, true, out);
}
static hn_status f_rejectattr(hn_render *r, const hn_call *call, hn_tv *out) {
    return select_items(r, call, true, true, out);
}

static hn_status f_unique(hn_render *r, const hn_call *call, hn_tv *out) {
    bool case_sensitive;
    HN_TRY(hn_tv_truth(r, call->args[0], &case_sensitive));
    return hn_titer_new(r,
                        (hn_titer){.kind = HN_ITER_UNIQUE,
                                   .source = call->self,
                                   .case_sensitive = case_sensitive,
                                   .attribute = call->args[1]},
                        out);
}

/* --- items, batch, slice ---------------------------------------------------------------------- */

static hn_status make_items(hn_render *r, hn_titer *it, hn_tlist **out) {
    if (it->source.type == HN_TV_UNDEFINED)
        return hn_tlist_new(r, 0, out);
    if (it->source.type != HN_TV_DICT)
        return hn_render_fail(r, "Can only get item pairs from a mapping.");
    hn_tview view = {.kind = HN_VIEW_ITEMS, .dict = it->source.u.dict};
    return hn_tv_to_list(r, (hn_tv){.type = HN_TV_VIEW, .u.view = &view}, out);
}

static hn_status f_items(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_titer_new(
        r, (hn_titer){.kind = HN_ITER_MADE, .source = call->self, .make = make_items}, out);
}

static hn_status make_batches(hn_render *r, hn_titer *it, hn_tlist **out) {
    hn_tlist *all, *batches, *batch = NULL;
    hn_tv size = it->attribute;
    HN_TRY(hn_tv_to_list(r, it->source, &all));
    HN_TRY(hn_tlist_new(r, 4, &batches));
    for (uint32_t i = 0; i < all->n; i++) {
        if (!batch || (hn_tv_is_index(size) && (int64_t)batch->n == hn_tv_index(size))) {
            HN_TRY(hn_tlist_new(r, 4, &batch));
            HN_TRY(hn_tlist_push(r, batches, hn_tv_list(batch)));
        }
        HN_TRY(hn_tlist_push(r, batch, all->items[i]));
    }
    bool fill = it->fallback.type != HN_TV_MISSING && it->fallback.type != HN_TV_NONE;
    if (batch && fill && !hn_tv_is_index(size))
        return hn_render_fail(r, "batch: the size must be an integer");
    while (batch && fill && (int64_t)batch->n < hn_tv_index(size)) {
        HN_TRY(hn_render_charge(r, 1));
        HN_TRY(hn_tlist_push(r, batch, it->fallback));
    }
    *out = batches;
    return HN_OK;
}

static hn_status make_slices(hn_render *r, hn_titer *it, hn_tlist **out) {
    hn_tlist *all, *slices;
    int64_t n;
    HN_TRY(hn_arg_int(r, it->attribute, 0, &n));
    HN_TRY(hn_tv_to_list(r, it->source, &all));
    if (n == 0)
        return hn_render_fail(r, "integer division or modulo by zero");
    HN_TRY(hn_tlist_new(r, 4, &slices));
    int64_t each = n > 0 ? all->n / n : 0, longer = n > 0 ? all->n % n : 0, offset = 0;
    bool fill = it->fallback.type != HN_TV_MISSING && it->fallback.type != HN_TV_NONE;
    for (int64_t i = 0; i < n; i++) {
        hn_tlist *slice;
        int64_t end = offset + each + (i < longer);
        HN_TRY(hn_render_charge(r, 1));
        HN_TRY(hn_tlist_new(r, (uint32_t)(end - offset), &slice));
        for (; offset < end; offset++)
            HN_TRY(hn_tlist_push(r, slice, all->items[offset]));
        if (fill && i >= longer)
            HN_TRY(hn_tlist_push(r, slice, it->fallback));
        HN_TRY(hn_tlist_push(r, slices, hn_tv_list(slice)));
    }
    *out = slices;
    return HN_OK;
}

static hn_status cut(hn_render *r, const hn_call *call, hn_titer_make make, hn_tv *out) {
    return hn_titer_new(r,
                        (hn_titer){.kind = HN_ITER_MADE,
                                   .source = call->self,
                                   .attribute = call->args[0],
                                   .fallback = call->args[1],
                                   .make = make},
                        out);
}
static hn_status f_batch(hn_render *r, const hn_call *call, hn_tv *out) {
    return cut(r, call, make_batches, out);
}
static hn_status f_slice(hn_render *r, const hn_call *call, hn_tv *out) {
    return cut(r, call, make_slices, out);
}

const hn_builtin HN_FILTERS_LAZY[] = {
    {"items", "", 0, f_items},
    {"selectattr", NULL, 0, f_selectattr},
    {"rejectattr", NULL, 0, f_rejectattr},
    {"select", NULL, 0, f_select},
    {"reject", NULL, 0, f_reject},
    {"map", NULL, 0, f_map},
    {"unique", "case_sensitive,attribute", 0, f_unique},
    {"batch", "linecount,fill_with", 1, f_batch},
    {"slice", "slices,fill_with", 1, f_slice},
    {NULL, NULL, 0, NULL},
};
