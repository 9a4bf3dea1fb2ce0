#include "base/arena.h"

#include "base/mem.h"

#include <stdint.h>
#include <string.h>

enum { ARENA_BLOCK_BYTES = 64 << 10 };

struct hn_arena_block {
    hn_arena_block *next;
    size_t size_bytes; /* of data[] */
    size_t used_bytes;
    _Alignas(HN_ALIGN_BYTES) unsigned char data[];
};

static hn_arena_block *block_new(size_t size_bytes) {
    size_t total;
    if (hn_add_overflows(sizeof(hn_arena_block), size_bytes, &total))
        return NULL;
    hn_arena_block *block = hn_alloc_aligned(total);
    if (block)
        block->size_bytes = size_bytes;
    return block;
}

static void block_free(hn_arena_block *block) {
    hn_free_aligned(block, sizeof *block + block->size_bytes);
}

void *hn_arena_alloc(hn_arena *arena, size_t size_bytes, size_t align) {
    if (arena->max_bytes &&
        (size_bytes > arena->max_bytes || arena->total_bytes > arena->max_bytes - size_bytes))
        return NULL;
    hn_arena_block *block = arena->head;
    size_t start = block ? (block->used_bytes + align - 1) & ~(align - 1) : 0;
    if (!block || start > block->size_bytes || size_bytes > block->size_bytes - start) {
        size_t wanted = size_bytes > ARENA_BLOCK_BYTES ? size_bytes : ARENA_BLOCK_BYTES;
        block = block_new(wanted);
        if (!block)
            return NULL;
        block->next = arena->head;
        arena->head = block;
        start = 0;
    }
    block->used_bytes = start + size_bytes;
    arena->total_bytes += size_bytes;
    return block->data + start;
}

void *hn_arena_alloc_array(hn_arena *arena, size_t count, size_t size_bytes, size_t align) {
    size_t total;
    return hn_mul_overflows(count, size_bytes, &total) ? NULL : hn_arena_alloc(arena, total, align);
}

char *hn_arena_strndup(hn_arena *arena, const char *text, size_t n_bytes) {
    char *copy = n_bytes < SIZE_MAX ? hn_arena_alloc(arena, n_bytes + 1, 1) : NULL;
    return copy ? memcpy(copy, text, n_bytes) : NULL;
}

void hn_arena_reset(hn_arena *arena) {
    while (arena->head && arena->head->next) {
        hn_arena_block *block = arena->head;
        arena->head = block->next;
        block_free(block);
    }
    if (arena->head) {
        memset(arena->head->data, 0, arena->head->used_bytes);
        arena->head->used_bytes = 0;
    }
    arena->total_bytes = 0;
}

void hn_arena_done(hn_arena *arena) {
    while (arena->head) {
        hn_arena_block *block = arena->head;
        arena->head = block->next;
        block_free(block);
    }
    arena->total_bytes = 0;
}
