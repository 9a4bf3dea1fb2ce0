/* The cgroups that this process is in: where limits of processors and memory are found. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { HN_CGROUP_LINE_BYTES = 1024 };

/* Sees one cgroup's folder, to be read with hn_cgroup_line. v2 tells which names its files have. */
typedef void hn_cgroup_fn(void *context, const char *root, const char *folder, bool v2);

/* Calls `see` for the cgroup of this process and each one around it, of v1, v2 or both, below
 * `root` ("" = this machine's). `controller` is "cpu" or "memory"; `v1_mount` a second name under
 * which v1 mounts it, or NULL. */
void hn_cgroup_each(const char *root, const char *controller, const char *v1_mount,
                    hn_cgroup_fn *see, void *context);
/* First line of a file below root, without its newline; false when there is none. */
bool hn_cgroup_line(char line[HN_CGROUP_LINE_BYTES], const char *root, const char *folder,
                    const char *file);
