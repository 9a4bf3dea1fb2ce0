/* Attention in plain vectors of the compiler, for every machine. */
#define TILE_FN hn_attention_tile_portable
#define FMA(a, b, c) ((a) * (b) + (c))
#define QUERIES_AT_ONCE 1
#include "model/attention_tile.h"
