/* Where the real base model lies on this machine. */
#pragma once

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static inline const char *base_model(void) {
    static char path[600];
    const char *cache = getenv("HONE_CACHE"), *xdg = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    const char *file = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (cache)
        snprintf(path, sizeof path, "%s/%s", cache, file);
    else if (xdg)
        snprintf(path, sizeof path, "%s/hone/%s", xdg, file);
    else
        snprintf(path, sizeof path, "%s/.cache/hone/%s", home ? home : "", file);
    return path;
}

/* Skips the test, saying why, where it isn't there. */
static inline void need_base_model(void) {
    if (hn_path_exists(base_model()))
        return;
    print_message("skipped: %s isn't there (scripts/get-base-model gets it)\n", base_model());
    skip();
}
