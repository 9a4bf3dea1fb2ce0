#include "base/progress.h"

#include <stdarg.h>
#include <stdio.h>

void hn_progress_update(const hn_progress *progress, const char *label, uint64_t done,
                        uint64_t total, const char *unit, const char *detail) {
    if (progress && progress->update)
        progress->update(progress->context, label, done, total, unit, detail);
}

void hn_progress_note(const hn_progress *progress, const char *fmt, ...) {
    if (!progress || !progress->note)
        return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    progress->note(progress->context, text);
}

bool hn_progress_cancelled(const hn_progress *progress) {
    return progress && progress->cancel && atomic_load(progress->cancel);
}
