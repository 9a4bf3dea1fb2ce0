/* What may be spent: tokens and money over the whole of an output, resumed runs included. What is
 * under way is held at its worst, so that answers that come don't go beyond the budget. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct hn_budget {
    int64_t max_tokens;         /* 0 = no limit */
    double max_cost;            /* 0 = no limit */
    double price_in, price_out; /* of a million tokens */
    int64_t n_in, n_out;        /* spent */
    int64_t held_in, held_out;  /* under way */
} hn_budget;

double hn_budget_cost(const hn_budget *budget);
/* False, and nothing held, when the question might go beyond what is left. */
bool hn_budget_hold(hn_budget *budget, int64_t n_in, int64_t n_out);
void hn_budget_release(hn_budget *budget, int64_t n_in, int64_t n_out);
void hn_budget_spend(hn_budget *budget, int64_t n_in, int64_t n_out);
