/* From the description of an answer with tool calls to a grammar. Free text is an automaton that
 * looks for the tag as Knuth, Morris and Pratt do: its state is how much of the tag has been read,
 * so that no text gets past a tag without being held to a call. */
#include "grammar/calls.h"

#include "base/json.h"
#include "base/mem.h"
#include "grammar/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char THINK[] = "<think>", THINK_END[] = "</think>", BLANKS[] = " \t\r\n";
enum { MAX_TAG = 32, WHERE_BYTES = 256, ANY_BYTE = 256 };

/* Text up to a word. nodes[i]: the first i bytes of the word have just been read. */
typedef struct search {
    const char *word; /* below MAX_TAG bytes */
    int n;
    int32_t found; /* behind the word */
    int32_t nodes[MAX_TAG];
    int fallback[MAX_TAG]; /* the longest beginning of the word that these i bytes end with, too */
} search;

typedef struct calls {
    hn_grammar *g;
    const json_t *given;
    const char *where;
    int32_t all, one; /* rules: the calls behind one tag, and one of them */
    int32_t end;      /* of the answer */
    search text;      /* for the tag */
    hn_error *err;
} calls;

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- text that looks for a word ---- */

/* How much of the word the text ends with when `byte` follows its first `read` bytes. */
static int search_next(const search *s, int read, uint8_t byte) {
    while (read > 0 && (uint8_t)s->word[read] != byte)
        read = s->fallback[read];
    return (uint8_t)s->word[read] == byte ? read + 1 : 0;
}

/* Steps from `from`, where that much of the word has been read, by all bytes that aren't taken.
 * Neighbouring bytes share an edge. */
static void search_leave(hn_grammar *g, const search *s, int read, const bool *taken,
                         int32_t from) {
    int32_t to_before = -1;
    int first = 0;
    for (int byte = 0; byte <= ANY_BYTE; byte++) {
        int32_t to = -1;
        if (byte < ANY_BYTE && !taken[byte]) {
            const int next = search_next(s, read, (uint8_t)byte);
            to = next == s->n ? s->found : s->nodes[next];
        }
        if (to == to_before)
            continue;
        if (to_before >= 0)
            hn_build_bytes(g, from, first, byte - 1, to_before);
        first = byte;
        to_before = to;
    }
}

/* Text up to the word, which leads to `found`. It may end anywhere, at `end`. */
static void search_init(hn_grammar *g, search *s, const char *word, int32_t found, int32_t end) {
    static const bool NONE[ANY_BYTE];
    *s = (search){.word = word, .n = (int)strlen(word), .found = found};
    for (int i = 2; i < s->n; i++)
        s->fallback[i] = search_next(s, s->fallback[i - 1], (uint8_t)word[i - 1]);
    for (int i = 0; i < s->n; i++)
        s->nodes[i] = hn_build_node(g);
    for (int i = 0; i < s->n; i++) {
        search_leave(g, s, i, NONE, s->nodes[i]);
        hn_build_free(g, s->nodes[i], end);
    }
}

/* ---- calls ---- */

/* The text, whose blanks may be left out and whose tags may be control tokens. */
static int32_t loose_text(hn_grammar *g, int32_t from, const char *text) {
    for (; *text; text++) {
        const int32_t to = hn_build_node(g);
        hn_build_bytes(g, from, (uint8_t)*text, (uint8_t)*text, to);
        if (strchr(BLANKS, *text))
            hn_build_free(g, from, to);
        if (*text == '<' || *text == '[') {
            const int32_t control = hn_build_node(g);
            hn_build_bytes(g, from, HN_GRAMMAR_CONTROL, HN_GRAMMAR_CONTROL, control);
            hn_build_bytes(g, control, (uint8_t)*text, (uint8_t)*text, to);
        }
        from = to;
    }
    return from;
}

static hn_status may_be_honoured(const json_t *schema, const char *where, bool *may,
                                 hn_error *err) {
    hn_grammar *alone = NULL;
    const hn_status status = hn_grammar_from_schema(&alone, schema, where, err);
    hn_grammar_free(alone);
    *may = status == HN_OK;
    return status == HN_UNSUPPORTED ? HN_OK : status;
}

static hn_status add_call(calls *c, const json_t *call, int32_t from, int32_t to) {
    char where[WHERE_BYTES];
    const json_t *schema = json_object_get(call, "schema");
    bool may = true;
    snprintf(where, sizeof where, "%s: the tool '%s'", c->where, text_of(call, "name"));
    if (json_is_true(json_object_get(call, "loose")))
        HN_TRY(may_be_honoured(schema, where, &may, c->err));
    const int32_t begun = loose_text(c->g, from, text_of(call, "begin"));
    const int32_t ended = hn_build_node(c->g);
    json_t *any = may ? NULL : json_pack("{s:s}", "type", "object");
    if (!may && !any)
        return hn_fail_no_memory(c->err, 1);
    const hn_status status = hn_schema_add(c->g, may ? schema : any, where, begun, ended, c->err);
    json_decref(any);
    hn_build_free(c->g, loose_text(c->g, ended, text_of(call, "end")), to);
    return status;
}

/* head call (between call)* foot */
static hn_status add_calls(calls *c, const hn_rule *all, const hn_rule *one) {
    const json_t *list = json_object_get(c->given, "calls"), *call;
    const json_int_t most = json_integer_value(json_object_get(c->given, "most"));
    const int32_t first = loose_text(c->g, all->start, text_of(c->given, "head"));
    const int32_t last = hn_build_node(c->g);
    size_t i;
    json_array_foreach (list, i, call)
        HN_TRY(add_call(c, call, one->start, one->end));
    hn_build_call(c->g, first, c->one, last);
    hn_build_free(c->g, loose_text(c->g, last, text_of(c->given, "foot")), all->end);
    if (most < 2)
        return HN_OK;
    const hn_part more = hn_build_part(c->g);
    const int32_t after = hn_build_node(c->g);
    hn_build_call(c->g, loose_text(c->g, more.in, text_of(c->given, "between")), c->one, more.out);
    hn_build_repeat(c->g, last, more, 1, (uint32_t)most - 1, after);
    hn_build_free(c->g, loose_text(c->g, after, text_of(c->given, "foot")), all->end);
    return HN_OK;
}

static hn_status make_calls(calls *c) {
    c->all = hn_build_rule(c->g);
    c->one = hn_build_rule(c->g);
    HN_TRY(hn_build_check(c->g, c->where, c->err));
    const hn_rule all = c->g->rules[c->all], one = c->g->rules[c->one];
    return add_calls(c, &all, &one);
}

/* ---- where an answer begins ---- */

/* A word that means something at the beginning; blanks may stand before it. */
typedef struct opening {
    const char *word;
    int32_t to; /* behind it; -1 = nowhere: the calls have it */
} opening;

typedef struct openings {
    opening *words; /* (n) sorted; none begins with another */
    int n;
} openings;

static int by_word(const void *a, const void *b) {
    return strcmp(((const opening *)a)->word, ((const opening *)b)->word);
}

/* The words of untagged calls, and one more that leads to `thought` unless that is -1. Freed with
 * hn_free(words). */
static hn_status collect_openings(const calls *c, int32_t thought, openings *out) {
    const json_t *list = json_object_get(c->given, "calls"), *call, *word;
    size_t i, j, room = 1;
    json_array_foreach (list, i, call)
        room += json_array_size(json_object_get(call, "bare"));
    *out = (openings){.words = hn_calloc(room, sizeof *out->words)};
    if (!out->words)
        return hn_fail_no_memory(c->err, room * sizeof *out->words);
    json_array_foreach (list, i, call)
        json_array_foreach (json_object_get(call, "bare"), j, word)
            out->words[out->n++] = (opening){json_string_value(word), -1};
    if (thought >= 0)
        out->words[out->n++] = (opening){THINK, thought};
    qsort(out->words, (size_t)out->n, sizeof *out->words, by_word);
    return HN_OK;
}

/* From `from`, which is reached by the first `at` bytes of all these words: on along each of them,
 * and by every other byte into free text. `read`: how much of the tag the text ends with. */
static void follow_openings(const calls *c, const openings *words, size_t at, int read,
                            int32_t from) {
    hn_grammar *g = c->g;
    bool taken[ANY_BYTE] = {false};
    hn_build_free(g, from, c->end);
    for (int i = 0, n; i < words->n; i += n) {
        const opening *first = &words->words[i];
        const uint8_t byte = (uint8_t)first->word[at];
        for (n = 1; i + n < words->n && (uint8_t)first[n].word[at] == byte;)
            n++;
        taken[byte] = true;
        if (first->word[at + 1]) {
            const int32_t next = hn_build_node(g);
            const openings same = {&words->words[i], n};
            hn_build_bytes(g, from, byte, byte, next);
            follow_openings(c, &same, at + 1, search_next(&c->text, read, byte), next);
        } else if (first->to >= 0) {
            hn_build_bytes(g, from, byte, byte, first->to);
        }
    }
    for (const char *blank = BLANKS; at == 0 && *blank; blank++) {
        taken[(uint8_t)*blank] = true;
        hn_build_bytes(g, from, (uint8_t)*blank, (uint8_t)*blank, from);
    }
    search_leave(g, &c->text, read, taken, from);
}

/* Where free text begins and a call may do so without a tag, or a thought (unless that is -1). */
static hn_status add_beginning(const calls *c, int32_t thought, int32_t from) {
    openings words;
    HN_TRY(collect_openings(c, thought, &words));
    const bool bare = words.n > (thought >= 0);
    follow_openings(c, &words, 0, 0, from);
    hn_free(words.words);
    if (bare)
        hn_build_call(c->g, from, c->all, c->end);
    return HN_OK;
}

/* ---- the answer ---- */

/* Free text with calls in it. */
static hn_status add_text(calls *c, int32_t start) {
    const char *thought = text_of(c->given, "thought");
    const int32_t tagged = hn_build_node(c->g), after = hn_build_node(c->g);
    const bool goes_on = json_is_true(json_object_get(c->given, "goes_on"));
    search_init(c->g, &c->text, text_of(c->given, "tag"), tagged, c->end);
    hn_build_call(c->g, tagged, c->all, after);
    hn_build_free(c->g, after, goes_on ? c->text.nodes[0] : c->end);
    if (strcmp(thought, "never") == 0)
        return add_beginning(c, -1, start);
    search inside;
    const int32_t behind = hn_build_node(c->g);
    search_init(c->g, &inside, THINK_END, behind, c->end);
    HN_TRY(add_beginning(c, -1, behind));
    if (strcmp(thought, "may") == 0)
        return add_beginning(c, inside.nodes[0], start);
    hn_build_free(c->g, start, inside.nodes[0]);
    return HN_OK;
}

/* Calls, or an answer that keeps to a schema. */
static hn_status add_schema(calls *c, int32_t start) {
    if (strcmp(text_of(c->given, "thought"), "open") == 0) {
        const int32_t behind = hn_build_node(c->g);
        search_init(c->g, &c->text, THINK_END, behind, c->end);
        hn_build_free(c->g, start, c->text.nodes[0]);
        start = loose_text(c->g, behind, "\n\n");
    }
    hn_build_call(c->g, loose_text(c->g, start, text_of(c->given, "tag")), c->all, c->end);
    const json_t *first = json_array_get(json_object_get(c->given, "calls"), 0);
    if (json_object_get(first, "bare"))
        hn_build_call(c->g, start, c->all, c->end);
    return hn_schema_add(c->g, json_object_get(c->given, "schema"), "response_format", start,
                         c->end, c->err);
}

static hn_status build(calls *c) {
    const char *may = text_of(c->given, "may");
    const int32_t whole = hn_build_rule(c->g);
    HN_TRY(hn_build_check(c->g, c->where, c->err));
    const hn_rule rule = c->g->rules[whole];
    c->end = rule.end;
    c->g->starts_free = true;
    HN_TRY(make_calls(c));
    if (strcmp(may, "text") == 0)
        HN_TRY(add_text(c, rule.start));
    else if (strcmp(may, "schema") == 0)
        HN_TRY(add_schema(c, rule.start));
    else
        hn_build_call(c->g, rule.start, c->all, c->end);
    return hn_grammar_check(c->g, c->where, c->err);
}

hn_status hn_grammar_from_calls_text(hn_grammar **out, const char *text, size_t n_bytes,
                                     const char *where, hn_error *err) {
    json_t *given;
    HN_TRY(hn_json_parse(text, n_bytes, where, &given, err));
    calls c = {.g = hn_calloc(1, sizeof *c.g), .given = given, .where = where, .err = err};
    hn_status status = c.g ? build(&c) : hn_fail_no_memory(err, sizeof *c.g);
    json_decref(given);
    if (status == HN_OK)
        *out = c.g;
    else
        hn_grammar_free(c.g);
    return status;
}
