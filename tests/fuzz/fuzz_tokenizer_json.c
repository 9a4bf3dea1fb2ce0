/* Any bytes as a tokenizer.json (and, behind a line of ---, a tokenizer_config.json): built or
 * refused; what is built encodes and decodes a sample. */
#define _GNU_SOURCE /* memmem */
#include "base/mem.h"
#include "tokenizer/tokenizer.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char SEPARATOR[] = "\n---\n";
    static const char *const SAMPLES[] = {
        "hello world", " Hello,\n\n  it's 1234 \u00e9\u0301 \u4e16\u754c <s>x</s><|end|>",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\u2581b", ""};
    const char *text = (const char *)data, *config = NULL;
    size_t config_size = 0;
    const char *cut = memmem(text, size, SEPARATOR, strlen(SEPARATOR));
    if (cut) {
        config = cut + strlen(SEPARATOR);
        config_size = size - (size_t)(config - text);
        size = (size_t)(cut - text);
    }
    hn_tokenizer *tk = NULL;
    hn_error err;
    if (hn_tokenizer_from_json(&tk, text, size, config, config_size, "fuzz", &err) != HN_OK)
        return 0;
    hn_ids ids = {0};
    hn_buf out = {0};
    for (size_t i = 0; i < sizeof SAMPLES / sizeof *SAMPLES; i++)
        for (int flags = 0; flags < 4; flags++) {
            ids.size = 0;
            hn_buf_reset(&out);
            /* a pattern may take too many steps: an error, but never a crash */
            if (hn_encode(tk, SAMPLES[i], strlen(SAMPLES[i]), flags, &ids, &err) == HN_OK &&
                hn_decode(tk, ids.data, ids.size, flags & 1, &out, &err) != HN_OK)
                break;
        }
    hn_ids_done(&ids);
    hn_buf_done(&out);
    hn_tokenizer_free(tk);
    return 0;
}
