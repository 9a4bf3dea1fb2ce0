/* str(), repr() and HTML escapes. */
#include "template/render.h"

#include <stdio.h>

static hn_status put_text(hn_render *r, const char *text) {
    return hn_render_put(r, text, strlen(text));
}

/* Python's repr of a string: quotes chosen, what can't be printed escaped. */
static hn_status write_quoted(hn_render *r, const hn_tstr *s) {
    bool doubled = memchr(s->data, '\'', s->n_bytes) && !memchr(s->data, '"', s->n_bytes);
    char quote = doubled ? '"' : '\'';
    HN_TRY(hn_render_charge(r, s->n_bytes / 8));
    if (s->markup)
        HN_TRY(put_text(r, "Markup("));
    HN_TRY(hn_render_put(r, &quote, 1));
    for (size_t pos = 0; pos < s->n_bytes;) {
        size_t start = pos;
        uint32_t c = hn_uni_next(s->data, s->n_bytes, &pos);
        char escape[16] = "";
        if (c == (uint32_t)quote || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", (char)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
        else if (!hn_uni_is_printable(c))
            snprintf(escape, sizeof escape,
                     c < 0x100     ? "\\x%02x"
                     : c < 0x10000 ? "\\u%04x"
                                   : "\\U%08x",
                     c);
        HN_TRY(*escape ? put_text(r, escape) : hn_render_put(r, s->data + start, pos - start));
    }
    HN_TRY(hn_render_put(r, &quote, 1));
    return s->markup ? put_text(r, ")") : HN_OK;
}

static hn_status write_list(hn_render *r, hn_tv v, const char *open, const char *close) {
    HN_TRY(hn_tlist_open(r, v.u.list));
    HN_TRY(put_text(r, open));
    for (uint32_t i = 0; i < v.u.list->n; i++) {
        if (i)
            HN_TRY(put_text(r, ", "));
        HN_TRY(hn_tv_write(r, v.u.list->items[i], true));
    }
    if (v.type == HN_TV_TUPLE && v.u.list->n == 1)
        HN_TRY(put_text(r, ","));
    return put_text(r, close);
}

static hn_status write_dict(hn_render *r, hn_tdict *dict) {
    HN_TRY(hn_tdict_open(r, dict));
    HN_TRY(put_text(r, "{"));
    for (uint32_t i = 0; i < dict->n; i++) {
        if (i)
            HN_TRY(put_text(r, ", "));
        HN_TRY(hn_tv_write(r, dict->entries[i].key, true));
        HN_TRY(put_text(r, ": "));
        HN_TRY(hn_tv_write(r, dict->entries[i].value, true));
    }
    return put_text(r, "}");
}

static hn_status write_view(hn_render *r, const hn_tview *view) {
    static const char *const NAMES[] = {[HN_VIEW_KEYS] = "dict_keys(",
                                        [HN_VIEW_VALUES] = "dict_values(",
                                        [HN_VIEW_ITEMS] = "dict_items("};
    hn_tlist *list;
    HN_TRY(put_text(r, NAMES[view->kind]));
    HN_TRY(hn_tv_to_list(r, (hn_tv){.type = HN_TV_VIEW, .u.view = (hn_tview *)view}, &list));
    HN_TRY(write_list(r, hn_tv_list(list), "[", "]"));
    return put_text(r, ")");
}

static hn_status write_object(hn_render *r, hn_tv v) {
    char text[96];
    int64_t length;
    switch (v.type) {
    case HN_TV_RANGE:
        snprintf(text, sizeof text, "range(%lld, %lld", (long long)v.u.range->start,
                 (long long)v.u.range->stop);
        HN_TRY(put_text(r, text));
        snprintf(text, sizeof text, ", %lld", (long long)v.u.range->step);
        HN_TRY(put_text(r, v.u.range->step == 1 ? "" : text));
        return put_text(r, ")");
    case HN_TV_NAMESPACE:
        HN_TRY(put_text(r, "<Namespace "));
        HN_TRY(write_dict(r, v.u.dict));
        return put_text(r, ">");
    case HN_TV_LOOP:
        HN_TRY(hn_loop_length(r, v.u.loop, &length));
        snprintf(text, sizeof text, "<LoopContext %lld/%lld>", (long long)v.u.loop->index0 + 1,
                 (long long)length);
        return put_text(r, text);
    case HN_TV_MACRO:
        if (!v.u.macro->node->name)
            return put_text(r, "<Macro anonymous>");
        HN_TRY(put_text(r, "<Macro "));
        HN_TRY(write_quoted(r, v.u.macro->node->name));
        return put_text(r, ">");
    default: /* Python prints an address here, which nobody can rely on */
        snprintf(text, sizeof text, "<%s object>", hn_tv_type_name(v));
        return put_text(r, text);
    }
}

static hn_status write_value(hn_render *r, hn_tv v, bool repr) {
    char number[HN_TV_FLOAT_TEXT];
    switch (v.type) {
    case HN_TV_MISSING:
    case HN_TV_UNDEFINED:
        return repr ? put_text(r, "Undefined") : HN_OK;
    case HN_TV_NONE:
        return put_text(r, "None");
    case HN_TV_BOOL:
        return put_text(r, v.u.b ? "True" : "False");
    case HN_TV_INT:
        snprintf(number, sizeof number, "%lld", (long long)v.u.i);
        return put_text(r, number);
    case HN_TV_FLOAT:
        hn_tv_float_text(v.u.f, number);
        return put_text(r, number);
    case HN_TV_STR:
        return repr ? write_quoted(r, v.u.s) : hn_render_put(r, v.u.s->data, v.u.s->n_bytes);
    case HN_TV_LIST:
        return write_list(r, v, "[", "]");
    case HN_TV_TUPLE:
        return write_list(r, v, "(", ")");
    case HN_TV_DICT:
        return write_dict(r, v.u.dict);
    case HN_TV_VIEW:
        return write_view(r, v.u.view);
    default:
        return write_object(r, v);
    }
}

hn_status hn_tv_write(hn_render *r, hn_tv v, bool repr) {
    HN_TRY(hn_render_charge(r, 1));
    if (r->nesting >= HN_TV_MAX_NESTING)
        return hn_render_fail(r, "values are nested more than %d deep", HN_TV_MAX_NESTING);
    r->nesting++;
    hn_status status = write_value(r, v, repr);
    r->nesting--;
    return status;
}

hn_status hn_tv_to_str(hn_render *r, hn_tv v, hn_tv *out) {
    *out = v;
    if (v.type == HN_TV_STR)
        return HN_OK;
    size_t start = r->text.size;
    HN_TRY(hn_tv_write(r, v, false));
    return hn_render_take_text(r, start, out);
}

hn_status hn_tv_repr(hn_render *r, hn_tv v, hn_tv *out) {
    size_t start = r->text.size;
    HN_TRY(hn_tv_write(r, v, true));
    return hn_render_take_text(r, start, out);
}

static const char *html_escape(char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '\'':
        return "&#39;";
    case '"':
        return "&#34;";
    default:
        return NULL;
    }
}

hn_status hn_tv_escape(hn_render *r, hn_tv v, hn_tv *out) {
    if (v.type == HN_TV_STR && v.u.s->markup) {
        *out = v;
        return HN_OK;
    }
    hn_tv text;
    HN_TRY(hn_tv_to_str(r, v, &text));
    size_t start = r->text.size;
    HN_TRY(hn_render_charge(r, text.u.s->n_bytes / 8));
    for (uint32_t i = 0; i < text.u.s->n_bytes; i++) {
        const char *escaped = html_escape(text.u.s->data[i]);
        HN_TRY(escaped ? put_text(r, escaped) : hn_render_put(r, &text.u.s->data[i], 1));
    }
    HN_TRY(hn_render_take_text(r, start, out));
    out->u.s->markup = true;
    return HN_OK;
}
