#include "train/metrics.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/jsonl.h"

#include <math.h>
#include <string.h>

/* *loss, *rows (or NULL) and the values become sums. */
static void sum(hn_ranks *ranks, double *loss, uint64_t *rows, hn_values *values) {
    double all[2 + HN_MAX_VALUES] = {*loss, rows ? (double)*rows : 0};
    int size = hn_ranks_size(ranks);
    for (int i = 0; i < values->n; i++)
        all[2 + i] = values->items[i].value;
    hn_ranks_add(ranks, all, (size_t)(2 + values->n));
    *loss = all[0];
    if (rows)
        *rows = (uint64_t)all[1];
    for (int i = 0; i < values->n; i++)
        values->items[i].value = all[2 + i] / (values->items[i].whole ? size : 1);
}

void hn_step_metrics_sum(hn_ranks *ranks, hn_step_metrics *m) {
    sum(ranks, &m->loss, &m->rows, &m->values);
}

void hn_eval_metrics_sum(hn_ranks *ranks, hn_eval_metrics *m) {
    sum(ranks, &m->loss, NULL, &m->values);
}

/* The old file's lines up to `step`, rewritten atomically. A line that a crash has cut off, and all
 * that follow it, are of no use. */
static hn_status keep_lines(const char *path, uint64_t step, hn_error *err) {
    hn_jsonl old;
    hn_out out;
    HN_TRY(hn_jsonl_open(&old, path, err));
    hn_status status = hn_out_open(&out, path, err);
    if (status != HN_OK) {
        hn_jsonl_close(&old);
        return status;
    }
    hn_error ignored;
    for (;;) {
        size_t from = old.offset;
        json_t *row = NULL;
        if (hn_jsonl_next(&old, &row, &ignored) != HN_OK || !row)
            break;
        json_int_t line_step = json_integer_value(json_object_get(row, "step"));
        json_decref(row);
        if (line_step <= (json_int_t)step)
            hn_out_write(&out, old.map.data + from, old.offset - from);
    }
    hn_jsonl_close(&old);
    return hn_out_commit(&out, err);
}

hn_status hn_metrics_open(hn_metrics *metrics, const char *dir, uint64_t step, hn_error *err) {
    char *path = hn_path_join(dir, "metrics.jsonl");
    if (!path)
        return hn_fail_no_memory(err, 0);
    hn_status status = HN_OK;
    if (step > 0 && hn_path_exists(path))
        status = keep_lines(path, step, err);
    FILE *file = status == HN_OK ? fopen(path, step > 0 ? "abe" : "wbe") : NULL;
    if (status == HN_OK && !file)
        status = hn_fail_errno(err, "%s", path);
    if (status != HN_OK) {
        hn_free(path);
        return status;
    }
    *metrics = (hn_metrics){.file = file, .path = path};
    return HN_OK;
}

void hn_metrics_close(hn_metrics *metrics) {
    if (metrics->file)
        fclose(metrics->file);
    hn_free(metrics->path);
    *metrics = (hn_metrics){0};
}

static hn_status flush(hn_metrics *metrics, hn_error *err) {
    if (fflush(metrics->file) || ferror(metrics->file))
        return hn_fail_errno(err, "%s: not written", metrics->path);
    return HN_OK;
}

static void put_values(hn_metrics *metrics, const char *before, const hn_values *values) {
    for (int i = 0; i < values->n; i++) {
        fprintf(metrics->file, ", \"%s%s\": ", before, values->items[i].name);
        if (isfinite(values->items[i].value))
            fprintf(metrics->file, "%.9g", values->items[i].value);
        else
            fputs("null", metrics->file); /* JSON has no other word for it */
    }
}

hn_status hn_metrics_step(hn_metrics *metrics, const hn_step_metrics *m, hn_error *err) {
    if (!metrics->file)
        return HN_OK;
    fprintf(metrics->file,
            "{\"step\": %llu, \"epoch\": %.4f, \"loss\": %.9g, \"lr\": %.9g, \"grad_norm\": %.9g, "
            "\"tokens\": %llu, \"supervised\": %llu, \"rows\": %llu, \"seconds\": %.4f, "
            "\"tokens_per_second\": %.1f",
            (unsigned long long)m->step, m->epoch, m->loss, m->rate, m->grad_norm,
            (unsigned long long)m->tokens, (unsigned long long)m->supervised,
            (unsigned long long)m->rows, m->seconds, (double)m->tokens / m->seconds);
    put_values(metrics, "", &m->values);
    fputs("}\n", metrics->file);
    return flush(metrics, err);
}

hn_status hn_metrics_eval(hn_metrics *metrics, const hn_eval_metrics *m, hn_error *err) {
    if (!metrics->file)
        return HN_OK;
    fprintf(metrics->file, "{\"step\": %llu, \"eval_loss\": %.9g", (unsigned long long)m->step,
            m->loss);
    put_values(metrics, "eval_", &m->values);
    fprintf(metrics->file, ", \"eval_seconds\": %.4f", m->seconds);
    if (m->golden_seconds > 0)
        fprintf(metrics->file, ", \"eval_golden_seconds\": %.4f", m->golden_seconds);
    fputs("}\n", metrics->file);
    return flush(metrics, err);
}

bool hn_metric_wants_low(const char *name) {
    static const char *const LOW[] = {"loss", "perplexity", "kl", "rejected"};
    for (size_t i = 0; i < sizeof LOW / sizeof *LOW; i++) {
        size_t n = strlen(name), tail = strlen(LOW[i]);
        if (n >= tail && !strcmp(name + n - tail, LOW[i]))
            return true;
    }
    return false;
}

/* Without the "eval_" that metrics.jsonl sets before it. */
static const char *bare_name(const char *given) {
    static const char PREFIX[] = "eval_";
    return strncmp(given, PREFIX, strlen(PREFIX)) ? given : given + strlen(PREFIX);
}

bool hn_metric_is(const char *given, const char *name) {
    return !strcmp(bare_name(given), name);
}

hn_status hn_eval_metrics_get(const hn_eval_metrics *m, const char *name, double *value,
                              hn_error *err) {
    name = bare_name(name);
    if (!strcmp(name, "loss")) {
        *value = m->loss;
        return HN_OK;
    }
    hn_buf names = {.max = 1024};
    for (int i = 0; i < m->values.n; i++) {
        if (!strcmp(name, m->values.items[i].name)) {
            *value = m->values.items[i].value;
            hn_buf_done(&names);
            return HN_OK;
        }
        hn_buf_printf(&names, ", %s", m->values.items[i].name);
    }
    hn_fail(err, HN_USAGE, "best metric '%s': an evaluation here has loss%s", name,
            hn_buf_text(&names));
    hn_buf_done(&names);
    return HN_USAGE;
}
