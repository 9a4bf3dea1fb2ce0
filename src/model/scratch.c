/* One block of memory for a forward pass, carved into its buffers. */
#include "model/scratch.h"

#include "base/mem.h"

/* Places every buffer; with memory NULL it only counts. Returns the bytes. */
static size_t layout(hn_scratch *s, const hn_arch *arch, char *memory) {
    size_t n = (size_t)s->n_rows, used = 0;
    size_t q_dim = (size_t)arch->n_head * (size_t)arch->head_dim;
    size_t kv_dim = (size_t)arch->n_head_kv * (size_t)arch->head_dim;
    struct {
        float **at;
        size_t width;
    } buffers[] = {
        {&s->x, (size_t)arch->n_embd},
        {&s->y, (size_t)arch->n_embd},
        {&s->q, q_dim},
        {&s->k, kv_dim},
        {&s->v, kv_dim},
        {&s->att, q_dim},
        {&s->gate, (size_t)arch->n_ff},
        {&s->up, (size_t)arch->n_ff},
        {&s->lora, HN_LINEAR_MAX_OUTPUTS * (size_t)s->lora_rank},
        {&s->rope[0], (size_t)arch->rope_dim},
        {&s->rope[1], arch->sliding_window ? (size_t)arch->rope_dim : 0},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) {
        *buffers[i].at = memory ? (float *)(void *)(memory + used) : NULL;
        used += (n * buffers[i].width * sizeof(float) + HN_ALIGN_BYTES - 1) &
                ~(size_t)(HN_ALIGN_BYTES - 1);
    }
    s->places = memory ? (hn_row_place *)(void *)(memory + used) : NULL;
    used += n * sizeof *s->places;
    s->order = memory ? (int *)(void *)(memory + used) : NULL;
    return used + n * sizeof *s->order;
}

hn_status hn_scratch_reserve(hn_scratch **scratch, const hn_arch *arch, int n_rows, int rank,
                             hn_error *err) {
    if (!*scratch) {
        *scratch = hn_calloc(1, sizeof **scratch);
        if (!*scratch)
            return hn_fail_no_memory(err, sizeof **scratch);
    }
    hn_scratch *s = *scratch;
    if (n_rows <= s->n_rows && rank <= s->lora_rank)
        return HN_OK;
    hn_scratch grown = {.n_rows = n_rows > s->n_rows ? n_rows : s->n_rows,
                        .lora_rank = rank > s->lora_rank ? rank : s->lora_rank};
    grown.bytes = layout(&grown, arch, NULL);
    grown.memory = hn_alloc_aligned(grown.bytes);
    if (!grown.memory)
        return hn_fail_no_memory(err, grown.bytes);
    hn_mem_touch(grown.memory, grown.bytes);
    layout(&grown, arch, grown.memory);
    hn_free_aligned(s->memory, s->bytes);
    *s = grown;
    return HN_OK;
}

void hn_scratch_free(hn_scratch *scratch) {
    if (!scratch)
        return;
    hn_free_aligned(scratch->memory, scratch->bytes);
    hn_free(scratch);
}
