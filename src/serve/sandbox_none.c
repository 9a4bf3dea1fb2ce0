/* The sandbox where there is none. */
#include "serve/sandbox.h"

hn_status hn_sandbox_files(const hn_serve_options *options, hn_error *err) {
    (void)options;
    return hn_fail(err, HN_UNSUPPORTED, "no sandbox on this system: use --no-sandbox");
}

hn_status hn_sandbox_calls(char kept[HN_SANDBOX_TEXT_BYTES], hn_error *err) {
    kept[0] = '\0';
    return hn_fail(err, HN_UNSUPPORTED, "no sandbox on this system: use --no-sandbox");
}
