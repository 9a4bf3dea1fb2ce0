/* What the statement and the expression parser share. */
#pragma once

#include "template/ast.h"

typedef struct hn_parser {
    hn_arena *arena;
    const hn_token *tok; /* the current one; the array ends with EOF */
    unsigned depth;
    hn_error *err;
} hn_parser;

/* A list of nodes while it is being read; hn_free(items) when done. */
typedef struct hn_node_list {
    hn_node **items;
    uint32_t n, cap;
} hn_node_list;

hn_status hn_parse_fail(hn_parser *p, const char *fmt, ...) HN_PRINTF(2, 3);
HN_MUST_CHECK hn_status hn_parse_node(hn_parser *p, hn_node_kind kind, uint32_t line,
                                      hn_node **out);
/* Settles the depth of a finished node; fails when the tree is too high. */
HN_MUST_CHECK hn_status hn_parse_finish(hn_parser *p, hn_node *node);
HN_MUST_CHECK hn_status hn_parse_push(hn_parser *p, hn_node_list *list, hn_node *node);
HN_MUST_CHECK hn_status hn_parse_keep(hn_parser *p, const hn_node_list *list, hn_nodes *out);
HN_MUST_CHECK hn_status hn_parse_down(hn_parser *p);

bool hn_parse_at_op(const hn_parser *p, int op);
bool hn_parse_at_name(const hn_parser *p, const char *name);
bool hn_parse_skip_op(hn_parser *p, int op);
bool hn_parse_skip_name(hn_parser *p, const char *name);
HN_MUST_CHECK hn_status hn_parse_expect_op(hn_parser *p, int op);
HN_MUST_CHECK hn_status hn_parse_expect(hn_parser *p, hn_token_kind kind);
/* Any name; NULL `*out` never comes back with HN_OK. */
HN_MUST_CHECK hn_status hn_parse_expect_name(hn_parser *p, const hn_tstr **out);

typedef struct hn_tuple_rules {
    bool simplified;     /* names and literals only: an assignment's target */
    bool namespaces;     /* ns.attr may be a target */
    bool no_conditional; /* `a if b else c` isn't read */
    bool parentheses;    /* () is a tuple */
} hn_tuple_rules;

/* A finished node with two operands. */
HN_MUST_CHECK hn_status hn_parse_make(hn_parser *p, hn_node_kind kind, int op, uint32_t line,
                                      hn_node *a, hn_node *b, hn_node **out);
HN_MUST_CHECK hn_status hn_parse_expression(hn_parser *p, hn_node **out);
HN_MUST_CHECK hn_status hn_parse_tuple(hn_parser *p, hn_tuple_rules rules, hn_node **out);
HN_MUST_CHECK hn_status hn_parse_primary(hn_parser *p, bool namespaces, hn_node **out);
/* Filters with a bar before each, or the first without one when `inside`. *out may stay NULL. */
HN_MUST_CHECK hn_status hn_parse_filters(hn_parser *p, hn_node *node, bool inside, hn_node **out);
/* .name [item] (arguments) behind *node, which becomes the whole. */
HN_MUST_CHECK hn_status hn_parse_postfix(hn_parser *p, hn_node **node);
/* Filters, tests and calls behind *node. */
HN_MUST_CHECK hn_status hn_parse_filter_expr(hn_parser *p, hn_node **node);
