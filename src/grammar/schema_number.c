/* Numbers: whole ones between exact bounds; others without bounds, or with bounds on a grid of
 * 1e-6, where a decimal and the double that a reader makes of it are in the same order. */
#include "grammar/schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const int64_t WHOLE_MAX = 999999999999999999; /* 18 digits: fits an int64 and a reader's */
enum { FRACTION_DIGITS = 6, GRID = 1000000, GRID_MAX_WHOLE = 1000000000 };

static void digits(hn_grammar *g, int32_t from, int64_t lo, int64_t hi, size_t width, int32_t to) {
    char low[24], high[24];
    snprintf(low, sizeof low, "%0*lld", (int)width, (long long)lo);
    snprintf(high, sizeof high, "%0*lld", (int)width, (long long)hi);
    hn_build_between(g, from, low, high, width, '0', '9', to);
}

/* Whole numbers from lo to hi, 0 <= lo, without needless zeros. */
static void whole_range(hn_grammar *g, int32_t from, int64_t lo, int64_t hi, int32_t to) {
    int64_t first = 0, last = 9;
    for (size_t width = 1; first <= hi; width++) {
        if (last >= lo)
            digits(g, from, lo > first ? lo : first, hi < last ? hi : last, width, to);
        if (last >= WHOLE_MAX)
            break;
        first = last + 1;
        last = last * 10 + 9;
    }
}

static int32_t minus(hn_grammar *g, int32_t from) {
    int32_t next = hn_build_node(g);
    hn_build_bytes(g, from, '-', '-', next);
    return next;
}

/* Fractions from lo to hi in millionths, written with 1 to 6 digits, or not at all when 0 is one.
 */
static void fraction_range(hn_grammar *g, int32_t from, int64_t lo, int64_t hi, int32_t to) {
    int32_t point = hn_build_node(g);
    hn_build_bytes(g, from, '.', '.', point);
    if (lo == 0)
        hn_build_free(g, from, to);
    int64_t unit = GRID / 10;
    for (size_t width = 1; width <= FRACTION_DIGITS; width++, unit /= 10) {
        int64_t first = (lo + unit - 1) / unit, last = hi / unit;
        if (first <= last)
            digits(g, point, first, last, width, to);
    }
}

/* Numbers from lo to hi in millionths, 0 <= lo. */
static void grid_range(hn_grammar *g, int32_t from, int64_t lo, int64_t hi, int32_t to) {
    int64_t first = lo / GRID, last = hi / GRID;
    if (lo > hi)
        return;
    int32_t at = hn_build_node(g);
    whole_range(g, from, first, first, at);
    fraction_range(g, at, lo % GRID, first == last ? hi % GRID : GRID - 1, to);
    if (first == last)
        return;
    at = hn_build_node(g);
    whole_range(g, from, last, last, at);
    fraction_range(g, at, 0, hi % GRID, to);
    if (last - first > 1) {
        at = hn_build_node(g);
        whole_range(g, from, first + 1, last - 1, at);
        fraction_range(g, at, 0, GRID - 1, to);
    }
}

/* digits{0,n} from `from` to `to`. */
static void some_digits(hn_grammar *g, int32_t from, int n, int32_t to) {
    for (int i = 0; i < n; i++) {
        int32_t next = hn_build_node(g);
        hn_build_free(g, from, to);
        hn_build_bytes(g, from, '0', '9', next);
        from = next;
    }
    hn_build_free(g, from, to);
}

/* At most as many digits as a double keeps, and exponents that can't overflow it. */
void hn_schema_plain_number(hn_grammar *g, int32_t from, int32_t to) {
    enum { WHOLE = 15, FRACTION = 15, EXPONENT = 2 };
    int32_t sign = hn_build_node(g), lead = hn_build_node(g), whole = hn_build_node(g),
            point = hn_build_node(g), fraction = hn_build_node(g), part = hn_build_node(g),
            e = hn_build_node(g), e_sign = hn_build_node(g), exponent = hn_build_node(g);
    hn_build_free(g, from, sign);
    hn_build_bytes(g, from, '-', '-', sign);
    hn_build_bytes(g, sign, '0', '0', whole);
    hn_build_bytes(g, sign, '1', '9', lead);
    some_digits(g, lead, WHOLE - 1, whole);
    hn_build_free(g, whole, part);
    hn_build_bytes(g, whole, '.', '.', point);
    hn_build_bytes(g, point, '0', '9', fraction);
    some_digits(g, fraction, FRACTION - 1, part);
    hn_build_free(g, part, to);
    hn_build_bytes(g, part, 'e', 'e', e);
    hn_build_bytes(g, part, 'E', 'E', e);
    hn_build_free(g, e, e_sign);
    hn_build_bytes(g, e, '+', '+', e_sign);
    hn_build_bytes(g, e, '-', '-', e_sign);
    hn_build_bytes(g, e_sign, '0', '9', exponent);
    some_digits(g, exponent, EXPONENT - 1, to);
}

typedef struct limit {
    const char *keyword;
    bool exclusive, upper;
} limit;
static const limit LIMITS[] = {{"minimum", false, false},
                               {"exclusiveMinimum", true, false},
                               {"maximum", false, true},
                               {"exclusiveMaximum", true, true}};
enum { N_LIMITS = 4 };

/* The whole number nearest to the limit on its inner side. */
static int64_t whole_limit(const json_t *value, const limit *l) {
    int64_t x;
    bool on_it = true;
    if (json_is_integer(value)) {
        x = json_integer_value(value);
    } else {
        double v = json_real_value(value), r = l->upper ? floor(v) : ceil(v);
        on_it = r == v;
        x = r > 2e18 ? 2 * (WHOLE_MAX + 1) : r < -2e18 ? -2 * (WHOLE_MAX + 1) : (int64_t)r;
    }
    if (x > 2 * WHOLE_MAX || x < -2 * WHOLE_MAX)
        x = x > 0 ? 2 * WHOLE_MAX : -2 * WHOLE_MAX;
    if (l->exclusive && on_it)
        x += l->upper ? -1 : 1;
    return x;
}

/* The same in millionths. */
static int64_t grid_limit(const json_t *value, const limit *l) {
    double v = json_number_value(value);
    if (fabs(v) > 2.0 * GRID_MAX_WHOLE)
        return (v > 0 ? 2 : -2) * (int64_t)GRID_MAX_WHOLE * GRID;
    int64_t x = llround(v * GRID);
    /* x / 1e6 is the double that a reader makes of the decimal: both are exact, the quotient is
     * rounded once. */
    for (int i = 0; i < 2; i++) {
        double back = (double)x / GRID;
        if (l->upper && (back > v || (l->exclusive && back == v)))
            x--;
        if (!l->upper && (back < v || (l->exclusive && back == v)))
            x++;
    }
    return x;
}

static hn_status read_limits(hn_schema *s, const json_t *schema, bool whole, int64_t *lo,
                             int64_t *hi, bool *limited) {
    const int64_t most = whole ? WHOLE_MAX : (int64_t)GRID_MAX_WHOLE * GRID;
    *lo = -most;
    *hi = most;
    *limited = false;
    for (int i = 0; i < N_LIMITS; i++) {
        const json_t *value = json_object_get(schema, LIMITS[i].keyword);
        if (!value)
            continue;
        if (!json_is_number(value))
            return hn_schema_wrong(s, LIMITS[i].keyword, "a number");
        int64_t x = whole ? whole_limit(value, &LIMITS[i]) : grid_limit(value, &LIMITS[i]);
        *limited = true;
        if (LIMITS[i].upper)
            *hi = x < *hi ? x : *hi;
        else
            *lo = x > *lo ? x : *lo;
        if (*lo > *hi)
            return hn_schema_refuse(s, LIMITS[i].keyword,
                                    whole ? "no whole number of 18 digits is left"
                                          : "no number below 1e9 with 6 digits behind the point is "
                                            "left");
    }
    return HN_OK;
}

hn_status hn_schema_number(hn_schema *s, const json_t *schema, bool whole, int32_t from,
                           int32_t to) {
    void (*range)(hn_grammar *, int32_t, int64_t, int64_t, int32_t) =
        whole ? whole_range : grid_range;
    const json_t *multiple = json_object_get(schema, "multipleOf");
    int64_t lo, hi;
    bool limited;
    if (multiple && !(whole && json_is_number(multiple) && json_number_value(multiple) == 1))
        return hn_schema_refuse(s, "multipleOf", "it can't be honoured");
    HN_TRY(read_limits(s, schema, whole, &lo, &hi, &limited));
    if (!whole && !limited) {
        hn_schema_plain_number(s->g, from, to);
        return HN_OK;
    }
    if (lo < 0)
        range(s->g, minus(s->g, from), hi < 0 ? -hi : 1, -lo, to);
    if (hi >= 0)
        range(s->g, from, lo > 0 ? lo : 0, hi, to);
    return HN_OK;
}
