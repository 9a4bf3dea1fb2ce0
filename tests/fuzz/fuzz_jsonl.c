/* Any bytes as JSON lines: read to the end, passing over bad lines as `hone data check` does. */
#include "formats/jsonl.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[] = "fuzz";
    hn_jsonl lines = {.map = {.data = data, .size = size}, .path = path}; /* borrowed, not closed */
    hn_error err;
    json_t *row = NULL;
    for (;;) {
        size_t before = lines.offset;
        if (hn_jsonl_next(&lines, &row, &err) == HN_OK) {
            if (!row)
                return 0;
            json_decref(row);
        }
        if (lines.offset <= before)
            abort(); /* a reader that stands still would loop for ever */
    }
}
