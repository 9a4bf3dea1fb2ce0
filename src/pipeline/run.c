/* What the stages of a run share: its folder and lock, stage bookkeeping, opened models. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/version.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *hn_run_path(hn_run *run, const char *dir, const char *name) {
    char *joined = hn_path_join(dir, name);
    char *copy = joined ? hn_arena_strndup(&run->arena, joined, strlen(joined)) : NULL;
    hn_free(joined);
    return copy;
}

char *hn_run_output(hn_run *run, const hn_stage *stage, const char *name) {
    return hn_run_path(run, stage->outputs ? stage->dir : stage->part, name);
}

static hn_status open_folder(hn_run *run, const char *dir, hn_error *err) {
    run->dir = dir ? hn_arena_strndup(&run->arena, dir, strlen(dir))
                   : hn_run_path(run, "runs", run->recipe->name);
    char *stages = run->dir ? hn_run_path(run, run->dir, "stages") : NULL;
    if (!stages)
        return hn_fail_no_memory(err, 256);
    HN_TRY(hn_dir_make(stages, err));
    /* two runs in one folder would tear each other's work */
    return hn_dir_lock(run->dir, "'hone run'", &run->lock, err);
}

/* What no stage could work with is known before a teacher is paid or hours are spent. */
static hn_status check_base(const hn_recipe *recipe, hn_error *err) {
    hn_checkpoint ckpt;
    HN_TRY(hn_checkpoint_open(&ckpt, recipe->base, err));
    hn_status status = hn_checkpoint_need_template(&ckpt, err);
    hn_checkpoint_close(&ckpt);
    return status;
}

hn_status hn_run_open(hn_run *run, const hn_recipe *recipe, const hn_pipeline_options *options,
                      const hn_progress *progress, hn_error *err) {
    *run = (hn_run){.recipe = recipe,
                    .progress = progress,
                    .lock = -1,
                    .n_threads = options->n_threads,
                    .isa = options->isa ? options->isa : getenv("HONE_ISA"),
                    .stages = json_array()};
    hn_isa isa;
    hn_status status;
    if (!run->stages) {
        status = hn_fail_no_memory(err, 64);
        goto done;
    }
    HN_GO(hn_isa_parse(run->isa, &isa, err));
    run->isa_name = hn_isa_name(isa);
    if (run->n_threads <= 0)
        run->n_threads = hn_cpu_default_threads();
    HN_GO(check_base(recipe, err));
    HN_GO(open_folder(run, options->out_dir, err));
    HN_GO(hn_run_hash_path(recipe->base, run->base_hash, err));
done:
    if (status != HN_OK)
        hn_run_close(run);
    return status;
}

void hn_run_close(hn_run *run) {
    hn_model_free(run->float_slot.model);
    hn_model_free(run->other_slot.model);
    hn_stage_done(&run->generated);
    hn_stage_done(&run->data);
    for (int i = 0; i < HN_TEACH_COUNT; i++)
        hn_stage_done(&run->taught[i]);
    for (int i = 0; i < HN_RECIPE_MAX_ARTEFACTS; i++)
        hn_stage_done(&run->artefacts[i]);
    for (int i = 0; i < HN_RUN_MAX_ROWS; i++) {
        hn_stage_done(&run->rows[i].eval);
        json_decref(run->rows[i].summary);
    }
    json_decref(run->stages);
    hn_arena_done(&run->arena);
    hn_dir_unlock(run->lock);
    *run = (hn_run){.lock = -1};
}

const char *hn_run_rows_name(hn_teaching stage, bool heldout) {
    static const char *const NAMES[][2] = {{"train.jsonl", "heldout.jsonl"},
                                           {"kd-train.jsonl", "kd-heldout.jsonl"},
                                           {"rkd-train.jsonl", "rkd-heldout.jsonl"},
                                           {"dpo-train.jsonl", "dpo-heldout.jsonl"}};
    return NAMES[stage][heldout];
}

json_t *hn_run_inputs(const char *stage, int revision) {
    return json_pack("{s:s, s:i, s:s}", "stage", stage, "revision", revision, "hone", HN_VERSION);
}

hn_status hn_run_stage_open(hn_run *run, hn_stage *stage, const char *name, json_t *inputs,
                            bool resumes, hn_error *err) {
    HN_TRY(hn_stage_open(stage, run->dir, name, inputs, resumes, err));
    if (stage->reused)
        hn_progress_note(run->progress, "%s: as before (made in %.1f s)", name, stage->seconds);
    else if (hn_progress_cancelled(run->progress))
        return hn_fail(err, HN_CANCELLED, "stopped before stage %s: run again to go on", name);
    return HN_OK;
}

hn_status hn_run_stage_close(hn_run *run, hn_stage *stage, hn_error *err) {
    if (!stage->reused) {
        HN_TRY(hn_stage_commit(stage, err));
        hn_progress_note(run->progress, "%s: done in %.1f s", stage->name, stage->seconds);
    }
    json_t *entry = json_pack("{s:s, s:s, s:b, s:f}", "name", stage->name, "key", stage->key,
                              "reused", stage->reused, "seconds", stage->seconds);
    return json_array_append_new(run->stages, entry) ? hn_fail_no_memory(err, 128) : HN_OK;
}

static bool same_numerics(const hn_train_numerics *a, const hn_train_numerics *b) {
    return a->products == b->products && a->is_rounded == b->is_rounded && a->ftype == b->ftype;
}

static hn_status open_model(hn_run *run, const char *path, const hn_train_numerics *numerics,
                            hn_model **model, hn_error *err) {
    bool is_float = numerics->products == HN_NUMERICS_F32 && !strcmp(path, run->recipe->base);
    struct hn_run_model *slot = is_float ? &run->float_slot : &run->other_slot;
    if (slot->model && (strcmp(slot->path, path) || !same_numerics(&slot->numerics, numerics))) {
        hn_model_free(slot->model);
        slot->model = NULL;
    }
    if (!slot->model) {
        /* whatever a run opens is asked the golden set */
        hn_model_options options = {.n_threads = run->n_threads, .isa = run->isa, .chats = true};
        HN_TRY(hn_train_model_open(&slot->model, path, numerics, &options, err));
        slot->path = path;
        slot->numerics = *numerics;
    }
    *model = slot->model;
    return HN_OK;
}

hn_status hn_run_model_open(hn_run *run, const char *path, hn_numerics numerics, hn_model **model,
                            hn_error *err) {
    const hn_train_numerics own = {.products = numerics};
    return open_model(run, path, &own, model, err);
}

hn_status hn_run_base_open(hn_run *run, const hn_train_numerics *numerics, hn_model **model,
                           hn_error *err) {
    return open_model(run, run->recipe->base, numerics, model, err);
}

hn_status hn_run_link(hn_run *run, const char *dir, const char *name, const char *up,
                      const hn_stage *stage, const char **path, hn_error *err) {
    hn_buf target = {0}, temporary = {0};
    const char *folder = strrchr(stage->dir, '/');
    char *link = hn_run_path(run, dir, name);
    hn_status status;
    if (!link)
        return hn_fail_no_memory(err, 256);
    hn_buf_printf(&target, "%sstages/%s", up, folder ? folder + 1 : stage->dir);
    hn_buf_printf(&temporary, "%s.tmp-%ld", link, (long)getpid());
    HN_GO(hn_buf_check(&target, err));
    HN_GO(hn_buf_check(&temporary, err));
    HN_GO(hn_path_remove(hn_buf_text(&temporary), err));
    if (symlink(hn_buf_text(&target), hn_buf_text(&temporary)) ||
        rename(hn_buf_text(&temporary), link)) {
        status = hn_fail_errno(err, "%s: the link could not be made", link);
        goto done;
    }
    *path = link;
done:
    hn_buf_done(&target);
    hn_buf_done(&temporary);
    return status;
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static hn_status hash_folder(const char *dir, char hex[65], hn_error *err) {
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, compare_names);
    if (n < 0)
        return hn_fail_errno(err, "%s", dir);
    hn_buf list = {0};
    hn_status status = HN_OK;
    for (int i = 0; i < n; i++) {
        char *path = hn_path_join(dir, entries[i]->d_name), sum[HN_SHA256_HEX];
        if (!path)
            status = hn_fail_no_memory(err, strlen(dir));
        if (status == HN_OK && entries[i]->d_name[0] != '.' && !hn_path_is_dir(path)) {
            status = hn_sha256_file(path, sum, err);
            if (status == HN_OK)
                hn_buf_printf(&list, "%s %s\n", sum, entries[i]->d_name);
        }
        hn_free(path);
        free(entries[i]);
    }
    free(entries);
    if (status == HN_OK)
        status = hn_buf_check(&list, err);
    if (status == HN_OK)
        status = hn_sha256_data(hn_buf_text(&list), list.size, hex, err);
    hn_buf_done(&list);
    return status;
}

hn_status hn_run_hash_path(const char *path, char hex[65], hn_error *err) {
    return hn_path_is_dir(path) ? hash_folder(path, hex, err) : hn_sha256_file(path, hex, err);
}
