/* Arrays, and values of any kind. */
#include "grammar/schema.h"

#include "base/mem.h"

/* The items of prefixItems one after the other; *none and *some go on behind them, as in an object:
 * nothing has come yet, something has. Those from `min` on may be left out with all that follow. */
static hn_status prefix(hn_schema *s, const json_t *list, uint32_t min, uint32_t max, int32_t *none,
                        int32_t *some, int32_t end) {
    const json_t *item;
    size_t i;
    json_array_foreach (list, i, item) {
        char name[24];
        int32_t value = hn_build_node(s->g), next = hn_build_node(s->g);
        if (i >= max)
            return HN_OK;
        if (i >= min)
            hn_build_bytes(s->g, i ? *some : *none, ']', ']', end);
        if (i == 0)
            hn_build_free(s->g, *none, value);
        else
            hn_schema_sign(s->g, *some, ',', value);
        snprintf(name, sizeof name, "%zu", i);
        HN_TRY(hn_schema_compile_at(s, item, "prefixItems", name, value, next));
        *some = next;
    }
    return HN_OK;
}

/* min to max more items behind `n` that have come. */
static hn_status more_items(hn_schema *s, const json_t *item, uint32_t n, uint32_t min,
                            uint32_t max, int32_t none, int32_t some, int32_t end) {
    hn_grammar *g = s->g;
    hn_part one = hn_build_part(g), next = hn_build_part(g);
    int32_t first = hn_build_rule_over(g, one), value = hn_build_node(g), last = hn_build_node(g);
    HN_TRY(hn_schema_compile_at(s, item, "items", NULL, one.in, one.out));
    hn_schema_sign(g, next.in, ',', value);
    hn_build_call(g, value, first, next.out);
    if (n == 0) { /* the first has no comma */
        if (min == 0)
            hn_build_free(g, none, last);
        if (max == 0) {
            hn_build_bytes(g, last, ']', ']', end);
            return HN_OK;
        }
        hn_build_call(g, none, first, some);
        min -= min > 0;
        max -= max != HN_REPEAT_MAX;
    }
    hn_build_repeat(g, some, next, min, max, last);
    hn_build_bytes(g, last, ']', ']', end);
    return HN_OK;
}

hn_status hn_schema_array(hn_schema *s, const json_t *schema, int32_t from, int32_t to) {
    const json_t *items = json_object_get(schema, "items");
    const json_t *list = json_object_get(schema, "prefixItems");
    const json_t *unique = json_object_get(schema, "uniqueItems");
    uint32_t min = 0, max = HN_REPEAT_MAX;
    HN_TRY(hn_schema_count(s, schema, "minItems", &min));
    HN_TRY(hn_schema_count(s, schema, "maxItems", &max));
    if (json_is_array(items))
        return hn_schema_refuse(s, "items", "a list of schemas is written as prefixItems");
    if (list && !json_is_array(list))
        return hn_schema_wrong(s, "prefixItems", "a list of schemas");
    if (unique && !json_is_boolean(unique))
        return hn_schema_wrong(s, "uniqueItems", "true or false");
    if (json_is_true(unique) && max > 1)
        return hn_schema_refuse(s, "uniqueItems", "it can't be honoured for more than one item");
    if (min > max)
        return hn_schema_refuse(s, "minItems", "above maxItems");
    uint32_t n = (uint32_t)json_array_size(list);
    int32_t none = hn_build_node(s->g), some = hn_build_node(s->g);
    hn_build_bytes(s->g, from, '[', '[', none);
    HN_TRY(prefix(s, list, min, max, &none, &some, to));
    /* Behind prefixItems further items come only when they are asked for. */
    bool closed = json_is_false(items) || (list && !items && min <= n);
    if (json_is_false(items) && min > n)
        return hn_schema_refuse(s, "minItems", "more items than `items` allows");
    if (closed || n >= max) {
        hn_build_bytes(s->g, n && max ? some : none, ']', ']', to);
        return HN_OK;
    }
    json_t *any = json_true();
    return more_items(s, items ? items : any, n, min > n ? min - n : 0,
                      max == HN_REPEAT_MAX ? max : max - n, none, some, to);
}

enum { ANY_LEVELS = 6 }; /* objects and lists within one another */

/* A value whose objects and lists hold values of `inner`; -1 = neither. */
static void any_value(hn_grammar *g, int32_t inner, hn_part part) {
    int32_t words = hn_build_node(g);
    hn_build_free(g, part.in, words);
    hn_build_word(g, words, "null", 4, part.out);
    hn_build_word(g, words, "true", 4, part.out);
    hn_build_word(g, words, "false", 5, part.out);
    hn_schema_plain_number(g, part.in, part.out);
    hn_schema_plain_string(g, part.in, part.out);
    if (inner < 0)
        return;
    int32_t open = hn_build_node(g), item = hn_build_node(g), behind = hn_build_node(g);
    hn_build_bytes(g, part.in, '[', '[', open);
    hn_build_bytes(g, open, ']', ']', part.out);
    hn_build_free(g, open, item);
    hn_build_call(g, item, inner, behind);
    hn_schema_sign(g, behind, ',', item);
    hn_build_bytes(g, behind, ']', ']', part.out);
    open = hn_build_node(g), item = hn_build_node(g), behind = hn_build_node(g);
    int32_t colon = hn_build_node(g), value = hn_build_node(g);
    hn_build_bytes(g, part.in, '{', '{', open);
    hn_build_bytes(g, open, '}', '}', part.out);
    hn_build_free(g, open, item);
    hn_schema_plain_string(g, item, colon);
    hn_schema_sign(g, colon, ':', value);
    hn_build_call(g, value, inner, behind);
    hn_schema_sign(g, behind, ',', item);
    hn_build_bytes(g, behind, '}', '}', part.out);
}

int32_t hn_schema_any(hn_schema *s) {
    if (s->any_rule >= 0)
        return s->any_rule;
    int32_t inner = -1;
    for (int level = 0; level <= ANY_LEVELS; level++) {
        hn_part part = hn_build_part(s->g);
        any_value(s->g, inner, part);
        inner = hn_build_rule_over(s->g, part);
    }
    s->any_rule = inner;
    return inner;
}
