/* Any bytes as a safetensors file: parsed, then the ends of every tensor are touched. */
#include "formats/safetensors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile int sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hn_safetensors st;
    hn_error err;
    if (hn_safetensors_parse(&st, data, size, "fuzz", &err) != HN_OK)
        return 0;
    for (size_t i = 0; i < st.n_tensors; i++)
        if (st.tensors[i].size_bytes)
            sink += st.tensors[i].data[0] + st.tensors[i].data[st.tensors[i].size_bytes - 1];
    hn_safetensors_close(&st);
    return 0;
}
