/* Character classes and case mappings as Python's str has them, over utf8proc; utf8proc maps one
 * character to one, so the full upper-case mappings stand in a table. */
#include "base/text.h"
#include "template/ast.h"

#include <utf8proc.h>

uint32_t hn_uni_next(const char *text, size_t n_bytes, size_t *pos) {
    uint8_t first = (uint8_t)text[*pos];
    if (first < 0x80) {
        (*pos)++;
        return first;
    }
    uint32_t c = 0xfffd;
    size_t n = hn_utf8_decode(text + *pos, n_bytes - *pos, &c);
    *pos += n ? n : 1;
    return c;
}

uint32_t hn_uni_before(const char *text, size_t end, size_t *start) {
    size_t p = end - 1;
    while (p > 0 && ((uint8_t)text[p] & 0xc0) == 0x80)
        p--;
    *start = p;
    return hn_uni_next(text, end, &p);
}

bool hn_uni_is_space(uint32_t c) {
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
    return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
           c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool hn_uni_is_line_end(uint32_t c) {
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

static utf8proc_category_t category(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c);
}

bool hn_uni_is_printable(uint32_t c) {
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return false;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return true;
    }
}

bool hn_uni_is_alpha(uint32_t c) {
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool hn_uni_is_decimal(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_ND;
}

bool hn_uni_is_digit(uint32_t c) {
    return hn_uni_is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
           (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) ||
           (c >= 0x2460 && c <= 0x2468) || (c >= 0x2474 && c <= 0x247c) ||
           (c >= 0x2488 && c <= 0x2490) || c == 0x24ea || (c >= 0x24f5 && c <= 0x24fd) ||
           c == 0x24ff || (c >= 0x2776 && c <= 0x277e) || (c >= 0x2780 && c <= 0x2788) ||
           (c >= 0x278a && c <= 0x2792);
}

bool hn_uni_is_numeric(uint32_t c) {
    /* the everyday ideographs that have a numeric value */
    static const uint32_t IDEOGRAPHS[] = {0x4e00, 0x4e8c, 0x4e09, 0x56db, 0x4e94, 0x516d, 0x4e03,
                                          0x516b, 0x4e5d, 0x5341, 0x767e, 0x5343, 0x4e07, 0x4ebf,
                                          0x5146, 0x58f9, 0x8d30, 0x53c1, 0x8086, 0x4f0d, 0x9646,
                                          0x67d2, 0x634c, 0x7396, 0x62fe, 0x4f70, 0x4edf, 0x842c};
    for (size_t i = 0; i < sizeof IDEOGRAPHS / sizeof *IDEOGRAPHS; i++)
        if (c == IDEOGRAPHS[i])
            return true;
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool hn_uni_is_upper(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216f) ||
           (c >= 0x24b6 && c <= 0x24cf) || (c >= 0x1f130 && c <= 0x1f149) ||
           (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

bool hn_uni_is_lower(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LL || c == 0xaa || c == 0xba ||
           (c >= 0x2b0 && c <= 0x2b8) || c == 0x2c0 || c == 0x2c1 || (c >= 0x2e0 && c <= 0x2e4) ||
           c == 0x345 || c == 0x37a || (c >= 0x1d2c && c <= 0x1d6a) || c == 0x1d78 ||
           (c >= 0x1d9b && c <= 0x1dbf) || c == 0x2071 || c == 0x207f ||
           (c >= 0x2090 && c <= 0x209c) || (c >= 0x2170 && c <= 0x217f) ||
           (c >= 0x24d0 && c <= 0x24e9);
}

bool hn_uni_is_title(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_LT;
}

bool hn_uni_is_name_start(uint32_t c) {
    if (c < 0x80)
        return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return hn_uni_is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
}

bool hn_uni_is_name_part(uint32_t c) {
    if (c < 0x80)
        return hn_uni_is_name_start(c) || (c >= '0' && c <= '9');
    utf8proc_category_t k = category(c);
    return hn_uni_is_name_start(c) || k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC ||
           k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_PC || c == 0xb7;
}

int hn_uni_decimal_value(uint32_t c) {
    if (c < 0x80)
        return c >= '0' && c <= '9' ? (int)(c - '0') : -1;
    if (!hn_uni_is_decimal(c))
        return -1;
    uint32_t zero = c; /* decimal digits stand in runs of ten that start at a zero */
    while (c - zero < 9 && hn_uni_is_decimal(zero - 1))
        zero--;
    if (c >= 0x1d7ce && c <= 0x1d7ff) /* five runs without a gap */
        return (int)((c - 0x1d7ce) % 10);
    return (int)(c - zero);
}

/* Unicode's SpecialCasing.txt, unconditional: character, upper case, title case. */
typedef struct special {
    uint32_t c;
    uint32_t upper[3], title[3];
} special;

static const special SPECIAL[] = {
#include "template/special_casing.h"
};

static const special *find_special(uint32_t c) {
    size_t low = 0, high = sizeof SPECIAL / sizeof *SPECIAL;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (SPECIAL[mid].c == c)
            return &SPECIAL[mid];
        if (SPECIAL[mid].c < c)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static int copy_out(const uint32_t from[3], uint32_t out[3]) {
    int n = 0;
    while (n < 3 && from[n]) {
        out[n] = from[n];
        n++;
    }
    return n;
}

int hn_uni_upper(uint32_t c, uint32_t out[3]) {
    const special *s = c < 0x80 ? NULL : find_special(c);
    if (s)
        return copy_out(s->upper, out);
    out[0] = c < 0x80 ? (c >= 'a' && c <= 'z' ? c - 32 : c)
                      : (uint32_t)utf8proc_toupper((utf8proc_int32_t)c);
    return 1;
}

int hn_uni_title(uint32_t c, uint32_t out[3]) {
    const special *s = c < 0x80 ? NULL : find_special(c);
    if (s)
        return copy_out(s->title, out);
    if (c < 0x80)
        return hn_uni_upper(c, out);
    out[0] = (uint32_t)utf8proc_totitle((utf8proc_int32_t)c);
    return 1;
}

int hn_uni_lower(uint32_t c, uint32_t out[3]) {
    if (c == 0x130) { /* I with a dot above: the one that becomes two */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = c < 0x80 ? (c >= 'A' && c <= 'Z' ? c + 32 : c)
                      : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    return 1;
}
