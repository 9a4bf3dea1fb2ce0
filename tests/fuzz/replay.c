/* Runs a fuzz target over the files of its corpus, for builds without libFuzzer: every seed and
 * every past finding is an ordinary test case. usage: replay FOLDER-OR-FILE... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int n_cases, n_failed;

static void run_file(const char *path) {
    enum { MAX_INPUT_BYTES = 1 << 24 };
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(MAX_INPUT_BYTES);
    n_cases++;
    if (file && data) {
        size_t n = fread(data, 1, MAX_INPUT_BYTES, file);
        /* An exact allocation: the sanitizer sees a read past the end. */
        uint8_t *exact = malloc(n ? n : 1);
        if (exact) {
            memcpy(exact, data, n);
            LLVMFuzzerTestOneInput(exact, n);
        }
        free(exact);
        printf("ok %d - %s\n", n_cases, path);
    } else {
        printf("not ok %d - %s: can't read it\n", n_cases, path);
        n_failed++;
    }
    fflush(stdout);
    free(data);
    if (file)
        fclose(file);
}

static void run_path(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        run_file(path);
        return;
    }
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            run_path(child);
        free(entries[i]);
    }
    if (n >= 0)
        free(entries);
}

int main(int argc, char **argv) {
    static const uint8_t NOTHING[1];
    LLVMFuzzerTestOneInput(NOTHING, 0);
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    return n_failed > 0;
}
