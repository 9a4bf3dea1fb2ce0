/* Training rows: JSONL records told apart by their keys, checked, rendered and tokenised into
 * labelled documents (DESIGN.md "Files of its own", spec/training.md "SFT"). */
#pragma once

#include "base/buf.h"
#include "base/progress.h"
#include "base/status.h"
#include "model/checkpoint.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum hn_record_kind {
    HN_RECORD_MESSAGES,   /* {messages} */
    HN_RECORD_COMPLETION, /* {prompt, completion} */
    HN_RECORD_CONTEXT,    /* {instruction, context, response} */
    HN_RECORD_THOUGHT,    /* {instruction, thought, response} */
    HN_RECORD_PREFERENCE, /* {prompt, chosen, rejected} */
} hn_record_kind;

typedef struct hn_record {
    hn_record_kind kind;
    json_t *row;   /* as read */
    uint64_t line; /* in its file, from 1 */
} hn_record;

typedef struct hn_records {
    char *path;
    hn_record *items;
    size_t n;
    size_t n_bad; /* left out because of skip_bad */
} hn_records;

/* Which rows: how many, and the lines of the first. */
enum { HN_ROW_LINES_NAMED = 8 };
typedef struct hn_row_lines {
    size_t n;
    uint64_t line[HN_ROW_LINES_NAMED];
} hn_row_lines;
void hn_row_lines_add(hn_row_lines *lines, uint64_t line);
/* "line 3", "lines 3, 9", "lines 3, 9, ... and 4 more" */
void hn_row_lines_print(const hn_row_lines *lines, hn_buf *out);

/* Reads and validates a whole file: unknown shapes, wrong roles or types, empty completions,
 * preferences without a difference. A bad row is HN_BAD_INPUT with file:line and what to do, and
 * how many more there are and where, unless skip_bad. */
HN_MUST_CHECK hn_status hn_records_read(hn_records *records, const char *path, bool skip_bad,
                                        const hn_progress *progress, hn_error *err);
void hn_records_done(hn_records *records);

typedef enum hn_supervise {
    HN_SUPERVISE_COMPLETION, /* the last assistant turn */
    HN_SUPERVISE_ASSISTANT,  /* every assistant turn */
    HN_SUPERVISE_ALL,
} hn_supervise;

/* A tokenised row. labels[i] is the id that position i must predict, i.e. ids[i + 1], or -1 where
 * nothing is learned. */
typedef struct hn_document {
    int32_t *ids, *labels;
    int32_t n;
    int32_t n_supervised;
    uint64_t line;
} hn_document;

typedef struct hn_documents {
    hn_document *items;
    size_t n;
    hn_row_lines dropped;   /* rows without a supervised token, most of them after truncation */
    hn_row_lines truncated; /* rows cut to max_length that are still learned from */
    uint64_t n_tokens, n_supervised;
    char *path;
} hn_documents;

/* Renders with the checkpoint's chat template (system: prepended where a row has no system turn;
 * NULL = none), tokenises, masks. Double BOS, a thought that the template drops, and nothing
 * supervised at all, are HN_BAD_INPUT, as hn_records_read names rows. */
HN_MUST_CHECK hn_status hn_documents_build(hn_documents *docs, const hn_records *records,
                                           const hn_checkpoint *ckpt, const char *system,
                                           hn_supervise supervise, int max_length, hn_error *err);
void hn_documents_done(hn_documents *docs);

/* A preference: two completions of one prompt. */
typedef struct hn_pair {
    hn_document chosen, rejected;
} hn_pair;

typedef struct hn_pairs {
    hn_pair *items;
    size_t n;
    hn_row_lines dropped;   /* pairs of which a completion was cut off entirely */
    hn_row_lines truncated; /* pairs of which one side was cut to max_length */
    uint64_t n_tokens;
    char *path;
} hn_pairs;

/* {prompt, chosen, rejected} rows, supervised in their completions; other rows, and pairs whose
 * completions are the same tokens, are HN_BAD_INPUT. */
HN_MUST_CHECK hn_status hn_pairs_build(hn_pairs *pairs, const hn_records *records,
                                       const hn_checkpoint *ckpt, const char *system,
                                       int max_length, hn_error *err);
void hn_pairs_done(hn_pairs *pairs);

/* Says which rows were cut to max_length and which dropped; nothing where none was. */
void hn_rows_note_cut(const char *path, int max_length, const hn_row_lines *truncated,
                      const hn_row_lines *dropped, const hn_progress *progress);

/* A row as chat messages (new reference), whatever its kind; thought is kept inside the assistant
 * turn as <think>...</think>. For preference rows `chosen` picks the completion. */
json_t *hn_record_messages(const hn_record *record, const char *system, bool chosen);
