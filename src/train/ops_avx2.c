/* The inner loops of training, compiled for avx2. */
#define VW 8
#define MR 6
#define TABLE hn_train_ops_avx2
#include "train/ops_tmpl.h"
