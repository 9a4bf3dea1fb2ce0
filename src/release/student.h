/* A smaller model made of a larger one's weights, to be taught by it (MobileLLM, Liu et al. 2024:
 * deep and thin, tied embeddings, few key-value heads, blocks that share their weights). */
#pragma once

#include "release/quantise.h"

typedef struct hn_student_options {
    /* 0 = as the teacher has it; heads and n_ff, unless given, shrink with n_embd. */
    int n_layer, n_embd, n_ff, n_head, n_head_kv;
    int shared; /* so many layers in a row begin with one set of weights; 0 or 1 = none */
} hn_student_options;

/* Fills in what is 0 and checks the rest against the teacher: HN_USAGE for what doesn't fit. */
HN_MUST_CHECK hn_status hn_student_arch(const hn_arch *teacher, const hn_student_options *options,
                                        hn_arch *student, hn_error *err);
/* Writes a Hugging Face folder with the teacher's tokenizer. Layers are taken evenly; of the hidden
 * dimensions and of a layer's MLP neurons those with the largest weights; query heads evenly within
 * their group, key-value heads as the means of those they stand for (Ainslie et al. 2023). A
 * student of the teacher's own shape is the teacher. */
HN_MUST_CHECK hn_status hn_student_write(const hn_checkpoint *teacher,
                                         const hn_student_options *options, const char *dir,
                                         hn_dtype dtype, const hn_progress *progress,
                                         hn_error *err);
