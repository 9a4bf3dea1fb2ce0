/* Reading GGUF: one pass over the header with a cursor that never leaves the file, after which
 * everything that hn_gguf points to is known to lie inside the map. */
#include "formats/gguf.h"

#include "base/mem.h"
#include "formats/gguf_layout.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_KEY_BYTES = 65535,    /* ggml's own limit for keys; names are shorter still */
    MAX_ALIGNMENT = 1 << 24,  /* no real file comes near; keeps the padding arithmetic small */
    MIN_VALUE_BYTES = 13,     /* key length, type, one byte */
    MIN_TENSOR_BYTES = 32,    /* name length, n_dims, one dimension, type, offset */
    MIN_SUPPORTED_VERSION = 2 /* version 1 had 32-bit counts and hardly left the laboratory */
};

typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
    const char *path;
    hn_error *err;
} cursor;

static size_t left(const cursor *c) {
    return c->size - c->at;
}

static hn_status truncated(const cursor *c, const char *what) {
    return hn_fail(c->err, HN_BAD_INPUT,
                   "%s: the file ends at byte %zu, in the middle of %s; it is damaged or was "
                   "downloaded only in part",
                   c->path, c->size, what);
}

static hn_status take(cursor *c, void *out, size_t n_bytes, const char *what) {
    if (left(c) < n_bytes)
        return truncated(c, what);
    memcpy(out, c->data + c->at, n_bytes);
    c->at += n_bytes;
    return HN_OK;
}

static hn_status take_string(cursor *c, hn_gguf_string *out, const char *what) {
    uint64_t size;
    HN_TRY(take(c, &size, sizeof size, what));
    if (size > left(c))
        return truncated(c, what);
    *out = (hn_gguf_string){.data = (const char *)c->data + c->at, .size = (size_t)size};
    c->at += (size_t)size;
    return HN_OK;
}

/* Keys and names become C strings and parts of messages: no NUL, and a sane length. */
static hn_status take_name(cursor *c, hn_gguf_string *out, const char *what) {
    HN_TRY(take_string(c, out, what));
    if (out->size == 0 || out->size > MAX_KEY_BYTES || memchr(out->data, 0, out->size))
        return hn_fail(c->err, HN_BAD_INPUT,
                       "%s: byte %zu: %s of %zu bytes is empty, too long or holds a NUL", c->path,
                       c->at - out->size, what, out->size);
    return HN_OK;
}

static hn_status bad_key(const cursor *c, const hn_gguf_string *key, const char *problem) {
    return hn_fail(c->err, HN_BAD_INPUT, "%s: key '%.*s': %s", c->path, HN_GGUF_SHOWN(*key),
                   problem);
}

static hn_status take_array(cursor *c, hn_gguf_value *value) {
    uint32_t item_type;
    HN_TRY(take(c, &item_type, sizeof item_type, "an array"));
    HN_TRY(take(c, &value->count, sizeof value->count, "an array"));
    if (item_type >= HN_GGUF_TYPE_COUNT)
        return bad_key(c, &value->key, "unknown type of array items");
    if (item_type == HN_GGUF_ARRAY)
        return hn_fail(c->err, HN_UNSUPPORTED, "%s: key '%.*s': arrays of arrays aren't supported",
                       c->path, HN_GGUF_SHOWN(value->key));
    value->item_type = (hn_gguf_type)item_type;
    value->data = c->data + c->at;
    size_t item_bytes = hn_gguf_type_bytes(value->item_type);
    if (value->count > left(c) / (item_bytes ? item_bytes : sizeof(uint64_t)))
        return truncated(c, "an array");
    if (item_bytes) {
        c->at += (size_t)value->count * item_bytes;
    } else {
        hn_gguf_string item;
        for (uint64_t i = 0; i < value->count; i++)
            HN_TRY(take_string(c, &item, "an array of strings"));
    }
    value->size_bytes = (uint64_t)(c->data + c->at - value->data);
    return HN_OK;
}

static hn_status take_value(cursor *c, hn_gguf_value *value) {
    uint32_t type;
    HN_TRY(take_name(c, &value->key, "a key"));
    HN_TRY(take(c, &type, sizeof type, "a metadata value"));
    if (type >= HN_GGUF_TYPE_COUNT)
        return bad_key(c, &value->key, "unknown type of value");
    value->type = value->item_type = (hn_gguf_type)type;
    if (type == HN_GGUF_ARRAY)
        return take_array(c, value);
    value->count = 1;
    value->data = c->data + c->at;
    if (type == HN_GGUF_STRING) {
        hn_gguf_string text;
        HN_TRY(take_string(c, &text, "a string"));
    } else {
        size_t n_bytes = hn_gguf_type_bytes(value->type);
        if (left(c) < n_bytes)
            return truncated(c, "a metadata value");
        c->at += n_bytes;
    }
    value->size_bytes = (uint64_t)(c->data + c->at - value->data);
    return HN_OK;
}

static hn_status bad_tensor(const cursor *c, const hn_gguf_tensor *tensor, const char *problem) {
    return hn_fail(c->err, HN_BAD_INPUT, "%s: tensor '%.*s': %s", c->path,
                   HN_GGUF_SHOWN(tensor->name), problem);
}

/* *offset counts from the data section, whose place is known only after the last entry. */
static hn_status take_tensor(cursor *c, hn_gguf_tensor *tensor, uint64_t *offset) {
    uint32_t n_dims, type;
    HN_TRY(take_name(c, &tensor->name, "a tensor's name"));
    HN_TRY(take(c, &n_dims, sizeof n_dims, "a tensor's entry"));
    if (n_dims < 1 || n_dims > 4)
        return bad_tensor(c, tensor, "must have 1 to 4 dimensions");
    uint64_t rows = 1;
    tensor->n_dims = (int)n_dims;
    for (uint32_t i = 0; i < 4; i++)
        tensor->shape[i] = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        uint64_t size;
        HN_TRY(take(c, &size, sizeof size, "a tensor's entry"));
        if (size == 0 || size > INT64_MAX)
            return bad_tensor(c, tensor, "has a dimension of no sensible size");
        tensor->shape[n_dims - 1 - i] = size; /* the file counts from the innermost */
        if (i > 0 && __builtin_mul_overflow(rows, size, &rows))
            return bad_tensor(c, tensor, "is too large");
    }
    HN_TRY(take(c, &type, sizeof type, "a tensor's entry"));
    HN_TRY(take(c, offset, sizeof *offset, "a tensor's entry"));
    if (!hn_dtype_from_ggml(type, &tensor->dtype))
        return hn_fail(c->err, HN_UNSUPPORTED,
                       "%s: tensor '%.*s' is of ggml type %u, which hone can't read", c->path,
                       HN_GGUF_SHOWN(tensor->name), type);
    uint64_t cols = tensor->shape[n_dims - 1], n_values;
    if (!hn_dtype_tensor_bytes(tensor->dtype, rows, cols, &tensor->size_bytes) ||
        __builtin_mul_overflow(rows, cols, &n_values) || n_values > INT64_MAX / sizeof(float))
        return bad_tensor(c, tensor, "its shape overflows or doesn't fit its type's blocks");
    return HN_OK;
}

static int compare_names(const void *a, const void *b) {
    const hn_gguf_string *x = *(const hn_gguf_string *const *)a,
                         *y = *(const hn_gguf_string *const *)b;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return memcmp(x->data, y->data, x->size);
}

static int compare_places(const void *a, const void *b) {
    const hn_gguf_tensor *x = *(const hn_gguf_tensor *const *)a,
                         *y = *(const hn_gguf_tensor *const *)b;
    return x->data < y->data ? -1 : x->data > y->data;
}

/* Sorts pointers to `count` strings that lie `stride` bytes apart and looks for equal neighbours.
 */
static hn_status check_unique(const cursor *c, const hn_gguf_string *first, size_t stride,
                              uint64_t count, const char *what) {
    if (count < 2)
        return HN_OK;
    const hn_gguf_string **sorted = hn_reallocarray(NULL, count, sizeof *sorted);
    if (!sorted)
        return hn_fail_no_memory(c->err, count * sizeof *sorted);
    for (uint64_t i = 0; i < count; i++)
        sorted[i] = (const hn_gguf_string *)(const void *)((const char *)first + i * stride);
    qsort(sorted, count, sizeof *sorted, compare_names);
    hn_status status = HN_OK;
    for (uint64_t i = 1; i < count && status == HN_OK; i++)
        if (compare_names(&sorted[i - 1], &sorted[i]) == 0)
            status = hn_fail(c->err, HN_BAD_INPUT, "%s: %s '%.*s' occurs twice", c->path, what,
                             HN_GGUF_SHOWN(*sorted[i]));
    hn_free(sorted);
    return status;
}

static hn_status check_overlaps(const cursor *c, const hn_gguf *gguf) {
    if (gguf->n_tensors < 2)
        return HN_OK;
    const hn_gguf_tensor **sorted = hn_reallocarray(NULL, gguf->n_tensors, sizeof *sorted);
    if (!sorted)
        return hn_fail_no_memory(c->err, gguf->n_tensors * sizeof *sorted);
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        sorted[i] = &gguf->tensors[i];
    qsort(sorted, gguf->n_tensors, sizeof *sorted, compare_places);
    hn_status status = HN_OK;
    for (uint64_t i = 1; i < gguf->n_tensors && status == HN_OK; i++)
        if (sorted[i]->data < sorted[i - 1]->data + sorted[i - 1]->size_bytes)
            status = bad_tensor(c, sorted[i], "its data overlaps another tensor's");
    hn_free(sorted);
    return status;
}

/* Tells the byte order apart: a big-endian file's version lies in the high bytes. */
static hn_status take_header(cursor *c, hn_gguf *gguf) {
    char magic[4];
    if (left(c) < sizeof magic || memcmp(c->data, "GGUF", sizeof magic))
        return hn_fail(c->err, HN_BAD_INPUT,
                       "%s: %s; models and adapters are GGUF files or Hugging Face folders",
                       c->path, left(c) ? "not a GGUF file" : "an empty file, no GGUF file");
    HN_TRY(take(c, magic, sizeof magic, "the header"));
    HN_TRY(take(c, &gguf->version, sizeof gguf->version, "the header"));
    if (gguf->version < MIN_SUPPORTED_VERSION || gguf->version > HN_GGUF_VERSION)
        return hn_fail(c->err, HN_UNSUPPORTED,
                       "%s: GGUF version %u%s; hone reads little-endian versions 2 and 3", c->path,
                       gguf->version, gguf->version & 0xffff ? "" : " (big-endian?)");
    HN_TRY(take(c, &gguf->n_tensors, sizeof gguf->n_tensors, "the header"));
    HN_TRY(take(c, &gguf->n_values, sizeof gguf->n_values, "the header"));
    if (gguf->n_values > left(c) / MIN_VALUE_BYTES || gguf->n_tensors > left(c) / MIN_TENSOR_BYTES)
        return hn_fail(c->err, HN_BAD_INPUT,
                       "%s: claims %llu metadata values and %llu tensors, more than its %zu bytes "
                       "can hold",
                       c->path, (unsigned long long)gguf->n_values,
                       (unsigned long long)gguf->n_tensors, c->size);
    return HN_OK;
}

static hn_status read_values(cursor *c, hn_gguf *gguf) {
    gguf->values = hn_calloc(gguf->n_values, sizeof *gguf->values);
    if (!gguf->values)
        return hn_fail_no_memory(c->err, gguf->n_values * sizeof *gguf->values);
    for (uint64_t i = 0; i < gguf->n_values; i++) {
        hn_gguf_value *value = &gguf->values[i];
        HN_TRY(take_value(c, value));
        if (value->item_type == HN_GGUF_BOOL)
            for (uint64_t j = 0; j < value->count; j++)
                if (value->data[j] > 1)
                    return bad_key(c, &value->key, "a truth value that is neither 0 nor 1");
    }
    HN_TRY(check_unique(c, &gguf->values[0].key, sizeof *gguf->values, gguf->n_values, "key"));
    uint64_t alignment = HN_GGUF_DEFAULT_ALIGNMENT;
    HN_TRY(hn_gguf_get_u64(gguf, "general.alignment", &alignment, c->err));
    if (alignment == 0 || alignment > MAX_ALIGNMENT || (alignment & (alignment - 1)))
        return hn_fail(c->err, HN_BAD_INPUT, "%s: general.alignment %llu is no power of two",
                       c->path, (unsigned long long)alignment);
    gguf->alignment = (uint32_t)alignment;
    return HN_OK;
}

static hn_status read_tensors(cursor *c, hn_gguf *gguf) {
    uint64_t *offsets = NULL;
    hn_status status = HN_OK;
    gguf->tensors = hn_calloc(gguf->n_tensors, sizeof *gguf->tensors);
    offsets = hn_calloc(gguf->n_tensors, sizeof *offsets);
    if (!gguf->tensors || !offsets) {
        status = hn_fail_no_memory(c->err, gguf->n_tensors * sizeof *gguf->tensors);
        goto done;
    }
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        HN_GO(take_tensor(c, &gguf->tensors[i], &offsets[i]));
    HN_GO(
        check_unique(c, &gguf->tensors[0].name, sizeof *gguf->tensors, gguf->n_tensors, "tensor"));
    gguf->data_offset = (c->at + gguf->alignment - 1) / gguf->alignment * gguf->alignment;
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        hn_gguf_tensor *tensor = &gguf->tensors[i];
        if (offsets[i] % gguf->alignment) {
            status = bad_tensor(c, tensor, "its offset isn't aligned");
            goto done;
        }
        if (gguf->data_offset > c->size || offsets[i] > c->size - gguf->data_offset ||
            tensor->size_bytes > c->size - gguf->data_offset - offsets[i]) {
            status = bad_tensor(c, tensor,
                                "its data lies beyond the end of the file; it is damaged or was "
                                "downloaded only in part");
            goto done;
        }
        tensor->data = c->data + gguf->data_offset + offsets[i];
    }
    HN_GO(check_overlaps(c, gguf));
done:
    hn_free(offsets);
    return status;
}

hn_status hn_gguf_parse(hn_gguf *gguf, const uint8_t *data, size_t size, const char *name,
                        hn_error *err) {
    cursor c = {.data = data, .size = size, .path = name, .err = err};
    hn_gguf parsed = {.path = hn_strdup(name)};
    hn_status status = HN_OK;
    if (!parsed.path) {
        status = hn_fail_no_memory(err, strlen(name));
        goto done;
    }
    HN_GO(take_header(&c, &parsed));
    HN_GO(read_values(&c, &parsed));
    HN_GO(read_tensors(&c, &parsed));
    *gguf = parsed;
    return HN_OK;
done:
    hn_gguf_close(&parsed);
    return status;
}

hn_status hn_gguf_open(hn_gguf *gguf, const char *path, hn_error *err) {
    hn_map map;
    HN_TRY(hn_map_open(&map, path, err));
    hn_status status = hn_gguf_parse(gguf, map.data, map.size, path, err);
    if (status == HN_OK)
        gguf->map = map;
    else
        hn_map_close(&map);
    return status;
}

void hn_gguf_close(hn_gguf *gguf) {
    if (!gguf)
        return;
    hn_map_close(&gguf->map);
    hn_free(gguf->values);
    hn_free(gguf->tensors);
    hn_free(gguf->path);
    *gguf = (hn_gguf){0};
}
