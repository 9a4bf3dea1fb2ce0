/* One tool call, {"name": ..., "arguments": {...}}, read byte by byte as a model writes it, so that
 * its arguments can be passed on before they are whole. Also taken: "parameters" for "arguments",
 * arguments as JSON in a string, further keys, and OpenAI's own {"type", "function": {...}}. */
#pragma once

#include "base/buf.h"
#include "serve/request.h"

typedef enum hn_call_progress {
    HN_CALL_MORE, /* everything was taken, the object isn't whole */
    HN_CALL_DONE, /* whole: name and arguments are there */
    HN_CALL_NONE, /* no call, or none of these tools */
} hn_call_progress;

typedef enum hn_call_state {
    HN_CALL_OPEN,
    HN_CALL_BARE, /* the arguments alone: the name was said */
    HN_CALL_FIRST_KEY,
    HN_CALL_NEXT_KEY,
    HN_CALL_KEY,
    HN_CALL_COLON,
    HN_CALL_VALUE,
    HN_CALL_NAME,
    HN_CALL_ARGUMENTS,        /* an object */
    HN_CALL_ARGUMENTS_STRING, /* an object, in a string */
    HN_CALL_OTHER,            /* a value that isn't looked at: nested or a string */
    HN_CALL_SCALAR,           /* the same: a number or a word */
    HN_CALL_AFTER,
} hn_call_state;

/* Zero-initialised plus tools is ready. */
typedef struct hn_call_object {
    const hn_api_tool *tools; /* (n_tools) calls that are possible; borrowed */
    size_t n_tools;
    bool needs_arguments; /* without them it is no call */
    /* What is known so far. */
    const hn_api_tool *tool; /* NULL = not yet */
    bool has_arguments;      /* they have begun */
    hn_buf arguments;        /* so far, as they were written */
    /* Inside. */
    hn_call_state state;
    hn_buf word; /* the string that is being read, with its quotes */
    int depth;
    bool in_string, escaped, wrapped;
    bool bare; /* the arguments stand alone (hn_call_object_head) */
} hn_call_object;

/* Takes bytes of text[0..n); *used of them. What it decides doesn't depend on how the text is cut.
 * Once tool and has_arguments are set it stays a call, however it goes on. */
hn_call_progress hn_call_object_push(hn_call_object *object, const char *text, size_t n,
                                     size_t *used);
/* Mistral's name[ARGS] or name[CALL_ID]id[ARGS] before the arguments, whose tags may be missing;
 * for the text from its beginning, after a reset. DONE: *used bytes, and the bare arguments follow.
 * MORE: to be asked again once there is more. NONE: it is none, or none of these tools. */
#define HN_CALL_ID_TAG "[CALL_ID]"
#define HN_CALL_ARGUMENTS_TAG "[ARGS]"
hn_call_progress hn_call_object_head(hn_call_object *object, const char *text, size_t n,
                                     size_t *used);
/* Ready for the next one. */
void hn_call_object_reset(hn_call_object *object);
void hn_call_object_done(hn_call_object *object);
