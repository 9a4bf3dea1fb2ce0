#define _GNU_SOURCE
#include "base/gate.h"

#if defined(__linux__)
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Some 30 to 80 us of pauses: longer than the gaps between the regions of a step, far shorter than
 * a scheduler's time slice. */
enum { SPIN_ROUNDS = 2000 };

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#if defined(__linux__)
void hn_gate_init(hn_gate *gate) {
    atomic_init(&gate->value, 0);
    atomic_init(&gate->sleepers, 0);
}

void hn_gate_done(hn_gate *gate) {
    (void)gate;
}

static void sleep_while(hn_gate *gate, uint32_t seen) {
    /* Returns at once when the value has changed; early returns are the caller's loop's affair. */
    syscall(SYS_futex, &gate->value, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void wake_all(hn_gate *gate) {
    syscall(SYS_futex, &gate->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
void hn_gate_init(hn_gate *gate) {
    atomic_init(&gate->value, 0);
    atomic_init(&gate->sleepers, 0);
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

void hn_gate_done(hn_gate *gate) {
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->mutex);
}

static void sleep_while(hn_gate *gate, uint32_t seen) {
    pthread_mutex_lock(&gate->mutex);
    while (atomic_load(&gate->value) == seen)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    pthread_mutex_unlock(&gate->mutex);
}

static void wake_all(hn_gate *gate) {
    pthread_mutex_lock(&gate->mutex);
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->mutex);
}
#endif

/* Both sides are sequentially consistent: either the raiser sees the sleeper and wakes it, or the
 * sleeper sees the new value and doesn't sleep. */
void hn_gate_raise(hn_gate *gate) {
    atomic_fetch_add(&gate->value, 1);
    if (atomic_load(&gate->sleepers))
        wake_all(gate);
}

uint32_t hn_gate_wait(hn_gate *gate, uint32_t seen) {
    uint32_t now;
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        now = hn_gate_value(gate);
        if (now != seen)
            return now;
        cpu_relax();
    }
    atomic_fetch_add(&gate->sleepers, 1);
    while ((now = atomic_load(&gate->value)) == seen)
        sleep_while(gate, seen);
    atomic_fetch_sub(&gate->sleepers, 1);
    return now;
}
