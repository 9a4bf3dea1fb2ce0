/* Errors are values: a status code that must be looked at and an error object that says what
 * went wrong, where, and what to do about it. Nothing below cli/ prints or exits. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#define HN_MUST_CHECK __attribute__((warn_unused_result))
#define HN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* What kind of failure; cli/ turns it into the process's exit code. */
typedef enum hn_status {
    HN_OK = 0,
    HN_FAILED,      /* the work itself failed (exit 1) */
    HN_USAGE,       /* the caller asked for something that makes no sense (exit 2) */
    HN_BAD_INPUT,   /* a file, row or request is wrong (exit 3) */
    HN_IO,          /* the operating system refused: missing, no permission, disk full (exit 3) */
    HN_UNSUPPORTED, /* valid, but not something hone can do (exit 3) */
    HN_NO_MEMORY,   /* an allocation failed (exit 1) */
    HN_CANCELLED,   /* Ctrl-C or a caller's cancel flag (exit 130) */
    HN_BUSY,        /* too much to do already: later it may work (exit 1) */
} hn_status;

enum { HN_ERROR_MESSAGE_MAX = 1024 };

/* Owned by the caller, usually on its stack. `message` is UTF-8, one line, no final newline. */
typedef struct hn_error {
    hn_status status;
    char message[HN_ERROR_MESSAGE_MAX];
} hn_error;

/* Fills `err` (may be NULL) and returns `status`, so that a function can end with
 * `return hn_fail(err, HN_BAD_INPUT, "%s: ...", path)`. */
hn_status hn_fail(hn_error *err, hn_status status, const char *fmt, ...) HN_PRINTF(3, 4);

/* As hn_fail, for the value of errno: its words end the message, and often what to do about it. */
hn_status hn_fail_errno(hn_error *err, const char *fmt, ...) HN_PRINTF(2, 3);

/* Puts "context: " before the message that `err` already holds; returns err->status. */
hn_status hn_error_prefix(hn_error *err, const char *fmt, ...) HN_PRINTF(2, 3);

/* "out of memory: ..." with the size that was asked for. */
hn_status hn_fail_no_memory(hn_error *err, size_t size_bytes);

/* Forwards a failure to the caller. */
#define HN_TRY(expr)                                                                               \
    do {                                                                                           \
        hn_status hn_try_status_ = (expr);                                                         \
        if (hn_try_status_ != HN_OK)                                                               \
            return hn_try_status_;                                                                 \
    } while (0)

/* The same for functions with one `done:` label and a local `hn_status status`. */
#define HN_GO(expr)                                                                                \
    do {                                                                                           \
        status = (expr);                                                                           \
        if (status != HN_OK)                                                                       \
            goto done;                                                                             \
    } while (0)
