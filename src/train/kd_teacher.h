/* Where a student's teacher comes from: a second model in the process, which runs forward over the
 * same tree of documents, or a file of its distributions. */
#pragma once

#include "data/tree.h"
#include "model/model.h"
#include "train/kd_file.h"
#include "train/loss.h"

typedef struct hn_kd_teacher hn_kd_teacher;

/* HN_BAD_INPUT unless both models have the same tokens. */
HN_MUST_CHECK hn_status hn_kd_teacher_check(const hn_model *student, const hn_model *teacher,
                                            hn_error *err);
/* Borrows the model, and the adapter until this returns; adapter NULL = the model alone. */
HN_MUST_CHECK hn_status hn_kd_teacher_new(hn_kd_teacher **out, hn_model *model,
                                          const hn_adapter *adapter, hn_error *err);
/* Borrows the file and the documents, all of which must be in it, made at this temperature: by name
 * HN_BAD_INPUT and HN_USAGE otherwise. Passes are of these documents; there are no states. */
HN_MUST_CHECK hn_status hn_kd_teacher_of_file(hn_kd_teacher **out, const hn_kd_file *file,
                                              const hn_documents *docs, float temperature,
                                              hn_error *err);
void hn_kd_teacher_free(hn_kd_teacher *teacher);

/* What follows is about this tree, which stays the caller's. */
HN_MUST_CHECK hn_status hn_kd_teacher_begin(hn_kd_teacher *teacher, const hn_tree *tree,
                                            const hn_document *const *docs, hn_error *err);
/* (rows->n, n_vocab) logits at the rows of a tile; good until the next call. From a file they
 * depend on the student's, rows->logits. */
HN_MUST_CHECK hn_status hn_kd_teacher_logits(hn_kd_teacher *teacher, const hn_loss_rows *rows,
                                             float **logits, hn_error *err);
/* What layer `layer` (from 0; the last: after the output norm) gives at the targets [first, first +
 * n): out (n, n_embd of the teacher). */
void hn_kd_teacher_states(const hn_kd_teacher *teacher, int layer, int32_t first, int32_t n,
                          float *out);
