/* hone bench: prefill and decode speed, with llama-bench's keys. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/cpu.h"
#include "base/version.h"
#include "eval/bench.h"

#include <string.h>
#include <time.h>

static uint64_t model_bytes(const hn_model *model, uint64_t *n_params) {
    uint64_t bytes = 0;
    *n_params = 0;
    for (size_t i = 0; i < model->ckpt.n_tensors; i++) {
        const hn_tensor *tensor = &model->ckpt.tensors[i];
        bytes += tensor->size_bytes;
        *n_params += (uint64_t)tensor->rows * (uint64_t)tensor->cols;
    }
    return bytes;
}

static json_t *bench_json(const hn_model *model, const char *path, const hn_bench *bench) {
    uint64_t n_params, bytes = model_bytes(model, &n_params);
    char test_time[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(test_time, sizeof test_time, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *samples_ns = json_array(), *samples_ts = json_array();
    for (int i = 0; i < bench->n_repeats; i++) {
        json_array_append_new(samples_ns, json_integer((json_int_t)bench->samples_ns[i]));
        json_array_append_new(samples_ts, json_real((bench->n_prompt + bench->n_gen) * 1e9 /
                                                    (double)bench->samples_ns[i]));
    }
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:s, s:s, s:f, s:f, s:f, s:f, s:o, "
        "s:o}",
        "build_commit", HN_VERSION, "cpu_info", hn_cpu_name(), "backends",
        hn_isa_name(hn_compute_isa(model->compute)), "model_filename", path, "model_type",
        model->arch.family, "model_size", (json_int_t)bytes, "model_n_params", (json_int_t)n_params,
        "n_threads", hn_pool_threads(hn_compute_pool(model->compute)), "n_prompt", bench->n_prompt,
        "n_gen", bench->n_gen, "type_k", "f32", "test_time", test_time, "avg_ns", bench->avg_ns,
        "stddev_ns", bench->stddev_ns, "avg_ts", bench->avg_ts, "stddev_ts", bench->stddev_ts,
        "samples_ns", samples_ns, "samples_ts", samples_ts);
}

static hn_status measure(hn_cli *cli, hn_session *session, hn_bench *bench, int *n, hn_error *err) {
    int sizes[2][2] = {{hn_cli_int(cli, "n-prompt"), 0}, {0, hn_cli_int(cli, "n-gen")}};
    *n = 0;
    for (int i = 0; i < 2; i++) {
        if (sizes[i][0] + sizes[i][1] == 0)
            continue;
        HN_TRY(hn_bench_run(session->model, session->adapter, sizes[i][0], sizes[i][1],
                            hn_cli_int(cli, "repetitions"), &cli->progress, &bench[*n], err));
        (*n)++;
    }
    return HN_OK;
}

static hn_status print(const hn_cli *cli, const hn_session *session, const hn_bench *bench, int n,
                       hn_error *err) {
    const char *path = hn_cli_arg(cli, 0);
    hn_status status;
    if (cli->json) {
        json_t *list = json_array();
        for (int i = 0; i < n; i++)
            json_array_append_new(list, bench_json(session->model, path, &bench[i]));
        status = hn_cli_print_json(list, err);
        json_decref(list);
        return status;
    }
    static const char *const HEADS[] = {"test", "threads", "isa", "tokens/s", "+/-"};
    hn_table table;
    hn_table_init(&table, 5, HEADS, "lrlrr");
    for (int i = 0; i < n; i++) {
        hn_table_cell(&table, bench[i].n_prompt ? "prefill %d" : "decode %d",
                      bench[i].n_prompt + bench[i].n_gen);
        hn_table_cell(&table, "%d", hn_pool_threads(hn_compute_pool(session->model->compute)));
        hn_table_cell(&table, "%s", hn_isa_name(hn_compute_isa(session->model->compute)));
        hn_table_cell(&table, "%.2f", bench[i].avg_ts);
        hn_table_cell(&table, "%.2f", bench[i].stddev_ts);
    }
    status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_session session;
    hn_bench bench[2];
    int n = 0;
    bool f32 = strcmp(hn_cli_text(cli, "numerics"), "f32") == 0;
    hn_status status = hn_session_open(&session, cli, hn_cli_arg(cli, 0),
                                       f32 ? HN_NUMERICS_F32 : HN_NUMERICS_INT8, err);
    if (status != HN_OK)
        return status;
    HN_GO(hn_session_adapter(&session, hn_cli_text(cli, "adapter"), err));
    HN_GO(measure(cli, &session, bench, &n, err));
    if (n == 0)
        status = hn_fail(err, HN_USAGE, "--n-prompt and --n-gen are both 0: nothing to measure");
    else
        status = print(cli, &session, bench, n, err);
done:
    hn_session_done(&session);
    return status;
}

static const hn_option OPTIONS[] = {
    {"n-prompt", 'p', HN_OPT_INT, "N", "512", "Tokens to prefill; 0 = not measured", NULL, 0,
     1 << 20},
    {"n-gen", 'n', HN_OPT_INT, "N", "128", "Tokens to decode; 0 = not measured", NULL, 0, 1 << 20},
    {"repetitions", 'r', HN_OPT_INT, "N", "5", "Runs of each, after one that isn't counted", NULL,
     1, HN_BENCH_MAX_REPEATS},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "int8", "How products are computed", "f32|int8", 0, 0},
    {0},
};

const hn_command HN_CMD_BENCH = {
    .name = "bench",
    .args = "MODEL",
    .min_args = 1,
    .max_args = 1,
    .summary = "how fast a model runs here",
    .details = "Measures prefill (a prompt at once) and decode (token by token) as llama-bench "
               "does; --json prints its keys.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER, HN_OPTIONS_COMPUTE},
    .examples = "hone bench model.gguf\nhone bench model.gguf -p 0 -n 64 --threads 1 --json",
    .run = run,
};
