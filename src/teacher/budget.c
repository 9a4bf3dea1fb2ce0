#include "teacher/budget.h"

static double cost(const hn_budget *b, int64_t n_in, int64_t n_out) {
    return ((double)n_in * b->price_in + (double)n_out * b->price_out) * 1e-6;
}

double hn_budget_cost(const hn_budget *budget) {
    return cost(budget, budget->n_in, budget->n_out);
}

bool hn_budget_hold(hn_budget *budget, int64_t n_in, int64_t n_out) {
    int64_t in = budget->n_in + budget->held_in + n_in;
    int64_t out = budget->n_out + budget->held_out + n_out;
    if (budget->max_tokens > 0 && in + out > budget->max_tokens)
        return false;
    if (budget->max_cost > 0 && cost(budget, in, out) > budget->max_cost)
        return false;
    budget->held_in += n_in;
    budget->held_out += n_out;
    return true;
}

void hn_budget_release(hn_budget *budget, int64_t n_in, int64_t n_out) {
    budget->held_in -= n_in;
    budget->held_out -= n_out;
}

void hn_budget_spend(hn_budget *budget, int64_t n_in, int64_t n_out) {
    budget->n_in += n_in;
    budget->n_out += n_out;
}
