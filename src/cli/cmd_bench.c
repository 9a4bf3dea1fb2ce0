/* hone bench: prefill and decode speed, with llama-bench's keys, on a model or on its shape. */
#include "cli/bench.h"
#include "cli/commands.h"
#include "cli/session.h"

#include "base/file.h"
#include "base/mem.h"
#include "eval/benchmark.h"
#include "model/kv_type.h"
#include "release/synthetic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_VALUES = 32, MAX_TOKENS = 1 << 20 };

typedef struct number_list {
    int n;
    int values[MAX_VALUES];
} number_list;

/* What is to be measured; every combination is. */
typedef struct plan {
    number_list prompts, gens, depths, rows, threads;
    int n_kv_types;
    hn_dtype kv_types[HN_DTYPE_COUNT];
    hn_bench_options options; /* what all tests share */
    char *text;               /* of --prompt, or NULL; owned */
    size_t text_bytes;
} plan;

/* "1,2,4" */
static hn_status read_numbers(const hn_cli *cli, const char *name, int min, int max,
                              number_list *out, hn_error *err) {
    const char *at = hn_cli_text(cli, name);
    out->n = 0;
    for (;;) {
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        if (end == at || (*end && *end != ',') || errno || value < min || value > max)
            return hn_fail(err, HN_USAGE,
                           "--%s: '%.20s' is no list of whole numbers from %d to %d, as in 4,16",
                           name, at, min, max);
        if (out->n == MAX_VALUES)
            return hn_fail(err, HN_USAGE, "--%s: at most %d values", name, MAX_VALUES);
        out->values[out->n++] = (int)value;
        if (!*end)
            return HN_OK;
        at = end + 1;
    }
}

static hn_status read_kv_types(const hn_cli *cli, plan *out, hn_error *err) {
    const char *at = hn_cli_text(cli, "kv-type");
    for (size_t n = strcspn(at, ","); out->n_kv_types < HN_DTYPE_COUNT; n = strcspn(at, ",")) {
        char name[16];
        snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), at);
        HN_TRY(hn_kv_type_parse(name, &out->kv_types[out->n_kv_types++], err));
        if (!at[n])
            return HN_OK;
        at += n + 1;
    }
    return hn_fail(err, HN_USAGE, "--kv-type: at most %d types", HN_DTYPE_COUNT);
}

static hn_status read_plan(const hn_cli *cli, plan *out, hn_error *err) {
    *out = (plan){.options = {.repetitions = hn_cli_int(cli, "repetitions"),
                              .n_batch = hn_cli_int(cli, "batch-size"),
                              .cold = hn_cli_flag(cli, "cold"),
                              .sustained_s = hn_cli_real(cli, "sustained")}};
    HN_TRY(read_numbers(cli, "n-prompt", 0, MAX_TOKENS, &out->prompts, err));
    HN_TRY(read_numbers(cli, "n-gen", 0, MAX_TOKENS, &out->gens, err));
    HN_TRY(read_numbers(cli, "n-depth", 0, MAX_TOKENS, &out->depths, err));
    HN_TRY(read_numbers(cli, "rows", 1, HN_BENCH_MAX_ROWS, &out->rows, err));
    HN_TRY(read_numbers(cli, "threads", 0, 1024, &out->threads, err));
    HN_TRY(read_kv_types(cli, out, err));
    const char *prompt = hn_cli_text(cli, "prompt");
    if (!prompt && strcmp(hn_cli_text(cli, "speculate"), "none"))
        return hn_fail(err, HN_USAGE,
                       "--speculate: random tokens can't be guessed; give a text with --prompt");
    return prompt ? hn_cli_read(prompt, &out->text, &out->text_bytes, err) : HN_OK;
}

/* One test, its object added to `tests`. */
static hn_status run_test(const hn_cli *cli, const hn_session *session,
                          const hn_bench_options *options, json_t *tests, hn_error *err) {
    hn_bench_result result = {0};
    HN_TRY(hn_bench_run(session->model, session->adapter, options, &cli->progress, &result, err));
    hn_status status =
        json_array_extend(tests, result.tests) ? hn_fail_no_memory(err, sizeof result) : HN_OK;
    json_decref(result.tests);
    return status;
}

/* The tests at one depth and with one type of cache. */
static hn_status run_tests(const hn_cli *cli, const hn_session *session, const plan *p,
                           const hn_bench_options *shared, int n_depth, json_t *tests,
                           hn_error *err) {
    hn_bench_options options = *shared;
    options.n_depth = n_depth;
    options.sustained_s = 0;
    options.n_text = 0;
    options.speculator = NULL;
    for (int i = 0; i < p->prompts.n; i++) {
        options.n_prompt = p->prompts.values[i];
        if (options.n_prompt)
            HN_TRY(run_test(cli, session, &options, tests, err));
    }
    options = *shared;
    options.n_depth = n_depth;
    for (int row = 0; row < p->rows.n; row++)
        for (int i = 0; i < p->gens.n; i++) {
            options.n_rows = p->rows.values[row];
            options.n_gen = p->gens.values[i];
            if (options.n_gen)
                HN_TRY(run_test(cli, session, &options, tests, err));
        }
    return HN_OK;
}

/* What --prompt and --speculate ask for, with this model's tokens. */
static hn_status read_text(const hn_cli *cli, hn_session *session, const plan *p, hn_ids *ids,
                           hn_bench_options *options, hn_error *err) {
    int longest = 0;
    hn_generate_options generate = {0};
    HN_TRY(hn_encode(session->model->ckpt.tokenizer, p->text, p->text_bytes,
                     HN_ENCODE_ADD_SPECIAL | HN_ENCODE_PARSE_SPECIAL, ids, err));
    if (!ids->size)
        return hn_fail(err, HN_BAD_INPUT, "%s: no text to go on from", hn_cli_text(cli, "prompt"));
    for (int i = 0; i < p->gens.n; i++)
        longest = p->gens.values[i] > longest ? p->gens.values[i] : longest;
    HN_TRY(hn_session_speculator(session, cli, (int)ids->size + longest + 1 + HN_DRAFT_MAX,
                                 &generate, err));
    options->text = ids->data;
    options->n_text = (int)ids->size;
    options->speculator = generate.speculator;
    return HN_OK;
}

/* All tests of one file with so many threads. */
static hn_status run_model(const hn_cli *cli, const plan *p, const char *path, int n_threads,
                           json_t *tests, hn_error *err) {
    bool f32 = strcmp(hn_cli_text(cli, "numerics"), "f32") == 0;
    const hn_model_options options = {.n_threads = n_threads,
                                      .isa = hn_cli_text(cli, "isa"),
                                      .numerics = f32 ? HN_NUMERICS_F32 : HN_NUMERICS_INT8};
    hn_session session = {0};
    hn_ids ids = {0};
    hn_bench_options shared = p->options;
    hn_status status;
    HN_GO(hn_model_open(&session.model, path, &options, err));
    HN_GO(hn_session_adapter(&session, hn_cli_text(cli, "adapter"), err));
    HN_GO(hn_session_pin(&session, cli, err));
    hn_limits limits = {.compute = session.model->compute};
    if (!hn_cli_flag(cli, "no-limits"))
        shared.limits = &limits;
    if (p->text)
        HN_GO(read_text(cli, &session, p, &ids, &shared, err));
    for (int kv = 0; kv < p->n_kv_types; kv++) {
        session.model->kv_type = p->kv_types[kv];
        for (int i = 0; i < p->depths.n; i++)
            HN_GO(run_tests(cli, &session, p, &shared, p->depths.values[i], tests, err));
    }
done:
    hn_ids_done(&ids);
    hn_session_done(&session);
    return status;
}

static hn_status run_path(const hn_cli *cli, const plan *p, const char *path, json_t *tests,
                          hn_error *err) {
    for (int i = 0; i < p->threads.n; i++)
        HN_TRY(run_model(cli, p, path, p->threads.values[i], tests, err));
    return HN_OK;
}

/* A model of random weights: kept where --write says, otherwise gone at the end. */
static hn_status run_shape(const hn_cli *cli, const plan *p, json_t *tests, hn_error *err) {
    const char *path = hn_cli_text(cli, "write"), *folder = getenv("TMPDIR");
    char name[64];
    char *temporary = NULL;
    hn_ftype ftype;
    if (!hn_ftype_from_name(hn_cli_text(cli, "type"), &ftype))
        return hn_fail(err, HN_UNSUPPORTED, "--type %s isn't in this build",
                       hn_cli_text(cli, "type"));
    if (!path) {
        snprintf(name, sizeof name, "hone-shape-%ld.gguf", (long)getpid());
        path = temporary = hn_path_join(folder && *folder ? folder : "/tmp", name);
        if (!path)
            return hn_fail_no_memory(err, sizeof name);
    }
    hn_status status =
        hn_synthetic_write(path, hn_cli_text(cli, "shape"), ftype, 1, &cli->progress, err);
    if (status == HN_OK)
        status = run_path(cli, p, path, tests, err);
    if (temporary)
        (void)remove(temporary);
    hn_free(temporary);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    plan p = {0};
    json_t *tests = json_array();
    hn_status status = HN_OK;
    int n_models = 0;
    while (hn_cli_arg(cli, n_models))
        n_models++;
    HN_GO(HN_JSON_CHECK(tests, err));
    HN_GO(read_plan(cli, &p, err));
    if (hn_cli_text(cli, "shape") ? n_models > 0 : n_models == 0) {
        status = hn_fail(err, HN_USAGE, "hone bench needs a model, or --shape in its place");
        goto done;
    }
    if (!n_models)
        HN_GO(run_shape(cli, &p, tests, err));
    for (int i = 0; i < n_models; i++)
        HN_GO(run_path(cli, &p, hn_cli_arg(cli, i), tests, err));
    if (!json_array_size(tests)) {
        status = hn_fail(err, HN_USAGE, "nothing to measure: --n-prompt and --n-gen are 0");
        goto done;
    }
    status =
        cli->json ? hn_cli_print_json(tests, err) : hn_bench_show(cli, tests, n_models > 1, err);
done:
    hn_free(p.text);
    json_decref(tests);
    return status;
}

static const hn_option OPTIONS[] = {
    {"n-prompt", 'p', HN_OPT_TEXT, "N,...", "512", "Tokens to prefill; 0 = not measured"},
    {"n-gen", 'n', HN_OPT_TEXT, "N,...", "128", "Tokens to decode; 0 = not measured"},
    {"n-depth", 'd', HN_OPT_TEXT, "N,...", "0", "Tokens in the cache before either"},
    {"rows", 0, HN_OPT_TEXT, "N,...", "1", "Sequences that decode at once, a row each"},
    {"batch-size", 'b', HN_OPT_INT, "N", "512", "Rows of a prefill computed at once", NULL, 1,
     MAX_TOKENS},
    {"repetitions", 'r', HN_OPT_INT, "N", "5", "Runs of each, after one that isn't counted", NULL,
     1, HN_BENCH_MAX_REPETITIONS},
    {"kv-type", 0, HN_OPT_TEXT, "TYPE,...", "f16",
     "How the cache holds keys and values: f32, f16, q8_0, q4_0"},
    {"threads", 't', HN_OPT_TEXT, "N,...", "0", "Threads; 0 = one a physical core"},
    {"isa", 0, HN_OPT_TEXT, "NAME", NULL,
     "Instruction set, instead of HONE_ISA or the best one here: scalar, avx2, ..."},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "int8", "How products are computed", "f32|int8", 0, 0},
    {"cold", 0, HN_OPT_FLAG, NULL, NULL,
     "Empty the processor's caches before each decoded token; that doesn't count as time"},
    {"sustained", 0, HN_OPT_REAL, "SECONDS", "0",
     "Decode for so long: the rate second by second, and of the worst 60 s", NULL, 0, 86400},
    {"prompt", 0, HN_OPT_TEXT, "FILE", NULL,
     "Decode what the model writes behind this text, as it stands, instead of random tokens; - "
     "reads standard input"},
    {"speculate", 0, HN_OPT_TEXT, "HOW", "none",
     "Tokens guessed ahead while decoding --prompt, as in hone chat: ngram, none, or a smaller "
     "model with the same tokenizer"},
    {"no-limits", 0, HN_OPT_FLAG, NULL, NULL, "Don't measure what the machine can do"},
    {"shape", 0, HN_OPT_CHOICE, "NAME", NULL,
     "Instead of a model: random weights in the shape of a known one", HN_SYNTHETIC_SHAPES, 0, 0},
    {"type", 'T', HN_OPT_CHOICE, "TYPE", "q4_k_m", "Type of the weights of --shape",
     HN_FTYPE_CHOICES, 0, 0},
    {"write", 0, HN_OPT_TEXT, "FILE", NULL, "Keep the model of --shape as a GGUF file"},
    {"pin", 0, HN_OPT_FLAG, NULL, NULL, "Bind each thread to a processor, physical cores first"},
    {0},
};

const hn_command HN_CMD_BENCH = {
    .name = "bench",
    .args = "[MODEL...]",
    .min_args = 0,
    .max_args = 16,
    .summary = "how fast a model runs here",
    .details =
        "Measures prefill (a prompt at once) and decode (token by token) as llama-bench does; "
        "--json prints its keys. Lists of values measure every combination.\n\n"
        "Beside each rate stands how much memory is read and how many products are computed for "
        "it, as shares of what the machine's threads can do at most with as much memory.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER},
    .examples = "hone bench model.gguf\n"
                "hone bench model.gguf -p 0 -n 64 --threads 1,2 --json\n"
                "hone bench model.gguf -p 0 -d 0,4096 --rows 1,4 --kv-type f16,q8_0\n"
                "hone bench model.gguf -p 0 --prompt text.txt --speculate ngram\n"
                "hone bench --shape llama-3.2-1b --type q4_0 --write shape.gguf",
    .run = run,
};
