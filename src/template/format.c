/* `format % args`, str.format and format specifications. */
#include "base/text.h"
#include "template/render.h"

/* --- % ---------------------------------------------------------------------------------------- */

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

/* --- format specifications -------------------------------------------------------------------- */

static bool is_align(uint32_t c) {
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static bool parse_spec(const char *spec, size_t n, hn_format *f, bool *zero) {
    size_t pos = 0, next = 0;
    bool filled = false;
    *zero = false;
    if (n) {
        uint32_t first = hn_uni_next(spec, n, &next);
        if (next < n && is_align((uint8_t)spec[next])) {
            filled = true;
            f->fill = first;
            f->align = spec[next];
            pos = next + 1;
        } else if (is_align(first)) {
            f->align = (char)first;
            pos = next;
        }
    }
    if (pos < n && strchr("+- ", spec[pos]) && spec[pos]) {
        f->sign = spec[pos] == '-' ? 0 : spec[pos];
        pos++;
    }
    if (pos < n && spec[pos] == '#')
        f->alternate = ++pos != 0;
    if (pos < n && spec[pos] == '0') {
        *zero = !f->align;
        if (!filled)
            f->fill = '0';
        pos++;
    }
    for (; pos < n && spec[pos] >= '0' && spec[pos] <= '9'; pos++)
        if (f->width <= HN_FORMAT_MAX_WIDTH)
            f->width = f->width * 10 + (spec[pos] - '0');
    if (pos < n && (spec[pos] == ',' || spec[pos] == '_'))
        f->group = spec[pos++];
    if (pos < n && spec[pos] == '.') {
        size_t digits = ++pos;
        f->precision = 0;
        for (; pos < n && spec[pos] >= '0' && spec[pos] <= '9'; pos++)
            if (f->precision <= HN_FORMAT_MAX_WIDTH)
                f->precision = f->precision * 10 + (spec[pos] - '0');
        if (pos == digits)
            return false;
    }
    if (pos < n)
        f->type = spec[pos++];
    return pos == n;
}

hn_status hn_format_spec(hn_render *r, hn_tv v, const char *spec, size_t n_spec) {
    hn_format f = {.fill = ' ', .precision = -1};
    bool zero;
    if (!n_spec)
        return hn_tv_write(r, v, false);
    if (v.type != HN_TV_STR && !hn_tv_is_number(v))
        return hn_render_fail(r, "unsupported format string passed to %s.__format__",
                              hn_tv_type_name(v));
    if (!parse_spec(spec, n_spec, &f, &zero))
        return hn_render_fail(r, "Invalid format specifier");
    if (v.type == HN_TV_STR) {
        if ((f.type && f.type != 's') || f.sign || f.align == '=' || f.alternate || f.group)
            return hn_render_fail(r, "this format isn't for strings");
        return hn_format_text(r, v.u.s, &f);
    }
    if (zero)
        f.align = '=';
    const char *types = v.type == HN_TV_FLOAT ? "eEfFgGn%" : "dbcoxXneEfFgG%";
    if (f.type && !strchr(types, f.type))
        return hn_render_fail(r, "Unknown format code '%c' for object of type '%s'", f.type,
                              hn_tv_type_name(v));
    if (v.type != HN_TV_FLOAT && f.precision >= 0 && (!f.type || strchr("dbcoxXn", f.type)))
        return hn_render_fail(r, "Precision not allowed in integer format specifier");
    if (f.type == 'n')
        f.type = v.type == HN_TV_FLOAT ? 'g' : 'd';
    return hn_format_number(r, v, &f);
}

/* --- str.format ------------------------------------------------------------------------------- */

typedef struct braces {
    hn_render *r;
    const hn_targs *args;
    int64_t next; /* automatic numbering; -1 once fields are numbered by hand */
    bool by_hand;
    bool markup;
} braces;

static hn_status format_text(braces *b, const char *text, size_t n, int depth);

static hn_status field_argument(braces *b, const char *name, size_t n, hn_tv *out) {
    int64_t index = 0;
    bool number = true;
    for (size_t i = 0; i < n; i++) {
        number &= name[i] >= '0' && name[i] <= '9';
        index = index > INT32_MAX ? index : index * 10 + (name[i] - '0');
    }
    if (number) {
        bool automatic = n == 0;
        if (automatic ? b->by_hand : b->next > 0)
            return hn_render_fail(b->r, "cannot switch between automatic and manual numbering");
        b->by_hand |= !automatic;
        index = automatic ? b->next++ : index;
        if (index >= b->args->n_pos)
            return hn_render_fail(b->r, "Replacement index %lld out of range", (long long)index);
        *out = b->args->pos[index];
        return HN_OK;
    }
    for (uint32_t i = 0; i < b->args->n_kw; i++)
        if (b->args->kw[i].name->n_bytes == n && !memcmp(b->args->kw[i].name->data, name, n)) {
            *out = b->args->kw[i].value;
            return HN_OK;
        }
    return hn_render_fail(b->r, "str.format misses the argument '%.*s'", (int)n, name);
}

/* "name.attribute[item]" */
static hn_status field_value(braces *b, const char *name, size_t n, hn_tv *out) {
    size_t pos = 0;
    while (pos < n && name[pos] != '.' && name[pos] != '[')
        pos++;
    HN_TRY(field_argument(b, name, pos, out));
    while (pos < n) {
        bool item = name[pos] == '[';
        size_t start = ++pos;
        while (pos < n && (item ? name[pos] != ']' : name[pos] != '.' && name[pos] != '['))
            pos++;
        if (pos == start || (item && pos == n))
            return hn_render_fail(b->r, "Empty attribute in format string");
        hn_tv key;
        bool number = item;
        HN_TRY(hn_tstr_new(b->r, name + start, pos - start, &key));
        for (size_t i = start; i < pos; i++)
            number &= name[i] >= '0' && name[i] <= '9';
        if (number) {
            int64_t index = 0;
            HN_TRY(hn_tv_parse_int(b->r, key.u.s, 10, &number, &index));
            key = hn_tv_int(index);
        }
        HN_TRY(item ? hn_attr_item(b->r, *out, key, out) : hn_attr_get(b->r, *out, key.u.s, out));
        pos += item;
    }
    return HN_OK;
}

static hn_status format_field(braces *b, const char *text, size_t n, int depth) {
    size_t end = 0, spec_start = n;
    char conversion = 0;
    for (int brackets = 0; end < n; end++) {
        brackets += text[end] == '[' ? 1 : text[end] == ']' ? -1 : 0;
        if (brackets <= 0 && (text[end] == '!' || text[end] == ':'))
            break;
    }
    size_t pos = end;
    if (pos < n && text[pos] == '!') {
        conversion = pos + 1 < n ? text[pos + 1] : 0;
        pos += 2;
        if (!conversion || !strchr("rsa", conversion) || (pos < n && text[pos] != ':'))
            return hn_render_fail(b->r, "bad conversion in format string");
    }
    if (pos < n)
        spec_start = pos + 1;
    hn_tv v, spec;
    HN_TRY(field_value(b, text, end, &v));
    if (conversion)
        HN_TRY(conversion == 's' ? hn_tv_to_str(b->r, v, &v) : hn_tv_repr(b->r, v, &v));
    size_t start = b->r->text.size;
    HN_TRY(format_text(b, text + spec_start, n - spec_start, depth - 1));
    HN_TRY(hn_render_take_text(b->r, start, &spec));
    HN_TRY(hn_format_spec(b->r, v, spec.u.s->data, spec.u.s->n_bytes));
    if (!b->markup)
        return HN_OK;
    HN_TRY(hn_render_take_text(b->r, start, &v));
    HN_TRY(hn_tv_escape(b->r, v, &v));
    return hn_tv_write(b->r, v, false);
}

static hn_status format_text(braces *b, const char *text, size_t n, int depth) {
    if (depth < 0)
        return hn_render_fail(b->r, "Max string recursion exceeded");
    for (size_t pos = 0; pos < n;) {
        char c = text[pos];
        if (c != '{' && c != '}') {
            HN_TRY(hn_render_put(b->r, &c, 1));
            pos++;
            continue;
        }
        if (pos + 1 < n && text[pos + 1] == c) {
            HN_TRY(hn_render_put(b->r, &c, 1));
            pos += 2;
            continue;
        }
        if (c == '}')
            return hn_render_fail(b->r, "Single '}' encountered in format string");
        size_t start = ++pos;
        for (int open = 1; open; pos++) {
            if (pos >= n)
                return hn_render_fail(b->r, "expected '}' before end of string");
            open += text[pos] == '{' ? 1 : text[pos] == '}' ? -1 : 0;
        }
        HN_TRY(format_field(b, text + start, pos - 1 - start, depth));
    }
    return HN_OK;
}

hn_status hn_format_braces(hn_render *r, const hn_tstr *format, const hn_targs *args, hn_tv *out) {
    braces b = {.r = r, .args = args, .markup = format->markup};
    size_t start = r->text.size;
    HN_TRY(hn_render_charge_scan(r, format->n_bytes * 8));
    HN_TRY(format_text(&b, format->data, format->n_bytes, 2));
    HN_TRY(hn_render_take_text(r, start, out));
    out->u.s->markup = format->markup;
    return HN_OK;
}
