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

/* Sums in double across chunks, as everywhere; lanes behind the end are left out. */
static double op_log_prob(const float *x, int64_t n, int32_t label, float inv_t) {
    enum { CHUNK = 1024 };
    float max = row_max(x, n);
    double total = 0;
    for (int64_t from = 0; from < n; from += CHUNK) {
        int64_t end = n - from < CHUNK ? n : from + CHUNK, i = from;
        vf s = {0};
        for (; i + VW <= end; i += VW)
            s += vexp((load(x + i) - max) * inv_t);
        total += (double)sum_lanes(s);
        if (i < end) /* a lane behind the end adds 1 */
            total += (double)sum_lanes(vexp((load_part(x + i, end - i, max) - max) * inv_t)) -
                     (double)(VW - (end - i));
    }
    return ((double)x[label] - (double)max) * (double)inv_t - log(total);
}

/* log(x) of positive normal numbers to 2e-7: x = 2^e m with m around 1, a polynomial for log(m). */
static inline vf vlog(vf x) {
    vi bits = (vi)x;
    vi e = (bits - 0x3f3504f3) >> 23; /* the bits of sqrt(1/2) */
    vf f = (vf)(bits - (e << 23)) - 1.0f, n = __builtin_convertvector(e, vf), f2 = f * f;
    vf p = splat(7.0376836292e-2f);
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    p = p * f * f2 - n * 2.12194440e-4f - f2 * 0.5f;
    return f + p + n * 0.693359375f;
}

typedef struct mixed_pair {
    soft_pair row;
    float lse_s, lse_t; /* of the shifted rows */
    float beta, by_q;   /* by_q: 1 - beta, or 1 where M is P itself */
} mixed_pair;

/* q, q times its share of the slope, and p times log(p / m). */
static inline void mixed_terms(const mixed_pair *m, vf s, vf t, vf *q, vf *slope, vf *of_p) {
    vf log_q = (s - m->row.max_s) * m->row.inv_t - m->lse_s;
    vf log_p = (t - m->row.max_t) * m->row.inv_t - m->lse_t;
    vf p = vexp(log_p), log_m = log_p;
    *q = vexp(log_q);
    *of_p = splat(0);
    if (m->beta < 1) {
        log_m = vlog(*q * m->by_q + p * m->beta);
        *of_p = p * (log_p - log_m) * m->beta;
    }
    *slope = *q * (log_q - log_m) * m->by_q;
}

/* Sums of slope and of_p, in double across chunks; lanes behind the end are left out. */
static void mixed_sums(const mixed_pair *m, const float *s, const float *t, int64_t n,
                       double sum[2]) {
    enum { CHUNK = 1024 };
    for (int64_t from = 0; from < n; from += CHUNK) {
        int64_t end = n - from < CHUNK ? n : from + CHUNK, i = from;
        vf total[2] = {{0}}, q, slope, of_p;
        for (; i + VW <= end; i += VW) {
            mixed_terms(m, load(s + i), load(t + i), &q, &slope, &of_p);
            total[0] += slope;
            total[1] += of_p;
        }
        if (i < end) {
            float a[VW], b[VW];
            mixed_terms(m, load_part(s + i, end - i, m->row.max_s),
                        load_part(t + i, end - i, m->row.max_t), &q, &slope, &of_p);
            store(a, slope);
            store(b, of_p);
            for (int64_t j = 0; j < end - i; j++) {
                sum[0] += (double)a[j];
                sum[1] += (double)b[j];
            }
        }
        for (int j = 0; j < 2; j++)
            sum[j] += (double)sum_lanes(total[j]);
    }
}

/* d/ds of it is q (g - sum of q g) / T with g = (1 - beta) log(q / m): the rest of d/dq is the same
 * for every token. */
static double op_divergence(const float *s, float *t, int64_t n, float inv_t, float beta,
                            float scale) {
    double of_rows[3] = {0}, sum[2] = {0};
    mixed_pair m = {.row = {row_max(s, n), row_max(t, n), inv_t}, .beta = beta};
    soft_sums(&m.row, s, t, n, of_rows);
    m.lse_s = (float)log(of_rows[0]);
    m.lse_t = (float)log(of_rows[1]);
    m.by_q = beta < 1 ? 1.0f - beta : 1.0f;
    mixed_sums(&m, s, t, n, sum);
    float mean = (float)sum[0];
    for (int64_t i = 0; i < n; i += VW) {
        bool whole = i + VW <= n;
        vf q, slope, of_p;
        vf a = whole ? load(s + i) : load_part(s + i, n - i, m.row.max_s);
        vf b = whole ? load(t + i) : load_part(t + i, n - i, m.row.max_t);
        mixed_terms(&m, a, b, &q, &slope, &of_p);
        vf gradient = (slope - q * mean) * scale;
        if (whole)
            store(t + i, gradient);
        else
            store_part(t + i, n - i, gradient);
    }
    return sum[0] + sum[1];
}
