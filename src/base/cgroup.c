#include "base/cgroup.h"

#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 1024 };

bool hn_cgroup_line(char line[HN_CGROUP_LINE_BYTES], const char *root, const char *folder,
                    const char *file) {
    char path[3 * PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s%s/%s", root, folder, file);
    if (n < 0 || (size_t)n >= sizeof path)
        return false;
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool ok = fgets(line, HN_CGROUP_LINE_BYTES, f) != NULL;
    fclose(f);
    if (ok)
        line[strcspn(line, "\n")] = '\0';
    return ok;
}

typedef struct visit {
    const char *root;
    hn_cgroup_fn *see;
    void *context;
} visit;

/* The cgroup at `path` below `mount` and those around it. In a container the path may be one that
 * only the host sees: what isn't there has no limit. */
static void visit_up(const visit *v, const char *mount, const char *path, bool v2) {
    char folder[2 * PATH_BYTES];
    if (strstr(path, "..") || strlen(path) >= PATH_BYTES)
        path = "/"; /* outside this namespace's root */
    snprintf(folder, sizeof folder, "%s%s", mount, path);
    size_t n_mount = strlen(mount), n = strlen(folder);
    for (;;) {
        while (n > n_mount && folder[n - 1] == '/')
            folder[--n] = '\0';
        v->see(v->context, v->root, folder, v2);
        if (n <= n_mount)
            return;
        while (n > n_mount && folder[n - 1] != '/')
            folder[--n] = '\0';
    }
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
void hn_cgroup_each(const char *root, const char *controller, const char *v1_mount,
                    hn_cgroup_fn *see, void *context) {
    static const char V2[] = "/sys/fs/cgroup", MIXED_V2[] = "/sys/fs/cgroup/unified";
    const visit v = {root, see, context};
    char v1[64], line[PATH_BYTES + 256];
    snprintf(v1, sizeof v1, "%s/%s", V2, controller);
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *f = fopen(line, "re");
    if (!f) {
        visit_up(&v, V2, "/", true);
        visit_up(&v, v1, "/", false);
        return;
    }
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        names++;
        if (!*names) {
            visit_up(&v, V2, path, true);
            visit_up(&v, MIXED_V2, path, true);
        } else if (list_has(names, controller)) {
            visit_up(&v, v1, path, false);
            if (v1_mount)
                visit_up(&v, v1_mount, path, false);
        }
    }
    fclose(f);
}
