/* Allocation: overflow-checked, 64-byte aligned where kernels read, and able to fail on purpose
 * so that tests can walk every out-of-memory path. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { HN_ALIGN_BYTES = 64 }; /* a cache line, and the widest vector register (AVX-512) */

/* NULL when memory is short or `count * size` overflows. Freed with hn_free. */
void *hn_malloc(size_t size_bytes);
void *hn_calloc(size_t count, size_t size_bytes);
void *hn_realloc(void *old, size_t size_bytes);
void *hn_reallocarray(void *old, size_t count, size_t size_bytes);
char *hn_strdup(const char *text);
char *hn_strndup(const char *text, size_t n_bytes);
void hn_free(void *ptr);

/* Zeroed, aligned to HN_ALIGN_BYTES, on transparent huge pages when it is large; for weights,
 * activations and caches. Freed with hn_free_aligned and the same size. */
void *hn_alloc_aligned(size_t size_bytes);
void hn_free_aligned(void *ptr, size_t size_bytes);

/* Has the system give the memory now, not page by page as it is first written to; what it holds
 * stays. For what is needed sooner or later: a process is then as large from the start as it ever
 * gets. */
void hn_mem_touch(void *ptr, size_t size_bytes);

/* True when a * b (or a + b) overflows; otherwise *out holds the result. */
static inline int hn_mul_overflows(size_t a, size_t b, size_t *out) {
    return __builtin_mul_overflow(a, b, out);
}
static inline int hn_add_overflows(size_t a, size_t b, size_t *out) {
    return __builtin_add_overflow(a, b, out);
}

/* Tests: let `n` more allocations succeed and fail every later one; a negative n turns it off. */
void hn_mem_fail_after(int64_t n);
/* Tests: allocations made since the start of the process. */
int64_t hn_mem_count(void);
