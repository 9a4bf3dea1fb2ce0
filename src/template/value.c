/* Making values: strings, lists, what JSON holds and what is undefined. */
#include "template/value.h"

#include "base/text.h"
#include "template/render.h"

#include <stdio.h>

enum {
    GROW_TEXT_FROM = 128, /* longer sums of strings get room to grow in place */
};

/* --- strings ---------------------------------------------------------------------------------- */

uint32_t hn_tstr_chars(const hn_tstr *s) {
    if (s->n_chars != HN_TSTR_CHARS_UNKNOWN)
        return s->n_chars;
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_bytes; i++)
        n += ((uint8_t)s->data[i] & 0xc0) != 0x80;
    return n;
}

size_t hn_tstr_offset(const hn_tstr *s, size_t index) {
    if (s->n_chars == s->n_bytes)
        return index;
    size_t i = 0;
    for (; index; index--)
        do
            i++;
        while (i < s->n_bytes && ((uint8_t)s->data[i] & 0xc0) == 0x80);
    return i;
}

hn_status hn_tstr_borrow(hn_render *r, const char *data, size_t n_bytes, hn_tv *out) {
    if (n_bytes >= HN_RENDER_MAX_ARENA_BYTES)
        return hn_render_fail(r, "a string of %zu bytes is too long", n_bytes);
    void *s;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tstr), &s));
    hn_tstr *str = s;
    *str = (hn_tstr){.data = data, .n_bytes = (uint32_t)n_bytes, .n_chars = HN_TSTR_CHARS_UNKNOWN};
    str->n_chars = hn_tstr_chars(str);
    *out = hn_tv_str(str);
    return hn_render_charge_scan(r, n_bytes);
}

hn_status hn_tstr_new(hn_render *r, const char *data, size_t n_bytes, hn_tv *out) {
    void *copy;
    HN_TRY(hn_render_alloc(r, n_bytes + 1, 1, &copy));
    if (n_bytes)
        memcpy(copy, data, n_bytes);
    return hn_tstr_borrow(r, copy, n_bytes, out);
}

hn_status hn_tv_from_text(hn_render *r, const char *text, hn_tv *out) {
    return hn_tstr_borrow(r, text, strlen(text), out);
}

hn_status hn_tstr_slice(hn_render *r, const hn_tstr *s, size_t start, size_t end, hn_tv *out) {
    HN_TRY(hn_tstr_borrow(r, s->data + start, end - start, out));
    out->u.s->markup = s->markup;
    return HN_OK;
}

/* Where a + b can stand: behind a itself when there is room, or in a new place. */
static hn_status concat_place(hn_render *r, const hn_tstr *a, size_t n, hn_tstr_room **room,
                              char **data) {
    hn_tstr_room *old = a->room;
    if (old && a->data + a->n_bytes == old->used_end && (size_t)(old->limit - a->data) >= n) {
        *room = old;
        *data = (char *)a->data;
        return HN_OK;
    }
    bool grows = n >= GROW_TEXT_FROM;
    void *copy, *new_room = NULL;
    size_t capacity = grows ? n * 2 : n + 1;
    HN_TRY(hn_render_alloc(r, capacity, 1, &copy));
    if (grows) {
        HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tstr_room), &new_room));
        *(hn_tstr_room *)new_room = (hn_tstr_room){.limit = (char *)copy + capacity};
    }
    memcpy(copy, a->data, a->n_bytes);
    *room = new_room;
    *data = copy;
    return HN_OK;
}

hn_status hn_tstr_concat(hn_render *r, const hn_tstr *a, const hn_tstr *b, hn_tv *out) {
    size_t n = (size_t)a->n_bytes + b->n_bytes;
    if (n >= HN_RENDER_MAX_ARENA_BYTES)
        return hn_render_fail(r, "a string of %zu bytes is too long", n);
    void *s;
    char *data;
    hn_tstr_room *room;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tstr), &s));
    HN_TRY(concat_place(r, a, n, &room, &data));
    memcpy(data + a->n_bytes, b->data, b->n_bytes);
    if (room)
        room->used_end = data + n;
    *(hn_tstr *)s = (hn_tstr){.data = data,
                              .n_bytes = (uint32_t)n,
                              .n_chars = hn_tstr_chars(a) + hn_tstr_chars(b),
                              .room = room,
                              .markup = a->markup};
    *out = hn_tv_str(s);
    return HN_OK;
}

/* --- lists ------------------------------------------------------------------------------------ */

hn_status hn_tlist_new(hn_render *r, uint32_t capacity, hn_tlist **out) {
    void *list, *items = NULL;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tlist), &list));
    if (capacity)
        HN_TRY(hn_render_alloc(r, capacity, sizeof(hn_tv), &items));
    *(hn_tlist *)list = (hn_tlist){.items = items, .cap = capacity};
    *out = list;
    return HN_OK;
}

hn_status hn_tlist_push(hn_render *r, hn_tlist *list, hn_tv v) {
    if (list->n == list->cap) {
        void *items;
        uint32_t cap = list->cap ? list->cap * 2 : 8;
        HN_TRY(hn_render_alloc(r, cap, sizeof(hn_tv), &items));
        if (list->n)
            memcpy(items, list->items, list->n * sizeof(hn_tv));
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = v;
    return HN_OK;
}

hn_status hn_tlist_open(hn_render *r, hn_tlist *list) {
    if (!list->json)
        return HN_OK;
    size_t n = json_array_size(list->json);
    void *items;
    HN_TRY(hn_render_charge(r, n));
    HN_TRY(hn_render_alloc(r, n + 1, sizeof(hn_tv), &items));
    for (size_t i = 0; i < n; i++)
        HN_TRY(hn_tv_from_json(r, json_array_get(list->json, i), (hn_tv *)items + i));
    list->items = items;
    list->n = list->cap = (uint32_t)n;
    list->json = NULL;
    return HN_OK;
}

hn_status hn_tuple_new2(hn_render *r, hn_tv a, hn_tv b, hn_tv *out) {
    hn_tlist *list;
    HN_TRY(hn_tlist_new(r, 2, &list));
    list->items[0] = a;
    list->items[1] = b;
    list->n = 2;
    *out = hn_tv_tuple(list);
    return HN_OK;
}

/* --- JSON ------------------------------------------------------------------------------------- */

hn_status hn_tv_from_json(hn_render *r, const json_t *json, hn_tv *out) {
    void *box;
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tdict), &box));
        ((hn_tdict *)box)->json = json;
        *out = hn_tv_dict(box);
        return HN_OK;
    case JSON_ARRAY:
        HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tlist), &box));
        ((hn_tlist *)box)->json = json;
        *out = hn_tv_list(box);
        return HN_OK;
    case JSON_STRING:
        return hn_tstr_borrow(r, json_string_value(json), json_string_length(json), out);
    case JSON_INTEGER:
        *out = hn_tv_int(json_integer_value(json));
        return HN_OK;
    case JSON_REAL:
        *out = hn_tv_float(json_real_value(json));
        return HN_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = hn_tv_bool(json_is_true(json));
        return HN_OK;
    default:
        *out = hn_tv_none();
        return HN_OK;
    }
}

/* --- undefined -------------------------------------------------------------------------------- */

static hn_status undefined(hn_render *r, hn_tundef what, hn_tv *out) {
    void *undef;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tundef), &undef));
    *(hn_tundef *)undef = what;
    *out = (hn_tv){.type = HN_TV_UNDEFINED, .u.undef = undef};
    return HN_OK;
}

hn_status hn_tv_undefined(hn_render *r, const char *owner, const hn_tstr *name, hn_tv *out) {
    return undefined(r, (hn_tundef){.owner = owner, .name = name}, out);
}

hn_status hn_tv_undefined_hint(hn_render *r, const char *hint, hn_tv *out) {
    return undefined(r, (hn_tundef){.hint = hint}, out);
}

hn_status hn_tv_undefined_fail(hn_render *r, hn_tv v) {
    const hn_tundef *undef = v.u.undef;
    if (undef->hint)
        return hn_render_fail(r, "%s", undef->hint);
    int n = undef->name->n_bytes < 200 ? (int)undef->name->n_bytes : 200;
    if (!undef->owner)
        return hn_render_fail(r, "'%.*s' is undefined", n, undef->name->data);
    if (undef->unsafe)
        return hn_render_fail(r, "access to attribute '%.*s' of '%s' object is unsafe.", n,
                              undef->name->data, undef->owner);
    return hn_render_fail(r, "'%s' has no attribute '%.*s'", undef->owner, n, undef->name->data);
}

const char *hn_tv_type_name(hn_tv v) {
    static const char *const NAMES[] = {
        [HN_TV_MISSING] = "missing",
        [HN_TV_UNDEFINED] = "Undefined",
        [HN_TV_NONE] = "NoneType",
        [HN_TV_BOOL] = "bool",
        [HN_TV_INT] = "int",
        [HN_TV_FLOAT] = "float",
        [HN_TV_STR] = "str",
        [HN_TV_LIST] = "list",
        [HN_TV_TUPLE] = "tuple",
        [HN_TV_DICT] = "dict",
        [HN_TV_VIEW] = "dict view",
        [HN_TV_RANGE] = "range",
        [HN_TV_NAMESPACE] = "Namespace",
        [HN_TV_ITER] = "generator",
        [HN_TV_METHOD] = "method",
        [HN_TV_FUNCTION] = "function",
        [HN_TV_MACRO] = "Macro",
        [HN_TV_LOOP] = "LoopContext",
        [HN_TV_CYCLER] = "Cycler",
        [HN_TV_JOINER] = "Joiner",
    };
    return NAMES[v.type];
}
