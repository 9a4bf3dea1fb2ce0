/* The inner loops of quantising, compiled for avx2. */
#define TABLE hn_row_ops_avx2
#include "release/row_ops_tmpl.h"
