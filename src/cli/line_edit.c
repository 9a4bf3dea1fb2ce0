#include "cli/line_edit.h"

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"

#include <string.h>
#include <utf8proc.h>

enum {
    CTRL_A = 1,
    CTRL_B,
    CTRL_C,
    CTRL_D,
    CTRL_E,
    CTRL_F,
    CTRL_H = 8,
    CTRL_K = 11,
    CTRL_L,
    ENTER,
    CTRL_N,
    CTRL_P = 16,
    CTRL_U = 21,
    CTRL_W = 23,
    ESCAPE = 27,
    DELETE = 127,
};

static size_t char_at(const hn_line_edit *edit, size_t at, uint32_t *c) {
    size_t length = hn_utf8_decode(edit->text.data + at, edit->text.size - at, c);
    if (length == 0) {
        *c = '?';
        length = 1;
    }
    return length;
}

/* The place after the character at `at`, with the marks that combine with it. */
static size_t next_char(const hn_line_edit *edit, size_t at) {
    uint32_t c;
    if (at < edit->text.size)
        at += char_at(edit, at, &c);
    while (at < edit->text.size) {
        size_t length = char_at(edit, at, &c);
        if (c < ' ' || utf8proc_charwidth((utf8proc_int32_t)c) != 0)
            break;
        at += length;
    }
    return at;
}

static size_t previous_char(const hn_line_edit *edit, size_t at) {
    size_t found = 0;
    for (size_t i = 0; i < at; i = next_char(edit, i))
        found = i;
    return found;
}

static void erase(hn_line_edit *edit, size_t from, size_t to) {
    hn_buf *text = &edit->text;
    if (from >= to)
        return;
    memmove(text->data + from, text->data + to, text->size - to + 1);
    text->size -= to - from;
    edit->cursor = from;
}

static void insert(hn_line_edit *edit, const char *bytes, size_t n) {
    hn_buf *text = &edit->text;
    size_t tail = text->size - edit->cursor;
    if (!hn_buf_append(text, bytes, n)) /* grows by n; the bytes move below */
        return;
    memmove(text->data + edit->cursor + n, text->data + edit->cursor, tail);
    memcpy(text->data + edit->cursor, bytes, n);
    edit->cursor += n;
}

static void set_text(hn_line_edit *edit, const char *text) {
    hn_buf_reset(&edit->text);
    edit->cursor = 0;
    insert(edit, text, strlen(text));
}

static size_t word_start(const hn_line_edit *edit) {
    size_t at = edit->cursor;
    while (at > 0 && edit->text.data[at - 1] == ' ')
        at--;
    while (at > 0 && edit->text.data[at - 1] != ' ')
        at--;
    return at;
}

static size_t word_end(const hn_line_edit *edit) {
    size_t at = edit->cursor;
    while (at < edit->text.size && edit->text.data[at] == ' ')
        at++;
    while (at < edit->text.size && edit->text.data[at] != ' ')
        at++;
    return at;
}

static void history_go(hn_line_edit *edit, int step) {
    int to = edit->history_at + step;
    if (to < 0 || to > edit->n_history)
        return;
    if (edit->history_at == edit->n_history) {
        hn_free(edit->typed);
        edit->typed = hn_strdup(hn_buf_text(&edit->text));
    }
    edit->history_at = to;
    const char *text = to == edit->n_history ? edit->typed : edit->history[to];
    set_text(edit, text ? text : "");
}

/* A complete escape sequence: "\x1b[A", "\x1bOH", "\x1b[1;5C", "\x1bb", ... */
static void escape(hn_line_edit *edit, const char *s) {
    static const struct {
        const char *sequence;
        char key;
    } KEYS[] = {
        {"\x1b[A", 'u'},
        {"\x1bOA", 'u'},
        {"\x1b[B", 'd'},
        {"\x1bOB", 'd'},
        {"\x1b[C", 'r'},
        {"\x1bOC", 'r'},
        {"\x1b[D", 'l'},
        {"\x1bOD", 'l'},
        {"\x1b[H", 'h'},
        {"\x1bOH", 'h'},
        {"\x1b[1~", 'h'},
        {"\x1b[7~", 'h'},
        {"\x1b[F", 'e'},
        {"\x1bOF", 'e'},
        {"\x1b[4~", 'e'},
        {"\x1b[8~", 'e'},
        {"\x1b[3~", 'x'},
        {"\x1b"
         "b",
         'B'},
        {"\x1b"
         "f",
         'F'},
        {"\x1b[1;5D", 'B'},
        {"\x1b[1;5C", 'F'},
        {"\x1b[200~", 'p'},
    };
    char key = 0;
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++)
        if (strcmp(KEYS[i].sequence, s) == 0)
            key = KEYS[i].key;
    switch (key) {
    case 'u':
        history_go(edit, -1);
        break;
    case 'd':
        history_go(edit, 1);
        break;
    case 'r':
        edit->cursor = next_char(edit, edit->cursor);
        break;
    case 'l':
        edit->cursor = previous_char(edit, edit->cursor);
        break;
    case 'h':
        edit->cursor = 0;
        break;
    case 'e':
        edit->cursor = edit->text.size;
        break;
    case 'x':
        erase(edit, edit->cursor, next_char(edit, edit->cursor));
        break;
    case 'B':
        edit->cursor = word_start(edit);
        break;
    case 'F':
        edit->cursor = word_end(edit);
        break;
    case 'p':
        edit->pasting = true;
        break;
    default:
        break; /* a key without a meaning here */
    }
}

static hn_edit_action control(hn_line_edit *edit, unsigned char c) {
    switch (c) {
    case ENTER:
    case '\n':
        return HN_EDIT_ACCEPT;
    case CTRL_A:
        edit->cursor = 0;
        break;
    case CTRL_B:
        edit->cursor = previous_char(edit, edit->cursor);
        break;
    case CTRL_C:
        return HN_EDIT_CANCEL;
    case CTRL_D:
        if (edit->text.size == 0)
            return HN_EDIT_END;
        erase(edit, edit->cursor, next_char(edit, edit->cursor));
        break;
    case CTRL_E:
        edit->cursor = edit->text.size;
        break;
    case CTRL_F:
        edit->cursor = next_char(edit, edit->cursor);
        break;
    case CTRL_H:
    case DELETE:
        erase(edit, previous_char(edit, edit->cursor), edit->cursor);
        break;
    case CTRL_K:
        erase(edit, edit->cursor, edit->text.size);
        break;
    case CTRL_L:
        return HN_EDIT_CLEAR;
    case CTRL_N:
        history_go(edit, 1);
        break;
    case CTRL_P:
        history_go(edit, -1);
        break;
    case CTRL_U:
        erase(edit, 0, edit->cursor);
        break;
    case CTRL_W:
        erase(edit, word_start(edit), edit->cursor);
        break;
    default:
        break;
    }
    return HN_EDIT_MORE;
}

/* True when the bytes held are a whole escape sequence. */
static bool escape_is_whole(const char *s, size_t n) {
    if (n < 2)
        return false;
    if (s[1] == 'O')
        return n == 3;
    if (s[1] != '[')
        return true;
    return n > 2 && s[n - 1] >= '@' && s[n - 1] <= '~';
}

static void paste(hn_line_edit *edit, char byte) {
    static const char END[] = "\x1b[201~";
    insert(edit, byte == '\r' ? "\n" : &byte, 1);
    size_t n = sizeof END - 1;
    if (edit->cursor >= n && memcmp(edit->text.data + edit->cursor - n, END, n) == 0) {
        erase(edit, edit->cursor - n, edit->cursor);
        edit->pasting = false;
    }
}

hn_edit_action hn_line_edit_feed(hn_line_edit *edit, char byte) {
    unsigned char c = (unsigned char)byte;
    if (edit->pasting) {
        paste(edit, byte);
        return HN_EDIT_MORE;
    }
    if (edit->n_sequence == 0 && c != ESCAPE && c < 0x80) {
        if (c < ' ' || c == DELETE)
            return control(edit, c);
        insert(edit, &byte, 1);
        return HN_EDIT_MORE;
    }
    if (edit->n_sequence == sizeof edit->sequence - 1)
        edit->n_sequence = 0; /* longer than anything known: drop it */
    edit->sequence[edit->n_sequence++] = byte;
    edit->sequence[edit->n_sequence] = '\0';
    if (edit->sequence[0] == ESCAPE) {
        if (escape_is_whole(edit->sequence, edit->n_sequence)) {
            escape(edit, edit->sequence);
            edit->n_sequence = 0;
        }
        return HN_EDIT_MORE;
    }
    uint32_t ignored;
    if (hn_utf8_decode(edit->sequence, edit->n_sequence, &ignored)) {
        insert(edit, edit->sequence, edit->n_sequence);
        edit->n_sequence = 0;
    } else if (hn_utf8_complete_prefix(edit->sequence, edit->n_sequence) == edit->n_sequence) {
        edit->n_sequence = 0; /* can't become a character any more */
    }
    return HN_EDIT_MORE;
}

/* Columns of the character at `at`; a control character (a pasted newline) shows as one sign. */
static int columns_at(const hn_line_edit *edit, size_t at) {
    uint32_t c;
    size_t length = char_at(edit, at, &c);
    return c < ' ' ? 1 : hn_text_columns(edit->text.data + at, length);
}

void hn_line_edit_draw(const hn_line_edit *edit, const char *prompt, int width, hn_buf *out) {
    enum { MIN_ROOM = 8 };
    int room = width - hn_text_columns(prompt, strlen(prompt)) - 1, before = 0, used = 0;
    if (room < MIN_ROOM)
        room = MIN_ROOM;
    uint32_t c;
    for (size_t at = 0; at < edit->cursor; at += char_at(edit, at, &c))
        before += columns_at(edit, at);
    size_t start = 0;
    while (before >= room && start < edit->cursor) {
        before -= columns_at(edit, start);
        start += char_at(edit, start, &c);
    }
    hn_buf_printf(out, "\r%s", prompt);
    for (size_t at = start; at < edit->text.size;) {
        int columns = columns_at(edit, at);
        size_t length = char_at(edit, at, &c);
        if (used + columns > room)
            break;
        if (c < ' ')
            hn_buf_puts(out, "\xe2\x86\xb5"); /* a return arrow */
        else
            hn_buf_append(out, edit->text.data + at, length);
        used += columns;
        at += length;
    }
    hn_buf_puts(out, "\x1b[K\r");
    int right = hn_text_columns(prompt, strlen(prompt)) + before;
    if (right > 0)
        hn_buf_printf(out, "\x1b[%dC", right);
}

void hn_line_edit_reset(hn_line_edit *edit) {
    hn_buf_reset(&edit->text);
    edit->cursor = edit->n_sequence = 0;
    edit->pasting = false;
    edit->history_at = edit->n_history;
}

void hn_line_edit_remember(hn_line_edit *edit, const char *line) {
    if (!line[0] || (edit->n_history && strcmp(edit->history[edit->n_history - 1], line) == 0))
        return;
    char *copy = hn_strdup(line);
    if (!copy)
        return; /* a line less to go back to */
    if (edit->n_history == HN_EDIT_HISTORY) {
        hn_free(edit->history[0]);
        memmove(edit->history, edit->history + 1, (HN_EDIT_HISTORY - 1) * sizeof *edit->history);
        edit->n_history--;
    }
    edit->history[edit->n_history++] = copy;
    edit->history_at = edit->n_history;
}

void hn_line_edit_done(hn_line_edit *edit) {
    for (int i = 0; i < edit->n_history; i++)
        hn_free(edit->history[i]);
    hn_free(edit->typed);
    hn_buf_done(&edit->text);
    *edit = (hn_line_edit){0};
}
