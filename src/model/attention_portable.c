/* Attention in plain vectors of the compiler, for every machine. */
#pragma GCC diagnostic ignored "-Wpsabi" /* no vector crosses a function that isn't inlined */

#define KERNELS hn_attention_kernels_portable
#define FMA(a, b, c) ((a) * (b) + (c))
#define QUERIES_AT_ONCE 1
#define IN_PLACE_QUERIES QUERIES_AT_ONCE
#include "model/attention_tile.h"
