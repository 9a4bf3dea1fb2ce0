/* Draws hn_progress on stderr: a bar with rate and time left on a terminal, a plain line about
 * every ten seconds elsewhere, nothing when quiet. */
#pragma once

#include "base/progress.h"
#include "cli/cli.h"

typedef struct hn_progress_view {
    const hn_term *term;
    bool quiet;
    char label[64]; /* of the work going on; empty = none */
    uint64_t first_done, done, total;
    char unit[24];
    char detail[96];
    double started_s, drawn_s; /* seconds on the monotonic clock */
    bool drawn;                /* a bar stands on the terminal's last line */
} hn_progress_view;

/* Fills progress->update, note and context; `view` and `term` must outlive it. */
void hn_progress_view_init(hn_progress_view *view, const hn_term *term, bool quiet,
                           hn_progress *progress);
/* Draws the final state and leaves the line. Harmless when nothing is going on. */
void hn_progress_view_finish(hn_progress_view *view);
/* One line of progress as it is drawn, for tests: at most `width` columns. */
void hn_progress_view_line(const hn_progress_view *view, double now_s, int width, char *line,
                           size_t size);
