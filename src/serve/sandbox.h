/* Giving up what a server doesn't need. Two steps: files before threads are made (Landlock counts
 * for a thread and those it makes), system calls once everything runs (seccomp, all threads). */
#pragma once

#include "serve/server.h"

enum { HN_SANDBOX_TEXT_BYTES = 256 };

/* No new privileges; from here on only what the options name, and the system's own read-only
 * folders, can be opened, and no TCP connection be made, as far as the kernel knows Landlock. */
HN_MUST_CHECK hn_status hn_sandbox_files(const hn_serve_options *options, hn_error *err);
/* System calls that serving doesn't need fail with EPERM from here on, in all threads. `kept` gets
 * a line that says what is in force. */
HN_MUST_CHECK hn_status hn_sandbox_calls(char kept[HN_SANDBOX_TEXT_BYTES], hn_error *err);
