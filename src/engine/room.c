/* KV blocks: how many are left, and whose are taken back when they run out. */
#include "engine/internal.h"

int32_t hn_engine_blocks_left(const hn_engine *engine) {
    return engine->kv->n_free + hn_prefix_idle(engine->kv) - engine->reserved;
}

int32_t hn_engine_blocks_for(const hn_engine *engine, int seq, int n) {
    const hn_kv *kv = engine->kv;
    const hn_kv_seq *s = &kv->seqs[seq];
    if (n < 1)
        return 0;
    const bool copies = s->length % HN_KV_BLOCK && kv->refs[s->blocks[s->length / HN_KV_BLOCK]] > 1;
    return hn_kv_blocks_of(s->length + n) - hn_kv_blocks_of(s->length) + copies;
}

bool hn_engine_reserve(hn_engine *engine, int seq, int n) {
    const int32_t blocks = hn_engine_blocks_for(engine, seq, n);
    if (blocks > hn_engine_blocks_left(engine))
        return false;
    engine->reserved += blocks;
    return true;
}

void hn_engine_preempt_last(hn_engine *engine) {
    hn_slot *slot = engine->by_age[engine->n_busy - 1];
    hn_job *job = slot->job;
    hn_slot_clear(engine, slot);
    job->preempted = true;
    job->n_embedded = 0;
    job->writer.options.speculator = NULL;
    pthread_mutex_lock(&engine->lock);
    engine->counts.preempted++;
    hn_queue_insert(engine, job);
    pthread_mutex_unlock(&engine->lock);
}
