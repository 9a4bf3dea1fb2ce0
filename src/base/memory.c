#define _GNU_SOURCE
#include "base/memory.h"

#include "base/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Limits beyond this are how v1 says "none". */
static const uint64_t NO_LIMIT = UINT64_C(1) << 60;

static void take_least(hn_memory *memory, uint64_t free_bytes, const char *limit) {
    if (free_bytes < memory->free_bytes)
        *memory = (hn_memory){free_bytes, limit};
}

/* The number after `key` in a file of lines "key number" or "key: number kB". */
static bool find_number(const char *root, const char *folder, const char *file, const char *key,
                        uint64_t *out) {
    char path[3072], line[256];
    snprintf(path, sizeof path, "%s%s/%s", root, folder, file);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    const size_t n = strlen(key);
    bool found = false;
    while (!found && fgets(line, sizeof line, f)) {
        found = strncmp(line, key, n) == 0 && (line[n] == ':' || line[n] == ' ');
        if (found)
            *out = strtoull(line + n + 1, NULL, 10);
    }
    fclose(f);
    return found;
}

static bool read_number(const char *root, const char *folder, const char *file, uint64_t *out) {
    char line[HN_CGROUP_LINE_BYTES];
    if (!hn_cgroup_line(line, root, folder, file) || line[0] < '0' || line[0] > '9')
        return false; /* absent, or "max" */
    *out = strtoull(line, NULL, 10);
    return true;
}

static void see_cgroup(void *context, const char *root, const char *folder, bool v2) {
    /* Pages of files count as used until somebody needs them. */
    static const char *const CACHED[2][2] = {{"total_inactive_file", "total_active_file"},
                                             {"inactive_file", "active_file"}};
    uint64_t limit, used;
    if (!read_number(root, folder, v2 ? "memory.max" : "memory.limit_in_bytes", &limit) ||
        !read_number(root, folder, v2 ? "memory.current" : "memory.usage_in_bytes", &used) ||
        limit >= NO_LIMIT)
        return;
    for (int i = 0; i < 2; i++) {
        uint64_t cached;
        if (find_number(root, folder, "memory.stat", CACHED[v2][i], &cached))
            used -= cached < used ? cached : used;
    }
    take_least(context, limit > used ? limit - used : 0, "the limit of its cgroup (container)");
}

static void see_machine(hn_memory *memory, const char *root) {
    uint64_t available, swap = 0;
    if (!find_number(root, "/proc", "meminfo", "MemAvailable", &available))
        return;
    (void)find_number(root, "/proc", "meminfo", "SwapFree", &swap);
    take_least(memory, (available + swap) * 1024, "the memory of this machine");
}

/* `ulimit -v` counts what is mapped, used or not. */
static void see_process(hn_memory *memory, const char *root) {
    struct rlimit limit;
    char line[HN_CGROUP_LINE_BYTES];
    if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY ||
        !hn_cgroup_line(line, root, "/proc/self", "statm"))
        return;
    const uint64_t used = strtoull(line, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
    take_least(memory, limit.rlim_cur > used ? limit.rlim_cur - used : 0,
               "the limit of this process (ulimit -v)");
}

void hn_memory_read(hn_memory *out, const char *root) {
    *out = (hn_memory){UINT64_MAX, ""};
    see_machine(out, root);
    see_process(out, root);
    hn_cgroup_each(root, "memory", NULL, see_cgroup, out);
}

uint64_t hn_memory_peak_resident(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (uint64_t)usage.ru_maxrss * 1024;
}
