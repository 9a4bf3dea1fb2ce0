/* Int8 products with AVX-VNNI: 256-bit vpdpbusd. */
#define HN_LEVEL avxvnni
#define HN_VNNI
#include "kernels/x86/i8_ymm.h"

void hn_k_i8_init_avxvnni(hn_kernels *table) {
    put_products(table);
}
