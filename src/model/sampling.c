/* From a row of logits to the next token: bias, penalties, truncation, a draw. */
#include "model/sampling.h"

#include "base/mem.h"
#include "model/vmath.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

hn_sampling hn_sampling_default(void) {
    return (hn_sampling){.top_p = 1.0f, .repetition_penalty = 1.0f};
}

static bool in_range(float value, float low, float high) {
    return value >= low && value <= high; /* false for NaN */
}

hn_status hn_sampling_check(const hn_sampling *o, uint32_t n_vocab, hn_error *err) {
    if (!in_range(o->temperature, 0, 100))
        return hn_fail(err, HN_USAGE, "temperature %g: 0 to 100 are possible",
                       (double)o->temperature);
    if (o->top_k < 0)
        return hn_fail(err, HN_USAGE, "top-k %d: it must be 0 (off) or more", o->top_k);
    if (!in_range(o->top_p, 0, 1) || !in_range(o->min_p, 0, 1))
        return hn_fail(err, HN_USAGE, "top-p %g and min-p %g must be between 0 and 1",
                       (double)o->top_p, (double)o->min_p);
    if (!in_range(o->repetition_penalty, 1e-3f, 1e3f))
        return hn_fail(err, HN_USAGE, "repetition penalty %g: it must be above 0; 1 is off",
                       (double)o->repetition_penalty);
    if (!in_range(o->presence_penalty, -100, 100) || !in_range(o->frequency_penalty, -100, 100))
        return hn_fail(err, HN_USAGE,
                       "presence penalty %g, frequency penalty %g: usual are -2 to 2",
                       (double)o->presence_penalty, (double)o->frequency_penalty);
    for (int i = 0; i < o->n_bias; i++)
        if (o->bias[i].token < 0 || (uint32_t)o->bias[i].token >= n_vocab || isnan(o->bias[i].bias))
            return hn_fail(err, HN_USAGE, "logit bias %g for token %d of %u",
                           (double)o->bias[i].bias, o->bias[i].token, n_vocab);
    return HN_OK;
}

hn_status hn_sampler_init(hn_sampler *sampler, const hn_sampling *options, uint32_t n_vocab,
                          hn_error *err) {
    return hn_sampler_init_with(sampler, options, n_vocab, NULL, err);
}

hn_status hn_sampler_init_with(hn_sampler *out, const hn_sampling *options, uint32_t n_vocab,
                               hn_candidate *candidates, hn_error *err) {
    HN_TRY(hn_sampling_check(options, n_vocab, err));
    hn_sampler sampler = {.options = *options, .n_vocab = n_vocab};
    sampler.rng = hn_rng_new(options->seed, 0);
    bool penalised = options->repetition_penalty != 1.0f || options->presence_penalty != 0 ||
                     options->frequency_penalty != 0;
    bool drawn = options->temperature > 0;
    if (penalised) {
        sampler.prompt_seen = hn_calloc(n_vocab, sizeof *sampler.prompt_seen);
        sampler.generated = hn_calloc(n_vocab, sizeof *sampler.generated);
    }
    sampler.borrowed = candidates != NULL;
    if (drawn)
        sampler.candidates =
            candidates ? candidates
                       : hn_reallocarray(NULL, HN_CANDIDATES(n_vocab), sizeof *sampler.candidates);
    if ((penalised && (!sampler.prompt_seen || !sampler.generated)) ||
        (drawn && !sampler.candidates)) {
        hn_sampler_done(&sampler);
        return hn_fail_no_memory(err, n_vocab * sizeof *sampler.candidates);
    }
    *out = sampler;
    return HN_OK;
}

void hn_sampler_done(hn_sampler *sampler) {
    hn_free(sampler->prompt_seen);
    hn_free(sampler->generated);
    if (!sampler->borrowed)
        hn_free(sampler->candidates);
    *sampler = (hn_sampler){0};
}

void hn_sampler_accept(hn_sampler *sampler, int32_t token, bool generated) {
    uint32_t *counts = generated ? sampler->generated : sampler->prompt_seen;
    if (counts && token >= 0 && (uint32_t)token < sampler->n_vocab)
        counts[token]++;
}

/* Repetition penalty: Keskar et al., "CTRL" (2019), over prompt and answer, as transformers has it.
 * Presence and frequency: OpenAI's API reference, over the answer. */
static void penalise(const hn_sampler *sampler, float *logits) {
    const hn_sampling *o = &sampler->options;
    for (uint32_t i = 0; i < sampler->n_vocab; i++) {
        uint32_t generated = sampler->generated[i];
        if (!generated && !sampler->prompt_seen[i])
            continue;
        logits[i] =
            logits[i] > 0 ? logits[i] / o->repetition_penalty : logits[i] * o->repetition_penalty;
        if (generated)
            logits[i] -= o->presence_penalty + (float)generated * o->frequency_penalty;
    }
}

static int by_logit(const void *a, const void *b) {
    const hn_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

/* Larger logits have smaller keys; -0 and 0 the same. */
static uint32_t descending_key(float logit) {
    uint32_t bits;
    logit += 0.0f;
    memcpy(&bits, &logit, sizeof bits);
    return bits & 0x80000000u ? bits : ~bits & 0x7fffffffu;
}

static void sift_down(hn_candidate *heap, uint32_t k, uint32_t at) {
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= k)
            return;
        if (child + 1 < k && by_logit(&heap[child + 1], &heap[child]) > 0)
            child++;
        if (by_logit(&heap[child], &heap[at]) <= 0)
            return;
        hn_candidate swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

static void make_heap(hn_candidate *c, uint32_t k) {
    for (uint32_t i = k / 2; i-- > 0;)
        sift_down(c, k, i);
}

/* Moves the k best to the front, in no order: a heap of the best so far, the worst of them on top.
 */
static void select_best(hn_candidate *c, uint32_t n, uint32_t k) {
    make_heap(c, k);
    for (uint32_t i = k; i < n; i++) {
        if (by_logit(&c[i], &c[0]) >= 0)
            continue;
        hn_candidate swap = c[0];
        c[0] = c[i];
        c[i] = swap;
        sift_down(c, k, 0);
    }
}

enum { LANES = 32 }; /* logits looked at together */

static bool any_above(const float *x, float limit) {
    int above = 0;
    for (int j = 0; j < LANES; j++)
        above |= x[j] > limit;
    return above != 0;
}

/* Straight from the logits: what isn't better than the worst of the best so far costs a comparison
 * in lanes. */
uint32_t hn_candidates_best(hn_candidate *c, const float *logits, uint32_t n_vocab, uint32_t k) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        while (n == k && i + LANES <= n_vocab && !any_above(logits + i, c[0].logit))
            i += LANES;
        if (i == n_vocab)
            break;
        if (!(logits[i] > (n == k ? c[0].logit : -INFINITY)))
            continue; /* among equals the lower id is in already */
        const hn_candidate one = {.id = (int32_t)i, .logit = logits[i]};
        if (n == k) {
            c[0] = one;
            sift_down(c, k, 0);
        } else {
            c[n++] = one;
            if (n == k)
                make_heap(c, k);
        }
    }
    if (n == 0) /* all are forbidden */
        c[n++] = (hn_candidate){.logit = logits[0]};
    qsort(c, n, sizeof *c, by_logit);
    return n;
}

static double weigh(hn_candidate *c, uint32_t n, float max, float temperature) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        c[i].p = expf((c[i].logit - max) / temperature);
        sum += (double)c[i].p;
    }
    return sum;
}

/* The smallest number of leading candidates whose probabilities reach top_p; 0 = all don't. */
static uint32_t reach_top_p(const hn_candidate *c, uint32_t n, double sum, float top_p) {
    double reached = 0;
    for (uint32_t i = 0; i < n; i++) {
        reached += (double)c[i].p;
        if (reached >= (double)top_p * sum)
            return i + 1;
    }
    return 0;
}

/* Sorts by logit, best first, what stands in the order of ids: equals stay in it. spare: (n). Ends
 * in c. */
static void sort_by_logit(hn_candidate *c, hn_candidate *spare, uint32_t n) {
    enum { BITS = 11, KINDS = 1 << BITS, PASSES = 3 };
    hn_candidate *from = c, *to = spare;
    for (int pass = 0; pass < PASSES; pass++) {
        uint32_t starts[KINDS] = {0}, at = 0;
        for (uint32_t i = 0; i < n; i++)
            starts[descending_key(from[i].logit) >> pass * BITS & (KINDS - 1)]++;
        for (int kind = 0; kind < KINDS; kind++) {
            const uint32_t count = starts[kind];
            starts[kind] = at;
            at += count;
        }
        for (uint32_t i = 0; i < n; i++)
            to[starts[descending_key(from[i].logit) >> pass * BITS & (KINDS - 1)]++] = from[i];
        hn_candidate *swap = from;
        from = to;
        to = swap;
    }
    memcpy(c, from, n * sizeof *c); /* three passes end in the spare ones */
}

/* Those of the tokens whose weight is `least` or more, in the order of their ids. */
static uint32_t gather(const hn_sampler *sampler, const float *logits, const float *weights,
                       float least) {
    hn_candidate *c = sampler->candidates;
    const float below = nextafterf(least, -1);
    uint32_t n = 0;
    for (uint32_t i = 0; i < sampler->n_vocab; i++) {
        while (i + LANES <= sampler->n_vocab && !any_above(weights + i, below))
            i += LANES;
        if (i < sampler->n_vocab && weights[i] >= least)
            c[n++] = (hn_candidate){.id = (int32_t)i, .logit = logits[i], .p = weights[i]};
    }
    return n;
}

/* The candidates that reach top_p, best first; returns their number. Nearly always a few of many
 * do, so that few are sorted. */
static uint32_t take_top_p(const hn_sampler *sampler, const float *logits, const float *weights,
                           double sum) {
    enum { FEW = 256 };
    hn_candidate *c = sampler->candidates;
    const float top_p = sampler->options.top_p;
    /* All that is lighter than this together weighs less than what top_p leaves out. */
    const float least = (float)((1 - (double)top_p) * sum / sampler->n_vocab * (1 - 1e-3));
    uint32_t n = gather(sampler, logits, weights, least), reached;
    if (n > FEW) {
        select_best(c, n, FEW);
        qsort(c, FEW, sizeof *c, by_logit);
        reached = reach_top_p(c, FEW, sum, top_p);
        if (reached)
            return reached;
        n = gather(sampler, logits, weights, least);
    }
    sort_by_logit(c, c + sampler->n_vocab, n);
    reached = reach_top_p(c, n, sum, top_p);
    return reached ? reached : n;
}

/* Draws among the first n candidates; `best` where rounding leaves nobody. */
static int32_t draw_candidate(hn_sampler *sampler, uint32_t n, int32_t best) {
    hn_candidate *c = sampler->candidates;
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) { /* the best candidate has p = 1 before scaling */
        if (c[i].p < sampler->options.min_p)
            c[i].p = 0;
        sum += (double)c[i].p;
    }
    double target = hn_rng_double(&sampler->rng) * sum;
    for (uint32_t i = 0; i < n; i++) {
        target -= (double)c[i].p;
        if (target < 0)
            return c[i].id;
    }
    return best;
}

/* Draws among all tokens by their weights, in the order of ids. */
static int32_t draw_weight(hn_sampler *sampler, const float *weights, double sum, int32_t best) {
    enum { PIECE = 1024 };
    const long n = sampler->n_vocab;
    double target = hn_rng_double(&sampler->rng) * sum;
    for (long first = 0; first < n; first += PIECE) {
        const long end = n - first < PIECE ? n : first + PIECE;
        const double piece = hn_sum(weights + first, end - first);
        if (target >= piece) {
            target -= piece;
            continue;
        }
        for (long i = first; i < end; i++) {
            target -= (double)weights[i];
            if (target < 0)
                return (int32_t)i;
        }
        target = 0; /* rounding: the next one that weighs something */
    }
    return best;
}

int32_t hn_sampler_draw(hn_sampler *sampler, float *logits) {
    const hn_sampling *o = &sampler->options;
    const uint32_t n_vocab = sampler->n_vocab;
    for (int i = 0; i < o->n_bias; i++)
        logits[o->bias[i].token] += o->bias[i].bias;
    if (sampler->generated)
        penalise(sampler, logits);
    hn_candidate *c = sampler->candidates;
    if (o->temperature > 0 && o->top_k > 0) {
        const uint32_t n = hn_candidates_best(
            c, logits, n_vocab, (uint32_t)o->top_k < n_vocab ? (uint32_t)o->top_k : n_vocab);
        const double sum = weigh(c, n, c[0].logit, o->temperature);
        const uint32_t reached = o->top_p < 1.0f ? reach_top_p(c, n, sum, o->top_p) : 0;
        return draw_candidate(sampler, reached ? reached : n, c[0].id);
    }
    const int32_t best = (int32_t)hn_argmax(logits, n_vocab);
    if (o->temperature <= 0)
        return best;
    float *weights = (float *)(void *)(c + 2 * (size_t)n_vocab);
    hn_exp_all(weights, logits, n_vocab, logits[best], o->temperature);
    const double sum = hn_sum(weights, n_vocab);
    if (o->top_p < 1.0f)
        return draw_candidate(sampler, take_top_p(sampler, logits, weights, sum), best);
    if (o->min_p > 0)
        return draw_candidate(sampler, gather(sampler, logits, weights, o->min_p), best);
    return draw_weight(sampler, weights, sum, best);
}

void hn_sampler_skip(hn_sampler *sampler) {
    if (sampler->options.temperature > 0)
        (void)hn_rng_double(&sampler->rng);
}

hn_status hn_drawn_check(float logit, hn_error *err) {
    if (isnan(logit))
        return hn_fail(err, HN_FAILED,
                       "the model's logits are NaN: its weights, or those of its adapter, lead to "
                       "numbers out of range");
    return HN_OK;
}
