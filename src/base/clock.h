/* Monotonic time. */
#pragma once

#include <stdint.h>

uint64_t hn_clock_ns(void);
static inline double hn_clock_seconds(void) {
    return (double)hn_clock_ns() * 1e-9;
}
