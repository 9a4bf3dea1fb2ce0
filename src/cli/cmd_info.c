/* hone info: what a model is, its tensors, and the memory it takes by context length. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/mem.h"
#include "model/checkpoint.h"
#include "model/kv_type.h"
#include "model/weights_folder.h"

/* Room for activations, the tokenizer's tables and the program, seen on models up to 1B. */
static const double OVERHEAD_BYTES = 64e6;
/* A device should have left what its system and the other programs need. */
static const double DEVICE_SHARE = 0.6;
static const int CONTEXTS[] = {512, 2048, 4096, 8192, 32768, 131072};
/* How the cache may hold keys and values; the device is for the one that hone chat takes. */
static const hn_dtype KV_TYPES[] = {HN_F32, HN_F16, HN_Q8_0, HN_Q4_0};
static const hn_dtype CHAT_KV_TYPE = HN_F16;
static const double DEVICES_GB[] = {0.5, 1, 2, 4, 8, 16, 32, 64};
enum {
    N_CONTEXTS = sizeof CONTEXTS / sizeof CONTEXTS[0],
    N_KV_TYPES = sizeof KV_TYPES / sizeof KV_TYPES[0],
    N_DEVICES = sizeof DEVICES_GB / sizeof DEVICES_GB[0],
};

typedef struct totals {
    uint64_t bytes, n_params;
    uint64_t dtype_bytes[HN_DTYPE_COUNT];
} totals;

static totals sum_up(const hn_checkpoint *ckpt) {
    totals t = {0};
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        const hn_tensor *tensor = &ckpt->tensors[i];
        t.bytes += tensor->size_bytes;
        t.n_params += (uint64_t)tensor->rows * (uint64_t)tensor->cols;
        t.dtype_bytes[tensor->dtype] += tensor->size_bytes;
    }
    return t;
}

static double memory(const totals *t, const hn_arch *arch, hn_dtype kv_type, int n_ctx) {
    return (double)t->bytes + (double)hn_kv_type_bytes_per_token(kv_type, arch) * n_ctx +
           OVERHEAD_BYTES;
}

/* The smallest device that holds this much, in GB; 0 = none of the list. */
static double device_for(double bytes) {
    for (int i = 0; i < N_DEVICES; i++)
        if (bytes <= DEVICES_GB[i] * 1e9 * DEVICE_SHARE)
            return DEVICES_GB[i];
    return 0;
}

static bool fits_training(const hn_arch *arch, int n_ctx) {
    return arch->n_ctx_train <= 0 || n_ctx <= arch->n_ctx_train;
}

static hn_status print_json(const hn_checkpoint *ckpt, const totals *t, bool tensors,
                            hn_error *err) {
    const hn_arch *a = &ckpt->arch;
    json_t *types = json_object(), *contexts = json_array(), *kv_types = json_object();
    for (int i = 0; i < N_KV_TYPES; i++)
        json_object_set_new(kv_types, hn_dtype_name(KV_TYPES[i]),
                            json_integer((json_int_t)hn_kv_type_bytes_per_token(KV_TYPES[i], a)));
    for (int i = 0; i < HN_DTYPE_COUNT; i++)
        if (t->dtype_bytes[i])
            json_object_set_new(types, hn_dtype_name((hn_dtype)i),
                                json_integer((json_int_t)t->dtype_bytes[i]));
    for (int i = 0; i < N_CONTEXTS && fits_training(a, CONTEXTS[i]); i++) {
        double bytes = memory(t, a, CHAT_KV_TYPE, CONTEXTS[i]), device = device_for(bytes);
        json_array_append_new(contexts, json_pack("{s:i, s:I, s:o}", "n_ctx", CONTEXTS[i], "bytes",
                                                  (json_int_t)bytes, "fits_device_gb",
                                                  device > 0 ? json_real(device) : json_null()));
    }
    json_t *value = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:o, s:b, s:o, "
        "s:o}",
        "path", ckpt->path, "format", ckpt->is_gguf ? "gguf" : "huggingface", "family", a->family,
        "n_params", (json_int_t)t->n_params, "size_bytes", (json_int_t)t->bytes, "n_layer",
        a->n_layer, "n_embd", a->n_embd, "n_ff", a->n_ff, "n_head", a->n_head, "n_head_kv",
        a->n_head_kv, "head_dim", a->head_dim, "n_vocab", a->n_vocab, "n_ctx_train", a->n_ctx_train,
        "kv_bytes_per_token", (json_int_t)hn_kv_type_bytes_per_token(CHAT_KV_TYPE, a),
        "kv_type_bytes_per_token", kv_types, "chat_template", ckpt->chat_template != NULL, "types",
        types, "memory", contexts);
    if (tensors && value) {
        json_t *list = json_array();
        for (size_t i = 0; i < ckpt->n_tensors; i++) {
            const hn_tensor *tensor = &ckpt->tensors[i];
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:[I,I], s:I}", "name", tensor->name, "type",
                                hn_dtype_name(tensor->dtype), "shape", (json_int_t)tensor->rows,
                                (json_int_t)tensor->cols, "bytes", (json_int_t)tensor->size_bytes));
        }
        json_object_set_new(value, "tensors", list);
    }
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

static void print_architecture(const hn_checkpoint *ckpt, const totals *t) {
    const hn_arch *a = &ckpt->arch;
    char size[32];
    printf("model       %s (%s)\n", ckpt->path, ckpt->is_gguf ? "GGUF" : "Hugging Face folder");
    printf("family      %s, %.1fM parameters, %s of", a->family, (double)t->n_params * 1e-6,
           hn_cli_bytes(size, (double)t->bytes));
    for (int i = 0; i < HN_DTYPE_COUNT; i++)
        if (t->dtype_bytes[i] * 100 >= t->bytes) /* norms and biases are nothing to mention */
            printf(" %s %.0f%%", hn_dtype_name((hn_dtype)i),
                   100.0 * (double)t->dtype_bytes[i] / (double)t->bytes);
    printf("\nlayers      %d, width %d, MLP %d\n", a->n_layer, a->n_embd, a->n_ff);
    printf("attention   %d heads, %d for keys and values, %d wide", a->n_head, a->n_head_kv,
           a->head_dim);
    if (a->sliding_window > 0)
        printf(", window %d but each %dth layer", a->sliding_window, a->global_every);
    printf("\nrope        theta %g%s\n", (double)a->rope_theta,
           a->rope_scaling == HN_ROPE_LLAMA3   ? ", scaled as Llama 3.1"
           : a->rope_scaling == HN_ROPE_LINEAR ? ", scaled linearly"
                                               : "");
    printf("vocabulary  %d tokens, %s head\n", a->n_vocab, a->tied_head ? "tied" : "own");
    printf("context     %d tokens in training\ncache       ", a->n_ctx_train);
    for (int i = 0; i < N_KV_TYPES; i++)
        printf("%s %s%s", hn_dtype_name(KV_TYPES[i]),
               hn_cli_bytes(size, (double)hn_kv_type_bytes_per_token(KV_TYPES[i], a)),
               i + 1 < N_KV_TYPES ? ", " : " a token\n");
    printf("template    %s\n\n", ckpt->chat_template ? "yes" : "none: only raw prompts");
}

/* What hone chat's weights cache holds, of all models: it takes room on the disk. */
static void print_weights_cache(void) {
    char *dir = NULL, size[32];
    int n;
    uint64_t bytes;
    hn_error ignored;
    if (hn_session_weights_dir(&dir, &ignored) != HN_OK)
        return; /* there is no place for one */
    hn_weights_folder_count(dir, &n, &bytes);
    if (n)
        printf("\nweights cache (hone chat --weights-cache): %s for %d model%s in %s\n",
               hn_cli_bytes(size, (double)bytes), n, n == 1 ? "" : "s", dir);
    hn_free(dir);
}

static hn_status print_memory(const hn_cli *cli, const hn_checkpoint *ckpt, const totals *t,
                              hn_error *err) {
    const char *heads[N_KV_TYPES + 2] = {"context"};
    hn_table table;
    for (int i = 0; i < N_KV_TYPES; i++)
        heads[i + 1] = hn_dtype_name(KV_TYPES[i]);
    heads[N_KV_TYPES + 1] = "device with";
    hn_table_init(&table, N_KV_TYPES + 2, heads, "rrrrrr");
    for (int i = 0; i < N_CONTEXTS && fits_training(&ckpt->arch, CONTEXTS[i]); i++) {
        char size[32];
        double device = device_for(memory(t, &ckpt->arch, CHAT_KV_TYPE, CONTEXTS[i]));
        hn_table_cell(&table, "%d", CONTEXTS[i]);
        for (int k = 0; k < N_KV_TYPES; k++)
            hn_table_cell(&table, "%s",
                          hn_cli_bytes(size, memory(t, &ckpt->arch, KV_TYPES[k], CONTEXTS[i])));
        if (device > 0)
            hn_table_cell(&table, "%g GB", device);
        else
            hn_table_cell(&table, "more");
    }
    hn_status status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    return status;
}

static hn_status print_tensors(const hn_cli *cli, const hn_checkpoint *ckpt, hn_error *err) {
    static const char *const HEADS[] = {"tensor", "type", "rows", "columns", "bytes"};
    hn_table table;
    hn_table_init(&table, 5, HEADS, "Llrrr");
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        const hn_tensor *tensor = &ckpt->tensors[i];
        hn_table_cell(&table, "%s", tensor->name);
        hn_table_cell(&table, "%s", hn_dtype_name(tensor->dtype));
        hn_table_cell(&table, "%lld", (long long)tensor->rows);
        hn_table_cell(&table, "%lld", (long long)tensor->cols);
        hn_table_cell(&table, "%llu", (unsigned long long)tensor->size_bytes);
    }
    putchar('\n');
    hn_status status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_checkpoint ckpt;
    bool tensors = hn_cli_flag(cli, "tensors");
    hn_status status;
    HN_TRY(hn_checkpoint_open(&ckpt, hn_cli_arg(cli, 0), err));
    totals t = sum_up(&ckpt);
    if (cli->json) {
        HN_GO(print_json(&ckpt, &t, tensors, err));
    } else {
        print_architecture(&ckpt, &t);
        HN_GO(print_memory(cli, &ckpt, &t, err));
        print_weights_cache();
        if (tensors)
            HN_GO(print_tensors(cli, &ckpt, err));
    }
done:
    hn_checkpoint_close(&ckpt);
    return status;
}

static const hn_option OPTIONS[] = {
    {"tensors", 0, HN_OPT_FLAG, NULL, NULL, "List the tensors too"},
    {0},
};

const hn_command HN_CMD_INFO = {
    .name = "info",
    .args = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "what a model is and the memory it takes",
    .details =
        "Prints the architecture, and the memory by context length and type of cache "
        "(--kv-type of chat): weights, key-value cache and 64 MB for the rest. The device "
        "is the smallest that needs at most 60 % of its memory for that with f16, chat's "
        "default. Last comes what the weights cache of hone chat holds, of all models. MODEL "
        "is a GGUF file or a Hugging Face folder.",
    .groups = {OPTIONS},
    .examples = "hone info model.gguf\nhone info model.gguf --tensors --json",
    .run = run,
};
