/* Writing GGUF v3: values and tensors are declared in memory, the header is laid out once at
 * _begin, tensor bytes are then streamed straight into the (still unpublished) file. */
#include "base/buf.h"
#include "base/mem.h"
#include "formats/gguf_layout.h"

#include <errno.h>
#include <string.h>

typedef struct entry {
    char *key;
    size_t key_bytes;
    uint32_t type;
    hn_buf payload; /* the value's bytes as they lie in the file */
} entry;

typedef struct declared {
    char *name;
    hn_dtype dtype;
    int n_dims;
    uint64_t shape[4]; /* outermost first */
    uint64_t size_bytes, offset;
} declared;

struct hn_gguf_writer {
    char *path;
    entry *entries;
    size_t n_entries, entry_capacity;
    declared *tensors;
    size_t n_tensors, tensor_capacity;
    hn_out out;
    bool begun;
    uint32_t alignment;
    uint64_t data_start; /* where the first tensor lies */
    size_t current;      /* tensor whose bytes come next */
    uint64_t written;    /* of the current tensor */
};

hn_status hn_gguf_writer_new(hn_gguf_writer **writer, const char *path, hn_error *err) {
    hn_gguf_writer *w = hn_calloc(1, sizeof *w);
    char *copy = hn_strdup(path);
    if (!w || !copy) {
        hn_free(w);
        hn_free(copy);
        return hn_fail_no_memory(err, sizeof *w);
    }
    w->path = copy;
    *writer = w;
    return HN_OK;
}

/* Doubles an array of items when it is full; the new item is zeroed. */
static void *grow(void *array, size_t count, size_t *capacity, size_t item_bytes) {
    if (count < *capacity)
        return array;
    size_t wanted = *capacity ? *capacity * 2 : 32;
    void *grown = hn_reallocarray(array, wanted, item_bytes);
    if (grown) {
        memset((char *)grown + count * item_bytes, 0, (wanted - count) * item_bytes);
        *capacity = wanted;
    }
    return grown;
}

/* Puts a finished payload under its key; takes the payload over, also on failure. */
static hn_status put(hn_gguf_writer *w, const char *key, size_t key_bytes, uint32_t type,
                     hn_buf *payload, hn_error *err) {
    hn_status status = HN_OK;
    entry *slot = NULL;
    if (w->begun || key_bytes == 0 || key_bytes > UINT16_MAX) {
        status = hn_fail(err, HN_USAGE, "%s: key '%.*s' can't be set%s", w->path,
                         (int)(key_bytes < 200 ? key_bytes : 200), key,
                         w->begun ? " any more: writing has begun" : "");
        goto done;
    }
    HN_GO(hn_buf_check(payload, err));
    for (size_t i = 0; i < w->n_entries && !slot; i++)
        if (w->entries[i].key_bytes == key_bytes && !memcmp(w->entries[i].key, key, key_bytes))
            slot = &w->entries[i];
    if (!slot) {
        entry *grown = grow(w->entries, w->n_entries, &w->entry_capacity, sizeof *grown);
        if (grown)
            w->entries = grown;
        char *copy = grown ? hn_strndup(key, key_bytes) : NULL;
        if (!copy) {
            status = hn_fail_no_memory(err, key_bytes + sizeof *grown);
            goto done;
        }
        slot = &w->entries[w->n_entries++];
        *slot = (entry){.key = copy, .key_bytes = key_bytes};
    }
    hn_buf_done(&slot->payload);
    slot->type = type;
    slot->payload = *payload;
    *payload = (hn_buf){0};
done:
    hn_buf_done(payload);
    return status;
}

static hn_status put_plain(hn_gguf_writer *w, const char *key, hn_gguf_type type, const void *data,
                           hn_error *err) {
    hn_buf payload = {0};
    hn_buf_append(&payload, data, hn_gguf_type_bytes(type));
    return put(w, key, strlen(key), type, &payload, err);
}

static void append_string(hn_buf *payload, const char *data, size_t size) {
    uint64_t n = size;
    hn_buf_append(payload, &n, sizeof n);
    hn_buf_append(payload, data, size);
}

static void append_array_header(hn_buf *payload, hn_gguf_type item_type, uint64_t count) {
    uint32_t type = item_type;
    hn_buf_append(payload, &type, sizeof type);
    hn_buf_append(payload, &count, sizeof count);
}

hn_status hn_gguf_writer_copy(hn_gguf_writer *w, const hn_gguf_value *value, hn_error *err) {
    hn_buf payload = {0};
    if (value->type == HN_GGUF_ARRAY)
        append_array_header(&payload, value->item_type, value->count);
    hn_buf_append(&payload, value->data, (size_t)value->size_bytes);
    return put(w, value->key.data, value->key.size, value->type, &payload, err);
}

hn_status hn_gguf_writer_set_u32(hn_gguf_writer *w, const char *key, uint32_t value,
                                 hn_error *err) {
    return put_plain(w, key, HN_GGUF_U32, &value, err);
}

hn_status hn_gguf_writer_set_f32(hn_gguf_writer *w, const char *key, float value, hn_error *err) {
    return put_plain(w, key, HN_GGUF_F32, &value, err);
}

hn_status hn_gguf_writer_set_bool(hn_gguf_writer *w, const char *key, bool value, hn_error *err) {
    uint8_t byte = value;
    return put_plain(w, key, HN_GGUF_BOOL, &byte, err);
}

hn_status hn_gguf_writer_set_string(hn_gguf_writer *w, const char *key, const char *data,
                                    size_t size, hn_error *err) {
    hn_buf payload = {0};
    append_string(&payload, data, size);
    return put(w, key, strlen(key), HN_GGUF_STRING, &payload, err);
}

hn_status hn_gguf_writer_set_strings(hn_gguf_writer *w, const char *key,
                                     const hn_gguf_string *strings, uint64_t count, hn_error *err) {
    hn_buf payload = {0};
    append_array_header(&payload, HN_GGUF_STRING, count);
    for (uint64_t i = 0; i < count; i++)
        append_string(&payload, strings[i].data, strings[i].size);
    return put(w, key, strlen(key), HN_GGUF_ARRAY, &payload, err);
}

hn_status hn_gguf_writer_set_array(hn_gguf_writer *w, const char *key, hn_gguf_type item_type,
                                   const void *items, uint64_t count, hn_error *err) {
    hn_buf payload = {0};
    size_t n_bytes;
    if (!hn_gguf_type_bytes(item_type) ||
        hn_mul_overflows(count, hn_gguf_type_bytes(item_type), &n_bytes))
        return hn_fail(err, HN_USAGE, "%s: key '%s': not an array of plain items", w->path, key);
    append_array_header(&payload, item_type, count);
    hn_buf_append(&payload, items, n_bytes);
    return put(w, key, strlen(key), HN_GGUF_ARRAY, &payload, err);
}

hn_status hn_gguf_writer_add_tensor(hn_gguf_writer *w, const char *name, hn_dtype dtype, int n_dims,
                                    const uint64_t *shape, hn_error *err) {
    declared tensor = {.dtype = dtype, .n_dims = n_dims};
    uint64_t rows = 1;
    bool fits = n_dims >= 1 && n_dims <= 4 && !w->begun;
    for (int i = 0; fits && i < n_dims; i++) {
        tensor.shape[i] = shape[i];
        fits = shape[i] > 0 && (i == n_dims - 1 || !__builtin_mul_overflow(rows, shape[i], &rows));
    }
    if (!fits || !hn_dtype_tensor_bytes(dtype, rows, shape[n_dims - 1], &tensor.size_bytes))
        return hn_fail(err, HN_USAGE, "%s: tensor '%s' can't be written as %s: wrong shape, or %s",
                       w->path, name, hn_dtype_name(dtype),
                       w->begun ? "writing has begun" : "rows that aren't whole blocks");
    for (size_t i = 0; i < w->n_tensors; i++)
        if (!strcmp(w->tensors[i].name, name))
            return hn_fail(err, HN_USAGE, "%s: tensor '%s' declared twice", w->path, name);
    declared *grown = grow(w->tensors, w->n_tensors, &w->tensor_capacity, sizeof *grown);
    if (grown)
        w->tensors = grown;
    tensor.name = grown ? hn_strdup(name) : NULL;
    if (!tensor.name)
        return hn_fail_no_memory(err, sizeof tensor);
    w->tensors[w->n_tensors++] = tensor;
    return HN_OK;
}

/* Lays the tensors out one after the other, each on the alignment that the metadata asks for. */
static hn_status place_tensors(hn_gguf_writer *w, hn_error *err) {
    uint32_t alignment = HN_GGUF_DEFAULT_ALIGNMENT;
    for (size_t i = 0; i < w->n_entries; i++)
        if (!strcmp(w->entries[i].key, "general.alignment") && w->entries[i].type == HN_GGUF_U32)
            memcpy(&alignment, w->entries[i].payload.data, sizeof alignment);
    if (alignment == 0 || (alignment & (alignment - 1)))
        return hn_fail(err, HN_USAGE, "%s: general.alignment %u is no power of two", w->path,
                       alignment);
    w->alignment = alignment;
    uint64_t at = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        w->tensors[i].offset = at;
        if (__builtin_add_overflow(at, w->tensors[i].size_bytes + alignment - 1, &at))
            return hn_fail(err, HN_USAGE, "%s: the tensors' sizes overflow", w->path);
        at -= at % alignment;
    }
    return HN_OK;
}

static void write_string(hn_out *out, const char *data, size_t size) {
    uint64_t n = size;
    hn_out_write(out, &n, sizeof n);
    hn_out_write(out, data, size);
}

static void write_u32(hn_out *out, uint32_t value) {
    hn_out_write(out, &value, sizeof value);
}

static void write_u64(hn_out *out, uint64_t value) {
    hn_out_write(out, &value, sizeof value);
}

hn_status hn_gguf_writer_begin(hn_gguf_writer *w, hn_error *err) {
    HN_TRY(place_tensors(w, err));
    HN_TRY(hn_out_open(&w->out, w->path, err));
    w->begun = true;
    hn_out_write(&w->out, "GGUF", 4);
    write_u32(&w->out, HN_GGUF_VERSION);
    write_u64(&w->out, w->n_tensors);
    write_u64(&w->out, w->n_entries);
    for (size_t i = 0; i < w->n_entries; i++) {
        const entry *e = &w->entries[i];
        write_string(&w->out, e->key, e->key_bytes);
        write_u32(&w->out, e->type);
        hn_out_write(&w->out, e->payload.data, e->payload.size);
    }
    for (size_t i = 0; i < w->n_tensors; i++) {
        const declared *t = &w->tensors[i];
        write_string(&w->out, t->name, strlen(t->name));
        write_u32(&w->out, (uint32_t)t->n_dims);
        for (int d = t->n_dims - 1; d >= 0; d--)
            write_u64(&w->out, t->shape[d]);
        write_u32(&w->out, hn_dtype_get(t->dtype)->ggml_type);
        write_u64(&w->out, t->offset);
    }
    hn_out_pad(&w->out, w->alignment);
    w->data_start = w->out.size;
    return HN_OK;
}

hn_status hn_gguf_writer_data(hn_gguf_writer *w, const void *data, uint64_t size, hn_error *err) {
    if (!w->begun || w->current >= w->n_tensors ||
        size > w->tensors[w->current].size_bytes - w->written)
        return hn_fail(err, HN_USAGE, "%s: more data than was declared", w->path);
    if (!hn_out_write(&w->out, data, (size_t)size)) {
        errno = w->out.error;
        return hn_fail_errno(err, "%s: nothing was written", w->path);
    }
    w->written += size;
    if (w->written == w->tensors[w->current].size_bytes) {
        hn_out_pad(&w->out, w->alignment);
        w->current++;
        w->written = 0;
    }
    return HN_OK;
}

static hn_status check_complete(const hn_gguf_writer *w, hn_error *err) {
    if (w->begun && w->current == w->n_tensors)
        return HN_OK;
    return hn_fail(err, HN_USAGE, "%s: tensor '%s' is still missing data", w->path,
                   w->current < w->n_tensors ? w->tensors[w->current].name : "?");
}

hn_status hn_gguf_writer_read_back(hn_gguf_writer *w, const char **path, hn_error *err) {
    HN_TRY(check_complete(w, err));
    return hn_out_read_back(&w->out, path, err);
}

hn_status hn_gguf_writer_change(hn_gguf_writer *w, const char *name, const void *data,
                                uint64_t size, hn_error *err) {
    HN_TRY(check_complete(w, err));
    for (size_t i = 0; i < w->n_tensors; i++)
        if (!strcmp(w->tensors[i].name, name) && w->tensors[i].size_bytes == size)
            return hn_out_overwrite(&w->out, w->data_start + w->tensors[i].offset, data,
                                    (size_t)size, err);
    return hn_fail(err, HN_USAGE, "%s: no tensor '%s' of %llu bytes is written there", w->path,
                   name, (unsigned long long)size);
}

uint64_t hn_gguf_writer_size(const hn_gguf_writer *w) {
    return w->begun ? w->out.size : 0;
}

hn_status hn_gguf_writer_commit(hn_gguf_writer *w, hn_error *err) {
    hn_status status = check_complete(w, err);
    if (status == HN_OK)
        status = hn_out_commit(&w->out, err);
    hn_gguf_writer_abort(w);
    return status;
}

void hn_gguf_writer_abort(hn_gguf_writer *w) {
    if (!w)
        return;
    if (w->begun)
        hn_out_abort(&w->out);
    for (size_t i = 0; i < w->n_entries; i++) {
        hn_free(w->entries[i].key);
        hn_buf_done(&w->entries[i].payload);
    }
    for (size_t i = 0; i < w->n_tensors; i++)
        hn_free(w->tensors[i].name);
    hn_free(w->entries);
    hn_free(w->tensors);
    hn_free(w->path);
    hn_free(w);
}
