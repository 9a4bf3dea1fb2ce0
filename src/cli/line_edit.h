/* A small line editor: bytes from a terminal in raw mode go in, one at a time; what to draw and
 * the finished line come out. The editing is apart from the terminal, so that tests can type. */
#pragma once

#include "base/buf.h"
#include "base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum hn_edit_action {
    HN_EDIT_MORE,   /* draw, read on */
    HN_EDIT_ACCEPT, /* Enter */
    HN_EDIT_CANCEL, /* Ctrl-C */
    HN_EDIT_END,    /* Ctrl-D on an empty line */
    HN_EDIT_CLEAR,  /* Ctrl-L: clear the screen, draw, read on */
} hn_edit_action;

enum { HN_EDIT_HISTORY = 200 };

/* Zero-initialised is valid. */
typedef struct hn_line_edit {
    hn_buf text; /* the line; a pasted newline is part of it */
    size_t cursor;
    char sequence[16]; /* an escape sequence or character that isn't complete yet */
    size_t n_sequence;
    bool pasting;
    char *history[HN_EDIT_HISTORY]; /* oldest first */
    int n_history, history_at;      /* n_history = the line being typed */
    char *typed;                    /* that line, while the history is looked through */
    char ahead[256];                /* bytes read but not fed yet: typed ahead of an answer */
    size_t n_ahead, ahead_at;
} hn_line_edit;

/* Takes one byte. Bytes that mean nothing are dropped. */
hn_edit_action hn_line_edit_feed(hn_line_edit *edit, char byte);
/* One screen line: prompt, the part of the text round the cursor, and the cursor's place. */
void hn_line_edit_draw(const hn_line_edit *edit, const char *prompt, int width, hn_buf *out);
/* Starts a new line. */
void hn_line_edit_reset(hn_line_edit *edit);
void hn_line_edit_remember(hn_line_edit *edit, const char *line);
void hn_line_edit_done(hn_line_edit *edit);

/* Reads a line from the terminal on standard input, drawn on stderr. *line is freed with hn_free;
 * NULL at the end of input. HN_CANCELLED: Ctrl-C, or a signal set `cancel`. */
HN_MUST_CHECK hn_status hn_line_read(hn_line_edit *edit, const char *prompt, int width,
                                     const atomic_bool *cancel, char **line, hn_error *err);
