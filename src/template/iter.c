/* Iterators. The filters that Python writes as generators are lazy here, too: they are consumed
 * once, have no length, are always true, and fail only when their items are asked for. */
#include "template/render.h"

hn_status hn_titer_new(hn_render *r, hn_titer init, hn_tv *out) {
    void *it;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_titer), &it));
    memcpy(it, &init, sizeof init);
    *out = (hn_tv){.type = HN_TV_ITER, .u.iter = it};
    return HN_OK;
}

bool hn_tv_is_iterable(hn_tv v) {
    switch (v.type) {
    case HN_TV_UNDEFINED:
    case HN_TV_STR:
    case HN_TV_LIST:
    case HN_TV_TUPLE:
    case HN_TV_DICT:
    case HN_TV_VIEW:
    case HN_TV_RANGE:
    case HN_TV_ITER:
        return true;
    default:
        return false;
    }
}

hn_status hn_tv_iter(hn_render *r, hn_tv v, hn_titer **out) {
    hn_titer it = {.source = v};
    switch (v.type) {
    case HN_TV_ITER:
        *out = v.u.iter;
        return HN_OK;
    case HN_TV_UNDEFINED:
        it.kind = HN_ITER_EMPTY;
        break;
    case HN_TV_STR:
        it.kind = HN_ITER_CHARS;
        break;
    case HN_TV_LIST:
    case HN_TV_TUPLE:
        HN_TRY(hn_tlist_open(r, v.u.list));
        it.kind = HN_ITER_ITEMS;
        break;
    case HN_TV_DICT:
        HN_TRY(hn_tdict_open(r, v.u.dict));
        it.kind = HN_ITER_DICT;
        it.view = HN_VIEW_KEYS;
        break;
    case HN_TV_VIEW:
        HN_TRY(hn_tdict_open(r, v.u.view->dict));
        it.kind = HN_ITER_DICT;
        it.view = (int)v.u.view->kind;
        it.source = hn_tv_dict(v.u.view->dict);
        break;
    case HN_TV_RANGE:
        it.kind = HN_ITER_RANGE;
        break;
    default:
        return hn_render_fail(r, "'%s' object is not iterable", hn_tv_type_name(v));
    }
    hn_tv made;
    HN_TRY(hn_titer_new(r, it, &made));
    *out = made.u.iter;
    return HN_OK;
}

static hn_status next_char(hn_render *r, hn_titer *it, hn_tv *out, bool *more) {
    const hn_tstr *s = it->source.u.s;
    size_t start = (size_t)it->position, end = start;
    *more = it->reversed ? start < s->n_bytes : end < s->n_bytes;
    if (!*more)
        return HN_OK;
    if (it->reversed) {
        size_t before;
        hn_uni_before(s->data, s->n_bytes - start, &before);
        it->position = (int64_t)(s->n_bytes - before);
        return hn_tstr_slice(r, s, before, s->n_bytes - start, out); /* keeps Markup */
    }
    hn_uni_next(s->data, s->n_bytes, &end);
    it->position = (int64_t)end;
    return hn_tstr_borrow(r, s->data + start, end - start, out);
}

static hn_status dict_item(hn_render *r, const hn_tentry *entry, int view, hn_tv *out) {
    if (view == HN_VIEW_ITEMS)
        return hn_tuple_new2(r, entry->key, entry->value, out);
    *out = view == HN_VIEW_KEYS ? entry->key : entry->value;
    return HN_OK;
}

/* Starts what is iterated underneath; Python's generators look at `if value` first. */
static hn_status start(hn_render *r, hn_titer *it, bool only_if_true) {
    it->started = true;
    bool truth = true;
    if (only_if_true)
        HN_TRY(hn_tv_truth(r, it->source, &truth));
    if (!truth)
        return HN_OK;
    if (it->make)
        HN_TRY(it->make(r, it, NULL));
    return hn_tv_iter(r, it->source, &it->from);
}

static hn_status next_mapped(hn_render *r, hn_titer *it, hn_tv item, hn_tv *out) {
    if (it->by_attribute)
        return hn_attr_path(r, item, it->attribute, it->fallback, out);
    return hn_render_apply(r, it->builtin, item, &it->args, out);
}

static hn_status passes(hn_render *r, hn_titer *it, hn_tv item, bool *keep) {
    hn_tv tested = item, result;
    if (it->by_attribute)
        HN_TRY(hn_attr_path(r, item, it->attribute, (hn_tv){0}, &tested));
    result = tested;
    if (it->builtin)
        HN_TRY(hn_render_apply(r, it->builtin, tested, &it->args, &result));
    HN_TRY(hn_tv_truth(r, result, keep));
    *keep = *keep != it->invert;
    return HN_OK;
}

static hn_status is_new(hn_render *r, hn_titer *it, hn_tv item, bool *keep) {
    hn_tv key, *slot;
    bool hashable;
    HN_TRY(hn_attr_path(r, item, it->attribute, (hn_tv){0}, &key));
    if (!it->case_sensitive && key.type == HN_TV_STR)
        HN_TRY(hn_render_apply(r, hn_filter_find("lower", 5), key, &(hn_targs){0}, &key));
    if (!it->seen)
        HN_TRY(hn_tdict_new(r, &it->seen));
    HN_TRY(hn_tdict_find(r, it->seen, key, &slot, &hashable));
    *keep = slot == NULL;
    return *keep ? hn_tdict_put(r, it->seen, key, hn_tv_none()) : HN_OK;
}

static hn_status next_derived(hn_render *r, hn_titer *it, hn_tv *out, bool *more) {
    if (!it->started)
        HN_TRY(start(r, it, it->kind == HN_ITER_MAP || it->kind == HN_ITER_SELECT));
    *more = it->from != NULL;
    while (*more) {
        hn_tv item;
        bool keep = true;
        HN_TRY(hn_titer_next(r, it->from, &item, more));
        if (!*more)
            return HN_OK;
        if (it->kind == HN_ITER_MAP)
            return next_mapped(r, it, item, out);
        if (it->kind == HN_ITER_SELECT)
            HN_TRY(passes(r, it, item, &keep));
        else if (it->kind == HN_ITER_UNIQUE)
            HN_TRY(is_new(r, it, item, &keep));
        else
            HN_TRY(hn_eval_loop_test(r, it, item, &keep));
        if (keep) {
            *out = item;
            return HN_OK;
        }
    }
    return HN_OK;
}

static hn_status next_made(hn_render *r, hn_titer *it, hn_tv *out, bool *more) {
    if (!it->started) {
        hn_tlist *list;
        it->started = true;
        HN_TRY(it->make(r, it, &list));
        it->source = hn_tv_list(list);
    }
    *more = it->source.type == HN_TV_LIST && it->position < it->source.u.list->n;
    if (*more)
        *out = it->source.u.list->items[it->position++];
    return HN_OK;
}

static hn_status next_of(hn_render *r, hn_titer *it, hn_tv *out, bool *more) {
    int64_t at = it->position;
    *more = false;
    switch (it->kind) {
    case HN_ITER_EMPTY:
        return HN_OK;
    case HN_ITER_ITEMS: {
        const hn_tlist *list = it->source.u.list;
        *more = at < list->n;
        if (*more)
            *out = list->items[it->reversed ? list->n - 1 - at : at];
        it->position += *more;
        return HN_OK;
    }
    case HN_ITER_CHARS:
        return next_char(r, it, out, more);
    case HN_ITER_DICT: {
        const hn_tdict *dict = it->source.u.dict;
        *more = at < dict->n;
        if (!*more)
            return HN_OK;
        it->position++;
        return dict_item(r, &dict->entries[it->reversed ? dict->n - 1 - at : at], it->view, out);
    }
    case HN_ITER_RANGE: {
        const hn_trange *range = it->source.u.range;
        *more = at < range->n;
        if (*more)
            *out = hn_tv_int(range->start + (it->reversed ? range->n - 1 - at : at) * range->step);
        it->position += *more;
        return HN_OK;
    }
    case HN_ITER_MADE:
        return next_made(r, it, out, more);
    default:
        return next_derived(r, it, out, more);
    }
}

hn_status hn_titer_next(hn_render *r, hn_titer *it, hn_tv *out, bool *more) {
    HN_TRY(hn_render_charge(r, 1));
    if (r->nesting >= HN_TV_MAX_NESTING)
        return hn_render_fail(r, "iterators are nested more than %d deep", HN_TV_MAX_NESTING);
    r->nesting++;
    hn_status status = next_of(r, it, out, more);
    r->nesting--;
    return status;
}

hn_status hn_tv_to_list(hn_render *r, hn_tv v, hn_tlist **out) {
    hn_titer *it;
    hn_tlist *list;
    HN_TRY(hn_tv_iter(r, v, &it));
    HN_TRY(hn_tlist_new(r, v.type == HN_TV_LIST || v.type == HN_TV_TUPLE ? v.u.list->n : 0, &list));
    for (;;) {
        hn_tv item;
        bool more;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            break;
        HN_TRY(hn_tlist_push(r, list, item));
    }
    *out = list;
    return HN_OK;
}
