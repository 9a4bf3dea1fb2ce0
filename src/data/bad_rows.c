#include "data/bad_rows.h"

#include "base/buf.h"

void hn_row_lines_add(hn_row_lines *lines, uint64_t line) {
    if (lines->n < HN_ROW_LINES_NAMED)
        lines->line[lines->n] = line;
    lines->n++;
}

void hn_row_lines_print(const hn_row_lines *lines, hn_buf *out) {
    size_t named = lines->n < HN_ROW_LINES_NAMED ? lines->n : HN_ROW_LINES_NAMED;
    hn_buf_puts(out, lines->n == 1 ? "line " : "lines ");
    for (size_t i = 0; i < named; i++)
        hn_buf_printf(out, "%s%llu", i ? ", " : "", (unsigned long long)lines->line[i]);
    if (lines->n > named)
        hn_buf_printf(out, " and %zu more", lines->n - named);
}

hn_status hn_bad_rows_note(hn_bad_rows *bad, uint64_t line, hn_status status, const hn_error *own,
                           hn_error *err) {
    if (status != HN_OK && status != HN_BAD_INPUT)
        return hn_fail(err, status, "%s", own->message);
    if (status == HN_BAD_INPUT) {
        if (!bad->lines.n)
            bad->first = *own;
        hn_row_lines_add(&bad->lines, line);
    }
    return HN_OK;
}

hn_status hn_bad_rows_end(const hn_bad_rows *bad, size_t n_rows, const char *remedy,
                          hn_error *err) {
    if (!bad->lines.n)
        return HN_OK;
    if (bad->lines.n == 1)
        return hn_fail(err, HN_BAD_INPUT, "%.800s (1 of %zu rows is bad%s)", bad->first.message,
                       n_rows, remedy);
    hn_buf text = {0};
    hn_row_lines_print(&bad->lines, &text);
    hn_fail(err, HN_BAD_INPUT, "%.800s (%zu of %zu rows are bad: %s%s)", bad->first.message,
            bad->lines.n, n_rows, hn_buf_text(&text), remedy);
    hn_buf_done(&text);
    return HN_BAD_INPUT;
}
