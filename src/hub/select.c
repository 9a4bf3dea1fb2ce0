#include "hub/select.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <ctype.h>
#include <dirent.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 200 };

bool hn_file_name_is_safe(const char *name) {
    size_t n = strlen(name);
    if (n == 0 || n > MAX_NAME || name[0] == '/' || name[n - 1] == '/')
        return false;
    for (const char *part = name; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 0 || part[0] == '.')
            return false; /* "..", ".", and hidden files, which no model needs */
        part += length;
        part += *part == '/';
    }
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == '\\' || name[i] == 0x7f)
            return false;
    return true;
}

static bool is_plain(const char *text, bool slashes, int max_slashes) {
    int n_slashes = 0;
    for (const char *at = text; *at; at++) {
        n_slashes += *at == '/';
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at) && !(slashes && *at == '/'))
            return false;
    }
    return hn_file_name_is_safe(text) && n_slashes <= max_slashes && !strstr(text, "..");
}

hn_status hn_hub_check_name(const char *id, const char *revision, hn_error *err) {
    enum { MAX_REVISION_SLASHES = 8 };
    if (!is_plain(id, true, 1) || strstr(id, "--"))
        return hn_fail(err, HN_USAGE,
                       "'%s' is neither a file, nor an address (http...), nor a model's name "
                       "(ORG/NAME)",
                       id);
    if (!is_plain(revision, true, MAX_REVISION_SLASHES))
        return hn_fail(err, HN_USAGE, "--revision: '%s' is no branch, tag or commit", revision);
    return HN_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

/* Beside the weights: what a checkpoint is opened with, and its licence. */
static bool is_companion(const char *name) {
    static const char *const NAMES[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "model.safetensors.index.json",
                                        "README.md",
                                        "LICENSE",
                                        "LICENSE.md",
                                        "LICENSE.txt",
                                        "NOTICE"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        if (strcmp(name, NAMES[i]) == 0)
            return true;
    return false;
}

static bool included(const char *name, const hn_hub_options *options) {
    for (size_t i = 0; i < options->n_include; i++)
        if (fnmatch(options->include[i], name, 0) == 0)
            return true;
    return false;
}

typedef struct counts {
    size_t safetensors, gguf, taken;
} counts;

static counts count_weights(const json_t *siblings) {
    counts n = {0};
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        const json_t *item = json_array_get(siblings, i);
        const char *name = json_string_value(json_object_get(item, "rfilename"));
        if (name && !strchr(name, '/'))
            n.safetensors += ends_with(name, ".safetensors");
        if (name)
            n.gguf += ends_with(name, ".gguf");
    }
    return n;
}

static bool wanted(const char *name, const hn_hub_options *options, const counts *n) {
    if (options->n_include)
        return included(name, options);
    if (n->safetensors) /* weights in folders are other forms of the same model */
        return is_companion(name) || (!strchr(name, '/') && ends_with(name, ".safetensors"));
    return ends_with(name, ".gguf");
}

hn_status hn_hub_select(const json_t *listing, const char *id, const hn_hub_options *options,
                        json_t **files, hn_error *err) {
    const json_t *siblings = json_object_get(listing, "siblings");
    if (!json_is_array(siblings))
        return hn_fail(err, HN_BAD_INPUT, "%s: the hub's answer lists no files", id);
    counts n = count_weights(siblings);
    if (!options->n_include && n.safetensors == 0 && n.gguf == 0)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: it has neither safetensors nor GGUF files: not a model that hone reads",
                       id);
    json_t *list = json_array();
    hn_buf choices = {0};
    hn_status status = list ? HN_OK : hn_fail_no_memory(err, 1);
    for (size_t i = 0; status == HN_OK && i < json_array_size(siblings); i++) {
        const json_t *item = json_array_get(siblings, i);
        const char *name = json_string_value(json_object_get(item, "rfilename"));
        if (!name)
            status = hn_fail(err, HN_BAD_INPUT, "%s: the hub lists a file without a name", id);
        else if (!wanted(name, options, &n))
            continue;
        else if (!hn_file_name_is_safe(name))
            status = hn_fail(err, HN_BAD_INPUT, "%s: the hub lists a file named '%s'; refused", id,
                             name);
        else if (json_array_append_new(list, json_pack("{s:s}", "name", name)))
            status = hn_fail_no_memory(err, 1);
        else
            hn_buf_printf(&choices, "%s%s", choices.size ? ", " : "", name);
    }
    bool choose = !options->n_include && n.safetensors == 0 && n.gguf > 1;
    if (status == HN_OK && choose)
        status = hn_fail(err, HN_BAD_INPUT,
                         "%s: it has several GGUF files; take one with "
                         "--include NAME: %s",
                         id, hn_buf_text(&choices));
    if (status == HN_OK && json_array_size(list) == 0)
        status = hn_fail(err, HN_BAD_INPUT, "%s: no file matches --include", id);
    hn_buf_done(&choices);
    if (status == HN_OK)
        *files = list;
    else
        json_decref(list);
    return status;
}

char *hn_url_escape_path(const char *path) {
    hn_buf buf = {0};
    for (const char *at = path; *at; at++) {
        if (isalnum((unsigned char)*at) || strchr("/._-~", *at))
            hn_buf_putc(&buf, *at);
        else
            hn_buf_printf(&buf, "%%%02X", (unsigned char)*at);
    }
    return hn_buf_take(&buf);
}

char *hn_only_gguf(const char *dir) {
    char *found = NULL;
    int n = 0;
    DIR *folder = opendir(dir);
    if (!folder)
        return NULL;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (strcmp(entry->d_name, "config.json") == 0)
            n = 2; /* a Hugging Face folder, whatever lies beside it */
        if (!ends_with(entry->d_name, ".gguf") || n++ > 0)
            continue;
        found = hn_path_join(dir, entry->d_name);
    }
    closedir(folder);
    if (n == 1)
        return found;
    hn_free(found);
    return NULL;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_complete(const char *hub, const char *name) {
    char *model = hn_path_join(hub, name), *refs = model ? hn_path_join(model, "refs") : NULL;
    bool complete = refs && hn_path_is_dir(refs);
    hn_free(model);
    hn_free(refs);
    return complete;
}

hn_status hn_hub_cached(const char *cache_dir, json_t **names, hn_error *err) {
    enum { MAX_LISTED = 1000 };
    char *hub = hn_path_join(cache_dir, "hub"), **found = NULL;
    size_t n = 0;
    json_t *list = json_array();
    DIR *folder = hub ? opendir(hub) : NULL;
    found = hn_calloc(MAX_LISTED, sizeof *found);
    if (!hub || !list || !found)
        n = MAX_LISTED + 1;
    for (struct dirent *entry; folder && n < MAX_LISTED && (entry = readdir(folder));)
        if (strstr(entry->d_name, "--") && is_complete(hub, entry->d_name) &&
            (found[n] = hn_strdup(entry->d_name)))
            n++;
    if (folder)
        closedir(folder);
    if (n <= MAX_LISTED)
        qsort(found, n, sizeof *found, compare_names);
    for (size_t i = 0; n <= MAX_LISTED && i < n; i++) {
        char *dashes = strstr(found[i], "--"), name[MAX_NAME + 1];
        snprintf(name, sizeof name, "%.*s/%s", (int)(dashes - found[i]), found[i], dashes + 2);
        json_array_append_new(list, json_string(name));
        hn_free(found[i]);
    }
    hn_free(found);
    hn_free(hub);
    if (n > MAX_LISTED) {
        json_decref(list);
        return hn_fail_no_memory(err, MAX_LISTED * sizeof *found);
    }
    *names = list;
    return HN_OK;
}
