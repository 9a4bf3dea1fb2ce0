#include "kernels/compute.h"

#include "base/mem.h"

hn_status hn_compute_new(hn_compute **out, hn_isa isa, int n_threads, hn_error *err) {
    if (!hn_cpu_supports(isa))
        return hn_fail(err, HN_UNSUPPORTED, "this machine can't execute %s", hn_isa_name(isa));
    hn_compute *compute = hn_calloc(1, sizeof *compute);
    if (!compute)
        return hn_fail_no_memory(err, sizeof *compute);
    compute->isa = isa;
    compute->kernels = hn_kernels_get(isa);
    hn_status status = hn_pool_new(&compute->pool, n_threads, err);
    if (status != HN_OK) {
        hn_free(compute);
        return status;
    }
    *out = compute;
    return HN_OK;
}

void hn_compute_free(hn_compute *compute) {
    if (!compute)
        return;
    hn_pool_free(compute->pool);
    for (int slot = 0; slot < HN_SCRATCH_COUNT; slot++)
        hn_free_aligned(compute->scratch[slot].data, compute->scratch[slot].bytes);
    hn_free(compute);
}

hn_pool *hn_compute_pool(hn_compute *compute) {
    return compute->pool;
}

const hn_kernels *hn_compute_kernels(const hn_compute *compute) {
    return compute->kernels;
}

hn_isa hn_compute_isa(const hn_compute *compute) {
    return compute->isa;
}

hn_status hn_compute_scratch(hn_compute *compute, hn_scratch_slot slot, size_t bytes, void **out,
                             hn_error *err) {
    if (compute->scratch[slot].bytes < bytes) {
        size_t wanted = bytes + bytes / 4; /* grow seldom */
        void *data = hn_alloc_aligned(wanted);
        if (!data)
            return hn_fail_no_memory(err, wanted);
        hn_free_aligned(compute->scratch[slot].data, compute->scratch[slot].bytes);
        hn_mem_touch(data, bytes);
        compute->scratch[slot].data = data;
        compute->scratch[slot].bytes = wanted;
    }
    *out = compute->scratch[slot].data;
    return HN_OK;
}
