/* A program that embeds hone may have set a locale that writes 1,5 for 1.5: templates and files
 * read and write numbers as ever. */
#define _GNU_SOURCE
#include "base/file.h"
#include "model/model.h"
#include "support/check.h"
#include "template/template.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

/* One with a comma: made here, where no such is installed. */
static bool set_comma_locale(void) {
    static const char *const NAMES[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
    char command[256];
    snprintf(dir, sizeof dir, "/tmp/hone-locale-%ld", (long)getpid());
    ASSERT_OK(hn_dir_make(dir, errp));
    snprintf(command, sizeof command,
             "localedef --no-archive -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>/dev/null", dir);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (setlocale(LC_ALL, NAMES[i]))
            return true;
    (void)!system(command); /* some warn and succeed */
    setenv("LOCPATH", dir, 1);
    return setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
}

static void test_comma(void **state) {
    (void)state;
    char text[16];
    if (!set_comma_locale()) {
        print_message("no locale with a decimal comma is here (localedef, package locales)\n");
        ASSERT_OK(hn_path_remove(dir, errp));
        skip();
    }
    ASSERT_OK(hn_path_remove(dir, errp));
    snprintf(text, sizeof text, "%.1f", 1.5);
    assert_string_equal(text, "1,5");

    static const char SOURCE[] = "{{ 1.5 }} {{ '2.5'|float + x }} {{ '%.2f'|format(3.25) }} "
                                 "{{ 2.675|round(2) }} {{ [0.1]|tojson }}";
    hn_template *tmpl;
    ASSERT_OK(hn_template_new(&tmpl, SOURCE, strlen(SOURCE), errp));
    json_t *variables = json_pack("{s:f}", "x", 0.25);
    hn_buf out = {0};
    ASSERT_OK(hn_template_render(tmpl, variables, 0, &out, errp));
    assert_string_equal(hn_buf_text(&out), "1.5 2.75 3.25 2.67 [0.1]");
    snprintf(text, sizeof text, "%.1f", 1.5); /* the program's locale is as it was */
    assert_string_equal(text, "1,5");
    hn_buf_done(&out);
    json_decref(variables);
    hn_template_free(tmpl);

    hn_model *model; /* rms_norm_eps and rope_theta are numbers of config.json */
    const hn_model_options options = {.n_threads = 1};
    ASSERT_OK(hn_model_open(&model, HN_TEST_ROOT "/golden/models/llama3", &options, errp));
    assert_true(model->arch.rms_eps > 0 && model->arch.rms_eps < 0.01f);
    assert_true(model->arch.rope_factor > 1);
    hn_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_comma)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
