/* Any text as a model's answer, in every format, at once and in pieces: the deltas together are the
 * same, and of calls only those that were offered are made. The first byte says how it is cut. */
#include "base/buf.h"
#include "serve/reply.h"
#include "serve/tool_calls.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const hn_api_tool TOOLS[] = {{"f", NULL, false}, {"g", NULL, false}};

static void take_apart(hn_tool_format format, const char *text, size_t n, size_t piece,
                       hn_reply_answer *answer) {
    const hn_answer_options options = {.format = format,
                                       .tools = TOOLS,
                                       .n_tools = sizeof TOOLS / sizeof *TOOLS,
                                       .emit = hn_reply_answer_add,
                                       .context = answer};
    hn_answer_parser parser;
    hn_answer_parser_init(&parser, &options);
    for (size_t i = 0; i < n; i += piece)
        if (hn_answer_parser_push(&parser, text + i, n - i < piece ? n - i : piece, NULL) != HN_OK)
            abort();
    if (hn_answer_parser_finish(&parser, NULL) != HN_OK || answer->failed)
        abort();
    hn_answer_parser_done(&parser);
}

static void same(const hn_buf *a, const hn_buf *b) {
    if (a->size != b->size || memcmp(hn_buf_text(a), hn_buf_text(b), a->size) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    const char *text = (const char *)data + 1;
    for (int format = HN_TOOLS_NONE; format <= HN_TOOLS_MISTRAL_ARGS; format++) {
        hn_reply_answer whole = {0}, cut = {0};
        take_apart((hn_tool_format)format, text, size - 1, size, &whole);
        take_apart((hn_tool_format)format, text, size - 1, 1 + data[0] % 7, &cut);
        same(&whole.content, &cut.content);
        same(&whole.reasoning, &cut.reasoning);
        if (whole.n_calls != cut.n_calls)
            abort();
        for (size_t i = 0; i < whole.n_calls; i++)
            same(&whole.calls[i].arguments, &cut.calls[i].arguments);
        hn_reply_answer_done(&whole);
        hn_reply_answer_done(&cut);
    }
    return 0;
}
