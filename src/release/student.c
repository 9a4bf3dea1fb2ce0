#include "release/student.h"

#include "base/mem.h"
#include "model/checkpoint_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GRAIN = 32, NAME_BYTES = 96 }; /* the block of the quantised types */

/* Row (or column) i of the student is the mean of `pool` of the teacher's; index NULL = itself. */
typedef struct picks {
    int32_t *index; /* (n * pool) */
    int64_t n;
    int pool;
} picks;

typedef struct student {
    const hn_checkpoint *teacher;
    hn_arch arch;
    int shared;
    hn_checkpoint ckpt;    /* the teacher's, with tensors and sizes of its own */
    picks dims, q, kv, ff; /* ff: of the layer being made */
    float *values;         /* of one tensor of the teacher */
    hn_error *err;
} student;

static int rounded(double x, int grain) {
    int n = (int)(x / grain + 0.5) * grain;
    return n > grain ? n : grain;
}

static hn_status too_many(const char *what, int wanted, int there, hn_error *err) {
    return hn_fail(err, HN_USAGE, "%d %s: the teacher has %d, and a student has no more", wanted,
                   what, there);
}

static hn_status check_heads(const hn_arch *t, const hn_arch *s, hn_error *err) {
    if (s->n_head_kv > t->n_head_kv)
        return too_many("key-value heads", s->n_head_kv, t->n_head_kv, err);
    if (s->n_head > t->n_head)
        return too_many("heads", s->n_head, t->n_head, err);
    if (t->n_head_kv % s->n_head_kv)
        return hn_fail(err, HN_USAGE, "%d key-value heads: the teacher's %d can't be shared out",
                       s->n_head_kv, t->n_head_kv);
    if (s->n_head % s->n_head_kv)
        return hn_fail(err, HN_USAGE, "%d heads can't share %d key-value heads evenly", s->n_head,
                       s->n_head_kv);
    return HN_OK;
}

hn_status hn_student_arch(const hn_arch *t, const hn_student_options *o, hn_arch *out,
                          hn_error *err) {
    hn_arch s = *t;
    if (t->sliding_window > 0)
        return hn_fail(
            err, HN_UNSUPPORTED,
            "%s: layers see windows by their place, so that other layers in their places "
            "make another model",
            t->family);
    s.n_layer = o->n_layer ? o->n_layer : t->n_layer;
    s.n_embd = o->n_embd ? o->n_embd : t->n_embd;
    double share = (double)s.n_embd / t->n_embd;
    s.n_ff = o->n_ff                                ? o->n_ff
             : o->n_embd == t->n_embd || !o->n_embd ? t->n_ff
                                                    : rounded(t->n_ff * share, GRAIN);
    s.n_head_kv = o->n_head_kv ? o->n_head_kv : t->n_head_kv;
    if (o->n_head)
        s.n_head = o->n_head;
    else if (s.n_head_kv > 0 && s.n_embd != t->n_embd)
        s.n_head = rounded(t->n_head * share, s.n_head_kv);
    if (s.n_layer < 1 || s.n_embd < 1 || s.n_ff < 1 || s.n_head < 1 || s.n_head_kv < 1)
        return hn_fail(err, HN_USAGE, "a student needs at least one of everything");
    if (s.n_layer > t->n_layer)
        return too_many("layers", s.n_layer, t->n_layer, err);
    if (s.n_embd > t->n_embd || s.n_ff > t->n_ff)
        return too_many(s.n_embd > t->n_embd ? "hidden dimensions" : "MLP neurons",
                        s.n_embd > t->n_embd ? s.n_embd : s.n_ff,
                        s.n_embd > t->n_embd ? t->n_embd : t->n_ff, err);
    if ((s.n_embd != t->n_embd && s.n_embd % GRAIN) || (s.n_ff != t->n_ff && s.n_ff % GRAIN))
        return hn_fail(err, HN_USAGE,
                       "%d x %d: sizes must be multiples of %d, or no 4-bit type fits", s.n_embd,
                       s.n_ff, GRAIN);
    if (o->shared > 1 && s.n_layer % o->shared)
        return hn_fail(err, HN_USAGE, "%d layers can't share their weights %d at a time", s.n_layer,
                       o->shared);
    HN_TRY(check_heads(t, &s, err));
    *out = s;
    return HN_OK;
}

static hn_status picks_new(picks *p, int64_t n, int pool, hn_error *err) {
    *p = (picks){.n = n, .pool = pool};
    p->index = hn_malloc((size_t)(n * pool) * sizeof *p->index);
    return p->index ? HN_OK : hn_fail_no_memory(err, (size_t)(n * pool) * sizeof *p->index);
}

typedef struct weighed {
    double size;
    int32_t index;
} weighed;

static int largest_first(const void *left, const void *right) {
    const weighed *a = left, *b = right;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int ascending(const void *left, const void *right) {
    int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return (a > b) - (a < b);
}

/* The p->n largest of n, in their own order. */
static void pick_largest(weighed *items, int64_t n, picks *p) {
    qsort(items, (size_t)n, sizeof *items, largest_first);
    for (int64_t i = 0; i < p->n; i++)
        p->index[i] = items[i].index;
    qsort(p->index, (size_t)p->n, sizeof *p->index, ascending);
}

static void read_tensor(const student *s, const char *name) {
    const hn_tensor *tensor = hn_checkpoint_find(s->teacher, name);
    hn_tensor_values(tensor, s->values);
    for (int64_t c = 0; tensor->rows == 1 && c < tensor->cols; c++)
        s->values[c] -= tensor->add; /* as the file has it */
}

/* By what embeddings put into each dimension and what the last norm takes out. */
static hn_status pick_dims(student *s) {
    const hn_arch *t = &s->teacher->arch;
    HN_TRY(picks_new(&s->dims, s->arch.n_embd, 1, s->err));
    weighed *items = hn_calloc((size_t)t->n_embd, sizeof *items);
    if (!items)
        return hn_fail_no_memory(s->err, (size_t)t->n_embd * sizeof *items);
    read_tensor(s, "token_embd.weight");
    for (int64_t i = 0; i < (int64_t)t->n_vocab * t->n_embd; i++)
        items[i % t->n_embd].size += (double)s->values[i] * (double)s->values[i];
    read_tensor(s, "output_norm.weight");
    for (int32_t d = 0; d < t->n_embd; d++) {
        items[d].size *= (double)s->values[d] * (double)s->values[d];
        items[d].index = d;
    }
    pick_largest(items, t->n_embd, &s->dims);
    hn_free(items);
    return HN_OK;
}

/* Whole heads, their rows together. */
static hn_status pick_heads(student *s) {
    const hn_arch *t = &s->teacher->arch, *a = &s->arch;
    int per_kv = a->n_head / a->n_head_kv, there = t->n_head / a->n_head_kv;
    int pool = t->n_head_kv / a->n_head_kv, d = a->head_dim;
    HN_TRY(picks_new(&s->q, (int64_t)a->n_head * d, 1, s->err));
    HN_TRY(picks_new(&s->kv, (int64_t)a->n_head_kv * d, pool, s->err));
    for (int h = 0; h < a->n_head; h++) {
        int from = h / per_kv * there + h % per_kv * there / per_kv;
        for (int i = 0; i < d; i++)
            s->q.index[h * d + i] = from * d + i;
    }
    for (int h = 0; h < a->n_head_kv; h++)
        for (int i = 0; i < d; i++)
            for (int p = 0; p < pool; p++)
                s->kv.index[(h * d + i) * pool + p] = (h * pool + p) * d + i;
    return HN_OK;
}

/* The neurons of a layer whose gate and up rows are largest together. */
static hn_status pick_neurons(student *s, int layer) {
    const hn_arch *t = &s->teacher->arch;
    weighed *items = hn_calloc((size_t)t->n_ff, sizeof *items);
    if (!items)
        return hn_fail_no_memory(s->err, (size_t)t->n_ff * sizeof *items);
    for (int part = 0; part < 2; part++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "blk.%d.ffn_%s.weight", layer, part ? "up" : "gate");
        read_tensor(s, name);
        for (int64_t i = 0; i < t->n_ff; i++) {
            double size = 0;
            for (int64_t c = 0; c < t->n_embd; c++)
                size += (double)s->values[i * t->n_embd + c] * (double)s->values[i * t->n_embd + c];
            items[i] = (weighed){part ? items[i].size * size : size, (int32_t)i};
        }
    }
    pick_largest(items, t->n_ff, &s->ff);
    hn_free(items);
    return HN_OK;
}

static const picks *picks_of(const student *s, hn_dim dim) {
    switch (dim) {
    case HN_DIM_EMBD:
        return &s->dims;
    case HN_DIM_Q:
        return &s->q;
    case HN_DIM_KV:
        return &s->kv;
    case HN_DIM_FF:
        return &s->ff;
    case HN_DIM_ONE:
    case HN_DIM_HEAD:
        break;
    }
    return NULL;
}

/* The teacher's element that is the p-th of the student's i-th. */
static int64_t picked(const picks *of, int64_t i, int p) {
    return of ? of->index[i * of->pool + p] : i;
}

/* A tensor of the student from the teacher's, whose values lie in s->values. */
static hn_status shrink(student *s, const hn_tensor *from, const picks *rows, const picks *cols,
                        hn_tensor *to) {
    to->rows = rows ? rows->n : from->rows;
    to->cols = cols ? cols->n : from->cols;
    to->dtype = HN_F32;
    to->size_bytes = (uint64_t)(to->rows * to->cols) * sizeof(float);
    float *out = hn_malloc(to->size_bytes);
    to->data = out;
    if (!out)
        return hn_fail_no_memory(s->err, to->size_bytes);
    int row_pool = rows ? rows->pool : 1, col_pool = cols ? cols->pool : 1;
    for (int64_t r = 0; r < to->rows; r++)
        for (int64_t c = 0; c < to->cols; c++) {
            float sum = 0;
            for (int p = 0; p < row_pool; p++)
                for (int q = 0; q < col_pool; q++)
                    sum += s->values[picked(rows, r, p) * from->cols + picked(cols, c, q)];
            out[r * to->cols + c] = sum / (float)(row_pool * col_pool);
        }
    return HN_OK;
}

static hn_tensor *next_tensor(student *s, const char *name) {
    hn_tensor *tensor = &s->ckpt.tensors[s->ckpt.n_tensors];
    char hf[NAME_BYTES];
    tensor->name = hn_arena_strndup(&s->ckpt.arena, name, strlen(name));
    bool named = hn_tensor_hf_name(&s->arch, name, hf, sizeof hf);
    tensor->source_name = named ? hn_arena_strndup(&s->ckpt.arena, hf, strlen(hf)) : NULL;
    if (!tensor->name || !tensor->source_name)
        return NULL;
    s->ckpt.n_tensors++;
    return tensor;
}

static hn_status make_tensor(student *s, const char *from, const char *to, const picks *rows,
                             const picks *cols) {
    const hn_tensor *tensor = hn_checkpoint_find(s->teacher, from);
    hn_tensor *made = next_tensor(s, to);
    if (!made)
        return hn_fail_no_memory(s->err, NAME_BYTES);
    read_tensor(s, from);
    made->add = tensor->add;
    return shrink(s, tensor, rows, cols, made);
}

/* The teacher's layer that a student's comes from: evenly, the first and the last among them. */
static int teacher_layer(const student *s, int layer) {
    int shared = s->shared > 1 ? s->shared : 1;
    int n = s->arch.n_layer / shared, i = layer / shared;
    return n > 1 ? (int)lround((double)i * (s->teacher->arch.n_layer - 1) / (n - 1)) : 0;
}

static hn_status make_layer(student *s, int layer) {
    int from_layer = teacher_layer(s, layer);
    HN_TRY(pick_neurons(s, from_layer));
    for (int i = 0; i < HN_N_TENSOR_RULES; i++) {
        const hn_tensor_rule *rule = &HN_TENSOR_RULES[i];
        char from[NAME_BYTES], to[NAME_BYTES];
        if (!hn_tensor_rule_applies(rule, &s->arch))
            continue;
        snprintf(from, sizeof from, "blk.%d.%s", from_layer, rule->gguf);
        snprintf(to, sizeof to, "blk.%d.%s", layer, rule->gguf);
        HN_TRY(make_tensor(s, from, to, picks_of(s, rule->rows), picks_of(s, rule->cols)));
    }
    return HN_OK;
}

/* config.json of a folder, with the student's sizes. */
static hn_status make_config(student *s) {
    if (!s->teacher->config)
        return HN_OK;
    json_t *config = json_deep_copy(s->teacher->config);
    const struct {
        const char *key;
        int value;
    } SIZES[] = {
        {"num_hidden_layers", s->arch.n_layer},     {"hidden_size", s->arch.n_embd},
        {"intermediate_size", s->arch.n_ff},        {"num_attention_heads", s->arch.n_head},
        {"num_key_value_heads", s->arch.n_head_kv}, {"head_dim", s->arch.head_dim},
        {"max_window_layers", s->arch.n_layer}};
    bool ok = config != NULL;
    for (size_t i = 0; ok && i < sizeof SIZES / sizeof *SIZES; i++)
        ok = json_object_set_new(config, SIZES[i].key, json_integer(SIZES[i].value)) == 0;
    json_t *types = ok ? json_object_get(config, "layer_types") : NULL;
    while (json_array_size(types) > (size_t)s->arch.n_layer)
        json_array_remove(types, json_array_size(types) - 1);
    s->ckpt.config = config;
    return ok ? HN_OK : hn_fail_no_memory(s->err, 1024);
}

static hn_status make_tensors(student *s) {
    size_t most = (size_t)s->arch.n_layer * (size_t)HN_N_TENSOR_RULES + 3;
    int64_t largest = 0;
    for (size_t i = 0; i < s->teacher->n_tensors; i++) {
        int64_t n = s->teacher->tensors[i].rows * s->teacher->tensors[i].cols;
        largest = n > largest ? n : largest;
    }
    s->values = hn_malloc((size_t)largest * sizeof *s->values);
    s->ckpt.tensors = hn_calloc(most, sizeof *s->ckpt.tensors);
    if (!s->values || !s->ckpt.tensors)
        return hn_fail_no_memory(s->err, (size_t)largest * sizeof *s->values);
    HN_TRY(pick_dims(s));
    HN_TRY(pick_heads(s));
    HN_TRY(picks_new(&s->ff, s->arch.n_ff, 1, s->err));
    HN_TRY(make_tensor(s, "token_embd.weight", "token_embd.weight", NULL, &s->dims));
    for (int l = 0; l < s->arch.n_layer; l++)
        HN_TRY(make_layer(s, l));
    HN_TRY(make_tensor(s, "output_norm.weight", "output_norm.weight", NULL, &s->dims));
    if (!s->arch.tied_head)
        HN_TRY(make_tensor(s, "output.weight", "output.weight", NULL, &s->dims));
    return make_config(s);
}

static void student_done(student *s) {
    for (size_t i = 0; s->ckpt.tensors && i < s->ckpt.n_tensors; i++)
        hn_free((void *)(uintptr_t)s->ckpt.tensors[i].data);
    hn_free(s->ckpt.tensors);
    hn_arena_done(&s->ckpt.arena);
    json_decref(s->ckpt.config);
    hn_free(s->dims.index);
    hn_free(s->q.index);
    hn_free(s->kv.index);
    hn_free(s->ff.index);
    hn_free(s->values);
}

hn_status hn_student_write(const hn_checkpoint *teacher, const hn_student_options *options,
                           const char *dir, hn_dtype dtype, const hn_progress *progress,
                           hn_error *err) {
    student s = {.teacher = teacher, .shared = options->shared, .err = err};
    HN_TRY(hn_student_arch(&teacher->arch, options, &s.arch, err));
    s.ckpt = *teacher; /* borrowed, but for what is made below */
    s.ckpt.arch = s.arch;
    s.ckpt.tensors = NULL;
    s.ckpt.n_tensors = 0;
    s.ckpt.config = NULL;
    s.ckpt.arena = (hn_arena){0};
    hn_status status = make_tensors(&s);
    if (status == HN_OK)
        status = hn_merge_to_hf(&s.ckpt, NULL, dir, dtype, progress, err);
    student_done(&s);
    return status;
}
