/* What others may know of the engine while it works. */
#include "engine/internal.h"

#include <string.h>

void hn_engine_count_pass(hn_engine *engine, int n_rows, uint64_t ns) {
    pthread_mutex_lock(&engine->lock);
    engine->counts.steps++;
    engine->counts.step_rows += (uint64_t)n_rows;
    engine->counts.step_ns += ns;
    pthread_mutex_unlock(&engine->lock);
}

static hn_slot_info info_of(const hn_job *job) {
    const bool answers = !hn_job_embeds(job);
    return (hn_slot_info){.state = hn_job_streams(job) ? HN_SLOT_DECODE : HN_SLOT_PREFILL,
                          .job = job->number,
                          .n_prompt = job->options.n_prompt,
                          .n_cached = job->n_cached,
                          .n_computed = hn_job_computed(job),
                          .n_generated = answers ? job->writer.n_drawn : 0,
                          .priority = job->options.priority,
                          .submitted_ns = job->times.submitted};
}

void hn_engine_publish(hn_engine *engine) {
    const hn_kv *kv = engine->kv;
    const int32_t idle = hn_prefix_idle(kv);
    pthread_mutex_lock(&engine->lock);
    engine->counts.kv_remembered = idle;
    engine->counts.kv_live = kv->n_blocks - kv->n_free - idle;
    for (int i = 0; i < engine->options.n_slots; i++)
        engine->infos[i] = engine->slots[i].job ? info_of(engine->slots[i].job)
                                                : (hn_slot_info){.state = HN_SLOT_IDLE};
    pthread_mutex_unlock(&engine->lock);
}

void hn_engine_counts_get(hn_engine *engine, hn_engine_counts *out) {
    pthread_mutex_lock(&engine->lock);
    *out = engine->counts;
    out->waiting = 0;
    for (const hn_job *job = engine->first; job; job = job->next)
        out->waiting++;
    out->running = engine->n_jobs - out->waiting;
    pthread_mutex_unlock(&engine->lock);
}

int hn_engine_slots_get(hn_engine *engine, hn_slot_info *out, int max) {
    const int n = engine->options.n_slots;
    pthread_mutex_lock(&engine->lock);
    memcpy(out, engine->infos, (size_t)(max < n ? (max > 0 ? max : 0) : n) * sizeof *out);
    pthread_mutex_unlock(&engine->lock);
    return n;
}
