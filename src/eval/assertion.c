/* Assertions over one answer. Names and meanings are promptfoo's; what a row can't mean is refused
 * when the golden set is read, not when the answer is there. */
#define _GNU_SOURCE
#include "eval/assertion.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "eval/schema.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char *const NAMES[HN_ASSERT_COUNT] = {
    [HN_ASSERT_EQUALS] = "equals",   [HN_ASSERT_ICONTAINS] = "icontains",
    [HN_ASSERT_REGEX] = "regex",     [HN_ASSERT_CONTAINS_ALL] = "contains-all",
    [HN_ASSERT_IS_JSON] = "is-json", [HN_ASSERT_F_SCORE] = "f-score",
    [HN_ASSERT_CHOICE] = "choice",   [HN_ASSERT_ABSTAINS] = "abstains",
};
static const char *const KEYS[] = {"type", "value", "threshold", "weight", "choices", "metric"};

/* What counts as "I don't know" where a row lists no phrases of its own. */
static const char *const ABSTENTIONS[] = {
    "i don't know",      "i do not know",      "i'm not sure",           "i am not sure",
    "i can't answer",    "i cannot answer",    "not enough information", "unanswerable",
    "i can't help with", "i cannot help with",
};
enum {
    N_KEYS = sizeof KEYS / sizeof *KEYS,
    N_ABSTENTIONS = sizeof ABSTENTIONS / sizeof *ABSTENTIONS,
};

const char *hn_assertion_name(hn_assertion_type type) {
    return type < HN_ASSERT_COUNT ? NAMES[type] : "?";
}

static hn_status unknown(const char *where, const char *what, const char *name,
                         const char *const *list, size_t n, hn_error *err) {
    const char *near = hn_text_nearest(name, list, n);
    return hn_fail(err, HN_BAD_INPUT, "%s: unknown %s '%s'%s%s%s", where, what, name,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

static bool is_string_list(const json_t *value) {
    size_t i;
    const json_t *one;
    if (!json_is_array(value) || !json_array_size(value))
        return false;
    json_array_foreach (value, i, one) {
        if (!json_is_string(one))
            return false;
    }
    return true;
}

static hn_status compile_regex(hn_assertion *assertion, const char *where, hn_error *err) {
    int code;
    PCRE2_SIZE offset;
    const char *pattern = json_string_value(assertion->value);
    assertion->regex =
        pcre2_compile((PCRE2_SPTR)pattern, json_string_length(assertion->value),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, NULL);
    if (assertion->regex)
        return HN_OK;
    char text[128];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    return hn_fail(err, HN_BAD_INPUT, "%s: regex '%s': %s at offset %zu", where, pattern, text,
                   (size_t)offset);
}

static bool lists_value(const json_t *choices, const json_t *value) {
    size_t i;
    const json_t *one;
    json_array_foreach (choices, i, one) {
        if (json_equal(one, value))
            return true;
    }
    return false;
}

static hn_status check_choice(hn_assertion *assertion, const json_t *own, const json_t *row_choices,
                              const char *where, hn_error *err) {
    assertion->choices = own ? own : row_choices;
    if (!assertion->choices)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: 'choice' needs 'choices', a list of answers, here or in a row above",
                       where);
    if (!is_string_list(assertion->choices))
        return hn_fail(err, HN_BAD_INPUT, "%s: 'choices' must be a list of strings", where);
    if (!json_is_string(assertion->value) || !lists_value(assertion->choices, assertion->value))
        return hn_fail(err, HN_BAD_INPUT, "%s: the 'value' of 'choice' must be one of 'choices'",
                       where);
    return HN_OK;
}

static hn_status check_value(hn_assertion *assertion, const json_t *object,
                             const json_t *row_choices, const char *where, hn_error *err) {
    const json_t *value = assertion->value;
    const char *wanted = NULL;
    switch (assertion->type) {
    case HN_ASSERT_EQUALS:
    case HN_ASSERT_ICONTAINS:
        wanted = json_is_string(value) ? NULL : "a string";
        break;
    case HN_ASSERT_REGEX:
        if (json_is_string(value))
            return compile_regex(assertion, where, err);
        wanted = "a string";
        break;
    case HN_ASSERT_CONTAINS_ALL:
    case HN_ASSERT_F_SCORE:
        wanted =
            json_is_string(value) || is_string_list(value) ? NULL : "a string or a list of strings";
        break;
    case HN_ASSERT_IS_JSON:
        return value ? hn_schema_check(value, where, err) : HN_OK;
    case HN_ASSERT_CHOICE:
        return check_choice(assertion, json_object_get(object, "choices"), row_choices, where, err);
    case HN_ASSERT_ABSTAINS:
        if (value && !json_is_boolean(value) && !json_is_string(value) && !is_string_list(value))
            wanted = "true, false, or the phrases that count";
        break;
    case HN_ASSERT_COUNT:
        break;
    }
    if (wanted)
        return hn_fail(err, HN_BAD_INPUT, "%s: the 'value' of '%s' must be %s", where,
                       NAMES[assertion->type], wanted);
    return HN_OK;
}

hn_status hn_assertion_parse(hn_assertion *assertion, const json_t *object,
                             const json_t *row_choices, const char *where, hn_error *err) {
    *assertion = (hn_assertion){.threshold = 1, .weight = 1};
    if (!json_is_object(object))
        return hn_fail(err, HN_BAD_INPUT, "%s: each of 'assert' must be an object with a 'type'",
                       where);
    const char *key, *type = NULL;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
        bool known = false;
        for (size_t i = 0; i < N_KEYS; i++)
            known = known || !strcmp(key, KEYS[i]);
        if (!known)
            return unknown(where, "key in an assertion", key, KEYS, N_KEYS, err);
    }
    HN_TRY(hn_json_get_string(object, "type", where, &type, err));
    if (!type)
        return hn_fail(err, HN_BAD_INPUT, "%s: an assertion has no 'type'", where);
    while (assertion->type < HN_ASSERT_COUNT && strcmp(type, NAMES[assertion->type]))
        assertion->type++;
    if (assertion->type == HN_ASSERT_COUNT)
        return unknown(where, "assertion type", type, NAMES, HN_ASSERT_COUNT, err);
    if (assertion->type == HN_ASSERT_F_SCORE)
        assertion->threshold = 0.5; /* promptfoo's example; half of the words right */
    HN_TRY(hn_json_get_real(object, "threshold", where, &assertion->threshold, err));
    HN_TRY(hn_json_get_real(object, "weight", where, &assertion->weight, err));
    if (!(assertion->threshold >= 0 && assertion->threshold <= 1))
        return hn_fail(err, HN_BAD_INPUT, "%s: 'threshold' must lie between 0 and 1", where);
    if (!(assertion->weight > 0 && assertion->weight < 1e9))
        return hn_fail(err, HN_BAD_INPUT, "%s: 'weight' must be above 0", where);
    assertion->value = json_object_get(object, "value");
    return check_value(assertion, object, row_choices, where, err);
}

void hn_assertion_done(hn_assertion *assertion) {
    pcre2_code_free(assertion->regex);
    *assertion = (hn_assertion){0};
}

static bool equals(const char *answer, const json_t *value) {
    static const char BLANKS[] = " \t\r\n";
    answer += strspn(answer, BLANKS);
    size_t n = strlen(answer);
    while (n && strchr(BLANKS, answer[n - 1]))
        n--;
    return n == json_string_length(value) && !memcmp(answer, json_string_value(value), n);
}

/* Case folded and NFC, so that two spellings of one text compare equal. malloc'ed by utf8proc. */
static char *fold(const char *text) {
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, 0, &out,
                                      UTF8PROC_NULLTERM | UTF8PROC_CASEFOLD | UTF8PROC_COMPOSE);
    return n < 0 ? NULL : (char *)out;
}

static hn_status icontains(const char *answer, const char *value, bool *found, hn_error *err) {
    char *a = fold(answer), *v = fold(value);
    hn_status status = HN_OK;
    if (a && v)
        *found = strstr(a, v) != NULL;
    else if (hn_utf8_valid(answer, strlen(answer)))
        status = hn_fail_no_memory(err, strlen(answer) + strlen(value));
    else
        *found = false; /* no text at all: it contains nothing */
    free(a);
    free(v);
    return status;
}

static bool contains_all(const char *answer, const json_t *value) {
    size_t i;
    const json_t *one;
    json_array_foreach (value, i, one) {
        if (!strstr(answer, json_string_value(one)))
            return false;
    }
    if (!json_is_string(value))
        return true;
    for (const char *at = json_string_value(value); *at;) { /* comma-separated, as promptfoo's */
        at += strspn(at, " ,");
        size_t n = strcspn(at, ","), used = n;
        while (n && at[n - 1] == ' ')
            n--;
        if (n && !memmem(answer, strlen(answer), at, n))
            return false;
        at += used;
    }
    return true;
}

static hn_status regex_found(const hn_assertion *assertion, const char *answer, bool *found,
                             hn_error *err) {
    enum { MATCH_LIMIT = 1000000, HEAP_LIMIT_KIB = 20000 }; /* a hostile pattern ends */
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(assertion->regex, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    hn_status status = HN_OK;
    if (!data || !context) {
        status = hn_fail_no_memory(err, 1024);
        goto done;
    }
    pcre2_set_match_limit(context, MATCH_LIMIT);
    pcre2_set_heap_limit(context, HEAP_LIMIT_KIB);
    int rc = pcre2_match(assertion->regex, (PCRE2_SPTR)answer, strlen(answer), 0, 0, data, context);
    *found = rc >= 0;
    if (rc < PCRE2_ERROR_NOMATCH && !(rc <= PCRE2_ERROR_UTF8_ERR1 && rc >= PCRE2_ERROR_UTF8_ERR21))
        status = hn_fail(err, HN_BAD_INPUT,
                         "regex '%s' gave up on an answer (PCRE2 error %d): "
                         "make it simpler",
                         json_string_value(assertion->value), rc);
done:
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return status;
}

static bool is_json(const char *answer, const json_t *schema) {
    json_t *value = NULL;
    hn_error ignored;
    if (hn_json_parse_wide(answer, strlen(answer), "answer", &value, &ignored) != HN_OK)
        return false;
    bool fits = !schema || hn_schema_accepts(schema, value);
    json_decref(value);
    return fits;
}

static hn_status abstains(const char *answer, const json_t *value, bool *fits, hn_error *err) {
    bool said = false;
    if (json_is_string(value)) {
        HN_TRY(icontains(answer, json_string_value(value), &said, err));
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value) && !said; i++)
            HN_TRY(icontains(answer, json_string_value(json_array_get(value, i)), &said, err));
    } else {
        for (size_t i = 0; i < N_ABSTENTIONS && !said; i++)
            HN_TRY(icontains(answer, ABSTENTIONS[i], &said, err));
    }
    *fits = json_is_false(value) ? !said : said;
    return HN_OK;
}

static hn_status best_f_score(const char *answer, const json_t *value, double *score,
                              hn_error *err) {
    if (json_is_string(value))
        return hn_f_score(answer, json_string_value(value), score, err);
    double best = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        double one;
        HN_TRY(hn_f_score(answer, json_string_value(json_array_get(value, i)), &one, err));
        best = one > best ? one : best;
    }
    *score = best;
    return HN_OK;
}

hn_status hn_assertion_score(const hn_assertion *assertion, const char *answer, int best_choice,
                             double *score, hn_error *err) {
    bool fits = false;
    switch (assertion->type) {
    case HN_ASSERT_EQUALS:
        fits = equals(answer, assertion->value);
        break;
    case HN_ASSERT_ICONTAINS:
        HN_TRY(icontains(answer, json_string_value(assertion->value), &fits, err));
        break;
    case HN_ASSERT_CONTAINS_ALL:
        fits = contains_all(answer, assertion->value);
        break;
    case HN_ASSERT_REGEX:
        HN_TRY(regex_found(assertion, answer, &fits, err));
        break;
    case HN_ASSERT_IS_JSON:
        fits = is_json(answer, assertion->value);
        break;
    case HN_ASSERT_F_SCORE:
        return best_f_score(answer, assertion->value, score, err);
    case HN_ASSERT_CHOICE:
        fits =
            best_choice >= 0 &&
            json_equal(json_array_get(assertion->choices, (size_t)best_choice), assertion->value);
        break;
    case HN_ASSERT_ABSTAINS:
        HN_TRY(abstains(answer, assertion->value, &fits, err));
        break;
    case HN_ASSERT_COUNT:
        break;
    }
    *score = fits;
    return HN_OK;
}
