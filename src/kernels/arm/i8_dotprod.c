/* Int8 products with sdot. */
#define HN_LEVEL dotprod
#define HN_DOTPROD
#include "kernels/arm/i8_neon.h"

void hn_k_i8_init_dotprod(hn_kernels *table) {
    put_products(table);
}
