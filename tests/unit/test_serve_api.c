/* The routes within one process, while memory fails at every place in turn: an answer, a refusal or
 * a closed connection, and afterwards everything works. */
#define _GNU_SOURCE
#include "base/mem.h"
#include "serve/api.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

static hn_http_server *server;
static hn_models *models;
static hn_api *api;
static pthread_t loop;
static int port;

static void *run(void *argument) {
    hn_error err;
    (void)argument;
    return hn_http_run(server, &err) == HN_OK ? NULL : server;
}

static int start(void **state) {
    (void)state;
    hn_error err = {0};
    const char *path = HN_TEST_ROOT "/golden/models/llama3.gguf";
    const hn_model_place places[] = {
        {.name = "tiny", .path = path}, {.name = "b", .path = path}, {.name = "c", .path = path}};
    const hn_models_options options = {.model = {.n_threads = 1},
                                       .engine = {.n_slots = 2, .n_context = 64, .max_queued = 8},
                                       .memory_bytes = 1}; /* one at a time */
    const hn_http_options http = {.port = 0};
    const hn_api_options how = {.n_workers = 1};
    if (hn_http_server_new(&server, &http, &err) != HN_OK ||
        hn_models_new(&models, places, sizeof places / sizeof *places, &options, &err) != HN_OK ||
        hn_models_open_all(models, &err) != HN_OK ||
        hn_api_new(&api, server, models, &how, &err) != HN_OK) {
        fprintf(stderr, "%s\n", err.message);
        return -1;
    }
    port = atoi(strrchr(hn_http_address(server), ':') + 1);
    return pthread_create(&loop, NULL, run, NULL);
}

static int stop(void **state) {
    (void)state;
    hn_http_stop(server);
    pthread_join(loop, NULL);
    hn_api_free(api);
    hn_models_free(models);
    hn_http_server_free(server);
    return 0;
}

/* The status of the answer, 0 when the connection was closed without one. */
static int ask(const char *path, const char *body, char *text, size_t size) {
    char head[256];
    size_t n = 0;
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = 120};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(s, (const struct sockaddr *)&to, sizeof to), 0);
    int n_head = snprintf(head, sizeof head,
                          "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu"
                          "\r\n\r\n",
                          path, strlen(body));
    if (send(s, head, (size_t)n_head, MSG_NOSIGNAL) == n_head)
        (void)!send(s, body, strlen(body), MSG_NOSIGNAL);
    for (ssize_t got = 1; got > 0 && n + 1 < size; n += got > 0 ? (size_t)got : 0)
        got = recv(s, text + n, size - 1 - n, 0);
    text[n] = '\0';
    close(s);
    return n > 12 ? atoi(text + 9) : 0;
}

static const char *const REQUESTS[][2] = {
    {"/v1/completions",
     "{\"prompt\": \"a\", \"max_tokens\": 4, \"temperature\": 0, \"echo\": true, "
     "\"logprobs\": 2, \"stop\": [\"zz\"]}"},
    {"/v1/completions", "{\"prompt\": [\"a\", \"b\"], \"max_tokens\": 3, \"stream\": true}"},
    {"/v1/completions", "{\"prompt\": \"a\", \"json_schema\": {\"enum\": [1, 2]}}"},
    {"/v1/embeddings", "{\"input\": [\"a\", \"b\"]}"},
    {"/v1/messages",
     "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"max_tokens\": 2}"},
    {"/tokenize", "{\"content\": \"abc\"}"},
};
enum { N_REQUESTS = sizeof REQUESTS / sizeof *REQUESTS, ROOM = 1 << 16 };

static void test_works(void **state) {
    (void)state;
    static char text[ROOM];
    assert_int_equal(ask(REQUESTS[0][0], REQUESTS[0][1], text, sizeof text), 200);
    assert_non_null(strstr(text, "\"text_offset\":[0,"));
    assert_int_equal(ask(REQUESTS[1][0], REQUESTS[1][1], text, sizeof text), 200);
    assert_non_null(strstr(text, "[DONE]"));
    assert_int_equal(ask(REQUESTS[4][0], REQUESTS[4][1], text, sizeof text), 400);
    assert_non_null(strstr(text, "template"));
}

static void test_memory(void **state) {
    (void)state;
    static char text[ROOM];
    for (size_t i = 0; i < N_REQUESTS; i++) {
        const int usual = ask(REQUESTS[i][0], REQUESTS[i][1], text, sizeof text);
        int n_good = 0, n_other = 0;
        for (int n = 0; n_good < 3 && n < 3000; n += 1 + n / 40) {
            hn_mem_fail_after(n);
            int status = ask(REQUESTS[i][0], REQUESTS[i][1], text, sizeof text);
            hn_mem_fail_after(-1);
            if (status != usual && status != 0 && status != 200 && status != 400 && status != 429 &&
                status != 500 && status != 503)
                fail_msg("%s after %d: %d", REQUESTS[i][0], n, status);
            n_good =
                status == usual && (usual != 200 || !strstr(text, "\"error\"")) ? n_good + 1 : 0;
            n_other += status != usual;
        }
        assert_true(n_good == 3 && n_other > 0);
    }
    test_works(state);
}

/* Who waits for a model to be opened keeps nobody waiting whose model is there, though there is one
 * worker. Somebody looks at the open one: that it can't be closed now makes the others wait. */
typedef struct asker {
    const char *body;
    pthread_t thread;
    int status;
} asker;

static void *ask_for(void *argument) {
    asker *a = argument;
    char text[1024];
    a->status = ask("/v1/completions", a->body, text, sizeof text);
    return NULL;
}

static void test_cold(void **state) {
    (void)state;
    static asker cold[] = {{.body = "{\"model\": \"b\", \"prompt\": \"a\", \"max_tokens\": 2}"},
                           {.body = "{\"model\": \"c\", \"prompt\": \"a\", \"max_tokens\": 2}"},
                           {.body = "{\"model\": \"c\", \"prompt\": \"a\", \"max_tokens\": 2}"}};
    enum { N_COLD = sizeof cold / sizeof *cold };
    static char text[ROOM];
    hn_served *looked_at = hn_models_peek(models, 0);
    assert_non_null(looked_at);
    for (int i = 0; i < N_COLD; i++)
        assert_int_equal(pthread_create(&cold[i].thread, NULL, ask_for, &cold[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ask(REQUESTS[i][0], REQUESTS[i][1], text, sizeof text), 200);
    hn_models_unpeek(models, looked_at);
    for (int i = 0; i < N_COLD; i++) {
        pthread_join(cold[i].thread, NULL);
        assert_true(cold[i].status == 200 || cold[i].status == 503); /* another was in use */
    }
    test_works(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_works), cmocka_unit_test(test_memory),
                                       cmocka_unit_test(test_cold)};
    return cmocka_run_group_tests(tests, start, stop);
}
