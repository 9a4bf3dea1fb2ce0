/* How many tokens to guess: chances by kind of guess, costs by the clock. */
#include "model/speculate.h"

#include "base/mem.h"
#include "model/row_cost.h"

/* Guesses of a kind that came true and that were tried, older ones counting less; the assumed
 * chance weighs as much as PRIOR_WEIGHT tries. */
typedef struct chance {
    float tried, accepted;
} chance;

struct hn_speculator {
    hn_drafter drafter;
    chance chances[HN_DRAFT_KINDS + 1]; /* the last of what a grammar forces */
    int kind;                           /* of the last guesses */
    hn_row_cost cost;                   /* of passes that computed this text alone */
    float extra_cost;                   /* of a row more, in passes of one row */
    int n_rows;                         /* of the pass at hand without guesses */
};

static const float PRIOR_WEIGHT = 2;
/* A try counts this much less with each later one: some 30 are remembered. */
static const float MEMORY = 0.97f;
/* Where guessing didn't pay the tries fade by this at each chance to guess, so that a kind that
 * failed is tried again some hundred tokens later. */
static const float FORGIVENESS = 0.99f;
/* Guesses must promise this much more than a pass without them. */
static const float MIN_GAIN = 1.03f;
/* That what a grammar forces comes in the tokenizer's own tokens. */
static const float FORCED_CHANCE = 0.7f;
/* Where a grammar forces what comes, a pass without guesses reads little of the head: it is quicker
 * than those that were measured by about this, so that a guess counts as dearer. */
static const float FORCED_COST = 0.15f;

hn_status hn_speculator_new(hn_speculator **out, const hn_drafter *drafter, hn_error *err) {
    hn_speculator *s = hn_calloc(1, sizeof *s);
    if (!s) {
        if (drafter->free)
            drafter->free(drafter->self);
        return hn_fail_no_memory(err, sizeof *s);
    }
    s->drafter = *drafter;
    s->extra_cost = hn_row_cost_extra(&s->cost);
    s->n_rows = 1;
    *out = s;
    return HN_OK;
}

void hn_speculator_free(hn_speculator *s) {
    if (s && s->drafter.free)
        s->drafter.free(s->drafter.self);
    hn_free(s);
}

void hn_speculator_start(hn_speculator *s) {
    if (s->drafter.start)
        s->drafter.start(s->drafter.self);
}

static float chance_of(const hn_speculator *s, int kind) {
    const chance *c = &s->chances[kind];
    const float assumed = kind == HN_DRAFT_KINDS ? FORCED_CHANCE : s->drafter.chances[kind];
    return (c->accepted + PRIOR_WEIGHT * assumed) / (c->tried + PRIOR_WEIGHT);
}

/* A guess that costs c passes of one row is c / (1 + e (n - 1)) of a pass of n rows, a row more
 * costing e; and where n tokens come for the whole pass, it must bring n times what it must bring
 * for one. */
static float share_of(const hn_speculator *s, float c) {
    const float n = (float)s->n_rows;
    return n * c / (1 + s->extra_cost * (n - 1));
}

void hn_speculator_share(hn_speculator *s, int n_rows, float extra_cost) {
    s->n_rows = n_rows > 1 ? n_rows : 1;
    s->extra_cost = extra_cost;
}

/* The number of guesses with the most tokens for the time: 1 + p + ... + p^k of them in
 * 1 + k (extra + cost) passes, a guess's chance p standing for itself. */
static int best_count(const hn_speculator *s, float p, float cost, int max) {
    float tokens = 1, power = 1, passes = 1, best = MIN_GAIN;
    int count = 0;
    for (int k = 1; k <= max; k++) {
        power *= p;
        tokens += power;
        passes += share_of(s, s->extra_cost + cost);
        if (tokens / passes > best) {
            best = tokens / passes;
            count = k;
        }
    }
    return count;
}

/* How many of `found` guesses of a kind are worth it; none: the kind is forgiven a little. */
static int choose(hn_speculator *s, int kind, float cost, int found) {
    int wanted = best_count(s, chance_of(s, kind), cost, found);
    s->kind = kind;
    if (wanted == 0) {
        s->chances[kind].tried *= FORGIVENESS;
        s->chances[kind].accepted *= FORGIVENESS;
    }
    return wanted;
}

int hn_speculator_forced(hn_speculator *s, int found) {
    return choose(s, HN_DRAFT_KINDS, FORCED_COST, found < HN_DRAFT_MAX ? found : HN_DRAFT_MAX);
}

hn_status hn_speculator_draft(hn_speculator *s, const int32_t *text, int n_text, int max,
                              int32_t tokens[HN_DRAFT_MAX], int *n, hn_error *err) {
    const hn_drafter *d = &s->drafter;
    int found = 0, kind = 0;
    *n = 0;
    max = max < HN_DRAFT_MAX ? max : HN_DRAFT_MAX;
    if (max < 1)
        return HN_OK;
    HN_TRY(d->look(d->self, text, n_text, max, &found, &kind, err));
    if (found < 1)
        return HN_OK;
    found = found < max ? found : max;
    int wanted = choose(s, kind, d->cost, found);
    wanted = d->eager ? found : wanted;
    return wanted ? d->draft(d->self, text, n_text, wanted, tokens, n, err) : HN_OK;
}

void hn_speculator_learn(hn_speculator *s, int judged, int accepted) {
    chance *c = &s->chances[s->kind];
    for (int i = 0; i < judged; i++) {
        c->tried = c->tried * MEMORY + 1;
        c->accepted = c->accepted * MEMORY + (i < accepted);
    }
}

void hn_speculator_time(hn_speculator *s, int n_rows, uint64_t ns) {
    hn_row_cost_learn(&s->cost, n_rows, ns);
    s->extra_cost = hn_row_cost_extra(&s->cost);
}
