/* The interface: compiling and rendering. Both in the C locale, whatever the program that embeds
 * hone has set: numbers have a point, and letters are ASCII's. */
#define _GNU_SOURCE
#include "template/template.h"

#include "base/mem.h"
#include "template/render.h"

#include <locale.h>

/* Of this thread alone. A failure leaves (locale_t)0, with which nothing changes. */
typedef struct own_locale {
    locale_t c, before;
} own_locale;

static own_locale locale_enter(void) {
    own_locale own = {.c = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    if (own.c)
        own.before = uselocale(own.c);
    return own;
}

static void locale_leave(own_locale own) {
    if (!own.c)
        return;
    uselocale(own.before);
    freelocale(own.c);
}

static hn_status compile(hn_template *tmpl, const char *source, size_t n_bytes, hn_error *err) {
    hn_tokens tokens = {0};
    hn_status status = HN_OK;
    tmpl->source = hn_arena_strndup(&tmpl->arena, source, n_bytes);
    tmpl->n_source = n_bytes;
    if (!tmpl->source)
        HN_GO(hn_fail_no_memory(err, n_bytes));
    HN_GO(hn_template_lex(&tmpl->arena, source, n_bytes, &tokens, err));
    HN_GO(hn_template_parse(&tmpl->arena, &tokens, &tmpl->body, err));
    HN_GO(hn_template_resolve(tmpl, err));
done:
    hn_free(tokens.items);
    return status;
}

hn_status hn_template_new(hn_template **out, const char *source, size_t n_bytes, hn_error *err) {
    hn_template *tmpl = hn_calloc(1, sizeof *tmpl);
    if (!tmpl)
        return hn_fail_no_memory(err, sizeof *tmpl);
    tmpl->arena.max_bytes = HN_TEMPLATE_MAX_ARENA_BYTES;
    const own_locale own = locale_enter();
    hn_status status = compile(tmpl, source, n_bytes, err);
    locale_leave(own);
    if (status != HN_OK) {
        hn_template_free(tmpl);
        return status;
    }
    *out = tmpl;
    return HN_OK;
}

void hn_template_free(hn_template *tmpl) {
    if (!tmpl)
        return;
    hn_arena_done(&tmpl->arena);
    hn_free(tmpl);
}

static hn_status render(hn_render *r, const json_t *variables) {
    hn_tv root;
    if (!json_is_object(variables))
        return hn_fail(r->err, HN_USAGE, "a template's variables must be an object");
    HN_TRY(hn_tv_from_json(r, variables, &root));
    r->variables = root.u.dict;
    HN_TRY(hn_activation_new(r, NULL, r->tmpl->n_slots, &r->frame));
    HN_TRY(hn_eval_scope_enter(r, &r->tmpl->scope));
    return hn_eval_body(r, r->tmpl->body);
}

hn_status hn_template_render_spans(const hn_template *tmpl, const json_t *variables, int64_t now,
                                   hn_buf *out, hn_template_span **spans, size_t *n_spans,
                                   hn_error *err) {
    hn_error local;
    hn_render r = {.tmpl = tmpl,
                   .err = err ? err : &local,
                   .now = now,
                   .line = 1,
                   .steps_left = HN_RENDER_MAX_STEPS};
    size_t offset = out->size;
    const own_locale own = locale_enter();
    hn_status status = render(&r, variables);
    locale_leave(own);
    HN_GO(status);
    if (!hn_buf_append(out, hn_buf_text(&r.text), r.text.size))
        HN_GO(hn_buf_check(out, err));
    if (!spans)
        goto done;
    hn_template_span *found = NULL;
    *n_spans = r.spans.size / sizeof *found;
    if (*n_spans) {
        found = (hn_template_span *)(void *)hn_buf_take(&r.spans);
        for (size_t i = 0; i < *n_spans; i++) {
            found[i].start += offset;
            found[i].end += offset;
        }
    }
    *spans = found;
done:
    hn_buf_done(&r.text);
    hn_buf_done(&r.spans);
    hn_arena_done(&r.arena);
    return status;
}

hn_status hn_template_render(const hn_template *tmpl, const json_t *variables, int64_t now,
                             hn_buf *out, hn_error *err) {
    return hn_template_render_spans(tmpl, variables, now, out, NULL, NULL, err);
}
