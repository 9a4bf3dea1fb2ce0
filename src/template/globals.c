/* Global functions: range, dict, namespace, cycler, joiner, raise_exception, strftime_now. */
#include "template/render.h"

#include <time.h>

static hn_status g_range(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_targs *raw = call->raw;
    int64_t at[3] = {0, 0, 1};
    if (raw->n_kw || raw->n_pos < 1 || raw->n_pos > 3)
        return hn_render_fail(r, "range takes 1 to 3 arguments");
    for (uint32_t i = 0; i < raw->n_pos; i++) {
        if (!hn_tv_is_index(raw->pos[i]))
            return hn_render_fail(r, "'%s' object cannot be interpreted as an integer",
                                  hn_tv_type_name(raw->pos[i]));
        at[raw->n_pos == 1 ? 1 : i] = hn_tv_index(raw->pos[i]);
    }
    if (at[2] == 0)
        return hn_render_fail(r, "range() arg 3 must not be zero");
    bool up = at[2] > 0;
    uint64_t distance = up ? (at[1] > at[0] ? (uint64_t)at[1] - (uint64_t)at[0] : 0)
                           : (at[0] > at[1] ? (uint64_t)at[0] - (uint64_t)at[1] : 0);
    uint64_t step = up ? (uint64_t)at[2] : 0 - (uint64_t)at[2];
    uint64_t n = distance ? (distance - 1) / step + 1 : 0;
    if (n > HN_RANGE_MAX)
        return hn_render_fail(r, "Range too big. The sandbox blocks ranges larger than %d.",
                              HN_RANGE_MAX);
    void *range;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_trange), &range));
    *(hn_trange *)range =
        (hn_trange){.start = at[0], .stop = at[1], .step = at[2], .n = (int64_t)n};
    *out = (hn_tv){.type = HN_TV_RANGE, .u.range = range};
    return HN_OK;
}

static hn_status put_pair(hn_render *r, hn_tdict *dict, hn_tv item) {
    hn_tlist *pair;
    HN_TRY(hn_tv_to_list(r, item, &pair));
    if (pair->n != 2)
        return hn_render_fail(r, "a dictionary is made of pairs; one has length %u", pair->n);
    return hn_tdict_put(r, dict, pair->items[0], pair->items[1]);
}

/* dict(mapping or pairs, **more) */
static hn_status make_dict(hn_render *r, const hn_targs *raw, hn_tdict **out) {
    hn_tdict *dict;
    HN_TRY(hn_tdict_new(r, &dict));
    if (raw->n_pos > 1)
        return hn_render_fail(r, "dict expected at most 1 argument, got %u", raw->n_pos);
    if (raw->n_pos && raw->pos[0].type == HN_TV_DICT) {
        hn_tdict *from = raw->pos[0].u.dict;
        HN_TRY(hn_tdict_open(r, from));
        for (uint32_t i = 0; i < from->n; i++)
            HN_TRY(hn_tdict_put(r, dict, from->entries[i].key, from->entries[i].value));
    } else if (raw->n_pos && raw->pos[0].type == HN_TV_UNDEFINED) {
        return hn_tv_undefined_fail(r, raw->pos[0]); /* Python asks it for .keys */
    } else if (raw->n_pos) {
        hn_tlist *list;
        HN_TRY(hn_tv_to_list(r, raw->pos[0], &list));
        for (uint32_t i = 0; i < list->n; i++)
            HN_TRY(put_pair(r, dict, list->items[i]));
    }
    for (uint32_t i = 0; i < raw->n_kw; i++)
        HN_TRY(hn_tdict_put(r, dict, hn_tv_str((hn_tstr *)raw->kw[i].name), raw->kw[i].value));
    *out = dict;
    return HN_OK;
}

static hn_status g_dict(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tdict *dict;
    HN_TRY(make_dict(r, call->raw, &dict));
    *out = hn_tv_dict(dict);
    return HN_OK;
}

static hn_status g_namespace(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tdict *dict;
    HN_TRY(make_dict(r, call->raw, &dict));
    for (uint32_t i = 0; i < dict->n; i++) {
        hn_tv key = dict->entries[i].key;
        if (key.type == HN_TV_STR && key.u.s->n_bytes && key.u.s->data[0] == '_')
            return hn_render_fail(r, "Chat templates cannot store underscore-prefixed attributes "
                                     "on a namespace");
    }
    *out = (hn_tv){.type = HN_TV_NAMESPACE, .u.dict = dict};
    return HN_OK;
}

static hn_status g_cycler(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tlist *list;
    if (!call->raw->n_pos || call->raw->n_kw)
        return hn_render_fail(r, "at least one item has to be provided");
    HN_TRY(hn_tlist_new(r, call->raw->n_pos, &list));
    for (uint32_t i = 0; i < call->raw->n_pos; i++)
        HN_TRY(hn_tlist_push(r, list, call->raw->pos[i]));
    *out = (hn_tv){.type = HN_TV_CYCLER, .u.list = list};
    return HN_OK;
}

static hn_status g_joiner(hn_render *r, const hn_call *call, hn_tv *out) {
    void *joiner;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tjoiner), &joiner));
    hn_tv *separator = &((hn_tjoiner *)joiner)->separator;
    *separator = call->args[0];
    if (separator->type == HN_TV_MISSING)
        HN_TRY(hn_tv_from_text(r, ", ", separator));
    *out = (hn_tv){.type = HN_TV_JOINER, .u.joiner = joiner};
    return HN_OK;
}

static hn_status g_raise_exception(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv text;
    (void)out;
    HN_TRY(hn_tv_to_str(r, call->args[0], &text));
    return hn_render_fail(r, "%.*s", text.u.s->n_bytes < 500 ? (int)text.u.s->n_bytes : 500,
                          text.u.s->data);
}

/* Directives that Python answers itself for a time without a zone: %f, %z, %Z. */
static hn_status adapt_format(hn_render *r, const hn_tstr *format, char *out, size_t max) {
    size_t n = 0;
    for (size_t i = 0; i < format->n_bytes; i++) {
        const char *text = NULL;
        if (format->data[i] == '%' && i + 1 < format->n_bytes) {
            char c = format->data[i + 1];
            text = c == 'f' ? "000000" : c == 'z' || c == 'Z' ? "" : NULL;
        }
        size_t length = text ? strlen(text) : 1;
        if (n + length + 2 >= max)
            return hn_render_fail(r, "strftime_now: the format is too long");
        memcpy(out + n, text ? text : &format->data[i], length);
        n += length;
        if (!text && format->data[i] == '%' && i + 1 < format->n_bytes)
            out[n++] = format->data[++i];
        i += text != NULL;
    }
    out[n] = 0;
    return HN_OK;
}

static hn_status g_strftime_now(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *format;
    char adapted[512], text[2048];
    HN_TRY(hn_arg_str(r, call->args[0], &format));
    HN_TRY(adapt_format(r, format, adapted, sizeof adapted));
    time_t now = (time_t)r->now;
    struct tm local;
    if (!localtime_r(&now, &local))
        return hn_render_fail(r, "strftime_now: the time is out of range");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the template's own format */
    size_t n = strftime(text, sizeof text, adapted, &local);
#pragma GCC diagnostic pop
    return hn_tstr_new(r, text, n, out);
}

static hn_status g_lipsum(hn_render *r, const hn_call *call, hn_tv *out) {
    (void)call, (void)out;
    return hn_render_fail(r, "lipsum gives random text, which a chat template can't want");
}

static const hn_tfunction GLOBALS[] = {
    {{"range", NULL, 0, g_range}},
    {{"dict", NULL, 0, g_dict}},
    {{"namespace", NULL, 0, g_namespace}},
    {{"cycler", NULL, 0, g_cycler}},
    {{"joiner", "sep", 0, g_joiner}},
    {{"raise_exception", "message", 1, g_raise_exception}},
    {{"strftime_now", "format", 1, g_strftime_now}},
    {{"lipsum", NULL, 0, g_lipsum}},
};

const hn_tfunction *hn_global_find(const char *name, size_t n_bytes) {
    for (size_t i = 0; i < sizeof GLOBALS / sizeof *GLOBALS; i++)
        if (strlen(GLOBALS[i].def.name) == n_bytes && !memcmp(GLOBALS[i].def.name, name, n_bytes))
            return &GLOBALS[i];
    return NULL;
}
