/* Rows of a file to rows of the packed layout (layout.h): the inner part of packing. */
#pragma once

#include "base/dtype.h"

#include <stdbool.h>
#include <stdint.h>

/* Writes row `row` (0 to 15) of a group, which must be zero before: `cols` values of `dtype` from
 * src on, whole blocks. False when a scale, minimum or value isn't finite; the rest of the row is
 * written nonetheless. */
bool hn_pack_row(hn_dtype dtype, const uint8_t *src, int64_t cols, uint8_t *group, int row);

/* The column of the first value that isn't finite or hangs on a scale or minimum that isn't;
 * -1 = there is none. */
int64_t hn_find_bad_column(hn_dtype dtype, const uint8_t *src, int64_t cols);
