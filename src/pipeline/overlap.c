/* Near copies by sets of hashed character pieces. */
#include "pipeline/overlap.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/text.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { PIECE = 4 };

typedef struct piece_set {
    uint64_t *items; /* sorted, distinct */
    size_t n;
} piece_set;

typedef struct index_entry {
    uint64_t piece;
    size_t set;
} index_entry;

static bool is_word(utf8proc_int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_MC) ||
           (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

/* " words without case or punctuation ", one blank between, as code points. */
static size_t normalise(const char *text, uint32_t *out) {
    size_t n = strlen(text), used = 0;
    out[used++] = ' ';
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t length = hn_utf8_decode(text + i, n - i, &c);
        i += length ? length : 1;
        if (length && is_word((utf8proc_int32_t)c))
            out[used++] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        else if (out[used - 1] != ' ')
            out[used++] = ' ';
    }
    if (out[used - 1] != ' ')
        out[used++] = ' ';
    return used;
}

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static hn_status set_make(const char *text, piece_set *set, hn_error *err) {
    size_t room = strlen(text) + 2 + PIECE;
    uint32_t *points = hn_malloc(room * sizeof *points);
    set->items = hn_malloc(room * sizeof *set->items);
    if (!points || !set->items) {
        hn_free(points);
        return hn_fail_no_memory(err, room * sizeof *set->items);
    }
    size_t n = normalise(text, points);
    while (n < PIECE)
        points[n++] = ' ';
    size_t n_pieces = n - PIECE + 1;
    for (size_t i = 0; i < n_pieces; i++)
        set->items[i] = hn_hash64(points + i, PIECE * sizeof *points, 0);
    hn_free(points);
    qsort(set->items, n_pieces, sizeof *set->items, compare_u64);
    for (size_t i = 0; i < n_pieces; i++)
        if (!set->n || set->items[set->n - 1] != set->items[i])
            set->items[set->n++] = set->items[i];
    return HN_OK;
}

static double similarity(const piece_set *a, const piece_set *b) {
    size_t common = 0;
    for (size_t i = 0, j = 0; i < a->n && j < b->n;) {
        uint64_t x = a->items[i], y = b->items[j];
        common += x == y;
        i += x <= y;
        j += x >= y;
    }
    return (double)common / (double)(a->n + b->n - common);
}

/* Two sets that are alike share at least ceil(alike n) pieces of the one with n: so one of its
 * first n - ceil(alike n) + 1 pieces, in the common order. */
static size_t prefix(const piece_set *set, double alike) {
    double needed = ceil(alike * (double)set->n - 1e-9);
    return set->n - (size_t)needed + 1 < set->n ? set->n - (size_t)needed + 1 : set->n;
}

static int compare_entries(const void *a, const void *b) {
    const index_entry *x = a, *y = b;
    return x->piece != y->piece ? (x->piece > y->piece) - (x->piece < y->piece)
                                : (x->set > y->set) - (x->set < y->set);
}

typedef struct overlap_search {
    piece_set *sets; /* of `a` */
    size_t n;
    index_entry *index; /* sorted by piece */
    size_t n_index;
    size_t *seen; /* [n]: the query that last looked at this set, plus one */
    double alike;
} overlap_search;

static hn_status index_build(overlap_search *search, hn_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < search->n; i++)
        total += prefix(&search->sets[i], search->alike);
    search->index = hn_malloc((total + !total) * sizeof *search->index);
    search->seen = hn_calloc(search->n + !search->n, sizeof *search->seen);
    if (!search->index || !search->seen)
        return hn_fail_no_memory(err, total * sizeof *search->index);
    for (size_t i = 0; i < search->n; i++) {
        size_t count = prefix(&search->sets[i], search->alike);
        for (size_t k = 0; k < count; k++)
            search->index[search->n_index++] = (index_entry){search->sets[i].items[k], i};
    }
    qsort(search->index, search->n_index, sizeof *search->index, compare_entries);
    return HN_OK;
}

static size_t first_entry(const overlap_search *search, uint64_t piece) {
    size_t low = 0, high = search->n_index;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (search->index[middle].piece < piece)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The most alike set, if any is alike enough. */
static bool find_match(overlap_search *search, const piece_set *query, size_t stamp, size_t *which,
                       double *best) {
    *best = 0;
    size_t count = prefix(query, search->alike);
    for (size_t k = 0; k < count; k++) {
        uint64_t piece = query->items[k];
        for (size_t e = first_entry(search, piece);
             e < search->n_index && search->index[e].piece == piece; e++) {
            size_t set = search->index[e].set;
            if (search->seen[set] == stamp)
                continue;
            search->seen[set] = stamp;
            double s = similarity(&search->sets[set], query);
            if (s >= search->alike && s > *best) {
                *best = s;
                *which = set;
            }
        }
    }
    return *best > 0;
}

static hn_status search_init(overlap_search *search, const char *const *texts, size_t n,
                             double alike, hn_error *err) {
    *search = (overlap_search){.n = n, .alike = alike};
    search->sets = hn_calloc(n + !n, sizeof *search->sets);
    if (!search->sets)
        return hn_fail_no_memory(err, n * sizeof *search->sets);
    for (size_t i = 0; i < n; i++)
        HN_TRY(set_make(texts[i], &search->sets[i], err));
    return index_build(search, err);
}

static void search_done(overlap_search *search) {
    for (size_t i = 0; search->sets && i < search->n; i++)
        hn_free(search->sets[i].items);
    hn_free(search->sets);
    hn_free(search->index);
    hn_free(search->seen);
}

hn_status hn_overlap_find(const char *const *a, size_t n_a, const char *const *b, size_t n_b,
                          double alike, hn_overlap *out, hn_error *err) {
    overlap_search search;
    hn_overlap found = {0};
    hn_status status;
    HN_GO(search_init(&search, a, n_a, alike, err));
    for (size_t i = 0; i < n_b; i++) {
        piece_set query = {0};
        size_t which = 0;
        double best;
        status = set_make(b[i], &query, err);
        if (status == HN_OK && find_match(&search, &query, i + 1, &which, &best) &&
            !found.n_rows++) {
            found.a = which;
            found.b = i;
            found.similarity = best;
        }
        hn_free(query.items);
        if (status != HN_OK)
            goto done;
    }
    *out = found;
done:
    search_done(&search);
    return status;
}

/* The first set before `i` that was kept and is alike enough, or HN_OVERLAP_KEPT. */
static size_t find_earlier(overlap_search *search, const size_t *copy_of, size_t i) {
    const piece_set *query = &search->sets[i];
    size_t count = prefix(query, search->alike), first = HN_OVERLAP_KEPT;
    for (size_t k = 0; k < count; k++) {
        uint64_t piece = query->items[k];
        for (size_t e = first_entry(search, piece);
             e < search->n_index && search->index[e].piece == piece && search->index[e].set < i;
             e++) {
            size_t set = search->index[e].set;
            if (search->seen[set] == i + 1 || copy_of[set] != HN_OVERLAP_KEPT || set >= first)
                continue;
            search->seen[set] = i + 1;
            if (similarity(&search->sets[set], query) >= search->alike)
                first = set;
        }
    }
    return first;
}

hn_status hn_overlap_duplicates(const char *const *texts, size_t n, double alike, size_t *copy_of,
                                hn_error *err) {
    overlap_search search;
    hn_status status = search_init(&search, texts, n, alike, err);
    for (size_t i = 0; status == HN_OK && i < n; i++)
        copy_of[i] = find_earlier(&search, copy_of, i);
    search_done(&search);
    return status;
}
