/* From a body to jobs, on a worker: parse, render, tokenise, compile, submit. */
#include "serve/exchange.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"
#include "serve/history.h"
#include "serve/json_text.h"

#include <string.h>
#include <time.h>

/* What is only known on the way. */
typedef struct plan {
    hn_exchange *x;
    const hn_tokenizer *tokenizer;
    hn_problem *problem;
    int named; /* the adapter that `model` names, or -1 */
    hn_answer_options answer;
} plan;

static hn_status refuse(const plan *p, const char *param, const hn_error *err) {
    return hn_problem_from(p->problem, param, err);
}

/* ---- prompts ---- */

static bool ends_in_thought(const hn_buf *text) {
    static const char TAG[] = "<think>";
    const char *data = hn_buf_text(text);
    size_t n = text->size, n_tag = sizeof TAG - 1;
    while (n && strchr(" \t\r\n", data[n - 1]))
        n--;
    return n >= n_tag && memcmp(data + n - n_tag, TAG, n_tag) == 0;
}

/* A call that must come has its opening in the prompt. */
static hn_status open_call(plan *p, hn_ids *ids, hn_error *err) {
    const char *opening = hn_tool_opening(p->answer.format);
    const char *close = p->answer.in_thought ? "</think>\n\n" : "";
    p->answer.in_call = true;
    HN_TRY(hn_encode(p->tokenizer, close, strlen(close), HN_ENCODE_PARSE_SPECIAL, ids, err));
    return hn_encode(p->tokenizer, opening, strlen(opening), HN_ENCODE_PARSE_SPECIAL, ids, err);
}

/* What the answer's calls are held to. Beside a grammar there are none; beside a schema the answer
 * is calls, or keeps to it. */
static hn_status hold_calls(plan *p, hn_error *err) {
    hn_api_request *r = &p->x->request;
    const hn_answer_options *a = &p->answer;
    const bool required = r->tool_choice == HN_TOOL_CHOICE_REQUIRED;
    json_t *schema = NULL;
    if (r->constraint && r->constraint_kind != HN_CONSTRAINT_SCHEMA)
        return HN_OK;
    if (r->constraint)
        HN_TRY(hn_json_parse(r->constraint, r->n_constraint, r->constraint_param, &schema, err));
    const hn_tool_demand demand = {.format = a->format,
                                   .tools = r->tool_list,
                                   .n_tools = r->n_tools,
                                   .required = required,
                                   .name = r->tool_name,
                                   /* Made to call, a small model would never stop. */
                                   .parallel = required || schema ? r->asks_for_parallel_calls
                                                                  : r->parallel_tool_calls,
                                   .schema = schema,
                                   .thought = a->keep_thought || a->goes_on ? HN_THOUGHT_NEVER
                                              : a->in_thought               ? HN_THOUGHT_OPEN
                                                                            : HN_THOUGHT_MAY};
    const hn_status status = hn_tool_grammar(&demand, &p->x->calls, &p->x->n_calls, err);
    p->answer.is_held = true;
    json_decref(schema);
    return status;
}

static hn_status encode_chat(plan *p, hn_ids *ids) {
    hn_api_request *r = &p->x->request;
    const hn_checkpoint *ckpt = &p->x->served->model->ckpt;
    const json_t *shown;
    hn_buf text = {0};
    hn_error err = {0};
    HN_TRY(hn_tool_prompt(r, ckpt->chat_template_source, &p->answer.format, &shown, p->problem));
    const bool tools = p->answer.format != HN_TOOLS_NONE;
    const hn_chat_encode_options options = {.tools = shown,
                                            .extra = r->template_kwargs,
                                            .add_generation_prompt = r->add_generation_prompt,
                                            .continue_final_message = r->continue_final_message,
                                            .text = &text};
    p->answer.tools = r->tool_list;
    p->answer.n_tools = r->n_tools;
    p->answer.one_call = !r->parallel_tool_calls;
    p->answer.keep_thought = r->keep_thought;
    p->answer.goes_on = r->continue_final_message;
    hn_status status = hn_history_encode(ckpt, r->messages, &options, ids, &err);
    p->answer.in_thought = ends_in_thought(&text) && !r->continue_final_message;
    hn_buf_done(&text);
    if (status == HN_OK && tools)
        status = hold_calls(p, &err);
    if (status == HN_OK && tools && r->tool_choice == HN_TOOL_CHOICE_REQUIRED)
        status = open_call(p, ids, &err);
    return status == HN_OK ? HN_OK : refuse(p, "messages", &err);
}

/* A prompt's text is the client's own from end to end: control tokens in it are meant. */
static hn_status encode_prompt(plan *p, const hn_api_prompt *prompt, hn_ids *ids) {
    const char *param = p->x->request.kind == HN_API_EMBEDDING ? "input" : "prompt";
    const int32_t n_vocab = p->x->served->model->arch.n_vocab;
    hn_error err = {0};
    hn_status status = HN_OK;
    if (prompt->text)
        status = hn_encode(p->tokenizer, prompt->text, prompt->n_bytes,
                           HN_ENCODE_ADD_SPECIAL | HN_ENCODE_PARSE_SPECIAL, ids, &err);
    for (size_t i = 0; i < prompt->n_tokens && status == HN_OK; i++) {
        if (prompt->tokens[i] >= n_vocab)
            return hn_problem_bad(p->problem, param, "'%s' holds token %d; the vocabulary has %d",
                                  param, prompt->tokens[i], n_vocab);
        status = hn_ids_push(ids, prompt->tokens[i], &err);
    }
    int32_t begin = hn_tokenizer_bos(p->tokenizer);
    if (begin < 0)
        begin = hn_tokenizer_eos(p->tokenizer);
    if (status == HN_OK && !ids->size && begin >= 0) /* an empty text begins anywhere */
        status = hn_ids_push(ids, begin, &err);
    if (status == HN_OK && !ids->size)
        return hn_problem_bad(p->problem, param, "'%s' holds no tokens", param);
    return status == HN_OK ? HN_OK : refuse(p, param, &err);
}

static hn_status echo_prompt(plan *p, size_t i) {
    const hn_api_prompt *prompt = &p->x->request.prompts[i];
    hn_buf *echo = &p->x->echoes[i];
    hn_error err = {0};
    hn_status status = HN_OK;
    if (prompt->text)
        hn_buf_append(echo, prompt->text, prompt->n_bytes);
    else
        status = hn_decode(p->tokenizer, prompt->tokens, prompt->n_tokens, true, echo, &err);
    if (status == HN_OK)
        status = hn_buf_check(echo, &err);
    return status == HN_OK ? HN_OK : refuse(p, "prompt", &err);
}

static hn_status check_length(const plan *p, const hn_ids *ids) {
    const hn_engine *engine = p->x->served->engine;
    if (hn_engine_fits(engine, (int64_t)ids->size))
        return HN_OK;
    return hn_problem_too_long(p->problem, (int64_t)ids->size,
                               hn_engine_options_of(engine).n_context);
}

static hn_status encode_all(plan *p) {
    hn_api_request *r = &p->x->request;
    hn_exchange *x = p->x;
    size_t n = r->kind == HN_API_CHAT ? 1 : r->n_prompts;
    x->prompts = hn_calloc(n, sizeof *x->prompts);
    if (r->echo)
        x->echoes = hn_calloc(n, sizeof *x->echoes);
    if (!x->prompts || (r->echo && !x->echoes))
        return hn_problem_no_memory(p->problem);
    for (size_t i = 0; i < n; i++) {
        hn_ids *ids = &x->prompts[i];
        x->n_prompts = i + 1;
        HN_TRY(r->kind == HN_API_CHAT ? encode_chat(p, ids)
                                      : encode_prompt(p, &r->prompts[i], ids));
        HN_TRY(check_length(p, ids));
        if (r->echo)
            HN_TRY(echo_prompt(p, i));
    }
    return HN_OK;
}

/* ---- the model ---- */

/* The adapters that the request asks for; without a word, the one it names or those in force. */
static hn_status choose_adapter(plan *p) {
    enum { MAX = 64 };
    const hn_api_request *r = &p->x->request;
    hn_served *served = p->x->served;
    hn_adapter_use uses[MAX];
    float scales[MAX] = {0};
    size_t n = served->n_adapters < MAX ? served->n_adapters : MAX, n_uses = 0;
    for (size_t i = 0; i < n && p->named < 0 && !r->has_loras; i++) {
        hn_adapter_info info;
        hn_models_adapter_info(p->x->api->models, served->index, i, &info);
        scales[i] = info.scale;
    }
    if (p->named >= 0 && !r->has_loras)
        scales[p->named] = 1;
    for (int i = 0; i < r->n_loras; i++) {
        if (r->loras[i].id < 0 || (size_t)r->loras[i].id >= n)
            return hn_problem_bad(p->problem, "lora",
                                  "there is no adapter %lld: GET "
                                  "/lora-adapters lists them",
                                  (long long)r->loras[i].id);
        scales[r->loras[i].id] = (float)r->loras[i].scale;
    }
    for (size_t i = 0; i < n; i++)
        if (scales[i] != 0)
            uses[n_uses++] = (hn_adapter_use){(int)i, scales[i]};
    return hn_served_adapter(p->x->api->models, served, uses, n_uses, &p->x->adapter, p->problem);
}

static hn_status check_bias(const plan *p) {
    const hn_api_request *r = &p->x->request;
    const int32_t n_vocab = p->x->served->model->arch.n_vocab;
    for (int i = 0; i < r->n_bias; i++)
        if (r->bias[i].token >= n_vocab)
            return hn_problem_bad(p->problem, "logit_bias",
                                  "'logit_bias' names token %d; the vocabulary has %d",
                                  r->bias[i].token, n_vocab);
    if (r->dimensions && r->dimensions != p->x->served->model->arch.n_embd)
        return hn_problem_bad(p->problem, "dimensions", "this model's embeddings have %d",
                              (int)p->x->served->model->arch.n_embd);
    return HN_OK;
}

static hn_status name_all(plan *p) {
    hn_exchange *x = p->x;
    const char *model = x->request.model;
    HN_TRY(hn_models_take(x->api->models, model, &x->served, &p->named, p->problem));
    p->tokenizer = x->served->model->ckpt.tokenizer;
    x->model = hn_strdup(model && *model ? model : x->served->name);
    if (!x->model)
        return hn_problem_no_memory(p->problem);
    x->head = (hn_reply_head){.kind = x->request.kind,
                              .id = x->id,
                              .created = (int64_t)time(NULL),
                              .model = x->model,
                              .fingerprint = "hone-" HN_VERSION};
    return HN_OK;
}

/* ---- choices ---- */

static hn_status make_choices(plan *p) {
    hn_exchange *x = p->x;
    const hn_api_request *r = &x->request;
    const int n = r->kind == HN_API_EMBEDDING ? 1 : (int)r->n;
    hn_choice *choices = hn_calloc(x->n_prompts * (size_t)n, sizeof *choices);
    if (!choices)
        return hn_problem_no_memory(p->problem);
    x->seed = r->has_seed ? (uint64_t)r->seed : hn_api_random(x->api);
    for (int i = 0; i < (int)x->n_prompts * n; i++) {
        choices[i] = (hn_choice){.x = x, .index = i, .prompt = (size_t)(i / n), .stop = -1};
        choices[i].usage.n_prompt = (int64_t)x->prompts[choices[i].prompt].size;
        p->answer.seed = hn_api_random(x->api);
        hn_answer_parser_init(&choices[i].parser, &p->answer);
    }
    pthread_mutex_lock(&x->lock);
    x->choices = choices;
    x->n_left = x->n_choices = (int)x->n_prompts * n;
    pthread_mutex_unlock(&x->lock);
    return HN_OK;
}

hn_status hn_exchange_read(hn_exchange *x, hn_problem *problem) {
    size_t n_bytes;
    const char *text = hn_http_body(x->call, &n_bytes);
    json_t *body;
    HN_TRY(hn_api_body_parse(text, n_bytes, &body, problem));
    return x->dialect->read ? x->dialect->read(x, body, problem)
                            : hn_api_request_read(&x->request, x->dialect->kind, body, problem);
}

hn_status hn_exchange_prepare(hn_exchange *x, hn_problem *problem) {
    plan p = {.x = x, .problem = problem, .named = -1};
    HN_TRY(name_all(&p));
    HN_TRY(check_bias(&p));
    HN_TRY(choose_adapter(&p));
    HN_TRY(encode_all(&p));
    HN_TRY(make_choices(&p));
    return hn_exchange_submit(x, problem);
}
