/* The inner loops of training for arm64; compiled so that products and sums are fused. */
#define VW 4
#define MR 6
#define TABLE hn_train_ops_neon
#include "train/ops_tmpl.h"
