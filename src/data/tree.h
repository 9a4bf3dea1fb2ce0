/* What one pass of training computes: documents merged into a tree of segments, so that documents
 * that begin alike share their beginning, forward and backward (DESIGN.md item 1); and the packing
 * of a step's documents into passes that fit in memory. */
#pragma once

#include "data/records.h"

/* A run of tokens. Its rows see themselves causally and every row of its ancestors. Parents come
 * before children, and a segment's rows lie together. */
typedef struct hn_segment {
    int32_t parent; /* -1 = none */
    int32_t first_row, n_rows;
    int32_t first_pos; /* position of its first token in each document that holds it */
} hn_segment;

/* Row `row` must predict `label`; a shared row may have several targets. */
typedef struct hn_target {
    int32_t row, label;
    int32_t doc; /* index into the documents that the tree was built from */
} hn_target;

/* Tokens behind a document's last target have no row: nothing that is learned depends on them. */
typedef struct hn_tree {
    int32_t n_rows, n_segments, n_targets;
    int32_t *tokens, *positions; /* (n_rows) */
    hn_segment *segments;
    hn_target *targets;    /* by row, ascending */
    uint64_t n_doc_tokens; /* of all documents, shared beginnings counted once a document */
} hn_tree;

typedef struct hn_tree_options {
    bool share;               /* false: every document a branch of its own */
    int32_t max_segment_rows; /* longer ones become chains, so that work can be spread; 0 = 256 */
} hn_tree_options;

HN_MUST_CHECK hn_status hn_tree_build(hn_tree *out, const hn_document *const *docs, size_t n_docs,
                                      const hn_tree_options *options, hn_error *err);
void hn_tree_done(hn_tree *tree);

/* Documents grouped into bins of at most max_rows rows, best fit decreasing; the beginning that
 * all of them share is counted once a bin. A document longer than that has a bin of its own. */
typedef struct hn_packing {
    uint32_t *items; /* (n_docs) indices, bin after bin */
    uint32_t *first; /* (n_bins + 1) where each bin begins in items */
    size_t n_bins;
} hn_packing;

HN_MUST_CHECK hn_status hn_pack_documents(hn_packing *out, const hn_document *const *docs,
                                          size_t n_docs, int64_t max_rows, bool share,
                                          hn_error *err);
void hn_packing_done(hn_packing *packing);
