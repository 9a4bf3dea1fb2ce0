/* A model whose own weights can be changed: all of them in f32 in one block, and back into the
 * tensors that the writers of files read. */
#pragma once

#include "model/model.h"

/* Puts all weights, dequantised, into one block that model->weights owns: first norms and biases,
 * *n_vectors floats with padding, then the matrices in the packed layout of kernels/; *n floats
 * altogether, padding is 0 and stays it. Layers `shared` apart at most (1 = none share) hold one
 * set of weights, that of the first of each `shared`. Once a model; on failure it is as before. */
HN_MUST_CHECK hn_status hn_model_thaw(hn_model *model, int shared, float **values, size_t *n,
                                      size_t *n_vectors, hn_error *err);
/* Puts norms and biases alone into one block, *n floats with padding, that model->vectors owns; the
 * matrices stay as they are. Not after hn_model_thaw, once a model; on failure it is as before. */
HN_MUST_CHECK hn_status hn_model_thaw_vectors(hn_model *model, float **values, size_t *n,
                                              hn_error *err);
/* The norm or bias that a tensor of the model's checkpoint is, as the model computes with it (more
 * than the file has by tensor->add); NULL for all else. */
const float *hn_model_vector(hn_model *model, const hn_tensor *tensor);
/* The checkpoint's tensors become the present weights, in f32, for hn_quantise and hn_merge_to_hf.
 * The model must be thawed and have a checkpoint. */
HN_MUST_CHECK hn_status hn_model_to_tensors(hn_model *model, hn_error *err);
