/* hone student new: a smaller model from a larger one, to be distilled into. */
#include "cli/commands.h"

#include "base/mem.h"
#include "release/student.h"

#include <stdio.h>
#include <string.h>

static uint64_t parameters(const hn_arch *a) {
    uint64_t q = (uint64_t)a->n_head * (uint64_t)a->head_dim;
    uint64_t kv = (uint64_t)a->n_head_kv * (uint64_t)a->head_dim, d = (uint64_t)a->n_embd;
    uint64_t layer = 2 * q * d + 2 * kv * d + 3 * d * (uint64_t)a->n_ff;
    return (uint64_t)a->n_layer * layer + (uint64_t)a->n_vocab * d * (a->tied_head ? 1 : 2);
}

static hn_status print(const hn_cli *cli, const char *path, const hn_arch *a, hn_error *err) {
    if (!cli->json) {
        printf("%s: %.1f M parameters, %d layers of %d x %d, %d heads over %d\n", path,
               (double)parameters(a) / 1e6, a->n_layer, a->n_embd, a->n_ff, a->n_head,
               a->n_head_kv);
        return HN_OK;
    }
    json_t *value = json_pack("{s:s, s:I, s:i, s:i, s:i, s:i, s:i}", "path", path, "parameters",
                              (json_int_t)parameters(a), "layers", a->n_layer, "hidden", a->n_embd,
                              "ff", a->n_ff, "heads", a->n_head, "kv_heads", a->n_head_kv);
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    const char *from = hn_cli_text(cli, "from"), *path = hn_cli_text(cli, "output");
    hn_checkpoint teacher;
    hn_arch arch;
    hn_dtype dtype;
    hn_status status;
    hn_student_options options = {.n_layer = hn_cli_int(cli, "layers"),
                                  .n_embd = hn_cli_int(cli, "hidden"),
                                  .n_ff = hn_cli_int(cli, "ff"),
                                  .n_head = hn_cli_int(cli, "heads"),
                                  .n_head_kv = hn_cli_int(cli, "kv-heads"),
                                  .shared = hn_cli_flag(cli, "share-blocks") ? 2 : 1};
    if (!from || !path)
        return hn_fail(err, HN_USAGE, "--%s is missing: %s", from ? "output" : "from",
                       from ? "where the student goes" : "the teacher");
    HN_TRY(hn_cli_check_output(path, from, err));
    if (!hn_dtype_from_name(hn_cli_text(cli, "type"), &dtype))
        return hn_fail(err, HN_UNSUPPORTED, "--type isn't in this build");
    HN_TRY(hn_checkpoint_open(&teacher, from, err));
    HN_GO(hn_student_arch(&teacher.arch, &options, &arch, err));
    HN_GO(hn_student_write(&teacher, &options, path, dtype, &cli->progress, err));
    status = print(cli, path, &arch, err);
done:
    hn_checkpoint_close(&teacher);
    return status;
}

static const hn_option OPTIONS[] = {
    {"from", 0, HN_OPT_TEXT, "MODEL", NULL, "The teacher: a GGUF file or a Hugging Face folder"},
    {"output", 'o', HN_OPT_TEXT, "DIR", NULL, "Where the student goes (a Hugging Face folder)"},
    {"layers", 0, HN_OPT_INT, "N", "0", "Layers; 0 = as many as the teacher", NULL, 0, 512},
    {"hidden", 0, HN_OPT_INT, "N", "0", "Hidden size; 0 = the teacher's", NULL, 0, 1 << 18},
    {"ff", 0, HN_OPT_INT, "N", "0", "Neurons of an MLP; 0 = in proportion to --hidden", NULL, 0,
     1 << 18},
    {"heads", 0, HN_OPT_INT, "N", "0", "Query heads; 0 = in proportion to --hidden", NULL, 0, 1024},
    {"kv-heads", 0, HN_OPT_INT, "N", "0", "Key-value heads; 0 = as many as the teacher", NULL, 0,
     1024},
    {"share-blocks", 0, HN_OPT_FLAG, NULL, NULL,
     "Each two layers in a row begin alike; train with --full --share-layers 2"},
    {"type", 0, HN_OPT_CHOICE, "TYPE", "f32", "Type of the weights", "f32|f16|bf16", 0, 0},
    {0},
};

const hn_command HN_CMD_STUDENT_NEW = {
    .name = "student new",
    .args = "",
    .min_args = 0,
    .max_args = 0,
    .summary = "make a smaller model of a larger one, to be taught by it",
    .details =
        "Writes a model with fewer layers, dimensions or heads and the teacher's tokenizer. Its "
        "weights are the teacher's where they fit: layers and query heads taken evenly, the "
        "dimensions and neurons with the largest weights, key-value heads averaged. It says little "
        "that makes sense until it was trained: hone distill or hone sft, with --full.",
    .groups = {OPTIONS},
    .examples = "hone student new --from model.gguf --layers 15 --share-blocks -o student",
    .run = run,
};
