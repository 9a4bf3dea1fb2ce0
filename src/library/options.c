/* Structs that cross the library's border: options that grow at their end, and errors. */
#include "library/library.h"

#include <string.h>

/* A struct that nobody initialised is likelier than one of so many bytes. */
enum { MAX_OPTIONS_BYTES = 4096 };

_Static_assert((int)HONE_OK == HN_OK && (int)HONE_FAILED == HN_FAILED &&
                   (int)HONE_USAGE == HN_USAGE && (int)HONE_BAD_INPUT == HN_BAD_INPUT &&
                   (int)HONE_IO == HN_IO && (int)HONE_UNSUPPORTED == HN_UNSUPPORTED &&
                   (int)HONE_NO_MEMORY == HN_NO_MEMORY && (int)HONE_CANCELLED == HN_CANCELLED,
               "hone_status is hn_status");
_Static_assert((int)HONE_FINISH_STOP == HN_FINISH_STOP &&
                   (int)HONE_FINISH_LENGTH == HN_FINISH_LENGTH &&
                   (int)HONE_FINISH_CANCELLED == HN_FINISH_CANCELLED,
               "hone_finish is hn_finish");
_Static_assert((int)HONE_MESSAGE_MAX == HN_ERROR_MESSAGE_MAX, "messages fit");

const char *hone_status_name(hone_status status) {
    static const char *const names[] = {
        "ok",           "failed",      "wrong usage",   "bad input",
        "input/output", "unsupported", "out of memory", "cancelled"};
    const unsigned index = (unsigned)status;
    return index < sizeof names / sizeof *names ? names[index] : "unknown";
}

hone_status hn_library_report(hn_status status, const hn_error *err, hone_error *out) {
    if (status != HN_OK && out) {
        out->status = (hone_status)status;
        memcpy(out->message, err->message, sizeof out->message);
    }
    return (hone_status)status;
}

hn_status hn_library_need(const void *pointer, const char *what, hn_error *err) {
    return pointer ? HN_OK : hn_fail(err, HN_USAGE, "%s is NULL", what);
}

bool hn_library_size_ok(size_t size) {
    return size >= sizeof size && size <= MAX_OPTIONS_BYTES;
}

hn_status hn_library_options_read(void *out, size_t size, const void *given, const char *name,
                                  hn_error *err) {
    if (!given)
        return HN_OK;
    size_t given_size;
    memcpy(&given_size, given, sizeof given_size);
    if (!hn_library_size_ok(given_size))
        return hn_fail(err, HN_USAGE, "%s wasn't initialised: call %s_init first", name, name);
    for (size_t i = size; i < given_size; i++)
        if (((const char *)given)[i])
            return hn_fail(
                err, HN_UNSUPPORTED,
                "%s says something that hone %s doesn't know: the program was made for a "
                "newer version",
                name, hone_version());
    memcpy(out, given, given_size < size ? given_size : size);
    return HN_OK;
}

void hn_library_options_write(void *options, size_t given_size, const void *defaults, size_t size) {
    if (!options || !hn_library_size_ok(given_size))
        return;
    memset(options, 0, given_size);
    memcpy(options, defaults, given_size < size ? given_size : size);
    memcpy(options, &given_size, sizeof given_size);
}
