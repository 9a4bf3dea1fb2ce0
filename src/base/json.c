#include "base/json.h"

#include "base/file.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

hn_status hn_json_parse(const char *text, size_t n_bytes, const char *where, json_t **out,
                        hn_error *err) {
    json_error_t problem;
    json_t *value = json_loadb(text, n_bytes,
                               JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &problem);
    if (!value)
        return hn_fail(err, HN_BAD_INPUT, "%s: line %d, column %d: %s", where, problem.line,
                       problem.column, problem.text);
    *out = value;
    return HN_OK;
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
