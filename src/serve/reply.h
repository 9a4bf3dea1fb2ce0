/* Answers as OpenAI's clients read them: whole objects, chunks of a stream, usage, timings. JSON is
 * appended to a buffer; whoever sends it frames it (hn_sse_open, hn_sse_close). */
#pragma once

#include "model/generate.h"
#include "serve/request.h"
#include "serve/tool_calls.h"

/* What every object and chunk of one request begins with. Texts are borrowed. */
typedef struct hn_reply_head {
    hn_api_kind kind; /* chat or completion */
    const char *id;   /* "chatcmpl-..." */
    int64_t created;  /* seconds since the epoch */
    const char *model, *fingerprint;
} hn_reply_head;

/* A call that is whole. */
typedef struct hn_reply_call {
    char id[32];
    const char *name; /* of the request's tools */
    hn_buf arguments;
} hn_reply_call;

/* One answer collected from deltas; zero-initialised is empty. */
typedef struct hn_reply_answer {
    hn_buf content, reasoning;
    hn_reply_call *calls; /* (n_calls) */
    size_t n_calls;
    bool failed; /* memory ran out on the way */
} hn_reply_answer;
/* A hn_delta_fn; context: hn_reply_answer. */
void hn_reply_answer_add(void *answer, const hn_delta *delta);
void hn_reply_answer_done(hn_reply_answer *answer);

/* "stop", "length", "tool_calls". */
const char *hn_reply_finish(hn_finish finish, bool has_calls);

typedef struct hn_reply_usage {
    int64_t n_prompt, n_cached, n_generated; /* cached: of the prompt's */
} hn_reply_usage;

/* As llama.cpp reports them. */
typedef struct hn_reply_timings {
    int64_t n_prompt, n_cached; /* computed; found */
    int64_t n_generated, n_drafted, n_accepted;
    uint64_t prompt_ns, generated_ns;
} hn_reply_timings;

/* ---- whole objects: open, the choices, close ---- */

void hn_reply_open(const hn_reply_head *head, hn_buf *out);
/* logprobs: JSON, or NULL. */
void hn_reply_message(int index, const hn_reply_answer *answer, const char *logprobs,
                      const char *finish, hn_buf *out);
void hn_reply_text(int index, const char *text, size_t n_bytes, const char *logprobs,
                   const char *finish, hn_buf *out);
/* timings may be NULL. */
void hn_reply_close(const hn_reply_usage *usage, const hn_reply_timings *timings, hn_buf *out);

/* ---- chunks ---- */

/* "data: " and what ends an event. */
void hn_sse_open(hn_buf *out);
void hn_sse_close(hn_buf *out);
void hn_sse_done(hn_buf *out); /* data: [DONE] */

/* What a chunk may carry besides its choice. All may be NULL. */
typedef struct hn_reply_extra {
    const hn_reply_usage *usage;
    const hn_reply_timings *timings;
    const char *progress; /* JSON: prompt_progress */
    bool usage_null; /* "usage": null, as every chunk but the last has it where it was asked for
                      */
} hn_reply_extra;

/* {"role": "assistant", "content": ""}: the first of a choice. */
void hn_reply_chunk_role(const hn_reply_head *head, int index, const hn_reply_extra *extra,
                         hn_buf *out);
void hn_reply_chunk_delta(const hn_reply_head *head, int index, const hn_delta *delta,
                          const char *logprobs, const hn_reply_extra *extra, hn_buf *out);
/* The last of a choice: an empty delta and why it ended. */
void hn_reply_chunk_finish(const hn_reply_head *head, int index, const char *finish,
                           const char *logprobs, const hn_reply_extra *extra, hn_buf *out);
/* Completions: text, and at the end (finish not NULL) none. */
void hn_reply_chunk_text(const hn_reply_head *head, int index, const char *text, size_t n_bytes,
                         const char *finish, const char *logprobs, const hn_reply_extra *extra,
                         hn_buf *out);
/* "choices": [] and what extra says. */
void hn_reply_chunk_usage(const hn_reply_head *head, const hn_reply_extra *extra, hn_buf *out);
