/* Int8 products with smmla for pairs of rows, sdot for a row alone. */
#define HN_LEVEL i8mm
#define HN_DOTPROD
#define HN_I8MM
#include "kernels/arm/i8_neon.h"

void hn_k_i8_init_i8mm(hn_kernels *table) {
    put_products(table);
}
