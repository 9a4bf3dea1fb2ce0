/* Metrics: what threads count adds up, the text is well-formed, memory may run out. */
#include "base/mem.h"
#include "serve/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { N_THREADS = 4, N_TIMES = 20000 };

static void *count(void *arg) {
    hn_model_metrics *model = arg;
    for (int i = 0; i < N_TIMES; i++) {
        hn_metrics_next_token(model, 0.005); /* a bound belongs to its bucket */
        hn_metrics_finished(model, &(hn_finished_request){HN_FINISHED_LENGTH, 3, 2, 5, 700});
    }
    return NULL;
}

static bool has_line(const hn_buf *text, const char *line) {
    char wanted[256];
    snprintf(wanted, sizeof wanted, "\n%s\n", line);
    return strstr(hn_buf_text(text), wanted) != NULL;
}

static void test_threads_add_up(void **state) {
    hn_error err;
    hn_metrics *metrics;
    hn_model_metrics *model, *same, *other;
    pthread_t threads[N_THREADS];
    hn_buf text = {0};
    (void)state;
    assert_int_equal(hn_metrics_new(&metrics, &err), HN_OK);
    assert_int_equal(hn_metrics_model(metrics, "a\\\"b\n", &model, &err), HN_OK);
    assert_int_equal(hn_metrics_model(metrics, "a\\\"b\n", &same, &err), HN_OK);
    assert_int_equal(hn_metrics_model(metrics, "", &other, &err), HN_OK);
    assert_ptr_equal(model, same);
    assert_ptr_not_equal(model, other);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, model), 0);
    for (int i = 0; i < N_THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(hn_metrics_text(metrics, &text, &err), HN_OK);
#define LABEL "{model=\"a\\\\\\\"b\\n\""
    assert_true(has_line(&text, "hone_generation_tokens_total" LABEL "} 400000"));
    assert_true(has_line(&text, "hone_prefix_cache_queries_total" LABEL "} 240000"));
    assert_true(has_line(&text, "hone_prefix_cache_hits_total" LABEL "} 160000"));
    assert_true(
        has_line(&text, "hone_request_success_total" LABEL ",finished_reason=\"length\"} 80000"));
    assert_true(
        has_line(&text, "hone_inter_token_latency_seconds_bucket" LABEL ",le=\"0.005\"} 80000"));
    assert_true(
        has_line(&text, "hone_inter_token_latency_seconds_bucket" LABEL ",le=\"0.0025\"} 0"));
    assert_true(has_line(&text, "hone_inter_token_latency_seconds_sum" LABEL "} 400.000000000"));
    assert_true(has_line(&text, "hone_e2e_request_latency_seconds_bucket" LABEL ",le=\"640\"} 0"));
    assert_true(
        has_line(&text, "hone_e2e_request_latency_seconds_bucket" LABEL ",le=\"+Inf\"} 80000"));
    assert_true(has_line(&text, "hone_generation_tokens_total{model=\"\"} 0"));
    hn_buf_done(&text);
    hn_metrics_free(metrics);
}

static void scrape(void *context) {
    hn_metrics_gauges(context, &(hn_model_gauges){1, 0, 0.5, 1});
}

static void test_scrape_and_answers(void **state) {
    hn_error err;
    hn_metrics *metrics;
    hn_model_metrics *model;
    hn_buf text = {0};
    (void)state;
    assert_int_equal(hn_metrics_new(&metrics, &err), HN_OK);
    assert_int_equal(hn_metrics_model(metrics, "m", &model, &err), HN_OK);
    assert_int_equal(hn_metrics_on_scrape(metrics, scrape, model, &err), HN_OK);
    for (int i = 0; i < 2000;
         i++) /* more kinds of answers than are kept: the first ones count on */
        hn_metrics_answered(metrics, "/r", 200 + i % 1000, 0.01);
    assert_int_equal(hn_metrics_text(metrics, &text, &err), HN_OK);
    assert_true(has_line(&text, "hone_kv_cache_usage_perc{model=\"m\"} 0.500000"));
    assert_true(has_line(&text, "hone_http_requests_total{route=\"/r\",status=\"201\"} 2"));
    assert_true(has_line(&text, "hone_http_request_duration_seconds_count 2000"));
    hn_buf_done(&text);
    hn_metrics_free(metrics);
}

static void test_out_of_memory(void **state) {
    hn_error err;
    (void)state;
    for (int n = 0;; n++) {
        hn_metrics *metrics = NULL;
        hn_model_metrics *model;
        hn_buf text = {0};
        hn_mem_fail_after(n);
        hn_status status = hn_metrics_new(&metrics, &err);
        if (status == HN_OK)
            status = hn_metrics_model(metrics, "m", &model, &err);
        if (status == HN_OK)
            status = hn_metrics_text(metrics, &text, &err);
        hn_mem_fail_after(-1);
        hn_buf_done(&text);
        hn_metrics_free(metrics);
        if (status == HN_OK)
            break;
        assert_int_equal(status, HN_NO_MEMORY);
        assert_true(n < 100);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_add_up),
        cmocka_unit_test(test_scrape_and_answers),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
