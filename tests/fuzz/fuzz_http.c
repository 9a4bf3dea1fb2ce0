/* The head of a request and a chunked body, in one piece and in pieces, which must not differ. */
#include "base/mem.h"
#include "http/parse.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_BODY = 4096 };

/* The status, 0 = a whole body, -1 = more is needed. */
static int decode(const char *data, size_t n, size_t step, hn_buf *body) {
    hn_http_chunks chunks = {0};
    const char *why = NULL;
    while (n > 0 && !chunks.done) {
        size_t take = step < n ? step : n, used = 0;
        int status = hn_http_chunks_feed(&chunks, data, take, &used, body, MAX_BODY, &why);
        if (status)
            return why ? status : -2;
        data += used;
        n -= used;
    }
    return chunks.done ? 0 : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data, *why = NULL;
    size_t from = 0, again = 0;
    long whole = hn_http_head_scan(text, size, &from), pieces = 0;
    for (size_t n = 1; n <= size && pieces == 0; n++)
        pieces = hn_http_head_scan(text, n, &again);
    if (whole != pieces)
        abort();
    size_t head_bytes = whole > 0 ? (size_t)whole : 0;
    if (whole > 0) {
        hn_http_head head;
        int status = hn_http_head_parse(&head, text, head_bytes, &why);
        if (status ? !why : head.path[0] != '/' && head.path[0] != '*')
            abort();
        if (status == 0 && head.chunked && head.has_length)
            abort();
        hn_http_head_done(&head);
    }
    hn_buf one = {0}, bytes = {0};
    int a = decode(text + head_bytes, size - head_bytes, size, &one);
    int b = decode(text + head_bytes, size - head_bytes, 1, &bytes);
    if (a != b || (a == 0 && (one.size != bytes.size ||
                              (one.size && memcmp(one.data, bytes.data, one.size) != 0))))
        abort();
    hn_buf_done(&one);
    hn_buf_done(&bytes);
    return 0;
}
