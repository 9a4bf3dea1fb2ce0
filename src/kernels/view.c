/* Parts of a matrix. */
#include "kernels/layout.h"
#include "kernels/matrix.h"

_Static_assert((int)HN_MATRIX_GRAIN == (int)HN_UNIT_ROWS, "a view begins with a group of units");

hn_matrix hn_matrix_view(const hn_matrix *matrix, int64_t first, int64_t n) {
    const size_t group_bytes = hn_layout_group_bytes(HN_LAYOUTS[matrix->dtype], matrix->cols);
    const int64_t left = matrix->rows - first;
    hn_matrix view = *matrix;
    view.rows = n < left ? n : left;
    view.packed = (uint8_t *)matrix->packed + (size_t)(first / HN_UNIT_ROWS) * group_bytes;
    view.packed_bytes = (size_t)((view.rows + HN_UNIT_ROWS - 1) / HN_UNIT_ROWS) * group_bytes;
    view.borrowed = true;
    return view;
}
