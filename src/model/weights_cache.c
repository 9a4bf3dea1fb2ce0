#define _GNU_SOURCE
#include "model/weights_cache.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "kernels/layout.h"
#include "model/weights_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char MAGIC[8] = "HONEWTS";
enum {
    FILE_VERSION = 1,            /* of the header */
    DATA_OFFSET = 4096,          /* where the weights begin */
    KEY_WORDS = 2,               /* 128 bits: two models never meet */
    MAX_HEADER_BYTES = 64 << 20, /* of a model's file: so much of it is hashed */
    PAGE_BYTES = 2 << 20,        /* a huge page: written and mapped so, a file has them too */
    CHUNK_BYTES = 4 << 20,       /* taken at a time by a thread that sums or maps */
};

typedef struct header {
    char magic[8];
    uint32_t version, layout;
    uint64_t key[KEY_WORDS];
    uint64_t data_bytes, data_sum;
    char boot[48];    /* the boot in which data_sum was last known to be right */
    uint64_t own_sum; /* of all before it */
} header;

/* One opening of one model's cache. */
typedef struct opening {
    const hn_weights_cache *cache;
    hn_compute *compute;
    const hn_matrix_source *sources;
    int n;
    const hn_errand *errand;
    header want; /* data_sum is what a new file's comes to */
    char path[480], new_path[490];
} opening;

/* --- sums ------------------------------------------------------------------------------------ */

/* Of words that depend on where they lie, so that it can be taken in pieces of any order. `offset`
 * and `size` are multiples of 8. */
static uint64_t sum_of(const uint8_t *data, size_t offset, size_t size) {
    const uint64_t A = 0x9E3779B97F4A7C15u, B = 0xC2B2AE3D27D4EB4Fu;
    uint64_t sum = 0, place = (offset / 8 + 1) * A;
    for (size_t i = 0; i < size; i += 8, place += A) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word = (word ^ place) * B;
        sum += word ^ word >> 32;
    }
    return sum;
}

static uint64_t own_sum_of(const header *h) {
    return hn_hash64(h, offsetof(header, own_sum), FILE_VERSION);
}

typedef struct sum_job {
    const uint8_t *data;
    size_t size;
    _Atomic size_t next;
    _Atomic uint64_t sum;
} sum_job;

static void sum_share(void *arg, int thread, int n_threads) {
    (void)thread, (void)n_threads;
    sum_job *job = arg;
    for (size_t at; (at = atomic_fetch_add(&job->next, CHUNK_BYTES)) < job->size;) {
        const size_t left = job->size - at, size = left < CHUNK_BYTES ? left : CHUNK_BYTES;
        atomic_fetch_add(&job->sum, sum_of(job->data + at, at, size));
    }
}

/* Empty where the system has none: then every opening takes the sum. */
static void read_boot(char boot[48]) {
    memset(boot, 0, 48);
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!f)
        return;
    if (!fgets(boot, 40, f))
        memset(boot, 0, 48);
    fclose(f);
}

/* --- names ----------------------------------------------------------------------------------- */

static void add_to_key(header *h, const void *data, size_t size) {
    for (int i = 0; i < KEY_WORDS; i++)
        h->key[i] = hn_hash64(data, size, h->key[i]);
}

/* A file of the model: what it is, and its bytes before the first matrix. */
static void add_map(opening *o, const hn_map *map) {
    size_t first = map->size < MAX_HEADER_BYTES ? map->size : MAX_HEADER_BYTES;
    for (int i = 0; i < o->n; i++) {
        const size_t at = (size_t)((const uint8_t *)o->sources[i].data - map->data);
        if (o->sources[i].map == map && at < first)
            first = at;
    }
    add_to_key(&o->want, &map->id, sizeof map->id);
    add_to_key(&o->want, map->data, first);
}

/* False when the weights come from no file. */
static bool make_key(opening *o, size_t bytes) {
    o->want = (header){.version = FILE_VERSION, .layout = HN_LAYOUT_VERSION, .data_bytes = bytes};
    memcpy(o->want.magic, MAGIC, sizeof MAGIC);
    for (int i = 0; i < KEY_WORDS; i++)
        o->want.key[i] = (uint64_t)HN_LAYOUT_VERSION << 8 | (uint64_t)i;
    read_boot(o->want.boot);
    for (int i = 0; i < o->n; i++) {
        const hn_matrix_source *s = &o->sources[i];
        if (!s->map || !s->map->id.size)
            return false;
        bool seen = false;
        for (int j = 0; j < i && !seen; j++)
            seen = o->sources[j].map == s->map;
        if (!seen)
            add_map(o, s->map);
        const uint64_t what[] = {(uint64_t)s->dtype, (uint64_t)s->rows, (uint64_t)s->cols,
                                 (uint64_t)((const uint8_t *)s->data - s->map->data)};
        add_to_key(&o->want, what, sizeof what);
    }
    return true;
}

static bool make_paths(opening *o) {
    int n = snprintf(o->path, sizeof o->path, "%s/%016llx%016llx" HN_WEIGHTS_SUFFIX, o->cache->dir,
                     (unsigned long long)o->want.key[0], (unsigned long long)o->want.key[1]);
    snprintf(o->new_path, sizeof o->new_path, "%s-new", o->path);
    return n > 0 && (size_t)n < sizeof o->path;
}

/* --- finding --------------------------------------------------------------------------------- */

/* At an address that huge pages need. */
static bool map_file(const opening *o, int fd, hn_weights_map *map) {
    const size_t size = DATA_OFFSET + (size_t)o->want.data_bytes;
    char *room = mmap(NULL, size + PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return false;
    const size_t before = (PAGE_BYTES - (uintptr_t)room % PAGE_BYTES) % PAGE_BYTES;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t mapped = (size + page - 1) / page * page;
    void *data = mmap(room + before, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    if (data == MAP_FAILED) {
        munmap(room, size + PAGE_BYTES);
        return false;
    }
    if (before)
        munmap(room, before);
    if (before + mapped < size + PAGE_BYTES)
        munmap(room + before + mapped, size + PAGE_BYTES - before - mapped);
#ifdef MADV_HUGEPAGE
    madvise(data, size, MADV_HUGEPAGE); /* a hint, for what is read from the disk */
#endif
    *map = (hn_weights_map){data, size};
    return true;
}

static bool is_ours(const opening *o, int fd, header *h) {
    struct stat info;
    return fstat(fd, &info) == 0 && S_ISREG(info.st_mode) &&
           (uint64_t)info.st_size == DATA_OFFSET + o->want.data_bytes &&
           pread(fd, h, sizeof *h, 0) == (ssize_t)sizeof *h &&
           memcmp(h->magic, MAGIC, sizeof MAGIC) == 0 && h->version == o->want.version &&
           h->layout == o->want.layout && memcmp(h->key, o->want.key, sizeof h->key) == 0 &&
           h->data_bytes == o->want.data_bytes && h->own_sum == own_sum_of(h);
}

/* Takes the sum unless that was done since the last boot; then notes this boot, if it may. */
static bool check_sum(const opening *o, int fd, header *h, const hn_weights_map *map) {
    if (o->want.boot[0] && memcmp(h->boot, o->want.boot, sizeof h->boot) == 0)
        return true;
    sum_job job = {.data = (const uint8_t *)map->data + DATA_OFFSET, .size = (size_t)h->data_bytes};
    hn_pool_run(hn_compute_pool(o->compute), sum_share, &job);
    if (atomic_load(&job.sum) != h->data_sum)
        return false;
    memcpy(h->boot, o->want.boot, sizeof h->boot);
    h->own_sum = own_sum_of(h);
    char name[64]; /* the file that is open, whatever has its name by now */
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int writer = open(name, O_WRONLY | O_CLOEXEC);
    if (writer >= 0) {
        (void)!pwrite(writer, h, sizeof *h, 0);
        close(writer);
    }
    return true;
}

static bool find(const opening *o, hn_weights_map *map) {
    header h;
    int fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool good = is_ours(o, fd, &h) && map_file(o, fd, map);
    if (good && !check_sum(o, fd, &h, map)) {
        hn_weights_map_close(map);
        good = false;
    }
    if (good)
        (void)futimens(fd, NULL); /* used now: it is the last to go */
    close(fd);
    return good;
}

typedef struct populate_job {
    const hn_errand *errand;
    char *data; /* NULL = leave it to the first use */
    size_t size;
    _Atomic size_t next;
} populate_job;

/* Puts the pages into this process's tables, which one by one takes longer. */
static void populate_share(void *arg, int thread, int n_threads) {
    (void)n_threads;
    populate_job *job = arg;
    if (thread == 0 && job->errand)
        job->errand->run(job->errand->context);
#ifdef MADV_POPULATE_READ
    for (size_t at; job->data && (at = atomic_fetch_add(&job->next, CHUNK_BYTES)) < job->size;) {
        const size_t left = job->size - at, size = left < CHUNK_BYTES ? left : CHUNK_BYTES;
        if (madvise(job->data + at, size, MADV_POPULATE_READ))
            return; /* an older kernel */
    }
#endif
}

static void use_map(const opening *o, const hn_weights_map *map) {
    hn_memory memory;
    hn_memory_read(&memory, "");
    populate_job job = {.errand = o->errand,
                        .data = map->size < memory.free_bytes ? map->data : NULL,
                        .size = map->size};
    hn_pool_run(hn_compute_pool(o->compute), populate_share, &job);
    hn_matrices_bind(o->sources, o->n, (const uint8_t *)map->data + DATA_OFFSET);
}

/* --- storing --------------------------------------------------------------------------------- */

typedef struct writer {
    int fd;
    _Atomic uint64_t sum;
    _Atomic int problem; /* errno of a write that failed */
} writer;

static bool write_all(int fd, const uint8_t *data, size_t size, size_t offset) {
    while (size) {
        ssize_t n = pwrite(fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        size -= (size_t)n;
        offset += (size_t)n;
    }
    return true;
}

static bool put(void *context, const void *data, size_t offset, size_t size) {
    writer *w = context;
    if (!write_all(w->fd, data, size, DATA_OFFSET + offset)) {
        atomic_store(&w->problem, errno ? errno : EIO);
        return false;
    }
    atomic_fetch_add(&w->sum, sum_of(data, offset, size));
    return true;
}

static hn_status write_file(opening *o, int fd, hn_weights_map *map, hn_error *err) {
    writer w = {.fd = fd};
    const hn_pack_sink sink = {put, &w, PAGE_BYTES, DATA_OFFSET};
    hn_status status = hn_matrices_pack_to(o->compute, o->sources, o->n, o->errand, &sink, err);
    o->want.data_sum = atomic_load(&w.sum);
    o->want.own_sum = own_sum_of(&o->want);
    if (status == HN_OK && !write_all(fd, (const uint8_t *)&o->want, sizeof o->want, 0)) {
        status = HN_IO;
        atomic_store(&w.problem, errno ? errno : EIO);
    }
    if (status == HN_IO) {
        errno = atomic_load(&w.problem);
        return hn_fail_errno(err, "%s", o->new_path);
    }
    if (status == HN_OK && !map_file(o, fd, map))
        status = hn_fail_errno(err, "%s: mapping it", o->new_path);
    if (status == HN_OK && rename(o->new_path, o->path)) {
        status = hn_fail_errno(err, "%s", o->path);
        hn_weights_map_close(map);
    }
    return status;
}

static hn_status store(opening *o, hn_weights_map *map, hn_error *err) {
    /* Nobody asked for it: much is left to others, and no write so large that it has to wait for
     * the disk (the system lets a share of the free memory be dirty). */
    const bool asked = o->cache->use == HN_WEIGHTS_CACHE_ON;
    const double share = asked ? 1 : 0.25;
    hn_memory memory;
    hn_memory_read(&memory, "");
    if (!asked && (double)o->want.data_bytes > (double)memory.free_bytes * share)
        return hn_fail(err, HN_IO, "the weights would fill much of the free memory");
    int fd;
    HN_TRY(hn_dir_make(o->cache->dir, err));
    HN_TRY(hn_weights_folder_make_room(o->cache->dir, DATA_OFFSET + o->want.data_bytes,
                                       o->cache->max_bytes, share, err));
    HN_TRY(hn_weights_folder_lock(o->new_path, &fd, err));
    hn_status status = write_file(o, fd, map, err);
    if (status != HN_OK)
        unlink(o->new_path);
    close(fd);
    return status;
}

static bool is_wanted(const hn_weights_cache *cache, size_t bytes) {
    const size_t least = (size_t)HN_WEIGHTS_CACHE_AUTO_MIB << 20;
    return cache->use == HN_WEIGHTS_CACHE_ON ||
           (cache->use == HN_WEIGHTS_CACHE_AUTO && bytes >= least);
}

hn_status hn_weights_cache_open(const hn_weights_cache *cache, hn_compute *compute,
                                const hn_matrix_source *sources, int n, const hn_errand *errand,
                                hn_weights_map *out, hn_weights_origin *origin, hn_error *err) {
    opening o = {.cache = cache, .compute = compute, .sources = sources, .n = n, .errand = errand};
    size_t bytes;
    HN_TRY(hn_matrices_bytes(sources, n, &bytes, err));
    *origin = (hn_weights_origin){.kind = HN_WEIGHTS_PACKED, .bytes = bytes};
    *out = (hn_weights_map){0};
    if (!is_wanted(cache, bytes) || !make_key(&o, bytes) || !make_paths(&o))
        return HN_OK;
    origin->kind = HN_WEIGHTS_FOUND;
    if (!find(&o, out)) {
        hn_error why;
        hn_status status = store(&o, out, &why);
        if (status == HN_IO || status == HN_NO_MEMORY) {
            origin->kind = HN_WEIGHTS_PACKED;
            snprintf(origin->text, sizeof origin->text, "%s", why.message);
            return HN_OK;
        }
        if (status != HN_OK)
            return hn_fail(err, status, "%s", why.message);
        origin->kind = HN_WEIGHTS_STORED;
        o.errand = NULL; /* it has run */
    }
    use_map(&o, out);
    snprintf(origin->text, sizeof origin->text, "%s", o.path);
    return HN_OK;
}

void hn_weights_map_close(hn_weights_map *map) {
    if (map->data)
        munmap(map->data, map->size);
    *map = (hn_weights_map){0};
}
