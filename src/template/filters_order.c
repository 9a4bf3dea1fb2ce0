/* Filters that compare: sort, dictsort, min, max, groupby. */
#include "template/render.h"

static hn_status fold(hn_render *r, hn_tv *key, bool case_sensitive) {
    if (case_sensitive || key->type != HN_TV_STR)
        return HN_OK;
    return hn_str_case(r, key->u.s, HN_CASE_LOWER, key);
}

/* One key a part of "a,b": a list, so that it compares as Python's does. */
static hn_status sort_key(hn_render *r, hn_tv item, hn_tv attribute, bool case_sensitive,
                          hn_tv *out) {
    hn_tlist *key;
    HN_TRY(hn_tlist_new(r, 1, &key));
    size_t n = attribute.type == HN_TV_STR ? attribute.u.s->n_bytes : 0;
    for (size_t start = 0; start <= n;) {
        hn_tv part = attribute, value;
        size_t end = n;
        if (attribute.type == HN_TV_STR) {
            const char *comma = memchr(attribute.u.s->data + start, ',', n - start);
            end = comma ? (size_t)(comma - attribute.u.s->data) : n;
            HN_TRY(hn_tstr_slice(r, attribute.u.s, start, end, &part));
        }
        HN_TRY(hn_attr_path(r, item, part, (hn_tv){0}, &value));
        HN_TRY(fold(r, &value, case_sensitive));
        HN_TRY(hn_tlist_push(r, key, value));
        start = end + 1;
    }
    *out = hn_tv_list(key);
    return HN_OK;
}

static hn_status f_sort(hn_render *r, const hn_call *call, hn_tv *out) {
    bool reverse, case_sensitive;
    hn_tlist *list, *keys;
    HN_TRY(hn_tv_truth(r, call->args[0], &reverse));
    HN_TRY(hn_tv_truth(r, call->args[1], &case_sensitive));
    HN_TRY(hn_tv_to_list(r, call->self, &list));
    HN_TRY(hn_tlist_new(r, list->n, &keys));
    for (uint32_t i = 0; i < list->n; i++)
        HN_TRY(sort_key(r, list->items[i], call->args[2], case_sensitive, &keys->items[i]));
    HN_TRY(hn_tv_sort(r, list->items, keys->items, list->n, reverse));
    *out = hn_tv_list(list);
    return HN_OK;
}

static hn_status f_dictsort(hn_render *r, const hn_call *call, hn_tv *out) {
    bool case_sensitive, reverse;
    bool by_key = call->args[1].type == HN_TV_MISSING || hn_tv_is_text(call->args[1], "key");
    HN_TRY(hn_tv_truth(r, call->args[0], &case_sensitive));
    HN_TRY(hn_tv_truth(r, call->args[2], &reverse));
    if (!by_key && !hn_tv_is_text(call->args[1], "value"))
        return hn_render_fail(r, "You can only sort by either \"key\" or \"value\"");
    if (call->self.type != HN_TV_DICT)
        return hn_render_fail(r, "'%s' object has no attribute 'items'",
                              hn_tv_type_name(call->self));
    hn_tdict *dict = call->self.u.dict;
    hn_tlist *list, *keys;
    HN_TRY(hn_tdict_open(r, dict));
    HN_TRY(hn_tlist_new(r, dict->n, &list));
    HN_TRY(hn_tlist_new(r, dict->n, &keys));
    for (uint32_t i = 0; i < dict->n; i++) {
        HN_TRY(hn_tuple_new2(r, dict->entries[i].key, dict->entries[i].value, &list->items[i]));
        keys->items[i] = by_key ? dict->entries[i].key : dict->entries[i].value;
        HN_TRY(fold(r, &keys->items[i], case_sensitive));
    }
    list->n = dict->n;
    HN_TRY(hn_tv_sort(r, list->items, keys->items, list->n, reverse));
    *out = hn_tv_list(list);
    return HN_OK;
}

static hn_status extreme(hn_render *r, const hn_call *call, const char *op, hn_tv *out) {
    hn_titer *it;
    bool case_sensitive, more;
    hn_tv best, best_key;
    HN_TRY(hn_tv_truth(r, call->args[0], &case_sensitive));
    HN_TRY(hn_tv_iter(r, call->self, &it));
    HN_TRY(hn_titer_next(r, it, &best, &more));
    if (!more)
        return hn_tv_undefined_hint(r, "No aggregated item, sequence was empty.", out);
    HN_TRY(hn_attr_path(r, best, call->args[1], (hn_tv){0}, &best_key));
    HN_TRY(fold(r, &best_key, case_sensitive));
    for (;;) {
        hn_tv item, key;
        bool better;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            break;
        HN_TRY(hn_attr_path(r, item, call->args[1], (hn_tv){0}, &key));
        HN_TRY(fold(r, &key, case_sensitive));
        HN_TRY(hn_tv_order(r, key, best_key, op, &better));
        if (better) {
            best = item;
            best_key = key;
        }
    }
    *out = best;
    return HN_OK;
}
static hn_status f_min(hn_render *r, const hn_call *call, hn_tv *out) {
    return extreme(r, call, "<", out);
}
static hn_status f_max(hn_render *r, const hn_call *call, hn_tv *out) {
    return extreme(r, call, ">", out);
}

static hn_status push_group(hn_render *r, const hn_call *call, bool case_sensitive, hn_tv key,
                            hn_tlist *items, hn_tlist *groups) {
    static const char *const NAMES[] = {"grouper", "list"};
    hn_tv group;
    if (!case_sensitive) /* the name as the first item spells it */
        HN_TRY(hn_attr_path(r, items->items[0], call->args[0], call->args[1], &key));
    HN_TRY(hn_tuple_new2(r, key, hn_tv_list(items), &group));
    group.u.list->names = NAMES;
    return hn_tlist_push(r, groups, group);
}

static hn_status f_groupby(hn_render *r, const hn_call *call, hn_tv *out) {
    bool case_sensitive;
    hn_tlist *list, *keys, *groups, *items = NULL;
    HN_TRY(hn_tv_truth(r, call->args[2], &case_sensitive));
    HN_TRY(hn_tv_to_list(r, call->self, &list));
    HN_TRY(hn_tlist_new(r, list->n, &keys));
    for (uint32_t i = 0; i < list->n; i++) {
        HN_TRY(hn_attr_path(r, list->items[i], call->args[0], call->args[1], &keys->items[i]));
        HN_TRY(fold(r, &keys->items[i], case_sensitive));
    }
    HN_TRY(hn_tv_sort(r, list->items, keys->items, list->n, false));
    HN_TRY(hn_tlist_new(r, 4, &groups));
    for (uint32_t i = 0; i < list->n; i++) {
        bool same = false;
        if (items)
            HN_TRY(hn_tv_equal(r, keys->items[i - 1], keys->items[i], &same));
        if (!same) {
            if (items)
                HN_TRY(push_group(r, call, case_sensitive, keys->items[i - 1], items, groups));
            HN_TRY(hn_tlist_new(r, 4, &items));
        }
        HN_TRY(hn_tlist_push(r, items, list->items[i]));
    }
    if (items)
        HN_TRY(push_group(r, call, case_sensitive, keys->items[list->n - 1], items, groups));
    *out = hn_tv_list(groups);
    return HN_OK;
}

const hn_builtin HN_FILTERS_ORDER[] = {
    {"sort", "reverse,case_sensitive,attribute", 0, f_sort},
    {"dictsort", "case_sensitive,by,reverse", 0, f_dictsort},
    {"min", "case_sensitive,attribute", 0, f_min},
    {"max", "case_sensitive,attribute", 0, f_max},
    {"groupby", "attribute,default,case_sensitive", 1, f_groupby},
    {NULL, NULL, 0, NULL},
};
