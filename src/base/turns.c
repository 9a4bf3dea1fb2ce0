/* A queue of waiting threads, each with a condition of its own: a turn's end wakes the next one
 * alone. */
#include "base/turns.h"

#include <stddef.h>

typedef struct hn_turn_waiter {
    pthread_cond_t called;
    bool has_turn;
    struct hn_turn_waiter *next;
} waiter;

void hn_turns_init(hn_turns *turns) {
    *turns = (hn_turns){.mutex = PTHREAD_MUTEX_INITIALIZER};
    turns->last = &turns->first;
}

void hn_turns_done(hn_turns *turns) {
    pthread_mutex_destroy(&turns->mutex);
}

void hn_turns_begin(hn_turns *turns) {
    pthread_mutex_lock(&turns->mutex);
    if (turns->taken) {
        waiter self = {.called = PTHREAD_COND_INITIALIZER};
        *turns->last = &self;
        turns->last = &self.next;
        while (!self.has_turn)
            pthread_cond_wait(&self.called, &turns->mutex);
        pthread_cond_destroy(&self.called);
    }
    turns->taken = true;
    pthread_mutex_unlock(&turns->mutex);
}

void hn_turns_end(hn_turns *turns) {
    pthread_mutex_lock(&turns->mutex);
    waiter *next = turns->first;
    if (next) { /* `taken` stays set: the turn goes from hand to hand */
        turns->first = next->next;
        if (!turns->first)
            turns->last = &turns->first;
        next->has_turn = true;
        pthread_cond_signal(&next->called);
    } else {
        turns->taken = false;
    }
    pthread_mutex_unlock(&turns->mutex);
}
