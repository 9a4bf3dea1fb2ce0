/* The one way from other threads to the loop: a mutex, two lists and a pipe with at most one byte
 * in it. */
#include "http/internal.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

hn_status hn_http_box_new(hn_http_box **box, hn_error *err) {
    hn_http_box *b = hn_calloc(1, sizeof *b);
    if (!b)
        return hn_fail_no_memory(err, sizeof *b);
    if (pipe(b->pipe_fds) != 0) {
        hn_free(b);
        return hn_fail_errno(err, "a pipe for the server's loop");
    }
    for (int i = 0; i < 2; i++) {
        fcntl(b->pipe_fds[i], F_SETFD, FD_CLOEXEC);
        fcntl(b->pipe_fds[i], F_SETFL, O_NONBLOCK);
    }
    pthread_mutex_init(&b->mutex, NULL);
    b->refs = 1;
    b->ready_end = &b->ready;
    b->posts_end = &b->posts;
    *box = b;
    return HN_OK;
}

void hn_http_box_wake(hn_http_box *box) {
    if (box->woken || box->closed)
        return;
    ssize_t n;
    do
        n = write(box->pipe_fds[1], "", 1);
    while (n < 0 && errno == EINTR);
    box->woken = true; /* a pipe that is full wakes as well */
}

void hn_http_box_unref(hn_http_box *box) {
    if (!box)
        return;
    pthread_mutex_lock(&box->mutex);
    int left = --box->refs;
    pthread_mutex_unlock(&box->mutex);
    if (left)
        return;
    close(box->pipe_fds[0]);
    close(box->pipe_fds[1]);
    pthread_mutex_destroy(&box->mutex);
    hn_free(box);
}

bool hn_http_post(hn_http_server *server, void (*fn)(void *context), void *context) {
    hn_http_box *box = server->box;
    hn_http_post_item *item = hn_malloc(sizeof *item);
    if (!item)
        return false;
    *item = (hn_http_post_item){fn, context, NULL};
    pthread_mutex_lock(&box->mutex);
    bool open = !box->closed;
    if (open) {
        *box->posts_end = item;
        box->posts_end = &item->next;
        hn_http_box_wake(box);
    }
    pthread_mutex_unlock(&box->mutex);
    if (!open)
        hn_free(item);
    return open;
}
