/* libcurl, loaded when something is to be fetched. It brings some thirty libraries with it, which
 * would take a good part of the time that every other command needs to start. */
#pragma once

#include "base/status.h"

#define CURL_DISABLE_TYPECHECK /* its macros call the functions by their own names */
#include <curl/curl.h>

/* X(name): curl_<name> */
#define HN_CURL_FUNCTIONS(X)                                                                       \
    X(easy_init)                                                                                   \
    X(easy_cleanup)                                                                                \
    X(easy_reset)                                                                                  \
    X(easy_setopt)                                                                                 \
    X(easy_getinfo)                                                                                \
    X(easy_perform)                                                                                \
    X(easy_strerror)                                                                               \
    X(multi_init)                                                                                  \
    X(multi_cleanup)                                                                               \
    X(multi_add_handle)                                                                            \
    X(multi_remove_handle)                                                                         \
    X(multi_perform)                                                                               \
    X(multi_poll)                                                                                  \
    X(multi_info_read)                                                                             \
    X(multi_strerror)                                                                              \
    X(slist_append)                                                                                \
    X(slist_free_all)                                                                              \
    X(url)                                                                                         \
    X(url_set)                                                                                     \
    X(url_get)                                                                                     \
    X(url_cleanup)                                                                                 \
    X(free)

typedef struct hn_curl {
    CURL *handle; /* the connections */
#define X(name) __typeof__(curl_##name) *name;
    HN_CURL_FUNCTIONS(X)
#undef X
} hn_curl;

/* HN_UNSUPPORTED when the library isn't there. Once loaded it stays until the process ends: the
 * libraries behind it don't all bear being unloaded. */
HN_MUST_CHECK hn_status hn_curl_open(hn_curl *out, hn_error *err);
/* Closes the handle; harmless on a zeroed one. */
void hn_curl_close(hn_curl *curl);
