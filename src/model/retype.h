/* A model opened in another type than its file's: each matrix as a file of that type would hold it,
 * without the file. What a type is and how rows become one is the caller's business. */
#pragma once

#include "kernels/matrix.h"
#include "model/arch.h"

typedef struct hn_retype {
    /* The type that the matrix `name` (as GGUF has it) shall have. */
    hn_dtype (*type_of)(const void *context, const hn_arch *arch, const char *name, int64_t rows,
                        int64_t cols);
    /* x: (cols); out: the row's blocks. Called on any thread; HN_BAD_INPUT where x isn't finite. */
    hn_status (*round_row)(hn_dtype dtype, const float *x, int64_t cols, uint8_t *out,
                           hn_error *err);
    const void *context; /* for type_of; borrowed */
} hn_retype;

/* Packs each source as types[i], rounded where that isn't the source's own type, into memory of its
 * own: beside what is packed there never is more than one matrix's blocks. Sets each source's
 * `out`; on failure some are set. */
HN_MUST_CHECK hn_status hn_retype_pack(hn_compute *compute, const hn_retype *how,
                                       const hn_matrix_source *sources, const hn_dtype *types,
                                       int n, hn_error *err);
