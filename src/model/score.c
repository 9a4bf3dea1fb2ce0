/* Log-probabilities of continuations after one prompt. The prompt is computed once and stays in
 * sequence 0 for the next call; the continuations are forks of it in shared batches. */
#include "base/mem.h"
#include "model/generate.h"
#include "model/kv.h"
#include "model/vmath.h"

#include <string.h>

/* Rows of logits held at a time: 128 x 49,152 f32 are 25 MB. */
enum { SCORE_ROWS = 128 };

typedef struct scorer {
    hn_model *model;
    hn_kv *kv;
    const hn_adapter *adapter;
    const hn_ids *choices;
    int n_choices;
    double *log_probs;
    float *logits;      /* (SCORE_ROWS, n_vocab) */
    double *log_sums;   /* (SCORE_ROWS) */
    hn_batch_row *rows; /* (SCORE_ROWS) */
    int *row_choice;    /* (SCORE_ROWS) the choice whose tokens a row feeds */
    int *row_index;     /* (SCORE_ROWS) which of them */
    int *leader;        /* (n_choices) the choice whose rows serve this one too */
    int n_rows;
} scorer;

static void log_sums_share(void *arg, int thread, int n_threads) {
    scorer *s = arg;
    long n_vocab = s->model->arch.n_vocab, first, last;
    hn_pool_share(s->n_rows, 1, thread, n_threads, &first, &last);
    for (long i = first; i < last; i++)
        s->log_sums[i] = hn_log_sum_exp(s->logits + i * n_vocab, n_vocab);
}

static hn_status run_rows(scorer *s, hn_error *err) {
    HN_TRY(hn_forward(s->model, s->kv, &s->adapter, s->adapter ? 1 : 0, s->rows, s->n_rows,
                      s->logits, NULL, err));
    hn_pool_run(hn_compute_pool(s->model->compute), log_sums_share, s);
    return HN_OK;
}

static double log_prob(const scorer *s, int row, int32_t token) {
    return (double)s->logits[(int64_t)row * s->model->arch.n_vocab + token] - s->log_sums[row];
}

/* Computes what sequence 0 lacks of the prompt and scores every choice's first token. */
static hn_status score_prompt(scorer *s, const int32_t *prompt, int n_prompt, hn_error *err) {
    int32_t known = hn_kv_common_prefix(s->kv, 0, s->adapter, prompt, n_prompt);
    known = known == n_prompt ? n_prompt - 1 : known;
    hn_kv_truncate(s->kv, 0, known);
    while (known < n_prompt) {
        int n = n_prompt - known < SCORE_ROWS ? n_prompt - known : SCORE_ROWS;
        for (int i = 0; i < n; i++)
            s->rows[i] = (hn_batch_row){.token = prompt[known + i],
                                        .adapter = s->adapter ? 0 : -1,
                                        .wants_logits = known + i == n_prompt - 1};
        known += n;
        HN_TRY(hn_forward(s->model, s->kv, &s->adapter, s->adapter ? 1 : 0, s->rows, n, s->logits,
                          NULL, err));
    }
    s->log_sums[0] = hn_log_sum_exp(s->logits, s->model->arch.n_vocab);
    for (int c = 0; c < s->n_choices; c++)
        s->log_probs[c] = s->choices[c].size ? log_prob(s, 0, s->choices[c].data[0]) : 0;
    return HN_OK;
}

/* A choice of n tokens feeds its first n - 1. Choices whose fed tokens begin another's are served
 * by that one's rows. */
static size_t fed(const hn_ids *choice) {
    return choice->size ? choice->size - 1 : 0;
}

static bool begins(const hn_ids *choice, const hn_ids *other) {
    return fed(choice) <= fed(other) &&
           !memcmp(choice->data, other->data, fed(choice) * sizeof *choice->data);
}

static void find_leaders(scorer *s) {
    for (int c = 0; c < s->n_choices; c++) {
        int best = c;
        for (int other = 0; fed(&s->choices[c]) && other < s->n_choices; other++) {
            size_t theirs = fed(&s->choices[other]), so_far = fed(&s->choices[best]);
            if ((theirs > so_far || (theirs == so_far && other < best)) &&
                begins(&s->choices[c], &s->choices[other]))
                best = other;
        }
        s->leader[c] = best;
    }
}

static hn_status flush(scorer *s, hn_error *err) {
    if (s->n_rows == 0)
        return HN_OK;
    HN_TRY(run_rows(s, err));
    for (int row = 0; row < s->n_rows; row++) {
        size_t next = (size_t)s->row_index[row] + 1;
        for (int c = 0; c < s->n_choices; c++)
            if (s->leader[c] == s->row_choice[row] && next < s->choices[c].size)
                s->log_probs[c] += log_prob(s, row, s->choices[c].data[next]);
    }
    s->n_rows = 0;
    return HN_OK;
}

/* Ends the forks 1..n_forks and makes their blocks free. */
static void drop_forks(scorer *s, int n_forks) {
    for (int seq = 1; seq <= n_forks; seq++)
        hn_kv_truncate(s->kv, seq, 0);
}

static hn_status push_rows(scorer *s, int choice, int seq, hn_error *err) {
    for (size_t k = 0; k < fed(&s->choices[choice]); k++) {
        if (s->n_rows == SCORE_ROWS)
            HN_TRY(flush(s, err));
        s->row_choice[s->n_rows] = choice;
        s->row_index[s->n_rows] = (int)k;
        s->rows[s->n_rows++] = (hn_batch_row){.token = s->choices[choice].data[k],
                                              .seq = seq,
                                              .adapter = s->adapter ? 0 : -1,
                                              .wants_logits = true};
    }
    return HN_OK;
}

static hn_status score_forks(scorer *s, int n_prompt, hn_error *err) {
    int forks = 0, most = s->kv->n_seqs - 1;
    int32_t planned = 0; /* blocks that the rows not yet run will take */
    for (int c = 0; c < s->n_choices; c++) {
        if (s->leader[c] != c || !fed(&s->choices[c]))
            continue;
        int32_t blocks = hn_kv_blocks_of(n_prompt % HN_KV_BLOCK + (int32_t)fed(&s->choices[c]));
        if (forks == most || planned + blocks > s->kv->n_free) {
            HN_TRY(flush(s, err));
            drop_forks(s, forks);
            forks = planned = 0;
        }
        if (most == 0) { /* no sequence to fork to: the prompt's own, one choice at a time */
            HN_TRY(push_rows(s, c, 0, err));
            HN_TRY(flush(s, err));
            hn_kv_truncate(s->kv, 0, n_prompt);
            continue;
        }
        HN_TRY(hn_kv_fork(s->kv, 0, ++forks, n_prompt, err));
        planned += blocks;
        HN_TRY(push_rows(s, c, forks, err));
    }
    HN_TRY(flush(s, err));
    drop_forks(s, forks);
    return HN_OK;
}

static hn_status check_choices(const scorer *s, int n_prompt, hn_error *err) {
    if (n_prompt < 1)
        return hn_fail(err, HN_USAGE, "there is nothing to continue: the prompt has no tokens");
    for (int c = 0; c < s->n_choices; c++)
        for (size_t i = 0; i < s->choices[c].size; i++)
            if (s->choices[c].data[i] < 0 || s->choices[c].data[i] >= s->model->arch.n_vocab)
                return hn_fail(err, HN_BAD_INPUT,
                               "choice %d holds the token %d, the vocabulary "
                               "has %d",
                               c, s->choices[c].data[i], s->model->arch.n_vocab);
    return HN_OK;
}

hn_status hn_score_choices(hn_model *model, hn_kv *kv, const hn_adapter *adapter,
                           const int32_t *prompt, int n_prompt, const hn_ids *choices,
                           int n_choices, double *log_probs, hn_error *err) {
    scorer s = {.model = model,
                .kv = kv,
                .adapter = adapter,
                .choices = choices,
                .n_choices = n_choices,
                .log_probs = log_probs};
    HN_TRY(check_choices(&s, n_prompt, err));
    hn_status status = HN_OK;
    size_t bytes = (size_t)SCORE_ROWS * (size_t)model->arch.n_vocab * sizeof *s.logits;
    s.logits = hn_malloc(bytes);
    s.log_sums = hn_calloc(SCORE_ROWS, sizeof *s.log_sums);
    s.rows = hn_calloc(SCORE_ROWS, sizeof *s.rows);
    s.row_choice = hn_calloc(SCORE_ROWS, sizeof *s.row_choice);
    s.row_index = hn_calloc(SCORE_ROWS, sizeof *s.row_index);
    s.leader = hn_calloc((size_t)n_choices, sizeof *s.leader);
    if (!s.logits || !s.log_sums || !s.rows || !s.row_choice || !s.row_index || !s.leader)
        HN_GO(hn_fail_no_memory(err, bytes));
    HN_GO(score_prompt(&s, prompt, n_prompt, err));
    find_leaders(&s);
    HN_GO(score_forks(&s, n_prompt, err));
done:
    hn_free(s.logits);
    hn_free(s.log_sums);
    hn_free(s.rows);
    hn_free(s.row_choice);
    hn_free(s.row_index);
    hn_free(s.leader);
    return status;
}
