/* The state of one render, and what evaluator, filters, tests and methods offer each other. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "template/ast.h"
#include "template/template.h"
#include "template/value.h"

enum {
    HN_RENDER_MAX_STEPS = 40 << 20, /* a second or so of work; chats take thousands */
    HN_RENDER_MAX_ARENA_BYTES = 192 << 20,
    HN_RENDER_MAX_TEXT_BYTES = 64 << 20,
    HN_RENDER_MAX_DEPTH = 3000,         /* nested evaluation: bounds the C stack */
    HN_RENDER_MAX_CALLS = 200,          /* macros inside macros, as Python's stack allows */
    HN_TV_MAX_NESTING = 400,            /* lists in lists: repr, ==, tojson */
    HN_RENDER_SCAN_BYTES_PER_STEP = 64, /* price of searching text */
    HN_RANGE_MAX = 100000,              /* jinja2.sandbox.MAX_RANGE */
};

typedef enum hn_flow { HN_FLOW_NEXT, HN_FLOW_BREAK, HN_FLOW_CONTINUE } hn_flow;

/* One call of a compiled function: its variables, and the call of the function around it. */
typedef struct hn_activation {
    struct hn_activation *outer;
    hn_tv *slots;
} hn_activation;

struct hn_render {
    hn_arena arena;
    hn_buf text; /* output so far; captures are cut off its end again */
    hn_error *err;
    const hn_template *tmpl;
    hn_tdict *variables;
    hn_activation *frame;
    int64_t now;
    int64_t steps_left;
    unsigned depth, calls, nesting;
    uint32_t line;
    hn_flow flow;
    hn_tv block_text;   /* what a filter block or set block filters */
    unsigned captures;  /* how many are open */
    size_t captured_at; /* where the outermost open capture began */
    hn_buf spans;       /* hn_template_span */
};

typedef struct hn_targ_kw {
    const hn_tstr *name;
    hn_tv value;
} hn_targ_kw;

typedef struct hn_targs {
    hn_tv *pos;
    uint32_t n_pos;
    hn_targ_kw *kw;
    uint32_t n_kw;
} hn_targs;

enum { HN_ARGS_MAX = 6 };

/* A filter, test, method or global function with a fixed signature. `params` are Python's
 * parameter names after the value, with commas between; "/" stands for a positional-only one. An
 * argument not given has type MISSING. Without `params` the function takes `raw` as it comes. */
typedef struct hn_call {
    hn_tv self;
    const hn_tv *args;   /* HN_ARGS_MAX of them */
    const hn_targs *raw; /* as given */
} hn_call;
typedef hn_status (*hn_builtin_fn)(hn_render *r, const hn_call *call, hn_tv *out);
typedef struct hn_builtin {
    const char *name;
    const char *params;
    unsigned n_required;
    hn_builtin_fn fn;
} hn_builtin;

struct hn_tmethod {
    hn_builtin def;
};
struct hn_tfunction {
    hn_builtin def;
};

struct hn_tmacro {
    const hn_node *node; /* MACRO, CALL_BLOCK or GENERATION */
    hn_activation *outer;
};

struct hn_tloop {
    hn_tv iterable;
    hn_titer *iter;
    const hn_node *node;  /* set when the loop is recursive */
    hn_activation *outer; /* and what its body sees around it */
    int64_t index0, depth0;
    int64_t length; /* -1 until known */
    hn_tv after, current, before, changed;
};

typedef enum hn_titer_kind {
    HN_ITER_EMPTY,
    HN_ITER_ITEMS, /* a list or tuple */
    HN_ITER_CHARS,
    HN_ITER_DICT, /* keys, values or items */
    HN_ITER_RANGE,
    HN_ITER_MAP,       /* the filter map: a filter applied, or an attribute taken */
    HN_ITER_SELECT,    /* select, reject, selectattr, rejectattr */
    HN_ITER_UNIQUE,    /* the filter unique */
    HN_ITER_MADE,      /* makes a list when first asked: items, batch, slice */
    HN_ITER_LOOP_TEST, /* the items that pass a loop's `if` */
} hn_titer_kind;

/* What is left to do when the first item is asked for: makes the list of a MADE iterator, looks at
 * the arguments of MAP and SELECT (`out` is NULL there). */
typedef hn_status (*hn_titer_make)(hn_render *r, hn_titer *it, hn_tlist **out);

struct hn_titer {
    hn_titer_kind kind;
    bool reversed, invert, case_sensitive, by_attribute, started;
    int64_t position;
    hn_tv source;              /* what is iterated; looked at when the first item is asked for */
    hn_titer *from;            /* its iterator */
    int view;                  /* of a dictionary, as hn_tview.kind */
    const hn_builtin *builtin; /* filter or test applied; NULL: the truth of the item */
    hn_targs args;
    hn_tv attribute, fallback;
    hn_tdict *seen;
    hn_titer_make make;
    const hn_node *loop;
    hn_activation *outer;
};

/* --- render.c: limits and failures ----------------------------------------------------------- */

/* HN_BAD_INPUT with the line of the template. */
hn_status hn_render_fail(hn_render *r, const char *fmt, ...) HN_PRINTF(2, 3);
/* "unsupported operand"-like failures share this text: Python's TypeError. */
hn_status hn_render_no_memory(hn_render *r);
HN_MUST_CHECK hn_status hn_render_charge(hn_render *r, size_t steps);
HN_MUST_CHECK hn_status hn_render_charge_scan(hn_render *r, size_t n_bytes);
HN_MUST_CHECK hn_status hn_render_alloc(hn_render *r, size_t count, size_t size, void **out);
HN_MUST_CHECK hn_status hn_render_put(hn_render *r, const void *data, size_t n_bytes);
/* Output between begin and end becomes a string instead. */
size_t hn_render_capture_begin(hn_render *r);
HN_MUST_CHECK hn_status hn_render_capture_end(hn_render *r, size_t start, hn_tv *out);
/* The text grown in `r->text` since `start` without being output. */
HN_MUST_CHECK hn_status hn_render_take_text(hn_render *r, size_t start, hn_tv *out);
HN_MUST_CHECK hn_status hn_render_bind(hn_render *r, const hn_builtin *def, const hn_targs *args,
                                       hn_tv bound[HN_ARGS_MAX]);
HN_MUST_CHECK hn_status hn_render_apply(hn_render *r, const hn_builtin *def, hn_tv self,
                                        const hn_targs *args, hn_tv *out);

/* --- eval*.c ---------------------------------------------------------------------------------- */

HN_MUST_CHECK hn_status hn_eval(hn_render *r, const hn_node *node, hn_tv *out);
HN_MUST_CHECK hn_status hn_eval_body(hn_render *r, hn_nodes body);
HN_MUST_CHECK hn_status hn_eval_args(hn_render *r, const hn_node *node, hn_targs *args);
HN_MUST_CHECK hn_status hn_eval_var(hn_render *r, const hn_node *node, hn_tv *out);
HN_MUST_CHECK hn_status hn_eval_statement(hn_render *r, const hn_node *node);
HN_MUST_CHECK hn_status hn_eval_down(hn_render *r, const hn_node *node);
HN_MUST_CHECK hn_status hn_eval_call_block(hn_render *r, const hn_node *node);
HN_MUST_CHECK hn_status hn_eval_generation(hn_render *r, const hn_node *node);
HN_MUST_CHECK hn_status hn_eval_call_node(hn_render *r, const hn_node *node, hn_tv *out);
HN_MUST_CHECK hn_status hn_eval_macro_define(hn_render *r, const hn_node *node, hn_tv *out);
HN_MUST_CHECK hn_status hn_eval_call(hn_render *r, hn_tv callee, const hn_targs *args, hn_tv *out);
HN_MUST_CHECK hn_status hn_eval_macro(hn_render *r, hn_tmacro *macro, const hn_targs *args,
                                      hn_tv *out);
HN_MUST_CHECK hn_status hn_eval_scope_enter(hn_render *r, const hn_scope *scope);
void hn_eval_scope_leave(hn_render *r, const hn_scope *scope);
HN_MUST_CHECK hn_status hn_eval_assign(hn_render *r, const hn_node *target, hn_tv v);
HN_MUST_CHECK hn_status hn_eval_for(hn_render *r, const hn_node *node);
HN_MUST_CHECK hn_status hn_eval_loop_again(hn_render *r, hn_tloop *loop, hn_tv iterable,
                                           hn_tv *out);
HN_MUST_CHECK hn_status hn_eval_loop_test(hn_render *r, hn_titer *it, hn_tv item, bool *keep);
HN_MUST_CHECK hn_status hn_activation_new(hn_render *r, hn_activation *outer, uint32_t n_slots,
                                          hn_activation **out);

/* --- attr.c ----------------------------------------------------------------------------------- */

HN_MUST_CHECK hn_status hn_attr_get(hn_render *r, hn_tv object, const hn_tstr *name, hn_tv *out);
HN_MUST_CHECK hn_status hn_attr_item(hn_render *r, hn_tv object, hn_tv key, hn_tv *out);
HN_MUST_CHECK hn_status hn_attr_slice(hn_render *r, hn_tv object, hn_tv start, hn_tv stop,
                                      hn_tv step, hn_tv *out);
/* jinja2's make_attrgetter: "a.b.0", an integer, or None for the item itself. */
HN_MUST_CHECK hn_status hn_attr_path(hn_render *r, hn_tv item, hn_tv path, hn_tv fallback,
                                     hn_tv *out);
/* A loop's attribute; false in *found when it has none of that name. */
HN_MUST_CHECK hn_status hn_loop_attr(hn_render *r, hn_tloop *loop, const hn_tstr *name, hn_tv *out,
                                     bool *found);
HN_MUST_CHECK hn_status hn_loop_next(hn_render *r, hn_tloop *loop, bool *more);
HN_MUST_CHECK hn_status hn_loop_length(hn_render *r, hn_tloop *loop, int64_t *out);

/* --- text.c: str(), repr() -------------------------------------------------------------------- */

/* Appends str(v) or repr(v) to the output buffer. */
HN_MUST_CHECK hn_status hn_tv_write(hn_render *r, hn_tv v, bool repr);
/* str(v), a string itself unless v is one. */
HN_MUST_CHECK hn_status hn_tv_to_str(hn_render *r, hn_tv v, hn_tv *out);
HN_MUST_CHECK hn_status hn_tv_repr(hn_render *r, hn_tv v, hn_tv *out);
/* markupsafe.escape(v). */
HN_MUST_CHECK hn_status hn_tv_escape(hn_render *r, hn_tv v, hn_tv *out);
HN_MUST_CHECK hn_status hn_tv_from_text(hn_render *r, const char *text, hn_tv *out);

/* --- tojson.c, format.c ----------------------------------------------------------------------- */

HN_MUST_CHECK hn_status hn_tv_tojson(hn_render *r, hn_tv v, hn_tv ascii, hn_tv indent,
                                     hn_tv separators, hn_tv sort_keys, hn_tv *out);
/* Python's `format % args`. */
HN_MUST_CHECK hn_status hn_format_percent(hn_render *r, const hn_tstr *format, hn_tv args,
                                          hn_tv *out);
/* str.format as the sandbox's formatter does it. */
HN_MUST_CHECK hn_status hn_format_braces(hn_render *r, const hn_tstr *format, const hn_targs *args,
                                         hn_tv *out);
/* Appends format(v, spec) to the output buffer. */
HN_MUST_CHECK hn_status hn_format_spec(hn_render *r, hn_tv v, const char *spec, size_t n_spec);

/* What `%` conversions and format specifications have in common. */
typedef struct hn_format {
    uint32_t fill;            /* a code point */
    char align;               /* '<', '>', '^', '=' (after the sign) or 0 */
    char sign;                /* '+', ' ' or 0 */
    char type;                /* 0 when not given */
    char group;               /* ',', '_' or 0 */
    bool alternate;           /* '#' */
    int64_t width, precision; /* -1 when not given */
} hn_format;

enum { HN_FORMAT_MAX_WIDTH = 1 << 20, HN_FORMAT_MAX_PRECISION = 300 };

/* Appends a number; `f` types: d b o x X c e E f F g G % and 0. */
HN_MUST_CHECK hn_status hn_format_number(hn_render *r, hn_tv v, const hn_format *f);
/* Appends text cut to the precision and padded to the width. */
HN_MUST_CHECK hn_status hn_format_text(hn_render *r, const hn_tstr *s, const hn_format *f);

/* --- the tables ------------------------------------------------------------------------------- */

const hn_builtin *hn_filter_find(const char *name, size_t n_bytes);
const hn_builtin *hn_test_find(const char *name, size_t n_bytes);
const hn_tfunction *hn_global_find(const char *name, size_t n_bytes);
/* A method of v's type; *unsafe is set for one that the sandbox forbids (list.append ...). */
const hn_tmethod *hn_method_find(hn_tv v, const char *name, size_t n_bytes, bool *unsafe);

HN_MUST_CHECK hn_status hn_titer_new(hn_render *r, hn_titer init, hn_tv *out);

/* Each table ends with an entry without a name. */
extern const hn_builtin HN_FILTERS_TEXT[], HN_FILTERS_MARKUP[], HN_FILTERS_LIST[],
    HN_FILTERS_ORDER[], HN_FILTERS_LAZY[], HN_FILTERS_VALUE[];
extern const hn_tmethod HN_METHODS_TEXT[], HN_METHODS_SPLIT[];

/* --- strutil.c: what string methods and filters share ------------------------------------------
 */

typedef enum hn_case {
    HN_CASE_UPPER,
    HN_CASE_LOWER,
    HN_CASE_TITLE,
    HN_CASE_CAPITALIZE,
    HN_CASE_SWAP,
    HN_CASE_FOLD,
} hn_case;

HN_MUST_CHECK hn_status hn_str_case(hn_render *r, const hn_tstr *s, hn_case mode, hn_tv *out);
/* `chars` NULL strips space. */
HN_MUST_CHECK hn_status hn_str_strip(hn_render *r, const hn_tstr *s, const hn_tstr *chars,
                                     bool left, bool right, hn_tv *out);
/* count < 0: all. */
HN_MUST_CHECK hn_status hn_str_replace(hn_render *r, const hn_tstr *s, const hn_tstr *old,
                                       const hn_tstr *by, int64_t count, hn_tv *out);
HN_MUST_CHECK hn_status hn_str_lines(hn_render *r, const hn_tstr *s, bool keep_ends,
                                     hn_tlist **out);
HN_MUST_CHECK hn_status hn_str_words(hn_render *r, const hn_tstr *s, int64_t max, hn_tlist **out);
/* Joined with every item already a string. */
HN_MUST_CHECK hn_status hn_str_join(hn_render *r, const hn_tstr *separator, const hn_tlist *list,
                                    hn_tv *out);
/* The first place of `needle` at or after `from` (the last one at or before it when backwards);
 * SIZE_MAX when there is none. */
size_t hn_str_find(const hn_tstr *s, const hn_tstr *needle, size_t from, size_t end,
                   bool backwards);
/* An argument that must be a string, or an integer with a default. */
HN_MUST_CHECK hn_status hn_arg_str(hn_render *r, hn_tv v, const hn_tstr **out);
HN_MUST_CHECK hn_status hn_arg_int(hn_render *r, hn_tv v, int64_t fallback, int64_t *out);
