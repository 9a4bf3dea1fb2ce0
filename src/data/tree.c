/* The tree of a pass: documents sorted by their tokens, common beginnings cut out recursively. */
#include "data/tree.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* A shared run that saves fewer rows than this costs more in bookkeeping than it saves. */
    MIN_SAVED_ROWS = 8,
    DEFAULT_SEGMENT_ROWS = 256,
};

typedef struct member {
    const hn_document *doc;
    int32_t index;
    int32_t n; /* of its tokens, up to the last that predicts something: no other needs a row */
} member;

typedef struct builder {
    hn_tree tree;
    member *sorted;
    hn_tree_options options;
    int32_t max_segments;
} builder;

static int by_tokens(const void *left, const void *right) {
    const member *a = left, *b = right;
    int32_t n = a->n < b->n ? a->n : b->n;
    for (int32_t i = 0; i < n; i++)
        if (a->doc->ids[i] != b->doc->ids[i])
            return a->doc->ids[i] < b->doc->ids[i] ? -1 : 1;
    if (a->n != b->n)
        return a->n < b->n ? -1 : 1;
    /* qsort isn't stable: equal documents keep their order */
    return a->index < b->index ? -1 : 1;
}

static int32_t common_prefix(const member *a, const member *b, int32_t from) {
    int32_t n = a->n < b->n ? a->n : b->n, i = from;
    while (i < n && a->doc->ids[i] == b->doc->ids[i])
        i++;
    return i;
}

static int32_t learned_length(const hn_document *doc) {
    int32_t n = doc->n;
    while (n > 0 && doc->labels[n - 1] < 0)
        n--;
    return n;
}

/* One segment of the tokens [from, to) that documents lo..hi-1 share; returns its index. */
static int32_t emit_segment(builder *b, size_t lo, size_t hi, int32_t from, int32_t to,
                            int32_t parent) {
    hn_tree *t = &b->tree;
    int32_t first = t->n_rows;
    t->segments[t->n_segments] = (hn_segment){parent, first, to - from, from};
    for (int32_t p = from; p < to; p++) {
        int32_t row = t->n_rows++;
        t->tokens[row] = b->sorted[lo].doc->ids[p];
        t->positions[row] = p;
        for (size_t d = lo; d < hi; d++)
            if (b->sorted[d].doc->labels[p] >= 0)
                t->targets[t->n_targets++] =
                    (hn_target){row, b->sorted[d].doc->labels[p], b->sorted[d].index};
    }
    return t->n_segments++;
}

/* The same as a chain of segments of at most max_segment_rows; returns the last, or `parent` when
 * there is nothing to add. */
static int32_t emit_chain(builder *b, size_t lo, size_t hi, int32_t from, int32_t to,
                          int32_t parent) {
    for (; from < to; from += b->options.max_segment_rows) {
        int32_t end =
            to - from > b->options.max_segment_rows ? from + b->options.max_segment_rows : to;
        parent = emit_segment(b, lo, hi, from, end, parent);
    }
    return parent;
}

/* Adds documents lo..hi-1, which agree up to `depth` and whose rows so far end at `parent`.
 * Recursion is no deeper than there are documents: each level splits the group. */
static void add_group(builder *b, size_t lo, size_t hi, int32_t depth, int32_t parent) {
    int32_t shared = common_prefix(&b->sorted[lo], &b->sorted[hi - 1], depth);
    int64_t saved = (int64_t)(shared - depth) * (int64_t)(hi - lo - 1);
    if (hi - lo > 1 && saved < MIN_SAVED_ROWS) {
        for (size_t d = lo; d < hi; d++)
            emit_chain(b, d, d + 1, depth, b->sorted[d].n, parent);
        return;
    }
    parent = emit_chain(b, lo, hi, depth, shared, parent);
    while (lo < hi && b->sorted[lo].n == shared)
        lo++; /* ends here */
    while (lo < hi) {
        size_t end = lo + 1;
        while (end < hi && b->sorted[end].doc->ids[shared] == b->sorted[lo].doc->ids[shared])
            end++;
        add_group(b, lo, end, shared, parent);
        lo = end;
    }
}

static hn_status allocate(builder *b, const hn_document *const *docs, size_t n_docs,
                          hn_error *err) {
    size_t rows = 0, targets = 0, segments = 0;
    for (size_t i = 0; i < n_docs; i++) {
        rows += (size_t)docs[i]->n;
        targets += (size_t)docs[i]->n_supervised;
        /* at most one shared and one own chain a document */
        segments += 2 + 2 * (size_t)(docs[i]->n / b->options.max_segment_rows);
    }
    if (rows > INT32_MAX)
        return hn_fail(err, HN_USAGE, "a pass of %zu tokens is too large", rows);
    b->sorted = hn_malloc(n_docs * sizeof *b->sorted);
    b->tree.tokens = hn_malloc(2 * rows * sizeof *b->tree.tokens);
    b->tree.segments = hn_malloc(segments * sizeof *b->tree.segments);
    b->tree.targets = hn_malloc(targets * sizeof *b->tree.targets);
    if (!b->sorted || !b->tree.tokens || !b->tree.segments || !b->tree.targets)
        return hn_fail_no_memory(err, 2 * rows * sizeof *b->tree.tokens);
    b->tree.positions = b->tree.tokens + rows;
    b->tree.n_doc_tokens = rows;
    for (size_t i = 0; i < n_docs; i++)
        b->sorted[i] = (member){docs[i], (int32_t)i, learned_length(docs[i])};
    return HN_OK;
}

hn_status hn_tree_build(hn_tree *out, const hn_document *const *docs, size_t n_docs,
                        const hn_tree_options *options, hn_error *err) {
    builder b = {.options = *options};
    if (b.options.max_segment_rows <= 0)
        b.options.max_segment_rows = DEFAULT_SEGMENT_ROWS;
    hn_status status = allocate(&b, docs, n_docs, err);
    if (status != HN_OK) {
        hn_free(b.sorted);
        hn_tree_done(&b.tree);
        return status;
    }
    if (b.options.share && n_docs > 0) {
        qsort(b.sorted, n_docs, sizeof *b.sorted, by_tokens);
        size_t lo = 0;
        while (lo < n_docs) {
            size_t end = lo + 1;
            while (end < n_docs && b.sorted[end].doc->ids[0] == b.sorted[lo].doc->ids[0])
                end++;
            add_group(&b, lo, end, 0, -1);
            lo = end;
        }
    } else {
        for (size_t i = 0; i < n_docs; i++)
            emit_chain(&b, i, i + 1, 0, b.sorted[i].n, -1);
    }
    hn_free(b.sorted);
    *out = b.tree;
    return HN_OK;
}

void hn_tree_done(hn_tree *tree) {
    hn_free(tree->tokens);
    hn_free(tree->segments);
    hn_free(tree->targets);
    *tree = (hn_tree){0};
}
