/* Any bytes as a teacher's distributions: parsed, then every record becomes logits. */
#include "base/mem.h"
#include "train/kd_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile float sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST_TOKENS = 4096 };
    static float student[MOST_TOKENS], out[MOST_TOKENS];
    hn_kd_file file;
    hn_error err;
    if (hn_kd_file_parse(&file, data, size, "fuzz", &err) != HN_OK)
        return 0;
    if (file.n_vocab <= MOST_TOKENS)
        for (uint64_t i = 0; i < file.n_tokens; i++) {
            hn_kd_file_logits(&file, &hn_train_ops_base, i, student, out);
            sink += out[0] + out[file.n_vocab - 1];
        }
    hn_kd_file_close(&file);
    return 0;
}
