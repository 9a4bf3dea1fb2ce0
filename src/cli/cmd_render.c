/* hone render: messages to the text (or ids) that the model's chat template makes of them. */
#include "cli/commands.h"
#include "cli/session.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>
#include <time.h>

static void token_text(const hn_tokenizer *tokenizer, int32_t id, hn_buf *out) {
    const char *data = "";
    size_t size = 0;
    if (id >= 0)
        hn_token_bytes(tokenizer, id, true, &data, &size);
    hn_buf_append(out, data, size);
}

static hn_status read_tools(const hn_cli *cli, json_t **tools, hn_error *err) {
    static const size_t MAX_TOOLS_BYTES = 16 << 20;
    const char *path = hn_cli_text(cli, "tools");
    if (!path)
        return HN_OK;
    json_t *value = NULL;
    HN_TRY(hn_json_read(path, MAX_TOOLS_BYTES, &value, err));
    if (!json_is_array(value)) {
        json_decref(value);
        return hn_fail(err, HN_BAD_INPUT, "%s: wanted a list of tools", path);
    }
    json_decref(*tools);
    *tools = value;
    return HN_OK;
}

static hn_status render(const hn_cli *cli, const hn_checkpoint *ckpt, const json_t *messages,
                        const json_t *tools, hn_buf *out, hn_error *err) {
    hn_buf bos = {0}, eos = {0};
    hn_status status;
    token_text(ckpt->tokenizer, hn_tokenizer_bos(ckpt->tokenizer), &bos);
    token_text(ckpt->tokenizer, hn_tokenizer_eos(ckpt->tokenizer), &eos);
    HN_GO(hn_buf_check(&bos, err));
    HN_GO(hn_buf_check(&eos, err));
    bool go_on = hn_cli_flag(cli, "continue-final-message");
    hn_chat_options options = {.tools = tools,
                               .add_generation_prompt =
                                   !go_on && !hn_cli_flag(cli, "no-generation-prompt"),
                               .continue_final_message = go_on,
                               .bos_token = hn_buf_text(&bos),
                               .eos_token = hn_buf_text(&eos),
                               .now = (int64_t)time(NULL)};
    status = hn_chat_render(ckpt->chat_template, messages, &options, out, err);
done:
    hn_buf_done(&bos);
    hn_buf_done(&eos);
    return status;
}

static hn_status print(const hn_cli *cli, const hn_checkpoint *ckpt, const hn_buf *text,
                       hn_error *err) {
    hn_ids ids = {0};
    hn_status status = HN_OK;
    bool wants_ids = hn_cli_flag(cli, "ids");
    json_t *value = NULL;
    if (!wants_ids && !cli->json) {
        fwrite(hn_buf_text(text), 1, text->size, stdout);
        return HN_OK;
    }
    HN_GO(hn_encode(ckpt->tokenizer, hn_buf_text(text), text->size, HN_ENCODE_PARSE_SPECIAL, &ids,
                    err));
    json_t *list = json_array();
    for (size_t i = 0; i < ids.size; i++)
        json_array_append_new(list, json_integer(ids.data[i]));
    value = cli->json ? json_pack("{s:o, s:o}", "text", json_stringn(hn_buf_text(text), text->size),
                                  "ids", list)
                      : list;
    status = hn_cli_print_json(value, err);
done:
    json_decref(value);
    hn_ids_done(&ids);
    return status;
}

static hn_status run(hn_cli *cli, hn_error *err) {
    hn_checkpoint ckpt;
    hn_buf text = {0};
    json_t *messages = NULL, *tools = NULL;
    char *input = NULL;
    size_t size = 0;
    const char *path = hn_cli_arg(cli, 1);
    hn_status status;
    HN_TRY(hn_checkpoint_open_vocab(&ckpt, hn_cli_arg(cli, 0), err));
    HN_GO(hn_cli_read(path, &input, &size, err));
    HN_GO(hn_messages_parse(input, size, path ? path : "standard input", &messages, &tools, err));
    HN_GO(read_tools(cli, &tools, err));
    if (!ckpt.chat_template) {
        status =
            hn_fail(err, HN_BAD_INPUT, "%s: the model has no chat template", hn_cli_arg(cli, 0));
        goto done;
    }
    HN_GO(render(cli, &ckpt, messages, tools, &text, err));
    status = print(cli, &ckpt, &text, err);
done:
    json_decref(messages);
    json_decref(tools);
    hn_free(input);
    hn_buf_done(&text);
    hn_checkpoint_close(&ckpt);
    return status;
}

static const hn_option OPTIONS[] = {
    {"tools", 0, HN_OPT_TEXT, "FILE", NULL, "Tools as a JSON list, for templates that know them"},
    {"no-generation-prompt", 0, HN_OPT_FLAG, NULL, NULL, "Don't open the assistant's turn"},
    {"continue-final-message", 0, HN_OPT_FLAG, NULL, NULL,
     "End within the last message, for the model to go on with"},
    {"ids", 0, HN_OPT_FLAG, NULL, NULL, "Print the token ids as a JSON list"},
    {0},
};

const hn_command HN_CMD_RENDER = {
    .name = "render",
    .args = "MODEL [FILE]",
    .min_args = 1,
    .max_args = 2,
    .summary = "messages to the text that the chat template makes",
    .details = "Reads messages as JSON, [{\"role\": ..., \"content\": ...}, ...] or an object with "
               "\"messages\" and \"tools\", from a file or standard input, and prints what the "
               "model's chat template makes of them. MODEL may also be a folder with no more than "
               "tokenizer.json and tokenizer_config.json.",
    .groups = {OPTIONS},
    .examples = "echo '[{\"role\": \"user\", \"content\": \"Hi\"}]' | hone render model.gguf",
    .run = run,
};
