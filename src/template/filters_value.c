/* Filters on single values, and the look-up of all filters. */
#include "template/render.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static hn_status f_default(hn_render *r, const hn_call *call, hn_tv *out) {
    bool by_truth, truth = true;
    HN_TRY(hn_tv_truth(r, call->args[1], &by_truth));
    if (by_truth)
        HN_TRY(hn_tv_truth(r, call->self, &truth));
    if (call->self.type != HN_TV_UNDEFINED && truth) {
        *out = call->self;
        return HN_OK;
    }
    *out = call->args[0];
    return out->type == HN_TV_MISSING ? hn_tv_from_text(r, "", out) : HN_OK;
}

static hn_status f_tojson(hn_render *r, const hn_call *call, hn_tv *out) {
    return hn_tv_tojson(r, call->self, call->args[0], call->args[1], call->args[2], call->args[3],
                        out);
}

static hn_status f_int(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv v = call->self;
    int64_t base, value = 0;
    double f = NAN;
    bool ok = false;
    *out = call->args[0].type == HN_TV_MISSING ? hn_tv_int(0) : call->args[0];
    HN_TRY(hn_arg_int(r, call->args[1], 10, &base));
    if (v.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, v);
    if (hn_tv_is_index(v)) {
        *out = hn_tv_int(hn_tv_index(v));
        return HN_OK;
    }
    if (v.type == HN_TV_STR && (base == 0 || (base >= 2 && base <= 36)))
        HN_TRY(hn_tv_parse_int(r, v.u.s, (int)base, &ok, &value));
    if (v.type == HN_TV_FLOAT && isinf(v.u.f))
        return hn_render_fail(r, "cannot convert float infinity to integer");
    if (v.type == HN_TV_STR && !ok && !hn_tv_parse_float(v.u.s, &f))
        return HN_OK;
    if (v.type == HN_TV_FLOAT)
        f = v.u.f;
    if (!ok && isfinite(f)) {
        ok = hn_tv_float_to_int(f, &value);
        if (!ok)
            return hn_render_fail(r, "the integer doesn't fit in 64 bits");
    }
    if (ok)
        *out = hn_tv_int(value);
    return HN_OK;
}

static hn_status f_float(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv v = call->self;
    double value;
    *out = call->args[0].type == HN_TV_MISSING ? hn_tv_float(0) : call->args[0];
    if (v.type == HN_TV_UNDEFINED)
        return hn_tv_undefined_fail(r, v);
    if (v.type == HN_TV_FLOAT)
        *out = v;
    else if (hn_tv_is_index(v))
        *out = hn_tv_float((double)hn_tv_index(v));
    else if (v.type == HN_TV_STR && hn_tv_parse_float(v.u.s, &value))
        *out = hn_tv_float(value);
    return HN_OK;
}

static hn_status f_abs(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv v = call->self;
    if (!hn_tv_is_number(v))
        return hn_render_fail(r, "bad operand type for abs(): '%s'", hn_tv_type_name(v));
    if (v.type == HN_TV_FLOAT) {
        *out = hn_tv_float(fabs(v.u.f));
        return HN_OK;
    }
    return hn_tv_index(v) < 0 ? hn_tv_negate(r, v, out) : hn_tv_plus(r, v, out);
}

/* --- round ------------------------------------------------------------------------------------ */

/* Python's round(int, -n): half to even. */
static hn_status round_int(hn_render *r, int64_t v, int64_t precision, hn_tv *out) {
    if (precision >= 0) {
        *out = hn_tv_int(v);
        return HN_OK;
    }
    if (precision < -18) {
        *out = hn_tv_int(0);
        return precision == -19 && llabs(v / 2) >= 2500000000000000000ll
                   ? hn_render_fail(r, "the integer doesn't fit in 64 bits")
                   : HN_OK;
    }
    int64_t unit = 1;
    for (; precision < 0; precision++)
        unit *= 10;
    int64_t rest = v % unit, base = v - rest, up = rest < 0 ? -unit : unit;
    int64_t twice = llabs(rest);
    bool away = twice > unit - twice || (twice == unit - twice && (base / unit) % 2 != 0);
    if (away && __builtin_add_overflow(base, up, &base))
        return hn_render_fail(r, "the integer doesn't fit in 64 bits");
    *out = hn_tv_int(base);
    return HN_OK;
}

static double round_float(double v, int64_t precision) {
    char text[400];
    if (!isfinite(v) || precision > 323)
        return v;
    if (precision < -308)
        return copysign(0, v);
    if (precision >= 0) { /* printf rounds the exact binary value, half to even, as Python does */
        snprintf(text, sizeof text, "%.*f", precision > 80 ? 80 : (int)precision, v);
        return precision > 80 ? v : strtod(text, NULL);
    }
    double unit = pow(10, (double)-precision), scaled = v / unit;
    return nearbyint(scaled) * unit;
}

static hn_status f_round(hn_render *r, const hn_call *call, hn_tv *out) {
    hn_tv v = call->self;
    int64_t precision;
    bool common = call->args[1].type == HN_TV_MISSING || hn_tv_is_text(call->args[1], "common");
    bool ceiling = hn_tv_is_text(call->args[1], "ceil");
    if (!common && !ceiling && !hn_tv_is_text(call->args[1], "floor"))
        return hn_render_fail(r, "method must be common, ceil or floor");
    HN_TRY(hn_arg_int(r, call->args[0], 0, &precision));
    if (!hn_tv_is_number(v))
        return hn_render_fail(r, "type %s can't be rounded", hn_tv_type_name(v));
    if (common && v.type != HN_TV_FLOAT)
        return round_int(r, hn_tv_index(v), precision, out);
    if (common) {
        *out = hn_tv_float(round_float(v.u.f, precision));
        return HN_OK;
    }
    double value = v.type == HN_TV_FLOAT ? v.u.f : (double)hn_tv_index(v);
    double unit = pow(10, (double)precision), scaled = value * unit;
    if (!isfinite(scaled))
        return hn_render_fail(r, "cannot convert float infinity or NaN to integer");
    *out = hn_tv_float((ceiling ? ceil(scaled) : floor(scaled)) / unit);
    return HN_OK;
}

/* --- attr ------------------------------------------------------------------------------------- */

static hn_status f_attr(hn_render *r, const hn_call *call, hn_tv *out) {
    const hn_tstr *name;
    HN_TRY(hn_arg_str(r, call->args[0], &name));
    hn_tdict empty = {0};
    hn_tv object = call->self;
    if (object.type == HN_TV_DICT) { /* its methods, never its items */
        bool unsafe = false;
        if (!hn_method_find(object, name->data, name->n_bytes, &unsafe) && !unsafe)
            object.u.dict = &empty;
    }
    return hn_attr_get(r, object, name, out);
}

const hn_builtin HN_FILTERS_VALUE[] = {
    {"tojson", "ensure_ascii,indent,separators,sort_keys", 0, f_tojson},
    {"default", "default_value,boolean", 0, f_default},
    {"d", "default_value,boolean", 0, f_default},
    {"int", "default,base", 0, f_int},
    {"float", "default", 0, f_float},
    {"abs", "", 0, f_abs},
    {"round", "precision,method", 0, f_round},
    {"attr", "name", 1, f_attr},
    {NULL, NULL, 0, NULL},
};

const hn_builtin *hn_filter_find(const char *name, size_t n_bytes) {
    static const hn_builtin *const TABLES[] = {HN_FILTERS_VALUE, HN_FILTERS_TEXT,
                                               HN_FILTERS_LIST,  HN_FILTERS_ORDER,
                                               HN_FILTERS_LAZY,  HN_FILTERS_MARKUP};
    for (size_t i = 0; i < sizeof TABLES / sizeof *TABLES; i++)
        for (const hn_builtin *f = TABLES[i]; f->name; f++)
            if (strlen(f->name) == n_bytes && !memcmp(f->name, name, n_bytes))
                return f;
    return NULL;
}
