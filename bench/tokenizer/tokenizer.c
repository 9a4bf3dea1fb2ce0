/* Encoding speed of one thread over a text file (processor time, median), beside
 * bench/tokenizer/peer.py, and the time to build the tokenizer. Usage: bench-tokenizer
 * MODEL.gguf|tokenizer.json TEXT [ROUNDS] */
#include "tokenizer/tokenizer.h"
#include "base/file.h"
#include "base/mem.h"
#include "model/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROUNDS = 100 };

/* Of this process: a machine that does other work at the same time doesn't blur it. */
static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static hn_status load(const char *path, hn_tokenizer **tk, hn_error *err) {
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".json") == 0) {
        char *json;
        size_t size;
        HN_TRY(hn_file_read(path, (size_t)1 << 30, &json, &size, err));
        hn_status status = hn_tokenizer_from_json(tk, json, size, NULL, 0, path, err);
        hn_free(json);
        return status;
    }
    hn_gguf gguf;
    HN_TRY(hn_gguf_open(&gguf, path, err));
    hn_status status = hn_tokenizer_from_gguf(tk, &gguf, err);
    hn_gguf_close(&gguf);
    return status;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *seconds, int n) {
    qsort(seconds, (size_t)n, sizeof *seconds, ascending);
    return seconds[n / 2];
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL.gguf|tokenizer.json TEXT [ROUNDS]\n", argv[0]);
        return 2;
    }
    int rounds = argc > 3 ? atoi(argv[3]) : 5;
    if (rounds < 1 || rounds > MAX_ROUNDS)
        rounds = 5;
    hn_error err;
    char *text;
    size_t size;
    hn_tokenizer *tk = NULL;
    hn_ids ids = {0};
    double loading[MAX_ROUNDS], encoding[MAX_ROUNDS], decoding[MAX_ROUNDS], first = 0;
    hn_status status = hn_file_read(argv[2], (size_t)1 << 30, &text, &size, &err);
    for (int i = 0; i < rounds && status == HN_OK; i++) {
        hn_tokenizer_free(tk);
        tk = NULL;
        double start = cpu_seconds();
        status = load(argv[1], &tk, &err);
        loading[i] = cpu_seconds() - start;
        hn_ids_done(&ids);
        start = cpu_seconds();
        if (status == HN_OK)
            status = hn_encode(tk, text, size, 0, &ids, &err);
        first += (cpu_seconds() - start) / rounds;
    }
    for (int i = 0; i < rounds && status == HN_OK; i++) {
        ids.size = 0;
        double start = cpu_seconds();
        status = hn_encode(tk, text, size, 0, &ids, &err);
        encoding[i] = cpu_seconds() - start;
    }
    for (int i = 0; i < rounds && status == HN_OK; i++) {
        hn_buf out = {0};
        double start = cpu_seconds();
        status = hn_decode(tk, ids.data, ids.size, true, &out, &err);
        decoding[i] = cpu_seconds() - start;
        hn_buf_done(&out);
    }
    if (status != HN_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    double mb = (double)size / 1e6;
    printf("%s: %zu bytes, %zu ids; load %.1f ms; encode %.1f MB/s (first time %.1f); decode %.1f "
           "MB/s\n",
           argv[1], size, ids.size, median(loading, rounds) * 1e3, mb / median(encoding, rounds),
           mb / first, mb / median(decoding, rounds));
    hn_ids_done(&ids);
    hn_tokenizer_free(tk);
    hn_free(text);
    return 0;
}
