#include "base/json.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static json_t *load(const char *text, size_t n_bytes, json_error_t *problem) {
    return json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY,
                      problem);
}

static hn_status take(json_t *value, const json_error_t *problem, const char *where, json_t **out,
                      hn_error *err) {
    if (!value)
        return hn_fail(err, HN_BAD_INPUT, "%s: line %d, column %d: %s", where, problem->line,
                       problem->column, problem->text);
    *out = value;
    return HN_OK;
}

hn_status hn_json_parse(const char *text, size_t n_bytes, const char *where, json_t **out,
                        hn_error *err) {
    json_error_t problem;
    json_t *value = load(text, n_bytes, &problem);
    return take(value, &problem, where, out, err);
}

/* The end of the string that opens at `from`, or `end`. */
static const char *string_end(const char *from, const char *end) {
    for (const char *p = from + 1; p < end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == '"')
            return p + 1;
    }
    return end;
}

/* `text` with an exponent after each whole number that may not fit 64 bits. */
static void widen(const char *text, size_t n_bytes, hn_buf *out) {
    enum { SAFE_DIGITS = 18 };
    const char *end = text + n_bytes;
    for (const char *p = text, *next; p < end; p = next) {
        bool number = *p == '-' || (*p >= '0' && *p <= '9');
        next = p + 1;
        if (*p == '"') {
            next = string_end(p, end);
        } else if (number) {
            while (next < end &&
                   ((*next >= '0' && *next <= '9') || (*next && strchr("+-.eE", *next))))
                next++;
        }
        hn_buf_append(out, p, (size_t)(next - p));
        if (number && next - p > SAFE_DIGITS && !memchr(p, '.', (size_t)(next - p)) &&
            !memchr(p, 'e', (size_t)(next - p)) && !memchr(p, 'E', (size_t)(next - p)))
            hn_buf_puts(out, "e0");
    }
}

hn_status hn_json_parse_wide(const char *text, size_t n_bytes, const char *where, json_t **out,
                             hn_error *err) {
    json_error_t problem;
    json_t *value = load(text, n_bytes, &problem);
    if (value || json_error_code(&problem) != json_error_numeric_overflow)
        return take(value, &problem, where, out, err);
    hn_buf wide = {.max = SIZE_MAX};
    widen(text, n_bytes, &wide);
    hn_status status = hn_buf_check(&wide, err);
    if (status == HN_OK)
        status = hn_json_parse(hn_buf_text(&wide), wide.size, where, out, err);
    hn_buf_done(&wide);
    return status;
}

hn_status hn_json_read(const char *path, size_t max_bytes, json_t **out, hn_error *err) {
    char *text;
    size_t size;
    HN_TRY(hn_file_read(path, max_bytes, &text, &size, err));
    hn_status status = hn_json_parse(text, size, path, out, err);
    hn_free(text);
    return status;
}

hn_status hn_json_write(const char *path, const json_t *value, hn_error *err) {
    char *text = json_dumps(value, JSON_INDENT(1) | JSON_ENCODE_ANY);
    if (!text)
        return hn_fail(err, HN_NO_MEMORY, "%s: out of memory while writing JSON", path);
    hn_out out;
    hn_status status = hn_out_open(&out, path, err);
    if (status == HN_OK) {
        hn_out_write(&out, text, strlen(text));
        hn_out_write(&out, "\n", 1);
        status = hn_out_commit(&out, err);
    }
    free(text);
    return status;
}

static hn_status wrong_type(const char *where, const char *key, const char *wanted, hn_error *err) {
    return hn_fail(err, HN_BAD_INPUT, "%s: '%s' must be %s", where, key, wanted);
}

hn_status hn_json_get_string(const json_t *object, const char *key, const char *where,
                             const char **out, hn_error *err) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return HN_OK;
    if (!json_is_string(value))
        return wrong_type(where, key, "a string", err);
    *out = json_string_value(value);
    return HN_OK;
}

hn_status hn_json_get_int(const json_t *object, const char *key, const char *where, long long *out,
                          hn_error *err) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return HN_OK;
    if (!json_is_integer(value))
        return wrong_type(where, key, "a whole number", err);
    *out = json_integer_value(value);
    return HN_OK;
}

hn_status hn_json_get_real(const json_t *object, const char *key, const char *where, double *out,
                           hn_error *err) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return HN_OK;
    if (!json_is_number(value))
        return wrong_type(where, key, "a number", err);
    *out = json_number_value(value);
    return HN_OK;
}

hn_status hn_json_get_bool(const json_t *object, const char *key, const char *where, int *out,
                           hn_error *err) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return HN_OK;
    if (!json_is_boolean(value))
        return wrong_type(where, key, "true or false", err);
    *out = json_is_true(value);
    return HN_OK;
}
