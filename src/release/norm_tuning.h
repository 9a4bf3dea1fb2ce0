/* What rounding did to the model as a whole, made up for where a file has room: norms and biases,
 * which every type keeps in f32. Rounding looks at one layer at a time; its errors add up from
 * layer to layer, and a model so disturbed is less sure of what it says. Private to release/. */
#pragma once

#include "base/progress.h"
#include "data/records.h"
#include "formats/gguf.h"
#include "model/model.h"
#include "release/calibrate.h"

#include <math.h>

/* Documents of one kind, (n). */
typedef struct hn_norm_source {
    const hn_document *docs;
    size_t n;
} hn_norm_source;
enum { HN_NORM_SOURCES = 2 };

typedef struct hn_norm_tuning {
    hn_model *teacher;         /* the float model */
    const hn_adapter *adapter; /* what it was taught, or NULL */
    hn_model *student;         /* the same, rounded: its norms and biases are changed */
    /* Of the job, and of the language in general; either may be empty. */
    hn_norm_source sources[HN_NORM_SOURCES];
    const hn_progress *progress;
} hn_norm_tuning;

/* KL(teacher || student) of a token of each source, over documents that nothing was learned from;
 * NaN of a source that was left out. */
typedef struct hn_norm_tuning_result {
    double before[HN_NORM_SOURCES], after[HN_NORM_SOURCES];
    bool tuned; /* false: the student is as it was, and after = before */
} hn_norm_tuning_result;
#define HN_NORM_NOT_TUNED ((hn_norm_tuning_result){{NAN, NAN}, {NAN, NAN}, false})

/* Learns the teacher's distributions at the documents' supervised tokens, some documents kept back;
 * undone unless the geometric mean of the sources' KL falls, for theirs are of different sizes. A
 * source of one document is left out; where none is left nothing is done. The student's vectors are
 * thawed (model/thaw.h). */
HN_MUST_CHECK hn_status hn_norm_tuning_run(const hn_norm_tuning *tuning,
                                           hn_norm_tuning_result *result, hn_error *err);
/* What there is to say of it in a word: of the job, or else of the language. */
void hn_norm_tuning_report(const hn_norm_tuning_result *result, double *before, double *after);
/* The same of the model that a writer has all tensors of, on the calibration's data, run as the
 * file will be. Without a calibration (NULL), and with a note where what is written can't be read
 * back, nothing is done. */
HN_MUST_CHECK hn_status hn_norm_tuning_of_file(hn_gguf_writer *writer, hn_calibration *calibration,
                                               int n_threads, const hn_progress *progress,
                                               hn_norm_tuning_result *result, hn_error *err);
