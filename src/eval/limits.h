/* What this machine can do at most, measured with small probes: reads by footprint, multiply-adds
 * by numerics. A benchmark says beside each rate how far it is from there. */
#pragma once

#include "kernels/matrix.h"

enum { HN_LIMITS_MAX_READS = 32 };

/* Zero-initialised but for `compute`, whose threads and instruction set the limits are of; each is
 * measured once, when it is first asked for. */
typedef struct hn_limits {
    hn_compute *compute; /* borrowed */
    int n_reads;
    struct {
        size_t bytes;
        double rate;
    } reads[HN_LIMITS_MAX_READS];
    double mac_rates[HN_NUMERICS_INT8 + 1]; /* 0 = not measured yet */
} hn_limits;

/* Bytes a second that all threads together read, again and again, from `bytes` of memory, each its
 * own share in order. HN_NO_MEMORY: there is no room for as much. */
HN_MUST_CHECK hn_status hn_limits_read(hn_limits *limits, size_t bytes, double *rate,
                                       hn_error *err);
/* Multiply-adds a second of all threads together, in registers. */
double hn_limits_mac(hn_limits *limits, hn_numerics numerics);

/* A block of memory that takes the place of everything in the caches when it is read. */
typedef struct hn_evictor {
    void *data;
    size_t bytes;
} hn_evictor;
/* Twice the last cache's size as the system tells it, at least 64 MiB. */
HN_MUST_CHECK hn_status hn_evictor_new(hn_evictor *evictor, hn_error *err);
void hn_evictor_done(hn_evictor *evictor);
/* Reads it on every thread. */
void hn_evictor_run(const hn_evictor *evictor, hn_pool *pool);
