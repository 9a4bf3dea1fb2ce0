/* str.format and format specifications. */
#include "base/text.h"
#include "template/render.h"

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
    for (size_t i = 0; i < n && number; i++) {
        number = name[i] >= '0' && name[i] <= '9';
        if (number && index <= INT32_MAX)
            index = index * 10 + (name[i] - '0');
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
