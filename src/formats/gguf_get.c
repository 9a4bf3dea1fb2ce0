/* Looking things up in an opened GGUF: by key, by tensor name, with the type checked. */
#include "formats/gguf_layout.h"

#include <math.h>
#include <string.h>

size_t hn_gguf_type_bytes(hn_gguf_type type) {
    static const uint8_t BYTES[HN_GGUF_TYPE_COUNT] = {
        [HN_GGUF_U8] = 1,  [HN_GGUF_I8] = 1,  [HN_GGUF_U16] = 2, [HN_GGUF_I16] = 2,
        [HN_GGUF_U32] = 4, [HN_GGUF_I32] = 4, [HN_GGUF_F32] = 4, [HN_GGUF_BOOL] = 1,
        [HN_GGUF_U64] = 8, [HN_GGUF_I64] = 8, [HN_GGUF_F64] = 8,
    };
    return BYTES[type];
}

static bool equals(hn_gguf_string a, const char *text, size_t size) {
    return a.size == size && !memcmp(a.data, text, size);
}

const hn_gguf_value *hn_gguf_find(const hn_gguf *gguf, const char *key) {
    size_t size = strlen(key);
    for (uint64_t i = 0; i < gguf->n_values; i++)
        if (equals(gguf->values[i].key, key, size))
            return &gguf->values[i];
    return NULL;
}

const hn_gguf_tensor *hn_gguf_find_tensor(const hn_gguf *gguf, const char *name) {
    size_t size = strlen(name);
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        if (equals(gguf->tensors[i].name, name, size))
            return &gguf->tensors[i];
    return NULL;
}

#define LOAD(type, from)                                                                           \
    __extension__({                                                                                \
        type loaded_;                                                                              \
        memcpy(&loaded_, (from), sizeof loaded_);                                                  \
        loaded_;                                                                                   \
    })

static bool is_integer(hn_gguf_type type) {
    return type != HN_GGUF_F32 && type != HN_GGUF_F64 && type != HN_GGUF_BOOL &&
           type != HN_GGUF_STRING && type != HN_GGUF_ARRAY;
}

int64_t hn_gguf_item_i64(const hn_gguf_value *value, uint64_t i) {
    const uint8_t *p = value->data + i * hn_gguf_type_bytes(value->item_type);
    switch (value->item_type) {
    case HN_GGUF_U8:
    case HN_GGUF_BOOL:
        return *p;
    case HN_GGUF_I8:
        return LOAD(int8_t, p);
    case HN_GGUF_U16:
        return LOAD(uint16_t, p);
    case HN_GGUF_I16:
        return LOAD(int16_t, p);
    case HN_GGUF_U32:
        return LOAD(uint32_t, p);
    case HN_GGUF_I32:
        return LOAD(int32_t, p);
    case HN_GGUF_U64:
    case HN_GGUF_I64:
        return LOAD(int64_t, p);
    default:
        return 0;
    }
}

double hn_gguf_item_f64(const hn_gguf_value *value, uint64_t i) {
    const uint8_t *p = value->data + i * hn_gguf_type_bytes(value->item_type);
    switch (value->item_type) {
    case HN_GGUF_F32:
        return (double)LOAD(float, p);
    case HN_GGUF_F64:
        return LOAD(double, p);
    case HN_GGUF_U64:
        return (double)LOAD(uint64_t, p);
    default:
        return (double)hn_gguf_item_i64(value, i);
    }
}

hn_gguf_string hn_gguf_item_next(const hn_gguf_value *value, const uint8_t **at) {
    const uint8_t *p = *at ? *at : value->data;
    const uint64_t size = LOAD(uint64_t, p);
    *at = p + sizeof size + size;
    return (hn_gguf_string){.data = (const char *)p + sizeof size, .size = (size_t)size};
}

static hn_status wrong(const hn_gguf *gguf, const char *key, const char *wanted, hn_error *err) {
    return hn_fail(err, HN_BAD_INPUT, "%s: key '%s' must be %s", gguf->path, key, wanted);
}

hn_status hn_gguf_get_u64(const hn_gguf *gguf, const char *key, uint64_t *out, hn_error *err) {
    const hn_gguf_value *value = hn_gguf_find(gguf, key);
    if (!value)
        return HN_OK;
    if (!is_integer(value->type))
        return wrong(gguf, key, "a whole number", err);
    int64_t number = hn_gguf_item_i64(value, 0);
    if (number < 0 && value->type != HN_GGUF_U64)
        return wrong(gguf, key, "a whole number that isn't negative", err);
    *out = (uint64_t)number;
    return HN_OK;
}

hn_status hn_gguf_get_f64(const hn_gguf *gguf, const char *key, double *out, hn_error *err) {
    const hn_gguf_value *value = hn_gguf_find(gguf, key);
    if (!value)
        return HN_OK;
    if (!is_integer(value->type) && value->type != HN_GGUF_F32 && value->type != HN_GGUF_F64)
        return wrong(gguf, key, "a number", err);
    double number = hn_gguf_item_f64(value, 0);
    if (!isfinite(number))
        return wrong(gguf, key, "a finite number", err);
    *out = number;
    return HN_OK;
}

hn_status hn_gguf_get_bool(const hn_gguf *gguf, const char *key, bool *out, hn_error *err) {
    const hn_gguf_value *value = hn_gguf_find(gguf, key);
    if (!value)
        return HN_OK;
    if (value->type != HN_GGUF_BOOL)
        return wrong(gguf, key, "true or false", err);
    *out = *value->data != 0;
    return HN_OK;
}

hn_status hn_gguf_get_string(const hn_gguf *gguf, const char *key, hn_gguf_string *out,
                             hn_error *err) {
    const hn_gguf_value *value = hn_gguf_find(gguf, key);
    if (!value)
        return HN_OK;
    if (value->type != HN_GGUF_STRING)
        return wrong(gguf, key, "a string", err);
    const uint8_t *at = NULL;
    *out = hn_gguf_item_next(value, &at);
    return HN_OK;
}
