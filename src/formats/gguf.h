/* GGUF v2 and v3: read through a read-only map with every length checked, written with alignment.
 * Source of the layout: ggml's docs/gguf.md. */
#pragma once

#include "base/dtype.h"
#include "base/file.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum hn_gguf_type {
    HN_GGUF_U8,
    HN_GGUF_I8,
    HN_GGUF_U16,
    HN_GGUF_I16,
    HN_GGUF_U32,
    HN_GGUF_I32,
    HN_GGUF_F32,
    HN_GGUF_BOOL,
    HN_GGUF_STRING,
    HN_GGUF_ARRAY,
    HN_GGUF_U64,
    HN_GGUF_I64,
    HN_GGUF_F64,
    HN_GGUF_TYPE_COUNT, /* 13, as numbered in the file */
} hn_gguf_type;

/* Borrowed bytes of the map, not NUL-terminated; valid UTF-8 is not promised. */
typedef struct hn_gguf_string {
    const char *data;
    size_t size;
} hn_gguf_string;

typedef struct hn_gguf_value {
    hn_gguf_string key;
    hn_gguf_type type;
    hn_gguf_type item_type; /* of an array */
    uint64_t count;         /* items of an array, else 1 */
    const uint8_t *data;    /* the first item, unaligned, in the map */
    uint64_t size_bytes;
} hn_gguf_value;

typedef struct hn_gguf_tensor {
    hn_gguf_string name;
    hn_dtype dtype;
    int n_dims;
    uint64_t shape[4];   /* outermost first: a matrix is (rows, cols); unused are 1 */
    const uint8_t *data; /* in the map, aligned as the file says */
    uint64_t size_bytes;
} hn_gguf_tensor;

typedef struct hn_gguf {
    hn_map map;
    uint32_t version;
    uint32_t alignment;
    hn_gguf_value *values;
    uint64_t n_values;
    hn_gguf_tensor *tensors;
    uint64_t n_tensors;
    uint64_t data_offset;
    char *path;
} hn_gguf;

/* Everything is checked here: counts, offsets, overlaps, sizes that overflow, known types, unique
 * keys and names. A tensor of a type that hone doesn't know is HN_UNSUPPORTED naming it. */
HN_MUST_CHECK hn_status hn_gguf_open(hn_gguf *gguf, const char *path, hn_error *err);
/* The same over bytes in memory (not owned), for fuzzing. */
HN_MUST_CHECK hn_status hn_gguf_parse(hn_gguf *gguf, const uint8_t *data, size_t size,
                                      const char *name, hn_error *err);
void hn_gguf_close(hn_gguf *gguf);

const hn_gguf_value *hn_gguf_find(const hn_gguf *gguf, const char *key);
const hn_gguf_tensor *hn_gguf_find_tensor(const hn_gguf *gguf, const char *name);

/* Getters: a missing key leaves *out as it was, a wrong type or a value out of range is
 * HN_BAD_INPUT naming file and key. Any integer type is accepted where it fits. */
HN_MUST_CHECK hn_status hn_gguf_get_u64(const hn_gguf *gguf, const char *key, uint64_t *out,
                                        hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_get_f64(const hn_gguf *gguf, const char *key, double *out,
                                        hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_get_bool(const hn_gguf *gguf, const char *key, bool *out,
                                         hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_get_string(const hn_gguf *gguf, const char *key,
                                           hn_gguf_string *out, hn_error *err);
/* Items of an array value, i < value->count; the caller has checked value->item_type. */
int64_t hn_gguf_item_i64(const hn_gguf_value *value, uint64_t i);
double hn_gguf_item_f64(const hn_gguf_value *value, uint64_t i);
/* The strings one after another, borrowed from the map: *at is NULL before the first. */
hn_gguf_string hn_gguf_item_next(const hn_gguf_value *value, const uint8_t **at);

/* Writing: declare all metadata and tensors, begin, then give the tensors' bytes in the order of
 * their declaration, then commit. */
typedef struct hn_gguf_writer hn_gguf_writer;

HN_MUST_CHECK hn_status hn_gguf_writer_new(hn_gguf_writer **writer, const char *path,
                                           hn_error *err);
/* Copies a value as it stands, e.g. all metadata of another file. A key set twice: the last wins.
 */
HN_MUST_CHECK hn_status hn_gguf_writer_copy(hn_gguf_writer *writer, const hn_gguf_value *value,
                                            hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_set_u32(hn_gguf_writer *writer, const char *key,
                                               uint32_t value, hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_set_f32(hn_gguf_writer *writer, const char *key, float value,
                                               hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_set_bool(hn_gguf_writer *writer, const char *key, bool value,
                                                hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_set_string(hn_gguf_writer *writer, const char *key,
                                                  const char *data, size_t size, hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_set_strings(hn_gguf_writer *writer, const char *key,
                                                   const hn_gguf_string *strings, uint64_t count,
                                                   hn_error *err);
/* item_type one of the fixed-size types; items lie in native order. */
HN_MUST_CHECK hn_status hn_gguf_writer_set_array(hn_gguf_writer *writer, const char *key,
                                                 hn_gguf_type item_type, const void *items,
                                                 uint64_t count, hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_add_tensor(hn_gguf_writer *writer, const char *name,
                                                  hn_dtype dtype, int n_dims, const uint64_t *shape,
                                                  hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_begin(hn_gguf_writer *writer, hn_error *err);
HN_MUST_CHECK hn_status hn_gguf_writer_data(hn_gguf_writer *writer, const void *data, uint64_t size,
                                            hn_error *err);
/* When all tensors have come: what can be read at *path until the writer ends, the file before it
 * is published. HN_UNSUPPORTED where what is written is a device or a pipe. */
HN_MUST_CHECK hn_status hn_gguf_writer_read_back(hn_gguf_writer *writer, const char **path,
                                                 hn_error *err);
/* Then: other bytes for a tensor, all of them. */
HN_MUST_CHECK hn_status hn_gguf_writer_change(hn_gguf_writer *writer, const char *name,
                                              const void *data, uint64_t size, hn_error *err);
/* Bytes given to the file so far. */
uint64_t hn_gguf_writer_size(const hn_gguf_writer *writer);
/* Publishes the file (all tensors must have come, each with its size) and frees the writer. */
HN_MUST_CHECK hn_status hn_gguf_writer_commit(hn_gguf_writer *writer, hn_error *err);
/* Drops everything; NULL is fine. */
void hn_gguf_writer_abort(hn_gguf_writer *writer);
