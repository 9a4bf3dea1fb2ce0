/* What the kernels' checks share: the tables to compare, buffers between guard bytes, random and
 * extreme inputs, comparisons. One check a kernel, declared from kernels.h's lists, so that a
 * kernel without one doesn't link. */
#pragma once

#include "base/rng.h"
#include "kernels/kernels.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define X(ret, name, args) void check_##name(void);
HN_KERNEL_LIST(X)
#undef X
#define X(ret, name, args) void check_##name(hn_dtype dtype);
HN_KERNEL_DTYPE_LIST(X)
#undef X

extern hn_rng g_rng;
extern const hn_kernels *g_ref, *g_level; /* the oracle, and what is under test */
extern const char *g_level_name;
extern int g_failures, g_checks;

/* Uninitialised memory of this case, `shift` bytes past a 64-byte boundary, guards around it. */
void *buffer(size_t bytes, size_t shift);
/* Random floats within +-scale. */
float *floats(int64_t n, float scale, size_t shift);
float *copy_of(const float *x, int64_t n);
/* Puts a NaN and infinities in, seldom: to every 37th value. */
void spoil(float *x, int64_t n);
/* Frees the last buffer of this case after a look at its guards. */
void drop_last(void);
/* Looks at the guards of this case's buffers and frees them. */
void end_case(const char *kernel);

void fail(const char *kernel, const char *detail);
void same_bits(const char *kernel, const void *got, const void *expected, size_t bytes,
               const char *detail);
/* The same bits, or NaN in both. */
void same_floats(const char *kernel, const float *got, const float *expected, int64_t n,
                 const char *detail);
/* NaN or infinite alike, otherwise within the limits. */
void close_to(const char *kernel, const float *got, const float *expected, int64_t n,
              float relative, float absolute);

static const int CHECK_LENGTHS[] = {1, 7, 8, 31, 32, 33, 64, 172, 576, 1000};
enum { N_CHECK_LENGTHS = sizeof CHECK_LENGTHS / sizeof *CHECK_LENGTHS };

/* What a unit is filled with: codes and scales. */
typedef enum fill { FILL_RANDOM, FILL_ZEROS, FILL_ONES, FILL_HUGE, FILL_COUNT } fill;
/* n units of random, all-zero or all-one codes with random scales; huge: the largest scales. */
uint8_t *units(hn_dtype dtype, int64_t n, fill how);

typedef enum row_kind { ROWS_RANDOM, ROWS_EXTREME, ROWS_SPOILT, ROWS_COUNT } row_kind;
/* Rounded activations; extreme: all of them +-127; spoilt: some are NaN or infinite. */
hn_act_block *activations(int64_t m, int64_t blocks, row_kind how);

/* Times all kernels of the level beside the reference. */
void bench_all(void);
/* The table of a level that this machine lacks, emulated; false where the build can't. */
bool emulated_table(hn_isa isa, hn_kernels *table);
