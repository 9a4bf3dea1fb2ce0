/* The paged KV cache: blocks of 32 positions, counted references, copied when a shared one is
 * written to. Nothing is allocated after hn_kv_new. */
#include "model/kv.h"

#include "base/mem.h"
#include "model/attention.h"
#include "model/budget.h"
#include "model/prefix.h"

#include <string.h>

uint64_t hn_model_kv_bytes_per_token(const hn_model *model) {
    return hn_kv_type_bytes_per_token(model->kv_type, &model->arch);
}

hn_status hn_kv_new(hn_kv **out, const hn_model *model, int n_seqs, int64_t n_positions,
                    hn_error *err) {
    enum { MAX_SEQS = 1 << 16 };
    if (n_seqs < 1 || n_seqs > MAX_SEQS || n_positions < 1 || n_positions > HN_ARCH_MAX_CTX)
        return hn_fail(err, HN_USAGE, "a cache of %lld positions for %d sequences is not possible",
                       (long long)n_positions, n_seqs);
    if (!hn_kv_type_supported(model->kv_type))
        return hn_fail(err, HN_USAGE, "a cache can't hold %s", hn_dtype_name(model->kv_type));
    hn_kv *kv = hn_calloc(1, sizeof *kv);
    if (!kv)
        return hn_fail_no_memory(err, sizeof *kv);
    const hn_arch *arch = &model->arch;
    kv->n_seqs = n_seqs;
    kv->n_layer = arch->n_layer;
    kv->n_head_kv = arch->n_head_kv;
    kv->type = model->kv_type;
    kv->padded_dim = hn_kv_padded_dim(arch->head_dim);
    kv->head_bytes = hn_kv_type_block_bytes(kv->type, kv->padded_dim);
    kv->layer_bytes = 2 * (size_t)arch->n_head_kv * kv->head_bytes;
    kv->block_bytes = (size_t)arch->n_layer * kv->layer_bytes;
    /* A sequence leaves at most one block partly filled, so n_positions always find room. */
    kv->n_blocks = (int32_t)(n_positions / HN_KV_BLOCK) + n_seqs;
    size_t n = (size_t)kv->n_blocks;
    hn_memory memory;
    hn_memory_read(&memory, "");
    hn_status status = hn_budget_kv(arch, kv->type, n_positions, &memory, err);
    if (status != HN_OK) {
        hn_kv_free(kv);
        return status;
    }
    bool fits = !hn_mul_overflows(n, kv->block_bytes, &kv->data_bytes);
    kv->data = fits ? hn_alloc_aligned(kv->data_bytes) : NULL;
    kv->partials_bytes = hn_attention_partials_floats(kv, arch->n_head) * sizeof *kv->partials;
    kv->partials = fits ? hn_alloc_aligned(kv->partials_bytes) : NULL;
    kv->refs = hn_calloc(n, sizeof *kv->refs);
    kv->free = hn_calloc(n, sizeof *kv->free);
    kv->tokens = hn_calloc(n, HN_KV_BLOCK * sizeof *kv->tokens);
    kv->seqs = hn_calloc((size_t)n_seqs, sizeof *kv->seqs);
    kv->lengths_before = hn_calloc((size_t)n_seqs, sizeof *kv->lengths_before);
    kv->seq_blocks = hn_calloc(n, (size_t)n_seqs * sizeof *kv->seq_blocks);
    if (!kv->data || !kv->partials || !kv->refs || !kv->free || !kv->tokens || !kv->seqs ||
        !kv->lengths_before || !kv->seq_blocks) {
        const double mb = 1e-6 * (double)n * (double)kv->block_bytes;
        hn_kv_free(kv);
        return hn_fail(err, HN_NO_MEMORY,
                       "a context of %lld tokens takes %.1f MB of memory in %s, which can't be "
                       "had: take a shorter one, or another type of cache",
                       (long long)n_positions, mb, hn_dtype_name(model->kv_type));
    }
    for (int32_t i = 0; i < kv->n_blocks; i++)
        kv->free[i] = kv->n_blocks - 1 - i;
    kv->n_free = kv->n_blocks;
    for (int i = 0; i < n_seqs; i++)
        kv->seqs[i].blocks = kv->seq_blocks + (size_t)i * n;
    *out = kv;
    return HN_OK;
}

void hn_kv_free(hn_kv *kv) {
    if (!kv)
        return;
    hn_prefix_free(kv->prefix);
    hn_free_aligned(kv->data, kv->data_bytes);
    hn_free_aligned(kv->partials, kv->partials_bytes);
    hn_free(kv->refs);
    hn_free(kv->free);
    hn_free(kv->tokens);
    hn_free(kv->seqs);
    hn_free(kv->lengths_before);
    hn_free(kv->seq_blocks);
    hn_free(kv);
}

int hn_kv_seqs(const hn_kv *kv) {
    return kv->n_seqs;
}

int32_t hn_kv_length(const hn_kv *kv, int seq) {
    return kv->seqs[seq].length;
}

int64_t hn_kv_room(const hn_kv *kv, int seq) {
    const hn_kv_seq *s = &kv->seqs[seq];
    int32_t used = s->length % HN_KV_BLOCK;
    int64_t fresh = ((int64_t)kv->n_free + hn_prefix_idle(kv)) * HN_KV_BLOCK;
    if (!used)
        return fresh;
    bool shared = kv->refs[s->blocks[s->length / HN_KV_BLOCK]] > 1;
    if (shared)
        return fresh ? fresh - used : 0; /* its copy takes one of the free blocks */
    return fresh + HN_KV_BLOCK - used;
}

void hn_kv_hold(hn_kv *kv, int32_t block) {
    hn_prefix_held(kv, block);
    kv->refs[block]++;
}

void hn_kv_let_go(hn_kv *kv, int32_t block) {
    const int32_t left = --kv->refs[block];
    if (left == 0)
        kv->free[kv->n_free++] = block;
    else if (left == 1)
        hn_prefix_let_go(kv, block);
}

void hn_kv_truncate(hn_kv *kv, int seq, int32_t length) {
    hn_kv_seq *s = &kv->seqs[seq];
    if (length < 0)
        length = 0;
    if (length >= s->length)
        return;
    for (int32_t i = hn_kv_blocks_of(s->length); i-- > hn_kv_blocks_of(length);)
        hn_kv_let_go(kv, s->blocks[i]);
    s->length = length;
    if (s->n_remembered > length / HN_KV_BLOCK)
        s->n_remembered = length / HN_KV_BLOCK;
}

hn_status hn_kv_fork(hn_kv *kv, int from, int to, int32_t length, hn_error *err) {
    if (from < 0 || from >= kv->n_seqs || to < 0 || to >= kv->n_seqs || from == to)
        return hn_fail(err, HN_USAGE, "forking sequence %d to %d: there are %d", from, to,
                       kv->n_seqs);
    const hn_kv_seq *source = &kv->seqs[from];
    if (length < 0 || length > source->length)
        return hn_fail(err, HN_USAGE, "forking %d positions of sequence %d, which has %d", length,
                       from, source->length);
    hn_kv_truncate(kv, to, 0);
    hn_kv_seq *s = &kv->seqs[to];
    s->length = length;
    s->adapter_id = source->adapter_id;
    s->n_remembered = length / HN_KV_BLOCK;
    if (s->n_remembered > source->n_remembered)
        s->n_remembered = source->n_remembered;
    for (int32_t i = 0; i < hn_kv_blocks_of(length); i++) {
        s->blocks[i] = source->blocks[i];
        hn_kv_hold(kv, s->blocks[i]);
    }
    return HN_OK;
}

/* Blocks that were never written to lie lowest on the stack of free ones, in order: memory grows
 * only where all others are in use, and beyond a share not for what is only remembered. */
static hn_status take_block(hn_kv *kv, int32_t *block, hn_error *err) {
    const bool grows = kv->n_free && kv->free[kv->n_free - 1] >= kv->n_touched;
    const bool evicted =
        (!kv->n_free || (grows && hn_prefix_share_is_full(kv))) && hn_prefix_evict(kv);
    if (!kv->n_free && !evicted)
        return hn_fail(err, HN_NO_MEMORY,
                       "the KV cache is full: all %lld positions of its %d sequences are in use",
                       (long long)kv->n_blocks * HN_KV_BLOCK, kv->n_seqs);
    *block = kv->free[--kv->n_free];
    kv->refs[*block] = 1;
    kv->n_touched = *block < kv->n_touched ? kv->n_touched : *block + 1;
    return HN_OK;
}

hn_status hn_kv_append(hn_kv *kv, int seq, int32_t token, uint64_t adapter_id, hn_error *err) {
    hn_kv_seq *s = &kv->seqs[seq];
    int32_t index = s->length / HN_KV_BLOCK, used = s->length % HN_KV_BLOCK;
    if (!used) {
        HN_TRY(take_block(kv, &s->blocks[index], err));
    } else if (kv->refs[s->blocks[index]] > 1) {
        int32_t shared = s->blocks[index], copy;
        HN_TRY(take_block(kv, &copy, err));
        memcpy(kv->data + (size_t)copy * kv->block_bytes,
               kv->data + (size_t)shared * kv->block_bytes, kv->block_bytes);
        memcpy(kv->tokens + (size_t)copy * HN_KV_BLOCK, kv->tokens + (size_t)shared * HN_KV_BLOCK,
               (size_t)used * sizeof *kv->tokens);
        s->blocks[index] = copy;
        hn_kv_let_go(kv, shared);
    }
    if (!s->length)
        s->adapter_id = adapter_id;
    else if (s->adapter_id != adapter_id)
        s->adapter_id = HN_KV_MIXED_ADAPTERS;
    kv->tokens[(size_t)s->blocks[index] * HN_KV_BLOCK + (size_t)used] = token;
    s->length++;
    return HN_OK;
}

int32_t hn_kv_common_prefix(const hn_kv *kv, int seq, const hn_adapter *adapter,
                            const int32_t *tokens, int32_t n_tokens) {
    const hn_kv_seq *s = &kv->seqs[seq];
    if (s->adapter_id != (adapter ? adapter->id : 0))
        return 0;
    int32_t n = 0;
    while (
        n < s->length && n < n_tokens &&
        kv->tokens[(size_t)s->blocks[n / HN_KV_BLOCK] * HN_KV_BLOCK + (size_t)(n % HN_KV_BLOCK)] ==
            tokens[n])
        n++;
    return n;
}
