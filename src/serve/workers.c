#include "serve/workers.h"

#include "base/mem.h"

#include <pthread.h>
#include <signal.h>

typedef struct piece {
    void (*work)(void *context);
    void *context;
} piece;

struct hn_workers {
    pthread_mutex_t lock;
    pthread_cond_t more;
    piece *ring; /* (max) */
    int max, first, n;
    bool ending;
    pthread_t *threads; /* (n_threads) */
    int n_threads;
};

static void *run(void *argument) {
    hn_workers *w = argument;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->n && !w->ending)
            pthread_cond_wait(&w->more, &w->lock);
        if (!w->n)
            break;
        const piece p = w->ring[w->first];
        w->first = (w->first + 1) % w->max;
        w->n--;
        pthread_mutex_unlock(&w->lock);
        p.work(p.context);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* The program's signals are none of these threads' business. */
static hn_status start(hn_workers *w, int n_threads, hn_error *err) {
    sigset_t all, before;
    hn_status status = HN_OK;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; w->n_threads < n_threads && status == HN_OK; w->n_threads += status == HN_OK)
        if (pthread_create(&w->threads[w->n_threads], NULL, run, w) != 0)
            status = hn_fail(err, HN_FAILED, "a thread for preparing requests can't be started");
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

hn_status hn_workers_new(hn_workers **out, int n_threads, int max_waiting, hn_error *err) {
    hn_workers *w = hn_calloc(1, sizeof *w);
    if (!w)
        return hn_fail_no_memory(err, sizeof *w);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    w->max = max_waiting;
    w->ring = hn_calloc((size_t)max_waiting, sizeof *w->ring);
    w->threads = hn_calloc((size_t)n_threads, sizeof *w->threads);
    hn_status status = w->ring && w->threads
                           ? start(w, n_threads, err)
                           : hn_fail_no_memory(err, (size_t)max_waiting * sizeof *w->ring);
    if (status == HN_OK)
        *out = w;
    else
        hn_workers_free(w);
    return status;
}

bool hn_workers_add(hn_workers *w, void (*work)(void *context), void *context) {
    pthread_mutex_lock(&w->lock);
    bool taken = w->n < w->max && !w->ending;
    if (taken) {
        w->ring[(w->first + w->n) % w->max] = (piece){work, context};
        w->n++;
        pthread_cond_signal(&w->more);
    }
    pthread_mutex_unlock(&w->lock);
    return taken;
}

void hn_workers_free(hn_workers *w) {
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->ending = true;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->n_threads; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    hn_free(w->ring);
    hn_free(w->threads);
    hn_free(w);
}
