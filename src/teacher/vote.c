#include "teacher/vote.h"

#include "base/buf.h"
#include "base/mem.h"

#include <string.h>
#include <strings.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The last number in text[0..n), without thousands' commas, zeros behind the point's digits, and a
 * point without digits; false when there is none. */
static bool last_number(const char *text, size_t n, hn_buf *out) {
    while (n && !is_digit(text[n - 1]))
        n--;
    if (!n)
        return false;
    size_t from = n;
    while (from && (is_digit(text[from - 1]) || ((text[from - 1] == ',' || text[from - 1] == '.') &&
                                                 from > 1 && is_digit(text[from - 2]))))
        from--;
    if (from && text[from - 1] == '-' && (from < 2 || !is_digit(text[from - 2])))
        from--;
    bool point = false;
    for (size_t i = from; i < n; i++) {
        point |= text[i] == '.';
        if (text[i] != ',')
            hn_buf_putc(out, text[i]);
    }
    while (point && out->size && out->data[out->size - 1] == '0')
        out->data[--out->size] = '\0';
    if (point && out->size && out->data[out->size - 1] == '.')
        out->data[--out->size] = '\0';
    return true;
}

/* Where the final answer stands: from the last mark to the end of its line. */
static void final_span(const char *text, const char **from, size_t *n) {
    static const char *const MARKS[] = {"####", "answer is", "answer:", "\\boxed{"};
    enum { N_MARKS = sizeof MARKS / sizeof *MARKS };
    const char *found = NULL;
    bool boxed = false;
    for (const char *p = text; *p; p++)
        for (int i = 0; i < N_MARKS; i++)
            if (strncasecmp(p, MARKS[i], strlen(MARKS[i])) == 0) {
                found = p + strlen(MARKS[i]);
                boxed = i == N_MARKS - 1;
            }
    if (!found) { /* the last line that isn't blank */
        size_t end = strlen(text);
        while (end && strchr(" \t\r\n", text[end - 1]))
            end--;
        size_t start = end;
        while (start && text[start - 1] != '\n')
            start--;
        *from = text + start;
        *n = end - start;
        return;
    }
    if (!boxed)
        found += strspn(found, " \t\r\n:"); /* the answer may stand in the next line */
    *from = found;
    *n = strcspn(found, "\n");
    if (boxed)
        for (size_t i = 0, depth = 1; i < *n; i++) {
            depth += found[i] == '{';
            depth -= found[i] == '}';
            if (!depth)
                *n = i;
        }
}

static void fold(const char *text, size_t n, hn_buf *out) {
    while (n && strchr(" \t\r.!?*", text[n - 1]))
        n--;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool thousands =
            c == ',' && i && i + 1 < n && is_digit(text[i - 1]) && is_digit(text[i + 1]);
        if (thousands || strchr("\"'`*_$", c))
            continue;
        if (strchr(" \t\r", c)) {
            if (out->size && out->data[out->size - 1] != ' ')
                hn_buf_putc(out, ' ');
            continue;
        }
        hn_buf_putc(out, c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c);
    }
}

char *hn_vote_normal(const char *text, bool number) {
    hn_buf out = {0};
    const char *from;
    size_t n;
    final_span(text, &from, &n);
    if (!number || !(last_number(from, n, &out) || last_number(text, strlen(text), &out)))
        fold(from, n, &out);
    return hn_buf_take(&out);
}

hn_status hn_vote_count(const char *const *answers, size_t n, bool number, size_t *group,
                        hn_vote *out, hn_error *err) {
    char **normal = hn_calloc(n, sizeof *normal);
    size_t *votes = hn_calloc(n, sizeof *votes);
    hn_status status = HN_OK;
    hn_vote vote = {0};
    if (!normal || !votes) {
        status = hn_fail_no_memory(err, n * sizeof *votes);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        normal[i] = hn_vote_normal(answers[i], number);
        if (!normal[i]) {
            status = hn_fail_no_memory(err, 1);
            goto done;
        }
        group[i] = 0;
        while (strcmp(normal[group[i]], normal[i]) != 0)
            group[i]++;
        votes[group[i]]++;
    }
    for (size_t i = 0; i < n; i++)
        if (votes[i] > vote.n_votes)
            vote = (hn_vote){.winner = i, .n_votes = votes[i]};
    *out = vote;
done:
    for (size_t i = 0; normal && i < n; i++)
        hn_free(normal[i]);
    hn_free(normal);
    hn_free(votes);
    return status;
}
