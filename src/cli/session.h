/* What the commands that compute share: opening a model and its adapter, sampling options, a KV
 * cache of the wanted size, messages from JSON. */
#pragma once

#include "cli/cli.h"
#include "model/generate.h"
#include "model/model.h"

/* Choices of --kv-type. */
#define HN_CLI_KV_TYPES "f32|f16|q8_0|q4_0"

typedef struct hn_session {
    hn_model *model;
    hn_adapter *adapter; /* or NULL */
    hn_kv *kv;           /* or NULL; hn_session_kv makes it */
    hn_logit_bias *bias;
    hn_grammar *grammar; /* or NULL; hn_session_constraint makes these three */
    hn_token_trie *trie;
    hn_constraint *constraint;
    hn_model *draft; /* or NULL; hn_session_speculator makes these two */
    hn_speculator *speculator;
} hn_session;

/* --threads, or a rank's share of the processors; 0 = as many threads as hone likes. */
int hn_session_threads(const hn_cli *cli);
/* Opens the model at `path` with --threads and --isa. */
HN_MUST_CHECK hn_status hn_session_open(hn_session *session, const hn_cli *cli, const char *path,
                                        hn_numerics numerics, hn_error *err);
/* The same where a chat template is needed; refused early without one. */
HN_MUST_CHECK hn_status hn_session_open_chat(hn_session *session, const hn_cli *cli,
                                             const char *path, hn_numerics numerics, hn_error *err);
/* One or the other through the weights cache, as --weights-cache (which the command must have)
 * says. */
HN_MUST_CHECK hn_status hn_session_open_cached(hn_session *session, hn_cli *cli, const char *path,
                                               hn_numerics numerics, bool chats, hn_error *err);
/* What --weights-cache says; *dir (freed with hn_free, may be NULL) is what *cache refers to. */
HN_MUST_CHECK hn_status hn_session_weights_cache(const hn_cli *cli, hn_weights_cache *cache,
                                                 char **dir, hn_error *err);
/* The weights cache's folder; freed with hn_free. */
HN_MUST_CHECK hn_status hn_session_weights_dir(char **dir, hn_error *err);
/* --kv-type, for the caches made from now on. */
HN_MUST_CHECK hn_status hn_session_kv_type(hn_session *session, const hn_cli *cli, hn_error *err);
/* --pin; once everything is open. */
HN_MUST_CHECK hn_status hn_session_pin(const hn_session *session, const hn_cli *cli, hn_error *err);
/* An adapter beside the model; `path` NULL = none. */
HN_MUST_CHECK hn_status hn_session_adapter(hn_session *session, const char *path, hn_error *err);
/* A cache of one sequence with *n_ctx positions; 0 becomes what the model was trained for, at most
 * HN_SESSION_DEFAULT_CTX. */
enum { HN_SESSION_DEFAULT_CTX = 4096 };
HN_MUST_CHECK hn_status hn_session_kv(hn_session *session, int *n_ctx, hn_error *err);
void hn_session_done(hn_session *session);

/* Fills in the options of HN_OPTIONS_SAMPLING; the lists are borrowed from cli and session. */
HN_MUST_CHECK hn_status hn_session_sampling(hn_session *session, const hn_cli *cli,
                                            hn_generate_options *options, hn_error *err);

/* Compiles --grammar or --json-schema (of which one may be given) for the model's vocabulary into
 * options->constraint. */
HN_MUST_CHECK hn_status hn_session_constraint(hn_session *session, const hn_cli *cli,
                                              hn_generate_options *options, hn_error *err);

/* What --speculate asks for, into options->speculator; the cache must be there. */
HN_MUST_CHECK hn_status hn_session_speculator(hn_session *session, const hn_cli *cli, int n_ctx,
                                              hn_generate_options *options, hn_error *err);

/* Messages from JSON text: an array, or an object with messages and perhaps tools (new
 * references; *tools NULL when there are none). */
HN_MUST_CHECK hn_status hn_messages_parse(const char *text, size_t size, const char *where,
                                          json_t **messages, json_t **tools, hn_error *err);
/* Adds the ids of a text to `ids`, separated by blanks, commas or brackets: what `tokenize --ids`
 * or a JSON list looks like. HN_BAD_INPUT for what is no number below n_vocab. */
HN_MUST_CHECK hn_status hn_ids_parse(const char *text, uint32_t n_vocab, hn_ids *ids,
                                     hn_error *err);
const char *hn_finish_name(hn_finish finish);
