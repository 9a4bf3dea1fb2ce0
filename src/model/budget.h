/* Whether a model's weights and its cache fit into the memory that is free, and what would. */
#pragma once

#include "base/memory.h"
#include "kernels/matrix.h"
#include "model/kv_type.h"
#include "model/model.h"

/* HN_NO_MEMORY says how much is needed and free, and names the finest type that would fit. */
HN_MUST_CHECK hn_status hn_budget_weights(const char *path, const hn_matrix_source *sources, int n,
                                          const hn_memory *memory, hn_error *err);
/* The same for a cache of n_positions; names the context and the types that would fit. */
HN_MUST_CHECK hn_status hn_budget_kv(const hn_arch *arch, hn_dtype type, int64_t n_positions,
                                     const hn_memory *memory, hn_error *err);
