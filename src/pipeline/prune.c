/* What earlier runs of a folder left and the present one doesn't use: stages of other settings, and
 * work folders of runs that were stopped. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* A stage's folder is its name and the first digits of its key. */
static bool is_in_use(const hn_run *run, const char *folder) {
    const json_t *entry;
    size_t i;
    json_array_foreach (run->stages, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "name"));
        const char *key = json_string_value(json_object_get(entry, "key"));
        size_t n = strlen(name), digits = strlen(folder) > n ? strlen(folder + n + 1) : 0;
        if (digits && !strncmp(folder, name, n) && folder[n] == '-' &&
            !strncmp(folder + n + 1, key, digits))
            return true;
    }
    return false;
}

hn_status hn_run_prune(hn_run *run, hn_error *err) {
    int n_removed = 0;
    struct dirent *entry;
    hn_status status = HN_OK;
    char *stages = hn_run_path(run, run->dir, "stages");
    if (!stages)
        return hn_fail_no_memory(err, strlen(run->dir));
    DIR *handle = opendir(stages);
    if (!handle)
        return hn_fail_errno(err, "%s", stages);
    while (status == HN_OK && (entry = readdir(handle))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..") ||
            is_in_use(run, entry->d_name))
            continue;
        char *path = hn_run_path(run, stages, entry->d_name);
        status = path ? hn_path_remove(path, err) : hn_fail_no_memory(err, strlen(stages));
        n_removed += status == HN_OK;
    }
    closedir(handle);
    if (status == HN_OK)
        hn_progress_note(run->progress, "%d stages of earlier runs removed", n_removed);
    return status;
}
