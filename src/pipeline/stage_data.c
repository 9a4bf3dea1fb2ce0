/* Stage "data": the rows of every teaching stage and the golden rows checked, overlap refused, a
 * part held out for the loss curves. Writes golden.jsonl, data.json, and of each teaching stage
 * what hn_run_rows_name says. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/records.h"
#include "eval/golden.h"
#include "pipeline/overlap.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REVISION = 1, MIN_ROWS_TO_SPLIT = 20, MAX_GOLDEN_BYTES = 1 << 30 };

/* What one stage learns from: the recipe's files, and what a teacher wrote for it. */
enum { MAX_FILES = HN_RECIPE_MAX_TRAIN_FILES + 1 };
typedef struct row_set {
    hn_teaching stage;
    const char *path[MAX_FILES];
    int n_files;
    hn_records files[MAX_FILES];
    size_t n, n_bad; /* rows over all files */
    size_t n_heldout;
    bool *heldout; /* [n] */
} row_set;

typedef struct data_work {
    hn_run *run;
    hn_golden golden;
    row_set sets[HN_TEACH_COUNT];
    int n_sets;
} data_work;

static const hn_record *record_at(const row_set *set, size_t i, const char **path) {
    int file = 0;
    while (i >= set->files[file].n)
        i -= set->files[file++].n;
    *path = set->files[file].path;
    return &set->files[file].items[i];
}

/* A file put under the wrong stage is said here, not after the stages before have been taught. */
static hn_status check_shapes(const row_set *set, hn_error *err) {
    size_t n_thoughts = 0;
    for (size_t i = 0; i < set->n; i++) {
        const char *path;
        const hn_record *record = record_at(set, i, &path);
        bool is_pair = record->kind == HN_RECORD_PREFERENCE;
        n_thoughts += record->kind == HN_RECORD_THOUGHT;
        if (set->stage == HN_TEACH_DPO && !is_pair)
            return hn_fail(err, HN_BAD_INPUT,
                           "%s:%llu: stage dpo learns from {prompt, chosen, rejected}", path,
                           (unsigned long long)record->line);
        if (set->stage == HN_TEACH_RKD && is_pair)
            return hn_fail(err, HN_BAD_INPUT,
                           "%s:%llu: a preference: its place is the recipe's dpo section", path,
                           (unsigned long long)record->line);
    }
    if (set->stage == HN_TEACH_RKD && !n_thoughts)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: stage rkd learns from {instruction, thought, response}, and no row has "
                       "a thought",
                       set->path[0]);
    return HN_OK;
}

/* What the user says in a conversation: that is what a golden row must not have in common. */
static hn_status user_text(const json_t *messages, char **out, hn_error *err) {
    hn_buf text = {0};
    size_t i;
    const json_t *turn;
    json_array_foreach (messages, i, turn) {
        const char *role = json_string_value(json_object_get(turn, "role"));
        const char *content = json_string_value(json_object_get(turn, "content"));
        if (role && content && !strcmp(role, "user")) {
            hn_buf_puts(&text, content);
            hn_buf_putc(&text, '\n');
        }
    }
    hn_buf_putc(&text, ' ');
    hn_status status = hn_buf_check(&text, err);
    if (status == HN_OK)
        *out = hn_buf_take(&text);
    hn_buf_done(&text);
    return status;
}

static hn_status report_overlap(const data_work *work, const row_set *set, const hn_overlap *found,
                                hn_error *err) {
    const char *path;
    const hn_record *record = record_at(set, found->a, &path);
    return hn_fail(err, HN_BAD_INPUT,
                   "%s:%llu is a %scopy of the training row %s:%llu (similarity %.2f), and %zu of "
                   "%zu golden rows have one: a score on them says nothing. Take the copies out of "
                   "the training rows; near_copy in the recipe's data section sets what counts",
                   work->golden.path, (unsigned long long)work->golden.items[found->b].line,
                   found->similarity < 1 ? "near " : "", path, (unsigned long long)record->line,
                   found->similarity, found->n_rows, work->golden.n);
}

static hn_status check_overlap(const data_work *work, const row_set *set, hn_error *err) {
    char **train = hn_calloc(set->n, sizeof *train);
    char **golden = hn_calloc(work->golden.n, sizeof *golden);
    hn_overlap found;
    hn_status status = HN_OK;
    if (!train || !golden) {
        status = hn_fail_no_memory(err, set->n * sizeof *train);
        goto done;
    }
    for (size_t i = 0; i < set->n; i++) {
        const char *path;
        json_t *messages = hn_record_messages(record_at(set, i, &path), NULL, true);
        status = messages ? user_text(messages, &train[i], err) : hn_fail_no_memory(err, 256);
        json_decref(messages);
        if (status != HN_OK)
            goto done;
    }
    for (size_t i = 0; i < work->golden.n; i++)
        HN_GO(user_text(work->golden.items[i].messages, &golden[i], err));
    HN_GO(hn_overlap_find((const char *const *)train, set->n, (const char *const *)golden,
                          work->golden.n, work->run->recipe->data.near_copy, &found, err));
    if (found.n_rows)
        status = report_overlap(work, set, &found, err);
done:
    for (size_t i = 0; train && i < set->n; i++)
        hn_free(train[i]);
    for (size_t i = 0; golden && i < work->golden.n; i++)
        hn_free(golden[i]);
    hn_free(train);
    hn_free(golden);
    return status;
}

static hn_status choose_heldout(const hn_recipe *recipe, row_set *set, hn_error *err) {
    set->heldout = hn_calloc(set->n, sizeof *set->heldout);
    uint32_t *order = hn_malloc(set->n * sizeof *order);
    if (!set->heldout || !order) {
        hn_free(order);
        return hn_fail_no_memory(err, set->n * sizeof *order);
    }
    if (set->n >= MIN_ROWS_TO_SPLIT)
        set->n_heldout = (size_t)ceil(recipe->data.eval_share * (double)set->n);
    for (size_t i = 0; i < set->n; i++)
        order[i] = (uint32_t)i;
    hn_rng rng = hn_rng_new((uint64_t)recipe->data.seed, (uint64_t)set->stage);
    hn_rng_shuffle(&rng, order, (uint32_t)set->n);
    for (size_t i = 0; i < set->n_heldout; i++)
        set->heldout[order[i]] = true;
    hn_free(order);
    return HN_OK;
}

static hn_status write_rows(const row_set *set, const hn_stage *stage, bool heldout,
                            hn_error *err) {
    char *path = hn_stage_path(stage, hn_run_rows_name(set->stage, heldout));
    hn_out out = {0};
    hn_status status = HN_OK;
    if (!path)
        return hn_fail_no_memory(err, 256);
    HN_GO(hn_out_open(&out, path, err));
    for (size_t i = 0; i < set->n; i++) {
        const char *file;
        if (set->heldout[i] != heldout)
            continue;
        char *text = json_dumps(record_at(set, i, &file)->row, JSON_COMPACT);
        if (!text) {
            status = hn_fail_no_memory(err, 1024);
            goto done;
        }
        hn_out_printf(&out, "%s\n", text);
        free(text);
    }
    HN_GO(hn_out_commit(&out, err));
done:
    hn_out_abort(&out);
    hn_free(path);
    return status;
}

static hn_status copy_golden(const data_work *work, const hn_stage *stage, hn_error *err) {
    char *to = hn_stage_path(stage, "golden.jsonl"), *text = NULL;
    size_t size;
    hn_status status = HN_OK;
    if (!to)
        return hn_fail_no_memory(err, 256);
    HN_GO(hn_file_read(work->golden.path, MAX_GOLDEN_BYTES, &text, &size, err));
    HN_GO(hn_file_write(to, text, size, err));
done:
    hn_free(text);
    hn_free(to);
    return status;
}

static json_t *counts_of(const row_set *set) {
    return json_pack("{s:I, s:I, s:I}", "n_train", (json_int_t)(set->n - set->n_heldout),
                     "n_heldout", (json_int_t)set->n_heldout, "n_bad", (json_int_t)set->n_bad);
}

/* The counts of sft stand at the top, those of the later stages under their names. */
static hn_status write_counts(const data_work *work, const hn_stage *stage, hn_error *err) {
    json_t *counts = counts_of(&work->sets[0]);
    bool failed = json_object_set_new(counts, "n_golden", json_integer((json_int_t)work->golden.n));
    for (int i = 1; i < work->n_sets; i++)
        failed = json_object_set_new(counts, hn_teaching_name(work->sets[i].stage),
                                     counts_of(&work->sets[i])) ||
                 failed;
    if (!failed)
        return hn_stage_write_json(stage, "data.json", counts, err);
    json_decref(counts);
    return hn_fail_no_memory(err, 256);
}

static hn_status read_set(const data_work *work, row_set *set, hn_error *err) {
    const hn_recipe *recipe = work->run->recipe;
    const char *name = hn_teaching_name(set->stage);
    for (int i = 0; i < set->n_files; i++) {
        HN_TRY(hn_records_read(&set->files[i], set->path[i], recipe->data.skip_bad,
                               work->run->progress, err));
        set->n += set->files[i].n;
        set->n_bad += set->files[i].n_bad;
    }
    if (!set->n || set->n > UINT32_MAX)
        return hn_fail(err, HN_BAD_INPUT, "%s: %zu rows for %s", set->path[0], set->n, name);
    HN_TRY(check_shapes(set, err));
    if (recipe->data.near_copy > 0)
        HN_TRY(check_overlap(work, set, err));
    HN_TRY(choose_heldout(recipe, set, err));
    hn_progress_note(work->run->progress,
                     "data: %zu rows for %s, %zu held out, %zu left out as bad",
                     set->n - set->n_heldout, name, set->n_heldout, set->n_bad);
    return HN_OK;
}

/* The stage's files, the teacher's last. */
static hn_status begin_set(data_work *work, hn_teaching stage, hn_error *err) {
    const hn_recipe *recipe = work->run->recipe;
    const hn_recipe_files *from = hn_recipe_rows(recipe, stage);
    const char *generated = hn_run_generated_name(recipe, stage);
    row_set *set = &work->sets[work->n_sets++];
    *set = (row_set){.stage = stage};
    for (int i = 0; i < from->n; i++)
        set->path[set->n_files++] = from->path[i];
    if (!generated)
        return HN_OK;
    set->path[set->n_files++] = hn_run_output(work->run, &work->run->generated, generated);
    return set->path[set->n_files - 1] ? HN_OK : hn_fail_no_memory(err, 256);
}

static hn_status begin_sets(data_work *work, hn_error *err) {
    for (int t = 0; t < HN_TEACH_COUNT; t++)
        if (hn_recipe_teaches(work->run->recipe, (hn_teaching)t))
            HN_TRY(begin_set(work, (hn_teaching)t, err));
    return HN_OK;
}

static hn_status make(data_work *work, const hn_stage *stage, hn_error *err) {
    HN_TRY(hn_golden_read(&work->golden, work->run->recipe->data.golden, err));
    for (int i = 0; i < work->n_sets; i++) {
        HN_TRY(read_set(work, &work->sets[i], err));
        HN_TRY(write_rows(&work->sets[i], stage, false, err));
        HN_TRY(write_rows(&work->sets[i], stage, true, err));
    }
    HN_TRY(copy_golden(work, stage, err));
    HN_TRY(write_counts(work, stage, err));
    hn_progress_note(work->run->progress, "data: %zu golden rows", work->golden.n);
    return HN_OK;
}

static hn_status add_files(const hn_recipe_files *files, const char *name, json_t *inputs,
                           hn_error *err) {
    json_t *sums = json_array();
    char hex[HN_SHA256_HEX];
    hn_status status = HN_OK;
    for (int i = 0; i < files->n && status == HN_OK; i++) {
        status = hn_sha256_file(files->path[i], hex, err);
        if (status == HN_OK && json_array_append_new(sums, json_string(hex)))
            status = hn_fail_no_memory(err, sizeof hex);
    }
    if (status == HN_OK && json_object_set(inputs, name, sums))
        status = hn_fail_no_memory(err, 256);
    json_decref(sums);
    return status;
}

/* What a teacher wrote, by what it holds. */
static hn_status add_generated(const hn_run *run, json_t *inputs, hn_error *err) {
    char hex[HN_SHA256_HEX], key[64];
    for (int t = 0; t < HN_TEACH_COUNT; t++) {
        const char *name = hn_run_generated_name(run->recipe, (hn_teaching)t);
        if (!name)
            continue;
        HN_TRY(hn_stage_output_hash(&run->generated, name, hex, err));
        snprintf(key, sizeof key, "generated_%s", hn_teaching_name((hn_teaching)t));
        if (json_object_set_new(inputs, key, json_string(hex)))
            return hn_fail_no_memory(err, sizeof hex);
    }
    return HN_OK;
}

static hn_status inputs_of(const hn_run *run, json_t **out, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    json_t *inputs = hn_run_inputs("data", REVISION);
    char hex[HN_SHA256_HEX];
    hn_status status;
    HN_GO(add_files(&recipe->data.train, "train", inputs, err));
    for (int t = HN_TEACH_SFT + 1; t < HN_TEACH_COUNT; t++)
        if (hn_recipe_teaches(recipe, (hn_teaching)t))
            HN_GO(add_files(hn_recipe_rows(recipe, (hn_teaching)t),
                            hn_teaching_name((hn_teaching)t), inputs, err));
    HN_GO(add_generated(run, inputs, err));
    HN_GO(hn_sha256_file(recipe->data.golden, hex, err));
    if (json_object_set_new(inputs, "golden", json_string(hex)) ||
        json_object_set_new(inputs, "eval_share", json_real(recipe->data.eval_share)) ||
        json_object_set_new(inputs, "near_copy", json_real(recipe->data.near_copy)) ||
        json_object_set_new(inputs, "skip_bad", json_boolean(recipe->data.skip_bad)) ||
        json_object_set_new(inputs, "seed", json_integer(recipe->data.seed))) {
        status = hn_fail_no_memory(err, 512);
        goto done;
    }
    *out = inputs;
    inputs = NULL;
done:
    json_decref(inputs);
    return status;
}

static void work_done(data_work *work) {
    for (int i = 0; i < work->n_sets; i++) {
        for (int k = 0; k < work->sets[i].n_files; k++)
            hn_records_done(&work->sets[i].files[k]);
        hn_free(work->sets[i].heldout);
    }
    hn_golden_done(&work->golden);
}

hn_status hn_run_data(hn_run *run, hn_error *err) {
    json_t *inputs;
    HN_TRY(inputs_of(run, &inputs, err));
    HN_TRY(hn_run_stage_open(run, &run->data, "data", inputs, false, err));
    if (!run->data.reused) {
        data_work work = {.run = run};
        hn_status status = begin_sets(&work, err);
        if (status == HN_OK)
            status = make(&work, &run->data, err);
        work_done(&work);
        HN_TRY(status);
    }
    HN_TRY(hn_run_stage_close(run, &run->data, err));
    return hn_stage_output_hash(&run->data, "golden.jsonl", run->golden_hash, err);
}
