/* Best-fit-decreasing packing of a step's documents into passes. */
#include "data/tree.h"

#include "base/mem.h"

#include <stdlib.h>

typedef struct item {
    int64_t rows;
    uint32_t index, bin;
} item;

static int longest_first(const void *left, const void *right) {
    const item *a = left, *b = right;
    if (a->rows != b->rows)
        return a->rows > b->rows ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int by_bin(const void *left, const void *right) {
    const item *a = left, *b = right;
    if (a->bin != b->bin)
        return a->bin < b->bin ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

static int64_t shared_by_all(const hn_document *const *docs, size_t n_docs) {
    int32_t shared = n_docs > 1 ? docs[0]->n : 0;
    for (size_t i = 1; i < n_docs; i++) {
        int32_t p = 0;
        while (p < shared && p < docs[i]->n && docs[i]->ids[p] == docs[0]->ids[p])
            p++;
        shared = p;
    }
    return shared;
}

/* Gives each item its bin; `room` holds what each bin has left. Returns the number of bins. */
static size_t fill_bins(item *items, size_t n, int64_t capacity, int64_t *room) {
    size_t n_bins = 0;
    for (size_t i = 0; i < n; i++) {
        size_t best = n_bins;
        for (size_t b = 0; b < n_bins; b++)
            if (room[b] >= items[i].rows && (best == n_bins || room[b] < room[best]))
                best = b;
        if (best == n_bins)
            room[n_bins++] = capacity;
        room[best] -= items[i].rows;
        items[i].bin = (uint32_t)best;
    }
    return n_bins;
}

hn_status hn_pack_documents(hn_packing *out, const hn_document *const *docs, size_t n_docs,
                            int64_t max_rows, bool share, hn_error *err) {
    hn_packing packing = {.items = hn_malloc(n_docs * sizeof *packing.items),
                          .first = hn_malloc((n_docs + 1) * sizeof *packing.first)};
    item *items = hn_malloc(n_docs * sizeof *items);
    int64_t *room = hn_malloc(n_docs * sizeof *room);
    if (!packing.items || !packing.first || !items || !room) {
        hn_free(items);
        hn_free(room);
        hn_packing_done(&packing);
        return hn_fail_no_memory(err, n_docs * sizeof *items);
    }
    int64_t shared = share ? shared_by_all(docs, n_docs) : 0;
    for (size_t i = 0; i < n_docs; i++)
        items[i] = (item){.rows = docs[i]->n - shared, .index = (uint32_t)i};
    qsort(items, n_docs, sizeof *items, longest_first);
    packing.n_bins = fill_bins(items, n_docs, max_rows - shared, room);
    qsort(items, n_docs, sizeof *items, by_bin);
    size_t at = 0;
    for (size_t b = 0; b < packing.n_bins; b++) {
        packing.first[b] = (uint32_t)at;
        for (; at < n_docs && items[at].bin == b; at++)
            packing.items[at] = items[at].index;
    }
    packing.first[packing.n_bins] = (uint32_t)n_docs;
    hn_free(items);
    hn_free(room);
    *out = packing;
    return HN_OK;
}

void hn_packing_done(hn_packing *packing) {
    hn_free(packing->items);
    hn_free(packing->first);
    *packing = (hn_packing){0};
}
