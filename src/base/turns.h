/* Threads taking turns at something, in the order they came: a mutex that is handed on, so that a
 * thread which asks again and again can't keep the others waiting. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

typedef struct hn_turns {
    pthread_mutex_t mutex; /* of the fields, held for a moment only */
    bool taken;
    struct hn_turn_waiter *first, **last; /* the queue; each waiter lies on its thread's stack */
} hn_turns;

void hn_turns_init(hn_turns *turns);
void hn_turns_done(hn_turns *turns);

/* Returns when it is this thread's turn; must not be called again before hn_turns_end. */
void hn_turns_begin(hn_turns *turns);
void hn_turns_end(hn_turns *turns);
