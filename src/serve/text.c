/* Text to tokens and back, and what a chat template makes of a conversation. */
#include "serve/api_inside.h"

#include "serve/history.h"
#include "serve/json_text.h"
#include "serve/tool_calls.h"
#include "serve/translate.h"

#include <string.h>

static bool is_on(const json_t *body, const char *name, bool otherwise) {
    const json_t *value = hn_api_field(body, name);
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

static void put_ids(const int32_t *ids, size_t n, hn_buf *out) {
    hn_buf_putc(out, '[');
    for (size_t i = 0; i < n; i++)
        hn_buf_printf(out, i ? ",%d" : "%d", ids[i]);
    hn_buf_putc(out, ']');
}

/* [{"id", "piece"}]: a piece that is no whole character is given as its bytes. */
static void put_pieces(const hn_tokenizer *tokenizer, const int32_t *ids, size_t n, hn_buf *out) {
    hn_buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        const char *text;
        size_t n_bytes;
        hn_token_bytes(tokenizer, ids[i], true, &text, &n_bytes);
        hn_json_put_comma(out);
        hn_buf_printf(out, "{\"id\":%d,\"piece\":", ids[i]);
        json_t *piece = json_stringn(text, n_bytes); /* NULL: no UTF-8 */
        if (piece)
            hn_json_put_string(out, text, n_bytes);
        else
            hn_buf_putc(out, '[');
        for (size_t j = 0; !piece && j < n_bytes; j++)
            hn_buf_printf(out, j ? ",%u" : "%u", (unsigned)(unsigned char)text[j]);
        hn_buf_puts(out, piece ? "}" : "]}");
        json_decref(piece);
    }
    hn_buf_putc(out, ']');
}

hn_status hn_api_tokenize(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                          hn_problem *problem) {
    (void)call;
    const json_t *content = hn_api_field(body, "content");
    hn_served *served;
    int adapter;
    hn_ids ids = {0};
    hn_error err = {0};
    if (!json_is_string(content))
        return hn_problem_bad(problem, "content", "'content' must be a string");
    HN_TRY(hn_api_take_model(api, body, &served, &adapter, problem));
    const hn_tokenizer *tokenizer = served->model->ckpt.tokenizer;
    const int flags = (is_on(body, "add_special", false) ? HN_ENCODE_ADD_SPECIAL : 0) |
                      (is_on(body, "parse_special", true) ? HN_ENCODE_PARSE_SPECIAL : 0);
    hn_status status = hn_encode(tokenizer, json_string_value(content), json_string_length(content),
                                 flags, &ids, &err);
    hn_buf_puts(out, "{\"tokens\":");
    if (status != HN_OK)
        status = hn_problem_from(problem, "content", &err);
    else if (is_on(body, "with_pieces", false))
        put_pieces(tokenizer, ids.data, ids.size, out);
    else
        put_ids(ids.data, ids.size, out);
    hn_buf_putc(out, '}');
    hn_ids_done(&ids);
    hn_models_give(api->models, served);
    return status;
}

static hn_status detokenize(const hn_served *served, const json_t *tokens, hn_buf *text,
                            hn_problem *problem) {
    hn_ids ids = {0};
    hn_error err = {0};
    hn_status status = HN_OK;
    for (size_t i = 0; i < json_array_size(tokens) && status == HN_OK; i++) {
        const json_t *token = json_array_get(tokens, i);
        if (!json_is_integer(token) || json_integer_value(token) < 0 ||
            json_integer_value(token) >= served->model->arch.n_vocab) {
            hn_ids_done(&ids);
            return hn_problem_bad(problem, "tokens", "tokens[%zu] is no token of this model", i);
        }
        status = hn_ids_push(&ids, (int32_t)json_integer_value(token), &err);
    }
    if (status == HN_OK)
        status = hn_decode(served->model->ckpt.tokenizer, ids.data, ids.size, true, text, &err);
    hn_ids_done(&ids);
    return status == HN_OK ? HN_OK : hn_problem_from(problem, "tokens", &err);
}

hn_status hn_api_detokenize(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                            hn_problem *problem) {
    (void)call;
    const json_t *tokens = hn_api_field(body, "tokens");
    hn_served *served;
    int adapter;
    hn_buf text = {0};
    if (!json_is_array(tokens))
        return hn_problem_bad(problem, "tokens", "'tokens' must be an array of token ids");
    HN_TRY(hn_api_take_model(api, body, &served, &adapter, problem));
    hn_status status = detokenize(served, tokens, &text, problem);
    hn_buf_puts(out, "{\"content\":");
    hn_json_put_string(out, hn_buf_text(&text), text.size);
    hn_buf_putc(out, '}');
    hn_buf_done(&text);
    hn_models_give(api->models, served);
    return status;
}

static hn_status encode(const hn_served *served, hn_api_request *request, hn_buf *text, hn_ids *ids,
                        hn_problem *problem) {
    const hn_checkpoint *ckpt = &served->model->ckpt;
    const json_t *shown;
    hn_tool_format format;
    hn_error err = {0};
    HN_TRY(hn_tool_prompt(request, ckpt->chat_template_source, &format, &shown, problem));
    const hn_chat_encode_options options = {.tools = shown,
                                            .extra = request->template_kwargs,
                                            .add_generation_prompt = request->add_generation_prompt,
                                            .continue_final_message =
                                                request->continue_final_message,
                                            .text = text};
    const hn_status status = hn_history_encode(ckpt, request->messages, &options, ids, &err);
    return status == HN_OK ? HN_OK : hn_problem_from(problem, "messages", &err);
}

/* A conversation through the model's template, as a chat would be. */
static hn_status apply(hn_api *api, hn_api_request *request, hn_buf *text, hn_ids *ids,
                       hn_problem *problem) {
    hn_served *served;
    int adapter;
    HN_TRY(hn_models_take(api->models, request->model, &served, &adapter, problem));
    const hn_status status = encode(served, request, text, ids, problem);
    hn_models_give(api->models, served);
    return status;
}

hn_status hn_api_apply_template(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                                hn_problem *problem) {
    (void)call;
    hn_api_request request;
    hn_ids ids = {0};
    hn_buf text = {0};
    HN_TRY(hn_api_request_read(&request, HN_API_CHAT, json_incref((json_t *)(uintptr_t)body),
                               problem));
    hn_status status = apply(api, &request, &text, &ids, problem);
    hn_buf_puts(out, "{\"prompt\":");
    hn_json_put_string(out, hn_buf_text(&text), text.size);
    hn_buf_putc(out, '}');
    hn_ids_done(&ids);
    hn_buf_done(&text);
    hn_api_request_done(&request);
    return status;
}

/* Anthropic's: how long a conversation would be. */
hn_status hn_api_count_tokens(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                              hn_problem *problem) {
    (void)call;
    hn_api_request request;
    hn_ids ids = {0};
    json_t *chat = NULL;
    HN_TRY(hn_translate_messages(body, &chat, problem));
    HN_TRY(hn_api_request_read(&request, HN_API_CHAT, chat, problem));
    hn_status status = apply(api, &request, NULL, &ids, problem);
    hn_buf_printf(out, "{\"input_tokens\":%zu}", ids.size);
    hn_ids_done(&ids);
    hn_api_request_done(&request);
    return status;
}
