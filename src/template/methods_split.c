/* Methods of str that split, join, format and classify. */
#include "template/render.h"

#define SELF (call->self.u.s)

static void reverse_list(hn_tlist *list) {
    for (uint32_t i = 0, j = list->n; i + 1 < j; i++) {
        hn_tv swap = list->items[i];
        list->items[i] = list->items[--j];
        list->items[j] = swap;
    }
}

static hn_status push_slice(hn_render *r, const hn_tstr *s, size_t start, size_t end,
                            hn_tlist *list) {
    hn_tv piece;
    HN_TRY(hn_tstr_slice(r, s, start, end, &piece));
    return hn_tlist_push(r, list, piece);
}

/* rsplit() without a separator: words from the right, the rest on the left. */
static hn_status words_from_right(hn_render *r, const hn_tstr *s, int64_t max, hn_tlist **out) {
    hn_tlist *list;
    size_t end = s->n_bytes, before;
    HN_TRY(hn_tlist_new(r, 4, &list));
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    for (;;) {
        while (end > 0 && hn_uni_is_space(hn_uni_before(s->data, end, &before)))
            end = before;
        if (!end)
            break;
        size_t start = end;
        while (start > 0 && !hn_uni_is_space(hn_uni_before(s->data, start, &before)))
            start = before;
        if (max >= 0 && list->n == max) /* the rest in one piece, its first space included */
            start = 0;
        HN_TRY(push_slice(r, s, start, end, list));
        end = start;
    }
    reverse_list(list);
    *out = list;
    return HN_OK;
}

static hn_status split_at(hn_render *r, const hn_tstr *s, const hn_tstr *separator, int64_t max,
                          bool right, hn_tlist **out) {
    hn_tlist *list;
    size_t start = 0, end = s->n_bytes;
    if (!separator->n_bytes)
        return hn_render_fail(r, "empty separator");
    HN_TRY(hn_tlist_new(r, 4, &list));
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    while (max < 0 || list->n < max) {
        size_t at = hn_str_find(s, separator, start, end, right);
        if (at == SIZE_MAX)
            break;
        if (right) {
            HN_TRY(push_slice(r, s, at + separator->n_bytes, end, list));
            end = at;
        } else {
            HN_TRY(push_slice(r, s, start, at, list));
            start = at + separator->n_bytes;
        }
    }
    HN_TRY(push_slice(r, s, start, end, list));
    if (right)
        reverse_list(list);
    *out = list;
    return HN_OK;
}

static hn_status split(hn_render *r, const hn_call *call, bool right, hn_tv *out) {
    int64_t max;
    hn_tlist *list;
    HN_TRY(hn_arg_int(r, call->args[1], -1, &max));
    if (call->args[0].type == HN_TV_MISSING || call->args[0].type == HN_TV_NONE) {
        HN_TRY(right ? words_from_right(r, SELF, max, &list) : hn_str_words(r, SELF, max, &list));
    } else {
        const hn_tstr *separator;
        HN_TRY(hn_arg_str(r, call->args[0], &separator));
        HN_TRY(split_at(r, SELF, separator, max, right, &list));
    }
    *out = hn_tv_list(list);
    return HN_OK;
}
static hn_status m_split(hn_render *r, const hn_call *call, hn_tv *out) {
    return split(r, call, false, out);
}
static hn_status m_rsplit(hn_render *r, const hn_call *call, hn_tv *out) {
    return split(r, call, true, out);
}

static hn_status m_splitlines(hn_render *r, const hn_call *call, hn_tv *out) {
    bool keep;
    hn_tlist *list;
    HN_TRY(hn_tv_truth(r, call->args[0], &keep));
    HN_TRY(hn_str_lines(r, SELF, keep, &list));
    *out = hn_tv_list(list);
    return HN_OK;
}

static hn_status partition(hn_render *r, const hn_call *call, bool right, hn_tv *out) {
    const hn_tstr *separator;
    hn_tlist *list;
    HN_TRY(hn_arg_str(r, call->args[0], &separator));
    if (!separator->n_bytes)
        return hn_render_fail(r, "empty separator");
    HN_TRY(hn_render_charge_scan(r, SELF->n_bytes));
    size_t n = SELF->n_bytes, at = hn_str_find(SELF, separator, 0, n, right);
    size_t from = at, to = at + separator->n_bytes;
    if (at == SIZE_MAX)
        from = to = right ? 0 : n;
    HN_TRY(hn_tlist_new(r, 3, &list));
    HN_TRY(push_slice(r, SELF, 0, from, list));
    HN_TRY(push_slice(r, SELF, from, to, list));
    HN_TRY(push_slice(r, SELF, to, n, list));
    *out = hn_tv_tuple(list);
    return HN_OK;
}
static hn_status m_partition(hn_render *r, const hn_call *call, hn_tv *out) {
    return partition(r, call, false, out);
}
static hn_status m_rpartition(hn_render *r, const hn_call *call, hn_tv *out) {
    return partition(r, call, true, out);
}

static hn_status m_join(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tlist *list;
    HN_TRY(hn_tv_to_list(r, call->args[0], &list));
    for (uint32_t i = 0; i < list->n; i++) {
        if (SELF->markup)
            HN_TRY(hn_tv_escape(r, list->items[i], &list->items[i]));
        else if (list->items[i].type != HN_TV_STR)
            return hn_render_fail(r, "sequence item %u: expected str instance, %s found", i,
                                  hn_tv_type_name(list->items[i]));
    }
    HN_TRY(hn_str_join(r, SELF, list, out));
    out->u.s->markup = SELF->markup;
    return HN_OK;
}

static hn_status m_format(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_format_braces(r, SELF, call->raw, out);
}

static hn_status m_format_map(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_targs args = {0};
    void *kw;
    if (call->args[0].type != HN_TV_DICT)
        return hn_render_fail(r, "format_map() takes a mapping");
    hn_tdict *dict = call->args[0].u.dict;
    HN_TRY(hn_tdict_open(r, dict));
    HN_TRY(hn_render_alloc(r, dict->n + 1, sizeof(hn_targ_kw), &kw));
    args.kw = kw;
    for (uint32_t i = 0; i < dict->n; i++)
        if (dict->entries[i].key.type == HN_TV_STR)
            args.kw[args.n_kw++] = (hn_targ_kw){dict->entries[i].key.u.s, dict->entries[i].value};
    return hn_format_braces(r, SELF, &args, out);
}

/* --- classes ---------------------------------------------------------------------------------- */

static hn_status all_chars(hn_render *r, const hn_tstr *s, bool (*is)(uint32_t), bool if_empty,
                           hn_tv *out) {
    bool yes = s->n_bytes || if_empty;
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    for (size_t pos = 0; pos < s->n_bytes && yes;)
        yes = is(hn_uni_next(s->data, s->n_bytes, &pos));
    *out = hn_tv_bool(yes);
    return HN_OK;
}

static bool is_alnum(uint32_t c) {
    return hn_uni_is_alpha(c) || hn_uni_is_decimal(c) || hn_uni_is_digit(c) || hn_uni_is_numeric(c);
}
static bool is_ascii(uint32_t c) {
    return c < 0x80;
}

static hn_status m_isalpha(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, hn_uni_is_alpha, false, out);
}
static hn_status m_isdigit(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, hn_uni_is_digit, false, out);
}
static hn_status m_isdecimal(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, hn_uni_is_decimal, false, out);
}
static hn_status m_isnumeric(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, hn_uni_is_numeric, false, out);
}
static hn_status m_isalnum(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, is_alnum, false, out);
}
static hn_status m_isspace(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, hn_uni_is_space, false, out);
}
static hn_status m_isascii(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, is_ascii, true, out);
}
static hn_status m_isprintable(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_chars(r, SELF, hn_uni_is_printable, true, out);
}

static hn_status m_isidentifier(hn_render *r, const hn_call *call, hn_tv *out) {
    size_t pos = 0;
    if (SELF->n_bytes && !hn_uni_is_name_start(hn_uni_next(SELF->data, SELF->n_bytes, &pos))) {
        *out = hn_tv_bool(false);
        return HN_OK;
    }
    return all_chars(r, SELF, hn_uni_is_name_part, false, out);
}

static hn_status m_islower(hn_render *r, const hn_call *call, hn_tv *out) {
    bool cased = false, yes = true;
    HN_TRY(hn_render_charge_scan(r, SELF->n_bytes));
    for (size_t pos = 0; pos < SELF->n_bytes && yes;) {
        uint32_t c = hn_uni_next(SELF->data, SELF->n_bytes, &pos);
        yes = !hn_uni_is_upper(c) && !hn_uni_is_title(c);
        cased |= hn_uni_is_lower(c);
    }
    *out = hn_tv_bool(yes && cased);
    return HN_OK;
}
static hn_status m_isupper(hn_render *r, const hn_call *call, hn_tv *out) {
    bool cased = false, yes = true;
    HN_TRY(hn_render_charge_scan(r, SELF->n_bytes));
    for (size_t pos = 0; pos < SELF->n_bytes && yes;) {
        uint32_t c = hn_uni_next(SELF->data, SELF->n_bytes, &pos);
        yes = !hn_uni_is_lower(c) && !hn_uni_is_title(c);
        cased |= hn_uni_is_upper(c);
    }
    *out = hn_tv_bool(yes && cased);
    return HN_OK;
}

static hn_status m_istitle(hn_render *r, const hn_call *call, hn_tv *out) {
    bool cased = false, in_word = false, yes = true;
    HN_TRY(hn_render_charge_scan(r, SELF->n_bytes));
    for (size_t pos = 0; pos < SELF->n_bytes && yes;) {
        uint32_t c = hn_uni_next(SELF->data, SELF->n_bytes, &pos);
        bool upper = hn_uni_is_upper(c) || hn_uni_is_title(c), lower = hn_uni_is_lower(c);
        yes = upper ? !in_word : !lower || in_word;
        in_word = upper || lower;
        cased |= in_word;
    }
    *out = hn_tv_bool(yes && cased);
    return HN_OK;
}

const hn_tmethod HN_METHODS_SPLIT[] = {
    {{"split", "sep,maxsplit", 0, m_split}},
    {{"rsplit", "sep,maxsplit", 0, m_rsplit}},
    {{"splitlines", "keepends", 0, m_splitlines}},
    {{"partition", "/", 1, m_partition}},
    {{"rpartition", "/", 1, m_rpartition}},
    {{"join", "/", 1, m_join}},
    {{"format", NULL, 0, m_format}},
    {{"format_map", "/", 1, m_format_map}},
    {{"isalpha", "", 0, m_isalpha}},
    {{"isdigit", "", 0, m_isdigit}},
    {{"isdecimal", "", 0, m_isdecimal}},
    {{"isnumeric", "", 0, m_isnumeric}},
    {{"isalnum", "", 0, m_isalnum}},
    {{"isspace", "", 0, m_isspace}},
    {{"isascii", "", 0, m_isascii}},
    {{"isprintable", "", 0, m_isprintable}},
    {{"isidentifier", "", 0, m_isidentifier}},
    {{"islower", "", 0, m_islower}},
    {{"isupper", "", 0, m_isupper}},
    {{"istitle", "", 0, m_istitle}},
    {{NULL, NULL, 0, NULL}},
};
