#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void message_set(hn_error *err, hn_status status, const char *fmt, va_list args) {
    if (!err)
        return;
    err->status = status;
    vsnprintf(err->message, sizeof err->message, fmt, args);
}

hn_status hn_fail(hn_error *err, hn_status status, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    message_set(err, status, fmt, args);
    va_end(args);
    return status;
}

/* What a person can do about it, or nothing. */
static const char *remedy(int problem) {
    switch (problem) {
    case ENOSPC:
    case EDQUOT:
        return "; free some space there, or name another place";
    case EACCES:
    case EPERM:
    case EROFS:
        return "; name another place, or change its rights";
    case EMFILE:
    case ENFILE:
        return "; raise the limit on open files (ulimit -n)";
    default:
        return "";
    }
}

hn_status hn_fail_errno(hn_error *err, const char *fmt, ...) {
    int saved = errno;
    hn_status status = saved == ENOMEM ? HN_NO_MEMORY : saved == EINTR ? HN_CANCELLED : HN_IO;
    va_list args;
    va_start(args, fmt);
    message_set(err, status, fmt, args);
    va_end(args);
    if (err) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, ": %s%s", strerror(saved),
                 remedy(saved));
    }
    return status;
}

hn_status hn_error_prefix(hn_error *err, const char *fmt, ...) {
    char old[HN_ERROR_MESSAGE_MAX];
    if (!err)
        return HN_FAILED;
    memcpy(old, err->message, sizeof old);
    va_list args;
    va_start(args, fmt);
    message_set(err, err->status, fmt, args);
    va_end(args);
    size_t used = strlen(err->message);
    snprintf(err->message + used, sizeof err->message - used, ": %s", old);
    return err->status;
}

hn_status hn_fail_no_memory(hn_error *err, size_t size_bytes) {
    return hn_fail(err, HN_NO_MEMORY, "out of memory: %zu bytes could not be allocated",
                   size_bytes);
}
