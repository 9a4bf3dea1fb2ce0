/* hone.h: small language models inside a program of one's own. C99 and C++11.
 *
 *   engine    a model opened for computing; one a program is enough
 *   adapter   a LoRA that was taught on that model
 *   session   one conversation: a context of so many tokens over an engine
 *
 * Threads. An engine and its adapters may be used by any number of threads. A session belongs to
 * one thread at a time; only hone_session_cancel may be called from another meanwhile. Sessions of
 * one engine compute in turns, pass by pass, in the order they ask; what a session answers doesn't
 * depend on the others, nor on the number of threads.
 *
 * Errors. A function that can fail returns a status and, unless `err` is NULL, leaves a message
 * there: what is wrong, where, and what to do. On failure its other outputs are as they were.
 *
 * Strings are UTF-8, NUL-terminated where no length is given. The library prints nothing, ends no
 * program, installs no signal handler and keeps nothing between its objects. Its threads take no
 * signals. It isn't to be used in a child of fork that came after the engine. */
#ifndef HONE_H
#define HONE_H

#include <stddef.h>
#include <stdint.h>

#define HONE_VERSION_MAJOR 0
#define HONE_VERSION_MINOR 1
#define HONE_VERSION_PATCH 0

#if defined(__GNUC__)
#define HONE_API __attribute__((visibility("default")))
#define HONE_MUST_CHECK __attribute__((visibility("default"), warn_unused_result))
#else
#define HONE_API
#define HONE_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0", of the library that runs; static storage. */
HONE_API const char *hone_version(void);

/* ---- errors ---- */

typedef enum hone_status {
    HONE_OK = 0,
    HONE_FAILED = 1,      /* the work itself failed */
    HONE_USAGE = 2,       /* the call makes no sense: an argument is missing or out of range */
    HONE_BAD_INPUT = 3,   /* a file, a text or a message is wrong */
    HONE_IO = 4,          /* the operating system refused: missing, no permission */
    HONE_UNSUPPORTED = 5, /* valid, but not something this library can do */
    HONE_NO_MEMORY = 6,
    HONE_CANCELLED = 7 /* hone_session_cancel, where there is no partial result */
} hone_status;

enum { HONE_MESSAGE_MAX = 1024 };

/* Owned by the caller, usually on its stack; written to on failure only. Its layout is final. */
typedef struct hone_error {
    hone_status status;
    char message[HONE_MESSAGE_MAX]; /* one line */
} hone_error;

/* "bad input", ...; static storage. */
HONE_API const char *hone_status_name(hone_status status);

/* Frees what hone_tokenize and hone_detokenize return. NULL is nothing. */
HONE_API void hone_free(void *memory);

/* ---- options ----
 * Structs that begin with `size` may grow at their end in later versions. Their _init function,
 * given sizeof the struct, fills in the defaults; then set what should be different. Where a
 * function takes a pointer to options, NULL means all defaults. Strings and arrays in options are
 * borrowed for the call. */

/* ---- engine ---- */

typedef struct hone_engine hone_engine;

typedef enum hone_numerics {
    HONE_NUMERICS_INT8 = 0, /* activations rounded to 8 bits where the kernels are faster with it,
                               keys and values held in f16 */
    HONE_NUMERICS_F32 = 1   /* as training computes; keys and values in f32 */
} hone_numerics;

typedef struct hone_engine_options {
    size_t size;
    int n_threads;          /* that compute; 0 = as many as this process may use cores */
    const char *isa;        /* "avx2", ...; NULL = HONE_ISA of the environment, or the best */
    hone_numerics numerics; /* default HONE_NUMERICS_INT8 */
    int context;            /* tokens of a session that doesn't say; 0 = what the model was trained
                               for, at most 4096 */
    /* A folder (made when it is missing) that keeps weights as they are laid out in memory: the
     * next start maps them, and processes share them. The longest unused go when together they
     * exceed weights_cache_bytes; 0 = 8 GiB. What can't be kept there is no error. NULL = none. */
    const char *weights_cache;
    uint64_t weights_cache_bytes;
} hone_engine_options;
HONE_API void hone_engine_options_init(hone_engine_options *options, size_t size);

/* Opens a GGUF file or a Hugging Face folder. The file must not change while the engine is open.
 * *out is closed with hone_engine_close. */
HONE_MUST_CHECK hone_status hone_engine_open(hone_engine **out, const char *path,
                                             const hone_engine_options *options, hone_error *err);
/* Adapters and sessions that are still open keep the model alive until they are closed, too. NULL
 * is nothing. */
HONE_API void hone_engine_close(hone_engine *engine);

/* 0 (or NULL) for a NULL engine. */
HONE_API int hone_engine_n_vocab(const hone_engine *engine);
HONE_API int hone_engine_n_embd(const hone_engine *engine);  /* floats of an embedding */
HONE_API int hone_engine_context(const hone_engine *engine); /* of a session that doesn't say */
HONE_API int hone_engine_n_threads(const hone_engine *engine);
HONE_API const char *hone_engine_isa(const hone_engine *engine); /* static storage */

/* ---- tokens ---- */

enum {
    HONE_TOKENS_ADD_SPECIAL = 1,   /* the model's own begin and end tokens are added */
    HONE_TOKENS_PARSE_SPECIAL = 2, /* control tokens in the text become tokens: trusted text only */
    HONE_TOKENS_SHOW_SPECIAL = 4   /* detokenising: control tokens appear as their text */
};

/* *tokens: (n_tokens), freed with hone_free. */
HONE_MUST_CHECK hone_status hone_tokenize(const hone_engine *engine, const char *text,
                                          size_t n_bytes, int flags, int32_t **tokens,
                                          size_t *n_tokens, hone_error *err);
/* *text is NUL-terminated and freed with hone_free; n_bytes may be NULL. Bytes that are no whole
 * character become U+FFFD. */
HONE_MUST_CHECK hone_status hone_detokenize(const hone_engine *engine, const int32_t *tokens,
                                            size_t n_tokens, int flags, char **text,
                                            size_t *n_bytes, hone_error *err);

/* ---- adapter ---- */

typedef struct hone_adapter hone_adapter;

/* Opens a PEFT folder or a GGUF adapter made for the engine's model. Closed with
 * hone_adapter_close; sessions that use it keep it alive. */
HONE_MUST_CHECK hone_status hone_adapter_open(hone_adapter **out, hone_engine *engine,
                                              const char *path, hone_error *err);
HONE_API void hone_adapter_close(hone_adapter *adapter);

/* ---- session ---- */

typedef struct hone_session hone_session;

typedef struct hone_session_options {
    size_t size;
    int context;           /* tokens, question and answer together; 0 = the engine's */
    hone_adapter *adapter; /* of the same engine, or NULL */
} hone_session_options;
HONE_API void hone_session_options_init(hone_session_options *options, size_t size);

/* Memory for the whole context is set aside here. Closed with hone_session_close. */
HONE_MUST_CHECK hone_status hone_session_open(hone_session **out, hone_engine *engine,
                                              const hone_session_options *options, hone_error *err);
/* Must not run beside another call on the session. NULL is nothing. */
HONE_API void hone_session_close(hone_session *session);
/* Forgets what was computed. Never needed for a right answer: only the beginning that a prompt has
 * in common with what the session holds is used again. */
HONE_MUST_CHECK hone_status hone_session_reset(hone_session *session, hone_error *err);
/* From any thread: the call that runs on the session ends soon, before the next pass over the
 * model. Does nothing when none runs. */
HONE_API void hone_session_cancel(hone_session *session);

/* ---- generation ---- */

/* Sees each piece of an answer as soon as it is certain; whole characters, no NUL behind them.
 * Returns 0 to go on; anything else ends the answer (HONE_FINISH_CANCELLED). Must not use the
 * session, save hone_session_cancel, and must not leave by longjmp or an exception. */
typedef int hone_text_fn(void *context, const char *text, size_t n_bytes);

/* Its layout is final. */
typedef struct hone_logit_bias {
    int32_t token;
    float bias; /* added to the token's logit; -INFINITY forbids it */
} hone_logit_bias;

typedef struct hone_generate_options {
    size_t size;
    float temperature; /* 0 = always the likeliest token (default) */
    int top_k;         /* draw among the k likeliest; 0 = off (default) */
    float top_p;       /* among the likeliest that reach this probability; 1 = off (default) */
    float min_p;       /* drop what is less likely than this part of the best; 0 = off (default) */
    float repetition_penalty;                  /* over prompt and answer; 1 = off (default) */
    float presence_penalty, frequency_penalty; /* over the answer; 0 = off (default) */
    uint64_t seed;                             /* of the draws; the same seed, the same answer */
    int max_tokens;                            /* 0 = until the context is full (default) */
    const char *const *stop;                   /* texts that end the answer and are no part of it */
    size_t n_stop;
    int ignore_end;        /* not 0: the model's own end tokens don't end the answer */
    hone_text_fn *on_text; /* or NULL */
    void *on_text_context;
    /* What the answer may be; at most one of them. An engine keeps what it made of the last few. A
     * keyword or rule that can't be honoured is HONE_UNSUPPORTED, naming it. */
    const char *grammar;               /* GBNF, the rule root being the whole answer; NULL = any */
    const char *json_schema;           /* the answer is JSON that it accepts; NULL = any */
    const hone_logit_bias *logit_bias; /* (n_logit_bias) */
    size_t n_logit_bias;
    int speculate; /* not 0: tokens are guessed from the text so far (default), which makes what
                      repeats itself quicker and never changes an answer */
} hone_generate_options;
HONE_API void hone_generate_options_init(hone_generate_options *options, size_t size);

typedef enum hone_finish {
    HONE_FINISH_STOP = 0,     /* an end token or a stop text */
    HONE_FINISH_LENGTH = 1,   /* max_tokens, or the context is full */
    HONE_FINISH_CANCELLED = 2 /* by on_text or hone_session_cancel; the text so far is there */
} hone_finish;

/* Initialised once with hone_result_init, it may be used for many calls: each frees what the last
 * one left. Freed with hone_result_done. */
typedef struct hone_result {
    size_t size;
    char *text; /* NUL-terminated; owned by the result */
    size_t n_bytes;
    int32_t *tokens; /* (n_tokens) of the answer, its end token not included; owned */
    size_t n_tokens;
    hone_finish finish;
    int n_prompt;                  /* tokens of the prompt */
    int n_reused;                  /* how many of them the session had computed before */
    double first_token_s, total_s; /* seconds from the call's start */
    int n_drafted, n_accepted;     /* tokens that were guessed, and those that came true */
} hone_result;
HONE_API void hone_result_init(hone_result *result, size_t size);
/* NULL is nothing. */
HONE_API void hone_result_done(hone_result *result);

/* Its layout is final. */
typedef struct hone_message {
    const char *role; /* "system", "user", "assistant" */
    const char *content;
} hone_message;

/* Answers a conversation through the model's chat template. Give all of its messages each time,
 * the answers so far among them: what the session still holds of them isn't computed again.
 * `result` may be NULL. HONE_BAD_INPUT when they don't fit the context. */
HONE_MUST_CHECK hone_status hone_chat(hone_session *session, const hone_message *messages,
                                      size_t n_messages, const hone_generate_options *options,
                                      hone_result *result, hone_error *err);
/* Continues a text as it stands. `result` may be NULL. */
HONE_MUST_CHECK hone_status hone_complete(hone_session *session, const char *text,
                                          const hone_generate_options *options, hone_result *result,
                                          hone_error *err);

/* ---- embeddings ---- */

typedef struct hone_embed_options {
    size_t size;
    int normalise; /* not 0: scaled to length 1, so that a product of two is their cosine (default)
                    */
} hone_embed_options;
HONE_API void hone_embed_options_init(hone_embed_options *options, size_t size);

/* The mean over the text's tokens of what the model's last norm gives. out: (n_out), n_out =
 * hone_engine_n_embd. Takes the session's context: a conversation there is computed anew
 * afterwards. */
HONE_MUST_CHECK hone_status hone_embed(hone_session *session, const char *text,
                                       const hone_embed_options *options, float *out, size_t n_out,
                                       hone_error *err);

#ifdef __cplusplus
}
#endif

#endif
