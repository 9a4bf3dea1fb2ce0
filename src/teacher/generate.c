/* The loop that asks: three rounds (answers, critiques, wrong rewrites), each a list of questions
 * of which those already in the store are passed over. */
#include "teacher/generate.h"

#include "base/buf.h"
#include "base/mem.h"
#include "teacher/run.h"

#include <string.h>

enum { MAX_FAILURES_IN_A_ROW = 5 /* then the endpoint is taken to be broken */ };

static void job_done(hn_distil_job *j) {
    json_decref(j->question.request);
    json_decref(j->row);
    *j = (hn_distil_job){0};
}

static size_t bytes_of(const json_t *messages) {
    size_t n = 0, i;
    const json_t *message;
    json_array_foreach (messages, i, message)
        n += json_string_length(json_object_get(message, "content"));
    return n;
}

/* Makes question i; *wanted says that it has to be asked. */
static hn_status prepare(hn_distil *r, const hn_distil_round *round, size_t i, hn_distil_job *j,
                         bool *wanted, hn_error *err) {
    *wanted = false;
    HN_TRY(round->make(r, i, j, err));
    if (!j->question.request)
        return HN_OK;
    if (r->options->asked)
        HN_TRY(hn_distil_put(r->options->asked, j->question.key, json_true(), err));
    for (int k = 0; k < r->teacher->parallel; k++) /* the same prompt twice in the file */
        if (&r->jobs[k] != j && r->jobs[k].busy &&
            strcmp(r->jobs[k].question.key, j->question.key) == 0)
            return HN_OK;
    if (hn_store_has(&r->kept, j->question.key) || hn_store_has(&r->rejected, j->question.key)) {
        r->result.n_there++;
        return HN_OK;
    }
    *wanted = true;
    return HN_OK;
}

static hn_status store_reply(hn_distil *r, const hn_distil_round *round, hn_distil_job *j,
                             const hn_teacher_reply *reply, hn_error *err) {
    const char *reason = NULL;
    int64_t n_in = reply->n_prompt ? reply->n_prompt : j->held_in;
    HN_TRY(round->take(r, j, reply, &reason, err));
    HN_TRY(hn_distil_put(j->row, "finish",
                         json_string(reply->refused ? "content_filter"
                                     : reply->cut   ? "length"
                                                    : "stop"),
                         err));
    json_t *usage = json_pack("{s:I, s:I}", "prompt_tokens", (json_int_t)n_in, "completion_tokens",
                              (json_int_t)reply->n_answer);
    if (usage && reply->estimated)
        json_object_set_new(usage, "estimated", json_true());
    HN_TRY(hn_distil_put(j->row, "usage", usage, err));
    if (reason)
        HN_TRY(hn_distil_put(j->row, "reason", json_string(reason), err));
    HN_TRY(hn_store_add(reason ? &r->rejected : &r->kept, j->row, err));
    hn_budget_spend(&r->result.budget, n_in, reply->n_answer);
    r->result.n_kept += !reason;
    r->result.n_rejected += reason != NULL;
    return HN_OK;
}

static hn_status take_reply(hn_distil *r, const hn_distil_round *round,
                            const hn_teacher_reply *reply, hn_error *err) {
    hn_distil_job *j = &r->jobs[reply->tag];
    if (!reply->problem[0]) {
        r->n_failures = 0;
        return store_reply(r, round, j, reply, err);
    }
    unsigned long long line =
        (unsigned long long)json_integer_value(json_object_get(j->row, "line"));
    r->result.n_failed++;
    r->n_failures++;
    if (r->n_failures >= MAX_FAILURES_IN_A_ROW ||
        (reply->unreachable && !r->result.n_kept && !r->result.n_rejected))
        return hn_fail(err, HN_IO,
                       "the teacher doesn't answer: %.800s; what has come stays, and the same "
                       "command goes on from it",
                       reply->problem);
    hn_progress_note(r->progress, "line %llu got no answer: %s", line, reply->problem);
    return HN_OK;
}

static hn_status wait_one(hn_distil *r, const hn_distil_round *round, hn_error *err) {
    hn_teacher_reply reply = {0};
    HN_TRY(r->teacher->next(r->teacher, r->progress, &reply, err));
    hn_distil_job *j = &r->jobs[reply.tag];
    hn_budget_release(&r->result.budget, j->held_in, j->held_out);
    hn_status status = take_reply(r, round, &reply, err);
    hn_teacher_reply_done(&reply);
    job_done(j);
    r->n_busy--;
    return status;
}

/* Asks question i, or counts it as left when the budget doesn't allow it; while others are under
 * way, what they hold may come back. */
static hn_status ask(hn_distil *r, const hn_distil_round *round, hn_distil_job *j, hn_error *err) {
    const json_t *request = j->question.request;
    int64_t n_in = hn_teacher_guess_tokens(bytes_of(json_object_get(request, "messages")));
    int64_t n_out = json_integer_value(json_object_get(request, "max_tokens"));
    while (!r->spent && !hn_budget_hold(&r->result.budget, n_in, n_out)) {
        if (!r->n_busy)
            r->spent = true;
        else
            HN_TRY(wait_one(r, round, err));
    }
    if (r->spent) {
        r->result.n_left++;
        job_done(j);
        return HN_OK;
    }
    j->held_in = n_in;
    j->held_out = n_out;
    j->busy = true;
    r->n_busy++;
    return r->teacher->ask(r->teacher, (size_t)(j - r->jobs), request, err);
}

static hn_status run_round(hn_distil *r, const hn_distil_round *round, hn_error *err) {
    const size_t n = round->count(r);
    for (size_t i = 0; i < n; i++) {
        bool wanted;
        while (r->n_busy == r->teacher->parallel)
            HN_TRY(wait_one(r, round, err));
        hn_distil_job *j = r->jobs;
        while (j->busy)
            j++;
        hn_status status = prepare(r, round, i, j, &wanted, err);
        if (status == HN_OK && wanted)
            status = ask(r, round, j, err);
        else
            job_done(j);
        HN_TRY(status);
        hn_progress_update(r->progress, round->label, i + 1, n, "questions", NULL);
    }
    while (r->n_busy)
        HN_TRY(wait_one(r, round, err));
    return HN_OK;
}

/* What earlier runs spent counts. */
static void count_spent(hn_budget *budget, const json_t *rows) {
    const char *key;
    const json_t *row;
    json_object_foreach ((json_t *)rows, key, row) {
        const json_t *usage = json_object_get(row, "usage");
        hn_budget_spend(budget, json_integer_value(json_object_get(usage, "prompt_tokens")),
                        json_integer_value(json_object_get(usage, "completion_tokens")));
    }
}

/* The answers that are judged and rewritten: with options->asked those of this run's questions, in
 * a file that has others too. */
static hn_status build_candidates(hn_distil *r, hn_error *err) {
    json_t *rows = NULL;
    hn_distil_candidate_list_done(&r->candidates);
    HN_TRY(hn_distil_rows_asked(r->kept.rows, r->options->asked, &rows, err));
    hn_status status = hn_distil_candidate_list_build(&r->candidates, rows, false, err);
    json_decref(rows);
    return status;
}

static hn_status run_all(hn_distil *r, hn_error *err) {
    for (int i = 0; i < HN_DISTIL_ROUNDS && !r->spent; i++) {
        if (i > 0)
            HN_TRY(build_candidates(r, err));
        HN_TRY(run_round(r, &HN_DISTIL_ROUND[i], err));
    }
    return HN_OK;
}

hn_status hn_distil_rows_asked(json_t *rows, const json_t *asked, json_t **out, hn_error *err) {
    const char *key;
    json_t *row;
    if (!asked) {
        *out = json_incref(rows);
        return HN_OK;
    }
    json_t *chosen = json_object();
    bool failed = !chosen;
    json_object_foreach (rows, key, row)
        if (json_object_get(asked, key))
            failed = json_object_set(chosen, key, row) || failed;
    if (failed) {
        json_decref(chosen);
        return hn_fail_no_memory(err, 1);
    }
    *out = chosen;
    return HN_OK;
}

char *hn_distil_rejected_path(const char *output) {
    static const char END[] = ".jsonl";
    size_t n = strlen(output), n_end = sizeof END - 1;
    hn_buf path = {0};
    if (n > n_end && strcmp(output + n - n_end, END) == 0)
        n -= n_end;
    hn_buf_append(&path, output, n);
    hn_buf_puts(&path, ".rejected.jsonl");
    return hn_buf_take(&path);
}

hn_status hn_distil_run(hn_teacher *teacher, const hn_prompts *prompts,
                        const hn_distil_options *options, const hn_progress *progress,
                        hn_distil_result *result, hn_error *err) {
    hn_distil r = {.teacher = teacher,
                   .prompts = prompts,
                   .options = options,
                   .progress = progress,
                   .kept = {.fd = -1},
                   .rejected = {.fd = -1},
                   .result = {.budget = options->budget}};
    char *rejected = hn_distil_rejected_path(options->output);
    hn_status status = HN_OK;
    r.jobs = hn_calloc((size_t)teacher->parallel, sizeof *r.jobs);
    if (!rejected || !r.jobs) {
        status = hn_fail_no_memory(err, 1);
        goto done;
    }
    HN_GO(hn_store_open(&r.kept, options->output, progress, err));
    HN_GO(hn_store_open(&r.rejected, rejected, progress, err));
    count_spent(&r.result.budget, r.kept.rows);
    count_spent(&r.result.budget, r.rejected.rows);
    HN_GO(run_all(&r, err));
    r.result.n_retries = teacher->n_retries;
    *result = r.result;
done:
    for (int i = 0; r.jobs && i < teacher->parallel; i++)
        job_done(&r.jobs[i]);
    hn_free(r.jobs);
    hn_free(rejected);
    hn_distil_candidate_list_done(&r.candidates);
    hn_store_close(&r.kept);
    hn_store_close(&r.rejected);
    return status;
}
