/* What a recipe teaches and with what rows: checks between its sections, and who is asked for rows.
 */
#include "base/mem.h"
#include "pipeline/recipe_reader.h"
#include "train/metrics.h"
#include "train/train.h"

#include <math.h>
#include <string.h>

/* Rows come from files, from a teacher, or from both. */
static hn_status check_rows(const hn_recipe_reader *reader, const hn_yaml_node *root,
                            hn_error *err) {
    const hn_recipe *recipe = reader->recipe;
    for (int t = 0; t < HN_TEACH_COUNT; t++) {
        /* kd without rows of its own learns from those of sft */
        int from = t == HN_TEACH_KD && !recipe->kd.train.n ? HN_TEACH_SFT : t;
        bool generated = recipe->generate.wanted && recipe->generate.into[from];
        const char *name = hn_teaching_name((hn_teaching)t);
        if (generated && !hn_recipe_teaches(recipe, (hn_teaching)t))
            return hn_recipe_fail(reader, hn_yaml_member(root, "generate"), err,
                                  "'for_%s' needs a section '%s' that learns from the rows", name,
                                  name);
        if (hn_recipe_teaches(recipe, (hn_teaching)t) && !generated &&
            !hn_recipe_rows(recipe, (hn_teaching)t)->n)
            return hn_recipe_fail(reader, root, err, "'%s.train' is missing",
                                  t == HN_TEACH_RKD || t == HN_TEACH_DPO ? name : "data");
    }
    return HN_OK;
}

static hn_status check_generate(const hn_recipe_reader *reader, const hn_yaml_node *section,
                                hn_error *err) {
    const hn_recipe *recipe = reader->recipe;
    bool any = false;
    for (int t = 0; t < HN_TEACH_COUNT; t++)
        any = any || recipe->generate.into[t];
    if (!recipe->generate.teacher == !recipe->generate.endpoint)
        return hn_recipe_fail(reader, section, err,
                              "name one teacher: 'teacher' (a model on this machine), or "
                              "'endpoint' and 'model'");
    if (recipe->generate.endpoint && !recipe->generate.model)
        return hn_recipe_fail(reader, section, err, "'endpoint' needs 'model', its name there");
    if (recipe->generate.teacher && recipe->generate.key_env)
        return hn_recipe_fail(reader, section, err, "'key_env' goes with 'endpoint'");
    if (!any)
        return hn_recipe_fail(reader, section, err,
                              "say what learns from the rows: for_sft, for_rkd, for_dpo");
    if (recipe->generate.into[HN_TEACH_RKD] && recipe->generate.plain)
        return hn_recipe_fail(reader, section, err,
                              "'for_rkd' needs thoughts, and 'plain' asks for none");
    if (recipe->generate.samples > 1 && !(recipe->generate.temperature > 0))
        return hn_recipe_fail(reader, section, err,
                              "'samples' needs a 'temperature' above 0: the answers would be the "
                              "same");
    if (recipe->generate.max_cost > 0 && !(recipe->generate.price_in > 0) &&
        !(recipe->generate.price_out > 0))
        return hn_recipe_fail(reader, section, err, "'max_cost' needs 'price_in' and 'price_out'");
    return HN_OK;
}

/* What hn_train_distill would refuse, hours later. */
static hn_status check_kd(const hn_recipe_reader *reader, const hn_yaml_node *section,
                          hn_error *err) {
    const hn_recipe *recipe = reader->recipe;
    const char *stored = recipe->distill.teacher_logits;
    hn_layer_pair *pairs = NULL;
    hn_kd_file file;
    hn_error why = {0};
    int n;
    if (!recipe->distill.teacher && !stored)
        return hn_recipe_fail(reader, section, err,
                              "'kd.teacher' is missing: a model, or 'teacher_logits', what hone "
                              "distill store has kept of one");
    if (recipe->distill.teacher && stored)
        return hn_recipe_fail(reader, section, err,
                              "'teacher' and 'teacher_logits' exclude each other");
    if (recipe->distill.hidden_layers && !(recipe->distill.hidden > 0))
        return hn_recipe_fail(reader, section, err,
                              "'hidden_layers' needs 'hidden', the weight of their term");
    if (hn_layer_pairs_parse(recipe->distill.hidden_layers, &pairs, &n, &why) != HN_OK)
        return hn_recipe_fail(reader, section, err, "'hidden_layers': %s", why.message);
    hn_free(pairs);
    if (!stored)
        return HN_OK;
    if (recipe->distill.hidden > 0 || recipe->distill.beta > 0 || recipe->distill.on_policy > 0)
        return hn_recipe_fail(reader, section, err,
                              "'hidden', 'beta' and 'on_policy' need the teacher itself: "
                              "'teacher_logits' has its distributions on the rows alone");
    if (!reader->check_files)
        return HN_OK;
    HN_TRY(hn_kd_file_open(&file, stored, err));
    const double temperature = (double)file.temperature;
    hn_kd_file_close(&file);
    if (fabs(temperature - recipe->distill.temperature) > 1e-6 * temperature)
        return hn_recipe_fail(reader, section, err,
                              "'teacher_logits' were stored at temperature %g: give that as "
                              "'temperature', or store them again",
                              temperature);
    return HN_OK;
}

hn_status hn_recipe_check_teaching(const hn_recipe_reader *reader, const hn_yaml_node *root,
                                   hn_error *err) {
    hn_recipe *recipe = reader->recipe;
    const hn_yaml_node *dpo = hn_yaml_member(root, "dpo");
    const hn_yaml_node *generate = hn_yaml_member(root, "generate");
    recipe->generate.wanted = generate != NULL;
    recipe->sft.wanted = true;
    recipe->kd.wanted = hn_yaml_member(root, "kd") != NULL;
    recipe->rkd.wanted = hn_yaml_member(root, "rkd") != NULL;
    recipe->dpo.wanted = dpo != NULL;
    if (generate)
        HN_TRY(check_generate(reader, generate, err));
    if (recipe->kd.wanted)
        HN_TRY(check_kd(reader, hn_yaml_member(root, "kd"), err));
    HN_TRY(check_rows(reader, root, err));
    for (int t = 0; t < HN_TEACH_COUNT; t++) {
        const hn_recipe_training *stage = hn_recipe_training_of(recipe, (hn_teaching)t);
        const hn_yaml_node *section = hn_yaml_member(root, hn_teaching_name((hn_teaching)t));
        if (section && hn_metric_is(stage->best_metric, HN_METRIC_GOLDEN) && !stage->golden_rows)
            return hn_recipe_fail(reader, section, err,
                                  "'best_metric: golden' needs 'golden_rows' above 0");
    }
    hn_dpo loss = {.kind = (hn_dpo_kind)recipe->preference.loss,
                   .beta = (float)recipe->preference.beta,
                   .label_smoothing = (float)recipe->preference.label_smoothing};
    hn_error why = {0};
    if (dpo && hn_dpo_check(&loss, &why) != HN_OK)
        return hn_recipe_fail(reader, dpo, err, "%s", why.message);
    return HN_OK;
}

const char *hn_teaching_name(hn_teaching stage) {
    static const char *const NAMES[] = {"sft", "kd", "rkd", "dpo"};
    return NAMES[stage];
}

const hn_recipe_training *hn_recipe_training_of(const hn_recipe *recipe, hn_teaching stage) {
    const hn_recipe_training *const ALL[] = {&recipe->sft, &recipe->kd, &recipe->rkd, &recipe->dpo};
    return ALL[stage];
}

bool hn_recipe_teaches(const hn_recipe *recipe, hn_teaching stage) {
    return hn_recipe_training_of(recipe, stage)->wanted;
}

const hn_recipe_files *hn_recipe_rows(const hn_recipe *recipe, hn_teaching stage) {
    const hn_recipe_files *own = &hn_recipe_training_of(recipe, stage)->train;
    bool shares = stage == HN_TEACH_SFT || (stage == HN_TEACH_KD && !own->n);
    return shares ? &recipe->data.train : own;
}
