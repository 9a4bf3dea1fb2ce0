/* Rows of a file that something is wrong with: the first is said in full, all are counted, and the
 * lines of some are named. Internal to data/, apart from hn_row_lines. */
#pragma once

#include "data/records.h"

typedef struct hn_bad_rows {
    hn_error first; /* holds when lines.n > 0 */
    hn_row_lines lines;
} hn_bad_rows;

/* What a row's check ended with, its message in *own: HN_BAD_INPUT is noted and HN_OK returned;
 * another failure is the caller's, with its message in *err. */
HN_MUST_CHECK hn_status hn_bad_rows_note(hn_bad_rows *bad, uint64_t line, hn_status status,
                                         const hn_error *own, hn_error *err);
/* HN_OK when there was none; otherwise the first one's message, how many of n_rows there are, and,
 * when it isn't alone, where; `remedy` ends that sentence. */
HN_MUST_CHECK hn_status hn_bad_rows_end(const hn_bad_rows *bad, size_t n_rows, const char *remedy,
                                        hn_error *err);
