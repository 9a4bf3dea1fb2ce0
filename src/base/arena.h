/* A bump allocator for things that die together: a model, a session, a request. */
#pragma once

#include <stddef.h>

typedef struct hn_arena_block hn_arena_block;

/* Zero-initialised is valid and empty. Not thread-safe. */
typedef struct hn_arena {
    hn_arena_block *head;
    size_t total_bytes; /* handed out so far */
    size_t max_bytes;   /* 0 = no limit */
} hn_arena;

/* Zeroed memory aligned to `align` (a power of two, at most HN_ALIGN_BYTES); NULL when memory or
 * the arena's limit is exhausted. Lives until hn_arena_done or hn_arena_reset. */
void *hn_arena_alloc(hn_arena *arena, size_t size_bytes, size_t align);
char *hn_arena_strndup(hn_arena *arena, const char *text, size_t n_bytes);
void hn_arena_reset(hn_arena *arena);
void hn_arena_done(hn_arena *arena);

#define HN_ARENA_NEW(arena, type, count)                                                           \
    ((type *)hn_arena_alloc_array((arena), (count), sizeof(type), _Alignof(type)))
void *hn_arena_alloc_array(hn_arena *arena, size_t count, size_t size_bytes, size_t align);
