/* Expressions, with jinja2's precedence (which isn't quite Python's: `~` binds tighter than `+`,
 * unary minus looser than filters). */
#include "base/mem.h"
#include "template/parser.h"

static hn_status parse_conditional(hn_parser *p, bool conditional, hn_node **out);
static hn_status parse_unary(hn_parser *p, bool filters, hn_node **out);

hn_status hn_parse_make(hn_parser *p, hn_node_kind kind, int op, uint32_t line, hn_node *a,
                        hn_node *b, hn_node **out) {
    hn_node *node;
    HN_TRY(hn_parse_node(p, kind, line, &node));
    node->op = (uint8_t)op;
    node->a = a;
    node->b = b;
    HN_TRY(hn_parse_finish(p, node));
    *out = node;
    return HN_OK;
}

hn_status hn_parse_expression(hn_parser *p, hn_node **out) {
    return parse_conditional(p, true, out);
}

/* Items up to the closing bracket; for a dictionary keys and values. */
static hn_status parse_items(hn_parser *p, int close, hn_node_list *x, hn_node_list *y) {
    for (bool first = true; !hn_parse_at_op(p, close); first = false) {
        if (!first)
            HN_TRY(hn_parse_expect_op(p, ','));
        if (hn_parse_at_op(p, close))
            break;
        hn_node *item;
        HN_TRY(hn_parse_expression(p, &item));
        HN_TRY(hn_parse_push(p, x, item));
        if (!y)
            continue;
        HN_TRY(hn_parse_expect_op(p, ':'));
        HN_TRY(hn_parse_expression(p, &item));
        HN_TRY(hn_parse_push(p, y, item));
    }
    return hn_parse_expect_op(p, close);
}

static hn_status parse_display(hn_parser *p, bool dict, hn_node **out) {
    hn_node_list x = {0}, y = {0};
    hn_node *node;
    hn_status status = HN_OK;
    HN_GO(hn_parse_node(p, dict ? HN_NODE_DICT : HN_NODE_LIST, p->tok->line, &node));
    p->tok++;
    HN_GO(parse_items(p, dict ? '}' : ']', &x, dict ? &y : NULL));
    HN_GO(hn_parse_keep(p, &x, &node->x));
    HN_GO(hn_parse_keep(p, &y, &node->y));
    HN_GO(hn_parse_finish(p, node));
    *out = node;
done:
    hn_free(x.items);
    hn_free(y.items);
    return status;
}

/* Neighbouring string literals are one. */
static hn_status parse_strings(hn_parser *p, hn_node **out) {
    size_t n = 0, chars = 0;
    const hn_token *end = p->tok;
    for (; end->kind == HN_TOK_STRING; end++) {
        n += end->text->n_bytes;
        chars += end->text->n_chars;
    }
    hn_tstr *s = p->tok->text;
    uint32_t line = p->tok->line;
    if (end > p->tok + 1) {
        s = HN_ARENA_NEW(p->arena, hn_tstr, 1);
        char *data = hn_arena_alloc(p->arena, n + 1, 1);
        if (!s || !data)
            return hn_parse_fail(p, "out of memory");
        *s = (hn_tstr){.data = data, .n_bytes = (uint32_t)n, .n_chars = (uint32_t)chars};
        for (const hn_token *t = p->tok; t < end; t++) {
            memcpy(data, t->text->data, t->text->n_bytes);
            data += t->text->n_bytes;
        }
    }
    p->tok = end;
    HN_TRY(hn_parse_node(p, HN_NODE_CONST, line, out));
    (*out)->value = hn_tv_str(s);
    return HN_OK;
}

static hn_status parse_name(hn_parser *p, bool namespaces, hn_node **out) {
    const hn_token *t = p->tok++;
    hn_tv name = hn_tv_str(t->text);
    bool yes = hn_tv_is_text(name, "true") || hn_tv_is_text(name, "True");
    bool no = hn_tv_is_text(name, "false") || hn_tv_is_text(name, "False");
    bool none = hn_tv_is_text(name, "none") || hn_tv_is_text(name, "None");
    if (yes || no || none) {
        HN_TRY(hn_parse_node(p, HN_NODE_CONST, t->line, out));
        (*out)->value = none ? hn_tv_none() : hn_tv_bool(yes);
        return HN_OK;
    }
    if (namespaces && hn_parse_skip_op(p, '.')) {
        const hn_tstr *attr;
        HN_TRY(hn_parse_expect_name(p, &attr));
        HN_TRY(hn_parse_node(p, HN_NODE_NSREF, t->line, out));
        (*out)->attr = attr;
    } else {
        HN_TRY(hn_parse_node(p, HN_NODE_NAME, t->line, out));
        (*out)->op = HN_NAME_LOAD;
    }
    (*out)->name = t->text;
    return HN_OK;
}

static hn_status parse_primary(hn_parser *p, bool namespaces, hn_node **out) {
    const hn_token *t = p->tok;
    switch (t->kind) {
    case HN_TOK_NAME:
        return parse_name(p, namespaces, out);
    case HN_TOK_STRING:
        return parse_strings(p, out);
    case HN_TOK_INTEGER:
    case HN_TOK_FLOAT:
        p->tok++;
        HN_TRY(hn_parse_node(p, HN_NODE_CONST, t->line, out));
        (*out)->value = t->kind == HN_TOK_FLOAT ? hn_tv_float(t->f) : hn_tv_int(t->i);
        return HN_OK;
    default:
        break;
    }
    if (hn_parse_skip_op(p, '(')) {
        HN_TRY(hn_parse_tuple(p, (hn_tuple_rules){.parentheses = true}, out));
        return hn_parse_expect_op(p, ')');
    }
    if (hn_parse_at_op(p, '[') || hn_parse_at_op(p, '{'))
        return parse_display(p, hn_parse_at_op(p, '{'), out);
    return hn_parse_fail(p, "unexpected token where a value is expected");
}

hn_status hn_parse_primary(hn_parser *p, bool namespaces, hn_node **out) {
    HN_TRY(hn_parse_down(p));
    hn_status status = parse_primary(p, namespaces, out);
    p->depth--;
    return status;
}

static bool at_tuple_end(const hn_parser *p) {
    return p->tok->kind == HN_TOK_VARIABLE_END || p->tok->kind == HN_TOK_BLOCK_END ||
           hn_parse_at_op(p, ')');
}

hn_status hn_parse_tuple(hn_parser *p, hn_tuple_rules rules, hn_node **out) {
    hn_node_list x = {0};
    hn_status status = HN_OK;
    uint32_t line = p->tok->line;
    bool is_tuple = false;
    for (;;) {
        if (x.n)
            HN_GO(hn_parse_expect_op(p, ','));
        if (at_tuple_end(p))
            break;
        hn_node *item;
        HN_GO(rules.simplified ? hn_parse_primary(p, rules.namespaces, &item)
                               : parse_conditional(p, !rules.no_conditional, &item));
        HN_GO(hn_parse_push(p, &x, item));
        if (!hn_parse_at_op(p, ','))
            break;
        is_tuple = true;
    }
    if (!is_tuple && x.n) {
        *out = x.items[0];
        goto done;
    }
    if (!is_tuple && !rules.parentheses)
        HN_GO(hn_parse_fail(p, "expected an expression"));
    hn_node *node;
    HN_GO(hn_parse_node(p, HN_NODE_TUPLE, line, &node));
    HN_GO(hn_parse_keep(p, &x, &node->x));
    HN_GO(hn_parse_finish(p, node));
    *out = node;
done:
    hn_free(x.items);
    return status;
}

/* --- operators -------------------------------------------------------------------------------- */

static hn_status parse_unary_inner(hn_parser *p, bool filters, hn_node **out) {
    uint32_t line = p->tok->line;
    bool minus = hn_parse_at_op(p, '-');
    if (minus || hn_parse_at_op(p, '+')) {
        p->tok++;
        hn_node *operand;
        HN_TRY(parse_unary(p, false, &operand));
        HN_TRY(hn_parse_make(p, HN_NODE_UNARY, minus ? '-' : '+', line, operand, NULL, out));
    } else {
        HN_TRY(hn_parse_primary(p, false, out));
    }
    HN_TRY(hn_parse_postfix(p, out));
    return filters ? hn_parse_filter_expr(p, out) : HN_OK;
}

static hn_status parse_unary(hn_parser *p, bool filters, hn_node **out) {
    HN_TRY(hn_parse_down(p));
    hn_status status = parse_unary_inner(p, filters, out);
    p->depth--;
    return status;
}

/* How tightly operators bind, the loosest first. */
typedef enum bind_level {
    LEVEL_OR,
    LEVEL_AND,
    LEVEL_NOT,
    LEVEL_COMPARE,
    LEVEL_SUM,
    LEVEL_CONCAT,
    LEVEL_PRODUCT,
    LEVEL_POWER,
    LEVEL_UNARY,
} bind_level;

/* Operators between two operands that group to the left. */
static const struct binary {
    bind_level level;
    int op;           /* of the token, or */
    const char *name; /* a word */
    hn_node_kind kind;
    char code; /* of HN_NODE_BINARY */
} BINARY[] = {
    {LEVEL_OR, 0, "or", HN_NODE_OR, 0},
    {LEVEL_AND, 0, "and", HN_NODE_AND, 0},
    {LEVEL_SUM, '+', NULL, HN_NODE_BINARY, '+'},
    {LEVEL_SUM, '-', NULL, HN_NODE_BINARY, '-'},
    {LEVEL_PRODUCT, '*', NULL, HN_NODE_BINARY, '*'},
    {LEVEL_PRODUCT, '/', NULL, HN_NODE_BINARY, '/'},
    {LEVEL_PRODUCT, '%', NULL, HN_NODE_BINARY, '%'},
    {LEVEL_PRODUCT, HN_OP2('/', '/'), NULL, HN_NODE_BINARY, 'f'},
    {LEVEL_POWER, HN_OP2('*', '*'), NULL, HN_NODE_BINARY, 'p'},
};

static hn_status parse_level(hn_parser *p, bind_level level, hn_node **out);

/* NULL when no operator of this level follows; it is skipped. */
static const struct binary *skip_binary(hn_parser *p, bind_level level) {
    for (size_t i = 0; i < sizeof BINARY / sizeof *BINARY; i++) {
        const struct binary *b = &BINARY[i];
        if (b->level == level &&
            (b->name ? hn_parse_skip_name(p, b->name) : hn_parse_skip_op(p, b->op)))
            return b;
    }
    return NULL;
}

static hn_status parse_binary(hn_parser *p, bind_level level, hn_node **out) {
    uint32_t line = p->tok->line;
    HN_TRY(parse_level(p, level + 1, out));
    for (const struct binary *b; (b = skip_binary(p, level)) != NULL;) {
        hn_node *right;
        HN_TRY(parse_level(p, level + 1, &right));
        HN_TRY(hn_parse_make(p, b->kind, b->code, line, *out, right, out));
    }
    return HN_OK;
}

static hn_status parse_concat(hn_parser *p, hn_node **out) {
    hn_node_list x = {0};
    hn_status status = HN_OK;
    uint32_t line = p->tok->line;
    hn_node *item;
    HN_TRY(parse_level(p, LEVEL_PRODUCT, &item));
    *out = item;
    if (!hn_parse_at_op(p, '~'))
        return HN_OK;
    HN_GO(hn_parse_push(p, &x, item));
    while (hn_parse_skip_op(p, '~')) {
        HN_GO(parse_level(p, LEVEL_PRODUCT, &item));
        HN_GO(hn_parse_push(p, &x, item));
    }
    hn_node *node;
    HN_GO(hn_parse_node(p, HN_NODE_CONCAT, line, &node));
    HN_GO(hn_parse_keep(p, &x, &node->x));
    HN_GO(hn_parse_finish(p, node));
    *out = node;
done:
    hn_free(x.items);
    return status;
}

/* -1 when no comparison follows; the operator is skipped. */
static int skip_comparison(hn_parser *p) {
    static const struct {
        int op;
        hn_compare_op compare;
    } OPS[] = {{HN_OP2('=', '='), HN_CMP_EQ},
               {HN_OP2('!', '='), HN_CMP_NE},
               {'<', HN_CMP_LT},
               {HN_OP2('<', '='), HN_CMP_LE},
               {'>', HN_CMP_GT},
               {HN_OP2('>', '='), HN_CMP_GE}};
    for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
        if (hn_parse_skip_op(p, OPS[i].op))
            return (int)OPS[i].compare;
    if (hn_parse_skip_name(p, "in"))
        return HN_CMP_IN;
    hn_parser next = *p;
    if (hn_parse_skip_name(&next, "not") && hn_parse_skip_name(&next, "in")) {
        p->tok = next.tok;
        return HN_CMP_NOT_IN;
    }
    return -1;
}

static hn_status parse_compare(hn_parser *p, hn_node **out) {
    hn_node_list x = {0};
    hn_status status = HN_OK;
    uint32_t line = p->tok->line;
    hn_node *first;
    HN_TRY(parse_level(p, LEVEL_SUM, &first));
    *out = first;
    for (int op; (op = skip_comparison(p)) >= 0;) {
        hn_node *right, *operand;
        HN_GO(parse_level(p, LEVEL_SUM, &right));
        HN_GO(hn_parse_make(p, HN_NODE_OPERAND, op, line, right, NULL, &operand));
        HN_GO(hn_parse_push(p, &x, operand));
    }
    if (x.n) {
        hn_node *node;
        HN_GO(hn_parse_node(p, HN_NODE_COMPARE, line, &node));
        node->a = first;
        HN_GO(hn_parse_keep(p, &x, &node->x));
        HN_GO(hn_parse_finish(p, node));
        *out = node;
    }
done:
    hn_free(x.items);
    return status;
}

static hn_status parse_not(hn_parser *p, hn_node **out) {
    unsigned nots = 0;
    uint32_t line = p->tok->line;
    while (hn_parse_skip_name(p, "not"))
        nots++;
    HN_TRY(parse_level(p, LEVEL_COMPARE, out));
    for (; nots; nots--)
        HN_TRY(hn_parse_make(p, HN_NODE_NOT, 0, line, *out, NULL, out));
    return HN_OK;
}

static hn_status parse_level(hn_parser *p, bind_level level, hn_node **out) {
    switch (level) {
    case LEVEL_NOT:
        return parse_not(p, out);
    case LEVEL_COMPARE:
        return parse_compare(p, out);
    case LEVEL_CONCAT:
        return parse_concat(p, out);
    case LEVEL_UNARY:
        return parse_unary(p, true, out);
    default:
        return parse_binary(p, level, out);
    }
}

static hn_status parse_conditional_inner(hn_parser *p, hn_node **out) {
    uint32_t line = p->tok->line;
    HN_TRY(parse_level(p, LEVEL_OR, out));
    while (hn_parse_skip_name(p, "if")) {
        hn_node *node;
        HN_TRY(hn_parse_node(p, HN_NODE_COND, line, &node));
        node->b = *out;
        HN_TRY(parse_level(p, LEVEL_OR, &node->a));
        if (hn_parse_skip_name(p, "else"))
            HN_TRY(parse_conditional(p, true, &node->c));
        HN_TRY(hn_parse_finish(p, node));
        *out = node;
    }
    return HN_OK;
}

static hn_status parse_conditional(hn_parser *p, bool conditional, hn_node **out) {
    HN_TRY(hn_parse_down(p));
    hn_status status =
        conditional ? parse_conditional_inner(p, out) : parse_level(p, LEVEL_OR, out);
    p->depth--;
    return status;
}
