/* A section of a recipe as part of a stage's key. */
#include "base/hash.h"
#include "pipeline/recipe_table.h"
#include "pipeline/run.h"

#include <string.h>

/* The value of a field as it enters a key: files by what they hold. *out NULL = nothing is set. */
static hn_status value_of(const hn_recipe *recipe, const hn_field *field, json_t **out,
                          hn_error *err) {
    const char *at = (const char *)recipe + field->offset, *text = NULL;
    char hash[HN_SHA256_HEX];
    *out = NULL;
    switch (field->type) {
    case HN_FIELD_INT:
        *out = json_integer((json_int_t) * (const int64_t *)at);
        break;
    case HN_FIELD_REAL:
        *out = json_real(*(const double *)at);
        break;
    case HN_FIELD_BOOL:
        *out = json_boolean(*(const bool *)at);
        break;
    case HN_FIELD_CHOICE:
        *out = json_integer(*(const int *)at);
        break;
    case HN_FIELD_FILE:
    case HN_FIELD_BASE:
        text = *(char *const *)at;
        if (!text)
            return HN_OK;
        HN_TRY(hn_run_hash_path(text, hash, err));
        *out = json_string(hash);
        break;
    case HN_FIELD_TEXT:
    case HN_FIELD_NAME:
        text = *(char *const *)at;
        if (!text)
            return HN_OK;
        *out = json_string(text);
        break;
    case HN_FIELD_FILES: /* rows: they enter as the data stage wrote them */
        return HN_OK;
    }
    return *out ? HN_OK : hn_fail_no_memory(err, 64);
}

/* Is `key` among the words of `list`? */
static bool is_listed(const char *key, const char *list) {
    size_t n = strlen(key);
    for (const char *at = list; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        if (length == n && !memcmp(at, key, n))
            return true;
        at += length;
    }
    return false;
}

hn_status hn_run_add_settings(const hn_recipe *recipe, const char *section, const char *without,
                              json_t *inputs, hn_error *err) {
    for (size_t i = 0; i < HN_RECIPE_N_FIELDS; i++) {
        const hn_field *field = &HN_RECIPE_FIELDS[i];
        json_t *value;
        if (strcmp(field->section, section) || is_listed(field->key, without))
            continue;
        HN_TRY(value_of(recipe, field, &value, err));
        if (value && json_object_set_new(inputs, field->key, value))
            return hn_fail_no_memory(err, 64);
    }
    return HN_OK;
}
