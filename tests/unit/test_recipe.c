/* Recipes: what is read, and that everything wrong is said with its place and a remedy. */
#include "base/file.h"
#include "base/mem.h"
#include "pipeline/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static hn_error err;

#define HEAD "name: x\nbase: b.gguf\n"
#define DATA "data: {train: t.jsonl, golden: g.jsonl}\n"

static hn_status parse(hn_recipe *recipe, const char *text) {
    memset(&err, 0, sizeof err);
    return hn_recipe_parse(recipe, text, strlen(text), "r.yaml", "dir", false, &err);
}

static void test_defaults(void **state) {
    (void)state;
    hn_recipe recipe;
    assert_int_equal(parse(&recipe, HEAD DATA), HN_OK);
    assert_string_equal(recipe.name, "x");
    assert_string_equal(recipe.base, "dir/b.gguf");
    assert_string_equal(recipe.data.train.path[0], "dir/t.jsonl");
    assert_int_equal(recipe.data.train.n, 1);
    assert_null(recipe.data.system);
    assert_int_equal(recipe.sft.rank, 16);
    assert_true(recipe.sft.learning_rate == 2e-4);
    assert_int_equal(recipe.sft.schedule, 1);
    assert_int_equal(recipe.n_artefacts, 0);
    assert_false(recipe.bundle.wanted);
    assert_true(recipe.eval.bench);
    assert_true(hn_recipe_teaches(&recipe, HN_TEACH_SFT));
    assert_false(hn_recipe_teaches(&recipe, HN_TEACH_RKD));
    assert_false(hn_recipe_teaches(&recipe, HN_TEACH_DPO));
    assert_true(recipe.gate.max_stage_drop == 0.02 && recipe.gate.max_slice_drop == 0.05);
    assert_int_equal(recipe.sft.golden_rows, 100);
    hn_recipe_done(&recipe);
}

static void test_everything(void **state) {
    (void)state;
    static const char TEXT[] =
        "# a comment\n" HEAD "version: 1.2.3\n"
        "data:\n  train:\n    - a.jsonl\n    - /b.jsonl\n  golden: 'g.jsonl'\n"
        "  system: |\n    You are a router.\n    Answer.\n"
        "  skip_bad: true\n"
        "sft: {rank: 8, learning_rate: 5e-4, schedule: linear, supervise: all, "
        "dora: true, optimizer: lion, best_metric: accuracy, replay: g.jsonl}\n"
        "rkd: {train: [think.jsonl, a.jsonl], epochs: 2, numerics: int8}\n"
        "dpo: {train: pairs.jsonl, loss: robust, label_smoothing: 0.1, reference: base}\n"
        "artefacts:\n  - {name: beside, kind: adapter}\n  - {name: q8, type: q8_0}\n"
        "  - name: q4\n    kind: merged\n    type: q4_k_m\n    calibration: train\n"
        "  - {name: own, type: q8_0, calibration: self}\n"
        "  - {name: plain, type: q4_0, calibration: none}\n"
        "  - {name: both, type: q4_1, calibration: train+self}\n"
        "eval: {abstain_below: 0.25, abstain_as: out of scope, json_schema: s.json}\n"
        "gate: {max_quality_drop: 0.01, latency: first_token}\n"
        "bundle: {artefact: q8}\n";
    hn_recipe recipe;
    if (parse(&recipe, TEXT) != HN_OK)
        fail_msg("%s", err.message);
    assert_string_equal(recipe.version, "1.2.3");
    assert_int_equal(recipe.data.train.n, 2);
    assert_string_equal(recipe.data.train.path[1], "/b.jsonl");
    assert_string_equal(recipe.data.system, "You are a router.\nAnswer.\n");
    assert_true(recipe.data.skip_bad);
    assert_int_equal(recipe.sft.supervise, 2);
    assert_int_equal(recipe.sft.schedule, 0);
    assert_true(recipe.sft.dora && recipe.sft.optimiser == 2 && recipe.sft.replay_share == 0.05);
    assert_string_equal(recipe.sft.best_metric, "accuracy");
    assert_string_equal(recipe.sft.replay, "dir/g.jsonl");
    assert_int_equal(hn_recipe_rows(&recipe, HN_TEACH_SFT)->n, 2);
    assert_int_equal(hn_recipe_rows(&recipe, HN_TEACH_RKD)->n, 2);
    assert_string_equal(recipe.rkd.train.path[1], "dir/a.jsonl");
    assert_true(recipe.rkd.epochs == 2 && recipe.rkd.learning_rate == 2e-4);
    assert_int_equal(recipe.rkd.numerics, 1);
    assert_int_equal(recipe.dpo.numerics, 0);
    assert_string_equal(hn_recipe_rows(&recipe, HN_TEACH_DPO)->path[0], "dir/pairs.jsonl");
    assert_true(recipe.dpo.learning_rate == 5e-6 && recipe.preference.beta == 0.1);
    assert_int_equal(recipe.preference.loss, 1);
    assert_int_equal(recipe.preference.reference, 1);
    assert_int_equal(recipe.n_artefacts, 6);
    assert_int_equal(recipe.artefacts[0].kind, HN_ARTEFACT_ADAPTER);
    assert_string_equal(recipe.artefacts[2].calibration, "train");
    assert_true(recipe.eval.abstain_below == 0.25);
    assert_string_equal(recipe.eval.abstain_as, "out of scope");
    assert_non_null(strstr(recipe.eval.json_schema, "s.json"));
    assert_null(recipe.eval.grammar);
    assert_string_equal(recipe.artefacts[3].calibration, "self");
    assert_string_equal(recipe.artefacts[4].calibration, "none");
    assert_string_equal(recipe.artefacts[5].calibration, "train+self");
    assert_int_equal(recipe.gate.latency, 1);
    assert_string_equal(recipe.bundle.artefact, "q8");
    hn_recipe_done(&recipe);
}

/* Rows from a teacher alone: no file of rows is needed where they go. */
static void test_generate(void **state) {
    (void)state;
    hn_recipe recipe;
    assert_int_equal(parse(&recipe, HEAD "data: {golden: g.jsonl}\n"
                                         "generate: {prompts: p.jsonl, endpoint: 'http://h/v1',"
                                         " model: m, for_sft: true, for_rkd: true, samples: 3}\n"
                                         "kd: {teacher: t.gguf, on_policy: 0.5}\n"
                                         "rkd: {epochs: 2}\n"),
                     HN_OK);
    assert_true(recipe.generate.wanted && recipe.generate.into[HN_TEACH_SFT] &&
                recipe.generate.into[HN_TEACH_RKD] && !recipe.generate.into[HN_TEACH_DPO]);
    assert_string_equal(recipe.generate.prompts, "dir/p.jsonl");
    assert_int_equal(recipe.generate.samples, 3);
    assert_true(hn_recipe_teaches(&recipe, HN_TEACH_KD));
    assert_true(hn_recipe_rows(&recipe, HN_TEACH_KD) == &recipe.data.train);
    assert_string_equal(recipe.distill.teacher, "dir/t.gguf");
    assert_true(recipe.distill.on_policy == 0.5 && recipe.distill.temperature == 2);
    hn_recipe_done(&recipe);
}

static void test_kd(void **state) {
    (void)state;
    hn_recipe recipe;
    assert_int_equal(parse(&recipe, HEAD DATA "kd: {teacher_logits: t.kd, temperature: 3}\n"),
                     HN_OK);
    assert_null(recipe.distill.teacher);
    assert_string_equal(recipe.distill.teacher_logits, "dir/t.kd");
    hn_recipe_done(&recipe);
    assert_int_equal(
        parse(&recipe, HEAD DATA "kd: {teacher: t, hidden: 1, hidden_layers: '2:4,6:12'}\n"),
        HN_OK);
    assert_string_equal(recipe.distill.hidden_layers, "2:4,6:12");
    hn_recipe_done(&recipe);
}

static void test_bad(void **state) {
    (void)state;
    static const struct {
        const char *text, *wanted;
    } CASES[] = {
        {"", "empty"},
        {"[a]", "a recipe is a map"},
        {"name: x\n", "'base' is missing"},
        {HEAD, "'data.golden' is missing"},
        {HEAD "data: {golden: g.jsonl}\n", "'data.train' is missing"},
        {HEAD DATA "rkd: {epochs: 1}\n", "'rkd.train' is missing"},
        {HEAD DATA "kd: {epochs: 1}\n", "'kd.teacher' is missing"},
        {HEAD DATA "kd: {teacher: t.gguf, alpha: 2}\n", "'alpha' must lie between 0 and 1"},
        {HEAD DATA "kd: {teacher: t.gguf, teacher_logits: t.kd}\n", "exclude each other"},
        {HEAD DATA "kd: {teacher_logits: t.kd, on_policy: 0.5}\n", "need the teacher itself"},
        {HEAD DATA "kd: {teacher_logits: t.kd, beta: 0.5}\n", "need the teacher itself"},
        {HEAD DATA "kd: {teacher_logits: t.kd, hidden: 0.5}\n", "need the teacher itself"},
        {HEAD DATA "kd: {teacher: t.gguf, hidden_layers: '1:2'}\n", "needs 'hidden'"},
        {HEAD DATA "kd: {teacher: t.gguf, hidden: 1, hidden_layers: '1:2;3'}\n",
         "r.yaml:4:5: 'hidden_layers': '1:2;3' is no list"},
        {HEAD DATA "generate: {teacher: t.gguf}\n", "'generate.prompts' is missing"},
        {HEAD DATA "generate: {prompts: p.jsonl, for_sft: true}\n",
         "r.yaml:4:11: name one teacher"},
        {HEAD DATA "generate: {prompts: p.jsonl, teacher: t, endpoint: u, model: m}\n",
         "name one teacher"},
        {HEAD DATA "generate: {prompts: p.jsonl, endpoint: u}\n", "'endpoint' needs 'model'"},
        {HEAD DATA "generate: {prompts: p.jsonl, teacher: t, key_env: K}\n", "'key_env' goes with"},
        {HEAD DATA "generate: {prompts: p.jsonl, teacher: t}\n", "for_sft, for_rkd, for_dpo"},
        {HEAD DATA "generate: {prompts: p.jsonl, teacher: t, for_rkd: true}\n",
         "'for_rkd' needs a section 'rkd'"},
        {HEAD DATA "generate: {prompts: p.jsonl, teacher: t, for_rkd: true, plain: true}\n"
                   "rkd: {epochs: 1}\n",
         "'plain' asks for none"},
        {HEAD DATA "generate: {prompts: p.jsonl, teacher: t, for_sft: true, samples: 2,"
                   " temperature: 0}\n",
         "would be the same"},
        {HEAD DATA "generate: {prompts: p.jsonl, teacher: t, for_sft: true, max_cost: 2}\n",
         "needs 'price_in'"},
        {HEAD DATA "sft: {lerning_rate: 1}\n", "r.yaml:4:7: unknown key 'lerning_rate' in 'sft'; "
                                               "did you mean 'learning_rate'?"},
        {HEAD DATA "atrefacts: []\n", "r.yaml:4:1: unknown key 'atrefacts'; did you mean "
                                      "'artefacts'?"},
        {HEAD DATA "name: y\n", "r.yaml:4:1: 'name' stands here again (first in line 1)"},
        {HEAD DATA "sft:\n  epochs: many\n", "r.yaml:5:11: 'epochs' must be a number"},
        {HEAD DATA "sft: {best_metric: golden, golden_rows: 0}\n",
         "r.yaml:4:6: 'best_metric: golden' needs 'golden_rows' above 0"},
        {HEAD DATA "sft:\n  epochs: '2'\n", "'epochs' must be a number"},
        {HEAD DATA "sft:\n  epochs: nan\n", "'epochs' must be a number"},
        {HEAD DATA "sft:\n  epochs: 1e999\n", "'epochs' must be a number"},
        {HEAD DATA "sft:\n  rank: 1.5\n", "whole number"},
        {HEAD DATA "sft:\n  rank: 0\n", "between 1 and 1024"},
        {HEAD DATA "sft:\n  rank: 8e99\n", "between 1 and 1024"},
        {HEAD DATA "sft:\n  rank: [1]\n", "single value"},
        {HEAD DATA "sft:\n  schedule: cosin\n", "linear|cosine|constant"},
        {HEAD DATA "sft: 7\n", "must hold keys and values"},
        {HEAD DATA "rkd: {epochs: 2}\n", "'rkd.train' is missing"},
        {HEAD DATA "dpo: {}\n", "'dpo.train' is missing"},
        {HEAD DATA "rkd: {train: a, rank: 8}\n", "unknown key 'rank' in 'rkd'"},
        {HEAD DATA "rkd: {train: a, beta: 8}\n", "unknown key 'beta' in 'rkd'"},
        {HEAD DATA "sft: {train: a}\n", "unknown key 'train' in 'sft'"},
        {HEAD DATA "dpo: {train: a, bta: 1}\n", "r.yaml:4:17: unknown key 'bta' in 'dpo'; did you "
                                                "mean 'beta'?"},
        {HEAD DATA "dpo: {train: a, loss: hinge}\n", "sigmoid|robust|ipo"},
        {HEAD DATA "dpo: {train: a, beta: 0}\n", "between 1e-06 and 1000"},
        {HEAD DATA "dpo: {train: a, label_smoothing: 0.5}\n", "r.yaml:4:6: label smoothing 0.5"},
        {HEAD DATA "dpo: {train: a, loss: ipo, label_smoothing: 0.1}\n", "label smoothing is for"},
        {HEAD DATA "dpo: {train: []}\n", "lists no file"},
        {HEAD DATA "gate: {max_stage_drop: 2}\n", "between 0 and 1"},
        {HEAD DATA "eval: {bench: yes}\n", "true or false"},
        {HEAD DATA "eval:\n  abstain_below: 0.5\n",
         "r.yaml:5:18: 'abstain_below' needs 'abstain_as'"},
        {HEAD DATA "eval:\n  abstain_as: no\n", "r.yaml:5:15: 'abstain_as' needs 'abstain_below'"},
        {HEAD DATA "eval: {grammar: g.gbnf, json_schema: s.json}\n",
         "'grammar' and 'json_schema' exclude each other"},
        {HEAD DATA "eval: {abstain_below: 2, abstain_as: no}\n", "between 0 and 1"},
        {HEAD DATA "artefacts: {name: x}\n", "must be a list"},
        {HEAD DATA "artefacts: [{type: q8_0}]\n", "'artefacts.name' is missing"},
        {HEAD DATA "artefacts: [{name: x}]\n", "needs a 'type'"},
        {HEAD DATA "artefacts: [{name: x, type: q8_1}]\n", "unknown type 'q8_1'"},
        {HEAD DATA "artefacts: [{name: x, kind: adapter, type: q8_0}]\n", "takes no 'type'"},
        {HEAD DATA "artefacts: [{name: x, kind: huggingface, type: q8_0}]\n", "f32, f16 or bf16"},
        {HEAD DATA "artefacts: [{name: x, type: f16}, {name: x, type: f16}]\n", "second artefact"},
        {HEAD DATA "artefacts: [{name: ../x, type: f16}]\n", "'name' may hold"},
        {HEAD DATA "bundle: {}\n", "a bundle needs an artefact"},
        {HEAD DATA "artefacts: [{name: x, type: f16}]\nbundle: {artefact: y}\n", "no artefact is"},
        {HEAD "data: {train: [], golden: g}\n", "lists no file"},
        {HEAD "data: {train: [[a]], golden: g}\n", "a file or a list of files"},
        {HEAD "data: {train: &a t, golden: *a}\n", "anchors and aliases"},
        {HEAD "data: {train: !!str t, golden: g}\n", "tags"},
        {"name: x\n---\nname: y\n", "second document"},
        {"name: [\n", "r.yaml:"},
        {"name: \"\\0\"\nbase: x\n", "NUL"},
        {"name: \xff\n", "r.yaml: byte"},
        {"? {a: b}\n: c\n", "a key must be"},
        {"\tname: x\n", "r.yaml:1:"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_recipe recipe;
        if (parse(&recipe, CASES[i].text) != HN_BAD_INPUT)
            fail_msg("accepted: %s (%s)", CASES[i].text, err.message);
        if (!strstr(err.message, CASES[i].wanted))
            fail_msg("%s: '%s' lacks '%s'", CASES[i].text, err.message, CASES[i].wanted);
    }
}

/* Anchors that would unfold to 10^9 values, deep nesting, many values: all end quickly. */
static void test_hostile(void **state) {
    (void)state;
    hn_recipe recipe;
    static const char BOMB[] = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                               "c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n";
    assert_int_equal(parse(&recipe, BOMB), HN_BAD_INPUT);
    enum { N = 30000 };
    char *text = hn_malloc(2 * N + 16);
    assert_non_null(text);
    memset(text, '[', N);
    text[N] = 0;
    assert_int_equal(parse(&recipe, text), HN_BAD_INPUT);
    strcpy(text, "a: [");
    for (int i = 0; i < N; i++)
        memcpy(text + 4 + 2 * i, "x,", 2);
    memcpy(text + 4 + 2 * N, "]", 2);
    assert_int_equal(parse(&recipe, text), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "too many values"));
    hn_free(text);
}

static void test_missing_files(void **state) {
    (void)state;
    char path[] = "/tmp/hone-recipe-XXXXXX";
    assert_non_null(mkdtemp(path));
    char file[128];
    hn_recipe recipe;
    setenv("HONE_CACHE", path, 1);
    snprintf(file, sizeof file, "%s/r.yaml", path);
    static const char TEXT[] = HEAD DATA;
    assert_int_equal(hn_file_write(file, TEXT, strlen(TEXT), &err), HN_OK);
    assert_int_equal(hn_recipe_read(&recipe, file, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "r.yaml:2:7: the base model is neither at"));
    char model[160];
    snprintf(model, sizeof model, "%s/models", path);
    assert_int_equal(hn_dir_make(model, &err), HN_OK);
    snprintf(model, sizeof model, "%s/models/b.gguf", path);
    assert_int_equal(hn_file_write(model, "x", 1, &err), HN_OK);
    assert_int_equal(hn_recipe_read(&recipe, file, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "r.yaml:3:15: 'train': "));
    assert_int_equal(hn_recipe_read(&recipe, path, &err), HN_BAD_INPUT);
    assert_int_equal(hn_path_remove(path, &err), HN_OK);
    assert_int_equal(hn_recipe_read(&recipe, file, &err), HN_IO);
}

static void test_out_of_memory(void **state) {
    (void)state;
    hn_status status = HN_NO_MEMORY;
    for (int allowed = 0; status == HN_NO_MEMORY && allowed < 100; allowed++) {
        hn_recipe recipe = {0};
        hn_mem_fail_after(allowed);
        status = parse(&recipe, HEAD DATA "rkd: {train: [a, b]}\ndpo: {train: c}\n"
                                          "artefacts: [{name: x, type: f16}]\n");
        hn_mem_fail_after(-1);
        hn_recipe_done(&recipe);
    }
    assert_int_equal(status, HN_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),      cmocka_unit_test(test_kd),
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_everything),
        cmocka_unit_test(test_bad),           cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_missing_files), cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
