#include "cli/merge_report.h"

#include "base/mem.h"
#include "cli/session.h"
#include "eval/golden.h"
#include "model/dora.h"
#include "model/perplexity.h"

#include <string.h>
#include <sys/stat.h>

enum { TEXT_CONTEXT = 512, TEXT_CHUNKS = 8 };

static hn_status measure_kl(hn_cli *cli, const hn_merge_report *r, hn_session *unmerged,
                            hn_session *merged, json_t *result, hn_error *err) {
    char *text = NULL;
    size_t size;
    hn_perplexity p;
    hn_status status;
    HN_GO(hn_cli_read(r->text, &text, &size, err));
    const hn_perplexity_job job = {.model = merged->model,
                                   .reference = unmerged->model,
                                   .reference_adapter = r->adapter,
                                   .text = text,
                                   .n_bytes = size,
                                   .n_ctx = TEXT_CONTEXT,
                                   .n_chunks = TEXT_CHUNKS};
    HN_GO(hn_perplexity_run(&job, &cli->progress, &p, err));
    json_object_set_new(result, "kl",
                        json_pack("{s:f, s:f, s:f}", "mean", p.mean_kl, "standard_error",
                                  p.kl_standard_error, "same_top", p.top_token_agreement));
done:
    hn_free(text);
    return status;
}

static hn_status answer(hn_cli *cli, const hn_session *session, const hn_adapter *adapter,
                        const hn_golden *golden, const char *label, hn_scores *scores,
                        hn_error *err) {
    hn_eval_options options = {
        .system = hn_cli_text(cli, "system"), .latency_rows = -1, .label = label};
    return hn_eval_run(session->model, adapter, golden, &options, &cli->progress, scores, err);
}

static hn_status measure_golden(hn_cli *cli, const hn_merge_report *r, hn_session *unmerged,
                                hn_session *merged, json_t *result, hn_error *err) {
    hn_golden golden = {0};
    hn_scores before = {0}, after = {0};
    hn_flips flips;
    hn_status status;
    HN_GO(hn_golden_read(&golden, r->golden, err));
    HN_GO(answer(cli, unmerged, r->adapter, &golden, "unmerged", &before, err));
    HN_GO(answer(cli, merged, NULL, &golden, "merged", &after, err));
    HN_GO(hn_scores_compare(&before, &after, &flips, err));
    json_object_set_new(result, "golden",
                        json_pack("{s:O, s:O, s:I, s:I, s:I, s:I}", "before",
                                  json_object_get(before.results, "mean"), "after",
                                  json_object_get(after.results, "mean"), "lost",
                                  (json_int_t)flips.lost, "won", (json_int_t)flips.won, "changed",
                                  (json_int_t)flips.changed, "n", (json_int_t)flips.n));
done:
    hn_scores_done(&before);
    hn_scores_done(&after);
    hn_golden_done(&golden);
    return status;
}

/* A pipe can be read once: it is looked at later. */
static hn_status check_text(const char *path, const hn_checkpoint *base, hn_error *err) {
    enum { SURELY_ENOUGH = 1 << 16 };
    struct stat info;
    char *text;
    size_t size;
    if (stat(path, &info))
        return hn_fail_errno(err, "%s", path);
    if (!S_ISREG(info.st_mode) || info.st_size > SURELY_ENOUGH)
        return HN_OK;
    HN_TRY(hn_cli_read(path, &text, &size, err));
    hn_ids ids = {0};
    hn_status status = hn_encode(base->tokenizer, text, size, HN_ENCODE_ADD_SPECIAL, &ids, err);
    if (status == HN_OK && ids.size < TEXT_CONTEXT)
        status = hn_fail(err, HN_BAD_INPUT, "%s has %zu tokens, one chunk takes %d: give more text",
                         path, ids.size, TEXT_CONTEXT);
    hn_ids_done(&ids);
    hn_free(text);
    return status;
}

hn_status hn_merge_check(const hn_merge_report *r, const hn_checkpoint *base, hn_error *err) {
    hn_golden golden;
    if (r->text && strcmp(r->text, "-") != 0)
        HN_TRY(check_text(r->text, base, err));
    if (!r->golden)
        return HN_OK;
    HN_TRY(hn_checkpoint_need_template(base, err));
    HN_TRY(hn_golden_read(&golden, r->golden, err));
    hn_golden_done(&golden);
    return HN_OK;
}

hn_status hn_merge_measure(hn_cli *cli, const hn_merge_report *r, json_t *result, hn_error *err) {
    hn_session unmerged = {0}, merged = {0};
    hn_status status = HN_OK;
    if (!r->text && !r->golden)
        return HN_OK;
    HN_GO(hn_session_open(&unmerged, cli, r->base, HN_NUMERICS_F32, err));
    HN_GO(hn_adapter_fit(r->adapter, unmerged.model, err));
    HN_GO(hn_session_open(&merged, cli, r->merged, HN_NUMERICS_INT8, err));
    if (r->text)
        HN_GO(measure_kl(cli, r, &unmerged, &merged, result, err));
    if (r->golden)
        HN_GO(measure_golden(cli, r, &unmerged, &merged, result, err));
    if (!json_object_get(result, r->golden ? "golden" : "kl"))
        status = hn_fail_no_memory(err, 256);
done:
    hn_session_done(&unmerged);
    hn_session_done(&merged);
    return status;
}
