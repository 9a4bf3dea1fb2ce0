/* The processors that this process may use: its cpuset, which of them share a core, and the CPU
 * quota of its cgroups. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { HN_PROCESSORS_MAX = 1024 };

typedef struct hn_processors {
    int n;       /* hardware threads in the cpuset; 0 = unknown */
    int n_cores; /* physical cores among them */
    int quota;   /* in processors, rounded up: the smallest of the cgroup and those around it, v1 or
                    v2; 0 = none */
    int cpus[HN_PROCESSORS_MAX]; /* numbers of the n: one of each core first */
} hn_processors;

/* Reads /proc and /sys below `root` ("" = this machine's). `cpuset` has a bit for each processor,
 * the lowest first, as sched_getaffinity gives it; NULL = the calling thread's. What can't be read
 * counts as absent: no quota, a core for each processor. */
void hn_processors_read(hn_processors *out, const char *root, const uint8_t *cpuset,
                        size_t cpuset_bytes);
/* The smallest of `count` processors and the quota; at least 1. */
int hn_processors_limit(const hn_processors *processors, int count);
