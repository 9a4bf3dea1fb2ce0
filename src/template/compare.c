/* Truth, equality, order, membership and sorting, as Python has them. */
#define _GNU_SOURCE /* memmem */
#include "template/render.h"

#include <math.h>

hn_status hn_tv_truth(hn_render *r, hn_tv v, bool *out) {
    switch (v.type) {
    case HN_TV_MISSING:
    case HN_TV_UNDEFINED:
    case HN_TV_NONE:
        *out = false;
        return HN_OK;
    case HN_TV_BOOL:
        *out = v.u.b;
        return HN_OK;
    case HN_TV_INT:
        *out = v.u.i != 0;
        return HN_OK;
    case HN_TV_FLOAT:
        *out = v.u.f != 0;
        return HN_OK;
    case HN_TV_STR:
        *out = v.u.s->n_bytes != 0;
        return HN_OK;
    default: {
        bool has;
        int64_t n;
        HN_TRY(hn_tv_length(r, v, &has, &n));
        *out = !has || n != 0;
        return HN_OK;
    }
    }
}

hn_status hn_tv_length(hn_render *r, hn_tv v, bool *has, int64_t *out) {
    *has = true;
    switch (v.type) {
    case HN_TV_UNDEFINED:
        *out = 0;
        return HN_OK;
    case HN_TV_STR:
        *out = hn_tstr_chars(v.u.s);
        return HN_OK;
    case HN_TV_LIST:
    case HN_TV_TUPLE:
        HN_TRY(hn_tlist_open(r, v.u.list));
        *out = v.u.list->n;
        return HN_OK;
    case HN_TV_DICT:
        HN_TRY(hn_tdict_open(r, v.u.dict));
        *out = v.u.dict->n;
        return HN_OK;
    case HN_TV_VIEW:
        HN_TRY(hn_tdict_open(r, v.u.view->dict));
        *out = v.u.view->dict->n;
        return HN_OK;
    case HN_TV_RANGE:
        *out = v.u.range->n;
        return HN_OK;
    case HN_TV_LOOP:
        return hn_loop_length(r, v.u.loop, out);
    default:
        *has = false;
        return HN_OK;
    }
}

bool hn_tv_same(hn_tv a, hn_tv b) {
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case HN_TV_NONE:
        return true;
    case HN_TV_BOOL:
        return a.u.b == b.u.b;
    case HN_TV_INT: /* CPython shares small integers only */
        return a.u.i == b.u.i && a.u.i >= -5 && a.u.i <= 256;
    case HN_TV_FLOAT:
        return false;
    case HN_TV_STR:
        return a.u.s == b.u.s || (a.u.s->n_bytes == b.u.s->n_bytes && a.u.s->n_bytes < 2 &&
                                  !memcmp(a.u.s->data, b.u.s->data, a.u.s->n_bytes));
    default:
        return a.u.list == b.u.list;
    }
}

/* -1, 0, 1, or 2 when one is not a number. */
static int compare_numbers(hn_tv a, hn_tv b) {
    if (hn_tv_is_index(a) && hn_tv_is_index(b)) {
        int64_t x = hn_tv_index(a), y = hn_tv_index(b);
        return (x > y) - (x < y);
    }
    long double x = a.type == HN_TV_FLOAT ? a.u.f : (long double)hn_tv_index(a);
    long double y = b.type == HN_TV_FLOAT ? b.u.f : (long double)hn_tv_index(b);
    return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
}

static int compare_text(const hn_tstr *a, const hn_tstr *b) {
    size_t n = a->n_bytes < b->n_bytes ? a->n_bytes : b->n_bytes;
    int c = n ? memcmp(a->data, b->data, n) : 0; /* UTF-8 sorts as its code points do */
    return c ? (c > 0) - (c < 0) : (a->n_bytes > b->n_bytes) - (a->n_bytes < b->n_bytes);
}

static hn_status equal_lists(hn_render *r, hn_tlist *a, hn_tlist *b, bool *out) {
    HN_TRY(hn_tlist_open(r, a));
    HN_TRY(hn_tlist_open(r, b));
    *out = a->n == b->n;
    for (uint32_t i = 0; i < a->n && *out; i++)
        if (!hn_tv_same(a->items[i], b->items[i]))
            HN_TRY(hn_tv_equal(r, a->items[i], b->items[i], out));
    return HN_OK;
}

static hn_status equal_dicts(hn_render *r, hn_tdict *a, hn_tdict *b, bool *out) {
    HN_TRY(hn_tdict_open(r, a));
    HN_TRY(hn_tdict_open(r, b));
    *out = a->n == b->n;
    for (uint32_t i = 0; i < a->n && *out; i++) {
        hn_tv *other;
        bool hashable;
        HN_TRY(hn_tdict_find(r, b, a->entries[i].key, &other, &hashable));
        *out = other != NULL;
        if (other && !hn_tv_same(a->entries[i].value, *other))
            HN_TRY(hn_tv_equal(r, a->entries[i].value, *other, out));
    }
    return HN_OK;
}

/* dict.keys() and .items() compare as sets; .values() by identity. */
static hn_status equal_views(hn_render *r, hn_tview *a, hn_tview *b, bool *out) {
    *out = a == b;
    if (a->kind != b->kind || a->kind == HN_VIEW_VALUES)
        return HN_OK;
    if (a->kind == HN_VIEW_ITEMS)
        return equal_dicts(r, a->dict, b->dict, out);
    HN_TRY(hn_tdict_open(r, a->dict));
    HN_TRY(hn_tdict_open(r, b->dict));
    *out = a->dict->n == b->dict->n;
    for (uint32_t i = 0; i < a->dict->n && *out; i++) {
        hn_tv *other;
        bool hashable;
        HN_TRY(hn_tdict_find(r, b->dict, a->dict->entries[i].key, &other, &hashable));
        *out = other != NULL;
    }
    return HN_OK;
}

static bool equal_ranges(const hn_trange *a, const hn_trange *b) {
    return a->n == b->n &&
           (a->n == 0 || (a->start == b->start && (a->n == 1 || a->step == b->step)));
}

static hn_status equal_nested(hn_render *r, hn_tv a, hn_tv b, bool *out) {
    if (hn_tv_is_number(a) && hn_tv_is_number(b)) {
        *out = compare_numbers(a, b) == 0;
        return HN_OK;
    }
    *out = false;
    if (a.type != b.type)
        return HN_OK;
    switch (a.type) {
    case HN_TV_NONE:
    case HN_TV_UNDEFINED:
        *out = true;
        return HN_OK;
    case HN_TV_STR:
        *out = a.u.s->n_bytes == b.u.s->n_bytes && compare_text(a.u.s, b.u.s) == 0;
        return hn_render_charge_scan(r, a.u.s->n_bytes);
    case HN_TV_LIST:
    case HN_TV_TUPLE:
        return equal_lists(r, a.u.list, b.u.list, out);
    case HN_TV_DICT:
        return equal_dicts(r, a.u.dict, b.u.dict, out);
    case HN_TV_VIEW:
        return equal_views(r, a.u.view, b.u.view, out);
    case HN_TV_RANGE:
        *out = equal_ranges(a.u.range, b.u.range);
        return HN_OK;
    case HN_TV_METHOD:
        *out =
            a.u.bound->method == b.u.bound->method && hn_tv_same(a.u.bound->self, b.u.bound->self);
        return HN_OK;
    default:
        *out = a.u.list == b.u.list;
        return HN_OK;
    }
}

static hn_status go_down(hn_render *r) {
    HN_TRY(hn_render_charge(r, 1));
    if (r->nesting >= HN_TV_MAX_NESTING)
        return hn_render_fail(r, "values are nested more than %d deep", HN_TV_MAX_NESTING);
    r->nesting++;
    return HN_OK;
}

hn_status hn_tv_equal(hn_render *r, hn_tv a, hn_tv b, bool *out) {
    HN_TRY(go_down(r));
    hn_status status = equal_nested(r, a, b, out);
    r->nesting--;
    return status;
}

/* *sign as compare_numbers gives it. */
static hn_status order_nested(hn_render *r, hn_tv a, hn_tv b, const char *op, int *sign) {
    if (hn_tv_is_number(a) && hn_tv_is_number(b)) {
        *sign = compare_numbers(a, b);
        return HN_OK;
    }
    if (a.type == HN_TV_UNDEFINED || b.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, a.type == HN_TV_UNDEFINED ? a : b);
    if (a.type == HN_TV_STR && b.type == HN_TV_STR) {
        *sign = compare_text(a.u.s, b.u.s);
        return hn_render_charge_scan(r, a.u.s->n_bytes);
    }
    if (a.type != b.type || (a.type != HN_TV_LIST && a.type != HN_TV_TUPLE))
        return hn_render_fail(r, "'%s' not supported between instances of '%s' and '%s'", op,
                              hn_tv_type_name(a), hn_tv_type_name(b));
    HN_TRY(hn_tlist_open(r, a.u.list));
    HN_TRY(hn_tlist_open(r, b.u.list));
    uint32_t n = a.u.list->n < b.u.list->n ? a.u.list->n : b.u.list->n;
    for (uint32_t i = 0; i < n; i++) {
        bool same = hn_tv_same(a.u.list->items[i], b.u.list->items[i]);
        if (!same)
            HN_TRY(hn_tv_equal(r, a.u.list->items[i], b.u.list->items[i], &same));
        if (same)
            continue;
        HN_TRY(go_down(r));
        hn_status status = order_nested(r, a.u.list->items[i], b.u.list->items[i], op, sign);
        r->nesting--;
        return status;
    }
    *sign = (a.u.list->n > b.u.list->n) - (a.u.list->n < b.u.list->n);
    return HN_OK;
}

hn_status hn_tv_order(hn_render *r, hn_tv a, hn_tv b, const char *op, bool *out) {
    int sign = 2;
    HN_TRY(hn_render_charge(r, 1));
    HN_TRY(order_nested(r, a, b, op, &sign));
    *out = sign != 2 && ((sign < 0 && op[0] == '<') || (sign > 0 && op[0] == '>') ||
                         (sign == 0 && op[1] == '='));
    return HN_OK;
}

static hn_status contains_text(hn_render *r, const hn_tstr *needle, const hn_tstr *text,
                               bool *out) {
    HN_TRY(hn_render_charge_scan(r, text->n_bytes));
    *out = needle->n_bytes == 0 ||
           memmem(text->data, text->n_bytes, needle->data, needle->n_bytes) != NULL;
    return HN_OK;
}

static hn_status contains_key(hn_render *r, hn_tv key, hn_tdict *dict, bool *out) {
    hn_tv *slot;
    bool hashable;
    HN_TRY(hn_tdict_find(r, dict, key, &slot, &hashable));
    if (!hashable)
        return hn_render_fail(r, "unhashable type: '%s'", hn_tv_type_name(key));
    *out = slot != NULL;
    return HN_OK;
}

hn_status hn_tv_contains(hn_render *r, hn_tv needle, hn_tv haystack, bool *out) {
    if (haystack.type == HN_TV_STR) {
        if (needle.type != HN_TV_STR)
            return hn_render_fail(r, "'in <string>' requires string as left operand, not %s",
                                  hn_tv_type_name(needle));
        return contains_text(r, needle.u.s, haystack.u.s, out);
    }
    if (haystack.type == HN_TV_DICT)
        return contains_key(r, needle, haystack.u.dict, out);
    if (haystack.type == HN_TV_VIEW && haystack.u.view->kind == HN_VIEW_KEYS)
        return contains_key(r, needle, haystack.u.view->dict, out);
    if (!hn_tv_is_iterable(haystack))
        return hn_render_fail(r, "argument of type '%s' is not iterable",
                              hn_tv_type_name(haystack));
    hn_titer *it;
    HN_TRY(hn_tv_iter(r, haystack, &it));
    *out = false;
    for (;;) {
        hn_tv item;
        bool more;
        HN_TRY(hn_titer_next(r, it, &item, &more));
        if (!more)
            return HN_OK;
        *out = hn_tv_same(item, needle);
        if (!*out)
            HN_TRY(hn_tv_equal(r, item, needle, out));
        if (*out)
            return HN_OK;
    }
}

/* --- sorting ---------------------------------------------------------------------------------- */

typedef struct sort_item {
    hn_tv key, value;
} sort_item;

static hn_status merge(hn_render *r, const sort_item *a, size_t n_a, const sort_item *b, size_t n_b,
                       bool reverse, sort_item *out) {
    while (n_a && n_b) {
        bool swap;
        /* stable either way: the later one goes first only when it is strictly before */
        HN_TRY(hn_tv_order(r, reverse ? a->key : b->key, reverse ? b->key : a->key, "<", &swap));
        if (swap) {
            *out++ = *b++;
            n_b--;
        } else {
            *out++ = *a++;
            n_a--;
        }
    }
    memcpy(out, a, n_a * sizeof *a);
    memcpy(out + n_a, b, n_b * sizeof *b);
    return HN_OK;
}

hn_status hn_tv_sort(hn_render *r, hn_tv *items, hn_tv *keys, size_t n, bool reverse) {
    void *memory;
    HN_TRY(hn_render_alloc(r, 2 * n + 1, sizeof(sort_item), &memory));
    sort_item *from = memory, *to = from + n;
    for (size_t i = 0; i < n; i++)
        from[i] = (sort_item){keys[i], items[i]};
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t i = 0; i < n; i += 2 * width) {
            size_t n_a = n - i < width ? n - i : width;
            size_t n_b = n - i - n_a < width ? n - i - n_a : width;
            HN_TRY(merge(r, from + i, n_a, from + i + n_a, n_b, reverse, to + i));
        }
        sort_item *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < n; i++) {
        items[i] = from[i].value;
        keys[i] = from[i].key;
    }
    return HN_OK;
}
