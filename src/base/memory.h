/* How much memory this process may still take, so that what can't fit is refused with an answer
 * instead of being killed half-way. */
#pragma once

#include <stdint.h>

/* Linux tells these; elsewhere everything is free. */
typedef struct hn_memory {
    uint64_t free_bytes; /* without pushing anybody out; UINT64_MAX = unknown */
    const char *limit;   /* what sets it: "the machine's memory", ... */
} hn_memory;

/* Reads /proc and /sys below `root` ("" = this machine's): MemAvailable and free swap, the cgroups'
 * limits (v1 and v2, counting what they could drop as free), and the process's own (ulimit -v). */
void hn_memory_read(hn_memory *out, const char *root);
/* The most that this process has had in memory at a time, in bytes; 0 = unknown. */
uint64_t hn_memory_peak_resident(void);
