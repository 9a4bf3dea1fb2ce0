/* The line editor's terminal: raw mode, bracketed paste, reading and drawing. */
#include "cli/line_edit.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

static void put(const char *text, size_t n) {
    fwrite(text, 1, n, stderr);
    fflush(stderr);
}

static void redraw(const hn_line_edit *edit, const char *prompt, int width) {
    hn_buf out = {0};
    hn_line_edit_draw(edit, prompt, width, &out);
    put(hn_buf_text(&out), out.size);
    hn_buf_done(&out);
}

static hn_status read_line(hn_line_edit *edit, const char *prompt, int width,
                           const atomic_bool *cancel, bool *ended, hn_error *err) {
    for (;;) {
        while (edit->ahead_at < edit->n_ahead) {
            switch (hn_line_edit_feed(edit, edit->ahead[edit->ahead_at++])) {
            case HN_EDIT_ACCEPT:
                redraw(edit, prompt, width);
                return HN_OK;
            case HN_EDIT_CANCEL:
                return hn_fail(err, HN_CANCELLED, "cancelled");
            case HN_EDIT_END:
                *ended = true;
                return HN_OK;
            case HN_EDIT_CLEAR:
                put("\x1b[H\x1b[2J", 7);
                break;
            case HN_EDIT_MORE:
                break;
            }
        }
        redraw(edit, prompt, width);
        ssize_t n = read(STDIN_FILENO, edit->ahead, sizeof edit->ahead);
        if (n < 0 && errno == EINTR && !atomic_load(cancel))
            continue;
        if (n < 0 && errno != EINTR)
            return hn_fail_errno(err, "standard input");
        if (n < 0)
            return hn_fail(err, HN_CANCELLED, "cancelled");
        if (n == 0) {
            *ended = true;
            return HN_OK;
        }
        edit->n_ahead = (size_t)n;
        edit->ahead_at = 0;
    }
}

hn_status hn_line_read(hn_line_edit *edit, const char *prompt, int width, const atomic_bool *cancel,
                       char **line, hn_error *err) {
    static const char PASTE_ON[] = "\x1b[?2004h", PASTE_OFF[] = "\x1b[?2004l\r\n";
    struct termios cooked, raw;
    bool ended = false;
    *line = NULL;
    if (tcgetattr(STDIN_FILENO, &cooked) != 0)
        return hn_fail_errno(err, "the terminal");
    raw = cooked;
    raw.c_iflag &= ~(tcflag_t)(ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) != 0)
        return hn_fail_errno(err, "the terminal");
    put(PASTE_ON, sizeof PASTE_ON - 1);
    hn_line_edit_reset(edit);
    hn_status status = read_line(edit, prompt, width, cancel, &ended, err);
    put(PASTE_OFF, sizeof PASTE_OFF - 1);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &cooked);
    if (status != HN_OK || ended)
        return status;
    *line = hn_strndup(hn_buf_text(&edit->text), edit->text.size);
    if (!*line)
        return hn_fail_no_memory(err, edit->text.size);
    hn_line_edit_remember(edit, *line);
    return HN_OK;
}
