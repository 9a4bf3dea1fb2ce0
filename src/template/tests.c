/* Tests: what stands after `is`. */
#include "template/render.h"

#define SELF (call->self)

static hn_status modulo(hn_render *r, hn_tv v, hn_tv by, int64_t wanted, hn_tv *out) {
    hn_tv rest;
    bool same;
    HN_TRY(hn_tv_arith(r, '%', v, by, &rest));
    HN_TRY(hn_tv_equal(r, rest, hn_tv_int(wanted), &same));
    *out = hn_tv_bool(same);
    return HN_OK;
}
static hn_status t_odd(hn_render *r, const hn_call *call, hn_tv *out) {
    return modulo(r, SELF, hn_tv_int(2), 1, out);
}
static hn_status t_even(hn_render *r, const hn_call *call, hn_tv *out) {
    return modulo(r, SELF, hn_tv_int(2), 0, out);
}
static hn_status t_divisibleby(hn_render *r, const hn_call *call, hn_tv *out) {
    return modulo(r, SELF, call->args[0], 0, out);
}

#define TYPE_TEST(name, condition)                                                                 \
    static hn_status t_##name(hn_render *r, const hn_call *call, hn_tv *out) {                     \
        (void)r;                                                                                   \
        *out = hn_tv_bool(condition);                                                              \
        return HN_OK;                                                                              \
    }
TYPE_TEST(defined, SELF.type != HN_TV_UNDEFINED)
TYPE_TEST(undefined, SELF.type == HN_TV_UNDEFINED)
TYPE_TEST(none, SELF.type == HN_TV_NONE)
TYPE_TEST(boolean, SELF.type == HN_TV_BOOL)
TYPE_TEST(false, SELF.type == HN_TV_BOOL && !SELF.u.b)
TYPE_TEST(true, SELF.type == HN_TV_BOOL && SELF.u.b)
TYPE_TEST(integer, SELF.type == HN_TV_INT)
TYPE_TEST(float, SELF.type == HN_TV_FLOAT)
TYPE_TEST(string, SELF.type == HN_TV_STR)
TYPE_TEST(mapping, SELF.type == HN_TV_DICT)
TYPE_TEST(number, hn_tv_is_number(SELF))
TYPE_TEST(sequence, SELF.type == HN_TV_STR || SELF.type == HN_TV_LIST || SELF.type == HN_TV_TUPLE ||
                        SELF.type == HN_TV_DICT || SELF.type == HN_TV_RANGE ||
                        SELF.type == HN_TV_UNDEFINED)
TYPE_TEST(iterable, hn_tv_is_iterable(SELF) || SELF.type == HN_TV_LOOP)
TYPE_TEST(escaped, SELF.type == HN_TV_STR && SELF.u.s->markup)
TYPE_TEST(sameas, hn_tv_same(SELF, call->args[0]))
TYPE_TEST(callable, SELF.type == HN_TV_FUNCTION || SELF.type == HN_TV_METHOD ||
                        SELF.type == HN_TV_MACRO || SELF.type == HN_TV_LOOP ||
                        SELF.type == HN_TV_JOINER || SELF.type == HN_TV_UNDEFINED)

static hn_status all_in_case(hn_render *r, const hn_call *call, const char *method, hn_tv *out) {
    hn_tv text;
    bool unsafe;
    HN_TRY(hn_tv_to_str(r, SELF, &text));
    const hn_tmethod *found = hn_method_find(text, method, strlen(method), &unsafe);
    return hn_render_apply(r, &found->def, text, &(hn_targs){0}, out);
}
static hn_status t_lower(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_in_case(r, call, "islower", out);
}
static hn_status t_upper(hn_render *r, const hn_call *call, hn_tv *out) {
    return all_in_case(r, call, "isupper", out);
}

static hn_status is_name_in(hn_render *r, const hn_call *call,
                            const hn_builtin *(*find)(const char *, size_t), hn_tv *out) {
    uint64_t hash;
    bool hashable = true;
    HN_TRY(hn_tv_hash(r, SELF, &hash, &hashable));
    if (!hashable)
        return hn_render_fail(r, "unhashable type: '%s'", hn_tv_type_name(SELF));
    *out = hn_tv_bool(SELF.type == HN_TV_STR && find(SELF.u.s->data, SELF.u.s->n_bytes));
    return HN_OK;
}
static hn_status t_filter(hn_render *r, const hn_call *call, hn_tv *out) {
    return is_name_in(r, call, hn_filter_find, out);
}
static hn_status t_test(hn_render *r, const hn_call *call, hn_tv *out) {
    return is_name_in(r, call, hn_test_find, out);
}

static hn_status t_in(hn_render *r, const hn_call *call, hn_tv *out) {
    bool found;
    HN_TRY(hn_tv_contains(r, SELF, call->args[0], &found));
    *out = hn_tv_bool(found);
    return HN_OK;
}

static hn_status t_eq(hn_render *r, const hn_call *call, hn_tv *out) {
    bool same;
    HN_TRY(hn_tv_equal(r, SELF, call->args[0], &same));
    *out = hn_tv_bool(same);
    return HN_OK;
}
static hn_status t_ne(hn_render *r, const hn_call *call, hn_tv *out) {
    HN_TRY(t_eq(r, call, out));
    out->u.b = !out->u.b;
    return HN_OK;
}

static hn_status order(hn_render *r, const hn_call *call, const char *op, hn_tv *out) {
    bool yes;
    HN_TRY(hn_tv_order(r, SELF, call->args[0], op, &yes));
    *out = hn_tv_bool(yes);
    return HN_OK;
}
static hn_status t_lt(hn_render *r, const hn_call *call, hn_tv *out) {
    return order(r, call, "<", out);
}
static hn_status t_le(hn_render *r, const hn_call *call, hn_tv *out) {
    return order(r, call, "<=", out);
}
static hn_status t_gt(hn_render *r, const hn_call *call, hn_tv *out) {
    return order(r, call, ">", out);
}
static hn_status t_ge(hn_render *r, const hn_call *call, hn_tv *out) {
    return order(r, call, ">=", out);
}

static const hn_builtin TESTS[] = {
    {"defined", "", 0, t_defined},
    {"undefined", "", 0, t_undefined},
    {"none", "", 0, t_none},
    {"string", "", 0, t_string},
    {"mapping", "", 0, t_mapping},
    {"iterable", "", 0, t_iterable},
    {"sequence", "", 0, t_sequence},
    {"number", "", 0, t_number},
    {"integer", "", 0, t_integer},
    {"float", "", 0, t_float},
    {"boolean", "", 0, t_boolean},
    {"true", "", 0, t_true},
    {"false", "", 0, t_false},
    {"odd", "", 0, t_odd},
    {"even", "", 0, t_even},
    {"divisibleby", "num", 1, t_divisibleby},
    {"lower", "", 0, t_lower},
    {"upper", "", 0, t_upper},
    {"filter", "", 0, t_filter},
    {"test", "", 0, t_test},
    {"callable", "", 0, t_callable},
    {"sameas", "other", 1, t_sameas},
    {"escaped", "", 0, t_escaped},
    {"in", "seq", 1, t_in},
    {"==", "/", 1, t_eq},
    {"eq", "/", 1, t_eq},
    {"equalto", "/", 1, t_eq},
    {"!=", "/", 1, t_ne},
    {"ne", "/", 1, t_ne},
    {">", "/", 1, t_gt},
    {"gt", "/", 1, t_gt},
    {"greaterthan", "/", 1, t_gt},
    {">=", "/", 1, t_ge},
    {"ge", "/", 1, t_ge},
    {"<", "/", 1, t_lt},
    {"lt", "/", 1, t_lt},
    {"lessthan", "/", 1, t_lt},
    {"<=", "/", 1, t_le},
    {"le", "/", 1, t_le},
};

const hn_builtin *hn_test_find(const char *name, size_t n_bytes) {
    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++)
        if (strlen(TESTS[i].name) == n_bytes && !memcmp(TESTS[i].name, name, n_bytes))
            return &TESTS[i];
    return NULL;
}
