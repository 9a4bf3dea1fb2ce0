/* What training computes its forward pass in, by the names that people give it: f32, int8 (the
 * model's weights as they are, activations rounded), or a type of files: int8 over the weights that
 * a file of that type would hold, so that an adapter learns around both roundings. */
#pragma once

#include "model/model.h"
#include "model/retype.h"
#include "release/quantise.h"

#define HN_TRAIN_NUMERICS_CHOICES "f32|int8|" HN_FTYPE_SHIPPED_CHOICES

typedef struct hn_train_numerics {
    hn_numerics products;
    bool is_rounded; /* to `ftype` */
    hn_ftype ftype;
} hn_train_numerics;

/* One of HN_TRAIN_NUMERICS_CHOICES, or false. */
bool hn_train_numerics_from_name(const char *name, hn_train_numerics *out);
/* The choice of this index, which must be there. */
hn_train_numerics hn_train_numerics_at(int index);
/* For hn_model_options: the matrices that hn_quantise writes, without adapter and calibration.
 * *ftype is borrowed. */
hn_retype hn_ftype_retype(const hn_ftype *ftype);
/* Opens a model for training in these numerics; of `options` the rest counts. */
HN_MUST_CHECK hn_status hn_train_model_open(hn_model **out, const char *path,
                                            const hn_train_numerics *numerics,
                                            const hn_model_options *options, hn_error *err);
