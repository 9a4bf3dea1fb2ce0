/* GBNF from any bytes: an error, or a grammar whose masks and texts agree. */
#include "grammar_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hn_grammar *g = NULL;
    hn_buf text = {0};
    hn_error err;
    if (hn_grammar_from_gbnf(&g, (const char *)data, size, "g", &err) != HN_OK)
        return 0;
    (void)walk_grammar(g, (unsigned)size, &text);
    hn_buf_done(&text);
    hn_grammar_free(g);
    return 0;
}
