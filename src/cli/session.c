#include "cli/session.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pool.h"
#include "model/dora.h"
#include "model/kv_type.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

hn_status hn_session_adapter(hn_session *session, const char *path, hn_error *err) {
    if (!path)
        return HN_OK;
    return hn_adapter_load(&session->adapter, path, session->model, err);
}

int hn_session_threads(const hn_cli *cli) {
    int asked = hn_cli_int(cli, "threads");
    return asked > 0 ? asked : hn_ranks_threads(cli->ranks);
}

/* `how` says what the options --threads and --isa don't. */
static hn_status open_model(hn_session *session, const hn_cli *cli, const char *path,
                            hn_model_options how, hn_error *err) {
    *session = (hn_session){0};
    how.n_threads = hn_session_threads(cli);
    how.isa = hn_cli_text(cli, "isa");
    return hn_model_open(&session->model, path, &how, err);
}

hn_status hn_session_open(hn_session *session, const hn_cli *cli, const char *path,
                          hn_numerics numerics, hn_error *err) {
    return open_model(session, cli, path, (hn_model_options){.numerics = numerics}, err);
}

hn_status hn_session_open_chat(hn_session *session, const hn_cli *cli, const char *path,
                               hn_numerics numerics, hn_error *err) {
    const hn_model_options how = {.numerics = numerics, .chats = true};
    return open_model(session, cli, path, how, err);
}

/* $HONE_WEIGHTS_CACHE_GB, 10^9 bytes each. */
static hn_status cache_limit(uint64_t *max_bytes, hn_error *err) {
    const char *text = getenv("HONE_WEIGHTS_CACHE_GB");
    char *end;
    *max_bytes = HN_WEIGHTS_CACHE_MAX_BYTES;
    if (!text || !text[0])
        return HN_OK;
    const double gb = strtod(text, &end), most = 1e6;
    if (*end || !(gb >= 0) || gb > most)
        return hn_fail(err, HN_USAGE, "HONE_WEIGHTS_CACHE_GB: '%s' is no number from 0 to %g", text,
                       most);
    *max_bytes = (uint64_t)(gb * 1e9);
    return HN_OK;
}

hn_status hn_session_weights_dir(char **dir, hn_error *err) {
    char *base;
    HN_TRY(hn_cli_cache_dir(&base, err));
    *dir = hn_path_join(base, "packed");
    hn_free(base);
    return *dir ? HN_OK : hn_fail_no_memory(err, 1);
}

/* What it did is said when it took room on the disk, or didn't do what was asked for. */
static void note_cache(hn_cli *cli, const hn_weights_cache *cache,
                       const hn_weights_origin *origin) {
    char size[32];
    if (origin->kind == HN_WEIGHTS_STORED)
        hn_cli_note(cli, "the weights as laid out are kept for the next start: %s in %s (%s)",
                    hn_cli_bytes(size, (double)origin->bytes), origin->text,
                    "--weights-cache off, HONE_WEIGHTS_CACHE_GB");
    else if (origin->kind == HN_WEIGHTS_PACKED && cache->use == HN_WEIGHTS_CACHE_ON)
        hn_cli_note(cli, "no weights cache: %s", origin->text);
}

hn_status hn_session_weights_cache(const hn_cli *cli, hn_weights_cache *cache, char **dir,
                                   hn_error *err) {
    const char *use = hn_cli_text(cli, "weights-cache");
    const bool on = strcmp(use, "on") == 0;
    *cache = (hn_weights_cache){.use = HN_WEIGHTS_CACHE_OFF};
    *dir = NULL;
    if (strcmp(use, "off") == 0)
        return HN_OK;
    HN_TRY(cache_limit(&cache->max_bytes, err));
    hn_status status = hn_session_weights_dir(dir, err);
    if (status == HN_IO && !on) /* there is no place for it */
        return HN_OK;
    HN_TRY(status);
    cache->use = on ? HN_WEIGHTS_CACHE_ON : HN_WEIGHTS_CACHE_AUTO;
    cache->dir = *dir;
    return HN_OK;
}

hn_status hn_session_open_cached(hn_session *session, hn_cli *cli, const char *path,
                                 hn_numerics numerics, bool chats, hn_error *err) {
    hn_model_options how = {.numerics = numerics, .chats = chats};
    char *dir;
    HN_TRY(hn_session_weights_cache(cli, &how.weights_cache, &dir, err));
    hn_status status = open_model(session, cli, path, how, err);
    if (status == HN_OK && how.weights_cache.use != HN_WEIGHTS_CACHE_OFF)
        note_cache(cli, &how.weights_cache, &session->model->origin);
    hn_free(dir);
    return status;
}

hn_status hn_session_kv_type(hn_session *session, const hn_cli *cli, hn_error *err) {
    return hn_kv_type_parse(hn_cli_text(cli, "kv-type"), &session->model->kv_type, err);
}

hn_status hn_session_pin(const hn_session *session, const hn_cli *cli, hn_error *err) {
    return hn_cli_flag(cli, "pin") ? hn_pool_pin(hn_compute_pool(session->model->compute), err)
                                   : HN_OK;
}

hn_status hn_session_kv(hn_session *session, int *n_ctx, hn_error *err) {
    int trained = session->model->arch.n_ctx_train;
    if (*n_ctx == 0)
        *n_ctx = trained > 0 && trained < HN_SESSION_DEFAULT_CTX ? trained : HN_SESSION_DEFAULT_CTX;
    return hn_kv_new(&session->kv, session->model, 1, *n_ctx, err);
}

void hn_session_done(hn_session *session) {
    hn_kv_free(session->kv);
    hn_speculator_free(session->speculator);
    hn_model_free(session->draft);
    hn_constraint_free(session->constraint);
    hn_token_trie_free(session->trie);
    hn_grammar_free(session->grammar);
    hn_adapter_free(session->adapter);
    hn_model_free(session->model);
    hn_free(session->bias);
    *session = (hn_session){0};
}

/* "ID=X" */
static hn_status bias_parse(const char *text, int32_t n_vocab, hn_logit_bias *out, hn_error *err) {
    char *end = NULL, *end_value = NULL;
    long token = strtol(text, &end, 10);
    if (end == text || *end != '=' || token < 0 || token >= n_vocab)
        return hn_fail(err, HN_USAGE, "--logit-bias: '%s' is not ID=X with a token id below %d",
                       text, n_vocab);
    float bias = strtof(end + 1, &end_value);
    if (end_value == end + 1 || *end_value || bias != bias)
        return hn_fail(err, HN_USAGE, "--logit-bias: '%s' is not ID=X with a number X", text);
    *out = (hn_logit_bias){.token = (int32_t)token, .bias = bias};
    return HN_OK;
}

hn_status hn_session_sampling(hn_session *session, const hn_cli *cli, hn_generate_options *options,
                              hn_error *err) {
    const hn_opt_value *bias = hn_parsed_get(&cli->opts, "logit-bias");
    const hn_opt_value *stop = hn_parsed_get(&cli->opts, "stop");
    hn_sampling *s = &options->sampling;
    *s = hn_sampling_default();
    s->temperature = (float)hn_cli_real(cli, "temperature");
    s->top_k = hn_cli_int(cli, "top-k");
    s->top_p = (float)hn_cli_real(cli, "top-p");
    s->min_p = (float)hn_cli_real(cli, "min-p");
    s->repetition_penalty = (float)hn_cli_real(cli, "repetition-penalty");
    s->presence_penalty = (float)hn_cli_real(cli, "presence-penalty");
    s->frequency_penalty = (float)hn_cli_real(cli, "frequency-penalty");
    s->seed = (uint64_t)hn_parsed_get(&cli->opts, "seed")->integer;
    if (bias->n_list) {
        session->bias = hn_calloc(bias->n_list, sizeof *session->bias);
        if (!session->bias)
            return hn_fail_no_memory(err, bias->n_list * sizeof *session->bias);
        for (size_t i = 0; i < bias->n_list; i++)
            HN_TRY(bias_parse(bias->list[i], session->model->arch.n_vocab, &session->bias[i], err));
        s->bias = session->bias;
        s->n_bias = (int)bias->n_list;
    }
    options->stop = stop->list;
    options->n_stop = (int)stop->n_list;
    options->max_tokens = hn_cli_int(cli, "max-tokens");
    options->ignore_eos = hn_cli_flag(cli, "ignore-eos");
    options->adapter = session->adapter;
    return HN_OK;
}

hn_status hn_session_constraint(hn_session *session, const hn_cli *cli,
                                hn_generate_options *options, hn_error *err) {
    const char *grammar = hn_cli_text(cli, "grammar"), *schema = hn_cli_text(cli, "json-schema");
    const char *path = grammar ? grammar : schema;
    const hn_tokenizer *tokenizer = session->model->ckpt.tokenizer;
    char *text;
    size_t size;
    if (grammar && schema)
        return hn_fail(err, HN_USAGE, "--grammar and --json-schema exclude each other");
    if (!path)
        return HN_OK;
    HN_TRY(hn_cli_read(path, &text, &size, err));
    hn_status status = grammar
                           ? hn_grammar_from_gbnf(&session->grammar, text, size, path, err)
                           : hn_grammar_from_schema_text(&session->grammar, text, size, path, err);
    hn_free(text);
    HN_TRY(status);
    HN_TRY(hn_tokenizer_trie(&session->trie, tokenizer, err));
    HN_TRY(
        hn_constraint_new(&session->constraint, session->grammar, session->trie, tokenizer, err));
    options->constraint = session->constraint;
    return HN_OK;
}

/* The draft computes between the model's passes: it takes as many threads, and its guesses needn't
 * be the same on every machine. */
hn_status hn_session_speculator(hn_session *session, const hn_cli *cli, int n_ctx,
                                hn_generate_options *options, hn_error *err) {
    const char *how = hn_cli_text(cli, "speculate");
    const hn_model *model = session->model;
    if (strcmp(how, "none") == 0)
        return HN_OK;
    if (strcmp(how, "ngram") == 0) {
        HN_TRY(hn_speculator_new_ngram(&session->speculator, err));
    } else {
        const hn_model_options draft = {.n_threads =
                                            hn_pool_threads(hn_compute_pool(model->compute)),
                                        .isa = hn_cli_text(cli, "isa"),
                                        .numerics = model->numerics,
                                        .kv_type = model->kv_type};
        hn_status status = hn_model_open(&session->draft, how, &draft, err);
        if (status != HN_OK)
            return hn_error_prefix(err, "--speculate (ngram, none, or a model)");
        HN_TRY(hn_speculator_new_model(&session->speculator, session->draft, model, n_ctx, err));
    }
    options->speculator = session->speculator;
    return HN_OK;
}

hn_status hn_messages_parse(const char *text, size_t size, const char *where, json_t **messages,
                            json_t **tools, hn_error *err) {
    json_t *value = NULL;
    HN_TRY(hn_json_parse(text, size, where, &value, err));
    json_t *list = json_is_object(value) ? json_object_get(value, "messages") : value;
    json_t *tool_list = json_is_object(value) ? json_object_get(value, "tools") : NULL;
    hn_status status = HN_OK;
    if (!json_is_array(list)) {
        status = hn_fail(err, HN_BAD_INPUT,
                         "%s: wanted a list of messages, or an object with \"messages\"", where);
    } else if (tool_list && !json_is_array(tool_list) && !json_is_null(tool_list)) {
        status = hn_fail(err, HN_BAD_INPUT, "%s: \"tools\" is no list", where);
    } else {
        *messages = json_incref(list);
        *tools = json_is_array(tool_list) ? json_incref(tool_list) : NULL;
    }
    json_decref(value);
    return status;
}

hn_status hn_ids_parse(const char *text, uint32_t n_vocab, hn_ids *ids, hn_error *err) {
    static const char SEPARATORS[] = " \t\r\n,[]";
    for (const char *at = text + strspn(text, SEPARATORS); *at; at += strspn(at, SEPARATORS)) {
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end == at || (*end && !strchr(SEPARATORS, *end)))
            return hn_fail(err, HN_BAD_INPUT, "'%.20s' is no token id (byte %zu of the input)", at,
                           (size_t)(at - text));
        if (errno || id < 0 || id >= (long)n_vocab)
            return hn_fail(err, HN_BAD_INPUT,
                           "token id %.*s is not below %u, the vocabulary's size",
                           (int)(end - at < 20 ? end - at : 20), at, n_vocab);
        HN_TRY(hn_ids_push(ids, (int32_t)id, err));
        at = end;
    }
    return HN_OK;
}

const char *hn_finish_name(hn_finish finish) {
    switch (finish) {
    case HN_FINISH_STOP:
        return "stop";
    case HN_FINISH_LENGTH:
        return "length";
    case HN_FINISH_DEADLINE:
        return "deadline";
    case HN_FINISH_CANCELLED:
        break;
    }
    return "cancelled";
}
