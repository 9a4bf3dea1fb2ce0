/* Part of ops_tmpl.h: rows of two models' logits against each other. */

/* The two rows' exponentials, and the first one's times the gap of the logits. */
typedef struct soft_pair {
    float max_s, max_t, inv_t;
} soft_pair;

static inline void soft_terms(const soft_pair *p, vf s, vf t, vf *e_s, vf *e_t, vf *gap) {
    s = (s - p->max_s) * p->inv_t;
    t = (t - p->max_t) * p->inv_t;
    *e_s = vexp(s);
    *e_t = vexp(t);
    *gap = *e_t * (t - s);
}

/* Sums of soft_terms over n values, kept in double across chunks. Lanes behind the end are the
 * maxima themselves: they add 1 to the first two, which is taken off again. */
static void soft_sums(const soft_pair *p, const float *s, const float *t, int64_t n,
                      double sum[3]) {
    enum { CHUNK = 1024 };
    for (int64_t from = 0; from < n; from += CHUNK) {
        int64_t end = n - from < CHUNK ? n : from + CHUNK, i = from;
        vf total[3] = {{0}}, e_s, e_t, gap;
        for (; i + VW <= end; i += VW) {
            soft_terms(p, load(s + i), load(t + i), &e_s, &e_t, &gap);
            total[0] += e_s;
            total[1] += e_t;
            total[2] += gap;
        }
        if (i < end) {
            double behind = (double)(VW - (end - i));
            soft_terms(p, load_part(s + i, end - i, p->max_s), load_part(t + i, end - i, p->max_t),
                       &e_s, &e_t, &gap);
            sum[0] += (double)sum_lanes(e_s) - behind;
            sum[1] += (double)sum_lanes(e_t) - behind;
            sum[2] += (double)sum_lanes(gap);
        }
        for (int j = 0; j < 3; j++)
            sum[j] += (double)sum_lanes(total[j]);
    }
}

static double op_distill(const float *s, float *t, int64_t n, float inv_t, float scale) {
    soft_pair p = {row_max(s, n), row_max(t, n), inv_t};
    double sum[3] = {0};
    soft_sums(&p, s, t, n, sum);
    float by_s = (float)((double)scale / sum[0]), by_t = (float)((double)scale / sum[1]);
    for (int64_t i = 0; i < n; i += VW) {
        bool whole = i + VW <= n;
        vf e_s, e_t, gap;
        vf a = whole ? load(s + i) : load_part(s + i, n - i, p.max_s);
        vf b = whole ? load(t + i) : load_part(t + i, n - i, p.max_t);
        soft_terms(&p, a, b, &e_s, &e_t, &gap);
        if (whole)
            store(t + i, e_s * by_s - e_t * by_t);
        else
            store_part(t + i, n - i, e_s * by_s - e_t * by_t);
    }
    return sum[2] / sum[1] + log(sum[0]) - log(sum[1]);
}
