/* The optimisers over the flat parameter vector, clipping, learning-rate schedules. */
#pragma once

#include "train/net.h"
#include "train/train.h"

/* AdamW; the same with moments of 8 bits a value and a scale a block of 256; Lion (Chen et al.
 * 2023), which has one moment and steps by its sign. */
enum { HN_OPTIMISER_MAX_ARRAYS = 4 };

typedef struct hn_optimiser {
    hn_optimiser_kind kind;
    size_t n;
    uint64_t updates; /* made so far: t of the bias corrections */
    /* What it remembers, as a checkpoint keeps it. AdamW: first and second moments (n floats each);
     * with 8 bits: codes (n), then scales, of the first, of the second; Lion: the moment. */
    int n_arrays;
    struct {
        void *data;
        size_t bytes;
    } arrays[HN_OPTIMISER_MAX_ARRAYS];
} hn_optimiser;

HN_MUST_CHECK hn_status hn_optimiser_new(hn_optimiser *out, hn_optimiser_kind kind, size_t n,
                                         hn_error *err);
void hn_optimiser_done(hn_optimiser *optimiser);

/* L2 norm, summed in double over fixed blocks: the same for any number of threads. */
double hn_gradient_norm(const hn_net *net);
/* One update at `rate`, gradients scaled by min(1, max_grad_norm / (norm + 1e-6)). */
void hn_optimiser_update(hn_optimiser *optimiser, const hn_net *net,
                         const hn_train_options *options, double rate, double norm);
/* The rate of update `step` (from 0) of `total`, as transformers' get_scheduler. */
double hn_schedule_rate(const hn_train_options *options, int step, int total);

/* Between the files of optim*.c. */
enum { HN_MOMENT_BLOCK = 256 }; /* values that share a scale */
/* Moments of n <= HN_MOMENT_BLOCK values to codes and back. The first ones are signed: code c is
 * scale * (c / 127)^2 with c's sign. The second ones aren't: scale * (c / 255)^4, and none but 0
 * becomes 0, since a first moment may not outlive its second. */
float hn_moment_encode_first(const float *m, int n, int8_t *codes);
void hn_moment_decode_first(const int8_t *codes, int n, float scale, float *m);
float hn_moment_encode_second(const float *v, int n, uint8_t *codes);
void hn_moment_decode_second(const uint8_t *codes, int n, float scale, float *v);
