/* What this processor may execute, and how many threads this process should use. */
#pragma once

#include "base/status.h"

#include <stdbool.h>

/* Instruction set levels, each a bundle; a higher one of the same architecture includes the lower
 * ones. The order within an architecture is the order of preference. */
typedef enum hn_isa {
    HN_ISA_SCALAR = 0,
    HN_ISA_AVX2,       /* AVX2, FMA, F16C */
    HN_ISA_AVXVNNI,    /* AVX2 + AVX-VNNI (256-bit vpdpbusd) */
    HN_ISA_AVX512VNNI, /* AVX-512 F, BW, DQ, VL, VNNI */
    HN_ISA_AVX512BF16, /* and AVX512_BF16: products of bf16 pairs */
    HN_ISA_AMX,        /* and AMX-TILE, AMX-INT8, AMX-BF16: products of whole tiles */
    HN_ISA_NEON,       /* arm64 baseline */
    HN_ISA_DOTPROD,    /* sdot / udot */
    HN_ISA_I8MM,       /* dotprod and smmla */
    HN_ISA_COUNT,
} hn_isa;

/* True when `isa` has all instructions of `level`; AVX-512 levels count as having AVX-VNNI's, with
 * wider registers. */
static inline bool hn_isa_includes(hn_isa isa, hn_isa level) {
    return isa >= level && (isa >= HN_ISA_NEON) == (level >= HN_ISA_NEON);
}

/* The best level that both the processor and the operating system support. Never guesses. */
hn_isa hn_cpu_best_isa(void);
/* True when this machine can execute `isa`. */
int hn_cpu_supports(hn_isa isa);
const char *hn_isa_name(hn_isa isa);
/* Parses a level's name and refuses one that this machine lacks. NULL or "" = the best. */
HN_MUST_CHECK hn_status hn_isa_parse(const char *name, hn_isa *isa, hn_error *err);

/* Threads to use when nobody says: the smallest of the cpuset, the cgroup's CPU quota (rounded up)
 * and the physical cores; at least 1. */
int hn_cpu_default_threads(void);
/* Threads that can run at once: the smaller of the cpuset and the quota, hardware threads counted
 * singly; at least 1. */
int hn_cpu_max_threads(void);
/* "AMD EPYC", "Cortex-A76" or "unknown"; static storage. */
const char *hn_cpu_name(void);
