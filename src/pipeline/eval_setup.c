/* How a recipe's golden set is asked, at the end of a stage and while it is taught: what holds the
 * answers, and the inputs that a score depends on. */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "pipeline/run.h"

#include <stdlib.h>
#include <string.h>

hn_status hn_run_constraint_open(const hn_run *run, const hn_model *model,
                                 hn_constraint_pool **pool, hn_pooled_constraint *out,
                                 hn_error *err) {
    const char *grammar = run->recipe->eval.grammar;
    const char *path = grammar ? grammar : run->recipe->eval.json_schema;
    char *text;
    size_t size;
    if (!path)
        return HN_OK;
    HN_TRY(hn_constraint_pool_new(pool, model->ckpt.tokenizer, err));
    HN_TRY(hn_file_read(path, HN_GRAMMAR_MAX_BYTES, &text, &size, err));
    hn_status status = hn_constraint_pool_take(
        *pool, grammar ? HN_CONSTRAINT_GBNF : HN_CONSTRAINT_SCHEMA, text, size, path, out, err);
    hn_free(text);
    return status;
}

/* What holds the answers is an input by its content. */
static hn_status add_constraint(const hn_recipe *recipe, json_t *own, hn_error *err) {
    const char *path = recipe->eval.grammar ? recipe->eval.grammar : recipe->eval.json_schema;
    char hash[HN_SHA256_HEX];
    if (!path)
        return HN_OK;
    HN_TRY(hn_sha256_file(path, hash, err));
    if (json_object_set_new(own, recipe->eval.grammar ? "grammar" : "json_schema",
                            json_string(hash)))
        return hn_fail_no_memory(err, sizeof hash);
    return HN_OK;
}

hn_eval_options hn_run_eval_options(const hn_run *run, const char *system,
                                    hn_constraint *constraint) {
    const hn_recipe *recipe = run->recipe;
    return (hn_eval_options){.system = system,
                             .max_tokens = (int)recipe->eval.max_tokens,
                             .abstain_below = recipe->eval.abstain_below,
                             .abstain_as = recipe->eval.abstain_as,
                             .constraint = constraint};
}

hn_status hn_run_eval_inputs(const hn_run *run, const char *system, json_t **out, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    json_t *own = json_pack("{s:s, s:s*, s:I, s:s*, s:o*}", "golden", run->golden_hash, "system",
                            system, "max_tokens", (json_int_t)recipe->eval.max_tokens, "abstain_as",
                            recipe->eval.abstain_as, "abstain_below",
                            recipe->eval.abstain_as ? json_real(recipe->eval.abstain_below) : NULL);
    hn_status status = own ? add_constraint(recipe, own, err) : hn_fail_no_memory(err, 256);
    if (status == HN_OK)
        *out = own;
    else
        json_decref(own);
    return status;
}

hn_status hn_run_eval_key(const hn_run *run, char hex[65], hn_error *err) {
    json_t *inputs;
    HN_TRY(hn_run_eval_inputs(run, run->recipe->data.system, &inputs, err));
    char *text = json_dumps(inputs, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(inputs);
    if (!text)
        return hn_fail_no_memory(err, 512);
    hn_status status = hn_sha256_data(text, strlen(text), hex, err);
    free(text);
    return status;
}
