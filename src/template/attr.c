/* Attributes, items and slices, as the sandboxed environment gives them: a missing one is
 * undefined, a forbidden one is an undefined that says so when it is used. */
#include "template/render.h"

#include <stdio.h>

static bool is_name(const hn_tstr *name, const char *text) {
    return hn_tv_is_text(hn_tv_str((hn_tstr *)name), text);
}

static hn_status find_macro_attr(hn_render *r, const hn_node *node, const hn_tstr *name, hn_tv *out,
                                 bool *found) {
    *found = true;
    if (is_name(name, "name")) {
        *out = node->name ? hn_tv_str((hn_tstr *)node->name) : hn_tv_none();
    } else if (is_name(name, "arguments")) {
        hn_tlist *list;
        HN_TRY(hn_tlist_new(r, node->x.n, &list));
        for (uint32_t i = 0; i < node->x.n; i++)
            HN_TRY(hn_tlist_push(r, list, hn_tv_str((hn_tstr *)node->x.items[i]->name)));
        *out = hn_tv_tuple(list);
    } else if (is_name(name, "catch_kwargs")) {
        *out = hn_tv_bool(node->more->wants_kwargs);
    } else if (is_name(name, "catch_varargs")) {
        *out = hn_tv_bool(node->more->wants_varargs);
    } else if (is_name(name, "caller")) {
        *out = hn_tv_bool(node->more->wants_caller);
    } else {
        *found = false;
    }
    return HN_OK;
}

static bool find_number_attr(hn_tv v, const hn_tstr *name, hn_tv *out) {
    bool real = is_name(name, "real") || (v.type != HN_TV_FLOAT && is_name(name, "numerator"));
    bool imag = is_name(name, "imag"), one = v.type != HN_TV_FLOAT && is_name(name, "denominator");
    if (real)
        *out = v.type == HN_TV_FLOAT ? v : hn_tv_int(hn_tv_index(v));
    else if (imag)
        *out = v.type == HN_TV_FLOAT ? hn_tv_float(0) : hn_tv_int(0);
    else if (one)
        *out = hn_tv_int(1);
    return real || imag || one;
}

/* Attributes that aren't methods. */
static hn_status find_property(hn_render *r, hn_tv v, const hn_tstr *name, hn_tv *out,
                               bool *found) {
    hn_tv *slot;
    *found = false;
    switch (v.type) {
    case HN_TV_LOOP:
        return hn_loop_attr(r, v.u.loop, name, out, found);
    case HN_TV_NAMESPACE:
        HN_TRY(hn_tdict_find_text(r, v.u.dict, name->data, name->n_bytes, &slot));
        *found = slot != NULL;
        if (slot)
            *out = *slot;
        return HN_OK;
    case HN_TV_MACRO:
        return find_macro_attr(r, v.u.macro->node, name, out, found);
    case HN_TV_CYCLER:
        *found = true;
        if (is_name(name, "current"))
            *out = v.u.list->items[v.u.list->position];
        else if (is_name(name, "pos"))
            *out = hn_tv_int(v.u.list->position);
        else if (is_name(name, "items"))
            *out = hn_tv_tuple(v.u.list);
        else
            *found = false;
        return HN_OK;
    case HN_TV_JOINER:
        *found = is_name(name, "sep") || is_name(name, "used");
        *out = is_name(name, "sep") ? v.u.joiner->separator : hn_tv_bool(v.u.joiner->used);
        return HN_OK;
    case HN_TV_RANGE:
        *found = is_name(name, "start") || is_name(name, "stop") || is_name(name, "step");
        *out = hn_tv_int(is_name(name, "start")  ? v.u.range->start
                         : is_name(name, "stop") ? v.u.range->stop
                                                 : v.u.range->step);
        return HN_OK;
    case HN_TV_INT:
    case HN_TV_BOOL:
    case HN_TV_FLOAT:
        *found = find_number_attr(v, name, out);
        return HN_OK;
    case HN_TV_TUPLE:
        for (uint32_t i = 0; v.u.list->names && i < v.u.list->n; i++)
            if (is_name(name, v.u.list->names[i])) {
                *found = true;
                *out = v.u.list->items[i];
            }
        return HN_OK;
    default:
        return HN_OK;
    }
}

/* Python's getattr, or *found false for AttributeError. */
static hn_status find_attribute(hn_render *r, hn_tv object, const hn_tstr *name, hn_tv *out,
                                bool *found) {
    bool unsafe = false;
    if (object.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, object);
    HN_TRY(find_property(r, object, name, out, found));
    if (*found)
        return HN_OK;
    const hn_tmethod *method = hn_method_find(object, name->data, name->n_bytes, &unsafe);
    void *memory;
    if (unsafe) {
        HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tundef), &memory));
        *(hn_tundef *)memory =
            (hn_tundef){.owner = hn_tv_type_name(object), .name = name, .unsafe = true};
        *out = (hn_tv){.type = HN_TV_UNDEFINED, .u.undef = memory};
        *found = true;
    } else if (method) {
        HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tbound), &memory));
        *(hn_tbound *)memory = (hn_tbound){.self = object, .method = method};
        *out = (hn_tv){.type = HN_TV_METHOD, .u.bound = memory};
        *found = true;
    }
    return HN_OK;
}

hn_status hn_attr_get(hn_render *r, hn_tv object, const hn_tstr *name, hn_tv *out) {
    bool found;
    HN_TRY(find_attribute(r, object, name, out, &found));
    if (found)
        return HN_OK;
    if (object.type == HN_TV_DICT) {
        hn_tv *slot;
        bool hashable;
        HN_TRY(hn_tdict_find(r, object.u.dict, hn_tv_str((hn_tstr *)name), &slot, &hashable));
        if (slot) {
            *out = *slot;
            return HN_OK;
        }
    }
    return hn_tv_undefined(r, hn_tv_type_name(object), name, out);
}

/* object[key], or *found false for TypeError and LookupError. */
static hn_status find_item(hn_render *r, hn_tv object, hn_tv key, hn_tv *out, bool *found) {
    int64_t n, index;
    bool has;
    *found = false;
    if (object.type == HN_TV_DICT) {
        hn_tv *slot;
        HN_TRY(hn_tdict_find(r, object.u.dict, key, &slot, &has));
        *found = slot != NULL;
        if (slot)
            *out = *slot;
        return HN_OK;
    }
    if (!hn_tv_is_index(key) || (object.type != HN_TV_LIST && object.type != HN_TV_TUPLE &&
                                 object.type != HN_TV_STR && object.type != HN_TV_RANGE))
        return HN_OK;
    HN_TRY(hn_tv_length(r, object, &has, &n));
    index = hn_tv_index(key);
    index += index < 0 ? n : 0;
    if (index < 0 || index >= n)
        return HN_OK;
    *found = true;
    if (object.type == HN_TV_RANGE) {
        *out = hn_tv_int(object.u.range->start + index * object.u.range->step);
    } else if (object.type == HN_TV_STR) {
        const hn_tstr *s = object.u.s;
        HN_TRY(hn_render_charge_scan(r, s->n_chars == s->n_bytes ? 0 : s->n_bytes));
        size_t start = hn_tstr_offset(s, (size_t)index), end = start;
        hn_uni_next(s->data, s->n_bytes, &end);
        return hn_tstr_slice(r, s, start, end, out);
    } else {
        *out = object.u.list->items[index];
    }
    return HN_OK;
}

hn_status hn_attr_item(hn_render *r, hn_tv object, hn_tv key, hn_tv *out) {
    bool found;
    if (object.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, object);
    HN_TRY(find_item(r, object, key, out, &found));
    if (found)
        return HN_OK;
    if (key.type == HN_TV_STR)
        HN_TRY(find_attribute(r, object, key.u.s, out, &found));
    if (found)
        return HN_OK;
    hn_tv name = key;
    if (key.type != HN_TV_STR)
        HN_TRY(hn_tv_repr(r, key, &name));
    return hn_tv_undefined(r, hn_tv_type_name(object), name.u.s, out);
}

/* --- slices ----------------------------------------------------------------------------------- */

static hn_status slice_index(hn_render *r, hn_tv v, bool *given, int64_t *out) {
    *given = v.type != HN_TV_NONE;
    if (*given && !hn_tv_is_index(v))
        return v.type == HN_TV_UNDEFINED
                   ? hn_tv_undefined_fail(r, v)
                   : hn_render_fail(r, "slice indices must be integers or None");
    *out = *given ? hn_tv_index(v) : 0;
    return HN_OK;
}

typedef struct slice {
    int64_t start, step, n;
} slice;

/* Python's slice.indices(length), and how many items there are. */
static hn_status slice_of(hn_render *r, int64_t length, hn_tv start, hn_tv stop, hn_tv step,
                          slice *out) {
    bool has_start, has_stop, has_step;
    int64_t from, to, by;
    HN_TRY(slice_index(r, start, &has_start, &from));
    HN_TRY(slice_index(r, stop, &has_stop, &to));
    HN_TRY(slice_index(r, step, &has_step, &by));
    if (!has_step)
        by = 1;
    if (by == 0)
        return hn_render_fail(r, "slice step cannot be zero");
    int64_t low = by < 0 ? -1 : 0, high = by < 0 ? length - 1 : length;
    from = has_start ? (from < 0 ? from + length : from) : by < 0 ? high : low;
    to = has_stop ? (to < 0 ? to + length : to) : by < 0 ? low : high;
    from = from < low ? low : from > high ? high : from;
    to = to < low ? low : to > high ? high : to;
    uint64_t distance =
        by > 0 ? (to > from ? (uint64_t)(to - from) : 0) : (from > to ? (uint64_t)(from - to) : 0);
    uint64_t stride = by > 0 ? (uint64_t)by : 0 - (uint64_t)by;
    *out = (slice){from, by, distance ? (int64_t)((distance - 1) / stride + 1) : 0};
    return HN_OK;
}

static hn_status slice_text(hn_render *r, const hn_tstr *s, slice cut, hn_tv *out) {
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    if (cut.step == 1 || cut.n <= 1) {
        size_t start = hn_tstr_offset(s, (size_t)(cut.n ? cut.start : 0));
        hn_tstr rest = {.data = s->data + start,
                        .n_bytes = s->n_bytes - (uint32_t)start,
                        .n_chars = s->n_chars == s->n_bytes ? s->n_bytes - (uint32_t)start
                                                            : HN_TSTR_CHARS_UNKNOWN};
        return hn_tstr_slice(r, s, start, start + hn_tstr_offset(&rest, (size_t)cut.n), out);
    }
    void *offsets; /* of every code point, so that stepping back is cheap */
    size_t chars = hn_tstr_chars(s), at = 0, begin = r->text.size;
    HN_TRY(hn_render_alloc(r, chars + 1, sizeof(uint32_t), &offsets));
    uint32_t *offset = offsets;
    for (size_t i = 0; i < chars; i++) {
        offset[i] = (uint32_t)at;
        hn_uni_next(s->data, s->n_bytes, &at);
    }
    offset[chars] = s->n_bytes;
    for (int64_t i = 0; i < cut.n; i++) {
        int64_t k = cut.start + i * cut.step;
        HN_TRY(hn_render_put(r, s->data + offset[k], offset[k + 1] - offset[k]));
    }
    HN_TRY(hn_render_take_text(r, begin, out));
    out->u.s->markup = s->markup;
    return HN_OK;
}

static hn_status slice_range(hn_render *r, const hn_trange *range, slice cut, hn_tv *out) {
    void *memory;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_trange), &memory));
    *(hn_trange *)memory = (hn_trange){.start = range->start + cut.start * range->step,
                                       .step = range->step * cut.step,
                                       .n = cut.n};
    hn_trange *made = memory;
    made->stop = made->start + made->n * made->step;
    *out = (hn_tv){.type = HN_TV_RANGE, .u.range = made};
    return HN_OK;
}

hn_status hn_attr_slice(hn_render *r, hn_tv object, hn_tv start, hn_tv stop, hn_tv step,
                        hn_tv *out) {
    bool has;
    int64_t n;
    slice cut;
    if (object.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, object);
    if (object.type != HN_TV_LIST && object.type != HN_TV_TUPLE && object.type != HN_TV_STR &&
        object.type != HN_TV_RANGE)
        return hn_render_fail(r, "'%s' object can't be sliced", hn_tv_type_name(object));
    HN_TRY(hn_tv_length(r, object, &has, &n));
    HN_TRY(slice_of(r, n, start, stop, step, &cut));
    if (object.type == HN_TV_STR)
        return slice_text(r, object.u.s, cut, out);
    if (object.type == HN_TV_RANGE)
        return slice_range(r, object.u.range, cut, out);
    hn_tlist *list;
    HN_TRY(hn_render_charge(r, (size_t)cut.n));
    HN_TRY(hn_tlist_new(r, (uint32_t)cut.n, &list));
    for (int64_t i = 0; i < cut.n; i++)
        list->items[i] = object.u.list->items[cut.start + i * cut.step];
    list->n = (uint32_t)cut.n;
    *out = (hn_tv){.type = object.type, .u.list = list};
    return HN_OK;
}

/* --- attribute paths -------------------------------------------------------------------------- */

static hn_status path_step(hn_render *r, hn_tv key, hn_tv fallback, hn_tv *item) {
    hn_tv next;
    HN_TRY(hn_attr_item(r, *item, key, &next));
    bool replace = next.type == HN_TV_UNDEFINED && fallback.type != HN_TV_MISSING &&
                   fallback.type != HN_TV_NONE;
    *item = replace ? fallback : next;
    return HN_OK;
}

hn_status hn_attr_path(hn_render *r, hn_tv item, hn_tv path, hn_tv fallback, hn_tv *out) {
    *out = item;
    if (path.type == HN_TV_MISSING || path.type == HN_TV_NONE)
        return HN_OK;
    if (path.type != HN_TV_STR)
        return path_step(r, path, fallback, out);
    const hn_tstr *s = path.u.s;
    for (size_t start = 0; start <= s->n_bytes;) {
        const char *dot = memchr(s->data + start, '.', s->n_bytes - start);
        size_t end = dot ? (size_t)(dot - s->data) : s->n_bytes;
        hn_tv key;
        bool number = end > start;
        for (size_t i = start; i < end; i++)
            number &= s->data[i] >= '0' && s->data[i] <= '9';
        HN_TRY(hn_tstr_slice(r, s, start, end, &key));
        if (number) {
            bool ok;
            int64_t index = 0;
            HN_TRY(hn_tv_parse_int(r, key.u.s, 10, &ok, &index));
            key = hn_tv_int(index);
        }
        HN_TRY(path_step(r, key, fallback, out));
        start = end + 1;
    }
    return HN_OK;
}
