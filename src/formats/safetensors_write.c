/* Writing safetensors: one file, or shards with the index that transformers reads. All files are
 * published together at commit, the index last, so that a reader never sees half a model. */
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct declared {
    char *name;
    hn_dtype dtype;
    int n_dims;
    uint64_t shape[4];
    uint64_t size_bytes, offset; /* offset within its shard's data */
    size_t shard;
} declared;

struct hn_st_writer {
    char *path;
    uint64_t max_shard_bytes;
    json_t *metadata;
    declared *tensors;
    size_t n_tensors, capacity;
    hn_out *outs; /* one a shard */
    size_t n_outs, n_shards;
    bool begun;
    size_t current;
    uint64_t written;
};

hn_status hn_st_writer_new(hn_st_writer **writer, const char *path, uint64_t max_shard_bytes,
                           hn_error *err) {
    hn_st_writer *w = hn_calloc(1, sizeof *w);
    char *copy = hn_strdup(path);
    json_t *metadata = json_object();
    if (!w || !copy || !metadata) {
        hn_free(w);
        hn_free(copy);
        json_decref(metadata);
        return hn_fail_no_memory(err, sizeof *w);
    }
    *w = (hn_st_writer){.path = copy, .max_shard_bytes = max_shard_bytes, .metadata = metadata};
    *writer = w;
    return HN_OK;
}

hn_status hn_st_writer_set_metadata(hn_st_writer *w, const char *key, const char *value,
                                    hn_error *err) {
    if (json_object_set_new(w->metadata, key, json_string(value)))
        return hn_fail(err, HN_USAGE, "%s: metadata '%s' is no UTF-8 or memory is short", w->path,
                       key);
    return HN_OK;
}

hn_status hn_st_writer_add(hn_st_writer *w, const char *name, hn_dtype dtype, int n_dims,
                           const uint64_t *shape, hn_error *err) {
    declared tensor = {.dtype = dtype, .n_dims = n_dims};
    bool fits = !w->begun && n_dims >= 0 && n_dims <= 4 && !hn_dtype_is_quantised(dtype);
    tensor.size_bytes = hn_dtype_get(dtype)->block_bytes;
    for (int i = 0; fits && i < n_dims; i++) {
        tensor.shape[i] = shape[i];
        fits = !__builtin_mul_overflow(tensor.size_bytes, shape[i], &tensor.size_bytes);
    }
    for (size_t i = 0; fits && i < w->n_tensors; i++)
        fits = strcmp(w->tensors[i].name, name) != 0;
    if (!fits)
        return hn_fail(err, HN_USAGE,
                       "%s: tensor '%s' can't be declared: wrong shape or type, a name used twice, "
                       "or too late",
                       w->path, name);
    if (w->n_tensors == w->capacity) {
        size_t capacity = w->capacity ? w->capacity * 2 : 64;
        declared *grown = hn_reallocarray(w->tensors, capacity, sizeof *grown);
        if (!grown)
            return hn_fail_no_memory(err, capacity * sizeof *grown);
        w->tensors = grown;
        w->capacity = capacity;
    }
    tensor.name = hn_strdup(name);
    if (!tensor.name)
        return hn_fail_no_memory(err, strlen(name));
    w->tensors[w->n_tensors++] = tensor;
    return HN_OK;
}

/* Fills shards in order; a tensor larger than the limit has one to itself. */
static hn_status assign_shards(hn_st_writer *w, hn_error *err) {
    uint64_t at = 0, limit = w->max_shard_bytes ? w->max_shard_bytes : UINT64_MAX;
    size_t shard = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        declared *t = &w->tensors[i];
        if (at > 0 && (at > limit || t->size_bytes > limit - at)) {
            shard++;
            at = 0;
        }
        t->shard = shard;
        t->offset = at;
        if (__builtin_add_overflow(at, t->size_bytes, &at))
            return hn_fail(err, HN_USAGE, "%s: the tensors' sizes overflow", w->path);
    }
    w->n_shards = shard + 1;
    return HN_OK;
}

/* "dir/model.safetensors" becomes "dir/model-00001-of-00003.safetensors" when there are several. */
static char *shard_path(const hn_st_writer *w, size_t shard) {
    static const char SUFFIX[] = ".safetensors";
    if (w->n_shards == 1)
        return hn_strdup(w->path);
    size_t stem = strlen(w->path);
    if (stem > sizeof SUFFIX - 1 && !strcmp(w->path + stem - (sizeof SUFFIX - 1), SUFFIX))
        stem -= sizeof SUFFIX - 1;
    hn_buf buf = {0};
    hn_buf_append(&buf, w->path, stem);
    hn_buf_printf(&buf, "-%05zu-of-%05zu%s", shard + 1, w->n_shards, SUFFIX);
    return hn_buf_take(&buf);
}

static const char *type_name(hn_dtype dtype) {
    return dtype == HN_F32 ? "F32" : dtype == HN_F16 ? "F16" : "BF16";
}

static json_t *header_json(const hn_st_writer *w, size_t shard) {
    json_t *header = json_object();
    bool ok = header != NULL;
    if (json_object_size(w->metadata))
        ok = ok && !json_object_set(header, "__metadata__", w->metadata);
    for (size_t i = 0; ok && i < w->n_tensors; i++) {
        const declared *t = &w->tensors[i];
        if (t->shard != shard)
            continue;
        json_t *shape = json_array();
        for (int d = 0; d < t->n_dims; d++)
            ok = !json_array_append_new(shape, json_integer((json_int_t)t->shape[d])) && ok;
        json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", type_name(t->dtype), "shape",
                                  shape, "data_offsets", (json_int_t)t->offset,
                                  (json_int_t)(t->offset + t->size_bytes));
        ok = !json_object_set_new(header, t->name, entry) && ok;
    }
    if (ok)
        return header;
    json_decref(header);
    return NULL;
}

static hn_status write_header(const hn_st_writer *w, size_t shard, hn_out *out, hn_error *err) {
    static const char SPACES[8] = "       ";
    json_t *header = header_json(w, shard);
    char *text = header ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!text)
        return hn_fail(err, HN_NO_MEMORY, "%s: out of memory while writing the header", w->path);
    size_t size = strlen(text), padding = (8 - size % 8) % 8; /* data starts aligned */
    uint64_t total = size + padding;
    hn_out_write(out, &total, sizeof total);
    hn_out_write(out, text, size);
    hn_out_write(out, SPACES, padding);
    free(text);
    return HN_OK;
}

hn_status hn_st_writer_begin(hn_st_writer *w, hn_error *err) {
    HN_TRY(assign_shards(w, err));
    w->outs = hn_calloc(w->n_shards, sizeof *w->outs);
    if (!w->outs)
        return hn_fail_no_memory(err, w->n_shards * sizeof *w->outs);
    w->begun = true;
    for (size_t i = 0; i < w->n_shards; i++) {
        char *path = shard_path(w, i);
        if (!path)
            return hn_fail_no_memory(err, strlen(w->path));
        hn_status status = hn_out_open(&w->outs[i], path, err);
        hn_free(path);
        HN_TRY(status);
        w->n_outs++;
        HN_TRY(write_header(w, i, &w->outs[i], err));
    }
    return HN_OK;
}

hn_status hn_st_writer_data(hn_st_writer *w, const void *data, uint64_t size, hn_error *err) {
    while (w->begun && w->current < w->n_tensors && w->tensors[w->current].size_bytes == 0)
        w->current++;
    if (!w->begun || w->n_outs != w->n_shards || w->current >= w->n_tensors ||
        size > w->tensors[w->current].size_bytes - w->written)
        return hn_fail(err, HN_USAGE, "%s: more data than was declared", w->path);
    hn_out *out = &w->outs[w->tensors[w->current].shard];
    if (!hn_out_write(out, data, (size_t)size)) {
        errno = out->error;
        return hn_fail_errno(err, "%s: nothing was written", w->path);
    }
    w->written += size;
    if (w->written == w->tensors[w->current].size_bytes) {
        w->current++;
        w->written = 0;
    }
    return HN_OK;
}

static hn_status write_index(const hn_st_writer *w, hn_error *err) {
    json_t *map = json_object();
    json_t *index = NULL;
    hn_buf path = {0};
    uint64_t total = 0;
    hn_status status = HN_OK;
    bool ok = map != NULL;
    for (size_t i = 0; ok && i < w->n_tensors; i++) {
        char *file = shard_path(w, w->tensors[i].shard);
        const char *name = file ? strrchr(file, '/') : NULL;
        name = name ? name + 1 : file;
        ok = file && !json_object_set_new(map, w->tensors[i].name, json_string(name));
        hn_free(file);
        total += w->tensors[i].size_bytes;
    }
    index =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    hn_buf_printf(&path, "%s.index.json", w->path);
    if (!ok || !index)
        status = hn_fail(err, HN_NO_MEMORY, "%s: out of memory while writing the index", w->path);
    if (status == HN_OK)
        status = hn_buf_check(&path, err);
    if (status == HN_OK)
        status = hn_json_write(hn_buf_text(&path), index, err);
    hn_buf_done(&path);
    json_decref(index);
    return status;
}

hn_status hn_st_writer_commit(hn_st_writer *w, hn_error *err) {
    hn_status status = HN_OK;
    while (w->current < w->n_tensors && w->tensors[w->current].size_bytes == 0)
        w->current++;
    if (!w->begun || w->current != w->n_tensors) {
        status = hn_fail(err, HN_USAGE, "%s: tensor '%s' is still missing data", w->path,
                         w->current < w->n_tensors ? w->tensors[w->current].name : "?");
        goto done;
    }
    for (size_t i = 0; i < w->n_shards; i++)
        HN_GO(hn_out_commit(&w->outs[i], err));
    if (w->n_shards > 1)
        HN_GO(write_index(w, err));
done:
    hn_st_writer_abort(w);
    return status;
}

void hn_st_writer_abort(hn_st_writer *w) {
    if (!w)
        return;
    for (size_t i = 0; i < w->n_outs; i++)
        hn_out_abort(&w->outs[i]);
    for (size_t i = 0; i < w->n_tensors; i++)
        hn_free(w->tensors[i].name);
    hn_free(w->tensors);
    hn_free(w->outs);
    hn_free(w->path);
    json_decref(w->metadata);
    hn_free(w);
}
