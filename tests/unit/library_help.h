/* What the tests of libhone share: the small golden model as an engine, sessions, and checks of
 * what the library's functions return. */
#pragma once

#include "hone.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/version.h"
#include "model/generate.h"
#include "support/check.h"
#include "support/files.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { CONTEXT = 512, N_EMBD = 36, N_VOCAB = 264 };

static const char QUESTION[] = "Switch on the lamp, bitte schön";

static inline const char *model_path(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/golden/models/%s", HN_TEST_ROOT, name);
    return path;
}

/* Fails the test with the message of the hone_error that `expr` left in `errp`. */
#define ASSERT_HONE(expr)                                                                          \
    do {                                                                                           \
        hone_error hone_err, *errp = &hone_err;                                                    \
        if ((expr) != HONE_OK)                                                                     \
            fail_msg("%s", hone_err.message);                                                      \
    } while (0)

/* `expr` fails with `wanted` and a message that holds `words`. */
#define ASSERT_REFUSED(wanted, words, expr)                                                        \
    do {                                                                                           \
        hone_error hone_err = {HONE_OK, ""}, *errp = &hone_err;                                    \
        assert_int_equal((expr), (wanted));                                                        \
        assert_int_equal(hone_err.status, (wanted));                                               \
        if (!strstr(hone_err.message, (words)))                                                    \
            fail_msg("'%s' doesn't say '%s'", hone_err.message, (words));                          \
    } while (0)

static inline hone_engine *open_engine(const char *path) {
    hone_engine_options options;
    hone_engine_options_init(&options, sizeof options);
    options.n_threads = 2;
    options.numerics = HONE_NUMERICS_F32;
    options.context = CONTEXT;
    hone_engine *engine = NULL;
    ASSERT_HONE(hone_engine_open(&engine, path, &options, errp));
    return engine;
}

static inline hone_session *open_session(hone_engine *engine, hone_adapter *adapter) {
    hone_session_options options;
    hone_session_options_init(&options, sizeof options);
    options.adapter = adapter;
    hone_session *session = NULL;
    ASSERT_HONE(hone_session_open(&session, engine, &options, errp));
    return session;
}

static inline hone_generate_options short_answer(void) {
    hone_generate_options options;
    hone_generate_options_init(&options, sizeof options);
    options.max_tokens = 24;
    options.ignore_end = 1;
    return options;
}

static inline hone_result empty_result(void) {
    hone_result result;
    hone_result_init(&result, sizeof result);
    return result;
}

/* The llama3 model with a chat template beside it, in the test's folder. */
static inline const char *chat_model(void) {
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    static const char template[] = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n"
                                   "{% endfor %}{% if add_generation_prompt %}a: {% endif %}";
    static char folder[128], path[256];
    snprintf(folder, sizeof folder, "%s", in_dir("chat"));
    if (hn_path_exists(folder))
        return folder;
    ASSERT_OK(hn_dir_make(folder, errp));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *text = NULL;
        size_t size;
        snprintf(path, sizeof path, "llama3/%s", files[i]);
        ASSERT_OK(hn_file_read(model_path(path), 1 << 20, &text, &size, errp));
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        ASSERT_OK(hn_file_write(path, text, size, errp));
        hn_free(text);
    }
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    ASSERT_OK(hn_file_write(path, template, sizeof template - 1, errp));
    return folder;
}
