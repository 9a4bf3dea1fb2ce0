/* Filters on text. */
#include "template/render.h"

#include <stdio.h>

static hn_status text_of(hn_render *r, const hn_call *call, const hn_tstr **out) {
    hn_tv text;
    HN_TRY(hn_tv_to_str(r, call->self, &text));
    *out = text.u.s;
    return HN_OK;
}

static hn_status change_case(hn_render *r, const hn_call *call, hn_case mode, hn_tv *out) {
    const hn_tstr *s;
    HN_TRY(text_of(r, call, &s));
    return hn_str_case(r, s, mode, out);
}
static hn_status f_upper(hn_render *r, const hn_call *call, hn_tv *out) {
    return change_case(r, call, HN_CASE_UPPER, out);
}
static hn_status f_lower(hn_render *r, const hn_call *call, hn_tv *out) {
    return change_case(r, call, HN_CASE_LOWER, out);
}
static hn_status f_capitalize(hn_render *r, const hn_call *call, hn_tv *out) {
    return change_case(r, call, HN_CASE_CAPITALIZE, out);
}

static bool starts_word(uint32_t c) {
    return hn_uni_is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
}

/* jinja2's title: words begin after space, -, (, {, [ and <, not after any other letter. */
static hn_status f_title(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *s;
    HN_TRY(text_of(r, call, &s));
    size_t begin = r->text.size;
    HN_TRY(hn_render_charge_scan(r, s->n_bytes * 4));
    for (size_t pos = 0; pos < s->n_bytes;) {
        size_t start = pos, end = pos;
        bool separator = starts_word(hn_uni_next(s->data, s->n_bytes, &end));
        size_t first = end;
        for (pos = end; pos < s->n_bytes; pos = end)
            if (starts_word(hn_uni_next(s->data, s->n_bytes, &end)) != separator)
                break;
        if (separator) {
            HN_TRY(hn_render_put(r, s->data + start, pos - start));
            continue;
        }
        hn_tstr head = {.data = s->data + start, .n_bytes = (uint32_t)(first - start)};
        hn_tstr tail = {.data = s->data + first, .n_bytes = (uint32_t)(pos - first)};
        hn_tv part;
        HN_TRY(hn_str_case(r, &head, HN_CASE_UPPER, &part));
        HN_TRY(hn_tv_write(r, part, false));
        HN_TRY(hn_str_case(r, &tail, HN_CASE_LOWER, &part));
        HN_TRY(hn_tv_write(r, part, false));
    }
    return hn_render_take_text(r, begin, out);
}

static hn_status f_trim(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *s, *chars = NULL;
    HN_TRY(text_of(r, call, &s));
    if (call->args[0].type != HN_TV_MISSING && call->args[0].type != HN_TV_NONE)
        HN_TRY(hn_arg_str(r, call->args[0], &chars));
    return hn_str_strip(r, s, chars, true, true, out);
}

static hn_status f_replace(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *s;
    hn_tv old, by;
    int64_t count;
    HN_TRY(text_of(r, call, &s));
    HN_TRY(hn_tv_to_str(r, call->args[0], &old));
    HN_TRY(hn_tv_to_str(r, call->args[1], &by));
    HN_TRY(hn_arg_int(r, call->args[2], -1, &count));
    HN_TRY(hn_str_replace(r, s, old.u.s, by.u.s, count, out));
    out->u.s->markup = false;
    return HN_OK;
}

static hn_status f_string(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_tv_to_str(r, call->self, out);
}

static hn_status f_center(hn_render *r, const hn_call *call, hn_tv *out) {
    bool unsafe;
    hn_tv text, width = call->args[0];
    HN_TRY(hn_tv_to_str(r, call->self, &text));
    if (width.type == HN_TV_MISSING)
        width = hn_tv_int(80);
    const hn_tmethod *center = hn_method_find(text, "center", 6, &unsafe);
    return hn_render_apply(r, &center->def, text, &(hn_targs){.pos = &width, .n_pos = 1}, out);
}

/* --- indent ----------------------------------------------------------------------------------- */

static hn_status indent_text(hn_render *r, hn_tv width, const hn_tstr **out) {
    hn_tv text = width;
    if (width.type != HN_TV_STR) {
        hn_tv space;
        int64_t n;
        HN_TRY(hn_arg_int(r, width, 4, &n));
        HN_TRY(hn_tv_from_text(r, " ", &space));
        HN_TRY(hn_tv_arith(r, '*', space, hn_tv_int(n), &text));
    }
    *out = text.u.s;
    return HN_OK;
}

static hn_status f_indent(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *s, *indent;
    bool first, blank;
    hn_tlist *lines;
    hn_tv whole, newline;
    if (call->self.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, call->self);
    HN_TRY(hn_arg_str(r, call->self, &s));
    HN_TRY(indent_text(r, call->args[0], &indent));
    HN_TRY(hn_tv_truth(r, call->args[1], &first));
    HN_TRY(hn_tv_truth(r, call->args[2], &blank));
    HN_TRY(hn_tv_from_text(r, "\n", &newline));
    HN_TRY(hn_tstr_concat(r, s, newline.u.s, &whole));
    HN_TRY(hn_str_lines(r, whole.u.s, false, &lines));
    size_t begin = r->text.size;
    for (uint32_t i = 0; i < lines->n; i++) {
        const hn_tstr *line = lines->items[i].u.s;
        if (i)
            HN_TRY(hn_render_put(r, "\n", 1));
        if (i ? blank || line->n_bytes : first)
            HN_TRY(hn_render_put(r, indent->data, indent->n_bytes));
        HN_TRY(hn_render_put(r, line->data, line->n_bytes));
    }
    HN_TRY(hn_render_take_text(r, begin, out));
    out->u.s->markup = s->markup;
    return HN_OK;
}

static hn_status f_truncate(hn_render *r, const hn_call *call, hn_tv *out) {
    enum { LENGTH = 255, LEEWAY = 5 }; /* jinja2's defaults */
    const hn_tstr *s, *end;
    hn_tv end_value = call->args[2], kept;
    int64_t length, leeway, n_self;
    bool kill, has;
    HN_TRY(hn_arg_int(r, call->args[0], LENGTH, &length));
    HN_TRY(hn_tv_truth(r, call->args[1], &kill));
    if (end_value.type == HN_TV_MISSING)
        HN_TRY(hn_tv_from_text(r, "...", &end_value));
    HN_TRY(hn_arg_str(r, end_value, &end));
    HN_TRY(hn_arg_int(r, call->args[3], LEEWAY, &leeway));
    int64_t n_end = hn_tstr_chars(end);
    if (length < n_end || leeway < 0)
        return hn_render_fail(r, "truncate: expected length >= %lld and leeway >= 0",
                              (long long)n_end);
    HN_TRY(hn_tv_length(r, call->self, &has, &n_self));
    if (has && n_self <= length + leeway) { /* any sized value that is short enough */
        *out = call->self;
        return HN_OK;
    }
    HN_TRY(hn_arg_str(r, call->self, &s));
    size_t cut = hn_tstr_offset(s, (size_t)(length - n_end));
    if (!kill) {
        static const hn_tstr SPACE = {.data = " ", .n_bytes = 1, .n_chars = 1};
        size_t space = hn_str_find(s, &SPACE, 0, cut, true);
        cut = space == SIZE_MAX ? cut : space;
    }
    HN_TRY(hn_tstr_slice(r, s, 0, cut, &kept));
    return hn_tstr_concat(r, kept.u.s, end, out);
}

static bool is_word(uint32_t c) {
    return c == '_' || hn_uni_is_alpha(c) || hn_uni_is_decimal(c) || hn_uni_is_digit(c) ||
           hn_uni_is_numeric(c);
}

static hn_status f_wordcount(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *s;
    bool inside = false;
    int64_t n = 0;
    HN_TRY(text_of(r, call, &s));
    HN_TRY(hn_render_charge_scan(r, s->n_bytes * 4));
    for (size_t pos = 0; pos < s->n_bytes;) {
        bool word = is_word(hn_uni_next(s->data, s->n_bytes, &pos));
        n += word && !inside;
        inside = word;
    }
    *out = hn_tv_int(n);
    return HN_OK;
}

static hn_status f_format(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *s;
    const hn_targs *raw = call->raw;
    hn_tv args;
    HN_TRY(text_of(r, call, &s));
    if (raw->n_pos && raw->n_kw)
        return hn_render_fail(r, "can't handle positional and keyword arguments at the same time");
    if (raw->n_kw) {
        hn_tdict *dict;
        HN_TRY(hn_tdict_new(r, &dict));
        for (uint32_t i = 0; i < raw->n_kw; i++)
            HN_TRY(hn_tdict_put(r, dict, hn_tv_str((hn_tstr *)raw->kw[i].name), raw->kw[i].value));
        args = hn_tv_dict(dict);
    } else {
        hn_tlist *list;
        HN_TRY(hn_tlist_new(r, raw->n_pos, &list));
        for (uint32_t i = 0; i < raw->n_pos; i++)
            HN_TRY(hn_tlist_push(r, list, raw->pos[i]));
        args = hn_tv_tuple(list);
    }
    return hn_format_percent(r, s, args, out);
}

static hn_status f_filesizeformat(hn_render *r, const hn_call *call, hn_tv *out) {
    static const char PREFIXES[] = "kMGTPEZY";
    bool binary;
    double bytes = 0, unit;
    char text[64];
    HN_TRY(hn_tv_truth(r, call->args[0], &binary));
    if (call->self.type == HN_TV_STR ? !hn_tv_parse_float(call->self.u.s, &bytes)
                                     : !hn_tv_is_number(call->self))
        return hn_render_fail(r, "filesizeformat wants a number");
    if (call->self.type != HN_TV_STR)
        bytes = call->self.type == HN_TV_FLOAT ? call->self.u.f : (double)hn_tv_index(call->self);
    double base = binary ? 1024 : 1000;
    if (bytes == 1) {
        snprintf(text, sizeof text, "1 Byte");
    } else if (bytes < base) {
        snprintf(text, sizeof text, "%lld Bytes", (long long)bytes);
    } else {
        int i = 0;
        for (unit = base * base; bytes >= unit && i < 7; i++)
            unit *= base;
        snprintf(text, sizeof text, "%.1f %c%s", base * bytes / unit,
                 binary && i == 0 ? 'K' : PREFIXES[i], binary ? "iB" : "B");
    }
    return hn_tstr_new(r, text, strlen(text), out);
}

static hn_status f_unsupported(hn_render *r, const hn_call *call, hn_tv *out) {
    (void)call, (void)out;
    return hn_render_fail(r, "the filters random, urlize, pprint and wordwrap aren't supported");
}

const hn_builtin HN_FILTERS_TEXT[] = {
    {"trim", "chars", 0, f_trim},
    {"upper", "", 0, f_upper},
    {"lower", "", 0, f_lower},
    {"capitalize", "", 0, f_capitalize},
    {"title", "", 0, f_title},
    {"replace", "old,new,count", 2, f_replace},
    {"string", "", 0, f_string},
    {"center", "width", 0, f_center},
    {"indent", "width,first,blank", 0, f_indent},
    {"truncate", "length,killwords,end,leeway", 0, f_truncate},
    {"wordcount", "", 0, f_wordcount},
    {"format", NULL, 0, f_format},
    {"filesizeformat", "binary", 0, f_filesizeformat},
    {"random", NULL, 0, f_unsupported},
    {"urlize", NULL, 0, f_unsupported},
    {"pprint", NULL, 0, f_unsupported},
    {"wordwrap", NULL, 0, f_unsupported},
    {NULL, NULL, 0, NULL},
};
