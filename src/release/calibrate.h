/* What the linear layers of a model see on calibration data: for each layer the Gram matrices of
 * the inputs of q/k/v, o, gate/up and down. Private to release/. */
#pragma once

#include "base/progress.h"
#include "data/records.h"
#include "model/model.h"

enum { HN_CALIBRATE_KINDS = 4 };

typedef struct hn_calibration hn_calibration;

typedef struct hn_calibration_data {
    const hn_documents *rows; /* borrowed, each as a sequence of its own; or NULL */
    const char *text;         /* where there are no rows; or NULL */
    /* Besides, as much again that the model writes by itself, without the adapter, which may only
     * know its job. */
    bool own_text;
} hn_calibration_data;

/* Opens the model once more, with its adapter (may be NULL), to run the data through it. */
HN_MUST_CHECK hn_status hn_calibration_new(hn_calibration **out, const hn_checkpoint *ckpt,
                                           const hn_adapter *adapter,
                                           const hn_calibration_data *data, int n_threads,
                                           const hn_progress *progress, hn_error *err);
void hn_calibration_free(hn_calibration *calibration);
/* What the model computes with, for work between two calls. */
hn_compute *hn_calibration_compute(const hn_calibration *calibration);
/* The sum of x x^T over the data for the inputs of `module` in `layer`: (cols, cols), owned by the
 * calibration and valid until a layer of another group is asked for; the caller may change it. Runs
 * the text again when the layer's group isn't the one held. */
HN_MUST_CHECK hn_status hn_calibration_gram(hn_calibration *calibration, int layer,
                                            hn_module module, float **gram, int64_t *cols,
                                            hn_error *err);
/* The model that the data runs through, in f32, and its adapter, fitted to it, or NULL. */
hn_model *hn_calibration_model(const hn_calibration *calibration, const hn_adapter **adapter);
/* What can be learned from the data: *given rows of it as they were supervised, or pieces of text
 * with all their tokens, spread evenly over it and of about n_tokens in all, or as many as there
 * are; after them *own pieces that the model wrote. The list is the caller's (hn_free), what it
 * points to is not. */
HN_MUST_CHECK hn_status hn_calibration_documents(const hn_calibration *calibration,
                                                 uint64_t n_tokens, hn_document **out,
                                                 size_t *given, size_t *own, hn_error *err);
/* One number a kind: modules of the same kind share their inputs. */
int hn_calibration_kind(hn_module module);
