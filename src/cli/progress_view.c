#include "cli/progress_view.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const double BAR_EVERY_S = 0.1, LINE_EVERY_S = 10.0;
/* A rate from less than this is noise. */
static const double RATE_AFTER_S = 0.5;
enum { LINE_MAX = 512, BAR_CELLS = 20, BAR_MIN_WIDTH = 72 };

static void amount(char *text, size_t size, const hn_progress_view *view, double value) {
    char bytes[32];
    if (strcmp(view->unit, "bytes") == 0)
        snprintf(text, size, "%s", hn_cli_bytes(bytes, value));
    else if (value >= 100 || value == (double)(uint64_t)value)
        snprintf(text, size, "%.0f", value);
    else
        snprintf(text, size, "%.2g", value);
}

/* "1234/4000 steps", or with bytes "12.3 MB/98.4 MB" */
static void counts(char *text, size_t size, const hn_progress_view *view) {
    char done[40], total[40] = "";
    amount(done, sizeof done, view, (double)view->done);
    if (view->total)
        amount(total, sizeof total, view, (double)view->total);
    bool bytes = strcmp(view->unit, "bytes") == 0;
    snprintf(text, size, "%s%s%s%s%s", done, view->total ? "/" : "", total, bytes ? "" : " ",
             bytes ? "" : view->unit);
}

void hn_progress_view_line(const hn_progress_view *view, double now_s, int width, char *line,
                           size_t size) {
    char bar[BAR_CELLS + 4] = "", amounts[96], speed[96] = "";
    double elapsed = now_s - view->started_s;
    double fraction = view->total ? (double)view->done / (double)view->total : 0;
    if (fraction > 1)
        fraction = 1;
    counts(amounts, sizeof amounts, view);
    if (view->total && width >= BAR_MIN_WIDTH) {
        int full = (int)(fraction * BAR_CELLS);
        bar[0] = '[';
        for (int i = 0; i < BAR_CELLS; i++)
            bar[i + 1] = i < full ? '=' : ' ';
        memcpy(bar + BAR_CELLS + 1, "] ", 3);
    }
    double rate = elapsed >= RATE_AFTER_S ? (double)(view->done - view->first_done) / elapsed : 0;
    if (rate > 0) {
        char text[40], left[32];
        amount(text, sizeof text, view, rate);
        size_t used = (size_t)snprintf(speed, sizeof speed, "  %s/s", text);
        if (view->total > view->done)
            snprintf(speed + used, sizeof speed - used, ", %s left",
                     hn_cli_duration(left, (double)(view->total - view->done) / rate));
        else
            snprintf(speed + used, sizeof speed - used, ", %s", hn_cli_duration(left, elapsed));
    }
    char percent[16] = "";
    if (view->total)
        snprintf(percent, sizeof percent, "%3.0f%%  ", fraction * 100);
    char whole[LINE_MAX];
    snprintf(whole, sizeof whole, "%s  %s%s%s%s%s%s", view->label, bar, percent, amounts, speed,
             view->detail[0] ? "  " : "", view->detail);
    /* Every byte counts as one column here: labels and details are ASCII. */
    if (width > 0 && strlen(whole) > (size_t)width)
        whole[width] = '\0';
    snprintf(line, size, "%s", whole);
}

static int width_now(const hn_progress_view *view) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col; /* the window may have been resized since the start */
    return view->term->width;
}

static void draw(hn_progress_view *view, double now_s, bool last) {
    char line[LINE_MAX];
    if (view->quiet)
        return;
    if (view->term->is_terminal) {
        hn_progress_view_line(view, now_s, width_now(view) - 1, line, sizeof line);
        fprintf(stderr, "\r\x1b[K%s%s", line, last ? "\n" : "");
        view->drawn = !last;
    } else {
        hn_progress_view_line(view, now_s, 0, line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
    fflush(stderr);
    view->drawn_s = now_s;
}

void hn_progress_view_finish(hn_progress_view *view) {
    if (view->label[0])
        draw(view, hn_clock_seconds(), true);
    view->label[0] = '\0';
}

static void start(hn_progress_view *view, const char *label, uint64_t done, double now_s) {
    hn_progress_view_finish(view);
    snprintf(view->label, sizeof view->label, "%s", label);
    view->first_done = done;
    view->started_s = now_s;
    /* A first plain line waits as long as the others: short work stays one line. */
    view->drawn_s = view->term->is_terminal ? 0 : now_s;
}

static void on_update(void *context, const char *label, uint64_t done, uint64_t total,
                      const char *unit, const char *detail) {
    hn_progress_view *view = context;
    double now_s = hn_clock_seconds();
    if (strncmp(view->label, label, sizeof view->label - 1) != 0 || done < view->done)
        start(view, label, done, now_s);
    view->done = done;
    view->total = total;
    snprintf(view->unit, sizeof view->unit, "%s", unit ? unit : "");
    snprintf(view->detail, sizeof view->detail, "%s", detail ? detail : "");
    if (total && done >= total)
        hn_progress_view_finish(view);
    else if (now_s - view->drawn_s >= (view->term->is_terminal ? BAR_EVERY_S : LINE_EVERY_S))
        draw(view, now_s, false);
}

static void on_note(void *context, const char *text) {
    hn_progress_view *view = context;
    if (view->drawn)
        fputs("\r\x1b[K", stderr);
    view->drawn = false;
    fprintf(stderr, "%s\n", text);
    fflush(stderr);
}

void hn_progress_view_init(hn_progress_view *view, const hn_term *term, bool quiet,
                           hn_progress *progress) {
    *view = (hn_progress_view){.term = term, .quiet = quiet};
    progress->context = view;
    progress->update = on_update;
    progress->note = on_note;
}
