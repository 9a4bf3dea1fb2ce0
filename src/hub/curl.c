#include "hub/curl.h"

#include <dlfcn.h>
#include <string.h>

/* One interface, whatever speaks TLS behind it. */
static const char *const NAMES[] = {"libcurl.so.4", "libcurl-gnutls.so.4", "libcurl-nss.so.4"};

static void *open_library(void) {
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof NAMES / sizeof *NAMES; i++)
        library = dlopen(NAMES[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

hn_status hn_curl_open(hn_curl *out, hn_error *err) {
    hn_curl curl = {0};
    void *library = open_library();
    if (!library)
        return hn_fail(err, HN_UNSUPPORTED,
                       "the network needs libcurl (%s), which isn't installed; files that are here "
                       "need no network",
                       NAMES[0]);
    void *symbol;
#define X(name)                                                                                    \
    symbol = dlsym(library, "curl_" #name);                                                        \
    if (!symbol)                                                                                   \
        return hn_fail(err, HN_UNSUPPORTED, "%s has no curl_%s: it is too old", NAMES[0], #name);  \
    memcpy(&curl.name, &symbol, sizeof symbol);
    HN_CURL_FUNCTIONS(X)
#undef X
    curl.handle = curl.easy_init();
    if (!curl.handle)
        return hn_fail_no_memory(err, 1);
    *out = curl;
    return HN_OK;
}

void hn_curl_close(hn_curl *curl) {
    if (curl->handle)
        curl->easy_cleanup(curl->handle);
    *curl = (hn_curl){0};
}
