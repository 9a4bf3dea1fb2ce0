/* Statements and the bodies between them. */
#include "template/parser.h"

#include "base/mem.h"

static hn_status parse_body(hn_parser *p, const char *const *ends, hn_nodes *out);

/* --- statements ------------------------------------------------------------------------------- */

static hn_status make_more(hn_parser *p, hn_node *node) {
    node->more = HN_ARENA_NEW(p->arena, hn_node_more, 1);
    return node->more ? HN_OK : hn_fail(p->err, HN_NO_MEMORY, "out of memory: reading a template");
}

static hn_status set_use(hn_parser *p, hn_node *target, hn_name_use use) {
    if (target->kind == HN_NODE_TUPLE) {
        for (uint32_t i = 0; i < target->x.n; i++)
            HN_TRY(set_use(p, target->x.items[i], use));
        return HN_OK;
    }
    if (target->kind == HN_NODE_NSREF)
        return HN_OK;
    if (target->kind != HN_NODE_NAME)
        return hn_template_fail(p->err, target->line, "can't assign to this expression");
    target->op = use;
    return HN_OK;
}

static hn_status parse_target(hn_parser *p, bool namespaces, hn_name_use use, hn_node **out) {
    HN_TRY(hn_parse_tuple(p, (hn_tuple_rules){.simplified = true, .namespaces = namespaces}, out));
    return set_use(p, *out, use);
}

static hn_status parse_name_target(hn_parser *p, hn_name_use use, hn_node **out) {
    if (p->tok->kind != HN_TOK_NAME)
        return hn_parse_fail(p, "expected a name");
    HN_TRY(hn_parse_primary(p, false, out));
    return set_use(p, *out, use);
}

/* The body of a block up to one of `ends`; the end's name is left to read. */
static hn_status parse_statements(hn_parser *p, const char *const *ends, hn_nodes *out) {
    hn_parse_skip_op(p, ':');
    HN_TRY(hn_parse_expect(p, HN_TOK_BLOCK_END));
    HN_TRY(parse_body(p, ends, out));
    if (p->tok->kind == HN_TOK_EOF)
        return hn_parse_fail(p, "unexpected end of template, looking for '%s'", ends[0]);
    return HN_OK;
}

static hn_status parse_to(hn_parser *p, const char *end, hn_nodes *out) {
    const char *const ends[] = {end, NULL};
    HN_TRY(parse_statements(p, ends, out));
    p->tok++;
    return HN_OK;
}

static hn_status parse_set(hn_parser *p, hn_node *node) {
    HN_TRY(parse_target(p, true, HN_NAME_STORE, &node->a));
    if (hn_parse_skip_op(p, '=')) {
        node->kind = HN_NODE_SET;
        return hn_parse_tuple(p, (hn_tuple_rules){0}, &node->b);
    }
    node->kind = HN_NODE_SET_BLOCK;
    HN_TRY(hn_parse_filters(p, NULL, false, &node->b));
    return parse_to(p, "endset", &node->x);
}

static hn_status parse_for(hn_parser *p, hn_node *node) {
    static const char *const ENDS[] = {"endfor", "else", NULL};
    node->kind = HN_NODE_FOR;
    HN_TRY(parse_target(p, false, HN_NAME_STORE, &node->a));
    if (!hn_parse_skip_name(p, "in"))
        return hn_parse_fail(p, "expected 'in'");
    HN_TRY(hn_parse_tuple(p, (hn_tuple_rules){.no_conditional = true}, &node->b));
    if (hn_parse_skip_name(p, "if"))
        HN_TRY(hn_parse_expression(p, &node->c));
    node->recursive = hn_parse_skip_name(p, "recursive");
    HN_TRY(parse_statements(p, ENDS, &node->x));
    if (hn_parse_skip_name(p, "endfor"))
        return HN_OK;
    p->tok++;
    return parse_to(p, "endfor", &node->y);
}

static hn_status parse_if_branch(hn_parser *p, hn_node *node) {
    static const char *const ENDS[] = {"endif", "elif", "else", NULL};
    HN_TRY(hn_parse_tuple(p, (hn_tuple_rules){.no_conditional = true}, &node->a));
    return parse_statements(p, ENDS, &node->x);
}

static hn_status parse_if(hn_parser *p, hn_node *node) {
    hn_node_list elifs = {0};
    hn_status status = HN_OK;
    node->kind = HN_NODE_IF;
    HN_GO(parse_if_branch(p, node));
    while (hn_parse_skip_name(p, "elif")) {
        hn_node *branch;
        HN_GO(hn_parse_node(p, HN_NODE_IF, p->tok->line, &branch));
        HN_GO(parse_if_branch(p, branch));
        HN_GO(hn_parse_finish(p, branch));
        HN_GO(hn_parse_push(p, &elifs, branch));
    }
    HN_GO(hn_parse_keep(p, &elifs, &node->y));
    if (hn_parse_skip_name(p, "else"))
        HN_GO(parse_to(p, "endif", &node->z));
    else
        p->tok++;
done:
    hn_free(elifs.items);
    return status;
}

static hn_status parse_with(hn_parser *p, hn_node *node) {
    hn_node_list targets = {0}, values = {0};
    hn_status status = HN_OK;
    node->kind = HN_NODE_WITH;
    while (p->tok->kind != HN_TOK_BLOCK_END) {
        hn_node *target, *value;
        if (targets.n)
            HN_GO(hn_parse_expect_op(p, ','));
        HN_GO(parse_target(p, false, HN_NAME_PARAM, &target));
        HN_GO(hn_parse_expect_op(p, '='));
        HN_GO(hn_parse_expression(p, &value));
        HN_GO(hn_parse_push(p, &targets, target));
        HN_GO(hn_parse_push(p, &values, value));
    }
    HN_GO(hn_parse_keep(p, &targets, &node->x));
    HN_GO(hn_parse_keep(p, &values, &node->y));
    HN_GO(parse_to(p, "endwith", &node->z));
done:
    hn_free(targets.items);
    hn_free(values.items);
    return status;
}

static hn_status parse_signature(hn_parser *p, hn_node *node) {
    hn_node_list names = {0}, defaults = {0};
    hn_status status = HN_OK;
    HN_GO(hn_parse_expect_op(p, '('));
    while (!hn_parse_at_op(p, ')')) {
        hn_node *name, *value;
        if (names.n)
            HN_GO(hn_parse_expect_op(p, ','));
        HN_GO(parse_name_target(p, HN_NAME_PARAM, &name));
        for (uint32_t i = 0; i < names.n; i++)
            if (names.items[i]->name == name->name)
                HN_GO(hn_parse_fail(p, "a parameter is repeated"));
        if (hn_parse_skip_op(p, '=')) {
            HN_GO(hn_parse_expression(p, &value));
            HN_GO(hn_parse_push(p, &defaults, value));
        } else if (defaults.n) {
            HN_GO(hn_parse_fail(p, "non-default argument follows default argument"));
        }
        HN_GO(hn_parse_push(p, &names, name));
    }
    p->tok++;
    HN_GO(hn_parse_keep(p, &names, &node->x));
    HN_GO(hn_parse_keep(p, &defaults, &node->y));
done:
    hn_free(names.items);
    hn_free(defaults.items);
    return status;
}

static hn_status parse_macro(hn_parser *p, hn_node *node) {
    node->kind = HN_NODE_MACRO;
    hn_node *name;
    HN_TRY(parse_name_target(p, HN_NAME_STORE, &name));
    node->name = name->name;
    HN_TRY(parse_signature(p, node));
    return parse_to(p, "endmacro", &node->z);
}

static hn_status parse_call_block(hn_parser *p, hn_node *node) {
    node->kind = HN_NODE_CALL_BLOCK;
    if (hn_parse_at_op(p, '('))
        HN_TRY(parse_signature(p, node));
    HN_TRY(hn_parse_expression(p, &node->a));
    if (node->a->kind != HN_NODE_CALL)
        return hn_parse_fail(p, "expected call");
    return parse_to(p, "endcall", &node->z);
}

static hn_status parse_print(hn_parser *p, hn_node *node) {
    hn_node_list x = {0};
    hn_status status = HN_OK;
    node->kind = HN_NODE_OUTPUT;
    while (p->tok->kind != HN_TOK_BLOCK_END) {
        hn_node *item;
        if (x.n)
            HN_GO(hn_parse_expect_op(p, ','));
        HN_GO(hn_parse_expression(p, &item));
        HN_GO(hn_parse_push(p, &x, item));
    }
    HN_GO(hn_parse_keep(p, &x, &node->x));
done:
    hn_free(x.items);
    return status;
}

static hn_status parse_filter_block(hn_parser *p, hn_node *node) {
    node->kind = HN_NODE_FILTER_BLOCK;
    HN_TRY(hn_parse_filters(p, NULL, true, &node->a));
    return parse_to(p, "endfilter", &node->x);
}

static hn_status parse_generation(hn_parser *p, hn_node *node) {
    node->kind = HN_NODE_GENERATION;
    return parse_to(p, "endgeneration", &node->z);
}

static hn_status parse_break(hn_parser *p, hn_node *node) {
    (void)p;
    node->kind = HN_NODE_BREAK;
    return HN_OK;
}

static hn_status parse_continue(hn_parser *p, hn_node *node) {
    (void)p;
    node->kind = HN_NODE_CONTINUE;
    return HN_OK;
}

/* Other templates can't be reached: jinja2 has no loader here either, and fails when it gets to
 * the statement. */
static hn_status parse_refused(hn_parser *p, hn_node *node) {
    node->kind = HN_NODE_REFUSED;
    while (p->tok->kind != HN_TOK_BLOCK_END && p->tok->kind != HN_TOK_EOF)
        p->tok++;
    return HN_OK;
}

static hn_status parse_unsupported(hn_parser *p, hn_node *node) {
    (void)node;
    return hn_parse_fail(p, "block and autoescape aren't supported in chat templates");
}

typedef struct statement {
    const char *name;
    hn_status (*parse)(hn_parser *p, hn_node *node);
    bool opens; /* has scopes or a function of its own */
} statement;

static const statement STATEMENTS[] = {
    {"set", parse_set, true},
    {"if", parse_if, false},
    {"for", parse_for, true},
    {"macro", parse_macro, true},
    {"generation", parse_generation, true},
    {"break", parse_break, false},
    {"continue", parse_continue, false},
    {"call", parse_call_block, true},
    {"filter", parse_filter_block, true},
    {"with", parse_with, true},
    {"print", parse_print, false},
    {"include", parse_refused, false},
    {"import", parse_refused, false},
    {"from", parse_refused, false},
    {"extends", parse_refused, false},
    {"block", parse_unsupported, false},
    {"autoescape", parse_unsupported, false},
};

static hn_status parse_statement(hn_parser *p, hn_node **out) {
    if (p->tok->kind != HN_TOK_NAME)
        return hn_parse_fail(p, "tag name expected");
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof *STATEMENTS; i++) {
        const statement *s = &STATEMENTS[i];
        if (!hn_parse_skip_name(p, s->name))
            continue;
        hn_node *node;
        HN_TRY(hn_parse_down(p));
        HN_TRY(hn_parse_node(p, HN_NODE_OUTPUT, p->tok[-1].line, &node));
        if (s->opens)
            HN_TRY(make_more(p, node));
        HN_TRY(s->parse(p, node));
        HN_TRY(hn_parse_finish(p, node));
        p->depth--;
        *out = node;
        return HN_OK;
    }
    return hn_parse_fail(p, "unknown tag");
}

/* --- bodies ----------------------------------------------------------------------------------- */

typedef struct body_lists {
    hn_node_list body, output;
} body_lists;

static hn_status flush_output(hn_parser *p, body_lists *lists) {
    if (!lists->output.n)
        return HN_OK;
    hn_node *node;
    HN_TRY(hn_parse_node(p, HN_NODE_OUTPUT, lists->output.items[0]->line, &node));
    HN_TRY(hn_parse_keep(p, &lists->output, &node->x));
    lists->output.n = 0;
    HN_TRY(hn_parse_finish(p, node));
    return hn_parse_push(p, &lists->body, node);
}

static bool at_any(const hn_parser *p, const char *const *names) {
    for (; names && *names; names++)
        if (hn_parse_at_name(p, *names))
            return true;
    return false;
}

/* One piece of a body; *ended when it was one of `ends`. */
static hn_status parse_piece(hn_parser *p, const char *const *ends, body_lists *lists,
                             bool *ended) {
    hn_node *node;
    const hn_token *t = p->tok++;
    if (t->kind == HN_TOK_DATA) {
        HN_TRY(hn_parse_node(p, HN_NODE_DATA, t->line, &node));
        node->value = hn_tv_str(t->text);
        return hn_parse_push(p, &lists->output, node);
    }
    if (t->kind == HN_TOK_VARIABLE_BEGIN) {
        HN_TRY(hn_parse_tuple(p, (hn_tuple_rules){0}, &node));
        HN_TRY(hn_parse_push(p, &lists->output, node));
        return hn_parse_expect(p, HN_TOK_VARIABLE_END);
    }
    if (t->kind != HN_TOK_BLOCK_BEGIN) {
        p->tok--;
        return hn_parse_fail(p, "unexpected token");
    }
    HN_TRY(flush_output(p, lists));
    if (at_any(p, ends)) {
        *ended = true;
        return HN_OK;
    }
    HN_TRY(parse_statement(p, &node));
    HN_TRY(hn_parse_push(p, &lists->body, node));
    return hn_parse_expect(p, HN_TOK_BLOCK_END);
}

static hn_status parse_body(hn_parser *p, const char *const *ends, hn_nodes *out) {
    body_lists lists = {0};
    hn_status status = HN_OK;
    bool ended = false;
    while (!ended && p->tok->kind != HN_TOK_EOF)
        HN_GO(parse_piece(p, ends, &lists, &ended));
    if (!ended)
        HN_GO(flush_output(p, &lists));
    HN_GO(hn_parse_keep(p, &lists.body, out));
done:
    hn_free(lists.body.items);
    hn_free(lists.output.items);
    return status;
}

hn_status hn_template_parse(hn_arena *arena, const hn_tokens *tokens, hn_nodes *body,
                            hn_error *err) {
    hn_parser p = {.arena = arena, .tok = tokens->items, .err = err};
    return parse_body(&p, NULL, body);
}
