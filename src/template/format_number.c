/* Padding, and numbers as Python's formatting shows them. */
#include "base/text.h"
#include "template/render.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGITS_MAX = 1000 };

static hn_status put_fill(hn_render *r, uint32_t fill, int64_t n) {
    char utf8[4];
    size_t length = hn_utf8_encode(fill ? fill : ' ', utf8);
    HN_TRY(hn_render_charge(r, n > 0 ? (size_t)n / 8 : 0));
    for (; n > 0; n--)
        HN_TRY(hn_render_put(r, utf8, length));
    return HN_OK;
}

static hn_status check_sizes(hn_render *r, const hn_format *f) {
    if (f->width > HN_FORMAT_MAX_WIDTH)
        return hn_render_fail(r, "a format's width is too large");
    return HN_OK;
}

/* `sign` and `body` with padding before, between or after. */
static hn_status put_padded(hn_render *r, const char *sign, const char *body, size_t n_body,
                            size_t n_chars, char align, const hn_format *f) {
    int64_t pad = f->width - (int64_t)(strlen(sign) + n_chars);
    pad = pad > 0 ? pad : 0;
    int64_t before = align == '>' ? pad : align == '^' ? pad / 2 : 0;
    int64_t middle = align == '=' ? pad : 0;
    HN_TRY(put_fill(r, f->fill, before));
    HN_TRY(hn_render_put(r, sign, strlen(sign)));
    HN_TRY(put_fill(r, f->fill, middle));
    HN_TRY(hn_render_put(r, body, n_body));
    return put_fill(r, f->fill, pad - before - middle);
}

hn_status hn_format_text(hn_render *r, const hn_tstr *s, const hn_format *f) {
    HN_TRY(check_sizes(r, f));
    size_t n = hn_tstr_chars(s);
    if (f->precision >= 0 && (uint64_t)f->precision < n)
        n = (size_t)f->precision;
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    return put_padded(r, "", s->data, hn_tstr_offset(s, n), n, f->align ? f->align : '<', f);
}

/* Puts separators into a run of digits: every `every`-th from the right. */
static void group_digits(char *digits, char group, int every) {
    size_t n = strspn(digits, "0123456789abcdefABCDEF"), tail = strlen(digits + n);
    size_t marks = n ? (n - 1) / (size_t)every : 0;
    memmove(digits + n + marks, digits + n, tail + 1);
    for (size_t i = n, to = n + marks, count = 0; i > 0; i--) {
        digits[--to] = digits[i - 1];
        if (++count % (size_t)every == 0 && i > 1)
            digits[--to] = group;
    }
}

static void write_base(uint64_t value, unsigned base, char *out) {
    char reversed[70];
    size_t n = 0;
    do
        reversed[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    for (size_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    out[n] = 0;
}

static hn_status put_number(hn_render *r, bool negative, const char *prefix, char *digits,
                            const hn_format *f) {
    char sign[8];
    snprintf(sign, sizeof sign, "%s%s", negative ? "-" : (const char[]){f->sign, 0}, prefix);
    bool binary = strchr("boxX", f->type) && f->type;
    if (f->group)
        group_digits(digits, f->group, binary ? 4 : 3);
    return put_padded(r, sign, digits, strlen(digits), strlen(digits), f->align ? f->align : '>',
                      f);
}

static hn_status format_int(hn_render *r, int64_t value, const hn_format *f) {
    char digits[DIGITS_MAX];
    const char *prefix = "";
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    unsigned base = f->type == 'b' ? 2 : f->type == 'o' ? 8 : (f->type | 32) == 'x' ? 16 : 10;
    write_base(magnitude, base, digits);
    if (f->type == 'X')
        for (char *p = digits; *p; p++)
            *p = (char)toupper((unsigned char)*p);
    if (f->alternate && base != 10)
        prefix = f->type == 'b' ? "0b" : f->type == 'o' ? "0o" : f->type == 'x' ? "0x" : "0X";
    return put_number(r, value < 0, prefix, digits, f);
}

/* The digits of a magnitude in `type`, with what a missing type means. */
static void write_float(double value, const hn_format *f, char *out, size_t max) {
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    char pattern[8];
    if (!f->type && f->precision < 0) {
        hn_tv_float_text(value, out);
        return;
    }
    char type = f->type == '%' ? 'f' : f->type ? f->type : 'g';
    snprintf(pattern, sizeof pattern, f->alternate ? "%%#.*%c" : "%%.*%c", type);
    snprintf(out, max, pattern, precision, f->type == '%' ? value * 100 : value);
    size_t used = strlen(out);
    if (f->type == '%')
        snprintf(out + used, max - used, "%%");
    if (!f->type && isfinite(value)) { /* as g, but a float shows that it is one */
        char *e = strchr(out, 'e');
        int digits = (int)strspn(out, "0123456789");
        if (!e && !strchr(out, '.') && digits >= precision && precision > 0)
            snprintf(out, max, "%.*e", precision - 1, value);
        else if (!e && !strchr(out, '.'))
            snprintf(out + used, max - used, ".0");
    }
}

static hn_status format_float(hn_render *r, double value, const hn_format *f) {
    char digits[DIGITS_MAX];
    if (f->precision > HN_FORMAT_MAX_PRECISION)
        return hn_render_fail(r, "a format's precision is too large");
    write_float(isnan(value) ? value : fabs(value), f, digits, sizeof digits - 2);
    return put_number(r, signbit(value) && !isnan(value), "", digits, f);
}

hn_status hn_format_number(hn_render *r, hn_tv v, const hn_format *f) {
    HN_TRY(check_sizes(r, f));
    if (f->type == 'c') {
        int64_t c = hn_tv_index(v);
        char utf8[4];
        if (c < 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
            return hn_render_fail(r, "%%c arg not in range(0x110000)");
        size_t n = hn_utf8_encode((uint32_t)c, utf8);
        return put_padded(r, "", utf8, n, 1, f->align ? f->align : '<', f);
    }
    bool whole = !f->type || strchr("dboxX", f->type);
    if (v.type != HN_TV_FLOAT && whole)
        return format_int(r, hn_tv_index(v), f);
    return format_float(r, v.type == HN_TV_FLOAT ? v.u.f : (double)hn_tv_index(v), f);
}
