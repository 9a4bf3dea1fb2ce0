/* Any bytes as a GGUF file: parsed, then everything that the parser vouches for is touched. */
#include "formats/gguf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile double sink;

static void touch_value(const hn_gguf_value *value) {
    if (value->item_type == HN_GGUF_STRING) {
        const uint8_t *at = NULL;
        for (uint64_t i = 0; i < value->count; i++) {
            const hn_gguf_string string = hn_gguf_item_next(value, &at);
            if (string.size)
                sink += string.data[0] + string.data[string.size - 1];
        }
    } else if (value->count) {
        sink += (double)hn_gguf_item_i64(value, 0);
        sink += hn_gguf_item_f64(value, value->count - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hn_gguf gguf;
    hn_error err;
    if (hn_gguf_parse(&gguf, data, size, "fuzz", &err) != HN_OK)
        return 0;
    for (uint64_t i = 0; i < gguf.n_values; i++)
        touch_value(&gguf.values[i]);
    for (uint64_t i = 0; i < gguf.n_tensors; i++)
        sink += gguf.tensors[i].data[0] + gguf.tensors[i].data[gguf.tensors[i].size_bytes - 1];
    uint64_t number = 0;
    double real = 0;
    hn_gguf_string text = {0};
    if (hn_gguf_get_u64(&gguf, "llama.block_count", &number, &err) != HN_OK ||
        hn_gguf_get_f64(&gguf, "llama.rope.freq_base", &real, &err) != HN_OK ||
        hn_gguf_get_string(&gguf, "general.architecture", &text, &err) != HN_OK)
        sink += 1;
    hn_gguf_close(&gguf);
    return 0;
}
