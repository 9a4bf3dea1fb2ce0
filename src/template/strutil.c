/* What string methods and text filters share. */
#define _GNU_SOURCE /* memmem */
#include "base/text.h"
#include "template/render.h"

hn_status hn_arg_str(hn_render *r, hn_tv v, const hn_tstr **out) {
    if (v.type != HN_TV_STR)
        return hn_render_fail(r, "expected a string, not %s", hn_tv_type_name(v));
    *out = v.u.s;
    return HN_OK;
}

hn_status hn_arg_int(hn_render *r, hn_tv v, int64_t fallback, int64_t *out) {
    if (v.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, v);
    if (v.type != HN_TV_MISSING && v.type != HN_TV_NONE && !hn_tv_is_index(v))
        return hn_render_fail(r, "'%s' object cannot be interpreted as an integer",
                              hn_tv_type_name(v));
    *out = hn_tv_is_index(v) ? hn_tv_index(v) : fallback;
    return HN_OK;
}

/* --- case ------------------------------------------------------------------------------------- */

static bool is_cased(uint32_t c) {
    return hn_uni_is_upper(c) || hn_uni_is_lower(c) || hn_uni_is_title(c);
}

/* A capital sigma is lowered to its final form at the end of a word. */
static bool is_final_sigma(const hn_tstr *s, size_t start, size_t end) {
    size_t before;
    if (start == 0 || !hn_uni_is_alpha(hn_uni_before(s->data, start, &before)))
        return false;
    return end >= s->n_bytes || !hn_uni_is_alpha(hn_uni_next(s->data, s->n_bytes, &end));
}

static int map_case(const hn_tstr *s, size_t start, size_t end, uint32_t c, hn_case how,
                    uint32_t out[3]) {
    switch (how) {
    case HN_CASE_UPPER:
        return hn_uni_upper(c, out);
    case HN_CASE_TITLE:
        return hn_uni_title(c, out);
    case HN_CASE_FOLD:
        if (c == 0xdf || c == 0x1e9e) {
            out[0] = out[1] = 's';
            return 2;
        }
        return hn_uni_lower(c, out);
    default:
        if (c == 0x3a3 && is_final_sigma(s, start, end)) {
            out[0] = 0x3c2;
            return 1;
        }
        return hn_uni_lower(c, out);
    }
}

hn_status hn_str_case(hn_render *r, const hn_tstr *s, hn_case mode, hn_tv *out) {
    size_t begin = r->text.size;
    bool in_word = false;
    HN_TRY(hn_render_charge(r, s->n_bytes / 8));
    for (size_t pos = 0; pos < s->n_bytes;) {
        size_t start = pos;
        uint32_t c = hn_uni_next(s->data, s->n_bytes, &pos), mapped[3];
        hn_case how = mode;
        if (mode == HN_CASE_TITLE)
            how = in_word ? HN_CASE_LOWER : HN_CASE_TITLE;
        else if (mode == HN_CASE_CAPITALIZE)
            how = start == 0 ? HN_CASE_TITLE : HN_CASE_LOWER;
        else if (mode == HN_CASE_SWAP)
            how = hn_uni_is_upper(c) ? HN_CASE_LOWER : HN_CASE_UPPER;
        in_word = is_cased(c);
        int n = map_case(s, start, pos, c, how, mapped);
        for (int i = 0; i < n; i++) {
            char utf8[4];
            HN_TRY(hn_render_put(r, utf8, hn_utf8_encode(mapped[i], utf8)));
        }
    }
    HN_TRY(hn_render_take_text(r, begin, out));
    out->u.s->markup = s->markup;
    return HN_OK;
}

/* --- strip ------------------------------------------------------------------------------------ */

static bool in_set(uint32_t c, const hn_tstr *chars) {
    if (!chars)
        return hn_uni_is_space(c);
    for (size_t pos = 0; pos < chars->n_bytes;)
        if (hn_uni_next(chars->data, chars->n_bytes, &pos) == c)
            return true;
    return false;
}

hn_status hn_str_strip(hn_render *r, const hn_tstr *s, const hn_tstr *chars, bool left, bool right,
                       hn_tv *out) {
    size_t start = 0, end = s->n_bytes;
    while (left && start < end) {
        size_t next = start;
        if (!in_set(hn_uni_next(s->data, end, &next), chars))
            break;
        start = next;
    }
    while (right && end > start) {
        size_t before;
        if (!in_set(hn_uni_before(s->data, end, &before), chars))
            break;
        end = before;
    }
    size_t set_bytes = chars ? chars->n_bytes : 1;
    HN_TRY(hn_render_charge(r, (s->n_bytes - (end - start)) * set_bytes / 8));
    return hn_tstr_slice(r, s, start, end, out);
}

/* --- find and replace ------------------------------------------------------------------------- */

size_t hn_str_find(const hn_tstr *s, const hn_tstr *needle, size_t from, size_t end,
                   bool backwards) {
    if (from > end || needle->n_bytes > end - from)
        return SIZE_MAX;
    if (needle->n_bytes == 0)
        return backwards ? end : from;
    if (!backwards) {
        const char *found = memmem(s->data + from, end - from, needle->data, needle->n_bytes);
        return found ? (size_t)(found - s->data) : SIZE_MAX;
    }
    for (size_t at = end - needle->n_bytes;; at--) {
        if (!memcmp(s->data + at, needle->data, needle->n_bytes))
            return at;
        if (at == from)
            return SIZE_MAX;
    }
}

/* "" is found before every character and at the end. */
static hn_status replace_empty(hn_render *r, const hn_tstr *s, const hn_tstr *by, int64_t count) {
    for (size_t pos = 0;;) {
        if (count != 0)
            HN_TRY(hn_render_put(r, by->data, by->n_bytes));
        count -= count > 0;
        if (pos >= s->n_bytes)
            return HN_OK;
        size_t start = pos;
        hn_uni_next(s->data, s->n_bytes, &pos);
        HN_TRY(hn_render_put(r, s->data + start, pos - start));
    }
}

hn_status hn_str_replace(hn_render *r, const hn_tstr *s, const hn_tstr *old, const hn_tstr *by,
                         int64_t count, hn_tv *out) {
    size_t begin = r->text.size, pos = 0;
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    if (old->n_bytes == 0) {
        HN_TRY(hn_render_charge(r, s->n_bytes));
        HN_TRY(replace_empty(r, s, by, count));
        pos = s->n_bytes;
    }
    while (count != 0 && old->n_bytes) {
        size_t at = hn_str_find(s, old, pos, s->n_bytes, false);
        if (at == SIZE_MAX)
            break;
        HN_TRY(hn_render_charge(r, 1));
        HN_TRY(hn_render_put(r, s->data + pos, at - pos));
        HN_TRY(hn_render_put(r, by->data, by->n_bytes));
        pos = at + old->n_bytes;
        count -= count > 0;
    }
    HN_TRY(hn_render_put(r, s->data + pos, s->n_bytes - pos));
    HN_TRY(hn_render_take_text(r, begin, out));
    out->u.s->markup = s->markup;
    return HN_OK;
}

/* --- pieces ----------------------------------------------------------------------------------- */

static hn_status push_slice(hn_render *r, const hn_tstr *s, size_t start, size_t end,
                            hn_tlist *list) {
    hn_tv piece;
    HN_TRY(hn_tstr_slice(r, s, start, end, &piece));
    return hn_tlist_push(r, list, piece);
}

hn_status hn_str_lines(hn_render *r, const hn_tstr *s, bool keep_ends, hn_tlist **out) {
    hn_tlist *list;
    size_t start = 0;
    HN_TRY(hn_tlist_new(r, 4, &list));
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    for (size_t pos = 0; pos < s->n_bytes;) {
        size_t at = pos;
        uint32_t c = hn_uni_next(s->data, s->n_bytes, &pos);
        if (!hn_uni_is_line_end(c))
            continue;
        if (c == '\r' && pos < s->n_bytes && s->data[pos] == '\n')
            pos++;
        HN_TRY(push_slice(r, s, start, keep_ends ? pos : at, list));
        start = pos;
    }
    if (start < s->n_bytes)
        HN_TRY(push_slice(r, s, start, s->n_bytes, list));
    *out = list;
    return HN_OK;
}

hn_status hn_str_words(hn_render *r, const hn_tstr *s, int64_t max, hn_tlist **out) {
    hn_tlist *list;
    HN_TRY(hn_tlist_new(r, 4, &list));
    HN_TRY(hn_render_charge_scan(r, s->n_bytes));
    for (size_t pos = 0; pos < s->n_bytes;) {
        size_t start = pos;
        if (hn_uni_is_space(hn_uni_next(s->data, s->n_bytes, &pos)))
            continue;
        size_t end = pos;
        while (pos < s->n_bytes && !hn_uni_is_space(hn_uni_next(s->data, s->n_bytes, &pos)))
            end = pos;
        if (max >= 0 && list->n == max) /* the rest in one piece, its last space included */
            end = pos = s->n_bytes;
        HN_TRY(push_slice(r, s, start, end, list));
    }
    *out = list;
    return HN_OK;
}

hn_status hn_str_join(hn_render *r, const hn_tstr *separator, const hn_tlist *list, hn_tv *out) {
    size_t begin = r->text.size;
    for (uint32_t i = 0; i < list->n; i++) {
        if (i)
            HN_TRY(hn_render_put(r, separator->data, separator->n_bytes));
        HN_TRY(hn_render_put(r, list->items[i].u.s->data, list->items[i].u.s->n_bytes));
    }
    HN_TRY(hn_render_charge(r, list->n));
    return hn_render_take_text(r, begin, out);
}
