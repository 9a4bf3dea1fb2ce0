/* The inside of a grammar: rules, each a graph of nodes from its start to its end; an edge reads a
 * byte, reads nothing, or goes through another rule (once, or min to max times). What fails while
 * building is remembered and reported by hn_build_check, so that builders need no error paths. */
#pragma once

#include "grammar/grammar.h"

typedef enum hn_edge_kind {
    HN_EDGE_BYTES, /* one byte of lo..hi */
    HN_EDGE_FREE,  /* nothing */
    HN_EDGE_CALL,  /* a text of `rule` */
    HN_EDGE_REPEAT /* min to max texts of `rule`, none of them empty */
} hn_edge_kind;

#define HN_REPEAT_MAX ((uint32_t)-1) /* no upper limit */

typedef struct hn_edge {
    int32_t next; /* of the same node; -1 = last */
    int32_t to;
    int32_t rule;
    uint32_t min, max;
    uint8_t kind, lo, hi;
} hn_edge;

typedef struct hn_node {
    int32_t edges;  /* first; -1 = none */
    bool end;       /* of a rule */
    bool has_bytes; /* an edge that reads a byte; set by hn_grammar_check */
} hn_node;

typedef struct hn_rule {
    int32_t start, end; /* nothing leaves the end */
    char *name;         /* owned; NULL = made by the compiler */
} hn_rule;

struct hn_grammar {
    hn_node *nodes;
    hn_edge *edges;
    hn_rule *rules; /* the first is the whole text */
    int32_t n_nodes, n_edges, n_rules;
    int32_t cap_nodes, cap_edges, cap_rules;
    hn_status failed; /* HN_NO_MEMORY, or HN_UNSUPPORTED: too large */
    bool starts_free; /* hn_grammar_starts_free */
};

/* A piece of a rule's graph with fresh ends: nothing enters `in` or leaves `out` yet. */
typedef struct hn_part {
    int32_t in, out;
} hn_part;

int32_t hn_build_node(hn_grammar *g);
hn_part hn_build_part(hn_grammar *g);
void hn_build_bytes(hn_grammar *g, int32_t from, int lo, int hi, int32_t to);
void hn_build_free(hn_grammar *g, int32_t from, int32_t to);
void hn_build_call(hn_grammar *g, int32_t from, int32_t rule, int32_t to);
/* The part, min to max times, from `from` to `to`; it must not be empty when it is counted. */
void hn_build_repeat(hn_grammar *g, int32_t from, hn_part part, uint32_t min, uint32_t max,
                     int32_t to);
/* A new rule with fresh ends; or over a part. */
int32_t hn_build_rule(hn_grammar *g);
int32_t hn_build_rule_over(hn_grammar *g, hn_part part);
/* Reads exactly these bytes; returns the node behind them. */
int32_t hn_build_text(hn_grammar *g, int32_t from, const char *data, size_t n_bytes);
/* As hn_build_text up to `to`, sharing what texts that were added from `from` begin with: all
 * edges of `from` must come from this function. */
void hn_build_word(hn_grammar *g, int32_t from, const char *data, size_t n_bytes, int32_t to);
/* Texts of n bytes from lo to hi in the order of memcmp, whose bytes behind the first are low to
 * high: UTF-8, or numbers of n digits. */
enum { HN_BETWEEN_MAX = 20 };
void hn_build_between(hn_grammar *g, int32_t from, const char *lo, const char *hi, size_t n,
                      char low, char high, int32_t to);
HN_MUST_CHECK hn_status hn_build_check(const hn_grammar *g, const char *where, hn_error *err);

/* Code points. A set is sorted, without overlaps or neighbours after hn_chars_tidy. */
typedef struct hn_char_range {
    uint32_t lo, hi;
} hn_char_range;
typedef struct hn_chars {
    hn_char_range *data;
    size_t n, capacity;
    bool failed;
} hn_chars;
void hn_chars_done(hn_chars *chars);
void hn_chars_add(hn_chars *chars, uint32_t lo, uint32_t hi);
void hn_chars_tidy(hn_chars *chars);
/* Everything that isn't in it, up to `last`. */
void hn_chars_invert(hn_chars *chars, uint32_t last);
bool hn_chars_have(const hn_chars *chars, uint32_t c);
enum { HN_CHAR_LAST = 0x10FFFF };
/* One character of lo..hi as UTF-8; surrogates are left out. */
void hn_build_char_range(hn_grammar *g, int32_t from, uint32_t lo, uint32_t hi, int32_t to);
void hn_build_chars(hn_grammar *g, int32_t from, const hn_chars *chars, int32_t to);

/* check.c: refuses grammars without an end, left recursion and counted parts that may be empty;
 * shortens paths. Ends the building. */
HN_MUST_CHECK hn_status hn_grammar_check(hn_grammar *g, const char *where, hn_error *err);

/* pattern.c: a regular expression of ECMA-262 (the subset that docs/constrain.md names) over the
 * characters of a JSON string, from `from` to `to`; quotes not included. HN_UNSUPPORTED says what.
 */
HN_MUST_CHECK hn_status hn_build_pattern(hn_grammar *g, int32_t from, const char *pattern,
                                         size_t n_bytes, int32_t to, const char *where,
                                         hn_error *err);
