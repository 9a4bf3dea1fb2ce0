/* The limits that keep a hostile template from taking the machine, captures, and the binding of
 * arguments to built-in functions. */
#include "template/render.h"

#include <stdarg.h>
#include <stdio.h>

hn_status hn_render_fail(hn_render *r, const char *fmt, ...) {
    char text[640];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (char *p = text; *p; p++) /* a message is one line */
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return hn_fail(r->err, HN_BAD_INPUT, "template line %u: %s", r->line, text);
}

hn_status hn_render_charge(hn_render *r, size_t steps) {
    r->steps_left -= (int64_t)(steps < INT32_MAX ? steps : INT32_MAX);
    if (r->steps_left < 0)
        return hn_render_fail(r, "the template takes too many steps");
    return HN_OK;
}

hn_status hn_render_charge_scan(hn_render *r, size_t n_bytes) {
    return hn_render_charge(r, n_bytes / HN_RENDER_SCAN_BYTES_PER_STEP + 1);
}

hn_status hn_render_alloc(hn_render *r, size_t count, size_t size, void **out) {
    size_t total;
    if (__builtin_mul_overflow(count, size, &total) ||
        total > HN_RENDER_MAX_ARENA_BYTES - r->arena.total_bytes)
        return hn_render_fail(r, "the template takes more than %d MiB of memory",
                              HN_RENDER_MAX_ARENA_BYTES >> 20);
    void *memory = hn_arena_alloc(&r->arena, total, size == 1 ? 1 : 16);
    if (!memory)
        return hn_fail_no_memory(r->err, total);
    *out = memory;
    return HN_OK;
}

hn_status hn_render_put(hn_render *r, const void *data, size_t n_bytes) {
    if (n_bytes > HN_RENDER_MAX_TEXT_BYTES - r->text.size)
        return hn_render_fail(r, "the output is larger than %d MiB",
                              HN_RENDER_MAX_TEXT_BYTES >> 20);
    if (!hn_buf_append(&r->text, data, n_bytes))
        return hn_fail_no_memory(r->err, n_bytes);
    return HN_OK;
}

size_t hn_render_capture_begin(hn_render *r) {
    if (r->captures++ == 0)
        r->captured_at = r->text.size;
    return r->text.size;
}

hn_status hn_render_take_text(hn_render *r, size_t start, hn_tv *out) {
    size_t n = r->text.size - start;
    hn_status status = hn_tstr_new(r, n ? r->text.data + start : "", n, out);
    r->text.size = start;
    return status;
}

hn_status hn_render_capture_end(hn_render *r, size_t start, hn_tv *out) {
    r->captures--;
    return hn_render_take_text(r, start, out);
}

/* The index of the parameter called `name` in "a,b,c", or -1. */
static int find_param(const char *params, const hn_tstr *name) {
    int index = 0;
    for (const char *p = params; *p; index++) {
        size_t n = strcspn(p, ",");
        if (n == name->n_bytes && !memcmp(p, name->data, n))
            return index;
        p += n + (p[n] == ',');
    }
    return -1;
}

static unsigned count_params(const char *params) {
    unsigned n = *params != 0;
    for (; *params; params++)
        n += *params == ',';
    return n;
}

hn_status hn_render_bind(hn_render *r, const hn_builtin *def, const hn_targs *args,
                         hn_tv bound[HN_ARGS_MAX]) {
    unsigned n_params = count_params(def->params);
    memset(bound, 0, HN_ARGS_MAX * sizeof *bound);
    if (args->n_pos > n_params)
        return hn_render_fail(r, "%s takes at most %u arguments (%u given)", def->name, n_params,
                              args->n_pos);
    if (args->n_pos)
        memcpy(bound, args->pos, args->n_pos * sizeof *bound);
    for (uint32_t i = 0; i < args->n_kw; i++) {
        int index = find_param(def->params, args->kw[i].name);
        if (index < 0 || bound[index].type != HN_TV_MISSING)
            return hn_render_fail(r, "%s: %s keyword argument '%.*s'", def->name,
                                  index < 0 ? "unexpected" : "repeated",
                                  (int)args->kw[i].name->n_bytes, args->kw[i].name->data);
        bound[index] = args->kw[i].value;
    }
    for (unsigned i = 0; i < def->n_required; i++)
        if (bound[i].type == HN_TV_MISSING)
            return hn_render_fail(r, "%s misses a required argument", def->name);
    return HN_OK;
}

hn_status hn_render_apply(hn_render *r, const hn_builtin *def, hn_tv self, const hn_targs *args,
                          hn_tv *out) {
    hn_tv bound[HN_ARGS_MAX];
    hn_call call = {.self = self, .args = bound, .raw = args};
    HN_TRY(hn_render_charge(r, 1));
    if (def->params)
        HN_TRY(hn_render_bind(r, def, args, bound));
    return def->fn(r, &call, out);
}
