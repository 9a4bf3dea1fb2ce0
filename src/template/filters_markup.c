/* Filters about HTML and URLs: rare in chat templates, but part of the language. */
#include "base/text.h"
#include "template/render.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static hn_status f_escape(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_tv_escape(r, call->self, out);
}

static hn_status plain_copy(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv text;
    HN_TRY(hn_tv_to_str(r, call->self, &text));
    return hn_tstr_slice(r, text.u.s, 0, text.u.s->n_bytes, out);
}

static hn_status f_forceescape(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv text;
    HN_TRY(plain_copy(r, call, &text));
    text.u.s->markup = false;
    return hn_tv_escape(r, text, out);
}

static hn_status f_safe(hn_render *r, const hn_call *call, hn_tv *out) {
    HN_TRY(plain_copy(r, call, out));
    out->u.s->markup = true;
    return HN_OK;
}

/* --- striptags -------------------------------------------------------------------------------- */

static hn_status put_without_tags(hn_render *r, const hn_tstr *s) {
    static const hn_tstr OPEN = {.data = "<", .n_bytes = 1}, CLOSE = {.data = ">", .n_bytes = 1},
                         COMMENT = {.data = "<!--", .n_bytes = 4},
                         COMMENT_END = {.data = "-->", .n_bytes = 3};
    size_t pos = 0, n = s->n_bytes, start;
    while ((start = hn_str_find(s, &OPEN, pos, n, false)) != SIZE_MAX) {
        bool comment =
            hn_str_find(s, &COMMENT, start, start + 4 < n ? start + 4 : n, false) == start;
        const hn_tstr *wanted = comment ? &COMMENT_END : &CLOSE;
        size_t end = hn_str_find(s, wanted, comment ? start + 4 : start, n, false);
        if (end == SIZE_MAX)
            break;
        HN_TRY(hn_render_put(r, s->data + pos, start - pos));
        pos = end + wanted->n_bytes;
    }
    return hn_render_put(r, s->data + pos, n - pos);
}

static uint32_t entity_value(const char *name, size_t n) {
    static const struct {
        const char *name;
        uint32_t c;
    } NAMED[] = {{"amp", '&'},      {"lt", '<'},     {"gt", '>'},       {"quot", '"'},
                 {"apos", '\''},    {"nbsp", 0xa0},  {"copy", 0xa9},    {"reg", 0xae},
                 {"laquo", 0xab},   {"raquo", 0xbb}, {"mdash", 0x2014}, {"ndash", 0x2013},
                 {"hellip", 0x2026}};
    for (size_t i = 0; i < sizeof NAMED / sizeof *NAMED; i++)
        if (strlen(NAMED[i].name) == n && !memcmp(NAMED[i].name, name, n))
            return NAMED[i].c;
    if (n < 2 || name[0] != '#')
        return 0;
    char digits[16] = "";
    bool hex = name[1] == 'x' || name[1] == 'X';
    size_t length = n - 1 - hex;
    if (length == 0 || length >= sizeof digits || !isxdigit((unsigned char)name[1 + hex]))
        return 0;
    memcpy(digits, name + 1 + hex, length);
    char *end;
    unsigned long value = strtoul(digits, &end, hex ? 16 : 10);
    bool fits = !*end && value && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
    return fits ? (uint32_t)value : 0;
}

static hn_status put_unescaped(hn_render *r, const hn_tstr *s) {
    for (size_t pos = 0; pos < s->n_bytes;) {
        if (s->data[pos] == '&') {
            size_t left = s->n_bytes - pos - 1;
            const char *semicolon = memchr(s->data + pos + 1, ';', left < 12 ? left : 12);
            size_t n = semicolon ? (size_t)(semicolon - s->data) - pos - 1 : 0;
            uint32_t c = semicolon ? entity_value(s->data + pos + 1, n) : 0;
            if (c) {
                char utf8[4];
                HN_TRY(hn_render_put(r, utf8, hn_utf8_encode(c, utf8)));
                pos += n + 2;
                continue;
            }
        }
        HN_TRY(hn_render_put(r, s->data + pos++, 1));
    }
    return HN_OK;
}

static hn_status f_striptags(hn_render *r, const hn_call *call, hn_tv *out) {
    static const hn_tstr SPACE = {.data = " ", .n_bytes = 1, .n_chars = 1};
    hn_tv text;
    hn_tlist *words;
    size_t begin = r->text.size;
    HN_TRY(hn_tv_to_str(r, call->self, &text));
    HN_TRY(hn_render_charge_scan(r, text.u.s->n_bytes * 4));
    HN_TRY(put_without_tags(r, text.u.s));
    HN_TRY(hn_render_take_text(r, begin, &text));
    HN_TRY(hn_str_words(r, text.u.s, -1, &words));
    HN_TRY(hn_str_join(r, &SPACE, words, &text));
    HN_TRY(put_unescaped(r, text.u.s));
    return hn_render_take_text(r, begin, out);
}

/* --- urlencode, xmlattr ----------------------------------------------------------------------- */

static hn_status put_quoted(hn_render *r, hn_tv v, bool query) {
    hn_tv text;
    char escape[8];
    HN_TRY(hn_tv_to_str(r, v, &text));
    HN_TRY(hn_render_charge_scan(r, text.u.s->n_bytes * 4));
    for (uint32_t i = 0; i < text.u.s->n_bytes; i++) {
        unsigned char c = (unsigned char)text.u.s->data[i];
        bool plain = c < 0x80 && (isalnum(c) || (c && strchr("_.-~", c)) || (c == '/' && !query));
        snprintf(escape, sizeof escape, plain ? "%c" : "%%%02X", c);
        if (query && c == ' ')
            memcpy(escape, "+", 2);
        HN_TRY(hn_render_put(r, escape, strlen(escape)));
    }
    return HN_OK;
}

static hn_status f_urlencode(hn_render *r, const hn_call *call, hn_tv *out) {
    size_t begin = r->text.size;
    hn_tv pairs = call->self;
    hn_tlist *list;
    if (pairs.type == HN_TV_STR || !hn_tv_is_iterable(pairs)) {
        HN_TRY(put_quoted(r, pairs, false));
        return hn_render_take_text(r, begin, out);
    }
    hn_tview items = {.kind = HN_VIEW_ITEMS, .dict = pairs.u.dict};
    if (pairs.type == HN_TV_DICT)
        pairs = (hn_tv){.type = HN_TV_VIEW, .u.view = &items};
    HN_TRY(hn_tv_to_list(r, pairs, &list));
    for (uint32_t i = 0; i < list->n; i++) {
        hn_tlist *pair;
        HN_TRY(hn_tv_to_list(r, list->items[i], &pair));
        if (pair->n != 2)
            return hn_render_fail(r, "urlencode wants pairs");
        HN_TRY(hn_render_put(r, "&", i > 0));
        HN_TRY(put_quoted(r, pair->items[0], true));
        HN_TRY(hn_render_put(r, "=", 1));
        HN_TRY(put_quoted(r, pair->items[1], true));
    }
    return hn_render_take_text(r, begin, out);
}

static hn_status put_attribute(hn_render *r, const hn_tentry *entry) {
    hn_tv key, value;
    if (entry->key.type != HN_TV_STR)
        return hn_render_fail(r, "xmlattr wants strings as keys");
    for (uint32_t i = 0; i < entry->key.u.s->n_bytes; i++)
        if (strchr(" \t\n\r\f\v/>=", entry->key.u.s->data[i]))
            return hn_render_fail(r, "Invalid character in attribute name");
    HN_TRY(hn_tv_escape(r, entry->key, &key));
    HN_TRY(hn_tv_escape(r, entry->value, &value));
    HN_TRY(hn_tv_write(r, key, false));
    HN_TRY(hn_render_put(r, "=\"", 2));
    HN_TRY(hn_tv_write(r, value, false));
    return hn_render_put(r, "\"", 1);
}

static hn_status f_xmlattr(hn_render *r, const hn_call *call, hn_tv *out) {
    bool space = true, first = true;
    if (call->args[0].type != HN_TV_MISSING)
        HN_TRY(hn_tv_truth(r, call->args[0], &space));
    if (call->self.type != HN_TV_DICT)
        return hn_render_fail(r, "xmlattr wants a mapping");
    hn_tdict *dict = call->self.u.dict;
    size_t begin = r->text.size;
    HN_TRY(hn_tdict_open(r, dict));
    for (uint32_t i = 0; i < dict->n; i++) {
        hn_tv_type type = dict->entries[i].value.type;
        if (type == HN_TV_NONE || type == HN_TV_UNDEFINED)
            continue;
        HN_TRY(hn_render_put(r, " ", !first || space));
        HN_TRY(put_attribute(r, &dict->entries[i]));
        first = false;
    }
    return hn_render_take_text(r, begin, out);
}

const hn_builtin HN_FILTERS_MARKUP[] = {
    {"escape", "", 0, f_escape},
    {"e", "", 0, f_escape},
    {"forceescape", "", 0, f_forceescape},
    {"safe", "", 0, f_safe},
    {"striptags", "", 0, f_striptags},
    {"urlencode", "", 0, f_urlencode},
    {"xmlattr", "autospace", 0, f_xmlattr},
    {NULL, NULL, 0, NULL},
};
