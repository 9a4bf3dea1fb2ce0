/* Arithmetic with Python's rules. Integers are 64 bits wide; what doesn't fit is an error. */
#include "base/text.h"
#include "template/render.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static hn_status overflow(hn_render *r) {
    return hn_render_fail(r, "the integer doesn't fit in 64 bits");
}

bool hn_tv_float_to_int(double f, int64_t *out) {
    if (!(f > -9223372036854775809.0 && f < 9223372036854775808.0))
        return false;
    *out = (int64_t)f;
    return true;
}

static double to_double(hn_tv v) {
    return v.type == HN_TV_FLOAT ? v.u.f : (double)hn_tv_index(v);
}

/* --- text to numbers and back ----------------------------------------------------------------- */

/* Strips space and turns any decimal digits into ASCII; false when it is too long for a number. */
static bool number_text(const hn_tstr *s, char *out, size_t max) {
    size_t pos = 0, end = s->n_bytes, n = 0, p;
    while (pos < end && (p = pos, hn_uni_is_space(hn_uni_next(s->data, end, &p))))
        pos = p;
    while (end > pos && hn_uni_is_space(hn_uni_before(s->data, end, &p)))
        end = p;
    while (pos < end) {
        uint32_t c = hn_uni_next(s->data, end, &pos);
        int digit = hn_uni_decimal_value(c);
        if (n + 1 >= max || c == 0)
            return false;
        out[n++] = digit >= 0 ? (char)('0' + digit) : c < 0x80 ? (char)c : '?';
    }
    out[n] = 0;
    return n > 0;
}

static int digit_value(char c) {
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                : 99;
}

hn_status hn_tv_parse_int(hn_render *r, const hn_tstr *s, int base, bool *ok, int64_t *out) {
    char text[200];
    *ok = false;
    if (s->n_bytes >= sizeof text || !number_text(s, text, sizeof text))
        return HN_OK;
    const char *p = text;
    bool negative = *p == '-', after_digit = false;
    p += *p == '-' || *p == '+';
    char prefix = p[0] == '0' ? (char)(p[1] | 32) : 0;
    int marked = prefix == 'x' ? 16 : prefix == 'o' ? 8 : prefix == 'b' ? 2 : 0;
    if (marked && (base == 0 || base == marked)) {
        base = marked;
        p += 2;
        p += *p == '_';
    } else if (base == 0) {
        base = 10;
        if (*p == '0' && strspn(p, "0_") != strlen(p))
            return HN_OK; /* int("010", 0) is refused */
    }
    uint64_t value = 0;
    for (; *p; p++) {
        if (*p == '_' && after_digit) {
            after_digit = false;
            continue;
        }
        int digit = digit_value(*p);
        if (digit >= base)
            return HN_OK;
        if (__builtin_mul_overflow(value, (uint64_t)base, &value) ||
            __builtin_add_overflow(value, (uint64_t)digit, &value))
            return overflow(r);
        after_digit = true;
    }
    if (!after_digit)
        return HN_OK;
    if (value > (uint64_t)INT64_MAX + negative)
        return overflow(r);
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    *ok = true;
    return HN_OK;
}

bool hn_tv_parse_float(const hn_tstr *s, double *out) {
    char text[400], plain[400];
    if (s->n_bytes >= sizeof text || !number_text(s, text, sizeof text))
        return false;
    size_t n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '_') { /* only between digits */
            if (p == text || p[-1] < '0' || p[-1] > '9' || p[1] < '0' || p[1] > '9')
                return false;
            continue;
        }
        plain[n++] = *p;
    }
    plain[n] = 0;
    const char *p = plain + (*plain == '-' || *plain == '+');
    if (strcasecmp(p, "inf") == 0 || strcasecmp(p, "infinity") == 0 || strcasecmp(p, "nan") == 0) {
        *out = strtod(plain, NULL);
        return true;
    }
    if (strspn(p, "0123456789.eE+-") != strlen(p)) /* strtod would take hexadecimal, too */
        return false;
    char *end;
    *out = strtod(plain, &end);
    return end != plain && !*end;
}

void hn_tv_float_text(double f, char out[HN_TV_FLOAT_TEXT]) {
    if (isnan(f) || isinf(f)) {
        snprintf(out, HN_TV_FLOAT_TEXT, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char digits[HN_TV_FLOAT_TEXT];
    int precision = 0;
    do /* the fewest digits that read back the same */
        snprintf(digits, sizeof digits, "%.*e", precision, f);
    while (strtod(digits, NULL) != f && precision++ < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - exponent;
        snprintf(out, HN_TV_FLOAT_TEXT, "%.*f", decimals > 1 ? decimals : 1, f);
        return;
    }
    *strchr(digits, 'e') = 0;
    snprintf(out, HN_TV_FLOAT_TEXT, "%.30se%c%02d", digits, exponent < 0 ? '-' : '+',
             abs(exponent) % 1000);
}

/* --- arithmetic ------------------------------------------------------------------------------- */

static hn_status divide_by_zero(hn_render *r) {
    return hn_render_fail(r, "division by zero");
}

static hn_status power(hn_render *r, hn_tv a, hn_tv b, hn_tv *out) {
    if (hn_tv_is_index(a) && hn_tv_is_index(b) && hn_tv_index(b) >= 0) {
        int64_t base = hn_tv_index(a), n = hn_tv_index(b), result = 1;
        if (base == 0 || base == 1 || base == -1) {
            *out = hn_tv_int(n == 0 ? 1 : base == -1 && n % 2 == 0 ? 1 : base);
            return HN_OK;
        }
        for (; n; n--) /* at most 63 turns before it overflows */
            if (__builtin_mul_overflow(result, base, &result))
                return overflow(r);
        *out = hn_tv_int(result);
        return HN_OK;
    }
    double x = to_double(a), y = to_double(b);
    if (x == 0 && y < 0)
        return hn_render_fail(r, "0.0 cannot be raised to a negative power");
    if (x < 0 && isfinite(x) && isfinite(y) && y != floor(y))
        return hn_render_fail(r, "a negative number to a fractional power is complex");
    double result = pow(x, y);
    if (isinf(result) && isfinite(x) && isfinite(y))
        return hn_render_fail(r, "the result of ** is too large");
    *out = hn_tv_float(result);
    return HN_OK;
}

static hn_status arith_ints(hn_render *r, char op, int64_t a, int64_t b, hn_tv *out) {
    int64_t result;
    bool over = false;
    switch (op) {
    case '+':
        over = __builtin_add_overflow(a, b, &result);
        break;
    case '-':
        over = __builtin_sub_overflow(a, b, &result);
        break;
    case '*':
        over = __builtin_mul_overflow(a, b, &result);
        break;
    case '/':
        if (b == 0)
            return divide_by_zero(r);
        *out = hn_tv_float(llabs(a / 2) < 1ll << 52 && llabs(b / 2) < 1ll << 52
                               ? (double)a / (double)b
                               : (double)((long double)a / (long double)b));
        return HN_OK;
    default: /* // and %: towards minus infinity, the sign of the divisor */
        if (b == 0)
            return divide_by_zero(r);
        if (b == -1) {
            over = op == 'f' && a == INT64_MIN;
            result = op == 'f' && !over ? -a : 0;
            break;
        }
        bool adjust = a % b != 0 && (a < 0) != (b < 0);
        result = op == 'f' ? a / b - adjust : a % b + (adjust ? b : 0);
    }
    if (over)
        return overflow(r);
    *out = hn_tv_int(result);
    return HN_OK;
}

static double float_mod(double a, double b) {
    double m = fmod(a, b);
    if (m == 0)
        return copysign(0.0, b);
    return (m < 0) != (b < 0) ? m + b : m;
}

static hn_status arith_floats(hn_render *r, char op, double a, double b, hn_tv *out) {
    if (b == 0 && (op == '/' || op == 'f' || op == '%'))
        return divide_by_zero(r);
    switch (op) {
    case '+':
        *out = hn_tv_float(a + b);
        return HN_OK;
    case '-':
        *out = hn_tv_float(a - b);
        return HN_OK;
    case '*':
        *out = hn_tv_float(a * b);
        return HN_OK;
    case '/':
        *out = hn_tv_float(a / b);
        return HN_OK;
    case '%':
        *out = hn_tv_float(float_mod(a, b));
        return HN_OK;
    default: {
        double whole = (a - float_mod(a, b)) / b;
        double floored = floor(whole);
        if (whole - floored > 0.5)
            floored += 1;
        *out = hn_tv_float(whole == 0 ? copysign(0.0, a / b) : floored);
        return HN_OK;
    }
    }
}

/* --- sequences -------------------------------------------------------------------------------- */

static hn_status join_lists(hn_render *r, hn_tv a, hn_tv b, hn_tv *out) {
    HN_TRY(hn_tlist_open(r, a.u.list));
    HN_TRY(hn_tlist_open(r, b.u.list));
    hn_tlist *list;
    uint32_t n_a = a.u.list->n, n_b = b.u.list->n;
    HN_TRY(hn_render_charge(r, (size_t)n_a + n_b));
    HN_TRY(hn_tlist_new(r, n_a + n_b, &list));
    if (n_a)
        memcpy(list->items, a.u.list->items, n_a * sizeof(hn_tv));
    if (n_b)
        memcpy(list->items + n_a, b.u.list->items, n_b * sizeof(hn_tv));
    list->n = n_a + n_b;
    *out = (hn_tv){.type = a.type, .u.list = list};
    return HN_OK;
}

static hn_status repeat_text(hn_render *r, const hn_tstr *s, int64_t times, hn_tv *out) {
    size_t n = s->n_bytes, total;
    if (times < 0 || n == 0)
        times = 0;
    if (__builtin_mul_overflow(n, (size_t)times, &total) || total > HN_RENDER_MAX_ARENA_BYTES)
        return hn_render_fail(r, "a string repeated %lld times is too long", (long long)times);
    void *data;
    HN_TRY(hn_render_alloc(r, total + 1, 1, &data));
    for (int64_t i = 0; i < times; i++)
        memcpy((char *)data + (size_t)i * n, s->data, n);
    HN_TRY(hn_render_charge_scan(r, total));
    HN_TRY(hn_tstr_borrow(r, data, total, out));
    out->u.s->markup = s->markup;
    return HN_OK;
}

static hn_status repeat_list(hn_render *r, hn_tv v, int64_t times, hn_tv *out) {
    HN_TRY(hn_tlist_open(r, v.u.list));
    size_t n = v.u.list->n, total;
    if (times < 0 || n == 0)
        times = 0;
    if (__builtin_mul_overflow(n, (size_t)times, &total) ||
        total > HN_RENDER_MAX_ARENA_BYTES / sizeof(hn_tv))
        return hn_render_fail(r, "a list repeated %lld times is too long", (long long)times);
    hn_tlist *list;
    HN_TRY(hn_render_charge(r, total));
    HN_TRY(hn_tlist_new(r, (uint32_t)total, &list));
    for (; list->n < total; list->n += (uint32_t)n)
        memcpy(list->items + list->n, v.u.list->items, n * sizeof(hn_tv));
    *out = (hn_tv){.type = v.type, .u.list = list};
    return HN_OK;
}

static hn_status add_text(hn_render *r, hn_tv a, hn_tv b, hn_tv *out) {
    if (a.u.s->markup != b.u.s->markup) { /* markup escapes the other side */
        HN_TRY(hn_tv_escape(r, a, &a));
        HN_TRY(hn_tv_escape(r, b, &b));
    }
    return hn_tstr_concat(r, a.u.s, b.u.s, out);
}

static hn_status arith_sequences(hn_render *r, char op, hn_tv a, hn_tv b, hn_tv *out) {
    bool list_a = a.type == HN_TV_LIST || a.type == HN_TV_TUPLE;
    if (op == '+' && a.type == HN_TV_STR && b.type == HN_TV_STR)
        return add_text(r, a, b, out);
    if (op == '+' && list_a && a.type == b.type)
        return join_lists(r, a, b, out);
    if (op == '*' && hn_tv_is_index(a)) {
        hn_tv swap = a;
        a = b;
        b = swap;
        list_a = a.type == HN_TV_LIST || a.type == HN_TV_TUPLE;
    }
    if (op == '*' && hn_tv_is_index(b) && a.type == HN_TV_STR)
        return repeat_text(r, a.u.s, hn_tv_index(b), out);
    if (op == '*' && hn_tv_is_index(b) && list_a)
        return repeat_list(r, a, hn_tv_index(b), out);
    if (op == '+' && a.type == HN_TV_STR)
        return hn_render_fail(r, "can only concatenate str (not \"%s\") to str",
                              hn_tv_type_name(b));
    return hn_render_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'",
                          op == 'f'   ? "//"
                          : op == 'p' ? "**"
                                      : (const char[]){op, 0},
                          hn_tv_type_name(a), hn_tv_type_name(b));
}

hn_status hn_tv_arith(hn_render *r, char op, hn_tv a, hn_tv b, hn_tv *out) {
    if (hn_tv_is_index(a) && hn_tv_is_index(b) && op != 'p')
        return arith_ints(r, op, hn_tv_index(a), hn_tv_index(b), out);
    if (hn_tv_is_number(a) && hn_tv_is_number(b))
        return op == 'p' ? power(r, a, b, out)
                         : arith_floats(r, op, to_double(a), to_double(b), out);
    if (op == '%' && a.type == HN_TV_STR)
        return hn_format_percent(r, a.u.s, b, out);
    if (a.type == HN_TV_UNDEFINED || b.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, a.type == HN_TV_UNDEFINED ? a : b);
    return arith_sequences(r, op, a, b, out);
}

hn_status hn_tv_plus(hn_render *r, hn_tv v, hn_tv *out) {
    if (v.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, v);
    if (!hn_tv_is_number(v))
        return hn_render_fail(r, "bad operand type for unary +: '%s'", hn_tv_type_name(v));
    *out = v.type == HN_TV_FLOAT ? v : hn_tv_int(hn_tv_index(v));
    return HN_OK;
}

hn_status hn_tv_negate(hn_render *r, hn_tv v, hn_tv *out) {
    if (v.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, v);
    if (!hn_tv_is_number(v))
        return hn_render_fail(r, "bad operand type for unary -: '%s'", hn_tv_type_name(v));
    if (v.type == HN_TV_FLOAT)
        *out = hn_tv_float(-v.u.f);
    else if (hn_tv_index(v) == INT64_MIN)
        return overflow(r);
    else
        *out = hn_tv_int(-hn_tv_index(v));
    return HN_OK;
}
