/* A counter that threads wait on: they spin for a moment and then sleep in the kernel, so that
 * waiting is quick while work flows and leaves the processor to others when it doesn't. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

typedef struct hn_gate {
    _Alignas(64) _Atomic uint32_t value;
    _Atomic uint32_t sleepers;
#if !defined(__linux__)
    pthread_mutex_t mutex;
    pthread_cond_t changed;
#endif
} hn_gate;

void hn_gate_init(hn_gate *gate);
void hn_gate_done(hn_gate *gate);

static inline uint32_t hn_gate_value(const hn_gate *gate) {
    return atomic_load_explicit(&gate->value, memory_order_acquire);
}
/* Raises the value by one and wakes everybody who waits. */
void hn_gate_raise(hn_gate *gate);
/* Returns the value as soon as it isn't `seen` any more. */
uint32_t hn_gate_wait(hn_gate *gate, uint32_t seen);
