/* Counting the processors from what Linux writes in /proc and /sys. */
#define _GNU_SOURCE
#include "base/processors.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 1024, LINE_BYTES = 1024 };

/* First line of a file below root, without its newline; false when there is none. */
static bool read_line(char line[LINE_BYTES], const char *root, const char *folder,
                      const char *file) {
    char path[3 * PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, file);
    if (n < 0 || (size_t)n >= sizeof path)
        return false;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(line, LINE_BYTES, f) != NULL;
    fclose(f);
    if (ok)
        line[strcspn(line, "\n")] = '\0';
    return ok;
}

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
        return read_line(line, root, folder, "cpu.max") &&
                       sscanf(line, "%lld %lld", &quota, &period) == 2
                   ? in_processors(quota, period)
                   : 0;
    if (!read_line(line, root, folder, "cpu.cfs_quota_us") ||
        !read_line(period_line, root, folder, "cpu.cfs_period_us"))
        return 0;
    return in_processors(strtoll(line, NULL, 10), strtoll(period_line, NULL, 10));
}

/* The smallest quota of the cgroup at `path` below `mount` and of those around it. In a container
 * the path may be one that only the host sees: what isn't there has no quota. */
static int quota_up_from(const char *root, const char *mount, const char *path, bool v2) {
    char folder[2 * PATH_BYTES];
    if (strstr(path, "..") || strlen(path) >= PATH_BYTES)
        path = "/"; /* outside this namespace's root */
    snprintf(folder, sizeof folder, "%s%s", mount, path);
    size_t n_mount = strlen(mount), n = strlen(folder);
    int least = 0;
    for (;;) {
        while (n > n_mount && folder[n - 1] == '/')
            folder[--n] = '\0';
        int quota = quota_of(root, folder, v2);
        if (quota > 0 && (least == 0 || quota < least))
            least = quota;
        if (n <= n_mount)
            return least;
        while (n > n_mount && folder[n - 1] != '/')
            folder[--n] = '\0';
    }
}

static int least_of(int a, int b) {
    return a == 0 || (b > 0 && b < a) ? b : a;
}

/* True when a comma-separated list holds `word`. */
static bool list_has(const char *list, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list;; at++) {
        size_t n_at = strcspn(at, ",");
        if (n_at == n && memcmp(at, word, n) == 0)
            return true;
        at += n_at;
        if (!*at)
            return false;
    }
}

/* Lines of /proc/self/cgroup: "0::/a/b" of v2, "4:cpu,cpuacct:/a/b" of v1; both when they are
 * mixed. Without that file the cgroup is the mounted one. */
static int read_quota(const char *root) {
    static const char V2[] = "/sys/fs/cgroup", MIXED_V2[] = "/sys/fs/cgroup/unified";
    static const char V1[] = "/sys/fs/cgroup/cpu", V1_BOTH[] = "/sys/fs/cgroup/cpu,cpuacct";
    char line[PATH_BYTES + 256];
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *f = fopen(line, "re");
    int quota = 0;
    if (!f)
        return least_of(quota_up_from(root, V2, "/", true), quota_up_from(root, V1, "/", false));
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        names++;
        if (!*names) {
            quota = least_of(quota, quota_up_from(root, V2, path, true));
            quota = least_of(quota, quota_up_from(root, MIXED_V2, path, true));
        } else if (list_has(names, "cpu")) {
            quota = least_of(quota, quota_up_from(root, V1, path, false));
            quota = least_of(quota, quota_up_from(root, V1_BOTH, path, false));
        }
    }
    fclose(f);
    return quota;
}

static bool in_set(const uint8_t *set, size_t bytes, long cpu) {
    return cpu >= 0 && (size_t)cpu / 8 < bytes && (set[cpu / 8] >> (cpu % 8) & 1);
}

/* True when a processor of the set with a lower number shares this one's core. The kernel writes
 * "0,64" or "0-3,8". */
static bool core_is_taken(const char *root, const uint8_t *set, size_t bytes, int cpu) {
    char folder[96], line[LINE_BYTES];
    snprintf(folder, sizeof folder, "/sys/devices/system/cpu/cpu%d/topology", cpu);
    if (!read_line(line, root, folder, "thread_siblings_list"))
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
    *out = (hn_processors){.quota = read_quota(root)};
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
