/* The lists of a request: prompts, stop strings, logit biases, adapters. Each is bounded before
 * anything is kept of it. */
#include "serve/request.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STOP_BYTES = 1 << 13 };

/* ---- prompts ---- */

static hn_status read_tokens(hn_api_request *r, const json_t *list, const char *param,
                             hn_api_prompt *out, hn_problem *problem) {
    size_t n = json_array_size(list);
    int32_t *tokens = HN_ARENA_NEW(&r->arena, int32_t, n ? n : 1);
    if (!tokens)
        return hn_problem_no_memory(problem);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_integer(item) || json_integer_value(item) < 0 ||
            json_integer_value(item) > INT32_MAX)
            return hn_problem_bad(problem, param, "'%s' must hold token ids alone; [%zu] is none",
                                  param, i);
        tokens[i] = (int32_t)json_integer_value(item);
    }
    if (n == 0)
        return hn_problem_bad(problem, param, "'%s' holds no tokens", param);
    *out = (hn_api_prompt){.tokens = tokens, .n_tokens = n};
    return HN_OK;
}

static hn_status read_prompt(hn_api_request *r, const json_t *value, const char *param,
                             hn_api_prompt *out, hn_problem *problem) {
    if (json_is_array(value))
        return read_tokens(r, value, param, out, problem);
    if (!json_is_string(value))
        return hn_problem_bad(problem, param,
                              "'%s' must be a string, an array of strings, an array of token ids "
                              "or an array of those",
                              param);
    *out = (hn_api_prompt){.text = json_string_value(value), .n_bytes = json_string_length(value)};
    return HN_OK;
}

hn_status hn_api_read_prompts(hn_api_request *r, const char *field, hn_problem *problem) {
    const json_t *value = hn_api_field(r->body, field);
    size_t max = r->kind == HN_API_EMBEDDING ? HN_API_MAX_INPUTS : HN_API_MAX_CHOICES;
    bool many = json_is_array(value) && !json_is_integer(json_array_get(value, 0));
    size_t n = many ? json_array_size(value) : 1;
    if (!value)
        return hn_problem_bad(problem, field, "'%s' is missing", field);
    if (n == 0 || n > max)
        return hn_problem_bad(problem, field, "'%s' has %zu items: 1 to %zu are possible", field, n,
                              max);
    r->prompts = HN_ARENA_NEW(&r->arena, hn_api_prompt, n);
    if (!r->prompts)
        return hn_problem_no_memory(problem);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = many ? json_array_get(value, i) : value;
        HN_TRY(read_prompt(r, item, field, &r->prompts[i], problem));
    }
    r->n_prompts = n;
    return HN_OK;
}

/* ---- stop strings ---- */

static hn_status read_stop(hn_api_request *r, hn_problem *problem) {
    const json_t *value = hn_api_field(r->body, "stop");
    size_t n = json_is_array(value) ? json_array_size(value) : 1, n_bytes = 0;
    if (!value || n == 0)
        return HN_OK;
    if (n > HN_API_MAX_STOP)
        return hn_problem_bad(problem, "stop", "%zu stop strings: at most %d are possible", n,
                              HN_API_MAX_STOP);
    r->stop = HN_ARENA_NEW(&r->arena, const char *, n);
    if (!r->stop)
        return hn_problem_no_memory(problem);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        HN_TRY(hn_api_plain_text(item, "stop", &r->stop[i], problem));
        r->stop[i] = hn_arena_strndup(&r->arena, r->stop[i], json_string_length(item));
        if (!r->stop[i])
            return hn_problem_no_memory(problem);
        n_bytes += json_string_length(item);
        if (json_string_length(item) == 0)
            return hn_problem_bad(problem, "stop", "a stop string must not be empty");
    }
    if (n_bytes > MAX_STOP_BYTES)
        return hn_problem_bad(problem, "stop", "stop strings of %zu bytes: at most %d are possible",
                              n_bytes, MAX_STOP_BYTES);
    r->n_stop = (int)n;
    return HN_OK;
}

/* ---- biases ---- */

static hn_status add_bias(hn_api_request *r, long long token, const json_t *bias,
                          hn_problem *problem) {
    double value = json_is_false(bias) ? -INFINITY : json_number_value(bias);
    if (token < 0 || token > INT32_MAX)
        return hn_problem_bad(problem, "logit_bias", "'logit_bias' names no token: %lld", token);
    if (!json_is_false(bias) && (!json_is_number(bias) || !(value >= -100 && value <= 100)))
        return hn_problem_bad(problem, "logit_bias",
                              "'logit_bias' of token %lld must be a number from -100 to 100",
                              token);
    r->bias[r->n_bias++] = (hn_logit_bias){(int32_t)token, (float)value};
    return HN_OK;
}

/* {"id": bias}, as OpenAI has it. */
static hn_status bias_object(hn_api_request *r, const json_t *value, hn_problem *problem) {
    const char *key;
    json_t *bias;
    json_object_foreach ((json_t *)(uintptr_t)value, key, bias) {
        char *end;
        long long token = strtoll(key, &end, 10);
        if (end == key || *end)
            return hn_problem_bad(problem, "logit_bias",
                                  "'logit_bias' must have token ids as keys, not '%.32s'", key);
        HN_TRY(add_bias(r, token, bias, problem));
    }
    return HN_OK;
}

/* [[id, bias]], as llama.cpp has it besides; false forbids. */
static hn_status bias_array(hn_api_request *r, const json_t *value, hn_problem *problem) {
    size_t i;
    const json_t *pair;
    json_array_foreach (value, i, pair) {
        if (json_array_size(pair) != 2 || !json_is_integer(json_array_get(pair, 0)))
            return hn_problem_bad(problem, "logit_bias",
                                  "'logit_bias' as an array must hold pairs [token id, bias]");
        HN_TRY(add_bias(r, json_integer_value(json_array_get(pair, 0)), json_array_get(pair, 1),
                        problem));
    }
    return HN_OK;
}

static hn_status read_bias(hn_api_request *r, hn_problem *problem) {
    const json_t *value = hn_api_field(r->body, "logit_bias");
    size_t n = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    if (!value)
        return HN_OK;
    if (!json_is_object(value) && !json_is_array(value))
        return hn_problem_bad(problem, "logit_bias",
                              "'logit_bias' must be an object of token ids and numbers");
    if (n > HN_API_MAX_BIAS)
        return hn_problem_bad(problem, "logit_bias", "%zu biases: at most %d are possible", n,
                              HN_API_MAX_BIAS);
    r->bias = HN_ARENA_NEW(&r->arena, hn_logit_bias, n ? n : 1);
    if (!r->bias)
        return hn_problem_no_memory(problem);
    return json_is_object(value) ? bias_object(r, value, problem) : bias_array(r, value, problem);
}

/* ---- adapters ---- */

bool hn_api_is_scale(const json_t *value) {
    return json_is_number(value) && fabs(json_number_value(value)) <= HN_API_MAX_SCALE;
}

static hn_status read_lora(hn_api_request *r, hn_problem *problem) {
    const json_t *value = hn_api_field(r->body, "lora");
    size_t n = json_array_size(value);
    if (!value)
        return HN_OK;
    if (!json_is_array(value) || n > HN_API_MAX_LORAS)
        return hn_problem_bad(problem, "lora",
                              "'lora' must be an array of at most %d objects {id, scale}",
                              HN_API_MAX_LORAS);
    r->loras = HN_ARENA_NEW(&r->arena, hn_api_lora, n ? n : 1);
    if (!r->loras)
        return hn_problem_no_memory(problem);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(value, i), *id = hn_api_field(item, "id");
        const json_t *scale = hn_api_field(item, "scale");
        if (!json_is_integer(id) || (scale && !hn_api_is_scale(scale)))
            return hn_problem_bad(problem, "lora",
                                  "'lora[%zu]' must be {id, scale} with a scale of -%d to %d", i,
                                  HN_API_MAX_SCALE, HN_API_MAX_SCALE);
        r->loras[i] = (hn_api_lora){json_integer_value(id), scale ? json_number_value(scale) : 1.0};
    }
    r->n_loras = (int)n;
    r->has_loras = true;
    return HN_OK;
}

hn_status hn_api_read_lists(hn_api_request *r, hn_problem *problem) {
    HN_TRY(read_stop(r, problem));
    HN_TRY(read_bias(r, problem));
    return read_lora(r, problem);
}
