/* Chat templates: a Jinja interpreter that renders what Python's jinja2 does as transformers sets
 * it up (trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes, raise_exception,
 * strftime_now, generation tags). Bounded: a hostile template ends with an error. */
#pragma once

#include "base/buf.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct hn_template hn_template;

/* Compiles; errors carry the template's line. Immutable and safe to share afterwards. */
HN_MUST_CHECK hn_status hn_template_new(hn_template **out, const char *source, size_t n_bytes,
                                        hn_error *err);
void hn_template_free(hn_template *tmpl);

/* Renders with `variables` (an object) as globals, appending to *out. `now` is used by
 * strftime_now (seconds since the epoch, local time as Python's datetime.now). A failure in the
 * template (raise_exception, undefined operation, a limit) is HN_BAD_INPUT with its line. */
HN_MUST_CHECK hn_status hn_template_render(const hn_template *tmpl, const json_t *variables,
                                           int64_t now, hn_buf *out, hn_error *err);

/* Where `{% generation %}` blocks landed in the output of a render: byte ranges. */
typedef struct hn_template_span {
    size_t start, end;
} hn_template_span;
HN_MUST_CHECK hn_status hn_template_render_spans(const hn_template *tmpl, const json_t *variables,
                                                 int64_t now, hn_buf *out, hn_template_span **spans,
                                                 size_t *n_spans, hn_error *err);

typedef struct hn_chat_options {
    const json_t *tools;     /* array or NULL */
    const json_t *documents; /* array or NULL */
    const json_t *extra;     /* object of further variables (chat_template_kwargs) or NULL */
    bool add_generation_prompt;
    bool continue_final_message; /* as transformers: the output is cut after the last content */
    const char *bos_token, *eos_token; /* texts, "" when absent */
    int64_t now;
} hn_chat_options;

/* What transformers' apply_chat_template(tokenize=False) gives. */
HN_MUST_CHECK hn_status hn_chat_render(const hn_template *tmpl, const json_t *messages,
                                       const hn_chat_options *options, hn_buf *out, hn_error *err);
/* The same, with the byte ranges of the generation blocks in *out (freed with hn_free; NULL when
 * there are none): what transformers' return_assistant_tokens_mask goes by. */
HN_MUST_CHECK hn_status hn_chat_render_spans(const hn_template *tmpl, const json_t *messages,
                                             const hn_chat_options *options, hn_buf *out,
                                             hn_template_span **spans, size_t *n_spans,
                                             hn_error *err);
