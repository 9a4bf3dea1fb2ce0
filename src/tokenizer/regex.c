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
#define WORDS "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}"
#define HEX "0-9A-Fa-f"

/* What an escape becomes; NULL = it stays. Inside a class without the brackets. */
static const char *rewrite_escape(char c, bool in_class) {
    switch (c) {
    case 's':
        return in_class ? SPACES : "[" SPACES "]";
    case 'S':
        return in_class ? NULL : "[^" SPACES "]";
    case 'w':
        return in_class ? WORDS : "[" WORDS "]";
    case 'W':
        return in_class ? NULL : "[^" WORDS "]";
    case 'h':
        return in_class ? HEX : "[" HEX "]";
    case 'H':
        return in_class ? NULL : "[^" HEX "]";
    default:
        return NULL;
    }
}

static hn_status translate(const char *pattern, size_t size, const char *where, hn_buf *out,
                           hn_error *err) {
    int depth = 0; /* of brackets */
    for (size_t i = 0; i < size; i++) {
        char c = pattern[i];
        if (c == '\\' && i + 1 < size) {
            const char *other = rewrite_escape(pattern[i + 1], depth > 0);
            if (other)
                hn_buf_puts(out, other);
            else
                hn_buf_append(out, pattern + i, 2);
            i++;
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
