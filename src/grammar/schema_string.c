/* Strings: free ones with a length, patterns, and formats, which are patterns. */
#include "grammar/schema.h"

#include <string.h>

/* Each gives only texts that the format's own rules allow, if not all of them: years from 1000 to
 * 2999 with their leap days, seconds below 60, plain host names, http addresses. */
#define YEAR "[12][0-9]{3}"
#define LEAP                                                                                       \
    "(?:[12][0-9](?:0[48]|[2468][048]|[13579][26])|(?:12|16|20|24|28)00)" /* divisible by 4 */
#define DATE                                                                                       \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|"                                \
    "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" LEAP "-02-29)"
#define CLOCK "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
#define TIME CLOCK ":[0-5][0-9](?:\\.[0-9]{1,6})?(?:Z|[+-]" CLOCK ")"
#define LABEL "[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"
#define HOST "(?:" LABEL "\\.){1,4}[a-z]{2,12}"
#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define HEX(n) "[0-9a-fA-F]{" #n "}"
static const struct {
    const char *name, *pattern;
} FORMATS[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"uuid", "^" HEX(8) "-" HEX(4) "-" HEX(4) "-" HEX(4) "-" HEX(12) "$"},
    {"email", "^[A-Za-z0-9_+-]{1,20}(?:\\.[A-Za-z0-9_+-]{1,20}){0,2}@" HOST "$"},
    {"ipv4", "^" OCTET "(?:\\." OCTET "){3}$"},
    {"hostname", "^" HOST "$"},
    {"uri", "^https?://" HOST "(?:/[A-Za-z0-9._~-]{1,32}){0,6}/?$"},
};
enum { N_FORMATS = sizeof FORMATS / sizeof *FORMATS };

/* One character of a JSON string: itself, or an escape; \u without halves of surrogate pairs. */
static void string_char(hn_grammar *g, hn_part part) {
    static const char SHORT[] = "\"\\/bfnrt";
    static const struct { char lo, hi; } HEX_DIGITS[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}};
    hn_build_char_range(g, part.in, 0x20, '"' - 1, part.out);
    hn_build_char_range(g, part.in, '"' + 1, '\\' - 1, part.out);
    hn_build_char_range(g, part.in, '\\' + 1, HN_CHAR_LAST, part.out);
    int32_t escape = hn_build_node(g), unicode[4], d = hn_build_node(g);
    hn_build_bytes(g, part.in, '\\', '\\', escape);
    for (const char *c = SHORT; *c; c++)
        hn_build_bytes(g, escape, *c, *c, part.out);
    for (int i = 0; i < 4; i++)
        unicode[i] = hn_build_node(g);
    hn_build_bytes(g, escape, 'u', 'u', unicode[0]);
    for (int i = 1; i < 4; i++)
        for (int k = 0; k < 3; k++)
            hn_build_bytes(g, unicode[i], HEX_DIGITS[k].lo, HEX_DIGITS[k].hi,
                           i < 3 ? unicode[i + 1] : part.out);
    hn_build_bytes(g, unicode[0], '0', '9', unicode[1]);
    hn_build_bytes(g, unicode[0], 'A', 'C', unicode[1]);
    hn_build_bytes(g, unicode[0], 'a', 'c', unicode[1]);
    hn_build_bytes(g, unicode[0], 'E', 'F', unicode[1]);
    hn_build_bytes(g, unicode[0], 'e', 'f', unicode[1]);
    hn_build_bytes(g, unicode[0], 'D', 'D', d);
    hn_build_bytes(g, unicode[0], 'd', 'd', d);
    hn_build_bytes(g, d, '0', '7', unicode[2]);
}

static void counted_string(hn_grammar *g, int32_t from, uint32_t min, uint32_t max, int32_t to) {
    hn_part one = hn_build_part(g);
    int32_t open = hn_build_node(g), close = hn_build_node(g);
    string_char(g, one);
    hn_build_bytes(g, from, '"', '"', open);
    hn_build_repeat(g, open, one, min, max, close);
    hn_build_bytes(g, close, '"', '"', to);
}

void hn_schema_plain_string(hn_grammar *g, int32_t from, int32_t to) {
    counted_string(g, from, 0, HN_REPEAT_MAX, to);
}

static hn_status pattern_string(hn_schema *s, const char *keyword, const char *pattern, size_t size,
                                int32_t from, int32_t to) {
    hn_error *err = s->err;
    char where[400];
    int32_t open = hn_build_node(s->g), close = hn_build_node(s->g);
    hn_build_bytes(s->g, from, '"', '"', open);
    hn_build_bytes(s->g, close, '"', '"', to);
    snprintf(where, sizeof where, "%.100s: #%.200s/%.40s", s->where, hn_buf_text(&s->path),
             keyword);
    return hn_build_pattern(s->g, open, pattern, size, close, where, err);
}

hn_status hn_schema_string(hn_schema *s, const json_t *schema, int32_t from, int32_t to) {
    const json_t *pattern = json_object_get(schema, "pattern");
    const json_t *format = json_object_get(schema, "format");
    uint32_t min = 0, max = HN_REPEAT_MAX;
    HN_TRY(hn_schema_count(s, schema, "minLength", &min));
    HN_TRY(hn_schema_count(s, schema, "maxLength", &max));
    if (min > max)
        return hn_schema_refuse(s, "minLength", "above maxLength");
    if (pattern && !json_is_string(pattern))
        return hn_schema_wrong(s, "pattern", "a string");
    if (format && !json_is_string(format))
        return hn_schema_wrong(s, "format", "a string");
    if (!pattern && !format) {
        counted_string(s->g, from, min, max, to);
        return HN_OK;
    }
    if (min > 0 || max != HN_REPEAT_MAX)
        return hn_schema_refuse(s, min > 0 ? "minLength" : "maxLength",
                                "beside pattern or format it can't be honoured: put the length "
                                "into the pattern");
    if (pattern && format)
        return hn_schema_refuse(s, "format", "beside pattern it can't be honoured");
    if (pattern)
        return pattern_string(s, "pattern", json_string_value(pattern), json_string_length(pattern),
                              from, to);
    for (int i = 0; i < N_FORMATS; i++)
        if (strcmp(FORMATS[i].name, json_string_value(format)) == 0)
            return pattern_string(s, "format", FORMATS[i].pattern, strlen(FORMATS[i].pattern), from,
                                  to);
    return hn_schema_refuse(s, "format",
                            "only date, time, date-time, uuid, email, ipv4, hostname and uri are "
                            "possible");
}
