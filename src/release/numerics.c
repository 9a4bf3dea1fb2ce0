/* Names, and the rounding of rows that hn_quantise does. */
#include "release/numerics.h"

#include "release/grid.h"

#include <string.h>

bool hn_train_numerics_from_name(const char *name, hn_train_numerics *out) {
    *out = (hn_train_numerics){.products = HN_NUMERICS_INT8};
    if (!strcmp(name, "f32"))
        out->products = HN_NUMERICS_F32;
    else if (strcmp(name, "int8") != 0)
        out->is_rounded = hn_ftype_from_name(name, &out->ftype);
    return out->products == HN_NUMERICS_F32 || out->is_rounded || !strcmp(name, "int8");
}

hn_train_numerics hn_train_numerics_at(int index) {
    const char *at = HN_TRAIN_NUMERICS_CHOICES;
    char name[16];
    hn_train_numerics numerics;
    for (; index > 0; index--)
        at += strcspn(at, "|") + 1;
    size_t n = strcspn(at, "|");
    memcpy(name, at, n);
    name[n] = '\0';
    (void)hn_train_numerics_from_name(name, &numerics);
    return numerics;
}

static hn_dtype type_of(const void *context, const hn_arch *arch, const char *name, int64_t rows,
                        int64_t cols) {
    return hn_ftype_tensor_dtype(*(const hn_ftype *)context, arch, name, rows, cols);
}

static hn_status round_row(hn_dtype dtype, const float *x, int64_t cols, uint8_t *out,
                           hn_error *err) {
    return hn_row_quantise(dtype, x, NULL, cols, out, err);
}

hn_retype hn_ftype_retype(const hn_ftype *ftype) {
    return (hn_retype){.type_of = type_of, .round_row = round_row, .context = ftype};
}

hn_status hn_train_model_open(hn_model **out, const char *path, const hn_train_numerics *numerics,
                              const hn_model_options *options, hn_error *err) {
    hn_retype retype = hn_ftype_retype(&numerics->ftype);
    hn_model_options own = *options;
    own.numerics = numerics->products;
    own.retype = numerics->is_rounded ? &retype : NULL;
    return hn_model_open(out, path, &own, err);
}
