/* For the tokenizer's tests: the shared data, and vocabularies from GGUF files. */
#pragma once

#include "base/file.h"
#include "base/mem.h"
#include "model/checkpoint.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* data/NAME in the shared folder, in a static buffer. */
static inline const char *shared_path(const char *name) {
    static char path[4096];
    const char *shared = getenv("HONE_SHARED");
    if (shared)
        snprintf(path, sizeof path, "%s/data/%s", shared, name);
    else
        snprintf(path, sizeof path, "%s/../../shared/data/%s", HN_TEST_ROOT, name);
    return path;
}

/* The path, or NULL after saying that the file is missing. */
static inline const char *shared_or_note(const char *name) {
    const char *path = shared_path(name);
    if (hn_path_exists(path))
        return path;
    print_message("skipped: %s is missing (set HONE_SHARED to the shared folder)\n", path);
    return NULL;
}

static inline hn_tokenizer *tokenizer_from_gguf_path(const char *path) {
    hn_error err;
    hn_gguf gguf;
    hn_tokenizer *tk = NULL;
    if (hn_gguf_open(&gguf, path, &err) != HN_OK ||
        hn_tokenizer_from_gguf(&tk, &gguf, &err) != HN_OK)
        fail_msg("%s: %s", path, err.message);
    hn_gguf_close(&gguf);
    return tk;
}

/* The tokenizer of a GGUF file in the shared folder; skips the test when it isn't there. */
static inline hn_tokenizer *tokenizer_from_shared_gguf(const char *name) {
    const char *path = shared_or_note(name);
    if (!path)
        skip();
    return tokenizer_from_gguf_path(path);
}

/* The base model in the cache folder. */
static inline hn_tokenizer *tokenizer_of_base_model(void) {
    static const char NAME[] = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    char path[4096];
    const char *cache = getenv("HONE_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    if (cache)
        snprintf(path, sizeof path, "%s/%s", cache, NAME);
    else if (xdg)
        snprintf(path, sizeof path, "%s/hone/%s", xdg, NAME);
    else
        snprintf(path, sizeof path, "%s/.cache/hone/%s", getenv("HOME"), NAME);
    if (!hn_path_exists(path)) {
        print_message("skipped: %s is missing (scripts/get-base-model gets it)\n", path);
        skip();
    }
    return tokenizer_from_gguf_path(path);
}

static inline char *read_shared(const char *name, size_t *size) {
    const char *path = shared_or_note(name);
    if (!path)
        skip();
    hn_error err;
    char *text;
    if (hn_file_read(path, (size_t)1 << 30, &text, size, &err) != HN_OK)
        fail_msg("%s", err.message);
    return text;
}

static inline void encode_or_fail(const hn_tokenizer *tk, const char *text, size_t size, int flags,
                                  hn_ids *ids) {
    hn_error err;
    ids->size = 0;
    if (hn_encode(tk, text, size, flags, ids, &err) != HN_OK)
        fail_msg("%s", err.message);
}
