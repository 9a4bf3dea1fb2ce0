/* hone merge and hone export: an adapter folded into its model, and changes of format. */
#include "cli/commands.h"
#include "cli/merge_report.h"

#include "release/quantise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ADAPTERS = 16 };

static bool ends_with_gguf(const char *path) {
    size_t n = strlen(path);
    return n >= 5 && strcmp(path + n - 5, ".gguf") == 0;
}

/* The model with `adapter` (may be NULL) merged in, as the output's name says. */
static hn_status write_model(const hn_cli *cli, const hn_checkpoint *ckpt,
                             const hn_adapter *adapter, const char *path, hn_error *err) {
    const char *type = hn_cli_text(cli, "type");
    if (ends_with_gguf(path)) {
        hn_quantise_options options = {.n_threads = 0};
        hn_quantise_report report;
        if (!hn_ftype_from_name(type, &options.ftype))
            return hn_fail(err, HN_UNSUPPORTED, "--type %s isn't in this build", type);
        return hn_quantise(ckpt, adapter, path, &options, &cli->progress, &report, err);
    }
    hn_dtype dtype;
    if (!hn_dtype_from_name(type, &dtype))
        return hn_fail(err, HN_UNSUPPORTED, "--type %s isn't in this build", type);
    return hn_merge_to_hf(ckpt, adapter, path, dtype, &cli->progress, err);
}

static hn_status print(const hn_cli *cli, const char *path, hn_error *err) {
    if (!cli->json) {
        puts(path);
        return HN_OK;
    }
    json_t *value = json_pack("{s:s, s:s}", "path", path, "type", hn_cli_text(cli, "type"));
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

/* The adapters of the command line, with their weights. */
typedef struct parts {
    hn_adapter *items[MAX_ADAPTERS];
    float weights[MAX_ADAPTERS];
    int n;
} parts;

/* "0.7,0.3", one for each adapter; without --weights each counts 1. */
static hn_status read_weights(const hn_cli *cli, parts *p, hn_error *err) {
    const char *text = hn_cli_text(cli, "weights");
    for (int i = 0; i < p->n; i++)
        p->weights[i] = 1;
    for (int i = 0; text && i < p->n; i++) {
        char *end;
        p->weights[i] = strtof(text, &end);
        bool more = i + 1 < p->n;
        if (end == text || !isfinite(p->weights[i]) || *end != (more ? ',' : '\0'))
            return hn_fail(err, HN_USAGE,
                           "--weights: %d numbers are needed, one for each adapter, "
                           "as in 0.7,0.3",
                           p->n);
        text = end + 1;
    }
    return HN_OK;
}

static hn_status open_parts(const hn_cli *cli, const hn_arch *arch, parts *p, hn_error *err) {
    while (hn_cli_arg(cli, p->n + 1))
        p->n++;
    HN_TRY(read_weights(cli, p, err));
    for (int i = 0; i < p->n; i++)
        HN_TRY(hn_adapter_open(&p->items[i], hn_cli_arg(cli, i + 1), arch, err));
    return HN_OK;
}

static void parts_done(parts *p) {
    for (int i = 0; i < p->n; i++)
        hn_adapter_free(p->items[i]);
}

/* One adapter that counts 1 is taken as it is; otherwise their sum, which *owned frees. */
static hn_status sum_of(const parts *p, const hn_arch *arch, hn_adapter **sum, hn_adapter **owned,
                        hn_error *err) {
    *sum = p->items[0];
    if (p->n == 1 && p->weights[0] == 1)
        return HN_OK;
    HN_TRY(hn_adapter_combine(owned, (const hn_adapter *const *)p->items, p->weights, p->n, arch,
                              err));
    *sum = *owned;
    return HN_OK;
}

static hn_merge_report report_of(const hn_cli *cli, hn_adapter *sum) {
    return (hn_merge_report){.base = hn_cli_arg(cli, 0),
                             .adapter = sum,
                             .merged = hn_cli_text(cli, "output"),
                             .text = hn_cli_text(cli, "text"),
                             .golden = hn_cli_text(cli, "golden")};
}

static hn_status print_merge(const hn_cli *cli, const char *path, const json_t *result,
                             hn_error *err) {
    const json_t *kl = json_object_get(result, "kl"), *golden = json_object_get(result, "golden");
    if (cli->json)
        return hn_cli_print_json(result, err);
    puts(path);
    if (kl)
        printf("KL to the unmerged adapter  %.6f +/- %.6f, the same first token %.2f %%\n",
               json_number_value(json_object_get(kl, "mean")),
               json_number_value(json_object_get(kl, "standard_error")),
               100 * json_number_value(json_object_get(kl, "same_top")));
    if (golden)
        printf(
            "golden set                  %.4f unmerged, %.4f merged; %lld rows lost, %lld won of "
            "%lld\n",
            json_number_value(json_object_get(golden, "before")),
            json_number_value(json_object_get(golden, "after")),
            (long long)json_integer_value(json_object_get(golden, "lost")),
            (long long)json_integer_value(json_object_get(golden, "won")),
            (long long)json_integer_value(json_object_get(golden, "n")));
    return HN_OK;
}

static hn_status check_merge(const hn_cli *cli, hn_error *err) {
    bool measured = hn_cli_text(cli, "text") || hn_cli_text(cli, "golden");
    if (!hn_cli_text(cli, "output"))
        return hn_fail(err, HN_USAGE, "--output says where the merged model goes");
    if (measured && hn_cli_flag(cli, "as-adapter"))
        return hn_fail(err, HN_USAGE,
                       "--text and --golden measure a merged model, and with "
                       "--as-adapter none is written");
    for (int i = 0; hn_cli_arg(cli, i); i++)
        HN_TRY(hn_cli_check_output(hn_cli_text(cli, "output"), hn_cli_arg(cli, i), err));
    return HN_OK;
}

static hn_status run_merge(hn_cli *cli, hn_error *err) {
    const char *path = hn_cli_text(cli, "output");
    hn_checkpoint ckpt = {0};
    parts p = {0};
    hn_adapter *owned = NULL;
    hn_adapter *sum;
    json_t *result = NULL;
    hn_status status;
    HN_TRY(check_merge(cli, err));
    HN_TRY(hn_checkpoint_open(&ckpt, hn_cli_arg(cli, 0), err));
    HN_GO(open_parts(cli, &ckpt.arch, &p, err));
    HN_GO(sum_of(&p, &ckpt.arch, &sum, &owned, err));
    const hn_merge_report report = report_of(cli, sum);
    HN_GO(hn_merge_check(&report, &ckpt, err));
    if (hn_cli_flag(cli, "as-adapter"))
        HN_GO(hn_adapter_save(sum, &ckpt.arch, path, err));
    else
        HN_GO(write_model(cli, &ckpt, sum, path, err));
    result = json_pack("{s:s, s:s}", "path", path, "type", hn_cli_text(cli, "type"));
    HN_GO(HN_JSON_CHECK(result, err));
    HN_GO(hn_merge_measure(cli, &report, result, err));
    status = print_merge(cli, path, result, err);
done:
    json_decref(result);
    hn_adapter_free(owned);
    parts_done(&p);
    hn_checkpoint_close(&ckpt);
    return status;
}

static hn_status run_export(hn_cli *cli, hn_error *err) {
    const char *path = hn_cli_text(cli, "output"), *adapter_path = hn_cli_text(cli, "adapter");
    hn_checkpoint ckpt;
    hn_adapter *adapter = NULL;
    hn_status status;
    if (!path)
        return hn_fail(err, HN_USAGE, "--output says where the result goes");
    HN_TRY(hn_cli_check_output(path, hn_cli_arg(cli, 0), err));
    HN_TRY(hn_cli_check_output(path, adapter_path, err));
    HN_TRY(hn_checkpoint_open(&ckpt, hn_cli_arg(cli, 0), err));
    if (adapter_path) {
        HN_GO(hn_adapter_open(&adapter, adapter_path, &ckpt.arch, err));
        HN_GO(hn_adapter_save(adapter, &ckpt.arch, path, err));
    } else {
        HN_GO(write_model(cli, &ckpt, NULL, path, err));
    }
    status = print(cli, path, err);
done:
    hn_adapter_free(adapter);
    hn_checkpoint_close(&ckpt);
    return status;
}

static const hn_option OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "PATH", NULL,
     "Where to (needed): a name that ends in .gguf, or a folder in Hugging Face layout"},
    {"type", 'T', HN_OPT_CHOICE, "TYPE", "bf16", "Type of the weights", "bf16|f16|f32", 0, 0},
    {0},
};

static const hn_option MERGE_OPTIONS[] = {
    {"weights", 'w', HN_OPT_TEXT, "LIST", NULL,
     "A number for each adapter, as 0.7,0.3; without it each counts 1"},
    {"as-adapter", 0, HN_OPT_FLAG, NULL, NULL,
     "Write the adapters' sum as an adapter instead of a model"},
    {"text", 0, HN_OPT_TEXT, "FILE", NULL,
     "Also measure the KL between merged and unmerged on this text (8 chunks of 512 tokens)"},
    {"golden", 0, HN_OPT_TEXT, "FILE", NULL,
     "Also measure how merging changes the score on this golden set"},
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL, "System text for golden rows that have none"},
    {0},
};

const hn_command HN_CMD_MERGE = {
    .name = "merge",
    .args = "MODEL ADAPTER...",
    .min_args = 2,
    .max_args = 1 + MAX_ADAPTERS,
    .summary = "fold adapters into their model",
    .details = "Adds LoRA adapters to a model's weights in float and writes the result as a "
               "Hugging Face folder (config, safetensors, tokenizer, chat template) or, when the "
               "name ends in .gguf, as a GGUF. Several adapters are added up with --weights.",
    .groups = {OPTIONS, MERGE_OPTIONS, HN_OPTIONS_COMPUTE},
    .examples = "hone merge base.gguf run/adapter -o merged\n"
                "hone merge base.gguf run/adapter -o merged.gguf --type f16\n"
                "hone merge base.gguf one/adapter two/adapter -w 0.7,0.3 --as-adapter -o both",
    .run = run_merge,
};

const hn_command HN_CMD_EXPORT = {
    .name = "export",
    .args = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "a model or an adapter in another format",
    .details = "Writes a model as a Hugging Face folder or a GGUF, by the output's name. With "
               "--adapter the adapter alone is written: as a PEFT folder, or as a GGUF adapter "
               "for llama.cpp.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER},
    .examples = "hone export model.gguf -o model-folder\n"
                "hone export base.gguf --adapter run/adapter -o adapter.gguf",
    .run = run_export,
};
