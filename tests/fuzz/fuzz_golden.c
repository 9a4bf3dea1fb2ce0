/* Golden sets from any bytes, and answers scored by whatever assertions they hold. */
#define _GNU_SOURCE
#include "eval/golden.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void score_all(const hn_golden *golden) {
    static const char *const ANSWERS[] = {"", "yes", "{\"a\":[1,2.5,null]}", "\xff the Cat-3,000",
                                          "I don't know"};
    hn_error err;
    for (size_t i = 0; i < golden->n; i++) {
        const hn_golden_item *item = &golden->items[i];
        double *each = hn_calloc(item->n_assertions, sizeof *each);
        for (size_t k = 0; each && k < sizeof ANSWERS / sizeof *ANSWERS; k++) {
            hn_item_score score;
            if (hn_golden_item_score(item, ANSWERS[k], 0, each, &score, &err) == HN_OK &&
                !(score.score >= 0 && score.score <= 1))
                abort();
        }
        hn_free(each);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    int fd = memfd_create("golden", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    hn_golden golden;
    hn_error err;
    if (hn_golden_read(&golden, path, &err) == HN_OK) {
        score_all(&golden);
        hn_golden_done(&golden);
    }
    close(fd);
    return 0;
}
