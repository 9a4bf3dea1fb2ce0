/* `format % args`. */
#include "base/text.h"
#include "template/render.h"

#include <string.h>

typedef struct percent {
    hn_render *r;
    const hn_tstr *format;
    size_t pos;
    hn_tv args;
    uint32_t used; /* of a tuple, or 1 when the single value was taken */
} percent;

static bool is_mapping(hn_tv v) {
    return v.type == HN_TV_DICT || v.type == HN_TV_LIST || v.type == HN_TV_UNDEFINED ||
           v.type == HN_TV_RANGE;
}

static hn_status next_arg(percent *p, hn_tv *out) {
    uint32_t n = p->args.type == HN_TV_TUPLE ? p->args.u.list->n : 1;
    if (p->used >= n)
        return hn_render_fail(p->r, "not enough arguments for format string");
    *out = p->args.type == HN_TV_TUPLE ? p->args.u.list->items[p->used] : p->args;
    p->used++;
    return HN_OK;
}

static char peek(const percent *p) {
    return p->pos < p->format->n_bytes ? p->format->data[p->pos] : 0;
}

static hn_status percent_size(percent *p, int64_t *out, bool *minus) {
    if (peek(p) == '*') {
        hn_tv v;
        p->pos++;
        HN_TRY(next_arg(p, &v));
        if (!hn_tv_is_index(v))
            return hn_render_fail(p->r, "* wants int");
        *out = hn_tv_index(v);
        if (*out < 0 && minus) {
            *minus = true;
            *out = *out < -HN_FORMAT_MAX_WIDTH ? HN_FORMAT_MAX_WIDTH + 1 : -*out;
        }
        return HN_OK;
    }
    for (*out = 0; peek(p) >= '0' && peek(p) <= '9'; p->pos++)
        if (*out <= HN_FORMAT_MAX_WIDTH)
            *out = *out * 10 + (peek(p) - '0');
    return HN_OK;
}

static hn_status percent_key(percent *p, hn_tv *out) {
    size_t start = ++p->pos;
    for (int depth = 1; depth; p->pos++) {
        if (p->pos >= p->format->n_bytes)
            return hn_render_fail(p->r, "incomplete format key");
        depth += p->format->data[p->pos] == '(' ? 1 : p->format->data[p->pos] == ')' ? -1 : 0;
    }
    if (p->args.type != HN_TV_DICT)
        return hn_render_fail(p->r, "format requires a mapping");
    hn_tv *slot;
    HN_TRY(hn_tdict_find_text(p->r, p->args.u.dict, p->format->data + start, p->pos - 1 - start,
                              &slot));
    if (!slot)
        return hn_render_fail(p->r, "the format's key is missing in the mapping");
    *out = *slot;
    return HN_OK;
}

static hn_status percent_text(percent *p, hn_tv v, const hn_format *f) {
    hn_tv text;
    HN_TRY(f->type == 's' ? hn_tv_to_str(p->r, v, &text) : hn_tv_repr(p->r, v, &text));
    if (p->format->markup)
        HN_TRY(hn_tv_escape(p->r, text, &text));
    hn_format padded = *f;
    padded.align = f->align == '<' ? '<' : '>';
    padded.fill = ' ';
    return hn_format_text(p->r, text.u.s, &padded);
}

static hn_status percent_value(percent *p, hn_tv v, hn_format *f) {
    if (strchr("sra", f->type))
        return percent_text(p, v, f);
    if (f->type == 'c' && v.type == HN_TV_STR && hn_tstr_chars(v.u.s) == 1) {
        f->precision = -1;
        f->align = f->align == '<' ? '<' : '>';
        f->fill = ' ';
        return hn_format_text(p->r, v.u.s, f);
    }
    bool whole = strchr("diuoxXc", f->type) != NULL;
    if (v.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(p->r, v);
    if (!hn_tv_is_number(v) || (v.type == HN_TV_FLOAT && whole && strchr("oxXc", f->type)))
        return hn_render_fail(p->r, "%%%c format: a number is required, not %s", f->type,
                              hn_tv_type_name(v));
    if (strchr("iu", f->type))
        f->type = 'd';
    if (whole && v.type == HN_TV_FLOAT) {
        int64_t i;
        if (!hn_tv_float_to_int(v.u.f, &i))
            return hn_render_fail(p->r, "cannot convert this float to an integer");
        v = hn_tv_int(i);
    }
    if (f->type == 'c' && !f->align)
        f->align = '>';
    if (whole && f->precision > 0 && f->type != 'c') {
        /* a precision is a least number of digits: zeros after the sign */
        size_t start = p->r->text.size;
        hn_format inner = *f;
        hn_tv text;
        bool negative = hn_tv_index(v) < 0;
        inner.align = '=';
        inner.fill = '0';
        if (f->precision > HN_FORMAT_MAX_PRECISION)
            return hn_render_fail(p->r, "a format's precision is too large");
        inner.width = f->precision + (negative || f->sign) + 2 * (f->alternate && f->type != 'd');
        HN_TRY(hn_format_number(p->r, v, &inner));
        HN_TRY(hn_render_take_text(p->r, start, &text));
        hn_format outer = *f;
        outer.precision = -1;
        outer.align = f->align == '<' ? '<' : '>';
        outer.fill = ' ';
        return hn_format_text(p->r, text.u.s, &outer);
    }
    return hn_format_number(p->r, v, f);
}

static hn_status percent_field(percent *p) {
    hn_format f = {.fill = ' ', .width = 0, .precision = -1};
    hn_tv v = {0};
    size_t start = p->pos;
    bool keyed = peek(p) == '(', minus = false, zero = false;
    if (keyed)
        HN_TRY(percent_key(p, &v));
    for (;; p->pos++) {
        char c = peek(p);
        if (c == '-')
            minus = true;
        else if (c == '0')
            zero = true;
        else if (c == '#')
            f.alternate = true;
        else if (c == '+' || (c == ' ' && f.sign != '+'))
            f.sign = c;
        else if (c != ' ')
            break;
    }
    HN_TRY(percent_size(p, &f.width, &minus));
    if (peek(p) == '.') {
        p->pos++;
        HN_TRY(percent_size(p, &f.precision, NULL));
        f.precision = f.precision < 0 ? 0 : f.precision;
    }
    while (peek(p) && strchr("hlL", peek(p)))
        p->pos++;
    f.type = peek(p);
    p->pos++;
    f.align = minus ? '<' : zero ? '=' : 0;
    if (f.align == '=')
        f.fill = '0';
    if (p->pos == start + 1 && f.type == '%')
        return hn_render_put(p->r, "%", 1);
    if (!f.type || !strchr("diuoxXeEfFgGcrsa%", f.type))
        return hn_render_fail(p->r, "unsupported or incomplete format character");
    if (!keyed)
        HN_TRY(next_arg(p, &v));
    if (f.type == '%') /* with a width or a flag it takes an argument, and drops it */
        return hn_render_put(p->r, "%", 1);
    return percent_value(p, v, &f);
}

hn_status hn_format_percent(hn_render *r, const hn_tstr *format, hn_tv args, hn_tv *out) {
    percent p = {.r = r, .format = format, .args = args};
    size_t start = r->text.size;
    HN_TRY(hn_render_charge_scan(r, format->n_bytes));
    if (args.type == HN_TV_TUPLE)
        HN_TRY(hn_tlist_open(r, args.u.list));
    while (p.pos < format->n_bytes) {
        size_t from = p.pos;
        const char *mark = memchr(format->data + from, '%', format->n_bytes - from);
        p.pos = mark ? (size_t)(mark - format->data) : format->n_bytes;
        HN_TRY(hn_render_put(r, format->data + from, p.pos - from));
        if (!mark)
            break;
        p.pos++;
        HN_TRY(percent_field(&p));
    }
    uint32_t n = args.type == HN_TV_TUPLE ? args.u.list->n : is_mapping(args) ? 0 : 1;
    if (p.used < n)
        return hn_render_fail(r, "not all arguments converted during string formatting");
    HN_TRY(hn_render_take_text(r, start, out));
    out->u.s->markup = format->markup;
    return HN_OK;
}
