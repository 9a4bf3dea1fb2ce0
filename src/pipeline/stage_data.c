/* Stage "data": training and golden rows checked, overlap refused, a part held out for the loss
 * curve. Writes train.jsonl, heldout.jsonl, golden.jsonl and data.json. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/records.h"
#include "eval/golden.h"
#include "pipeline/overlap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REVISION = 1, MIN_ROWS_TO_SPLIT = 20, MAX_GOLDEN_BYTES = 1 << 30 };

typedef struct data_work {
    hn_run *run;
    hn_records files[HN_RECIPE_MAX_TRAIN_FILES];
    hn_golden golden;
    size_t n, n_bad; /* training rows over all files */
    size_t n_heldout;
    bool *heldout; /* [n] */
} data_work;

static const hn_record *record_at(const data_work *work, size_t i, const char **path) {
    int file = 0;
    while (i >= work->files[file].n)
        i -= work->files[file++].n;
    *path = work->files[file].path;
    return &work->files[file].items[i];
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

static hn_status report_overlap(const data_work *work, const hn_overlap *found, hn_error *err) {
    const char *path;
    const hn_record *record = record_at(work, found->a, &path);
    return hn_fail(err, HN_BAD_INPUT,
                   "%s:%llu is a %scopy of the training row %s:%llu (similarity %.2f), and %zu of "
                   "%zu golden rows have one: a score on them says nothing. Take the copies out of "
                   "the training rows; near_copy in the recipe's data section sets what counts",
                   work->golden.path, (unsigned long long)work->golden.items[found->b].line,
                   found->similarity < 1 ? "near " : "", path, (unsigned long long)record->line,
                   found->similarity, found->n_rows, work->golden.n);
}

static hn_status check_overlap(const data_work *work, hn_error *err) {
    char **train = hn_calloc(work->n, sizeof *train);
    char **golden = hn_calloc(work->golden.n, sizeof *golden);
    hn_overlap found;
    hn_status status = HN_OK;
    if (!train || !golden) {
        status = hn_fail_no_memory(err, work->n * sizeof *train);
        goto done;
    }
    for (size_t i = 0; i < work->n; i++) {
        const char *path;
        json_t *messages = hn_record_messages(record_at(work, i, &path), NULL, true);
        status = messages ? user_text(messages, &train[i], err) : hn_fail_no_memory(err, 256);
        json_decref(messages);
        if (status != HN_OK)
            goto done;
    }
    for (size_t i = 0; i < work->golden.n; i++)
        HN_GO(user_text(work->golden.items[i].messages, &golden[i], err));
    HN_GO(hn_overlap_find((const char *const *)train, work->n, (const char *const *)golden,
                          work->golden.n, work->run->recipe->data.near_copy, &found, err));
    if (found.n_rows)
        status = report_overlap(work, &found, err);
done:
    for (size_t i = 0; train && i < work->n; i++)
        hn_free(train[i]);
    for (size_t i = 0; golden && i < work->golden.n; i++)
        hn_free(golden[i]);
    hn_free(train);
    hn_free(golden);
    return status;
}

static hn_status choose_heldout(data_work *work, hn_error *err) {
    work->heldout = hn_calloc(work->n, sizeof *work->heldout);
    uint32_t *order = hn_malloc(work->n * sizeof *order);
    if (!work->heldout || !order) {
        hn_free(order);
        return hn_fail_no_memory(err, work->n * sizeof *order);
    }
    const hn_recipe *recipe = work->run->recipe;
    if (work->n >= MIN_ROWS_TO_SPLIT)
        work->n_heldout = (size_t)ceil(recipe->data.eval_share * (double)work->n);
    for (size_t i = 0; i < work->n; i++)
        order[i] = (uint32_t)i;
    hn_rng rng = hn_rng_new((uint64_t)recipe->data.seed, 0);
    hn_rng_shuffle(&rng, order, (uint32_t)work->n);
    for (size_t i = 0; i < work->n_heldout; i++)
        work->heldout[order[i]] = true;
    hn_free(order);
    return HN_OK;
}

static hn_status write_rows(const data_work *work, const hn_stage *stage, const char *name,
                            bool heldout, hn_error *err) {
    char *path = hn_stage_path(stage, name);
    hn_out out = {0};
    hn_status status = HN_OK;
    if (!path)
        return hn_fail_no_memory(err, 256);
    HN_GO(hn_out_open(&out, path, err));
    for (size_t i = 0; i < work->n; i++) {
        const char *file;
        if (work->heldout[i] != heldout)
            continue;
        char *text = json_dumps(record_at(work, i, &file)->row, JSON_COMPACT);
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

static hn_status write_outputs(const data_work *work, const hn_stage *stage, hn_error *err) {
    HN_TRY(write_rows(work, stage, "train.jsonl", false, err));
    HN_TRY(write_rows(work, stage, "heldout.jsonl", true, err));
    HN_TRY(copy_golden(work, stage, err));
    json_t *counts =
        json_pack("{s:I, s:I, s:I, s:I}", "n_train", (json_int_t)(work->n - work->n_heldout),
                  "n_heldout", (json_int_t)work->n_heldout, "n_golden", (json_int_t)work->golden.n,
                  "n_bad", (json_int_t)work->n_bad);
    char *path = hn_stage_path(stage, "data.json");
    hn_status status =
        counts && path ? hn_json_write(path, counts, err) : hn_fail_no_memory(err, 256);
    json_decref(counts);
    hn_free(path);
    return status;
}

static hn_status make(data_work *work, const hn_stage *stage, hn_error *err) {
    const hn_recipe *recipe = work->run->recipe;
    for (int i = 0; i < recipe->data.train.n; i++) {
        HN_TRY(hn_records_read(&work->files[i], recipe->data.train.path[i], recipe->data.skip_bad,
                               work->run->progress, err));
        work->n += work->files[i].n;
        work->n_bad += work->files[i].n_bad;
    }
    if (!work->n || work->n > UINT32_MAX)
        return hn_fail(err, HN_BAD_INPUT, "%s: %zu training rows", recipe->data.train.path[0],
                       work->n);
    HN_TRY(hn_golden_read(&work->golden, recipe->data.golden, err));
    if (recipe->data.near_copy > 0)
        HN_TRY(check_overlap(work, err));
    HN_TRY(choose_heldout(work, err));
    HN_TRY(write_outputs(work, stage, err));
    hn_progress_note(work->run->progress,
                     "data: %zu rows to train on, %zu held out, %zu left out as bad, %zu golden",
                     work->n - work->n_heldout, work->n_heldout, work->n_bad, work->golden.n);
    return HN_OK;
}

static hn_status inputs_of(const hn_recipe *recipe, json_t **out, hn_error *err) {
    json_t *inputs = hn_run_inputs("data", REVISION), *train = json_array();
    char hex[HN_SHA256_HEX];
    hn_status status = HN_OK;
    for (int i = 0; i < recipe->data.train.n; i++) {
        HN_GO(hn_sha256_file(recipe->data.train.path[i], hex, err));
        json_array_append_new(train, json_string(hex));
    }
    HN_GO(hn_sha256_file(recipe->data.golden, hex, err));
    if (!inputs || json_object_set(inputs, "train", train) ||
        json_object_set_new(inputs, "golden", json_string(hex)) ||
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
    json_decref(train);
    json_decref(inputs);
    return status;
}

hn_status hn_run_data(hn_run *run, hn_error *err) {
    json_t *inputs;
    HN_TRY(inputs_of(run->recipe, &inputs, err));
    HN_TRY(hn_run_stage_open(run, &run->data, "data", inputs, false, err));
    if (!run->data.reused) {
        data_work work = {.run = run};
        hn_status status = make(&work, &run->data, err);
        for (int i = 0; i < run->recipe->data.train.n; i++)
            hn_records_done(&work.files[i]);
        hn_golden_done(&work.golden);
        hn_free(work.heldout);
        HN_TRY(status);
    }
    HN_TRY(hn_run_stage_close(run, &run->data, err));
    return hn_stage_output_hash(&run->data, "golden.jsonl", run->golden_hash, err);
}
