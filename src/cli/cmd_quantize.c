/* hone quantize: a smaller GGUF, and how much of an adapter survived in it. */
#include "cli/commands.h"

#include "base/mem.h"
#include "release/quantise.h"

#include <math.h>
#include <string.h>

static hn_status print(const hn_cli *cli, const char *path, const hn_quantise_report *r,
                       bool with_adapter, hn_error *err) {
    if (cli->json) {
        json_t *value = json_pack("{s:s, s:s, s:I}", "path", path, "type", hn_cli_text(cli, "type"),
                                  "size_bytes", (json_int_t)r->size_bytes);
        if (value && with_adapter) {
            json_object_set_new(value, "adapter_cosine", json_real(r->adapter_cosine));
            json_object_set_new(value, "adapter_norm_ratio", json_real(r->adapter_norm_ratio));
        }
        if (value && with_adapter && isfinite(r->output_share)) {
            json_object_set_new(value, "output_share", json_real(r->output_share));
            json_object_set_new(value, "output_error", json_real(r->output_error));
        }
        if (value && isfinite(r->kl_before)) {
            json_object_set_new(value, "kl_before", json_real(r->kl_before));
            json_object_set_new(value, "kl_after", json_real(r->kl_after));
        }
        hn_status status = hn_cli_print_json(value, err);
        json_decref(value);
        return status;
    }
    char size[32];
    printf("%s  %s  %s\n", path, hn_cli_text(cli, "type"),
           hn_cli_bytes(size, (double)r->size_bytes));
    if (with_adapter)
        printf("adapter survived: cosine %.3f, size of the change %.3f of what was wanted\n",
               r->adapter_cosine, r->adapter_norm_ratio);
    if (with_adapter && isfinite(r->output_share))
        printf("on the calibration data: %.0f %% of what it changes in the layers' outputs is "
               "there, with an error of %.2f of it\n",
               100 * r->output_share, r->output_error);
    if (isfinite(r->kl_before))
        printf("KL to the float model, a token: %.4f, %.4f before norms were tuned\n", r->kl_after,
               r->kl_before);
    return HN_OK;
}

static bool is_jsonl(const char *path) {
    size_t n = strlen(path);
    return n > 6 && !strcmp(path + n - 6, ".jsonl");
}

/* Training rows, rendered and tokenised as hone sft does it. */
static hn_status read_rows(const hn_cli *cli, const hn_checkpoint *ckpt, const char *path,
                           hn_documents *rows, hn_error *err) {
    enum { MAX_LENGTH = 1024 }; /* as hone sft */
    hn_records records;
    HN_TRY(hn_records_read(&records, path, false, &cli->progress, err));
    hn_status status = hn_documents_build(rows, &records, ckpt, hn_cli_text(cli, "system"),
                                          HN_SUPERVISE_COMPLETION, MAX_LENGTH, err);
    hn_records_done(&records);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    const char *path = hn_cli_text(cli, "output"), *adapter_path = hn_cli_text(cli, "adapter");
    const hn_opt_value *sources = hn_parsed_get(&cli->opts, "calibration");
    hn_quantise_options options = {.allow_lost_adapter = hn_cli_flag(cli, "allow-lost-adapter"),
                                   .n_threads = hn_cli_int(cli, "threads")};
    hn_quantise_report report;
    hn_checkpoint ckpt;
    hn_adapter *adapter = NULL;
    hn_documents rows = {0};
    char *text = NULL;
    size_t size = 0;
    hn_status status;
    if (!path)
        return hn_fail(err, HN_USAGE, "--output says where the GGUF goes");
    HN_TRY(hn_cli_check_output(path, hn_cli_arg(cli, 0), err));
    HN_TRY(hn_cli_check_output(path, adapter_path, err));
    if (!hn_ftype_from_name(hn_cli_text(cli, "type"), &options.ftype))
        return hn_fail(err, HN_UNSUPPORTED, "--type %s isn't in this build",
                       hn_cli_text(cli, "type"));
    HN_TRY(hn_checkpoint_open(&ckpt, hn_cli_arg(cli, 0), err));
    if (adapter_path)
        HN_GO(hn_adapter_open(&adapter, adapter_path, &ckpt.arch, err));
    if (!sources->n_list)
        options.calibrate_on_own_text = hn_ftype_is_coarse(options.ftype);
    for (size_t i = 0; i < sources->n_list; i++) {
        const char *name = sources->list[i];
        if (!strcmp(name, "none") && sources->n_list == 1)
            break;
        if (!strcmp(name, "self")) {
            options.calibrate_on_own_text = true;
        } else if (options.calibration_rows || options.calibration_text || !strcmp(name, "none")) {
            status = hn_fail(err, HN_USAGE,
                             "--calibration %s: one file is taken, and self beside it", name);
            goto done;
        } else if (is_jsonl(name)) {
            HN_GO(read_rows(cli, &ckpt, name, &rows, err));
            options.calibration_rows = &rows;
        } else {
            HN_GO(hn_cli_read(name, &text, &size, err));
            options.calibration_text = text;
        }
    }
    HN_GO(hn_quantise(&ckpt, adapter, path, &options, &cli->progress, &report, err));
    status = print(cli, path, &report, adapter != NULL, err);
done:
    hn_free(text);
    hn_documents_done(&rows);
    hn_adapter_free(adapter);
    hn_checkpoint_close(&ckpt);
    return status;
}

static const hn_option OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "FILE", NULL, "The GGUF to write (needed)"},
    {"type", 'T', HN_OPT_CHOICE, "TYPE", "q4_k_m", "What to quantise to", HN_FTYPE_CHOICES, 0, 0},
    {"calibration", 0, HN_OPT_LIST, "FILE", NULL,
     "Training rows (.jsonl) or text that the model is used on: says which errors matter; self = "
     "what the model itself writes, alone or beside a file, and the default for 4 and 5 bits; none "
     "= no data"},
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL, "System text of calibration rows that have none"},
    {"allow-lost-adapter", 0, HN_OPT_FLAG, NULL, NULL,
     "Write the file although the rounding undid the adapter"},
    {"threads", 't', HN_OPT_INT, "N", "0", "Threads; 0 = one a physical core", NULL, 0, 1024},
    {0},
};

const hn_command HN_CMD_QUANTIZE = {
    .name = "quantize",
    .args = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "make a model smaller",
    .details =
        "Writes a GGUF in one of llama.cpp's types, with its mixes and fallbacks. The model runs "
        "on calibration data, and scales and codes are chosen so that the layers' outputs there "
        "change least: data of your job with --calibration, else what the model itself writes. "
        "With --calibration none, and for 6 and 8 bits where it gains little, scales are searched "
        "for the least error of the weights, which takes a fraction of the time. Where there is "
        "calibration data, norms and biases, which every type keeps in f32, are then learned anew "
        "so that the file says what the float model says there: kl_before and kl_after of --json "
        "are its distance from that model, on data that nothing was learned from.\n\n"
        "With --adapter the adapter is merged in first, and the command says how much of it "
        "survived the rounding; it refuses when it is lost. Without calibration a base that "
        "already is 4-bit can swallow an adapter whole.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER},
    .examples = "hone quantize model --type q4_k_m -o model.Q4_K_M.gguf\n"
                "hone quantize base.gguf --adapter run/adapter --type q8_0 -o tuned.Q8_0.gguf",
    .run = run,
};
