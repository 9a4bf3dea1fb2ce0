/* hone pull: a model from a hub, an address or a file; prints where it lies. */
#include "cli/commands.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "hub/hub.h"

#include <stdlib.h>
#include <string.h>

static hn_status check_file(const char *path, const char *sha256, hn_error *err) {
    char hex[HN_SHA256_HEX];
    if (!sha256)
        return HN_OK;
    HN_TRY(hn_sha256_file(path, hex, err));
    if (strcmp(hex, sha256) != 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: its sum is %s, not %s", path, hex, sha256);
    return HN_OK;
}

static hn_status print_result(const hn_cli *cli, const hn_hub_result *result, hn_error *err) {
    if (!cli->json) {
        puts(result->path);
        return HN_OK;
    }
    json_t *value = json_pack("{s:s, s:s?, s:O?, s:I, s:b}", "path", result->path, "commit",
                              result->commit[0] ? result->commit : NULL, "files", result->files,
                              "downloaded_bytes", (json_int_t)result->downloaded_bytes,
                              "from_cache", result->from_cache);
    hn_status status = hn_cli_print_json(value, err);
    json_decref(value);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    const char *what = hn_cli_arg(cli, 0), *offline = getenv("HF_HUB_OFFLINE");
    const hn_opt_value *include = hn_parsed_get(&cli->opts, "include");
    hn_hub_result result = {0};
    char *cache = NULL;
    hn_status status;
    if (hn_path_exists(what)) {
        HN_TRY(check_file(what, hn_cli_text(cli, "sha256"), err));
        result.path = (char *)what;
        return print_result(cli, &result, err);
    }
    HN_TRY(hn_cli_cache_dir(&cache, err));
    hn_hub_options options = {
        .endpoint = hn_cli_text(cli, "endpoint"),
        .revision = hn_cli_text(cli, "revision"),
        .cache_dir = cache,
        .include = include->list,
        .n_include = include->n_list,
        .sha256 = hn_cli_text(cli, "sha256"),
        .max_retries = hn_cli_int(cli, "retries"),
        .offline = hn_cli_flag(cli, "offline") || (offline && strcmp(offline, "1") == 0),
    };
    HN_GO(hn_hub_pull(what, &options, &cli->progress, &result, err));
    status = print_result(cli, &result, err);
    hn_hub_result_done(&result);
done:
    hn_free(cache);
    return status;
}

static const hn_option OPTIONS[] = {
    {"revision", 'r', HN_OPT_TEXT, "REV", "main", "Branch, tag or commit", NULL, 0, 0},
    {"include", 'i', HN_OPT_LIST, "GLOB", NULL,
     "Take the files that match, instead of what a model needs", NULL, 0, 0},
    {"sha256", 0, HN_OPT_TEXT, "HEX", NULL, "The sum that a file or address must have", NULL, 0, 0},
    {"endpoint", 0, HN_OPT_TEXT, "URL", NULL, "The hub to ask, instead of HF_ENDPOINT", NULL, 0, 0},
    {"retries", 0, HN_OPT_INT, "N", "5", "Tries after a failure that may pass", NULL, 0, 100},
    {"offline", 0, HN_OPT_FLAG, NULL, NULL, "Use the cache alone"},
    {0},
};

const hn_command HN_CMD_PULL = {
    .name = "pull",
    .args = "ID|URL|FILE",
    .min_args = 1,
    .max_args = 1,
    .summary = "get a base model, verified and resumable",
    .details =
        "Gets a model in Hugging Face layout by its name (ORG/NAME), or one file by its address, "
        "into the cache folder ($HONE_CACHE/hub), and prints where it lies. Sums are checked, "
        "interrupted downloads are resumed, and what the cache has isn't fetched again. A file "
        "that exists is only checked.\n\n"
        "HF_ENDPOINT names another hub, HF_TOKEN opens private and gated models; the token is "
        "sent to the hub alone, never to where it redirects. Without a network the cached copy "
        "is used, or the error names what is in the cache.",
    .groups = {OPTIONS},
    .examples = "hone pull HuggingFaceTB/SmolLM2-135M-Instruct\n"
                "hone pull ORG/NAME --include 'NAME.Q8_0.gguf'",
    .run = run,
};
