/* Packing whole matrices: the pool shares out the rows of all of them. And single rows back. */
#include "base/mem.h"
#include "kernels/compute.h"
#include "kernels/pack_rows.h"
#include "kernels/unit.h"

#include <stdatomic.h>
#include <string.h>

/* A thread takes this much of the packed bytes at a time: little enough to share out the last
 * matrix, enough that taking costs nothing. */
enum { CHUNK_BYTES = 512 << 10 };

typedef struct pack_job {
    const hn_matrix_source *sources;
    int n;
    const hn_errand *errand;
    uint8_t *packed;      /* the sources one after another */
    _Atomic int64_t next; /* chunk, counted over all sources */
    atomic_bool bad;      /* somewhere a value isn't finite */
} pack_job;

static int64_t groups_of(const hn_matrix_source *source) {
    return source->rows / HN_UNIT_ROWS + (source->rows % HN_UNIT_ROWS != 0);
}

static size_t group_bytes_of(const hn_matrix_source *source) {
    return hn_layout_group_bytes(HN_LAYOUTS[source->dtype], source->cols);
}

static int64_t groups_a_chunk(const hn_matrix_source *source) {
    size_t bytes = group_bytes_of(source);
    return bytes < CHUNK_BYTES ? (int64_t)(CHUNK_BYTES / bytes) : 1;
}

/* Groups [first, last) to `packed`, which holds zeros. False when a value isn't finite. */
static bool pack_groups(const hn_matrix_source *source, int64_t first, int64_t last,
                        uint8_t *packed) {
    const size_t row_bytes = hn_dtype_row_bytes(source->dtype, (uint64_t)source->cols);
    const int64_t begin = first * HN_UNIT_ROWS;
    const int64_t end = last * HN_UNIT_ROWS < source->rows ? last * HN_UNIT_ROWS : source->rows;
    const uint8_t *data = (const uint8_t *)source->data + (size_t)begin * row_bytes;
    bool finite = true;
    for (int64_t i = 0; i < end - begin; i++)
        finite &= hn_pack_row(source->dtype, data + (size_t)i * row_bytes, source->cols,
                              packed + (size_t)(i / HN_UNIT_ROWS) * group_bytes_of(source),
                              (int)(i % HN_UNIT_ROWS));
    if (source->map)
        hn_map_release(source->map, data, (size_t)(end - begin) * row_bytes);
    return finite;
}

static void pack_share(void *arg, int thread, int n_threads) {
    (void)n_threads;
    pack_job *job = arg;
    if (thread == 0 && job->errand)
        job->errand->run(job->errand->context);
    uint8_t *packed = job->packed;
    int64_t passed = 0; /* chunks of the sources that lie behind */
    int64_t chunk = atomic_fetch_add(&job->next, 1);
    for (int i = 0; i < job->n; i++) {
        const hn_matrix_source *source = &job->sources[i];
        const int64_t grain = groups_a_chunk(source);
        const int64_t chunks = (groups_of(source) + grain - 1) / grain;
        for (; chunk < passed + chunks; chunk = atomic_fetch_add(&job->next, 1)) {
            const int64_t first = (chunk - passed) * grain;
            if (!pack_groups(source, first, first + grain,
                             packed + (size_t)first * group_bytes_of(source)))
                atomic_store(&job->bad, true);
        }
        passed += chunks;
        packed += (size_t)groups_of(source) * group_bytes_of(source);
    }
}

static hn_status packed_bytes(const hn_matrix_source *source, size_t *bytes, hn_error *err) {
    const hn_dtype_info *info = hn_dtype_get(source->dtype);
    const int64_t rows = source->rows, cols = source->cols;
    if (rows <= 0 || cols <= 0 || cols % info->block_values)
        return hn_fail(err, HN_BAD_INPUT,
                       "a matrix of %lld x %lld values can't be %s: columns come in blocks of %u",
                       (long long)rows, (long long)cols, info->name, info->block_values);
    if (cols > INT32_MAX ||
        hn_mul_overflows((size_t)groups_of(source), group_bytes_of(source), bytes))
        return hn_fail(err, HN_BAD_INPUT, "a matrix of %lld x %lld values is too large",
                       (long long)rows, (long long)cols);
    return HN_OK;
}

hn_status hn_matrices_bytes(const hn_matrix_source *sources, int n, size_t *total, hn_error *err) {
    *total = 0;
    for (int i = 0; i < n; i++) {
        size_t bytes;
        if (packed_bytes(&sources[i], &bytes, err) != HN_OK)
            return hn_error_prefix(err, "%s", sources[i].name);
        if (hn_add_overflows(*total, bytes, total))
            return hn_fail_no_memory(err, SIZE_MAX);
    }
    return HN_OK;
}

/* Names the first value that isn't finite. */
static hn_status fail_bad_value(const hn_matrix_source *sources, int n, hn_error *err) {
    for (int i = 0; i < n; i++) {
        const hn_matrix_source *s = &sources[i];
        const uint8_t *row = s->data;
        for (int64_t r = 0; r < s->rows; r++) {
            int64_t col = hn_find_bad_column(s->dtype, row, s->cols);
            if (col >= 0)
                return hn_fail(
                    err, HN_BAD_INPUT,
                    "%s: row %lld, column %lld: the %s isn't a finite number; the file is damaged",
                    s->name, (long long)r, (long long)col,
                    hn_dtype_is_quantised(s->dtype) ? "scale" : "value");
            row += hn_dtype_row_bytes(s->dtype, (uint64_t)s->cols);
        }
    }
    return hn_fail(err, HN_BAD_INPUT, "the weights changed while they were read");
}

void hn_matrices_bind(const hn_matrix_source *sources, int n, const void *packed) {
    uint8_t *at = (uint8_t *)(uintptr_t)packed; /* nobody writes to a matrix that is borrowed */
    for (int i = 0; i < n; i++) {
        const hn_matrix_source *s = &sources[i];
        const size_t size = (size_t)groups_of(s) * group_bytes_of(s);
        *s->out = (hn_matrix){.dtype = s->dtype,
                              .rows = s->rows,
                              .cols = s->cols,
                              .packed = at,
                              .packed_bytes = size,
                              .borrowed = true};
        at += size;
    }
}

hn_status hn_matrices_pack(hn_compute *compute, const hn_matrix_source *sources, int n,
                           const hn_errand *errand, hn_weights *out, hn_error *err) {
    size_t bytes;
    HN_TRY(hn_matrices_bytes(sources, n, &bytes, err));
    uint8_t *packed = hn_alloc_aligned(bytes);
    if (!packed)
        return hn_fail_no_memory(err, bytes);
    pack_job job = {.sources = sources, .n = n, .errand = errand, .packed = packed};
    hn_pool_run(compute->pool, pack_share, &job);
    if (atomic_load(&job.bad)) {
        hn_free_aligned(packed, bytes);
        return fail_bad_value(sources, n, err);
    }
    *out = (hn_weights){packed, bytes};
    hn_matrices_bind(sources, n, packed);
    return HN_OK;
}

/* --- to a sink ------------------------------------------------------------------------------- */

typedef struct piece_job {
    const hn_matrix_source *sources;
    int n;
    const hn_errand *errand;
    const hn_pack_sink *sink;
    size_t bytes;   /* of all */
    uint8_t *rooms; /* room_bytes for each thread: a piece, with all of the groups at its ends */
    size_t room_bytes;
    _Atomic size_t next; /* piece */
    atomic_bool bad, refused;
} piece_job;

/* Bytes [begin, end) of what all sources are packed to. A group that crosses a border is packed for
 * both pieces. */
static void pack_piece(piece_job *job, uint8_t *room, size_t begin, size_t end) {
    size_t base = 0, room_begin = begin;
    memset(room, 0, job->room_bytes);
    for (int i = 0; i < job->n && base < end; i++) {
        const hn_matrix_source *source = &job->sources[i];
        const size_t group = group_bytes_of(source), size = (size_t)groups_of(source) * group;
        if (base + size > begin) {
            const size_t first = begin > base ? (begin - base) / group : 0;
            const size_t last = end < base + size ? (end - base + group - 1) / group : size / group;
            if (begin >= base)
                room_begin = base + first * group;
            if (!pack_groups(source, (int64_t)first, (int64_t)last,
                             room + (base + first * group - room_begin)))
                atomic_store(&job->bad, true);
        }
        base += size;
    }
    if (!job->sink->put(job->sink->context, room + (begin - room_begin), begin, end - begin))
        atomic_store(&job->refused, true);
}

static void piece_share(void *arg, int thread, int n_threads) {
    (void)n_threads;
    piece_job *job = arg;
    if (thread == 0 && job->errand)
        job->errand->run(job->errand->context);
    const size_t piece = job->sink->piece_bytes, lead = job->sink->lead_bytes;
    for (;;) {
        const size_t k = atomic_fetch_add(&job->next, 1);
        const size_t begin = k ? k * piece - lead : 0;
        if (begin >= job->bytes || atomic_load(&job->refused))
            return;
        const size_t end = (k + 1) * piece - lead;
        pack_piece(job, job->rooms + (size_t)thread * job->room_bytes, begin,
                   end < job->bytes ? end : job->bytes);
    }
}

hn_status hn_matrices_pack_to(hn_compute *compute, const hn_matrix_source *sources, int n,
                              const hn_errand *errand, const hn_pack_sink *sink, hn_error *err) {
    piece_job job = {.sources = sources, .n = n, .errand = errand, .sink = sink};
    HN_TRY(hn_matrices_bytes(sources, n, &job.bytes, err));
    size_t group = 0;
    for (int i = 0; i < n; i++)
        if (group_bytes_of(&sources[i]) > group)
            group = group_bytes_of(&sources[i]);
    job.room_bytes = sink->piece_bytes + 2 * group;
    const size_t bytes = job.room_bytes * (size_t)hn_pool_threads(compute->pool);
    job.rooms = hn_alloc_aligned(bytes);
    if (!job.rooms)
        return hn_fail_no_memory(err, bytes);
    hn_pool_run(compute->pool, piece_share, &job);
    hn_free_aligned(job.rooms, bytes);
    if (atomic_load(&job.bad))
        return fail_bad_value(sources, n, err);
    if (atomic_load(&job.refused))
        return hn_fail(err, HN_IO, "the packed weights could not be put away");
    return HN_OK;
}

void hn_weights_done(hn_weights *weights) {
    hn_free_aligned(weights->data, weights->bytes);
    *weights = (hn_weights){0};
}

hn_status hn_matrix_pack(hn_compute *compute, hn_matrix *out, hn_dtype dtype, int64_t rows,
                         int64_t cols, const void *data, hn_error *err) {
    hn_matrix_source source = {"weights", dtype, rows, cols, data, out, NULL};
    hn_weights weights;
    HN_TRY(hn_matrices_pack(compute, &source, 1, NULL, &weights, err));
    out->borrowed = false; /* the memory is this one matrix */
    return HN_OK;
}

void hn_matrix_done(hn_matrix *matrix) {
    if (!matrix->borrowed)
        hn_free_aligned(matrix->packed, matrix->packed_bytes);
    *matrix = (hn_matrix){0};
}

void hn_matrix_row(const hn_matrix *matrix, int64_t row, float *out) {
    const hn_layout l = HN_LAYOUTS[matrix->dtype];
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    const uint8_t *unit = (const uint8_t *)matrix->packed +
                          (size_t)(row / HN_UNIT_ROWS) * hn_layout_group_bytes(l, matrix->cols);
    const int r = (int)(row % HN_UNIT_ROWS);
    for (int64_t col = 0; col < matrix->cols; col++) {
        const uint8_t *u = unit + (size_t)(col / HN_UNIT_COLS) * unit_bytes;
        int c = (int)(col % HN_UNIT_COLS);
        out[col] = l.sub_blocks ? hn_unit_value(l, u, r, c) : hn_unit_float(matrix->dtype, u, r, c);
    }
}
