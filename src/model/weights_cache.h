/* Packed weights kept in files: the second start of a model maps what the first one laid out, and
 * every process that runs it shares those pages.
 *
 * A file is named by a hash of what went in: the model's files (inode, size, times, header), the
 * list of matrices and the layout's version. It begins with a header that says so again and holds
 * a sum over the weights. The sum is checked once after each boot, when the pages come from the
 * disk anyhow; within a boot nothing but another program can have changed them. What doesn't fit in
 * any way is written anew. A file appears under its name only when it is whole. */
#pragma once

#include "base/status.h"
#include "kernels/matrix.h"

#include <stdbool.h>
#include <stdint.h>

typedef enum hn_weights_cache_use {
    HN_WEIGHTS_CACHE_OFF,
    HN_WEIGHTS_CACHE_AUTO, /* where laying out takes a while, and disk and memory have plenty of
                              room */
    HN_WEIGHTS_CACHE_ON,
} hn_weights_cache_use;

enum { HN_WEIGHTS_CACHE_AUTO_MIB = 64 }; /* of packed weights, from which AUTO writes */
/* Of all files together, unless said otherwise. */
#define HN_WEIGHTS_CACHE_MAX_BYTES ((uint64_t)8 << 30)

typedef struct hn_weights_cache {
    hn_weights_cache_use use;
    const char *dir;    /* made when it is missing */
    uint64_t max_bytes; /* of all files; the longest unused go for a new one */
} hn_weights_cache;

/* Where a model's weights came from. */
typedef struct hn_weights_origin {
    enum { HN_WEIGHTS_PACKED, HN_WEIGHTS_FOUND, HN_WEIGHTS_STORED } kind;
    uint64_t bytes;                  /* packed */
    char text[HN_ERROR_MESSAGE_MAX]; /* FOUND, STORED: the cache's file. PACKED: why there is none,
                                        or "" */
} hn_weights_origin;

/* A mapped cache file. */
typedef struct hn_weights_map {
    void *data;
    size_t size;
} hn_weights_map;

/* Maps the packed matrices, written first where they aren't there yet, and sets each source's
 * `out`. When there is to be no cache or it can't be had (no room, no right), the result is HN_OK
 * with out->data NULL and origin->text says why. Otherwise fails as hn_matrices_pack does. `errand`
 * may have run or not: it must bear being run twice. */
HN_MUST_CHECK hn_status hn_weights_cache_open(const hn_weights_cache *cache, hn_compute *compute,
                                              const hn_matrix_source *sources, int n,
                                              const hn_errand *errand, hn_weights_map *out,
                                              hn_weights_origin *origin, hn_error *err);
void hn_weights_map_close(hn_weights_map *map);
