/* SQuAD's answer normalisation and token F1, as its official evaluation script defines them
 * (Rajpurkar et al. 2016, 2018): lower case, ASCII punctuation removed, the articles a, an and the
 * removed, split at white space; F1 over the two bags of tokens. */
#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "eval/assertion.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

typedef struct tokens {
    char **items;
    size_t n, capacity;
} tokens;

static void tokens_done(tokens *list) {
    for (size_t i = 0; i < list->n; i++)
        hn_free(list->items[i]);
    hn_free(list->items);
}

static hn_status tokens_push(tokens *list, const char *text, size_t n_bytes, hn_error *err) {
    if (list->n == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 16;
        char **items = hn_reallocarray(list->items, capacity, sizeof *items);
        if (!items)
            return hn_fail_no_memory(err, capacity * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    char *copy = hn_strndup(text, n_bytes);
    if (!copy)
        return hn_fail_no_memory(err, n_bytes);
    list->items[list->n++] = copy;
    return HN_OK;
}

/* Python's \w: letters and numbers; the underscore has gone with the punctuation. */
static bool is_word(uint32_t c) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
           (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static bool is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 ||
           (c >= 0x80 && utf8proc_category((utf8proc_int32_t)c) >= UTF8PROC_CATEGORY_ZS &&
            utf8proc_category((utf8proc_int32_t)c) <= UTF8PROC_CATEGORY_ZP);
}

static bool is_article(const char *text, size_t n) {
    return (n == 1 && text[0] == 'a') || (n == 2 && !memcmp(text, "an", 2)) ||
           (n == 3 && !memcmp(text, "the", 3));
}

/* The word run that ends `out` from byte `start` on becomes a blank when it is an article. */
static void drop_article(hn_buf *out, size_t start) {
    if (!out->failed && is_article(hn_buf_text(out) + start, out->size - start)) {
        out->size = start;
        hn_buf_putc(out, ' ');
    }
}

static hn_status normalise(const char *text, hn_buf *out, hn_error *err) {
    size_t n = strlen(text), word = 0;
    bool in_word = false;
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t length = hn_utf8_decode(text + i, n - i, &c);
        if (!length) { /* no text: kept as a character of its own */
            c = 0xfffd;
            length = 1;
        }
        i += length;
        if (c < 0x80 && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", (int)c))
            continue;
        c = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        if (is_word(c) != in_word) {
            if (in_word)
                drop_article(out, word);
            in_word = !in_word;
            word = out->size;
        }
        char bytes[4];
        if (is_space(c))
            hn_buf_putc(out, ' ');
        else
            hn_buf_append(out, bytes, hn_utf8_encode(c, bytes));
    }
    if (in_word)
        drop_article(out, word);
    return hn_buf_check(out, err);
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static hn_status tokenise(const char *text, tokens *list, hn_error *err) {
    hn_buf buf = {0};
    hn_status status;
    HN_GO(normalise(text, &buf, err));
    const char *at = hn_buf_text(&buf);
    while (*at) {
        size_t n = strcspn(at, " ");
        if (n)
            HN_GO(tokens_push(list, at, n, err));
        at += n + (at[n] == ' ');
    }
    if (list->n)
        qsort(list->items, list->n, sizeof *list->items, compare_texts);
done:
    hn_buf_done(&buf);
    return status;
}

hn_status hn_f_score(const char *answer, const char *reference, double *f_score, hn_error *err) {
    tokens got = {0}, wanted = {0};
    hn_status status;
    HN_GO(tokenise(answer, &got, err));
    HN_GO(tokenise(reference, &wanted, err));
    size_t common = 0;
    for (size_t i = 0, j = 0; i < got.n && j < wanted.n;) {
        int order = strcmp(got.items[i], wanted.items[j]);
        common += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    if (!got.n || !wanted.n)
        *f_score = got.n == wanted.n; /* SQuAD 2.0: an empty answer fits an empty reference only */
    else
        *f_score = 2.0 * (double)common / (double)(got.n + wanted.n);
done:
    tokens_done(&got);
    tokens_done(&wanted);
    return status;
}
