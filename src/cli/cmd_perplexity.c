/* hone perplexity: how surprised a model is by a text, and how far it is from a float model. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/mem.h"
#include "model/perplexity.h"

#include <string.h>

static hn_status print(const hn_cli *cli, const hn_perplexity *p, bool with_kl, hn_error *err) {
    if (cli->json) {
        json_t *value = json_pack("{s:f, s:f, s:I}", "perplexity", p->ppl, "standard_error",
                                  p->standard_error, "n_scored", (json_int_t)p->n_scored);
        if (with_kl && value) {
            json_object_set_new(value, "mean_kl", json_real(p->mean_kl));
            json_object_set_new(value, "kl_standard_error", json_real(p->kl_standard_error));
            json_object_set_new(value, "top_token_agreement", json_real(p->top_token_agreement));
        }
        hn_status status = hn_cli_print_json(value, err);
        json_decref(value);
        return status;
    }
    printf("perplexity  %.4f +/- %.4f over %lld tokens\n", p->ppl, p->standard_error,
           (long long)p->n_scored);
    if (with_kl)
        printf("KL          %.6f +/- %.6f\nsame top    %.3f %%\n", p->mean_kl, p->kl_standard_error,
               100 * p->top_token_agreement);
    return HN_OK;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    const char *reference_path = hn_cli_text(cli, "kl-against");
    bool int8 = strcmp(hn_cli_text(cli, "numerics"), "int8") == 0;
    hn_session session = {0}, reference = {0};
    hn_perplexity result;
    char *text = NULL;
    size_t size = 0;
    hn_status status;
    HN_GO(hn_session_open(&session, cli, hn_cli_arg(cli, 0),
                          int8 ? HN_NUMERICS_INT8 : HN_NUMERICS_F32, err));
    HN_GO(hn_session_kv_type(&session, cli, err));
    HN_GO(hn_session_adapter(&session, hn_cli_text(cli, "adapter"), err));
    if (reference_path) {
        HN_GO(hn_session_open(&reference, cli, reference_path, HN_NUMERICS_F32, err));
        HN_GO(hn_session_adapter(&reference, hn_cli_text(cli, "kl-adapter"), err));
    }
    HN_GO(hn_cli_read(hn_cli_arg(cli, 1), &text, &size, err));
    const hn_perplexity_job job = {.model = session.model,
                                   .adapter = session.adapter,
                                   .reference = reference.model,
                                   .reference_adapter = reference.adapter,
                                   .text = text,
                                   .n_bytes = size,
                                   .n_ctx = hn_cli_int(cli, "ctx"),
                                   .n_chunks = hn_cli_int(cli, "chunks")};
    HN_GO(hn_perplexity_run(&job, &cli->progress, &result, err));
    status = print(cli, &result, reference_path != NULL, err);
done:
    hn_free(text);
    hn_session_done(&session);
    hn_session_done(&reference);
    return status;
}

static const hn_option OPTIONS[] = {
    {"ctx", 'c', HN_OPT_INT, "N", "512", "Tokens a chunk", NULL, 2, 1 << 20},
    {"chunks", 0, HN_OPT_INT, "N", "0", "Chunks to score; 0 = all", NULL, 0, 1e9},
    {"kl-against", 0, HN_OPT_TEXT, "MODEL", NULL, "Also the distance from this (float) model"},
    {"kl-adapter", 0, HN_OPT_TEXT, "PATH", NULL, "LoRA adapter of that model",
     .needs = "kl-against"},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "f32", "How products are computed", "f32|int8"},
    {"kv-type", 0, HN_OPT_CHOICE, "NAME", "f32", "How the cache holds keys and values",
     HN_CLI_KV_TYPES, 0, 0},
    {0},
};

const hn_command HN_CMD_PERPLEXITY = {
    .name = "perplexity",
    .args = "MODEL FILE",
    .min_args = 2,
    .max_args = 2,
    .summary = "how well a model predicts a text, and how far it is from another",
    .details = "Computes perplexity as llama.cpp's tool does: chunks of --ctx tokens, scored over "
               "the second half of each. With --kl-against also the mean KL divergence from "
               "another model and how often both put the same token first. FILE - is standard "
               "input.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER, HN_OPTIONS_COMPUTE},
    .examples = "hone perplexity model.gguf wiki.test.raw --chunks 60\n"
                "hone perplexity small.gguf wiki.test.raw --kl-against float.gguf",
    .run = run,
};
