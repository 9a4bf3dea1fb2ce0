/* json.dumps, as transformers' tojson filter calls it. */
#include "template/render.h"

#include <math.h>
#include <stdio.h>

typedef struct writer {
    hn_render *r;
    bool ascii, sort_keys;
    const hn_tstr *indent; /* NULL: all on one line */
    hn_tstr item, key;     /* separators */
    unsigned level;
} writer;

static hn_status put(writer *w, const char *text) {
    return hn_render_put(w->r, text, strlen(text));
}

static hn_status put_str(writer *w, const hn_tstr *s) {
    return hn_render_put(w->r, s->data, s->n_bytes);
}

static hn_status write_escape(writer *w, uint32_t c) {
    char text[16];
    switch (c) {
    case '"':
        return put(w, "\\\"");
    case '\\':
        return put(w, "\\\\");
    case '\n':
        return put(w, "\\n");
    case '\r':
        return put(w, "\\r");
    case '\t':
        return put(w, "\\t");
    case '\f':
        return put(w, "\\f");
    case '\b':
        return put(w, "\\b");
    default:
        if (c > 0xffff)
            snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                     0xdc00 + ((c - 0x10000) & 0x3ff));
        else
            snprintf(text, sizeof text, "\\u%04x", c);
        return put(w, text);
    }
}

static hn_status write_string(writer *w, const hn_tstr *s) {
    size_t done = 0;
    HN_TRY(hn_render_charge_scan(w->r, s->n_bytes));
    HN_TRY(put(w, "\""));
    for (size_t pos = 0; pos < s->n_bytes;) {
        size_t start = pos;
        uint32_t c = hn_uni_next(s->data, s->n_bytes, &pos);
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x7f || !w->ascii))
            continue;
        HN_TRY(hn_render_put(w->r, s->data + done, start - done));
        HN_TRY(write_escape(w, c));
        done = pos;
    }
    HN_TRY(hn_render_put(w->r, s->data + done, s->n_bytes - done));
    return put(w, "\"");
}

static hn_status write_number(writer *w, hn_tv v) {
    char text[HN_TV_FLOAT_TEXT];
    if (v.type == HN_TV_INT)
        snprintf(text, sizeof text, "%lld", (long long)v.u.i);
    else if (isnan(v.u.f) || isinf(v.u.f))
        snprintf(text, sizeof text, "%s",
                 isnan(v.u.f) ? "NaN"
                 : v.u.f < 0  ? "-Infinity"
                              : "Infinity");
    else
        hn_tv_float_text(v.u.f, text);
    return put(w, text);
}

static hn_status write_value(writer *w, hn_tv v);

static hn_status new_line(writer *w) {
    if (!w->indent)
        return HN_OK;
    HN_TRY(put(w, "\n"));
    for (unsigned i = 0; i < w->level; i++)
        HN_TRY(put_str(w, w->indent));
    return HN_OK;
}

static hn_status write_list(writer *w, hn_tlist *list) {
    HN_TRY(hn_tlist_open(w->r, list));
    if (!list->n)
        return put(w, "[]");
    HN_TRY(put(w, "["));
    w->level++;
    for (uint32_t i = 0; i < list->n; i++) {
        if (i)
            HN_TRY(put_str(w, &w->item));
        HN_TRY(new_line(w));
        HN_TRY(write_value(w, list->items[i]));
    }
    w->level--;
    HN_TRY(new_line(w));
    return put(w, "]");
}

static hn_status write_key(writer *w, hn_tv key) {
    switch (key.type) {
    case HN_TV_STR:
        return write_string(w, key.u.s);
    case HN_TV_BOOL:
        return put(w, key.u.b ? "\"true\"" : "\"false\"");
    case HN_TV_NONE:
        return put(w, "\"null\"");
    case HN_TV_INT:
    case HN_TV_FLOAT:
        HN_TRY(put(w, "\""));
        HN_TRY(write_number(w, key));
        return put(w, "\"");
    default:
        return hn_render_fail(w->r, "keys must be str, int, float, bool or None, not %s",
                              hn_tv_type_name(key));
    }
}

/* The entries by key; Python sorts the pairs, and keys differ. */
static hn_status sorted_entries(writer *w, const hn_tdict *dict, hn_tentry **out) {
    void *keys, *values, *entries;
    HN_TRY(hn_render_alloc(w->r, dict->n, sizeof(hn_tv), &keys));
    HN_TRY(hn_render_alloc(w->r, dict->n, sizeof(hn_tv), &values));
    HN_TRY(hn_render_alloc(w->r, dict->n, sizeof(hn_tentry), &entries));
    for (uint32_t i = 0; i < dict->n; i++) {
        ((hn_tv *)keys)[i] = dict->entries[i].key;
        ((hn_tv *)values)[i] = dict->entries[i].value;
    }
    HN_TRY(hn_tv_sort(w->r, values, keys, dict->n, false));
    for (uint32_t i = 0; i < dict->n; i++)
        ((hn_tentry *)entries)[i] = (hn_tentry){((hn_tv *)keys)[i], ((hn_tv *)values)[i]};
    *out = entries;
    return HN_OK;
}

static hn_status write_dict(writer *w, hn_tdict *dict) {
    HN_TRY(hn_tdict_open(w->r, dict));
    if (!dict->n)
        return put(w, "{}");
    hn_tentry *entries = dict->entries;
    if (w->sort_keys)
        HN_TRY(sorted_entries(w, dict, &entries));
    HN_TRY(put(w, "{"));
    w->level++;
    for (uint32_t i = 0; i < dict->n; i++) {
        if (i)
            HN_TRY(put_str(w, &w->item));
        HN_TRY(new_line(w));
        HN_TRY(write_key(w, entries[i].key));
        HN_TRY(put_str(w, &w->key));
        HN_TRY(write_value(w, entries[i].value));
    }
    w->level--;
    HN_TRY(new_line(w));
    return put(w, "}");
}

static hn_status write_nested(writer *w, hn_tv v) {
    switch (v.type) {
    case HN_TV_NONE:
        return put(w, "null");
    case HN_TV_BOOL:
        return put(w, v.u.b ? "true" : "false");
    case HN_TV_INT:
    case HN_TV_FLOAT:
        return write_number(w, v);
    case HN_TV_STR:
        return write_string(w, v.u.s);
    case HN_TV_LIST:
    case HN_TV_TUPLE:
        return write_list(w, v.u.list);
    case HN_TV_DICT:
        return write_dict(w, v.u.dict);
    default:
        return hn_render_fail(w->r, "Object of type %s is not JSON serializable",
                              hn_tv_type_name(v));
    }
}

static hn_status write_value(writer *w, hn_tv v) {
    HN_TRY(hn_render_charge(w->r, 1));
    if (w->level >= HN_TV_MAX_NESTING)
        return hn_render_fail(w->r, "values are nested more than %d deep", HN_TV_MAX_NESTING);
    return write_nested(w, v);
}

static hn_status set_indent(hn_render *r, hn_tv v, const hn_tstr **out) {
    hn_tv text;
    if (v.type == HN_TV_MISSING || v.type == HN_TV_NONE)
        return HN_OK;
    if (hn_tv_is_index(v)) {
        hn_tv space;
        HN_TRY(hn_tv_from_text(r, " ", &space));
        HN_TRY(hn_tv_arith(r, '*', space, v, &text));
    } else if (v.type == HN_TV_STR) {
        text = v;
    } else {
        return hn_render_fail(r, "tojson: indent must be a number or a string");
    }
    *out = text.u.s;
    return HN_OK;
}

static hn_status set_separators(writer *w, hn_tv v) {
    if (v.type == HN_TV_MISSING || v.type == HN_TV_NONE)
        return HN_OK;
    hn_tlist *list;
    HN_TRY(hn_tv_to_list(w->r, v, &list));
    if (list->n != 2 || list->items[0].type != HN_TV_STR || list->items[1].type != HN_TV_STR)
        return hn_render_fail(w->r, "tojson: separators must be two strings");
    w->item = *list->items[0].u.s;
    w->key = *list->items[1].u.s;
    return HN_OK;
}

hn_status hn_tv_tojson(hn_render *r, hn_tv v, hn_tv ascii, hn_tv indent, hn_tv separators,
                       hn_tv sort_keys, hn_tv *out) {
    writer w = {.r = r};
    HN_TRY(hn_tv_truth(r, ascii, &w.ascii));
    HN_TRY(hn_tv_truth(r, sort_keys, &w.sort_keys));
    HN_TRY(set_indent(r, indent, &w.indent));
    w.item = (hn_tstr){.data = w.indent ? "," : ", ", .n_bytes = w.indent ? 1 : 2};
    w.key = (hn_tstr){.data = ": ", .n_bytes = 2};
    HN_TRY(set_separators(&w, separators));
    size_t start = r->text.size;
    HN_TRY(write_value(&w, v));
    return hn_render_take_text(r, start, out);
}
