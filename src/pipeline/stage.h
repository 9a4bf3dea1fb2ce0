/* One stage of a run on disk: a folder named after the stage and its key, worked on as
 * "<folder>.part" and renamed when everything in it has reached the disk. What is there under its
 * final name is therefore whole, whenever the machine stopped. */
#pragma once

#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { HN_STAGE_NAME_MAX = 140 };

typedef struct hn_stage {
    char name[HN_STAGE_NAME_MAX];
    char key[65];     /* sha256 of the inputs */
    json_t *inputs;   /* everything that the outputs depend on, written down beside them */
    json_t *outputs;  /* {relative path: {size_bytes, sha256}} once finished */
    char *dir, *part; /* final folder, and the one that is being worked on */
    bool reused;
    double seconds; /* of the run that made it */
    uint64_t start_ns;
} hn_stage;

/* Takes `inputs` (also on failure; NULL = out of memory). When a finished folder with this key is
 * there and each file still has its recorded size and sum, stage->reused is true. Otherwise the
 * work folder is made: empty, or, when `resumes`, as an earlier try left it. */
HN_MUST_CHECK hn_status hn_stage_open(hn_stage *stage, const char *run_dir, const char *name,
                                      json_t *inputs, bool resumes, hn_error *err);
/* Records every file's sum, makes all durable and publishes the folder. */
HN_MUST_CHECK hn_status hn_stage_commit(hn_stage *stage, hn_error *err);
void hn_stage_done(hn_stage *stage);

/* The path of an output: in the work folder until it is published. hn_free; NULL = no memory. */
char *hn_stage_path(const hn_stage *stage, const char *name);
/* Writes `object` as JSON under `name` in the folder being worked on and takes the reference; NULL
 * is taken for memory that ran out while it was made. */
HN_MUST_CHECK hn_status hn_stage_write_json(const hn_stage *stage, const char *name, json_t *object,
                                            hn_error *err);
bool hn_stage_has(const hn_stage *stage, const char *name);
/* The sum of one output, or of all below a folder (names and sums); of a finished stage. */
HN_MUST_CHECK hn_status hn_stage_output_hash(const hn_stage *stage, const char *name, char hex[65],
                                             hn_error *err);
uint64_t hn_stage_output_bytes(const hn_stage *stage, const char *name);
