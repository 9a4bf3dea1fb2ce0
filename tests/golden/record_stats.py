"""Records stats.json: what scipy and statsmodels answer for the formulas in src/eval/stats.c.

Needs numpy, scipy, statsmodels. The paired-difference interval has no function there: its reference
maximises the constrained likelihood numerically and finds the bounds by root search.
Run: python tests/golden/record_stats.py > tests/golden/stats.json
"""
import json

import numpy as np
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint


def tango(b, c, n, confidence):
    z = stats.norm.ppf(1 - (1 - confidence) / 2)

    def score(d):
        low, high = max(0.0, -d) + 1e-15, (1 - d) / 2 - 1e-15

        def minus_likelihood(p21):
            p12 = p21 + d
            rest = 1 - p12 - p21
            terms = ((b, p12), (c, p21), (n - b - c, rest))
            return -sum(k * np.log(max(p, 1e-300)) for k, p in terms if k)

        q = optimize.minimize_scalar(minus_likelihood, bounds=(low, high), method="bounded",
                                     options={"xatol": 1e-13}).x
        return (b - c - n * d) / np.sqrt(n * (2 * q + d * (1 - d)))

    estimate = (b - c) / n
    high = optimize.brentq(lambda d: score(d) + z, estimate + 1e-9, 0.999, xtol=1e-12)
    low = optimize.brentq(lambda d: score(d) - z, -0.999, estimate - 1e-9, xtol=1e-12)
    return [low, high]


def upper_rank(n, q, confidence):
    ranks = [k for k in range(1, n + 1) if stats.binom.cdf(k - 1, n, q) >= confidence]
    return ranks[0] if ranks else 0


def lower_rank(n, q, confidence):
    ranks = [k for k in range(1, n + 1) if stats.binom.sf(k - 1, n, q) >= confidence]
    return ranks[-1] if ranks else 0


rng = np.random.default_rng(3)
x = np.round(rng.normal(0.4, 0.3, 200), 6)
boot = stats.bootstrap((x,), np.mean, n_resamples=200000, method="percentile", confidence_level=0.95,
                       random_state=np.random.default_rng(4)).confidence_interval
out = {
    "normal_quantile": [[p, stats.norm.ppf(p)] for p in
                        (1e-12, 1e-5, 0.01, 0.025, 0.05, 0.2, 0.5, 0.8, 0.95, 0.975, 0.999999)],
    "wilson": [[k, n, c, *proportion_confint(k, n, 1 - c, "wilson")] for k, n, c in
               ((0, 10, 0.95), (10, 10, 0.95), (3, 10, 0.9), (752, 800, 0.95), (1, 1, 0.95), (938, 1000, 0.99))],
    "mcnemar": [[b, c, float(mcnemar([[50, b], [c, 50]], exact=b + c <= 25, correction=True).pvalue)]
                for b, c in ((0, 1), (3, 3), (5, 1), (0, 25), (13, 12), (13, 13), (20, 6), (40, 62), (500, 300))],
    "mean": {"x": x.tolist(), "mean": x.mean(), "se": x.std(ddof=1) / np.sqrt(len(x)),
             "bootstrap": [boot.low, boot.high], "quantiles": [[q, np.quantile(x, q)] for q in (0, 0.05, 0.5, 0.95, 1)]},
    "upper_rank": [[n, q, c, upper_rank(n, q, c)] for n, q, c in
                   ((58, .95, .95), (59, .95, .95), (200, .95, .95), (500, .95, .95), (1000, .95, .95), (800, .5, .9))],
    "lower_rank": [[n, q, c, lower_rank(n, q, c)] for n, q, c in
                   ((2, .95, .95), (59, .95, .95), (200, .95, .95), (1000, .95, .95), (800, .5, .9), (1, .5, .95))],
    "tango": [[b, c, n, conf, *tango(b, c, n, conf)] for b, c, n, conf in
              ((0, 0, 100, .9), (5, 3, 100, .9), (20, 2, 1000, .9), (0, 7, 50, .95), (1, 0, 800, .9), (60, 7, 1000, .9))],
}
print(json.dumps(out, indent=1))
