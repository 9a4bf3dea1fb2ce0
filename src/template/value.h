/* Values of the template language: Python's types as far as templates meet them. Everything lives
 * in the arena of one render, nothing is counted or freed by itself. Containers that came from JSON
 * are unpacked one level at a time, when they are first looked into. */
#pragma once

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct hn_render hn_render;
typedef struct hn_tv hn_tv;

typedef enum hn_tv_type {
    HN_TV_MISSING = 0, /* a slot nothing was stored in; never seen by a template */
    HN_TV_UNDEFINED,
    HN_TV_NONE,
    HN_TV_BOOL,
    HN_TV_INT,
    HN_TV_FLOAT,
    HN_TV_STR,
    HN_TV_LIST,
    HN_TV_TUPLE,
    HN_TV_DICT,
    HN_TV_VIEW, /* dict.keys(), .values(), .items() */
    HN_TV_RANGE,
    HN_TV_NAMESPACE,
    HN_TV_ITER,   /* a generator or iterator: consumed once, no length */
    HN_TV_METHOD, /* bound to its receiver */
    HN_TV_FUNCTION,
    HN_TV_MACRO,
    HN_TV_LOOP,
    HN_TV_CYCLER,
    HN_TV_JOINER,
} hn_tv_type;

#define HN_TSTR_CHARS_UNKNOWN UINT32_MAX

/* Room that a string may grow into in place: `a + b` where `a` ends at used_end costs only b. */
typedef struct hn_tstr_room {
    char *used_end, *limit;
} hn_tstr_room;

/* Valid UTF-8, not always NUL-terminated. */
typedef struct hn_tstr {
    const char *data;
    uint32_t n_bytes;
    uint32_t n_chars; /* code points, HN_TSTR_CHARS_UNKNOWN until asked for */
    hn_tstr_room *room;
    bool markup; /* markupsafe's Markup: marked safe, escapes what is joined to it */
} hn_tstr;

typedef struct hn_tlist hn_tlist;
typedef struct hn_tdict hn_tdict;
typedef struct hn_titer hn_titer;
typedef struct hn_tmacro hn_tmacro;
typedef struct hn_tloop hn_tloop;
typedef struct hn_tmethod hn_tmethod;
typedef struct hn_tfunction hn_tfunction;

/* Why a value is undefined; the message is put together only when an operation fails on it. */
typedef struct hn_tundef {
    const char *hint;    /* a whole message, or NULL */
    const char *owner;   /* type name of the object that lacks it, or NULL for a variable */
    const hn_tstr *name; /* of the variable or attribute; NULL with a hint */
    bool unsafe;         /* the sandbox forbids the attribute */
} hn_tundef;

struct hn_tv {
    hn_tv_type type;
    union {
        bool b;
        int64_t i;
        double f;
        hn_tstr *s;
        hn_tlist *list; /* LIST, TUPLE, CYCLER */
        hn_tdict *dict; /* DICT, NAMESPACE */
        struct hn_tview *view;
        struct hn_trange *range;
        hn_titer *iter;
        hn_tmacro *macro;
        hn_tloop *loop;
        const hn_tundef *undef;
        struct hn_tbound *bound;
        const hn_tfunction *function;
        struct hn_tjoiner *joiner;
    } u;
};

struct hn_tlist {
    const json_t *json; /* not yet unpacked when set */
    hn_tv *items;
    uint32_t n, cap;
    uint32_t position;        /* of a cycler */
    const char *const *names; /* of a named tuple's fields (groupby), or NULL */
};

typedef struct hn_tentry {
    hn_tv key, value;
} hn_tentry;

struct hn_tdict {
    const json_t *json; /* not yet unpacked when set */
    hn_tentry *entries;
    uint32_t n, cap;
    uint32_t *index; /* open addressing, entry + 1, made when the dictionary isn't small */
    uint32_t n_index;
};

typedef struct hn_tview {
    enum { HN_VIEW_KEYS, HN_VIEW_VALUES, HN_VIEW_ITEMS } kind;
    hn_tdict *dict;
} hn_tview;

typedef struct hn_trange {
    int64_t start, stop, step;
    int64_t n;
} hn_trange;

typedef struct hn_tbound {
    hn_tv self;
    const hn_tmethod *method;
} hn_tbound;

typedef struct hn_tjoiner {
    hn_tv separator;
    bool used;
} hn_tjoiner;

static inline hn_tv hn_tv_none(void) {
    return (hn_tv){.type = HN_TV_NONE};
}
static inline hn_tv hn_tv_bool(bool b) {
    return (hn_tv){.type = HN_TV_BOOL, .u.b = b};
}
static inline hn_tv hn_tv_int(int64_t i) {
    return (hn_tv){.type = HN_TV_INT, .u.i = i};
}
static inline hn_tv hn_tv_float(double f) {
    return (hn_tv){.type = HN_TV_FLOAT, .u.f = f};
}
static inline hn_tv hn_tv_str(hn_tstr *s) {
    return (hn_tv){.type = HN_TV_STR, .u.s = s};
}
static inline hn_tv hn_tv_list(hn_tlist *list) {
    return (hn_tv){.type = HN_TV_LIST, .u.list = list};
}
static inline hn_tv hn_tv_tuple(hn_tlist *list) {
    return (hn_tv){.type = HN_TV_TUPLE, .u.list = list};
}
static inline hn_tv hn_tv_dict(hn_tdict *dict) {
    return (hn_tv){.type = HN_TV_DICT, .u.dict = dict};
}
static inline bool hn_tv_is_text(hn_tv v, const char *text) {
    size_t n = strlen(text);
    return v.type == HN_TV_STR && v.u.s->n_bytes == n && !memcmp(v.u.s->data, text, n);
}
/* bool, int: what Python's operator.index takes. */
static inline bool hn_tv_is_index(hn_tv v) {
    return v.type == HN_TV_INT || v.type == HN_TV_BOOL;
}
static inline int64_t hn_tv_index(hn_tv v) {
    return v.type == HN_TV_BOOL ? v.u.b : v.u.i;
}
static inline bool hn_tv_is_number(hn_tv v) {
    return hn_tv_is_index(v) || v.type == HN_TV_FLOAT;
}

/* --- value.c: making, looking into and growing containers ----------------------------------- */

HN_MUST_CHECK hn_status hn_tstr_new(hn_render *r, const char *data, size_t n_bytes, hn_tv *out);
/* The string without a copy; `data` must live as long as the render. */
HN_MUST_CHECK hn_status hn_tstr_borrow(hn_render *r, const char *data, size_t n_bytes, hn_tv *out);
HN_MUST_CHECK hn_status hn_tstr_slice(hn_render *r, const hn_tstr *s, size_t start, size_t end,
                                      hn_tv *out);
HN_MUST_CHECK hn_status hn_tstr_concat(hn_render *r, const hn_tstr *a, const hn_tstr *b,
                                       hn_tv *out);
uint32_t hn_tstr_chars(const hn_tstr *s);
/* Byte offset of code point `index` (at most the length). */
size_t hn_tstr_offset(const hn_tstr *s, size_t index);

HN_MUST_CHECK hn_status hn_tv_from_json(hn_render *r, const json_t *json, hn_tv *out);
HN_MUST_CHECK hn_status hn_tlist_new(hn_render *r, uint32_t capacity, hn_tlist **out);
HN_MUST_CHECK hn_status hn_tlist_push(hn_render *r, hn_tlist *list, hn_tv v);
HN_MUST_CHECK hn_status hn_tlist_open(hn_render *r, hn_tlist *list);
HN_MUST_CHECK hn_status hn_tuple_new2(hn_render *r, hn_tv a, hn_tv b, hn_tv *out);
HN_MUST_CHECK hn_status hn_tdict_new(hn_render *r, hn_tdict **out);
HN_MUST_CHECK hn_status hn_tdict_open(hn_render *r, hn_tdict *dict);
/* *slot is NULL when the key is absent. An unhashable key sets *hashable false (Python raises
 * TypeError) and is no failure here. */
HN_MUST_CHECK hn_status hn_tdict_find(hn_render *r, hn_tdict *dict, hn_tv key, hn_tv **slot,
                                      bool *hashable);
HN_MUST_CHECK hn_status hn_tdict_find_text(hn_render *r, hn_tdict *dict, const char *key,
                                           size_t n_bytes, hn_tv **slot);
HN_MUST_CHECK hn_status hn_tdict_put(hn_render *r, hn_tdict *dict, hn_tv key, hn_tv value);
HN_MUST_CHECK hn_status hn_tv_undefined(hn_render *r, const char *owner, const hn_tstr *name,
                                        hn_tv *out);
HN_MUST_CHECK hn_status hn_tv_undefined_hint(hn_render *r, const char *hint, hn_tv *out);
/* The error of an operation on an undefined value. */
hn_status hn_tv_undefined_fail(hn_render *r, hn_tv v);
/* Python's type(v).__name__. */
const char *hn_tv_type_name(hn_tv v);
HN_MUST_CHECK hn_status hn_tv_hash(hn_render *r, hn_tv v, uint64_t *hash, bool *hashable);

/* --- compare.c ------------------------------------------------------------------------------ */

HN_MUST_CHECK hn_status hn_tv_truth(hn_render *r, hn_tv v, bool *out);
HN_MUST_CHECK hn_status hn_tv_equal(hn_render *r, hn_tv a, hn_tv b, bool *out);
/* Python's a < b, a <= b and so on; `op` is one of "<", "<=", ">", ">=". */
HN_MUST_CHECK hn_status hn_tv_order(hn_render *r, hn_tv a, hn_tv b, const char *op, bool *out);
HN_MUST_CHECK hn_status hn_tv_contains(hn_render *r, hn_tv needle, hn_tv haystack, bool *out);
bool hn_tv_same(hn_tv a, hn_tv b);
/* HN_OK and false in *has when Python's len() would raise TypeError. */
HN_MUST_CHECK hn_status hn_tv_length(hn_render *r, hn_tv v, bool *has, int64_t *out);
/* Stable merge sort of `items` by `keys` (same order), as list.sort. */
HN_MUST_CHECK hn_status hn_tv_sort(hn_render *r, hn_tv *items, hn_tv *keys, size_t n, bool reverse);

/* --- number.c ------------------------------------------------------------------------------- */

/* `op`: '+', '-', '*', '/', 'f' (//), '%', 'p' (**). */
HN_MUST_CHECK hn_status hn_tv_arith(hn_render *r, char op, hn_tv a, hn_tv b, hn_tv *out);
HN_MUST_CHECK hn_status hn_tv_negate(hn_render *r, hn_tv v, hn_tv *out);
HN_MUST_CHECK hn_status hn_tv_plus(hn_render *r, hn_tv v, hn_tv *out);
/* Python's int(text, base) and float(text); *ok false for ValueError. */
HN_MUST_CHECK hn_status hn_tv_parse_int(hn_render *r, const hn_tstr *s, int base, bool *ok,
                                        int64_t *out);
bool hn_tv_parse_float(const hn_tstr *s, double *out);
/* int(f): false for NaN, infinity and what doesn't fit. */
bool hn_tv_float_to_int(double f, int64_t *out);
enum { HN_TV_FLOAT_TEXT = 40 };
/* Python's repr(f). */
void hn_tv_float_text(double f, char out[HN_TV_FLOAT_TEXT]);

/* --- iter.c --------------------------------------------------------------------------------- */

/* Python's iter(v): TypeError is a failure. An iterator is its own iterator. */
HN_MUST_CHECK hn_status hn_tv_iter(hn_render *r, hn_tv v, hn_titer **out);
bool hn_tv_is_iterable(hn_tv v);
/* *more false at the end. */
HN_MUST_CHECK hn_status hn_titer_next(hn_render *r, hn_titer *it, hn_tv *out, bool *more);
/* list(v): a fresh list. */
HN_MUST_CHECK hn_status hn_tv_to_list(hn_render *r, hn_tv v, hn_tlist **out);
