/* The inner loops of training, at the compiler's baseline (SSE2, NEON). */
#define VW 4
#define MR 4
#define TABLE hn_train_ops_base
#include "train/ops_tmpl.h"
