/* Patterns of tokenizer.json through PCRE2's JIT. The files are written for Oniguruma: where the
 * two read a pattern differently it is rewritten, and what PCRE2 can't express is refused. */
#define _GNU_SOURCE /* memmem */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/tk.h"

#include <pcre2.h>

/* Steps that one match may take: a word of ordinary text takes some dozens; an exponential
 * pattern ends with an error instead of never. */
enum { MATCH_LIMIT = 2000000, HEAP_LIMIT_KIB = 65536 };

struct hn_tk_regex {
    pcre2_code *code;
    pcre2_match_context *context;
    pcre2_general_context *general;
    hn_tk_regex *next;
};

static void *regex_malloc(size_t size, void *ignored) {
    (void)ignored;
    return hn_malloc(size);
}

static void regex_free(void *ptr, void *ignored) {
    (void)ignored;
    hn_free(ptr);
}

/* White space and word characters as Oniguruma has them in UTF-8 (PCRE2's \s adds U+180E and its
 * \w lacks marks and connectors). */
#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"
#define HEX "0-9A-Fa-f"
static const char *const WORDS[] = {"L", "M", "Nd", "Nl", "Pc"};

/* The category and its characters that PCRE2 may not know yet, for the inside of a class. */
static void put_category(hn_buf *out, const char *name, size_t size) {
    hn_buf_printf(out, "\\p{%.*s}", (int)size, name);
    for (size_t i = 0; i < HN_TK_N_NEWER; i++)
        if (strncmp(HN_TK_NEWER[i].category, name, size) == 0)
            hn_buf_puts(out, HN_TK_NEWER[i].ranges);
}

static void put_words(hn_buf *out) {
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        put_category(out, WORDS[i], strlen(WORDS[i]));
}

/* What \s, \w or \h stands for, for the inside of a class. */
static void put_members(hn_buf *out, char escape) {
    if (escape == 's')
        hn_buf_puts(out, SPACES);
    else if (escape == 'h')
        hn_buf_puts(out, HEX);
    else
        put_words(out);
}

static bool is_one_of(char c, const char *set) {
    return c && strchr(set, c);
}

/* \p{L}, \pL or \p{^L} at text[0]: its bytes, and the category's one or two letters. 0 for another
 * escape, and for what is no general category (a script, say). */
static size_t category_at(const char *text, size_t size, const char **name, size_t *name_size,
                          bool *negated) {
    if (size < 3 || (text[1] | 0x20) != 'p')
        return 0;
    *negated = text[1] == 'P';
    *name = text + 2;
    *name_size = 1;
    if (text[2] != '{')
        return is_one_of(text[2], "LMNPSZC") ? 3 : 0;
    const char *close = memchr(text, '}', size);
    *name = text + 3;
    if (close && **name == '^') {
        *negated = !*negated;
        ++*name;
    }
    *name_size = close ? (size_t)(close - *name) : 0;
    bool known = *name_size == 1 || *name_size == 2;
    return known && is_one_of(**name, "LMNPSZC") ? (size_t)(close - text) + 1 : 0;
}

/* Writes the escape at text[0] as Oniguruma reads it; returns its bytes. Negated ones within a
 * class are left to PCRE2: a class can't hold another. */
static size_t put_escape(hn_buf *out, const char *text, size_t size, bool in_class) {
    const char *name;
    size_t name_size, used = 2;
    bool negated = text[1] >= 'A' && text[1] <= 'Z';
    size_t category = category_at(text, size, &name, &name_size, &negated);
    bool members = category || is_one_of(text[1], "sSwWhH");
    if (category)
        used = category;
    if (!members || (in_class && negated)) {
        hn_buf_append(out, text, used);
        return used;
    }
    if (!in_class)
        hn_buf_puts(out, negated ? "[^" : "[");
    if (category)
        put_category(out, name, name_size);
    else
        put_members(out, (char)(text[1] | 0x20));
    if (!in_class)
        hn_buf_putc(out, ']');
    return used;
}

static hn_status translate(const char *pattern, size_t size, const char *where, hn_buf *out,
                           hn_error *err) {
    int depth = 0; /* of brackets */
    for (size_t i = 0; i < size; i++) {
        char c = pattern[i];
        if (c == '\\' && i + 1 < size) {
            i += put_escape(out, pattern + i, size - i, depth > 0) - 1;
            continue;
        }
        bool posix = depth > 0 && c == '[' && i + 1 < size && pattern[i + 1] == ':';
        if (posix) {
            const char *close = memmem(pattern + i, size - i, ":]", 2);
            size_t n = close ? (size_t)(close - (pattern + i)) + 2 : 1;
            hn_buf_append(out, pattern + i, n);
            i += n - 1;
            continue;
        }
        if (depth > 0 && ((c == '&' && i + 1 < size && pattern[i + 1] == '&') || c == '['))
            return hn_fail(err, HN_UNSUPPORTED,
                           "%s: the pattern '%.*s' holds a class within a class", where,
                           (int)(size < 200 ? size : 200), pattern);
        if (c == '[' && depth == 0)
            depth = 1;
        else if (c == ']' && depth == 1)
            depth = 0;
        hn_buf_putc(out, c);
    }
    return hn_buf_check(out, err);
}

static hn_status compile(hn_tk_regex *regex, const char *pattern, size_t size, const char *where,
                         hn_error *err) {
    hn_buf text = {0};
    pcre2_compile_context *compiling = NULL;
    hn_status status = translate(pattern, size, where, &text, err);
    if (status != HN_OK)
        goto done;
    status = hn_fail(err, HN_NO_MEMORY, "out of memory for a pattern");
    regex->general = pcre2_general_context_create(regex_malloc, regex_free, NULL);
    if (!regex->general)
        goto done;
    compiling = pcre2_compile_context_create(regex->general);
    regex->context = pcre2_match_context_create(regex->general);
    if (!compiling || !regex->context)
        goto done;
    int problem;
    PCRE2_SIZE at;
    regex->code = pcre2_compile((PCRE2_SPTR)hn_buf_text(&text), text.size,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_MULTILINE,
                                &problem, &at, compiling);
    if (!regex->code) {
        if (problem == PCRE2_ERROR_NOMEMORY || problem == 121 /* ERR21: out of memory */)
            goto done;
        PCRE2_UCHAR words[200];
        pcre2_get_error_message(problem, words, sizeof words);
        status = hn_fail(err, HN_UNSUPPORTED, "%s: the pattern '%.*s': %s", where,
                         (int)(size < 200 ? size : 200), pattern, (const char *)words);
        goto done;
    }
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* without it matching is slower */
    pcre2_set_match_limit(regex->context, MATCH_LIMIT);
    pcre2_set_heap_limit(regex->context, HEAP_LIMIT_KIB);
    status = HN_OK;
done:
    pcre2_compile_context_free(compiling);
    hn_buf_done(&text);
    return status;
}

hn_status hn_tk_regex_new(hn_tokenizer *tk, const char *pattern, size_t size, const char *where,
                          hn_tk_regex **out, hn_error *err) {
    hn_tk_regex *regex = HN_ARENA_NEW(&tk->arena, hn_tk_regex, 1);
    if (!regex)
        return hn_tk_no_memory(err);
    regex->next = tk->regexes;
    tk->regexes = regex; /* from here on freed with tk, also when compiling fails */
    HN_TRY(compile(regex, pattern, size, where, err));
    *out = regex;
    return HN_OK;
}

void hn_tk_regex_free_all(hn_tokenizer *tk) {
    for (hn_tk_regex *regex = tk->regexes; regex; regex = regex->next) {
        pcre2_code_free(regex->code);
        pcre2_match_context_free(regex->context);
        pcre2_general_context_free(regex->general);
    }
    tk->regexes = NULL;
}

hn_status hn_tk_regex_match_new(const hn_tk_regex *regex, hn_tk_regex_match *match, hn_error *err) {
    match->data = pcre2_match_data_create(1, regex->general);
    return match->data ? HN_OK : hn_fail(err, HN_NO_MEMORY, "out of memory for a match");
}

void hn_tk_regex_match_done(hn_tk_regex_match *match) {
    pcre2_match_data_free(match->data);
    match->data = NULL;
}

hn_status hn_tk_regex_find(const hn_tk_regex *regex, hn_tk_regex_match *match, const char *text,
                           size_t size, size_t from, size_t *begin, size_t *end, hn_error *err) {
    const uint32_t options = PCRE2_NO_UTF_CHECK;
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, size, from, options, match->data,
                         regex->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(regex->code, (PCRE2_SPTR)text, size, from, options | PCRE2_NO_JIT,
                         match->data, regex->context);
    if (rc == PCRE2_ERROR_NOMATCH) {
        *begin = SIZE_MAX;
        return HN_OK;
    }
    if (rc == PCRE2_ERROR_NOMEMORY)
        return hn_fail(err, HN_NO_MEMORY, "out of memory for matching a pattern");
    if (rc < 0)
        return hn_fail(err, HN_FAILED,
                       "the tokenizer's pattern took too many steps at byte %zu of a text", from);
    const PCRE2_SIZE *vector = pcre2_get_ovector_pointer(match->data);
    *begin = vector[0];
    *end = vector[1] < vector[0] ? vector[0] : vector[1]; /* \K may turn them round */
    return HN_OK;
}
