/* What statements and expressions are read with: errors, nodes, lists, tokens. */
#include "template/parser.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

hn_status hn_template_fail(hn_error *err, uint32_t line, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return hn_fail(err, HN_BAD_INPUT, "template line %u: %s", line, text);
}

hn_status hn_parse_fail(hn_parser *p, const char *fmt, ...) {
    char text[400], near[80] = "the end of the template";
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (p->tok->text)
        snprintf(near, sizeof near, "'%.*s'",
                 p->tok->text->n_bytes < 40 ? (int)p->tok->text->n_bytes : 40, p->tok->text->data);
    else if (p->tok->kind == HN_TOK_OPERATOR)
        snprintf(near, sizeof near, "'%c%.1s'", p->tok->op & 0xff,
                 (const char[]){(char)(p->tok->op >> 8), 0});
    else if (p->tok->kind != HN_TOK_EOF)
        snprintf(near, sizeof near, "%s",
                 p->tok->kind == HN_TOK_INTEGER || p->tok->kind == HN_TOK_FLOAT ? "a number"
                                                                                : "a tag's end");
    return hn_template_fail(p->err, p->tok->line, "%s (at %s)", text, near);
}

hn_status hn_parse_down(hn_parser *p) {
    if (p->depth >= HN_TEMPLATE_MAX_DEPTH)
        return hn_parse_fail(p, "nested more than %d deep", HN_TEMPLATE_MAX_DEPTH);
    p->depth++;
    return HN_OK;
}

hn_status hn_parse_node(hn_parser *p, hn_node_kind kind, uint32_t line, hn_node **out) {
    hn_node *node = HN_ARENA_NEW(p->arena, hn_node, 1);
    if (!node)
        return hn_fail(p->err, HN_NO_MEMORY, "out of memory: reading a template");
    node->kind = (uint8_t)kind;
    node->line = line;
    *out = node;
    return HN_OK;
}

static unsigned depth_of(const hn_node *node, unsigned depth) {
    return node && node->depth > depth ? node->depth : depth;
}

static unsigned depth_of_all(hn_nodes nodes, unsigned depth) {
    for (uint32_t i = 0; i < nodes.n; i++)
        depth = depth_of(nodes.items[i], depth);
    return depth;
}

hn_status hn_parse_finish(hn_parser *p, hn_node *node) {
    unsigned depth = depth_of(node->a, depth_of(node->b, depth_of(node->c, 0)));
    depth = depth_of_all(node->x, depth_of_all(node->y, depth_of_all(node->z, depth)));
    if (depth >= HN_TEMPLATE_MAX_DEPTH)
        return hn_parse_fail(p, "nested more than %d deep", HN_TEMPLATE_MAX_DEPTH);
    node->depth = (uint16_t)(depth + 1);
    return HN_OK;
}

hn_status hn_parse_push(hn_parser *p, hn_node_list *list, hn_node *node) {
    if (list->n == list->cap) {
        uint32_t cap = list->cap ? list->cap * 2 : 8;
        hn_node **grown = hn_reallocarray(list->items, cap, sizeof *grown);
        if (!grown)
            return hn_fail(p->err, HN_NO_MEMORY, "out of memory: reading a template");
        list->items = grown;
        list->cap = cap;
    }
    list->items[list->n++] = node;
    return HN_OK;
}

hn_status hn_parse_keep(hn_parser *p, const hn_node_list *list, hn_nodes *out) {
    if (!list->n)
        return HN_OK;
    out->items = HN_ARENA_NEW(p->arena, hn_node *, list->n);
    if (!out->items)
        return hn_fail(p->err, HN_NO_MEMORY, "out of memory: reading a template");
    memcpy(out->items, list->items, list->n * sizeof *list->items);
    out->n = list->n;
    return HN_OK;
}

bool hn_parse_at_op(const hn_parser *p, int op) {
    return p->tok->kind == HN_TOK_OPERATOR && p->tok->op == op;
}

bool hn_parse_at_name(const hn_parser *p, const char *name) {
    return p->tok->kind == HN_TOK_NAME && hn_tv_is_text(hn_tv_str(p->tok->text), name);
}

bool hn_parse_skip_op(hn_parser *p, int op) {
    bool found = hn_parse_at_op(p, op);
    p->tok += found;
    return found;
}

bool hn_parse_skip_name(hn_parser *p, const char *name) {
    bool found = hn_parse_at_name(p, name);
    p->tok += found;
    return found;
}

hn_status hn_parse_expect_op(hn_parser *p, int op) {
    if (hn_parse_skip_op(p, op))
        return HN_OK;
    return hn_parse_fail(p, "expected '%c'", op & 0xff);
}

hn_status hn_parse_expect(hn_parser *p, hn_token_kind kind) {
    if (p->tok->kind != kind)
        return hn_parse_fail(p, "expected %s", kind == HN_TOK_BLOCK_END ? "'%}'" : "'}}'");
    p->tok++;
    return HN_OK;
}

hn_status hn_parse_expect_name(hn_parser *p, const hn_tstr **out) {
    if (p->tok->kind != HN_TOK_NAME)
        return hn_parse_fail(p, "expected a name");
    *out = p->tok++->text;
    return HN_OK;
}
