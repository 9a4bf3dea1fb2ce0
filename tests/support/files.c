#include "support/files.h"

#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

char test_folder[] = "/tmp/hone-test-XXXXXX";

int test_folder_make(void **state) {
    (void)state;
    return mkdtemp(test_folder) ? 0 : -1;
}

int test_folder_remove(void **state) {
    (void)state;
    hn_error err;
    return hn_path_remove(test_folder, &err) == HN_OK ? 0 : -1;
}

const char *in_dir(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", test_folder, name);
    return path;
}

json_t *golden_json(const char *name) {
    enum { MAX_BYTES = 1 << 24 };
    char path[512];
    json_t *value;
    hn_error err;
    snprintf(path, sizeof path, "%s/golden/%s", HN_TEST_ROOT, name);
    if (hn_json_read(path, MAX_BYTES, &value, &err) == HN_OK)
        return value;
    fprintf(stderr, "%s\n", err.message);
    return NULL;
}

const char *test_golden_name;
json_t *test_golden;

int test_golden_load(void **state) {
    (void)state;
    test_golden = golden_json(test_golden_name);
    return test_golden ? 0 : -1;
}

int test_golden_free(void **state) {
    (void)state;
    json_decref(test_golden);
    return 0;
}
