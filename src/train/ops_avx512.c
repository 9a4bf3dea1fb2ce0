/* The inner loops of training, compiled for avx512. */
#define VW 16
#define MR 12
#define TABLE hn_train_ops_avx512
#include "train/ops_tmpl.h"
