/* What is served and how it stands: models, properties, slots, adapters. Nothing of what anybody
 * asked is shown. */
#include "serve/api_inside.h"

#include "base/clock.h"
#include "base/version.h"
#include "serve/json_text.h"

#include <ctype.h>
#include <string.h>

/* ---- models ---- */

static void put_model(hn_buf *out, const char *id, int64_t created, const char *parent,
                      const hn_served *open) {
    hn_json_put_comma(out);
    hn_buf_puts(out, "{\"id\":");
    hn_json_put_text(out, id);
    hn_json_put_key(out, "object");
    hn_json_put_text(out, "model");
    hn_json_put_key(out, "created");
    hn_json_put_int(out, created);
    hn_json_put_key(out, "owned_by");
    hn_json_put_text(out, "hone");
    if (parent) {
        hn_json_put_key(out, "parent");
        hn_json_put_text(out, parent);
    }
    if (open) {
        const hn_arch *arch = &open->model->arch;
        hn_json_put_key(out, "meta");
        hn_buf_printf(out, "{\"n_vocab\":%lld,\"n_ctx_train\":%lld,\"n_embd\":%lld,\"n_ctx\":%d}",
                      (long long)arch->n_vocab, (long long)arch->n_ctx_train,
                      (long long)arch->n_embd, hn_engine_options_of(open->engine).n_context);
    }
    hn_buf_putc(out, '}');
}

/* Model i and its adapters; only the one called `wanted` unless that is NULL. How many it was. */
static int put_models(hn_api *api, size_t i, const char *wanted, hn_buf *out) {
    hn_model_info info;
    int n = 0;
    hn_models_info(api->models, i, &info);
    hn_served *open = hn_models_peek(api->models, i);
    if (!wanted || strcmp(wanted, info.name) == 0) {
        put_model(out, info.name, info.created, NULL, open);
        n++;
    }
    for (size_t j = 0; j < info.n_adapters; j++) {
        hn_adapter_info adapter;
        hn_models_adapter_info(api->models, i, j, &adapter);
        if (wanted && strcmp(wanted, adapter.name) != 0)
            continue;
        put_model(out, adapter.name, info.created, info.name, open);
        n++;
    }
    if (open)
        hn_models_unpeek(api->models, open);
    return n;
}

hn_status hn_api_models(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                        hn_problem *problem) {
    (void)call, (void)body, (void)problem;
    hn_buf_puts(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < hn_models_count(api->models); i++)
        put_models(api, i, NULL, out);
    hn_buf_puts(out, "]}");
    return HN_OK;
}

hn_status hn_api_model(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                       hn_problem *problem) {
    (void)body;
    const char *name = hn_http_tail(call);
    for (size_t i = 0; i < hn_models_count(api->models); i++)
        if (put_models(api, i, name, out))
            return HN_OK;
    return hn_problem_no_model(problem, name);
}

/* ---- how it stands ---- */

static int hex_of(char c) {
    const char *const digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* A value of a query up to its end or '&', without %XX and with '+' as a blank; "" where it is too
 * long to be a name. */
static hn_api_name decode(const char *value) {
    hn_api_name name = {""};
    size_t n = 0;
    for (; *value && *value != '&' && n + 1 < sizeof name.text; value++) {
        const int high = *value == '%' ? hex_of(value[1]) : -1;
        const int low = high >= 0 ? hex_of(value[2]) : -1;
        name.text[n++] = low >= 0 ? (char)(high << 4 | low) : *value == '+' ? ' ' : *value;
        value += low >= 0 ? 2 : 0;
    }
    if (*value && *value != '&')
        n = 0;
    name.text[n] = '\0';
    return name;
}

hn_api_name hn_api_queried_model(const hn_http_call *call) {
    static const char KEY[] = "model=";
    for (const char *at = hn_http_query(call); at && *at; at = strchr(at, '&')) {
        at += *at == '&';
        if (strncmp(at, KEY, sizeof KEY - 1) == 0)
            return decode(at + sizeof KEY - 1);
    }
    return (hn_api_name){""};
}

/* The model that the query names, else the first: opened where it isn't. */
static hn_status take_queried(hn_api *api, hn_http_call *call, hn_served **served,
                              hn_problem *problem) {
    const hn_api_name name = hn_api_queried_model(call);
    int adapter;
    return hn_models_take(api->models, name.text, served, &adapter, problem);
}

/* Its number, open or not. */
static hn_status find_queried(hn_api *api, hn_http_call *call, size_t *i, hn_problem *problem) {
    const hn_api_name name = hn_api_queried_model(call);
    return hn_models_find(api->models, name.text, i, problem);
}

hn_status hn_api_props(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                       hn_problem *problem) {
    (void)body;
    hn_served *served;
    HN_TRY(take_queried(api, call, &served, problem));
    const hn_checkpoint *ckpt = &served->model->ckpt;
    const hn_engine_options options = hn_engine_options_of(served->engine);
    hn_buf_puts(out, "{\"model_alias\":");
    hn_json_put_text(out, served->name);
    hn_json_put_key(out, "build_info");
    hn_json_put_text(out, "hone-" HN_VERSION);
    hn_json_put_key(out, "total_slots");
    hn_json_put_int(out, options.n_slots);
    hn_json_put_key(out, "chat_template");
    hn_json_put_text(out, ckpt->chat_template_source);
    hn_json_put_key(out, "default_generation_settings");
    hn_buf_printf(out,
                  "{\"n_ctx\":%d,\"temperature\":1,\"top_p\":1,\"top_k\":0,\"min_p\":0,"
                  "\"repeat_penalty\":1,\"presence_penalty\":0,\"frequency_penalty\":0}",
                  options.n_context);
    hn_buf_putc(out, '}');
    hn_models_give(api->models, served);
    return HN_OK;
}

static void put_slot(int id, const hn_slot_info *slot, int n_context, hn_buf *out) {
    static const char *const STATES[] = {
        [HN_SLOT_IDLE] = "idle", [HN_SLOT_PREFILL] = "prefill", [HN_SLOT_DECODE] = "decode"};
    const bool busy = slot->state != HN_SLOT_IDLE;
    const uint64_t age_ns = busy ? hn_clock_ns() - slot->submitted_ns : 0;
    hn_json_put_comma(out);
    hn_buf_printf(out,
                  "{\"id\":%d,\"id_task\":%lld,\"n_ctx\":%d,\"is_processing\":%s,\"state\":\"%s\","
                  "\"n_prompt_tokens\":%d,\"n_cached\":%d,\"n_computed\":%d,\"n_decoded\":%d,"
                  "\"priority\":%d,\"age_ms\":%llu}",
                  id, busy ? (long long)slot->job : -1, n_context, busy ? "true" : "false",
                  STATES[slot->state], slot->n_prompt, slot->n_cached, slot->n_computed,
                  slot->n_generated, slot->priority, (unsigned long long)(age_ns / 1000000));
}

/* Looking neither opens a model nor keeps it open: one that is closed has no slots. */
hn_status hn_api_slots(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                       hn_problem *problem) {
    (void)body;
    enum { MAX = 1024 };
    hn_slot_info slots[MAX];
    size_t model;
    HN_TRY(find_queried(api, call, &model, problem));
    hn_served *served = hn_models_peek(api->models, model);
    const int n_context = served ? hn_engine_options_of(served->engine).n_context : 0;
    const int n = served ? hn_engine_slots_get(served->engine, slots, MAX) : 0;
    hn_buf_putc(out, '[');
    for (int i = 0; i < n && i < MAX; i++)
        put_slot(i, &slots[i], n_context, out);
    hn_buf_putc(out, ']');
    if (served)
        hn_models_unpeek(api->models, served);
    return HN_OK;
}

/* ---- adapters: of a model that is open or not ---- */

static void put_adapters(hn_api *api, size_t model, hn_buf *out) {
    hn_model_info info;
    hn_models_info(api->models, model, &info);
    hn_buf_putc(out, '[');
    for (size_t i = 0; i < info.n_adapters; i++) {
        hn_adapter_info adapter;
        hn_models_adapter_info(api->models, model, i, &adapter);
        hn_json_put_comma(out);
        hn_buf_printf(out, "{\"id\":%zu,\"name\":", i);
        hn_json_put_text(out, adapter.name);
        hn_json_put_key(out, "path");
        hn_json_put_text(out, adapter.path);
        hn_json_put_key(out, "scale");
        hn_json_put_real(out, (double)adapter.scale);
        hn_buf_putc(out, '}');
    }
    hn_buf_putc(out, ']');
}

hn_status hn_api_loras(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                       hn_problem *problem) {
    (void)body;
    size_t model;
    HN_TRY(find_queried(api, call, &model, problem));
    put_adapters(api, model, out);
    return HN_OK;
}

/* [{id, scale}]: as llama.cpp, adapters that aren't named are off afterwards. */
static hn_status set_scales(hn_api *api, size_t model, const json_t *list, hn_problem *problem) {
    hn_model_info info;
    size_t i;
    const json_t *item;
    hn_models_info(api->models, model, &info);
    json_array_foreach (list, i, item) {
        const json_t *id = hn_api_field(item, "id"), *scale = hn_api_field(item, "scale");
        if (!json_is_integer(id) || !hn_api_is_scale(scale) || json_integer_value(id) < 0 ||
            (size_t)json_integer_value(id) >= info.n_adapters)
            return hn_problem_bad(problem, "id",
                                  "item %zu must be {id, scale} of an adapter that "
                                  "GET /lora-adapters lists",
                                  i);
    }
    for (i = 0; i < info.n_adapters; i++)
        hn_models_adapter_scale(api->models, model, i, 0);
    json_array_foreach (list, i, item)
        hn_models_adapter_scale(api->models, model,
                                (size_t)json_integer_value(json_object_get(item, "id")),
                                (float)json_number_value(json_object_get(item, "scale")));
    return HN_OK;
}

hn_status hn_api_loras_set(hn_api *api, hn_http_call *call, const json_t *body, hn_buf *out,
                           hn_problem *problem) {
    size_t model;
    if (!json_is_array(body))
        return hn_problem_bad(problem, NULL, "the body must be an array of {id, scale}");
    HN_TRY(find_queried(api, call, &model, problem));
    HN_TRY(set_scales(api, model, body, problem));
    put_adapters(api, model, out);
    return HN_OK;
}
