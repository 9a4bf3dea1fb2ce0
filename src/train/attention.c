/* One task is one segment and one KV head: it gathers the keys and values of its path (ancestors'
 * rows, then its own), works through tiles of query rows, and writes only what is its own. What it
 * owes to its ancestors' keys and values goes into a buffer that is added up afterwards in the
 * order of the segments, so that results don't depend on the number of threads. */
#include "train/attention.h"

#include "base/mem.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    TILE_POSITIONS = 16, /* times the query heads of a KV head: rows of one tile */
    KEY_ALIGN = 32,      /* two vectors of the widest level */
    SKEW = 16,           /* a cache line: rows whose stride is odd in lines don't fall into few of
                            the cache's sets, as they do where a stride is a power of two */
};

typedef struct task {
    int32_t segment, kv_head;
    int64_t cost;
} task;

typedef struct thread_scratch {
    float *kt, *vt;       /* (head_dim, keys), row stride key_stride */
    float *k, *v;         /* (keys, head_dim), row stride dim_stride */
    float *dk, *dv;       /* (keys, head_dim) */
    float *s, *dp;        /* (tile rows, keys), row stride key_stride */
    float *q, *d_o, *out; /* (tile rows, head_dim) */
} thread_scratch;

struct hn_attention_plan {
    const hn_tree *tree;
    hn_attention_shape shape;
    int32_t max_keys;   /* longest path, padded */
    int32_t key_stride; /* of rows of keys */
    int32_t dim_stride; /* of rows of a path's k and v */
    int32_t *path_rows; /* (n_segments) rows of all ancestors */
    size_t *owed;       /* (n_segments) where a segment's debt to its ancestors begins, in rows */
    size_t owed_rows;
    float *owed_k, *owed_v; /* (owed_rows, n_head_kv * head_dim) */
    task *tasks;
    int32_t n_tasks;
    int n_threads;
    float *scratch;
    size_t scratch_floats; /* of one thread */
};

static int costliest_first(const void *left, const void *right) {
    const task *a = left, *b = right;
    if (a->cost != b->cost)
        return a->cost > b->cost ? -1 : 1;
    if (a->segment != b->segment)
        return a->segment < b->segment ? -1 : 1;
    return a->kv_head < b->kv_head ? -1 : a->kv_head > b->kv_head;
}

static void measure(hn_attention_plan *plan) {
    const hn_tree *tree = plan->tree;
    int32_t longest = 0;
    for (int32_t s = 0; s < tree->n_segments; s++) {
        const hn_segment *seg = &tree->segments[s];
        plan->path_rows[s] =
            seg->parent < 0 ? 0 : plan->path_rows[seg->parent] + tree->segments[seg->parent].n_rows;
        plan->owed[s] = plan->owed_rows;
        plan->owed_rows += (size_t)plan->path_rows[s];
        if (plan->path_rows[s] + seg->n_rows > longest)
            longest = plan->path_rows[s] + seg->n_rows;
        for (int32_t h = 0; h < plan->shape.n_head_kv; h++)
            plan->tasks[plan->n_tasks++] =
                (task){s, h, (int64_t)seg->n_rows * (plan->path_rows[s] + seg->n_rows / 2)};
    }
    qsort(plan->tasks, (size_t)plan->n_tasks, sizeof *plan->tasks, costliest_first);
    plan->max_keys = (longest + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN;
    plan->key_stride = plan->max_keys + SKEW;
    plan->dim_stride = plan->shape.head_dim + SKEW;
}

static int32_t tile_rows(const hn_attention_plan *plan) {
    return TILE_POSITIONS * (plan->shape.n_head / plan->shape.n_head_kv);
}

hn_status hn_attention_plan_new(hn_attention_plan **out, const hn_tree *tree,
                                hn_attention_shape shape, int n_threads, hn_error *err) {
    hn_attention_plan *plan = hn_calloc(1, sizeof *plan);
    if (!plan)
        return hn_fail_no_memory(err, sizeof *plan);
    *plan = (hn_attention_plan){.tree = tree, .shape = shape, .n_threads = n_threads};
    size_t n = (size_t)tree->n_segments, dim = (size_t)shape.head_dim;
    plan->path_rows = hn_malloc(n * sizeof *plan->path_rows);
    plan->owed = hn_malloc(n * sizeof *plan->owed);
    plan->tasks = hn_malloc(n * (size_t)shape.n_head_kv * sizeof *plan->tasks);
    if (!plan->path_rows || !plan->owed || !plan->tasks) {
        hn_attention_plan_free(plan);
        return hn_fail_no_memory(err, n * sizeof *plan->tasks);
    }
    measure(plan);
    size_t keys = (size_t)plan->max_keys, rows = (size_t)tile_rows(plan);
    plan->scratch_floats = 2 * (size_t)plan->key_stride * (dim + rows) +
                           2 * keys * ((size_t)plan->dim_stride + dim) + 3 * rows * dim;
    size_t owed = plan->owed_rows * (size_t)shape.n_head_kv * dim;
    plan->scratch =
        hn_alloc_aligned((size_t)n_threads * plan->scratch_floats * sizeof *plan->scratch);
    plan->owed_k = hn_alloc_aligned(2 * owed * sizeof *plan->owed_k);
    if (!plan->scratch || !plan->owed_k) {
        hn_status status = hn_fail_no_memory(err, plan->scratch_floats * sizeof *plan->scratch);
        hn_attention_plan_free(plan);
        return status;
    }
    plan->owed_v = plan->owed_k + owed;
    *out = plan;
    return HN_OK;
}

void hn_attention_plan_free(hn_attention_plan *plan) {
    if (!plan)
        return;
    size_t row = (size_t)plan->shape.n_head_kv * (size_t)plan->shape.head_dim;
    hn_free_aligned(plan->owed_k, 2 * plan->owed_rows * row * sizeof *plan->owed_k);
    hn_free_aligned(plan->scratch,
                    (size_t)plan->n_threads * plan->scratch_floats * sizeof *plan->scratch);
    hn_free(plan->path_rows);
    hn_free(plan->owed);
    hn_free(plan->tasks);
    hn_free(plan);
}

static float *take(float **at, size_t rows, int32_t stride) {
    float *piece = *at;
    *at += rows * (size_t)stride;
    return piece;
}

static thread_scratch scratch_of(const hn_attention_plan *plan, int thread) {
    float *at = plan->scratch + (size_t)thread * plan->scratch_floats;
    int32_t dim = plan->shape.head_dim;
    size_t keys = (size_t)plan->max_keys, rows = (size_t)tile_rows(plan);
    thread_scratch t;
    t.kt = take(&at, (size_t)dim, plan->key_stride);
    t.vt = take(&at, (size_t)dim, plan->key_stride);
    t.s = take(&at, rows, plan->key_stride);
    t.dp = take(&at, rows, plan->key_stride);
    t.k = take(&at, keys, plan->dim_stride);
    t.v = take(&at, keys, plan->dim_stride);
    t.dk = take(&at, keys, dim);
    t.dv = take(&at, keys, dim);
    t.q = take(&at, rows, dim);
    t.d_o = take(&at, rows, dim);
    t.out = take(&at, rows, dim);
    return t;
}

/* Copies one head's rows of a whole path, as they are and transposed. Columns up to max_keys that
 * hold no key are zero, so that nothing that was left there can be NaN. */
static void gather_path(const hn_attention_plan *plan, int32_t segment, int32_t head,
                        const float *from, float *rows, float *transposed) {
    int32_t dim = plan->shape.head_dim, stride = plan->shape.n_head_kv * dim;
    size_t row = (size_t)plan->dim_stride;
    int32_t n_keys = plan->path_rows[segment] + plan->tree->segments[segment].n_rows;
    for (int32_t s = segment; s >= 0; s = plan->tree->segments[s].parent) {
        const hn_segment *seg = &plan->tree->segments[s];
        for (int32_t i = 0; i < seg->n_rows; i++)
            memcpy(rows + (size_t)(plan->path_rows[s] + i) * row,
                   from + (size_t)(seg->first_row + i) * (size_t)stride + (size_t)(head * dim),
                   (size_t)dim * sizeof *rows);
    }
    int32_t padded = (n_keys + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN;
    memset(rows + (size_t)n_keys * row, 0, (size_t)(padded - n_keys) * row * sizeof *rows);
    for (int32_t key = 0; transposed && key < padded;
         key += 8) /* 8 rows: a cache line of columns */
        for (int32_t d = 0; d < dim; d++)
            for (int32_t j = key; j < key + 8; j++)
                transposed[(size_t)d * (size_t)plan->key_stride + (size_t)j] =
                    rows[(size_t)j * row + (size_t)d];
}

/* A tile of query positions [first, end) of a segment, as it sees the keys of the path. */
typedef struct query_tile {
    int32_t first, end;     /* positions within the segment */
    int32_t group, rows;    /* query heads of the KV head; rows = positions * group */
    int32_t key_lo, key_hi; /* keys that any row sees; key_lo a multiple of KEY_ALIGN */
    int32_t columns;        /* key_hi - key_lo, padded */
} query_tile;

static query_tile tile_at(const hn_attention_plan *plan, int32_t segment, int32_t first,
                          int32_t window) {
    const hn_segment *seg = &plan->tree->segments[segment];
    query_tile t = {.first = first, .group = plan->shape.n_head / plan->shape.n_head_kv};
    t.end = first + TILE_POSITIONS < seg->n_rows ? first + TILE_POSITIONS : seg->n_rows;
    t.rows = (t.end - first) * t.group;
    t.key_hi = plan->path_rows[segment] + t.end;
    int32_t seen_from = window > 0 ? plan->path_rows[segment] + first - window + 1 : 0;
    t.key_lo = seen_from > 0 ? seen_from / KEY_ALIGN * KEY_ALIGN : 0;
    t.columns = (t.key_hi - t.key_lo + KEY_ALIGN - 1) / KEY_ALIGN * KEY_ALIGN;
    return t;
}

static size_t row_offset(const hn_attention_plan *plan, int32_t segment, const query_tile *t,
                         int32_t kv_head, int32_t row) {
    const hn_segment *seg = &plan->tree->segments[segment];
    size_t position = (size_t)(seg->first_row + t->first + row / t->group);
    size_t head = (size_t)(kv_head * t->group + row % t->group);
    return position * (size_t)plan->shape.n_head + head;
}

static void gather_queries(const hn_attention_plan *plan, const task *job, const query_tile *t,
                           const float *from, float scale, float *to) {
    int32_t dim = plan->shape.head_dim;
    for (int32_t i = 0; i < t->rows; i++) {
        const float *x = from + row_offset(plan, job->segment, t, job->kv_head, i) * (size_t)dim;
        for (int32_t d = 0; d < dim; d++)
            to[i * dim + d] = x[d] * scale;
    }
}

/* The columns of row i's scores that it really sees: [*lo, *hi). */
static void seen_columns(const hn_attention_plan *plan, const task *job, const query_tile *t,
                         int32_t row, int32_t window, int32_t *lo, int32_t *hi) {
    int32_t key = plan->path_rows[job->segment] + t->first + row / t->group;
    *hi = key + 1 - t->key_lo;
    *lo = window > 0 && key - window + 1 > t->key_lo ? key - window + 1 - t->key_lo : 0;
}

static void clear_unseen(float *row, int32_t lo, int32_t hi, int32_t columns) {
    memset(row, 0, (size_t)lo * sizeof *row);
    memset(row + hi, 0, (size_t)(columns - hi) * sizeof *row);
}

typedef struct region {
    hn_attention_plan *plan;
    const hn_train_ops *ops;
    const hn_attention *a;
    atomic_int next;
} region;

static void forward_task(const region *r, const task *job, const thread_scratch *t) {
    const hn_attention_plan *plan = r->plan;
    int32_t dim = plan->shape.head_dim, keys = plan->key_stride;
    gather_path(plan, job->segment, job->kv_head, r->a->k, t->k, t->kt);
    gather_path(plan, job->segment, job->kv_head, r->a->v, t->v, NULL);
    int32_t n = plan->tree->segments[job->segment].n_rows;
    for (int32_t first = 0; first < n; first += TILE_POSITIONS) {
        query_tile tile = tile_at(plan, job->segment, first, r->a->window);
        gather_queries(plan, job, &tile, r->a->q, r->a->scale, t->q);
        r->ops->product(t->q, dim, 1, t->kt + tile.key_lo, keys, t->s, keys, tile.rows,
                        tile.columns, dim, false);
        for (int32_t i = 0; i < tile.rows; i++) {
            int32_t lo, hi;
            float *row = t->s + (size_t)i * (size_t)keys;
            seen_columns(plan, job, &tile, i, r->a->window, &lo, &hi);
            clear_unseen(row, lo, hi, tile.columns);
            r->a->lse[row_offset(plan, job->segment, &tile, job->kv_head, i)] =
                r->ops->softmax(row + lo, hi - lo);
        }
        r->ops->product(t->s, keys, 1, t->v + (size_t)tile.key_lo * (size_t)plan->dim_stride,
                        plan->dim_stride, t->out, dim, tile.rows, dim, tile.key_hi - tile.key_lo,
                        false);
        for (int32_t i = 0; i < tile.rows; i++)
            memcpy(r->a->o + row_offset(plan, job->segment, &tile, job->kv_head, i) * (size_t)dim,
                   t->out + i * dim, (size_t)dim * sizeof(float));
    }
}

/* Softmax's backward on the tile's rows: s becomes the probabilities, dp the gradient of the
 * scores. */
static void backward_scores(const region *r, const task *job, const query_tile *tile,
                            const thread_scratch *t) {
    const hn_attention_plan *plan = r->plan;
    int32_t dim = plan->shape.head_dim, keys = plan->key_stride;
    for (int32_t i = 0; i < tile->rows; i++) {
        size_t at = row_offset(plan, job->segment, tile, job->kv_head, i);
        int32_t lo, hi;
        float *p = t->s + (size_t)i * (size_t)keys, *dp = t->dp + (size_t)i * (size_t)keys;
        seen_columns(plan, job, tile, i, r->a->window, &lo, &hi);
        r->ops->exp_shifted(p + lo, hi - lo, r->a->lse[at]);
        clear_unseen(p, lo, hi, tile->columns);
        float d = r->ops->dot(t->d_o + i * dim, r->a->o + at * (size_t)dim, dim);
        r->ops->softmax_backward(p, dp, tile->columns, d);
    }
}

static void backward_tile(const region *r, const task *job, const query_tile *tile,
                          const thread_scratch *t) {
    const hn_attention_plan *plan = r->plan;
    const hn_train_ops *ops = r->ops;
    int32_t dim = plan->shape.head_dim, keys = plan->key_stride;
    int32_t seen = tile->key_hi - tile->key_lo;
    size_t from = (size_t)tile->key_lo * (size_t)dim;
    gather_queries(plan, job, tile, r->a->q, r->a->scale, t->q);
    gather_queries(plan, job, tile, r->a->d_o, 1.0f, t->d_o);
    ops->product(t->q, dim, 1, t->kt + tile->key_lo, keys, t->s, keys, tile->rows, tile->columns,
                 dim, false);
    ops->product(t->d_o, dim, 1, t->vt + tile->key_lo, keys, t->dp, keys, tile->rows, tile->columns,
                 dim, false);
    backward_scores(r, job, tile, t);
    ops->product(t->s, 1, keys, t->d_o, dim, t->dv + from, dim, seen, dim, tile->rows, true);
    ops->product(t->dp, 1, keys, t->q, dim, t->dk + from, dim, seen, dim, tile->rows, true);
    ops->product(t->dp, keys, 1, t->k + (size_t)tile->key_lo * (size_t)plan->dim_stride,
                 plan->dim_stride, t->out, dim, tile->rows, dim, seen, false);
    for (int32_t i = 0; i < tile->rows; i++) {
        float *dq = r->a->dq + row_offset(plan, job->segment, tile, job->kv_head, i) * (size_t)dim;
        for (int32_t d = 0; d < dim; d++)
            dq[d] = t->out[i * dim + d] * r->a->scale;
    }
}

/* Own rows are set in place, ancestors' shares go to the segment's debt. */
static void scatter_path(const hn_attention_plan *plan, const task *job, const float *rows,
                         float *own, float *owed) {
    int32_t dim = plan->shape.head_dim, stride = plan->shape.n_head_kv * dim;
    const hn_segment *seg = &plan->tree->segments[job->segment];
    int32_t path = plan->path_rows[job->segment];
    size_t head = (size_t)(job->kv_head * dim);
    for (int32_t i = 0; i < path; i++)
        memcpy(owed + (plan->owed[job->segment] + (size_t)i) * (size_t)stride + head,
               rows + (size_t)i * (size_t)dim, (size_t)dim * sizeof *rows);
    for (int32_t i = 0; i < seg->n_rows; i++)
        memcpy(own + (size_t)(seg->first_row + i) * (size_t)stride + head,
               rows + (size_t)(path + i) * (size_t)dim, (size_t)dim * sizeof *rows);
}

static void backward_task(const region *r, const task *job, const thread_scratch *t) {
    const hn_attention_plan *plan = r->plan;
    int32_t dim = plan->shape.head_dim, n = plan->tree->segments[job->segment].n_rows;
    size_t path_floats = (size_t)(plan->path_rows[job->segment] + n) * (size_t)dim;
    gather_path(plan, job->segment, job->kv_head, r->a->k, t->k, t->kt);
    gather_path(plan, job->segment, job->kv_head, r->a->v, t->v, t->vt);
    memset(t->dk, 0, path_floats * sizeof *t->dk);
    memset(t->dv, 0, path_floats * sizeof *t->dv);
    for (int32_t first = 0; first < n; first += TILE_POSITIONS) {
        query_tile tile = tile_at(plan, job->segment, first, r->a->window);
        backward_tile(r, job, &tile, t);
    }
    scatter_path(plan, job, t->dk, r->a->dk, plan->owed_k);
    scatter_path(plan, job, t->dv, r->a->dv, plan->owed_v);
}

static void forward_share(void *arg, int thread, int n_threads) {
    region *r = arg;
    (void)n_threads;
    thread_scratch t = scratch_of(r->plan, thread);
    for (int i; (i = atomic_fetch_add(&r->next, 1)) < r->plan->n_tasks;)
        forward_task(r, &r->plan->tasks[i], &t);
}

static void backward_share(void *arg, int thread, int n_threads) {
    region *r = arg;
    (void)n_threads;
    thread_scratch t = scratch_of(r->plan, thread);
    for (int i; (i = atomic_fetch_add(&r->next, 1)) < r->plan->n_tasks;)
        backward_task(r, &r->plan->tasks[i], &t);
}

/* Pays the debts: each thread adds up its share of a row's columns, descendants in order. */
static void settle_share(void *arg, int thread, int n_threads) {
    region *r = arg;
    const hn_attention_plan *plan = r->plan;
    long stride = (long)plan->shape.n_head_kv * plan->shape.head_dim, first, last;
    hn_pool_share(stride, KEY_ALIGN, thread, n_threads, &first, &last);
    for (int32_t s = 0; s < plan->tree->n_segments; s++)
        for (int32_t p = plan->tree->segments[s].parent; p >= 0;
             p = plan->tree->segments[p].parent) {
            const hn_segment *ancestor = &plan->tree->segments[p];
            for (int32_t i = 0; i < ancestor->n_rows; i++) {
                size_t from = (plan->owed[s] + (size_t)(plan->path_rows[p] + i)) * (size_t)stride;
                size_t to = (size_t)(ancestor->first_row + i) * (size_t)stride;
                r->ops->add(r->a->dk + to + first, plan->owed_k + from + first, last - first, 1.0f);
                r->ops->add(r->a->dv + to + first, plan->owed_v + from + first, last - first, 1.0f);
            }
        }
}

void hn_attention_forward(hn_attention_plan *plan, const hn_train_ops *ops, hn_pool *pool,
                          const hn_attention *a) {
    region r = {.plan = plan, .ops = ops, .a = a};
    hn_pool_run(pool, forward_share, &r);
}

void hn_attention_backward(hn_attention_plan *plan, const hn_train_ops *ops, hn_pool *pool,
                           const hn_attention *a) {
    region r = {.plan = plan, .ops = ops, .a = a};
    hn_pool_run(pool, backward_share, &r);
    if (plan->owed_rows)
        hn_pool_run(pool, settle_share, &r);
}
