/* A test's own folder, and golden values in JSON. */
#pragma once

#include <jansson.h>

/* Setup and teardown of a group of tests: a new folder in /tmp, one a program. */
int test_folder_make(void **state);
int test_folder_remove(void **state);
extern char test_folder[];
/* The path of `name` in it; in static storage until the next call. */
const char *in_dir(const char *name);

/* tests/golden/<name>; NULL after a message on stderr. */
json_t *golden_json(const char *name);
/* Setup and teardown of a group of tests over one such file: main names it in test_golden_name, the
 * tests find it in test_golden. */
extern const char *test_golden_name;
extern json_t *test_golden;
int test_golden_load(void **state);
int test_golden_free(void **state);
