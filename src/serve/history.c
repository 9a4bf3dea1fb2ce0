#include "serve/history.h"

#include "base/mem.h"

#include <string.h>

/* The messages behind a turn with several calls: results of tools, by the id of their call. */
typedef struct results {
    const json_t *messages;
    size_t first, n;
    json_t *places; /* object: id to its index from `first` on */
    bool *placed;   /* (n) */
} results;

static const char *text_of(const json_t *message, const char *key) {
    return json_string_value(json_object_get(message, key));
}

static bool is_result(const json_t *message) {
    const char *role = text_of(message, "role");
    return role && strcmp(role, "tool") == 0;
}

static hn_status find_results(const json_t *messages, size_t first, results *out, hn_error *err) {
    results r = {.messages = messages, .first = first, .places = json_object()};
    while (is_result(json_array_get(messages, first + r.n)))
        r.n++;
    r.placed = hn_calloc(r.n, sizeof *r.placed);
    bool whole = r.places && r.placed;
    for (size_t i = r.n; whole && i-- > 0;) { /* of two with one id the first counts */
        const char *id = text_of(json_array_get(messages, first + i), "tool_call_id");
        whole = !id || json_object_set_new(r.places, id, json_integer((json_int_t)i)) == 0;
    }
    *out = r;
    return whole ? HN_OK : hn_fail_no_memory(err, r.n * sizeof *r.placed);
}

static void results_done(results *r) {
    json_decref(r->places);
    hn_free(r->placed);
}

static hn_status append(json_t *list, json_t *taken, hn_error *err) {
    return json_array_append_new(list, taken) == 0 ? HN_OK : hn_fail_no_memory(err, sizeof taken);
}

static hn_status append_result(results *r, size_t i, json_t *out, hn_error *err) {
    if (r->placed[i])
        return HN_OK;
    r->placed[i] = true;
    return append(out, json_incref(json_array_get(r->messages, r->first + i)), err);
}

/* The turn with this call alone; what it says and thinks stays with the first. */
static json_t *turn_of(const json_t *message, json_t *call, bool first) {
    json_t *turn = json_copy((json_t *)(uintptr_t)message);
    json_t *calls = json_pack("[O]", call);
    if (json_object_set_new(turn, "tool_calls", calls) != 0) {
        json_decref(turn);
        return NULL;
    }
    if (first)
        return turn;
    json_object_del(turn, "reasoning_content");
    if (json_object_set_new(turn, "content", json_string("")) != 0) {
        json_decref(turn);
        return NULL;
    }
    return turn;
}

/* The turn's calls, each with its result, then the results that belong to none. */
static hn_status split_turn(const json_t *message, results *r, json_t *out, hn_error *err) {
    size_t i;
    json_t *call;
    json_array_foreach (json_object_get(message, "tool_calls"), i, call) {
        HN_TRY(append(out, turn_of(message, call, i == 0), err));
        const char *id = text_of(call, "id");
        const json_t *place = id ? json_object_get(r->places, id) : NULL;
        if (place)
            HN_TRY(append_result(r, (size_t)json_integer_value(place), out, err));
    }
    for (i = 0; i < r->n; i++)
        HN_TRY(append_result(r, i, out, err));
    return HN_OK;
}

hn_status hn_history_split(const json_t *messages, bool *several, json_t **out, hn_error *err) {
    json_t *made = json_array();
    hn_status status = made ? HN_OK : hn_fail_no_memory(err, sizeof made);
    *several = false;
    for (size_t i = 0; status == HN_OK && i < json_array_size(messages); i++) {
        json_t *message = json_array_get(messages, i);
        if (json_array_size(json_object_get(message, "tool_calls")) < 2) {
            status = append(made, json_incref(message), err);
            continue;
        }
        results r;
        *several = true;
        status = find_results(messages, i + 1, &r, err);
        if (status == HN_OK)
            status = split_turn(message, &r, made, err);
        i += r.n;
        results_done(&r);
    }
    if (status == HN_OK)
        *out = made;
    else
        json_decref(made);
    return status;
}

hn_status hn_history_encode(const hn_checkpoint *ckpt, const json_t *messages,
                            const hn_chat_encode_options *options, hn_ids *ids, hn_error *err) {
    const size_t n_ids = ids->size;
    hn_status status = hn_chat_encode_with(ckpt, messages, options, ids, err);
    bool several;
    json_t *split;
    if (status != HN_BAD_INPUT)
        return status;
    hn_error refused = *err;
    HN_TRY(hn_history_split(messages, &several, &split, err));
    ids->size = n_ids;
    if (several)
        status = hn_chat_encode_with(ckpt, split, options, ids, err);
    json_decref(split);
    if (status == HN_BAD_INPUT) /* what is wrong with the messages that the client knows */
        *err = refused;
    return status;
}
