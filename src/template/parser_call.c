/* What may follow a value: calls, subscripts, filters and tests. */
#include "base/mem.h"
#include "template/parser.h"

typedef struct call_lists {
    hn_node_list args, kwargs;
} call_lists;

static hn_status parse_call_arg(hn_parser *p, hn_node *node, call_lists *lists) {
    static const char INVALID[] = "invalid syntax for function call expression";
    if (hn_parse_at_op(p, '*')) {
        if (node->b || node->c)
            return hn_parse_fail(p, INVALID);
        p->tok++;
        return hn_parse_expression(p, &node->b);
    }
    if (hn_parse_at_op(p, HN_OP2('*', '*'))) {
        if (node->c)
            return hn_parse_fail(p, INVALID);
        p->tok++;
        return hn_parse_expression(p, &node->c);
    }
    if (p->tok->kind == HN_TOK_NAME && p->tok[1].kind == HN_TOK_OPERATOR && p->tok[1].op == '=') {
        if (node->c)
            return hn_parse_fail(p, INVALID);
        hn_node *keyword;
        HN_TRY(hn_parse_node(p, HN_NODE_KEYWORD, p->tok->line, &keyword));
        keyword->name = p->tok->text;
        for (uint32_t i = 0; i < lists->kwargs.n; i++)
            if (lists->kwargs.items[i]->name == keyword->name)
                return hn_parse_fail(p, "the keyword argument %.*s is repeated",
                                     (int)keyword->name->n_bytes, keyword->name->data);
        p->tok += 2;
        HN_TRY(hn_parse_expression(p, &keyword->a));
        HN_TRY(hn_parse_finish(p, keyword));
        return hn_parse_push(p, &lists->kwargs, keyword);
    }
    if (node->b || node->c || lists->kwargs.n)
        return hn_parse_fail(p, INVALID);
    hn_node *arg;
    HN_TRY(hn_parse_expression(p, &arg));
    return hn_parse_push(p, &lists->args, arg);
}

static hn_status parse_call_args(hn_parser *p, hn_node *node) {
    call_lists lists = {0};
    hn_status status = HN_OK;
    HN_GO(hn_parse_expect_op(p, '('));
    for (bool first = true; !hn_parse_at_op(p, ')'); first = false) {
        if (!first) {
            HN_GO(hn_parse_expect_op(p, ','));
            if (hn_parse_at_op(p, ')'))
                break;
        }
        HN_GO(parse_call_arg(p, node, &lists));
    }
    HN_GO(hn_parse_expect_op(p, ')'));
    HN_GO(hn_parse_keep(p, &lists.args, &node->x));
    HN_GO(hn_parse_keep(p, &lists.kwargs, &node->y));
done:
    hn_free(lists.args.items);
    hn_free(lists.kwargs.items);
    return status;
}

static hn_status parse_call(hn_parser *p, hn_node *callee, hn_node **out) {
    hn_node *node;
    HN_TRY(hn_parse_node(p, HN_NODE_CALL, p->tok->line, &node));
    node->a = callee;
    HN_TRY(parse_call_args(p, node));
    HN_TRY(hn_parse_finish(p, node));
    *out = node;
    return HN_OK;
}

static hn_status parse_slice_part(hn_parser *p, hn_node **out) {
    if (hn_parse_at_op(p, ':') || hn_parse_at_op(p, ']') || hn_parse_at_op(p, ','))
        return HN_OK;
    return hn_parse_expression(p, out);
}

static hn_status parse_subscribed(hn_parser *p, hn_node **out) {
    uint32_t line = p->tok->line;
    hn_node *start = NULL, *node;
    if (!hn_parse_at_op(p, ':')) {
        HN_TRY(hn_parse_expression(p, &start));
        if (!hn_parse_at_op(p, ':')) {
            *out = start;
            return HN_OK;
        }
    }
    HN_TRY(hn_parse_node(p, HN_NODE_SLICE, line, &node));
    node->a = start;
    p->tok++;
    HN_TRY(parse_slice_part(p, &node->b));
    if (hn_parse_skip_op(p, ':'))
        HN_TRY(parse_slice_part(p, &node->c));
    HN_TRY(hn_parse_finish(p, node));
    *out = node;
    return HN_OK;
}

static hn_status parse_brackets(hn_parser *p, hn_node **out) {
    hn_node_list x = {0};
    hn_status status = HN_OK;
    uint32_t line = p->tok->line;
    HN_GO(hn_parse_expect_op(p, '['));
    while (!hn_parse_at_op(p, ']')) {
        if (x.n)
            HN_GO(hn_parse_expect_op(p, ','));
        hn_node *item;
        HN_GO(parse_subscribed(p, &item));
        HN_GO(hn_parse_push(p, &x, item));
    }
    p->tok++;
    if (x.n == 1) {
        *out = x.items[0];
        goto done;
    }
    for (uint32_t i = 0; i < x.n; i++)
        if (x.items[i]->kind == HN_NODE_SLICE)
            HN_GO(hn_parse_fail(p, "a slice may not be part of a tuple"));
    hn_node *tuple;
    HN_GO(hn_parse_node(p, HN_NODE_TUPLE, line, &tuple));
    HN_GO(hn_parse_keep(p, &x, &tuple->x));
    HN_GO(hn_parse_finish(p, tuple));
    *out = tuple;
done:
    hn_free(x.items);
    return status;
}

static hn_status parse_subscript(hn_parser *p, hn_node *object, hn_node **out) {
    uint32_t line = p->tok->line;
    hn_node *key;
    if (hn_parse_skip_op(p, '.')) {
        const hn_token *t = p->tok++;
        if (t->kind == HN_TOK_NAME) {
            HN_TRY(hn_parse_make(p, HN_NODE_GETATTR, 0, line, object, NULL, out));
            (*out)->name = t->text;
            return HN_OK;
        }
        if (t->kind != HN_TOK_INTEGER) {
            p->tok--;
            return hn_parse_fail(p, "expected name or number");
        }
        HN_TRY(hn_parse_node(p, HN_NODE_CONST, t->line, &key));
        key->value = hn_tv_int(t->i);
    } else {
        HN_TRY(parse_brackets(p, &key));
    }
    return hn_parse_make(p, HN_NODE_GETITEM, 0, line, object, key, out);
}

hn_status hn_parse_postfix(hn_parser *p, hn_node **node) {
    for (;;) {
        if (hn_parse_at_op(p, '.') || hn_parse_at_op(p, '['))
            HN_TRY(parse_subscript(p, *node, node));
        else if (hn_parse_at_op(p, '('))
            HN_TRY(parse_call(p, *node, node));
        else
            return HN_OK;
    }
}

/* A filter's or test's name. It may have dots in it, and then there is none of that name. */
static hn_status parse_dotted_name(hn_parser *p, const hn_tstr **out) {
    static const hn_tstr DOTTED = {.data = "a.dotted.name", .n_bytes = 13, .n_chars = 13};
    HN_TRY(hn_parse_expect_name(p, out));
    while (hn_parse_skip_op(p, '.')) {
        HN_TRY(hn_parse_expect_name(p, out));
        *out = &DOTTED;
    }
    return HN_OK;
}

hn_status hn_parse_filters(hn_parser *p, hn_node *node, bool inside, hn_node **out) {
    *out = node;
    while (inside || hn_parse_skip_op(p, '|')) {
        inside = false;
        hn_node *filter;
        HN_TRY(hn_parse_node(p, HN_NODE_FILTER, p->tok->line, &filter));
        HN_TRY(parse_dotted_name(p, &filter->name));
        filter->a = *out;
        if (hn_parse_at_op(p, '('))
            HN_TRY(parse_call_args(p, filter));
        HN_TRY(hn_parse_finish(p, filter));
        *out = filter;
    }
    return HN_OK;
}

static bool at_test_argument(const hn_parser *p) {
    switch (p->tok->kind) {
    case HN_TOK_NAME:
        return !hn_parse_at_name(p, "else") && !hn_parse_at_name(p, "or") &&
               !hn_parse_at_name(p, "and");
    case HN_TOK_STRING:
    case HN_TOK_INTEGER:
    case HN_TOK_FLOAT:
        return true;
    default:
        return hn_parse_at_op(p, '[') || hn_parse_at_op(p, '{');
    }
}

static hn_status parse_test(hn_parser *p, hn_node *subject, hn_node **out) {
    uint32_t line = p->tok->line;
    p->tok++; /* is */
    bool negated = hn_parse_skip_name(p, "not");
    hn_node *test;
    HN_TRY(hn_parse_node(p, HN_NODE_TEST, line, &test));
    test->a = subject;
    HN_TRY(parse_dotted_name(p, &test->name));
    if (hn_parse_at_op(p, '(')) {
        HN_TRY(parse_call_args(p, test));
    } else if (at_test_argument(p)) {
        if (hn_parse_at_name(p, "is"))
            return hn_parse_fail(p, "You cannot chain multiple tests with is");
        hn_node *arg;
        HN_TRY(hn_parse_primary(p, false, &arg));
        HN_TRY(hn_parse_postfix(p, &arg));
        hn_node_list list = {.items = &arg, .n = 1};
        HN_TRY(hn_parse_keep(p, &list, &test->x));
    }
    HN_TRY(hn_parse_finish(p, test));
    if (negated)
        return hn_parse_make(p, HN_NODE_NOT, 0, line, test, NULL, out);
    *out = test;
    return HN_OK;
}

hn_status hn_parse_filter_expr(hn_parser *p, hn_node **node) {
    for (;;) {
        if (hn_parse_at_op(p, '|'))
            HN_TRY(hn_parse_filters(p, *node, false, node));
        else if (hn_parse_at_name(p, "is"))
            HN_TRY(parse_test(p, *node, node));
        else if (hn_parse_at_op(p, '('))
            HN_TRY(parse_call(p, *node, node));
        else
            return HN_OK;
    }
}
