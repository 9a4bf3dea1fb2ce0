/* Methods of str that give a string or a place in one. */
#include "template/render.h"

#include <stdlib.h>

#define SELF (call->self.u.s)

static hn_status m_upper(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_str_case(r, SELF, HN_CASE_UPPER, out);
}
static hn_status m_lower(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_str_case(r, SELF, HN_CASE_LOWER, out);
}
static hn_status m_title(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_str_case(r, SELF, HN_CASE_TITLE, out);
}
static hn_status m_capitalize(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_str_case(r, SELF, HN_CASE_CAPITALIZE, out);
}
static hn_status m_swapcase(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_str_case(r, SELF, HN_CASE_SWAP, out);
}
static hn_status m_casefold(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_str_case(r, SELF, HN_CASE_FOLD, out);
}

static hn_status strip(hn_render *r, const hn_call *call, bool left, bool right, hn_tv *out) {
    const hn_tstr *chars = NULL;
    if (call->args[0].type != HN_TV_MISSING && call->args[0].type != HN_TV_NONE)
        HN_TRY(hn_arg_str(r, call->args[0], &chars));
    return hn_str_strip(r, SELF, chars, left, right, out);
}
static hn_status m_strip(hn_render *r, const hn_call *call, hn_tv *out) {
    return strip(r, call, true, true, out);
}
static hn_status m_lstrip(hn_render *r, const hn_call *call, hn_tv *out) {
    return strip(r, call, true, false, out);
}
static hn_status m_rstrip(hn_render *r, const hn_call *call, hn_tv *out) {
    return strip(r, call, false, true, out);
}

static bool starts(const hn_tstr *s, const hn_tstr *with, size_t start, size_t end) {
    return start <= end && with->n_bytes <= end - start &&
           !memcmp(s->data + start, with->data, with->n_bytes);
}
static bool ends(const hn_tstr *s, const hn_tstr *with, size_t start, size_t end) {
    return start <= end && with->n_bytes <= end - start &&
           !memcmp(s->data + end - with->n_bytes, with->data, with->n_bytes);
}

static hn_status m_removeprefix(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *prefix;
    HN_TRY(hn_arg_str(r, call->args[0], &prefix));
    size_t cut = starts(SELF, prefix, 0, SELF->n_bytes) ? prefix->n_bytes : 0;
    return hn_tstr_slice(r, SELF, cut, SELF->n_bytes, out);
}
static hn_status m_removesuffix(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *suffix;
    HN_TRY(hn_arg_str(r, call->args[0], &suffix));
    size_t cut = ends(SELF, suffix, 0, SELF->n_bytes) ? suffix->n_bytes : 0;
    return hn_tstr_slice(r, SELF, 0, SELF->n_bytes - cut, out);
}

/* The byte range that the optional arguments start and end ask for; *empty when start lies past
 * the end, where not even "" is found. */
static hn_status byte_range(hn_render *r, const hn_call *call, size_t *start, size_t *end,
                            bool *empty) {
    int64_t n = hn_tstr_chars(SELF), from, to;
    HN_TRY(hn_arg_int(r, call->args[1], 0, &from));
    HN_TRY(hn_arg_int(r, call->args[2], n, &to));
    from = from < 0 ? (from + n < 0 ? 0 : from + n) : from;
    to = to < 0 ? (to + n < 0 ? 0 : to + n) : to > n ? n : to;
    *empty = from > to;
    HN_TRY(hn_render_charge_scan(r, SELF->n_bytes));
    *start = *empty ? 0 : hn_tstr_offset(SELF, (size_t)from);
    *end = *empty ? 0 : hn_tstr_offset(SELF, (size_t)to);
    return HN_OK;
}

static hn_status affix(hn_render *r, const hn_call *call, bool at_start, hn_tv *out) {
    size_t start, end;
    bool empty, found = false;
    HN_TRY(byte_range(r, call, &start, &end, &empty));
    hn_tv one = call->args[0];
    const hn_tv *wanted = &one;
    uint32_t n = 1;
    if (one.type == HN_TV_TUPLE) {
        wanted = one.u.list->items;
        n = one.u.list->n;
    }
    for (uint32_t i = 0; i < n && !found; i++) {
        const hn_tstr *text;
        HN_TRY(hn_arg_str(r, wanted[i], &text));
        found = !empty && (at_start ? starts : ends)(SELF, text, start, end);
    }
    *out = hn_tv_bool(found);
    return HN_OK;
}
static hn_status m_startswith(hn_render *r, const hn_call *call, hn_tv *out) {
    return affix(r, call, true, out);
}
static hn_status m_endswith(hn_render *r, const hn_call *call, hn_tv *out) {
    return affix(r, call, false, out);
}

static hn_status find(hn_render *r, const hn_call *call, bool backwards, int64_t *out) {
    size_t start, end;
    bool empty;
    const hn_tstr *needle;
    HN_TRY(hn_arg_str(r, call->args[0], &needle));
    HN_TRY(byte_range(r, call, &start, &end, &empty));
    size_t at = empty ? SIZE_MAX : hn_str_find(SELF, needle, start, end, backwards);
    hn_tstr before = {
        .data = SELF->data, .n_bytes = (uint32_t)at, .n_chars = HN_TSTR_CHARS_UNKNOWN};
    *out = at == SIZE_MAX ? -1 : (int64_t)hn_tstr_chars(&before);
    return HN_OK;
}
static hn_status m_find(hn_render *r, const hn_call *call, hn_tv *out) {
    int64_t at;
    HN_TRY(find(r, call, false, &at));
    *out = hn_tv_int(at);
    return HN_OK;
}
static hn_status m_rfind(hn_render *r, const hn_call *call, hn_tv *out) {
    int64_t at;
    HN_TRY(find(r, call, true, &at));
    *out = hn_tv_int(at);
    return HN_OK;
}
static hn_status m_index(hn_render *r, const hn_call *call, hn_tv *out) {
    HN_TRY(m_find(r, call, out));
    return out->u.i < 0 ? hn_render_fail(r, "substring not found") : HN_OK;
}
static hn_status m_rindex(hn_render *r, const hn_call *call, hn_tv *out) {
    HN_TRY(m_rfind(r, call, out));
    return out->u.i < 0 ? hn_render_fail(r, "substring not found") : HN_OK;
}

static hn_status m_count(hn_render *r, const hn_call *call, hn_tv *out) {
    size_t start, end;
    bool empty;
    const hn_tstr *needle;
    int64_t n = 0;
    HN_TRY(hn_arg_str(r, call->args[0], &needle));
    HN_TRY(byte_range(r, call, &start, &end, &empty));
    if (!empty && needle->n_bytes == 0) {
        hn_tstr part = {.data = SELF->data + start,
                        .n_bytes = (uint32_t)(end - start),
                        .n_chars = HN_TSTR_CHARS_UNKNOWN};
        n = (int64_t)hn_tstr_chars(&part) + 1;
    } else if (!empty) {
        for (size_t at; (at = hn_str_find(SELF, needle, start, end, false)) != SIZE_MAX; n++)
            start = at + needle->n_bytes;
    }
    *out = hn_tv_int(n);
    return HN_OK;
}

static hn_status m_replace(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *old;
    hn_tv by = call->args[1];
    int64_t count;
    HN_TRY(hn_arg_str(r, call->args[0], &old));
    if (SELF->markup)
        HN_TRY(hn_tv_escape(r, by, &by));
    const hn_tstr *by_text;
    HN_TRY(hn_arg_str(r, by, &by_text));
    HN_TRY(hn_arg_int(r, call->args[2], -1, &count));
    return hn_str_replace(r, SELF, old, by_text, count, out);
}

/* --- padding ---------------------------------------------------------------------------------- */

static hn_status pad(hn_render *r, const hn_call *call, char align, hn_tv *out) {
    hn_format f = {.fill = ' ', .precision = -1, .align = align};
    HN_TRY(hn_arg_int(r, call->args[0], 0, &f.width));
    if (call->args[1].type != HN_TV_MISSING) {
        const hn_tstr *fill;
        size_t pos = 0;
        HN_TRY(hn_arg_str(r, call->args[1], &fill));
        if (hn_tstr_chars(fill) != 1)
            return hn_render_fail(r, "The fill character must be exactly one character long");
        f.fill = hn_uni_next(fill->data, fill->n_bytes, &pos);
    }
    size_t begin = r->text.size;
    int64_t gap = f.width - (int64_t)hn_tstr_chars(SELF);
    if (align == '^' && gap > 0 && gap % 2 && f.width % 2) {
        /* str.center puts the odd space on the left when the width is odd */
        hn_format left = f;
        left.width = f.width - gap / 2;
        left.align = '>';
        hn_tv half;
        HN_TRY(hn_format_text(r, SELF, &left));
        HN_TRY(hn_render_take_text(r, begin, &half));
        f.align = '<';
        HN_TRY(hn_format_text(r, half.u.s, &f));
    } else {
        HN_TRY(hn_format_text(r, SELF, &f));
    }
    HN_TRY(hn_render_take_text(r, begin, out));
    out->u.s->markup = SELF->markup;
    return HN_OK;
}
static hn_status m_center(hn_render *r, const hn_call *call, hn_tv *out) {
    return pad(r, call, '^', out);
}
static hn_status m_ljust(hn_render *r, const hn_call *call, hn_tv *out) {
    return pad(r, call, '<', out);
}
static hn_status m_rjust(hn_render *r, const hn_call *call, hn_tv *out) {
    return pad(r, call, '>', out);
}

static hn_status m_zfill(hn_render *r, const hn_call *call, hn_tv *out) {
    int64_t width;
    HN_TRY(hn_arg_int(r, call->args[0], 0, &width));
    bool sign = SELF->n_bytes && strchr("+-", SELF->data[0]) && SELF->data[0];
    hn_tv rest;
    HN_TRY(hn_tstr_slice(r, SELF, sign, SELF->n_bytes, &rest));
    size_t begin = r->text.size;
    HN_TRY(hn_render_put(r, SELF->data, sign));
    HN_TRY(hn_format_text(
        r, rest.u.s,
        &(hn_format){.fill = '0', .precision = -1, .align = '>', .width = width - sign}));
    return hn_render_take_text(r, begin, out);
}

static hn_status m_expandtabs(hn_render *r, const hn_call *call, hn_tv *out) {
    int64_t size, column = 0;
    size_t begin = r->text.size;
    HN_TRY(hn_arg_int(r, call->args[0], 8, &size));
    if (size > HN_FORMAT_MAX_WIDTH)
        return hn_render_fail(r, "a tab of %lld columns is too large", (long long)size);
    for (size_t pos = 0; pos < SELF->n_bytes;) {
        size_t start = pos;
        uint32_t c = hn_uni_next(SELF->data, SELF->n_bytes, &pos);
        if (c != '\t') {
            HN_TRY(hn_render_put(r, SELF->data + start, pos - start));
            column = c == '\n' || c == '\r' ? 0 : column + 1;
            continue;
        }
        int64_t spaces = size > 0 ? size - column % size : 0;
        HN_TRY(hn_render_charge(r, (size_t)spaces / 8 + 1));
        for (column += spaces; spaces > 0; spaces--)
            HN_TRY(hn_render_put(r, " ", 1));
    }
    return hn_render_take_text(r, begin, out);
}

const hn_tmethod HN_METHODS_TEXT[] = {
    {{"upper", "", 0, m_upper}},
    {{"lower", "", 0, m_lower}},
    {{"title", "", 0, m_title}},
    {{"capitalize", "", 0, m_capitalize}},
    {{"swapcase", "", 0, m_swapcase}},
    {{"casefold", "", 0, m_casefold}},
    {{"strip", "/", 0, m_strip}},
    {{"lstrip", "/", 0, m_lstrip}},
    {{"rstrip", "/", 0, m_rstrip}},
    {{"removeprefix", "/", 1, m_removeprefix}},
    {{"removesuffix", "/", 1, m_removesuffix}},
    {{"startswith", "/,/,/", 1, m_startswith}},
    {{"endswith", "/,/,/", 1, m_endswith}},
    {{"find", "/,/,/", 1, m_find}},
    {{"rfind", "/,/,/", 1, m_rfind}},
    {{"index", "/,/,/", 1, m_index}},
    {{"rindex", "/,/,/", 1, m_rindex}},
    {{"count", "/,/,/", 1, m_count}},
    {{"replace", "/,/,/", 2, m_replace}},
    {{"center", "/,/", 1, m_center}},
    {{"ljust", "/,/", 1, m_ljust}},
    {{"rjust", "/,/", 1, m_rjust}},
    {{"zfill", "/", 1, m_zfill}},
    {{"expandtabs", "tabsize", 0, m_expandtabs}},
    {{NULL, NULL, 0, NULL}},
};
