#include "serve/models_open.h"

#include "base/mem.h"
#include "model/dora.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static uint64_t file_bytes(int folder, const char *name) {
    struct stat info;
    return fstatat(folder, name, &info, 0) == 0 && S_ISREG(info.st_mode) ? (uint64_t)info.st_size
                                                                         : 0;
}

/* Of a file, or of the weights in a folder; 0 where there is none, which opening will say. */
static uint64_t model_bytes(const char *path) {
    static const char SUFFIX[] = ".safetensors";
    uint64_t total = 0;
    DIR *folder = opendir(path);
    if (!folder)
        return file_bytes(AT_FDCWD, path);
    for (const struct dirent *entry; (entry = readdir(folder));) {
        const size_t n = strlen(entry->d_name);
        if (n >= sizeof SUFFIX && strcmp(entry->d_name + n - (sizeof SUFFIX - 1), SUFFIX) == 0)
            total += file_bytes(dirfd(folder), entry->d_name);
    }
    closedir(folder);
    return total;
}

static hn_status copy_adapter(hn_entry_adapter *out, const hn_adapter_place *place, hn_error *err) {
    *out = (hn_entry_adapter){
        .name = hn_strdup(place->name), .path = hn_strdup(place->path), .scale = place->scale};
    return out->name && out->path ? HN_OK : hn_fail_no_memory(err, strlen(place->path));
}

hn_status hn_model_entry_init(hn_model_entry *entry, const hn_model_place *place, hn_error *err) {
    hn_model_entry e = {.name = hn_strdup(place->name),
                        .path = hn_strdup(place->path),
                        .n_bytes = model_bytes(place->path),
                        .created = (int64_t)time(NULL)};
    hn_status status = HN_OK;
    e.served.name = e.name;
    e.adapters = hn_calloc(place->n_adapters ? place->n_adapters : 1, sizeof *e.adapters);
    if (!e.name || !e.path || !e.adapters)
        HN_GO(hn_fail_no_memory(err, place->n_adapters * sizeof *e.adapters));
    for (size_t i = 0; i < place->n_adapters; i++) {
        e.served.n_adapters = i + 1;
        HN_GO(copy_adapter(&e.adapters[i], &place->adapters[i], err));
    }
done:
    if (status == HN_OK)
        *entry = e;
    else
        hn_model_entry_done(&e);
    return status;
}

void hn_model_entry_done(hn_model_entry *entry) {
    for (size_t i = 0; i < entry->served.n_adapters; i++) {
        hn_free(entry->adapters[i].name);
        hn_free(entry->adapters[i].path);
    }
    hn_free(entry->adapters);
    hn_free(entry->name);
    hn_free(entry->path);
    *entry = (hn_model_entry){0};
}

/* How many models and adapters have this name. */
static int count_name(const hn_model_entry *entries, size_t n, const char *name) {
    int count = 0;
    for (size_t i = 0; i < n; i++) {
        count += strcmp(entries[i].name, name) == 0;
        for (size_t j = 0; j < entries[i].served.n_adapters; j++)
            count += strcmp(entries[i].adapters[j].name, name) == 0;
    }
    return count;
}

static hn_status check_name(const hn_model_entry *entries, size_t n, const char *name,
                            hn_error *err) {
    if (!*name || count_name(entries, n, name) > 1)
        return hn_fail(err, HN_USAGE,
                       "the name '%s' stands for more than one model or adapter: give each its own "
                       "(NAME=PATH)",
                       name);
    return HN_OK;
}

hn_status hn_model_entries_check(const hn_model_entry *entries, size_t n, hn_error *err) {
    for (size_t i = 0; i < n; i++) {
        HN_TRY(check_name(entries, n, entries[i].name, err));
        for (size_t j = 0; j < entries[i].served.n_adapters; j++)
            HN_TRY(check_name(entries, n, entries[i].adapters[j].name, err));
    }
    return HN_OK;
}

hn_status hn_model_entry_open(hn_model_entry *e, const hn_models_options *options,
                              const char *draft_path, hn_error *err) {
    hn_engine_options engine = options->engine;
    hn_model_options model = options->model;
    hn_status status = HN_OK;
    model.n_context = engine.n_context;
    HN_GO(hn_model_open(&e->served.model, e->path, &model, err));
    if (draft_path && engine.speculation == HN_SPECULATION_MODEL) {
        HN_GO(hn_model_open(&e->draft, draft_path, &options->model, err));
        engine.draft = e->draft;
    }
    for (size_t i = 0; i < e->served.n_adapters; i++)
        HN_GO(hn_adapter_load(&e->adapters[i].adapter, e->adapters[i].path, e->served.model, err));
    HN_GO(hn_engine_new(&e->served.engine, e->served.model, &engine, err));
done:
    if (status != HN_OK)
        hn_model_entry_close(e);
    return status;
}

void hn_model_entry_close(hn_model_entry *e) {
    hn_engine_free(e->served.engine);
    for (size_t i = 0; i < e->n_mixes; i++) {
        hn_adapter_free(e->mixes[i].adapter);
        hn_free(e->mixes[i].uses);
    }
    for (size_t i = 0; i < e->served.n_adapters; i++) {
        hn_adapter_free(e->adapters[i].adapter);
        e->adapters[i].adapter = NULL;
    }
    hn_model_free(e->draft);
    hn_model_free(e->served.model);
    e->n_mixes = 0;
    e->draft = NULL;
    e->served.model = NULL;
    e->served.engine = NULL;
}

/* ---- several adapters as one ---- */

static bool same_uses(const hn_adapter_mix *mix, const hn_adapter_use *uses, size_t n) {
    bool same = mix->n == n;
    for (size_t i = 0; same && i < n; i++)
        same = mix->uses[i].index == uses[i].index && mix->uses[i].scale == uses[i].scale;
    return same;
}

static hn_status mix_new(hn_model_entry *e, const hn_adapter_use *uses, size_t n, hn_error *err) {
    enum { MAX = 64 };
    const hn_adapter *adapters[MAX];
    float weights[MAX];
    hn_adapter_mix mix = {.n = n};
    if (n > MAX)
        return hn_fail(err, HN_BAD_INPUT, "%zu adapters at once are too many", n);
    if (e->n_mixes == HN_MIXES_MAX)
        return hn_fail(err, HN_BUSY, "%d combinations of adapters are in use already",
                       HN_MIXES_MAX);
    for (size_t i = 0; i < n; i++) {
        adapters[i] = e->adapters[uses[i].index].adapter;
        weights[i] = uses[i].scale;
    }
    mix.uses = hn_calloc(n, sizeof *mix.uses);
    if (!mix.uses)
        return hn_fail_no_memory(err, n * sizeof *mix.uses);
    memcpy(mix.uses, uses, n * sizeof *uses);
    hn_status status =
        hn_adapter_combine(&mix.adapter, adapters, weights, (int)n, &e->served.model->arch, err);
    if (status == HN_OK)
        e->mixes[e->n_mixes++] = mix;
    else
        hn_free(mix.uses);
    return status;
}

hn_status hn_model_entry_mix(hn_model_entry *e, const hn_adapter_use *uses, size_t n,
                             const hn_adapter **out, hn_error *err) {
    *out = NULL;
    if (n == 0)
        return HN_OK;
    if (n == 1 && uses[0].scale == 1) {
        *out = e->adapters[uses[0].index].adapter;
        return HN_OK;
    }
    for (size_t i = 0; i < e->n_mixes; i++)
        if (same_uses(&e->mixes[i], uses, n))
            *out = e->mixes[i].adapter;
    if (*out)
        return HN_OK;
    HN_TRY(mix_new(e, uses, n, err));
    *out = e->mixes[e->n_mixes - 1].adapter;
    return HN_OK;
}
