/* What a processor and its operating system say of themselves, and which levels follow from that.
 * The second half is a pure function, so that tests can ask about machines that they don't have. */
#pragma once

#include "base/cpu.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hn_cpu_facts {
    /* x86-64: CPUID leaves by number, 0 where the processor has none, and which register state the
     * system saves (XCR0; 0 where XGETBV doesn't exist). */
    uint32_t leaf1_ecx;
    uint32_t leaf7_ebx, leaf7_ecx, leaf7_edx;
    uint32_t leaf7_1_eax;
    uint64_t xcr0;
    bool tiles_granted; /* the system lets this process use tile registers */
    /* arm64; NEON is in all of them. */
    bool dotprod, i8mm;
} hn_cpu_facts;

/* This machine's. Asks Linux for the tile registers where there are some: a process has to. */
void hn_cpu_facts_read(hn_cpu_facts *out);
/* True when a machine of the given architecture with these facts can execute `isa`. */
bool hn_cpu_facts_allow_x86(const hn_cpu_facts *facts, hn_isa isa);
bool hn_cpu_facts_allow_arm(const hn_cpu_facts *facts, hn_isa isa);

/* The processor's name from /proc/cpuinfo below `root` ("" = this machine's), "unknown" when it
 * isn't told. On arm64, where Linux gives numbers only, that of the fastest kind of core. */
void hn_cpu_name_read(const char *root, char *out, size_t bytes);
