/* Counting the processors from what Linux writes in /proc and /sys. */
#define _GNU_SOURCE
#include "base/processors.h"

#include "base/cgroup.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = HN_CGROUP_LINE_BYTES };

static int in_processors(long long quota, long long period) {
    if (quota <= 0 || period <= 0 || quota > (long long)INT_MAX * period - period)
        return 0;
    return (int)((quota - 1) / period + 1);
}

/* Quota of one cgroup; 0 = none. v2 holds "max 100000" or "150000 100000" in one file. */
static int quota_of(const char *root, const char *folder, bool v2) {
    char line[LINE_BYTES], period_line[LINE_BYTES];
    long long quota, period;
    if (v2)
        return hn_cgroup_line(line, root, folder, "cpu.max") &&
                       sscanf(line, "%lld %lld", &quota, &period) == 2
                   ? in_processors(quota, period)
                   : 0;
    if (!hn_cgroup_line(line, root, folder, "cpu.cfs_quota_us") ||
        !hn_cgroup_line(period_line, root, folder, "cpu.cfs_period_us"))
        return 0;
    return in_processors(strtoll(line, NULL, 10), strtoll(period_line, NULL, 10));
}

static void see_quota(void *context, const char *root, const char *folder, bool v2) {
    int *least = context, quota = quota_of(root, folder, v2);
    if (quota > 0 && (*least == 0 || quota < *least))
        *least = quota;
}

static bool in_set(const uint8_t *set, size_t bytes, long cpu) {
    return cpu >= 0 && (size_t)cpu / 8 < bytes && (set[cpu / 8] >> (cpu % 8) & 1);
}

/* True when a processor of the set with a lower number shares this one's core. The kernel writes
 * "0,64" or "0-3,8". */
static bool core_is_taken(const char *root, const uint8_t *set, size_t bytes, int cpu) {
    char folder[96], line[LINE_BYTES];
    snprintf(folder, sizeof folder, "/sys/devices/system/cpu/cpu%d/topology", cpu);
    if (!hn_cgroup_line(line, root, folder, "thread_siblings_list"))
        return false;
    for (char *at = line, *end; *at; at = end + (*end == ',')) {
        long first = strtol(at, &end, 10), last = first;
        if (end == at)
            return false;
        if (*end == '-')
            last = strtol(end + 1, &end, 10);
        for (long other = first; other <= last && other < cpu; other++)
            if (in_set(set, bytes, other))
                return true;
        if (*end && *end != ',')
            return false;
    }
    return false;
}

void hn_processors_read(hn_processors *out, const char *root, const uint8_t *cpuset,
                        size_t cpuset_bytes) {
    *out = (hn_processors){0};
    hn_cgroup_each(root, "cpu", "/sys/fs/cgroup/cpu,cpuacct", see_quota, &out->quota);
#if defined(__linux__)
    uint64_t own[HN_PROCESSORS_MAX / 8]; /* room for more than are counted: the kernel wants all */
    if (!cpuset) {
        memset(own, 0, sizeof own);
        if (sched_getaffinity(0, sizeof own, (cpu_set_t *)(void *)own) != 0)
            return;
        cpuset = (const uint8_t *)own; /* words, but little-endian ones on all of hone's machines */
        cpuset_bytes = sizeof own;
    }
#endif
    int others[HN_PROCESSORS_MAX], n_others = 0;
    for (int cpu = 0; cpu < HN_PROCESSORS_MAX && cpuset; cpu++) {
        if (!in_set(cpuset, cpuset_bytes, cpu))
            continue;
        if (core_is_taken(root, cpuset, cpuset_bytes, cpu))
            others[n_others++] = cpu;
        else
            out->cpus[out->n_cores++] = cpu;
    }
    memcpy(out->cpus + out->n_cores, others, (size_t)n_others * sizeof *others);
    out->n = out->n_cores + n_others;
}

int hn_processors_limit(const hn_processors *processors, int count) {
    if (processors->quota > 0 && processors->quota < count)
        count = processors->quota;
    return count > 0 ? count : 1;
}
