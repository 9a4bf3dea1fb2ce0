/* Training on several ranks: run by mpirun (tests/meson.build), with any number of processes. What
 * the ranks learn together is compared with what each learns by itself. A rank that fails alone
 * would leave the others waiting: whatever is checked is checked by all. */
#define _GNU_SOURCE
#include "train/ranks_link.h"

#include <float.h>
#include <unistd.h>

#include "ranks_help.h"
#include "sft_golden.h"

/* Values that don't add up to the same in another order. */
static float value_of(int rank, size_t i) {
    return (float)(((i * 2654435761u + (size_t)rank * 40503u) % 2000003u) * 1e-3 - 1000) *
           (rank % 2 ? 1e-4f : 1.0f);
}

static float sum_of(size_t i) {
    double sum = 0;
    for (int r = 0; r < size_of_all(); r++)
        sum += (double)value_of(r, i);
    return (float)sum;
}

/* Ranges of all sizes, more than fit on the way at once, some of them begun before the first is
 * there. */
static void test_sums(void **state) {
    (void)state;
    enum { N = HN_SUM_PIECE * 20 + 77 };
    static const size_t SIZES[] = {1, 3, 0, 17, HN_SUM_PIECE, HN_SUM_PIECE + 1, 5};
    float *values = hn_malloc(N * sizeof *values);
    size_t at = 0;
    for (size_t i = 0; i < N; i++)
        values[i] = value_of(my_rank(), i);
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; at += SIZES[i++])
        hn_ranks_sum_begin(ranks, values + at, SIZES[i]);
    for (; at + 1000 < N / 2; at += 1000) /* more than there is room for */
        hn_ranks_sum_begin(ranks, values + at, 1000);
    hn_ranks_sum_begin(ranks, values + at, N - at);
    hn_ranks_sum_wait(ranks);
    size_t wrong = 0;
    for (size_t i = 0; i < N; i++)
        wrong += values[i] != sum_of(i);
    hn_free(values);
    check_all(wrong == 0, "%zu of %d sums are wrong", wrong, N);
}

static void test_add_and_broadcast(void **state) {
    (void)state;
    enum { N = 3000 };
    double values[N], wrong = 0;
    for (int i = 0; i < N; i++)
        values[i] = my_rank() + i;
    hn_ranks_add(ranks, values, N);
    int n = size_of_all();
    for (int i = 0; i < N; i++)
        wrong += values[i] != n * (n - 1) / 2 + (double)n * i;
    int told = my_rank() + 5;
    hn_ranks_broadcast(ranks, &told, sizeof told);
    check_all(wrong == 0 && told == 5, "sums or broadcast");
}

static void test_agree(void **state) {
    (void)state;
    hn_error err = {0};
    bool good = hn_ranks_agree(ranks, HN_OK, &err) == HN_OK;
    for (int failing = 0; failing < size_of_all(); failing++) {
        char wanted[64];
        hn_status status = HN_OK;
        err = (hn_error){0};
        if (my_rank() == failing)
            status = hn_fail(&err, HN_IO, "row %d", failing);
        else if (my_rank() == 0)
            status = hn_fail(&err, HN_CANCELLED, "stopped");
        status = hn_ranks_agree(ranks, status, &err);
        snprintf(wanted, sizeof wanted, failing ? "rank %d of %d: row %d" : "row 0", failing,
                 size_of_all(), failing);
        good = good && status == HN_IO && err.status == HN_IO && !strcmp(err.message, wanted);
    }
    int last = size_of_all() - 1;
    hn_status status = my_rank() == last ? hn_fail(&err, HN_CANCELLED, "stopped") : HN_OK;
    good = good && hn_ranks_agree(ranks, status, &err) == HN_CANCELLED;
    check_all(good && hn_ranks_agreed_to_fail(ranks), "agreeing (%s)", err.message);
}

static void test_split(void **state) {
    (void)state;
    enum { N = 23 };
    static const size_t COUNTS[] = {0, 1, 2, N};
    int64_t sizes[N];
    for (int i = 0; i < N; i++)
        sizes[i] = 10 + i * 7 % 31;
    for (int c = 0; c < 4; c++) {
        size_t n = COUNTS[c];
        bool mine[N];
        double taken[N + 1] = {0}, load = 0, most = 0, total = 0;
        hn_error err;
        bool good = hn_ranks_split(ranks, sizes, n, mine, &err) == HN_OK;
        for (size_t i = 0; i < n; i++) {
            taken[i] = mine[i];
            load += mine[i] ? (double)sizes[i] : 0;
            total += (double)sizes[i];
            most = (double)sizes[i] > most ? (double)sizes[i] : most;
        }
        hn_ranks_add(ranks, taken, n);
        for (size_t i = 0; i < n; i++)
            good = good && taken[i] == 1;
        check_all(good && load <= total / size_of_all() + most, "%zu items", n);
    }
}

/* The first step's gradients, before the optimiser makes anything of them: the golden documents
 * shared out, and all of them at once. */
static void gradients_of(const golden *g, hn_net *net, bool together, bool late) {
    const hn_document *list[MAX_DOCS];
    double supervised = 0;
    hn_error err;
    hn_train_options options = hn_train_options_default();
    options.ranks = together ? ranks : NULL;
    hn_trainer t = {.model = net->model, .options = &options, .net = net};
    hn_sums sums = {.ranks = options.ranks, .params = net->params, .late = late};
    size_t n = g->n_docs;
    for (size_t i = 0; i < n; i++) {
        list[i] = &g->docs[i];
        supervised += list[i]->n_supervised;
    }
    memset(net->params->grads, 0, net->params->n * sizeof(float));
    net->sums = &sums;
    hn_loss sft = hn_loss_sft((float)(1 / supervised));
    hn_pass pass = {.loss = &sft, .backward = true, .final = true};
    hn_net_loss loss = {0};
    hn_sums_start(&sums);
    hn_status status = hn_train_own_documents(&t, list, &n, &err);
    if (status == HN_OK)
        status = hn_train_passes(&t, list, n, &pass, &loss, NULL, &err);
    hn_sums_finish(&sums);
    net->sums = NULL;
    check_all(status == HN_OK, "%s", err.message);
}

static void check_gradients(const char *family, bool full, int shared, size_t budget) {
    golden g;
    hn_params params;
    hn_net *net;
    hn_error err;
    char dir[600];
    open_golden(&g, "../full.json");
    snprintf(dir, sizeof dir, "%s/golden/sft/%s", HN_TEST_ROOT, family);
    hn_model *model = load_model(dir, family, 1);
    hn_adapter *adapter = tiny_adapter(&model->arch, 0x7e, 4); /* without q: an odd layout */
    hn_status status = full ? hn_params_of_model(&params, model, shared, &err)
                            : hn_params_new(&params, adapter, 0, &err);
    assert_int_equal(status, HN_OK);
    assert_int_equal(hn_net_new(&net, model, &params, 0, budget, &err), HN_OK);
    size_t bytes = params.n * sizeof(float);
    float *alone = hn_malloc(bytes), *late = hn_malloc(bytes);
    gradients_of(&g, net, false, false);
    memcpy(alone, params.grads, bytes);
    gradients_of(&g, net, true, true);
    memcpy(late, params.grads, bytes);
    gradients_of(&g, net, true, false);
    double apart = 0, size = 0;
    for (size_t i = 0; i < params.n; i++) {
        double d = (double)(params.grads[i] - alone[i]);
        apart += d * d;
        size += (double)alone[i] * (double)alone[i];
    }
    check_all(memcmp(late, params.grads, bytes) == 0, "%s: sums begun early differ", family);
    check_all(apart <= 1e-12 * size, "%s: gradients %g apart of %g", family, sqrt(apart),
              sqrt(size));
    hn_free(alone);
    hn_free(late);
    hn_net_free(net);
    hn_params_done(&params);
    tiny_adapter_free(adapter);
    tiny_model_free(model);
    close_golden(&g);
}

static void test_gradients(void **state) {
    (void)state;
    static const char *const FAMILIES[] = {"llama", "qwen2", "qwen3", "gemma3"};
    for (int i = 0; i < 4; i++) {
        check_gradients(FAMILIES[i], false, 1, 0);
        check_gradients(FAMILIES[i], true, 1, 0);
    }
    check_gradients("llama", true, 3, 0);
    check_gradients("llama", false, 1, 1); /* a pass for each document */
    check_gradients("llama", true, 1, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),      cmocka_unit_test(test_add_and_broadcast),
        cmocka_unit_test(test_agree),     cmocka_unit_test(test_split),
        cmocka_unit_test(test_gradients),
    };
    return run_all(tests, sizeof tests / sizeof *tests);
}
