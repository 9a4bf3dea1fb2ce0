/* A checkpoint, with or without an adapter, as a Hugging Face folder of 16- or 32-bit weights. The
 * files appear together when all are written (folder.c). */
#include "release/merge.h"

#include "base/json.h"
#include "base/mem.h"
#include "release/folder.h"
#include "release/grid.h"
#include "release/weights.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 256, BATCH_BYTES = 16 << 20 };
static const uint64_t MAX_SHARD_BYTES = 5000000000; /* transformers' own default */

typedef struct job {
    const hn_checkpoint *ckpt;
    hn_dtype dtype;
    const hn_progress *progress;
    hn_pool *pool;
    hn_st_writer *writer;
    float **rows; /* [n_threads](most columns) */
    int n_threads;
    hn_weight weight;
    int64_t batch_first;
    uint8_t *batch;
    hn_error *thread_errors; /* [n_threads] */
    hn_error *err;
} job;

/* Derived from config.json in a Hugging Face folder. */
static bool is_skipped(const hn_tensor *tensor) {
    return !strcmp(tensor->name, "rope_freqs.weight");
}

static hn_status declare(job *j) {
    for (size_t i = 0; i < j->ckpt->n_tensors; i++) {
        const hn_tensor *tensor = &j->ckpt->tensors[i];
        char name[NAME_BYTES];
        const uint64_t shape[2] = {(uint64_t)tensor->rows, (uint64_t)tensor->cols};
        bool vector = tensor->rows == 1, named;
        if (is_skipped(tensor))
            continue;
        named = j->ckpt->is_gguf
                    ? hn_tensor_hf_name(&j->ckpt->arch, tensor->name, name, sizeof name)
                    : snprintf(name, sizeof name, "%s", tensor->source_name) < NAME_BYTES;
        if (!named)
            return hn_fail(j->err, HN_UNSUPPORTED, "%s: %s has no place in a Hugging Face folder",
                           j->ckpt->path, tensor->name);
        HN_TRY(hn_st_writer_add(j->writer, name, j->dtype, vector ? 1 : 2,
                                vector ? shape + 1 : shape, j->err));
    }
    return HN_OK;
}

static bool convert_rows(void *context, int64_t first, int64_t last, int thread) {
    job *j = context;
    const hn_tensor *tensor = j->weight.tensor;
    size_t row_bytes = hn_dtype_row_bytes(j->dtype, (uint64_t)tensor->cols);
    float *row = j->rows[thread];
    for (int64_t r = first; r < last; r++) {
        hn_error *err = &j->thread_errors[thread];
        hn_weight_row(&j->weight, r, row, row);
        if (hn_row_quantise(j->dtype, row, NULL, tensor->cols,
                            j->batch + (size_t)(r - j->batch_first) * row_bytes, err) != HN_OK) {
            hn_error_prefix(err, "%s: %s: row %lld", j->ckpt->path, tensor->source_name,
                            (long long)r);
            return false;
        }
    }
    return true;
}

static hn_status first_error(job *j) {
    for (int t = 0; t < j->n_threads; t++)
        if (j->thread_errors[t].status != HN_OK) {
            *j->err = j->thread_errors[t];
            return j->err->status;
        }
    return HN_OK;
}

static hn_status write_tensor(job *j, const hn_tensor *tensor, const hn_adapter *adapter) {
    size_t row_bytes = hn_dtype_row_bytes(j->dtype, (uint64_t)tensor->cols);
    int64_t per_batch = (int64_t)(BATCH_BYTES / row_bytes) + 1;
    j->weight = hn_weight_of(j->ckpt, tensor, adapter, false);
    for (int64_t first = 0; first < tensor->rows; first += per_batch) {
        int64_t last = first + per_batch < tensor->rows ? first + per_batch : tensor->rows;
        if (hn_progress_cancelled(j->progress))
            return hn_fail(j->err, HN_CANCELLED, "stopped; no model was written");
        j->batch_first = first;
        if (!hn_rows_run(j->pool, first, last, convert_rows, j))
            return first_error(j);
        HN_TRY(
            hn_st_writer_data(j->writer, j->batch, (uint64_t)(last - first) * row_bytes, j->err));
    }
    return HN_OK;
}

static hn_status make_space(job *j) {
    size_t cols = 1;
    for (size_t i = 0; i < j->ckpt->n_tensors; i++)
        if ((size_t)j->ckpt->tensors[i].cols > cols)
            cols = (size_t)j->ckpt->tensors[i].cols;
    size_t row_bytes = cols * sizeof(float);
    j->batch = hn_malloc(BATCH_BYTES + 2 * row_bytes);
    j->rows = hn_calloc((size_t)j->n_threads, sizeof *j->rows);
    j->thread_errors = hn_calloc((size_t)j->n_threads, sizeof *j->thread_errors);
    bool ok = j->batch && j->rows && j->thread_errors;
    for (int t = 0; ok && t < j->n_threads; t++) {
        j->rows[t] = hn_malloc(row_bytes);
        ok = j->rows[t] != NULL;
    }
    return ok ? HN_OK : hn_fail_no_memory(j->err, BATCH_BYTES + row_bytes);
}

static void job_done(job *j) {
    for (int t = 0; j->rows && t < j->n_threads; t++)
        hn_free(j->rows[t]);
    hn_free(j->rows);
    hn_free(j->batch);
    hn_free(j->thread_errors);
    hn_st_writer_abort(j->writer);
    hn_pool_free(j->pool);
}

static hn_status write_weights(job *j, const hn_adapter *adapter, const char *dir) {
    char *path = hn_path_join(dir, "model.safetensors");
    if (!path)
        return hn_fail_no_memory(j->err, strlen(dir));
    hn_status status = hn_st_writer_new(&j->writer, path, MAX_SHARD_BYTES, j->err);
    hn_free(path);
    HN_TRY(status);
    HN_TRY(hn_st_writer_set_metadata(j->writer, "format", "pt", j->err));
    HN_TRY(declare(j));
    HN_TRY(hn_st_writer_begin(j->writer, j->err));
    for (size_t i = 0; i < j->ckpt->n_tensors; i++) {
        const hn_tensor *tensor = &j->ckpt->tensors[i];
        hn_progress_update(j->progress, "merge", i, j->ckpt->n_tensors, "tensors", tensor->name);
        if (!is_skipped(tensor))
            HN_TRY(write_tensor(j, tensor, adapter));
    }
    hn_progress_update(j->progress, "merge", j->ckpt->n_tensors, j->ckpt->n_tensors, "tensors",
                       NULL);
    hn_st_writer *writer = j->writer;
    j->writer = NULL;
    return hn_st_writer_commit(writer, j->err);
}

hn_status hn_merge_to_hf(const hn_checkpoint *ckpt, const hn_adapter *adapter, const char *dir,
                         hn_dtype dtype, const hn_progress *progress, hn_error *err) {
    hn_error local;
    job j = {.ckpt = ckpt, .dtype = dtype, .progress = progress, .err = err ? err : &local};
    hn_folder folder = {0};
    hn_status status = HN_OK;
    if (hn_dtype_is_quantised(dtype))
        return hn_fail(err, HN_USAGE, "a Hugging Face folder holds bf16, f16 or f32, not %s",
                       hn_dtype_name(dtype));
    HN_GO(hn_pool_new(&j.pool, 0, j.err));
    j.n_threads = hn_pool_threads(j.pool);
    HN_GO(make_space(&j));
    HN_GO(hn_folder_open(&folder, dir, j.err));
    HN_GO(
        hn_merge_write_tokenizer(ckpt, folder.work, j.err)); /* may refuse: before the long work */
    HN_GO(write_weights(&j, adapter, folder.work));
    HN_GO(hn_merge_write_config(ckpt, folder.work, dtype, j.err));
    HN_GO(hn_folder_commit(&folder, j.err));
done:
    hn_folder_abort(&folder);
    job_done(&j);
    return status;
}

hn_status hn_merge_write_json(const char *dir, const char *name, json_t *value, hn_error *err) {
    char *path = hn_path_join(dir, name);
    hn_status status = path && value
                           ? hn_json_write(path, value, err)
                           : hn_fail(err, HN_NO_MEMORY,
                                     "%s/%s: out of memory, or a text that is no UTF-8", dir, name);
    hn_free(path);
    json_decref(value);
    return status;
}

hn_status hn_merge_copy(const hn_checkpoint *ckpt, const char *dir, const char *name,
                        hn_error *err) {
    enum { MAX_FILE_BYTES = 256 << 20 };
    char *from = hn_path_join(ckpt->path, name), *to = hn_path_join(dir, name), *text = NULL;
    size_t size = 0;
    hn_status status = HN_OK;
    if (!from || !to) {
        status = hn_fail_no_memory(err, strlen(dir));
        goto done;
    }
    if (!hn_path_exists(from))
        goto done;
    HN_GO(hn_file_read(from, MAX_FILE_BYTES, &text, &size, err));
    HN_GO(hn_file_write(to, text, size, err));
done:
    hn_free(text);
    hn_free(from);
    hn_free(to);
    return status;
}
