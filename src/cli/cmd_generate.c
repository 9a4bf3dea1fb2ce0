/* hone data generate: a teacher's thoughts and answers to a file of prompts. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "teacher/generate.h"

#include <stdlib.h>
#include <string.h>

typedef struct generation {
    hn_prompts prompts;
    hn_session session;    /* of --local */
    hn_checkpoint student; /* of --tokenizer */
    bool has_student;
    hn_teacher *teacher;
    char *system;
    json_t *extra;
    char *rejected;
} generation;

static void generation_done(generation *g) {
    hn_teacher_free(g->teacher);
    hn_prompts_done(&g->prompts);
    hn_session_done(&g->session);
    if (g->has_student)
        hn_checkpoint_close(&g->student);
    hn_free(g->system);
    hn_free(g->rejected);
    json_decref(g->extra);
}

static hn_status check_options(const hn_cli *cli, hn_error *err) {
    const char *endpoint = hn_cli_text(cli, "endpoint"), *local = hn_cli_text(cli, "local");
    bool priced = hn_cli_real(cli, "price-in") > 0 || hn_cli_real(cli, "price-out") > 0;
    if (!endpoint == !local)
        return hn_fail(err, HN_USAGE,
                       "name one teacher: --endpoint URL --model NAME, or --local MODEL");
    if (!hn_cli_text(cli, "output"))
        return hn_fail(err, HN_USAGE, "-o FILE is missing: where the answers are kept");
    if (endpoint && !hn_cli_text(cli, "model"))
        return hn_fail(err, HN_USAGE, "--endpoint needs --model NAME");
    if (endpoint && hn_cli_text(cli, "adapter"))
        return hn_fail(err, HN_USAGE, "--adapter goes with --local");
    if (local && hn_cli_text(cli, "key-env"))
        return hn_fail(err, HN_USAGE, "--key-env goes with --endpoint");
    if (hn_cli_real(cli, "max-cost") > 0 && !priced)
        return hn_fail(err, HN_USAGE, "--max-cost needs --price-in and --price-out");
    if (hn_cli_int(cli, "samples") > 1 && !(hn_cli_real(cli, "temperature") > 0))
        return hn_fail(err, HN_USAGE,
                       "--samples %d needs a --temperature above 0: the answers would be the same",
                       hn_cli_int(cli, "samples"));
    return HN_OK;
}

/* An endpoint's limits are soon reached; eight rows are what one reading of the weights pays for.
 */
enum { ENDPOINT_PARALLEL = 4, LOCAL_PARALLEL = 8 };

static int parallel_of(const hn_cli *cli, int otherwise) {
    int n = hn_cli_int(cli, "parallel");
    return n ? n : otherwise;
}

static hn_status open_endpoint(generation *g, const hn_cli *cli, hn_error *err) {
    const char *name = hn_cli_text(cli, "key-env");
    const char *key = name ? getenv(name) : NULL;
    if (name && (!key || !*key)) /* `name` isn't shown: it may be the key itself */
        return hn_fail(err, HN_USAGE,
                       "--key-env takes the name of an environment variable that holds the key; "
                       "there is none by this name");
    return hn_teacher_open_endpoint(
        &g->teacher,
        &(hn_endpoint_options){.url = hn_cli_text(cli, "endpoint"),
                               .key = key,
                               .key_name = name,
                               .parallel = parallel_of(cli, ENDPOINT_PARALLEL),
                               .timeout_s = hn_cli_int(cli, "timeout"),
                               .max_retries = hn_cli_int(cli, "retries")},
        err);
}

static hn_status open_teacher(generation *g, const hn_cli *cli, hn_error *err) {
    const char *local = hn_cli_text(cli, "local"), *student = hn_cli_text(cli, "tokenizer");
    if (student) {
        HN_TRY(hn_checkpoint_open(&g->student, student, err));
        g->has_student = true;
    }
    if (!local)
        return open_endpoint(g, cli, err);
    HN_TRY(hn_session_open_chat(&g->session, cli, local, HN_NUMERICS_INT8, err));
    int trained = g->session.model->arch.n_ctx_train;
    int n_ctx = trained > 0 && trained < HN_SESSION_DEFAULT_CTX ? trained : HN_SESSION_DEFAULT_CTX;
    return hn_teacher_open_local(&g->teacher, g->session.model, g->session.adapter,
                                 parallel_of(cli, LOCAL_PARALLEL), n_ctx, err);
}

/* --system is a file's name or the text itself. */
static hn_status read_texts(generation *g, const hn_cli *cli, hn_error *err) {
    const char *system = hn_cli_text(cli, "system"), *extra = hn_cli_text(cli, "extra");
    size_t size;
    if (system && *system && hn_path_exists(system))
        HN_TRY(hn_cli_read(system, &g->system, &size, err));
    else if (system && !(g->system = hn_strdup(system)))
        return hn_fail_no_memory(err, strlen(system));
    if (extra) {
        HN_TRY(hn_json_parse(extra, strlen(extra), "--extra", &g->extra, err));
        if (!json_is_object(g->extra))
            return hn_fail(err, HN_USAGE, "--extra: wanted a JSON object {...}");
    }
    return HN_OK;
}

static void print_text(const generation *g, const hn_distil_result *r) {
    const hn_budget *b = &r->budget;
    printf("kept      %llu, %llu more were there\n", (unsigned long long)r->n_kept,
           (unsigned long long)r->n_there);
    printf("rejected  %llu%s%s\n", (unsigned long long)r->n_rejected,
           r->n_rejected ? ": reasons in " : "", r->n_rejected ? g->rejected : "");
    printf("tokens    %lld in, %lld out\n", (long long)b->n_in, (long long)b->n_out);
    if (b->price_in > 0 || b->price_out > 0)
        printf("cost      %.6g\n", hn_budget_cost(b));
    if (b->max_tokens > 0)
        printf("left      %lld of %lld tokens\n", (long long)(b->max_tokens - b->n_in - b->n_out),
               (long long)b->max_tokens);
    if (b->max_cost > 0)
        printf("left      %.6g of %.6g in money\n", b->max_cost - hn_budget_cost(b), b->max_cost);
    if (r->n_left)
        printf("not asked %llu: the budget allows no more; the same command with a larger one goes "
               "on\n",
               (unsigned long long)r->n_left);
    if (r->n_failed)
        printf("no answer %llu: the same command asks them again\n",
               (unsigned long long)r->n_failed);
}

static hn_status print_result(const hn_cli *cli, const generation *g, const hn_distil_result *r,
                              hn_error *err) {
    if (!cli->json) {
        print_text(g, r);
        return HN_OK;
    }
    json_t *value = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "output",
                              hn_cli_text(cli, "output"), "rejected_output", g->rejected, "kept",
                              (json_int_t)r->n_kept, "there", (json_int_t)r->n_there, "rejected",
                              (json_int_t)r->n_rejected, "failed", (json_int_t)r->n_failed, "left",
                              (json_int_t)r->n_left, "retries", (json_int_t)r->n_retries,
                              "prompt_tokens", (json_int_t)r->budget.n_in, "completion_tokens",
                              (json_int_t)r->budget.n_out, "cost", hn_budget_cost(&r->budget));
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

/* How a local teacher is called in rows and keys: its path, and its adapter's. */
static hn_status name_of(const hn_cli *cli, hn_buf *name, hn_error *err) {
    const char *model = hn_cli_text(cli, "model"), *adapter = hn_cli_text(cli, "adapter");
    hn_buf_puts(name, model ? model : hn_cli_text(cli, "local"));
    if (!model && adapter)
        hn_buf_printf(name, "+%s", adapter);
    return hn_buf_check(name, err);
}

static hn_distil_options options_of(const hn_cli *cli, const generation *g, const char *name) {
    const bool local = hn_cli_text(cli, "local") != NULL;
    const hn_tokenizer *tokenizer = local ? g->session.model->ckpt.tokenizer : NULL;
    return (hn_distil_options){
        .output = hn_cli_text(cli, "output"),
        .model = name,
        .system = g->system,
        .plain = hn_cli_flag(cli, "plain"),
        .samples = hn_cli_int(cli, "samples"),
        .temperature = hn_cli_real(cli, "temperature"),
        .top_p = hn_cli_real(cli, "top-p"),
        .max_tokens = hn_cli_int(cli, "max-tokens"),
        .seeded = local || hn_cli_given(cli, "seed"),
        .seed = hn_parsed_get(&cli->opts, "seed")->integer,
        .extra = g->extra,
        .max_field_tokens = hn_cli_int(cli, "max-field-tokens"),
        .tokenizer = g->has_student ? g->student.tokenizer : tokenizer,
        .critique = hn_cli_flag(cli, "critique"),
        .hard_negatives = hn_cli_flag(cli, "hard-negatives"),
        .budget = {.max_tokens = hn_parsed_get(&cli->opts, "max-total-tokens")->integer,
                   .max_cost = hn_cli_real(cli, "max-cost"),
                   .price_in = hn_cli_real(cli, "price-in"),
                   .price_out = hn_cli_real(cli, "price-out")}};
}

static hn_status run(hn_cli *cli, hn_error *err) {
    generation g = {0};
    hn_buf name = {0};
    hn_distil_result result;
    hn_status status;
    HN_TRY(check_options(cli, err));
    HN_GO(hn_prompts_read(&g.prompts, hn_cli_arg(cli, 0), err));
    HN_GO(read_texts(&g, cli, err));
    HN_GO(name_of(cli, &name, err));
    HN_GO(open_teacher(&g, cli, err));
    g.rejected = hn_distil_rejected_path(hn_cli_text(cli, "output"));
    if (!g.rejected) {
        status = hn_fail_no_memory(err, 1);
        goto done;
    }
    hn_distil_options options = options_of(cli, &g, hn_buf_text(&name));
    HN_GO(hn_distil_run(g.teacher, &g.prompts, &options, &cli->progress, &result, err));
    if (result.n_failed)
        cli->exit_code = HN_EXIT_FAILED;
    status = print_result(cli, &g, &result, err);
done:
    hn_buf_done(&name);
    generation_done(&g);
    return status;
}

static const hn_option OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "FILE", NULL,
     "Where answers are kept, line by line; an earlier run's are not asked for again"},
    {"endpoint", 0, HN_OPT_TEXT, "URL", NULL,
     "An OpenAI-compatible API, such as https://host/v1; the only way to the network"},
    {"model", 0, HN_OPT_TEXT, "NAME", NULL, "The teacher's name at the endpoint"},
    {"key-env", 0, HN_OPT_TEXT, "NAME", NULL, "The environment variable that holds the key"},
    {"parallel", 0, HN_OPT_INT, "N", "0",
     "Questions under way at once; 0 = 4 at an endpoint, 8 with --local", NULL, 0, 256},
    {"timeout", 0, HN_OPT_INT, "S", "120", "Seconds for one answer", NULL, 1, 86400},
    {"retries", 0, HN_OPT_INT, "N", "5", "More tries after a failure that may pass", NULL, 0, 100},
    {"extra", 0, HN_OPT_TEXT, "JSON", NULL,
     "More keys for each request, such as {\"reasoning_effort\": \"low\"}; null takes one out"},
    {"local", 0, HN_OPT_TEXT, "MODEL", NULL, "A model on this machine as the teacher"},
    {"system", 's', HN_OPT_TEXT, "TEXT", NULL,
     "A file or text instead of our instructions to the teacher"},
    {"plain", 0, HN_OPT_FLAG, NULL, NULL, "Ask for answers without thoughts"},
    {"samples", 0, HN_OPT_INT, "N", "1", "Answers a prompt", NULL, 1, 1000},
    {"temperature", 'T', HN_OPT_REAL, "X", "0.7", "Sampling temperature; 0 = greedy", NULL, 0, 10},
    {"top-p", 0, HN_OPT_REAL, "X", "1", "Sample from the likeliest tokens that hold this share",
     NULL, 0.001, 1},
    {"seed", 0, HN_OPT_INT, "N", "0", "Seed of sampling, plus the sample's number", NULL, 0, 9e15},
    {"max-tokens", 'n', HN_OPT_INT, "N", "0",
     "Longest answer with its thought; 0 = what --max-field-tokens needs", NULL, 0, 1e6},
    {"max-field-tokens", 0, HN_OPT_INT, "N", "150",
     "Longest thought, and longest response: longer ones are rejected", NULL, 1, 1e6},
    {"tokenizer", 0, HN_OPT_TEXT, "MODEL", NULL, "The student, whose tokens are counted"},
    {"critique", 0, HN_OPT_FLAG, NULL, NULL, "Let the teacher judge and rank the answers"},
    {"hard-negatives", 0, HN_OPT_FLAG, NULL, NULL,
     "Let the teacher rewrite the best answer to a plausible wrong one"},
    {"max-total-tokens", 0, HN_OPT_INT, "N", "0",
     "Tokens that FILE may cost in all, in and out; 0 = any", NULL, 0, 9e15},
    {"max-cost", 0, HN_OPT_REAL, "X", "0", "Money that it may cost in all; 0 = any", NULL, 0, 1e12},
    {"price-in", 0, HN_OPT_REAL, "X", "0", "Price of a million tokens of prompts", NULL, 0, 1e9},
    {"price-out", 0, HN_OPT_REAL, "X", "0", "Price of a million tokens of answers", NULL, 0, 1e9},
    {0},
};

const hn_command HN_CMD_DATA_GENERATE = {
    .name = "data generate",
    .args = "PROMPTS",
    .min_args = 1,
    .max_args = 1,
    .summary = "a teacher's thoughts and answers",
    .details =
        "Asks a teacher every prompt of a JSONL file ({prompt}, {instruction} or {messages}) for a "
        "thought and a response, and keeps them in FILE: a line each, with a key made from prompt, "
        "model and sampling, on the disk before the next. The same command goes on after any "
        "break. hone data rows makes training rows of it.\n\n"
        "What isn't fit to learn from is kept apart, in FILE.rejected.jsonl, with a reason: "
        "refusal, cut, long, no thought, empty. The network is used with --endpoint alone; the key "
        "is neither printed nor stored. Failures that may pass (429, 5xx, time-outs, half answers) "
        "are tried again with growing pauses; Retry-After is heeded.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER, HN_OPTIONS_COMPUTE},
    .examples = "hone data generate prompts.jsonl --local model.gguf -o teacher.jsonl\n"
                "hone data generate prompts.jsonl --endpoint https://host/v1 --model NAME "
                "--key-env API_KEY --samples 5 --max-cost 2 --price-in 0.5 --price-out 1.5 -o "
                "teacher.jsonl",
    .run = run,
};
