/* JSON lines: one strict JSON object a line, with file:line in every error. */
#pragma once

#include "base/file.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { HN_JSONL_MAX_LINE_BYTES = 16 << 20 };

typedef struct hn_jsonl {
    hn_map map;
    char *path;
    size_t offset;
    uint64_t line; /* number of the line last returned, from 1 */
} hn_jsonl;

HN_MUST_CHECK hn_status hn_jsonl_open(hn_jsonl *jsonl, const char *path, hn_error *err);
/* The next object, freed by the caller with json_decref; *row = NULL at the end. Blank lines are
 * passed over. After HN_BAD_INPUT (broken JSON, no object, too long) the reader stands at the next
 * line, so a caller may count the bad one and go on. */
HN_MUST_CHECK hn_status hn_jsonl_next(hn_jsonl *jsonl, json_t **row, hn_error *err);
void hn_jsonl_close(hn_jsonl *jsonl);
