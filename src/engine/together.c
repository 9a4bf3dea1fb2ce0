/* An engine that is fed and stepped until all have their answer. */
#include "engine/together.h"

#include "base/mem.h"
#include "model/kv_type.h"

enum {
    MAX_SLOTS = 16,
    MAX_QUEUED = 64, /* jobs that wait: as many as the engine looks at */
    STEP_TOKENS = 256,
    MAX_POSITIONS = 16384, /* of all answers together, unless one alone is longer */
};

struct run;

/* A job's way back. */
typedef struct ticket {
    struct run *run;
    size_t index;
} ticket;

typedef struct run {
    const hn_together *how;
    hn_engine *engine;
    ticket *tickets; /* (n) */
    size_t next;     /* prompt to submit */
    size_t n_done;   /* prompts that have their answer, or no tokens */
    int n_running;   /* jobs */
    hn_status status;
    hn_error *err; /* of status */
} run;

/* How many tokens all prompts begin with, leaving each at least one of its own. */
static int common_beginning(const hn_together *how, const hn_ids **first) {
    size_t common = 0;
    *first = NULL;
    for (size_t i = 0; i < how->n; i++) {
        const hn_ids *prompt = &how->prompts[i];
        if (!prompt->size)
            continue;
        if (!*first) {
            *first = prompt;
            common = prompt->size - 1;
        }
        size_t k = 0, limit = prompt->size - 1 < common ? prompt->size - 1 : common;
        while (k < limit && prompt->data[k] == (*first)->data[k])
            k++;
        common = k;
    }
    return (int)common;
}

static void fail(run *r, hn_status status, const char *message) {
    if (r->status == HN_OK)
        r->status = hn_fail(r->err, status, "%s", message);
}

static void beginning_done(void *context, const hn_job_result *result) {
    run *r = context;
    r->n_running--;
    if (result->status != HN_OK)
        fail(r, result->status, result->message);
}

static void answer_done(void *context, const hn_job_result *result) {
    const ticket *t = context;
    run *r = t->run;
    r->n_running--;
    r->n_done++;
    if (result->status != HN_OK)
        fail(r, result->status, result->message);
    else if (r->status == HN_OK) /* else it was cancelled */
        r->status = r->how->take(r->how->context, t->index, result, r->err);
}

/* Computes what all prompts begin with. Remembered are whole blocks, and of those any part is found
 * again: the last one is filled up. */
static hn_status read_beginning(run *r, const hn_ids *first, int common, hn_error *err) {
    const int n = (common + HN_KV_BLOCK - 1) / HN_KV_BLOCK * HN_KV_BLOCK;
    hn_job_options job = hn_job_options_default();
    int32_t *ids = hn_malloc((size_t)n * sizeof *ids);
    if (!ids)
        return hn_fail_no_memory(err, (size_t)n * sizeof *ids);
    for (int i = 0; i < n; i++)
        ids[i] = first->data[i < common ? i : common];
    job.prompt = ids;
    job.n_prompt = n;
    job.max_tokens = 0;
    job.adapter = r->how->options.adapter;
    job.events = (hn_job_events){.context = r, .done = beginning_done};
    const hn_status status = hn_engine_submit(r->engine, &job, NULL, err);
    hn_free(ids);
    HN_TRY(status);
    r->n_running++;
    while (r->n_running && r->status == HN_OK)
        (void)hn_engine_advance(r->engine);
    return r->status;
}

static hn_status submit(run *r, size_t index, hn_error *err) {
    const hn_together *how = r->how;
    hn_job_options job = how->options;
    r->tickets[index] = (ticket){r, index};
    job.prompt = how->prompts[index].data;
    job.n_prompt = (int)how->prompts[index].size;
    job.events = (hn_job_events){.context = &r->tickets[index], .done = answer_done};
    if (how->seeds)
        job.sampling.seed = how->seeds[index];
    HN_TRY(hn_engine_submit(r->engine, &job, NULL, err));
    r->n_running++;
    return HN_OK;
}

static hn_status answer_all(run *r, const hn_progress *progress, hn_error *err) {
    const hn_together *how = r->how;
    while (r->n_done < how->n) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "stopped after %zu of %zu answers", r->n_done,
                           how->n);
        for (; r->next < how->n && r->n_running < MAX_QUEUED; r->next++) {
            if (how->prompts[r->next].size)
                HN_TRY(submit(r, r->next, err));
            else
                r->n_done++;
        }
        (void)hn_engine_advance(r->engine);
        HN_TRY(r->status);
        if (how->label)
            hn_progress_update(progress, how->label, r->n_done, how->n, "rows", NULL);
    }
    return HN_OK;
}

static hn_status open_engine(run *r, hn_model *model, int n_beginning, hn_error *err) {
    int64_t longest = n_beginning;
    for (size_t i = 0; i < r->how->n; i++)
        if ((int64_t)r->how->prompts[i].size > longest)
            longest = (int64_t)r->how->prompts[i].size;
    const int n_slots = r->how->n < MAX_SLOTS ? (int)r->how->n : MAX_SLOTS;
    const int64_t each = longest + r->how->options.max_tokens, all = each * n_slots;
    const int64_t most = each > MAX_POSITIONS ? each : MAX_POSITIONS;
    const hn_engine_options options = {.stepped = true,
                                       .n_slots = n_slots,
                                       .n_positions = all < most ? all : most,
                                       .n_context = (int)each,
                                       .max_queued = MAX_QUEUED,
                                       .step_tokens = STEP_TOKENS};
    return hn_engine_new(&r->engine, model, &options, err);
}

hn_status hn_answer_together(hn_model *model, const hn_together *together,
                             const hn_progress *progress, hn_error *err) {
    run r = {.how = together, .err = err};
    const hn_ids *first;
    const int common = common_beginning(together, &first);
    hn_status status = HN_OK;
    if (!first)
        return HN_OK;
    r.tickets = hn_calloc(together->n, sizeof *r.tickets);
    if (!r.tickets)
        return hn_fail_no_memory(err, together->n * sizeof *r.tickets);
    HN_GO(open_engine(&r, model, common + HN_KV_BLOCK, err));
    /* Worth a pass where more rows than it has are saved behind the last whole block. */
    if ((together->n - 1) * (size_t)(common % HN_KV_BLOCK) > HN_KV_BLOCK)
        HN_GO(read_beginning(&r, first, common, err));
    HN_GO(answer_all(&r, progress, err));
done:
    if (r.status == HN_OK)
        r.status = status; /* nobody takes what is cancelled now */
    hn_engine_free(r.engine);
    hn_free(r.tickets);
    return status;
}
