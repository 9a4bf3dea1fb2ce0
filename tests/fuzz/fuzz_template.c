/* Chat templates: whatever the source, compiling and rendering end with text or an error. The
 * limits are the render's own; a short budget keeps one input from taking a second. */
#include "base/mem.h"
#include "template/template.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char VARIABLES[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
    "\"h\\u00e9 "
    "\\ud83e\\udd8a\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{"
    "\"name\":\"f\",\"arguments\":{\"a\":[1,2.5,true,null]}}}]}],\"l\":[3,1,2],\"d\":{\"b\":1,"
    "\"a\":{\"x\":\"y\"}},\"s\":\"Hello "
    "<b>\",\"n\":5,\"f\":2.5,\"tools\":[{\"type\":\"function\"}],"
    "\"add_generation_prompt\":true,\"bos_token\":\"<s>\"}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static json_t *variables;
    if (!variables)
        variables = json_loads(VARIABLES, 0, NULL);
    hn_template *tmpl = NULL;
    hn_error err;
    if (hn_template_new(&tmpl, (const char *)data, size, &err) != HN_OK)
        return 0;
    hn_buf text = {0};
    hn_template_span *spans = NULL;
    size_t n = 0;
    if (hn_template_render_spans(tmpl, variables, 1753000000, &text, &spans, &n, &err) == HN_OK)
        for (size_t i = 0; i < n; i++)
            if (spans[i].start > spans[i].end)
                abort();
    hn_free(spans);
    hn_buf_done(&text);
    hn_chat_options options = {.continue_final_message = size % 2,
                               .extra = json_object_get(variables, "d"),
                               .bos_token = "<s>",
                               .eos_token = "</s>"};
    (void)!hn_chat_render(tmpl, json_object_get(variables, "messages"), &options, &text, &err);
    hn_buf_done(&text);
    hn_template_free(tmpl);
    return 0;
}
