/* What the lexer and the reading of its literals share. */
#pragma once

#include "template/ast.h"

enum { HN_LEX_MAX_BALANCE = 400, HN_LEX_NAME_BUCKETS = 256 };

/* A name that occurs; each is held once. */
typedef struct hn_lex_name {
    struct hn_lex_name *next;
    hn_tstr str;
} hn_lex_name;

typedef struct hn_lexer {
    hn_arena *arena;
    const char *src;
    size_t n, pos;
    uint32_t line;
    hn_tokens *out;
    char balance[HN_LEX_MAX_BALANCE]; /* the brackets that are to close */
    int n_balance;
    hn_lex_name *names[HN_LEX_NAME_BUCKETS];
    hn_error *err;
} hn_lexer;

hn_status hn_lex_no_memory(hn_lexer *lx);
HN_MUST_CHECK hn_status hn_lex_push(hn_lexer *lx, hn_token token);
/* A token with a text, which must stay. */
HN_MUST_CHECK hn_status hn_lex_push_text(hn_lexer *lx, hn_token_kind kind, const char *data,
                                         size_t n);
/* True when `text` stands at pos. */
bool hn_lex_at(const hn_lexer *lx, size_t pos, const char *text);
void hn_lex_count_lines(hn_lexer *lx, size_t from, size_t to);

/* The literal at lx->pos, which goes behind it. */
HN_MUST_CHECK hn_status hn_lex_string(hn_lexer *lx);
HN_MUST_CHECK hn_status hn_lex_number(hn_lexer *lx);
