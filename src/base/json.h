/* Strict JSON over jansson: duplicate keys, bad UTF-8 and NaN are refused, and an error says where.
 */
#pragma once

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>

/* Parses one JSON value; `where` (a path, or path:line) opens the message. Freed with json_decref.
 */
HN_MUST_CHECK hn_status hn_json_parse(const char *text, size_t n_bytes, const char *where,
                                      json_t **out, hn_error *err);
/* The same, with whole numbers beyond 64 bits as reals, as Python would take them: the settings
 * that transformers writes hold 10^30 for "no limit". */
HN_MUST_CHECK hn_status hn_json_parse_wide(const char *text, size_t n_bytes, const char *where,
                                           json_t **out, hn_error *err);
HN_MUST_CHECK hn_status hn_json_read(const char *path, size_t max_bytes, json_t **out,
                                     hn_error *err);
/* Writes with indent 1, keys in insertion order, reals with 17 digits where needed; atomic. */
HN_MUST_CHECK hn_status hn_json_write(const char *path, const json_t *value, hn_error *err);

/* Typed getters for objects. A missing key leaves *out as it was; a wrong type is HN_BAD_INPUT
 * naming `where` and the key. Strings are borrowed from `object`. */
HN_MUST_CHECK hn_status hn_json_get_string(const json_t *object, const char *key, const char *where,
                                           const char **out, hn_error *err);
HN_MUST_CHECK hn_status hn_json_get_int(const json_t *object, const char *key, const char *where,
                                        long long *out, hn_error *err);
HN_MUST_CHECK hn_status hn_json_get_real(const json_t *object, const char *key, const char *where,
                                         double *out, hn_error *err);
HN_MUST_CHECK hn_status hn_json_get_bool(const json_t *object, const char *key, const char *where,
                                         int *out, hn_error *err);
