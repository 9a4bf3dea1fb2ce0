#define _GNU_SOURCE
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Below this the kernel's huge pages (2 MiB on x86-64 and arm64) can't help. */
enum { HUGE_PAGE_BYTES = 2 << 20 };

static _Atomic int64_t allocations;
static _Atomic int64_t fail_after = -1;

static int allocation_allowed(void) {
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    if (atomic_load_explicit(&fail_after, memory_order_relaxed) < 0)
        return 1;
    int64_t left = atomic_fetch_sub(&fail_after, 1);
    if (left > 0)
        return 1;
    atomic_store(&fail_after, 0);
    return 0;
}

void hn_mem_fail_after(int64_t n) {
    atomic_store(&fail_after, n);
}

int64_t hn_mem_count(void) {
    return atomic_load(&allocations);
}

void *hn_malloc(size_t size_bytes) {
    return allocation_allowed() ? malloc(size_bytes ? size_bytes : 1) : NULL;
}

void *hn_calloc(size_t count, size_t size_bytes) {
    return allocation_allowed() ? calloc(count ? count : 1, size_bytes ? size_bytes : 1) : NULL;
}

void *hn_realloc(void *old, size_t size_bytes) {
    return allocation_allowed() ? realloc(old, size_bytes ? size_bytes : 1) : NULL;
}

void *hn_reallocarray(void *old, size_t count, size_t size_bytes) {
    size_t total;
    return hn_mul_overflows(count, size_bytes, &total) ? NULL : hn_realloc(old, total);
}

char *hn_strndup(const char *text, size_t n_bytes) {
    char *copy = n_bytes < SIZE_MAX ? hn_malloc(n_bytes + 1) : NULL;
    if (!copy)
        return NULL;
    memcpy(copy, text, n_bytes);
    copy[n_bytes] = 0;
    return copy;
}

char *hn_strdup(const char *text) {
    return hn_strndup(text, strlen(text));
}

void hn_free(void *ptr) {
    free(ptr);
}

/* The kernel itself sees to the address only where the size is whole huge pages. */
static void *map_on_huge_pages(size_t size_bytes) {
    size_t room;
    if (hn_add_overflows(size_bytes, HUGE_PAGE_BYTES, &room))
        return NULL;
    char *map = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t before = (HUGE_PAGE_BYTES - (uintptr_t)map % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    const size_t end = before + (size_bytes + page - 1) / page * page;
    if (before)
        munmap(map, before);
    if (end < room)
        munmap(map + end, room - end);
#ifdef MADV_HUGEPAGE
    madvise(map + before, size_bytes, MADV_HUGEPAGE); /* a hint: all works without it, slower */
#endif
    return map + before;
}

void *hn_alloc_aligned(size_t size_bytes) {
    if (size_bytes == 0)
        size_bytes = 1;
    if (!allocation_allowed())
        return NULL;
    if (size_bytes < HUGE_PAGE_BYTES) {
        void *ptr = NULL;
        if (posix_memalign(&ptr, HN_ALIGN_BYTES, size_bytes))
            return NULL;
        return memset(ptr, 0, size_bytes);
    }
    return map_on_huge_pages(size_bytes);
}

void hn_free_aligned(void *ptr, size_t size_bytes) {
    if (!ptr)
        return;
    if (size_bytes < HUGE_PAGE_BYTES)
        free(ptr);
    else
        munmap(ptr, size_bytes);
}

void hn_mem_touch(void *ptr, size_t size_bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    volatile uint8_t *bytes = ptr;
    for (size_t i = 0; i < size_bytes; i += page)
        bytes[i] = bytes[i];
    if (size_bytes) /* the first address needn't begin a page */
        bytes[size_bytes - 1] = bytes[size_bytes - 1];
}
