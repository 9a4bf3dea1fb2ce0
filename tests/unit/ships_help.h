/* A model as training opens it, for the tests of what ships. */
#pragma once

#include "release/numerics.h"
#include "support/check.h"

static inline hn_model *open_as(const char *path, const char *numerics) {
    const hn_model_options options = {.n_threads = 2};
    hn_train_numerics parsed;
    hn_model *model;
    assert_true(hn_train_numerics_from_name(numerics, &parsed));
    ASSERT_OK(hn_train_model_open(&model, path, &parsed, &options, errp));
    return model;
}
