/* Safetensors: one file, or the shards that model.safetensors.index.json names.
 * Source of the layout: huggingface/safetensors README (8-byte header length, JSON, data). */
#pragma once

#include "base/dtype.h"
#include "base/file.h"
#include "base/status.h"

#include <jansson.h>
#include <stdint.h>

typedef struct hn_st_tensor {
    const char *name; /* owned by the hn_safetensors */
    hn_dtype dtype;   /* F32, F16 or BF16 */
    int n_dims;
    uint64_t shape[4]; /* outermost first; unused are 1 */
    const uint8_t *data;
    uint64_t size_bytes;
} hn_st_tensor;

typedef struct hn_safetensors {
    hn_map *maps; /* one a shard */
    size_t n_maps;
    hn_st_tensor *tensors;
    size_t n_tensors;
    json_t *metadata; /* __metadata__ of the first file, or NULL */
} hn_safetensors;

/* `path` is a .safetensors file, an index file, or a folder that holds either. Checks header,
 * offsets, overlaps, gaps, sizes, duplicate names. Integer tensors are skipped, others of unknown
 * dtype are HN_UNSUPPORTED. */
HN_MUST_CHECK hn_status hn_safetensors_open(hn_safetensors *st, const char *path, hn_error *err);
HN_MUST_CHECK hn_status hn_safetensors_parse(hn_safetensors *st, const uint8_t *data, size_t size,
                                             const char *name, hn_error *err);
void hn_safetensors_close(hn_safetensors *st);
const hn_st_tensor *hn_safetensors_find(const hn_safetensors *st, const char *name);

typedef struct hn_st_writer hn_st_writer;
/* max_shard_bytes 0 = one file `path`; else shards and an index beside it, as transformers names
 * them. Declare, begin, data in order of declaration, commit. */
HN_MUST_CHECK hn_status hn_st_writer_new(hn_st_writer **writer, const char *path,
                                         uint64_t max_shard_bytes, hn_error *err);
HN_MUST_CHECK hn_status hn_st_writer_set_metadata(hn_st_writer *writer, const char *key,
                                                  const char *value, hn_error *err);
HN_MUST_CHECK hn_status hn_st_writer_add(hn_st_writer *writer, const char *name, hn_dtype dtype,
                                         int n_dims, const uint64_t *shape, hn_error *err);
HN_MUST_CHECK hn_status hn_st_writer_begin(hn_st_writer *writer, hn_error *err);
HN_MUST_CHECK hn_status hn_st_writer_data(hn_st_writer *writer, const void *data, uint64_t size,
                                          hn_error *err);
HN_MUST_CHECK hn_status hn_st_writer_commit(hn_st_writer *writer, hn_error *err);
void hn_st_writer_abort(hn_st_writer *writer);
