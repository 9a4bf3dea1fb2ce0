/* hone logits: what the model gives each position of a text, as .npy. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/mem.h"
#include "formats/npy.h"

#include <string.h>

/* Rows that are computed at once: bounds the memory of a long text's logits buffer. */
enum { ROWS_A_BATCH = 512 };

static hn_status compute(hn_session *session, const hn_ids *ids, bool last_only, float *logits,
                         const hn_progress *progress, hn_error *err) {
    hn_batch_row rows[ROWS_A_BATCH];
    const hn_adapter *adapters[] = {session->adapter};
    size_t n_vocab = (size_t)session->model->arch.n_vocab;
    for (size_t at = 0; at < ids->size; at += ROWS_A_BATCH) {
        size_t n = ids->size - at < ROWS_A_BATCH ? ids->size - at : ROWS_A_BATCH;
        for (size_t i = 0; i < n; i++)
            rows[i] = (hn_batch_row){.token = ids->data[at + i],
                                     .adapter = session->adapter ? 0 : -1,
                                     .wants_logits = !last_only || at + i == ids->size - 1};
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "cancelled");
        HN_TRY(hn_forward(session->model, session->kv, adapters, session->adapter != NULL, rows,
                          (int)n, last_only ? logits : logits + at * n_vocab, NULL, err));
        hn_progress_update(progress, "logits", at + n, ids->size, "tokens", NULL);
    }
    return HN_OK;
}

static hn_status encode_input(const hn_cli *cli, const hn_model *model, hn_ids *ids,
                              hn_error *err) {
    const char *text = hn_cli_arg(cli, 1), *messages_path = hn_cli_text(cli, "messages");
    json_t *messages = NULL, *tools = NULL;
    char *input = NULL;
    size_t size = 0;
    hn_status status = HN_OK;
    if (!text)
        HN_TRY(hn_cli_read(messages_path ? messages_path : hn_cli_text(cli, "file"), &input, &size,
                           err));
    if (messages_path) {
        HN_GO(hn_messages_parse(input, size, messages_path, &messages, &tools, err));
        HN_GO(hn_chat_encode(model, messages, tools, true, ids, err));
    } else if (hn_cli_flag(cli, "ids")) {
        HN_GO(hn_ids_parse(text ? text : input, (uint32_t)model->arch.n_vocab, ids, err));
    } else {
        int flags = (hn_cli_flag(cli, "no-bos") ? 0 : HN_ENCODE_ADD_SPECIAL) |
                    (hn_cli_flag(cli, "special") ? HN_ENCODE_PARSE_SPECIAL : 0);
        HN_GO(hn_encode(model->ckpt.tokenizer, text ? text : input, text ? strlen(text) : size,
                        flags, ids, err));
    }
    if (ids->size == 0)
        status = hn_fail(err, HN_BAD_INPUT, "the text has no tokens");
done:
    json_decref(messages);
    json_decref(tools);
    hn_free(input);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_session session;
    hn_ids ids = {0};
    float *logits = NULL;
    size_t n_values = 0;
    bool int8 = strcmp(hn_cli_text(cli, "numerics"), "int8") == 0;
    bool last_only = hn_cli_flag(cli, "last");
    const char *path = hn_cli_text(cli, "output");
    const hn_numerics numerics = int8 ? HN_NUMERICS_INT8 : HN_NUMERICS_F32;
    hn_status status = hn_cli_text(cli, "messages")
                           ? hn_session_open_chat(&session, cli, hn_cli_arg(cli, 0), numerics, err)
                           : hn_session_open(&session, cli, hn_cli_arg(cli, 0), numerics, err);
    if (status != HN_OK)
        return status;
    HN_GO(hn_session_adapter(&session, hn_cli_text(cli, "adapter"), err));
    HN_GO(encode_input(cli, session.model, &ids, err));
    int n_ctx = (int)ids.size;
    HN_GO(hn_session_kv(&session, &n_ctx, err));
    uint64_t shape[2] = {last_only ? 1 : ids.size, (uint64_t)session.model->arch.n_vocab};
    if (hn_mul_overflows(shape[0], shape[1], &n_values) ||
        !(logits = hn_calloc(n_values, sizeof *logits))) {
        status = hn_fail_no_memory(err, n_values);
        goto done;
    }
    HN_GO(compute(&session, &ids, last_only, logits, &cli->progress, err));
    HN_GO(hn_npy_write(path, logits, 2, shape, err));
    if (cli->json) {
        json_t *value = json_pack("{s:s, s:[I,I]}", "path", path, "shape", (json_int_t)shape[0],
                                  (json_int_t)shape[1]);
        status = hn_cli_print_json(value, err);
        json_decref(value);
    } else {
        printf("%s: (%llu, %llu) float32\n", path, (unsigned long long)shape[0],
               (unsigned long long)shape[1]);
    }
done:
    hn_free(logits);
    hn_ids_done(&ids);
    hn_session_done(&session);
    return status;
}

static const hn_option OPTIONS[] = {
    {"output", 'o', HN_OPT_TEXT, "FILE", "logits.npy", "Where to write them"},
    {"file", 'f', HN_OPT_TEXT, "FILE", NULL, "Read the text from here instead of standard input"},
    {"messages", 'm', HN_OPT_TEXT, "FILE", NULL, "Messages as JSON instead of a text"},
    {"ids", 0, HN_OPT_FLAG, NULL, NULL, "The text is token ids, as tokenize --ids prints them"},
    {"last", 0, HN_OPT_FLAG, NULL, NULL, "The last position's alone"},
    {"special", 0, HN_OPT_FLAG, NULL, NULL, "Control tokens in the text become their ids"},
    {"no-bos", 0, HN_OPT_FLAG, NULL, NULL, "Add no beginning token"},
    {"numerics", 0, HN_OPT_CHOICE, "NAME", "f32", "How products are computed", "f32|int8"},
    {0},
};

const hn_command HN_CMD_LOGITS = {
    .name = "logits",
    .args = "MODEL [TEXT]",
    .min_args = 1,
    .max_args = 2,
    .summary = "the model's logits for a text, as .npy",
    .details = "Writes the logits at every position of a text as a NumPy array (tokens, "
               "vocabulary) of float32, for comparisons with other programs.",
    .groups = {OPTIONS, HN_OPTIONS_ADAPTER, HN_OPTIONS_COMPUTE},
    .examples = "hone logits model.gguf 'The sky is' --last -o sky.npy",
    .run = run,
};
