/* hone merge and hone export: an adapter folded into its model, and changes of format. */
#include "cli/commands.h"

#include "release/quantise.h"

#include <string.h>

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

static hn_status run_merge(hn_cli *cli, hn_error *err) {
    const char *path = hn_cli_text(cli, "output");
    hn_checkpoint ckpt;
    hn_adapter *adapter = NULL;
    hn_status status;
    if (!path)
        return hn_fail(err, HN_USAGE, "--output says where the merged model goes");
    HN_TRY(hn_checkpoint_open(&ckpt, hn_cli_arg(cli, 0), err));
    HN_GO(hn_adapter_open(&adapter, hn_cli_arg(cli, 1), &ckpt.arch, err));
    HN_GO(write_model(cli, &ckpt, adapter, path, err));
    status = print(cli, path, err);
done:
    hn_adapter_free(adapter);
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

const hn_command HN_CMD_MERGE = {
    .name = "merge",
    .args = "MODEL ADAPTER",
    .min_args = 2,
    .max_args = 2,
    .summary = "fold an adapter into its model",
    .details = "Adds a LoRA adapter to a model's weights in float and writes the result as a "
               "Hugging Face folder (config, safetensors, tokenizer, chat template) or, when the "
               "name ends in .gguf, as a GGUF.",
    .groups = {OPTIONS},
    .examples = "hone merge base.gguf run/adapter -o merged\n"
                "hone merge base.gguf run/adapter -o merged.gguf --type f16",
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
