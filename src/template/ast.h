/* The tree a template is compiled to. Names are resolved when it is compiled, with the very rules
 * of jinja2's idtracking: a variable is a slot in the activation of the function around it (the
 * template, a macro, a call block, a recursive loop). Immutable afterwards. */
#pragma once

#include "base/arena.h"
#include "base/status.h"
#include "template/value.h"

typedef struct hn_node hn_node;

typedef struct hn_nodes {
    hn_node **items;
    uint32_t n;
} hn_nodes;

typedef enum hn_node_kind {
    /* statements */
    HN_NODE_OUTPUT,       /* x: what to print */
    HN_NODE_FOR,          /* a target, b iterable, c test or NULL, x body, y else */
    HN_NODE_IF,           /* a test, x body, y the elifs (IF), z else */
    HN_NODE_SET,          /* a target, b value */
    HN_NODE_SET_BLOCK,    /* a target, b filters or NULL, x body */
    HN_NODE_MACRO,        /* name, x parameters, y defaults of the last ones, z body */
    HN_NODE_CALL_BLOCK,   /* a call, x parameters, y defaults, z body */
    HN_NODE_GENERATION,   /* z body */
    HN_NODE_FILTER_BLOCK, /* a filters, x body */
    HN_NODE_WITH,         /* x targets, y values, z body */
    HN_NODE_BREAK,
    HN_NODE_CONTINUE,
    HN_NODE_REFUSED, /* include and the like: fails when reached; value says why */
    /* expressions */
    HN_NODE_DATA,    /* value: template text */
    HN_NODE_CONST,   /* value */
    HN_NODE_NAME,    /* name, op is an hn_name_use */
    HN_NODE_NSREF,   /* name, attr: target of `set ns.attr` */
    HN_NODE_TUPLE,   /* x */
    HN_NODE_LIST,    /* x */
    HN_NODE_DICT,    /* x keys, y values */
    HN_NODE_COND,    /* a test, b then, c else or NULL */
    HN_NODE_BINARY,  /* op as hn_tv_arith, a, b */
    HN_NODE_UNARY,   /* op '+' or '-', a */
    HN_NODE_AND,     /* a, b */
    HN_NODE_OR,      /* a, b */
    HN_NODE_NOT,     /* a */
    HN_NODE_CONCAT,  /* x */
    HN_NODE_COMPARE, /* a, x: OPERAND */
    HN_NODE_OPERAND, /* op is an hn_compare_op, a */
    HN_NODE_GETATTR, /* a, name */
    HN_NODE_GETITEM, /* a, b */
    HN_NODE_SLICE,   /* a, b, c: start, stop, step, each may be NULL */
    HN_NODE_CALL,    /* a, x arguments, y KEYWORD, b *args, c **kwargs */
    HN_NODE_KEYWORD, /* name, a */
    HN_NODE_FILTER,  /* a (NULL in a block), name, builtin, x, y, b, c as CALL */
    HN_NODE_TEST,    /* the same */
} hn_node_kind;

typedef enum hn_name_use { HN_NAME_LOAD, HN_NAME_STORE, HN_NAME_PARAM } hn_name_use;

typedef enum hn_compare_op {
    HN_CMP_EQ,
    HN_CMP_NE,
    HN_CMP_LT,
    HN_CMP_LE,
    HN_CMP_GT,
    HN_CMP_GE,
    HN_CMP_IN,
    HN_CMP_NOT_IN,
} hn_compare_op;

/* Where a variable lives: `up` functions out, then a slot of that activation. */
typedef struct hn_var {
    uint32_t up, slot;
} hn_var;

/* What entering a scope does to its slots; leaving it empties them. */
typedef struct hn_load {
    enum { HN_LOAD_PARAM, HN_LOAD_RESOLVE, HN_LOAD_ALIAS, HN_LOAD_EMPTY } action;
    uint32_t slot;
    hn_var from;         /* of an alias */
    const hn_tstr *name; /* of a resolve */
} hn_load;

typedef struct hn_scope {
    hn_load *loads;
    uint32_t n_loads;
} hn_scope;

/* Statements that open scopes or functions. */
typedef struct hn_node_more {
    hn_scope scope;       /* loop body, with, set block, filter block, macro */
    hn_scope else_scope;  /* of a loop */
    hn_scope test_scope;  /* of a loop's `if` */
    hn_node *test_target; /* the loop target again, in the test's own function */
    uint32_t n_slots;     /* of the function: macro, call block, recursive loop */
    uint32_t n_test_slots;
    bool extended; /* `loop` is used */
    hn_var loop;
    bool wants_caller, wants_kwargs, wants_varargs, explicit_caller;
    uint32_t caller_slot, kwargs_slot, varargs_slot;
} hn_node_more;

struct hn_node {
    uint8_t kind, op;
    bool recursive; /* a loop marked so */
    uint16_t depth; /* height of the tree below: bounds every recursion over it */
    uint32_t line;
    hn_node *a, *b, *c;
    hn_nodes x, y, z;
    const hn_tstr *name;
    const hn_tstr *attr;
    hn_tv value;
    hn_var var;
    const struct hn_builtin *builtin;
    hn_node_more *more;
};

typedef struct hn_template hn_template;
struct hn_template {
    hn_arena arena;
    hn_nodes body;
    hn_scope scope;
    uint32_t n_slots;
    const char *source; /* continue_final_message looks for field names in it */
    size_t n_source;
};

enum {
    HN_TEMPLATE_MAX_BYTES = 1 << 20,
    HN_TEMPLATE_MAX_DEPTH = 400, /* nesting of expressions and blocks */
    HN_TEMPLATE_MAX_ARENA_BYTES = 256 << 20,
};

/* --- lexer.c ---------------------------------------------------------------------------------- */

typedef enum hn_token_kind {
    HN_TOK_EOF,
    HN_TOK_DATA,
    HN_TOK_BLOCK_BEGIN,
    HN_TOK_BLOCK_END,
    HN_TOK_VARIABLE_BEGIN,
    HN_TOK_VARIABLE_END,
    HN_TOK_NAME,
    HN_TOK_STRING,
    HN_TOK_INTEGER,
    HN_TOK_FLOAT,
    HN_TOK_OPERATOR,
} hn_token_kind;

/* Operators are told by up to two characters: '+' or '=' | '=' << 8. */
#define HN_OP2(a, b) ((a) | (b) << 8)

typedef struct hn_token {
    hn_token_kind kind;
    int op;
    uint32_t line;
    hn_tstr *text; /* DATA, NAME (interned), STRING */
    int64_t i;
    double f;
} hn_token;

typedef struct hn_tokens {
    hn_token *items; /* hn_malloc; ends with EOF */
    size_t n, cap;
} hn_tokens;

/* Text and names are allocated in `arena`; equal names share one hn_tstr. */
HN_MUST_CHECK hn_status hn_template_lex(hn_arena *arena, const char *source, size_t n_bytes,
                                        hn_tokens *out, hn_error *err);
HN_MUST_CHECK hn_status hn_template_parse(hn_arena *arena, const hn_tokens *tokens, hn_nodes *body,
                                          hn_error *err);
/* Resolves names to slots and filters and tests to functions. */
HN_MUST_CHECK hn_status hn_template_resolve(hn_template *tmpl, hn_error *err);
hn_status hn_template_fail(hn_error *err, uint32_t line, const char *fmt, ...) HN_PRINTF(3, 4);

/* --- unicode.c -------------------------------------------------------------------------------- */

bool hn_uni_is_space(uint32_t c);    /* str.isspace */
bool hn_uni_is_line_end(uint32_t c); /* str.splitlines */
bool hn_uni_is_printable(uint32_t c);
bool hn_uni_is_alpha(uint32_t c);
bool hn_uni_is_decimal(uint32_t c);
bool hn_uni_is_digit(uint32_t c);
bool hn_uni_is_numeric(uint32_t c);
bool hn_uni_is_upper(uint32_t c);
bool hn_uni_is_lower(uint32_t c);
bool hn_uni_is_title(uint32_t c);
bool hn_uni_is_name_start(uint32_t c);
bool hn_uni_is_name_part(uint32_t c);
int hn_uni_decimal_value(uint32_t c); /* -1 when it is no decimal digit */
/* Full case mappings, up to three code points; return how many. */
int hn_uni_upper(uint32_t c, uint32_t out[3]);
int hn_uni_lower(uint32_t c, uint32_t out[3]);
int hn_uni_title(uint32_t c, uint32_t out[3]);
/* The code point that ends before `end`, and where it starts. */
uint32_t hn_uni_before(const char *text, size_t end, size_t *start);
/* Decodes valid UTF-8, advancing *pos. */
uint32_t hn_uni_next(const char *text, size_t n_bytes, size_t *pos);
