/* Running a golden set through a model: greedy answers in batches, choices by log-likelihood, and
 * latencies from some of the rows answered again one at a time. */
#include "eval/golden.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "eval/answers.h"
#include "eval/stats.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_MAX_TOKENS = 64,
    /* p95 is bounded by the 196th of 200: enough, and a fraction of most golden sets. */
    DEFAULT_LATENCY_ROWS = 200,
};

typedef struct eval_run {
    hn_model *model;
    const hn_adapter *adapter;
    const hn_golden *golden;
    const hn_eval_options *options;
    hn_ids *prompts;    /* one a row */
    hn_answer *answers; /* one a row; text NULL where nothing is generated */
    hn_kv *kv;
    hn_out samples, timing;
    double *assertion_scores; /* room for the row with most assertions */
    int max_tokens;
    size_t n_unended; /* answers that ended within their thought */
} eval_run;

typedef struct choice_result {
    int best, best_norm; /* indices; -1 = no choice row */
    double *log_probs;   /* owned; n of them */
    size_t n;
} choice_result;

static bool has_system(const json_t *messages) {
    const char *role = json_string_value(json_object_get(json_array_get(messages, 0), "role"));
    return role && !strcmp(role, "system");
}

static hn_status encode_prompt(const eval_run *run, const hn_golden_item *item, hn_ids *ids,
                               hn_error *err) {
    json_t *messages = json_copy(item->messages);
    hn_status status = HN_OK;
    if (!messages)
        return hn_fail_no_memory(err, 64);
    const char *system = run->options->system;
    if (system && system[0] && !has_system(messages) &&
        json_array_insert_new(messages, 0,
                              json_pack("{s:s,s:s}", "role", "system", "content", system)))
        status = hn_fail(err, HN_BAD_INPUT, "the system prompt is not valid UTF-8");
    if (status == HN_OK)
        status = hn_chat_encode(run->model, messages, NULL, true, ids, err);
    if (status == HN_OK &&
        ids->size + (size_t)run->max_tokens > (size_t)run->model->arch.n_ctx_train)
        status = hn_fail(err, HN_BAD_INPUT,
                         "the prompt's %zu tokens and %d for the answer exceed the model's context "
                         "of %d: shorten the prompt or lower max_tokens",
                         ids->size, run->max_tokens, run->model->arch.n_ctx_train);
    if (status != HN_OK)
        (void)hn_error_prefix(err, "%s:%llu", run->golden->path, (unsigned long long)item->line);
    json_decref(messages);
    return status;
}

/* Encodes everything first: a row that doesn't fit is known before minutes are spent. */
static hn_status encode_all(eval_run *run, hn_error *err) {
    const hn_golden *golden = run->golden;
    size_t longest = 0, n_choices = 0, n_assertions = 1;
    for (size_t i = 0; i < golden->n; i++) {
        const hn_golden_item *item = &golden->items[i];
        const hn_assertion *choice = hn_golden_item_choice(item);
        HN_TRY(encode_prompt(run, item, &run->prompts[i], err));
        longest = run->prompts[i].size > longest ? run->prompts[i].size : longest;
        n_assertions = item->n_assertions > n_assertions ? item->n_assertions : n_assertions;
        if (choice && json_array_size(choice->choices) > n_choices)
            n_choices = json_array_size(choice->choices);
    }
    run->assertion_scores = hn_calloc(n_assertions, sizeof *run->assertion_scores);
    if (!run->assertion_scores)
        return hn_fail_no_memory(err, n_assertions * sizeof *run->assertion_scores);
    /* The prompt's sequence, and one a choice that continues it. */
    int64_t n_positions = (int64_t)longest + (int64_t)(n_choices + 1) * (run->max_tokens + 32);
    return hn_kv_new(&run->kv, run->model, (int)n_choices + 2, n_positions, err);
}

static hn_status score_choices(eval_run *run, const hn_assertion *choice, const hn_ids *prompt,
                               choice_result *out, hn_error *err) {
    size_t n = json_array_size(choice->choices);
    hn_ids *ids = hn_calloc(n, sizeof *ids);
    out->log_probs = hn_calloc(n, sizeof *out->log_probs);
    hn_status status = HN_OK;
    if (!ids || !out->log_probs) {
        status = hn_fail_no_memory(err, n * sizeof *ids);
        goto done;
    }
    out->n = n;
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(choice->choices, i);
        HN_GO(hn_encode(run->model->ckpt.tokenizer, json_string_value(text),
                        json_string_length(text), 0, &ids[i], err));
        if (ids[i].size > (size_t)run->max_tokens + 32) {
            status = hn_fail(err, HN_BAD_INPUT,
                             "choice %zu has %zu tokens, more than %d: raise "
                             "max_tokens",
                             i + 1, ids[i].size, run->max_tokens + 32);
            goto done;
        }
    }
    HN_GO(hn_score_choices(run->model, run->kv, run->adapter, prompt->data, (int)prompt->size, ids,
                           (int)n, out->log_probs, err));
    double best = 0, best_norm = 0;
    for (size_t i = 0; i < n; i++) { /* acc_norm: a character's share, as lm-evaluation-harness */
        double length = (double)json_string_length(json_array_get(choice->choices, i));
        double norm = out->log_probs[i] / (length > 0 ? length : 1);
        if (out->best < 0 || out->log_probs[i] > best) {
            best = out->log_probs[i];
            out->best = (int)i;
        }
        if (out->best_norm < 0 || norm > best_norm) {
            best_norm = norm;
            out->best_norm = (int)i;
        }
    }
done:
    for (size_t i = 0; ids && i < n; i++)
        hn_ids_done(&ids[i]);
    hn_free(ids);
    return status;
}

static hn_status text_hash(const char *text, size_t n, char hash[HN_SHA256_HEX], hn_error *err) {
    return hn_sha256_data(text, n, hash, err);
}

static hn_status json_hash(const json_t *value, char hash[HN_SHA256_HEX], hn_error *err) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return hn_fail_no_memory(err, 256);
    hn_status status = text_hash(text, strlen(text), hash, err);
    free(text);
    return status;
}

static hn_status write_sample(eval_run *run, size_t index, const hn_sample *sample,
                              const char *answer, bool abstained, const choice_result *choice,
                              hn_error *err) {
    const hn_golden_item *item = &run->golden->items[index];
    char doc[HN_SHA256_HEX], prompt[HN_SHA256_HEX], target[HN_SHA256_HEX], answer_hash[20];
    HN_TRY(json_hash(item->row, doc, err));
    HN_TRY(text_hash((const char *)run->prompts[index].data,
                     run->prompts[index].size * sizeof(int32_t), prompt, err));
    HN_TRY(json_hash(json_object_get(item->row, "assert"), target, err));
    snprintf(answer_hash, sizeof answer_hash, "%016llx", (unsigned long long)sample->answer_hash);
    json_t *row =
        json_pack("{s:I, s:s, s:s, s:s*, s:s, s:f, s:b, s:f, s:s, s:s, s:s, s:O}", "doc_id",
                  (json_int_t)index, "id", sample->id, "slice", sample->slice, "answer",
                  hn_golden_item_generates(item) ? answer : NULL, "answer_hash", answer_hash,
                  "score", sample->score, "passed", sample->passed, "weight", sample->weight,
                  "doc_hash", doc, "prompt_hash", prompt, "target_hash", target, "doc", item->row);
    if (hn_golden_item_generates(item)) {
        json_object_set_new(row, "log_prob", json_real(run->answers[index].log_prob));
        json_object_set_new(row, "abstained", json_boolean(abstained));
        const char *thought;
        size_t n;
        (void)hn_answer_spoken(run->answers[index].text, &thought, &n);
        if (thought)
            json_object_set_new(row, "thought", json_stringn(thought, n));
    }
    json_t *list = json_array();
    for (size_t i = 0; i < item->n_assertions; i++)
        json_array_append_new(list, json_pack("{s:s, s:f}", "type",
                                              hn_assertion_name(item->assertions[i].type), "score",
                                              run->assertion_scores[i]));
    json_object_set_new(row, "assertions", list);
    if (choice->best >= 0) {
        list = json_array();
        for (size_t i = 0; i < choice->n; i++)
            json_array_append_new(list, json_real(choice->log_probs[i]));
        json_object_set_new(row, "log_probs", list);
        json_object_set_new(row, "choice", json_integer(choice->best));
        json_object_set_new(row, "acc", json_integer(sample->acc));
        json_object_set_new(row, "acc_norm", json_integer(sample->acc_norm));
    }
    char *text = row ? json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(row);
    if (!text)
        return hn_fail_no_memory(err, 1024);
    hn_out_printf(&run->samples, "%s\n", text);
    free(text);
    return HN_OK;
}

/* Whether the row's answer is too unlikely to be given. */
static bool abstains(const eval_run *run, size_t index) {
    const hn_answer *answer = &run->answers[index];
    return answer->text && exp(answer->log_prob) < run->options->abstain_below;
}

/* What the row's answer says; what it thought is not part of that. */
static const char *spoken(eval_run *run, size_t index) {
    const char *text = run->answers[index].text, *thought;
    size_t n;
    if (!text)
        return "";
    const char *said = hn_answer_spoken(text, &thought, &n);
    run->n_unended += thought && !thought[n];
    return said;
}

/* `measured` rows are answered once more, alone, for their latency. */
static hn_status run_row(eval_run *run, size_t index, bool measured, hn_sample *sample,
                         hn_error *err) {
    const hn_golden_item *item = &run->golden->items[index];
    const hn_ids *prompt = &run->prompts[index];
    const hn_assertion *choice = hn_golden_item_choice(item);
    choice_result chosen = {.best = -1, .best_norm = -1};
    hn_generation answer = {0};
    hn_item_score score;
    hn_status status;
    *sample = (hn_sample){.slice = item->slice, .weight = item->weight, .acc = -1, .acc_norm = -1};
    memcpy(sample->id, item->id, sizeof sample->id);
    uint64_t start = hn_clock_ns(), first = 0;
    if (choice) {
        HN_GO(score_choices(run, choice, prompt, &chosen, err));
        first = hn_clock_ns() - start;
        sample->acc =
            json_equal(json_array_get(choice->choices, (size_t)chosen.best), choice->value);
        sample->acc_norm =
            json_equal(json_array_get(choice->choices, (size_t)chosen.best_norm), choice->value);
    }
    if (hn_golden_item_generates(item) && measured) {
        hn_generate_options options = {.sampling = hn_sampling_default(),
                                       .max_tokens = run->max_tokens,
                                       .adapter = run->adapter,
                                       .constraint = run->options->constraint};
        HN_GO(hn_generate(run->model, run->kv, 0, prompt->data, (int)prompt->size, &options,
                          &answer, err));
        first += answer.first_token_ns;
    }
    const double NS_A_MS = 1e6;
    if (measured) {
        sample->latency_ms = (double)(hn_clock_ns() - start) / NS_A_MS;
        sample->first_token_ms = (double)first / NS_A_MS;
    }
    bool abstained = abstains(run, index);
    const char *text = abstained ? run->options->abstain_as : spoken(run, index);
    HN_GO(hn_golden_item_score(item, text, chosen.best, run->assertion_scores, &score, err));
    sample->score = score.score;
    sample->passed = score.passed;
    sample->answer_hash = hn_hash64(text, strlen(text), (uint64_t)(chosen.best + 1));
    if (run->samples.file)
        HN_GO(write_sample(run, index, sample, text, abstained, &chosen, err));
    if (run->timing.file && measured)
        hn_out_printf(&run->timing, "{\"id\":\"%s\",\"latency_ms\":%.3f,\"first_token_ms\":%.3f}\n",
                      sample->id, sample->latency_ms, sample->first_token_ms);
done:
    hn_free(chosen.log_probs);
    hn_generation_done(&answer);
    return status;
}

/* What a comparison on this many rows can decide, said before the minutes are spent. */
static void note_detectable(const eval_run *run, const hn_progress *progress) {
    const double FEW_FLIPS = 0.05, MANY_FLIPS = 0.10, ALPHA = 0.05, POWER = 0.8;
    hn_progress_note(progress,
                     "%zu golden rows decide a difference of %.3f when 5 %% of the answers flip, "
                     "%.3f when 10 %% do (one-sided alpha 0.05, power 0.8)",
                     run->golden->n,
                     hn_stats_detectable_effect(run->golden->n, FEW_FLIPS, ALPHA, POWER),
                     hn_stats_detectable_effect(run->golden->n, MANY_FLIPS, ALPHA, POWER));
}

static size_t measured_rows(const eval_run *run) {
    size_t n = run->golden->n;
    int wanted = run->options->latency_rows ? run->options->latency_rows : DEFAULT_LATENCY_ROWS;
    return wanted < 0 ? 0 : (size_t)wanted < n ? (size_t)wanted : n;
}

/* All generated answers, in batches. Rows that are scored by their choices alone are left out. */
static hn_status answer_rows(eval_run *run, const char *label, const hn_progress *progress,
                             hn_error *err) {
    size_t n = run->golden->n;
    hn_ids *prompts = hn_calloc(n, sizeof *prompts);
    run->answers = hn_calloc(n, sizeof *run->answers);
    hn_status status = HN_OK;
    if (!prompts || !run->answers) {
        status = hn_fail_no_memory(err, n * sizeof *prompts);
        goto done;
    }
    for (size_t i = 0; i < n; i++)
        if (hn_golden_item_generates(&run->golden->items[i]))
            prompts[i] = run->prompts[i]; /* borrowed */
    hn_answers_options options = {
        .max_tokens = run->max_tokens, .label = label, .constraint = run->options->constraint};
    HN_GO(hn_answers_generate(run->model, run->adapter, prompts, n, &options, progress,
                              run->answers, err));
done:
    hn_free(prompts);
    return status;
}

static hn_status run_all(eval_run *run, hn_scores *scores, const hn_progress *progress,
                         hn_error *err) {
    const char *label = run->options->label ? run->options->label : "model";
    char title[96];
    snprintf(title, sizeof title, "evaluate %.80s", label);
    double right = 0;
    size_t n = run->golden->n, n_measured = measured_rows(run);
    HN_TRY(answer_rows(run, title, progress, err));
    for (size_t i = 0; i < n; i++) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "evaluation stopped at row %zu of %zu", i,
                           run->golden->n);
        bool measured = i * n_measured / n != (i + 1) * n_measured / n; /* spread evenly */
        HN_TRY(run_row(run, i, measured, &scores->samples[i], err));
        scores->n = i + 1;
        right += scores->samples[i].score;
        char detail[32];
        snprintf(detail, sizeof detail, "score %.3f", right / (double)scores->n);
        hn_progress_update(progress, "latency", i + 1, n, "rows", detail);
    }
    if (run->n_unended)
        hn_progress_note(progress,
                         "%zu answers ended within their thought and count as empty: more than %d "
                         "tokens may be needed (max_tokens)",
                         run->n_unended, run->max_tokens);
    return hn_scores_summarise(scores, label, err);
}

static hn_status open_outputs(eval_run *run, hn_error *err) {
    if (run->options->path_out)
        HN_TRY(hn_out_open(&run->samples, run->options->path_out, err));
    if (run->options->path_timing)
        HN_TRY(hn_out_open(&run->timing, run->options->path_timing, err));
    return HN_OK;
}

static hn_status commit_outputs(eval_run *run, hn_error *err) {
    if (run->samples.file)
        HN_TRY(hn_out_commit(&run->samples, err));
    if (run->timing.file)
        HN_TRY(hn_out_commit(&run->timing, err));
    return HN_OK;
}

hn_status hn_eval_run(hn_model *model, const hn_adapter *adapter, const hn_golden *golden,
                      const hn_eval_options *options, const hn_progress *progress,
                      hn_scores *scores, hn_error *err) {
    eval_run run = {.model = model,
                    .adapter = adapter,
                    .golden = golden,
                    .options = options,
                    .max_tokens =
                        options->max_tokens > 0 ? options->max_tokens : DEFAULT_MAX_TOKENS};
    hn_scores out = {.owner = json_incref(golden->rows)};
    hn_status status = HN_OK;
    if (options->abstain_below > 0 && !options->abstain_as)
        return hn_fail(err, HN_USAGE,
                       "an answer that is too unlikely is replaced: say by what (abstain-as)");
    out.samples = hn_calloc(golden->n, sizeof *out.samples);
    run.prompts = hn_calloc(golden->n, sizeof *run.prompts);
    if (!out.samples || !run.prompts) {
        status = hn_fail_no_memory(err, golden->n * sizeof *out.samples);
        goto done;
    }
    HN_GO(encode_all(&run, err));
    HN_GO(open_outputs(&run, err));
    note_detectable(&run, progress);
    HN_GO(run_all(&run, &out, progress, err));
    HN_GO(commit_outputs(&run, err));
    *scores = out;
    out = (hn_scores){0};
done:
    hn_out_abort(&run.samples);
    hn_out_abort(&run.timing);
    for (size_t i = 0; run.prompts && i < golden->n; i++)
        hn_ids_done(&run.prompts[i]);
    for (size_t i = 0; run.answers && i < golden->n; i++)
        hn_free(run.answers[i].text);
    hn_free(run.answers);
    hn_free(run.prompts);
    hn_free(run.assertion_scores);
    hn_kv_free(run.kv);
    hn_scores_done(&out);
    return status;
}
