/* The recipe's keys. Help, checks and defaults all come from here. */
#include "pipeline/recipe_table.h"

#include "release/numerics.h"

#define AT(member) offsetof(hn_recipe, member)

/* What every teaching stage has. `rate` and `n_epochs` are its defaults. */
/* clang-format off */
#define TRAINING_KEYS(stage, rate, n_epochs)                                                       \
    {#stage, "dropout", HN_FIELD_REAL, AT(stage.dropout), "0", false, 0, 0.95},                    \
    {#stage, "learning_rate", HN_FIELD_REAL, AT(stage.learning_rate), rate, false, 1e-9, 1},       \
    {#stage, "weight_decay", HN_FIELD_REAL, AT(stage.weight_decay), "0", false, 0, 1},             \
    {#stage, "epochs", HN_FIELD_REAL, AT(stage.epochs), n_epochs, false, 1e-3, 1e4},               \
    {#stage, "max_steps", HN_FIELD_INT, AT(stage.max_steps), "0", false, 0, 1e9},                  \
    {#stage, "batch", HN_FIELD_INT, AT(stage.batch), "16", false, 1, 65536},                       \
    {#stage, "max_length", HN_FIELD_INT, AT(stage.max_length), "1024", false, 8, 1 << 20},         \
    {#stage, "lora_plus_ratio", HN_FIELD_REAL, AT(stage.lora_plus_ratio), "1", false, 1e-3, 1e6},  \
    {#stage, "neftune_alpha", HN_FIELD_REAL, AT(stage.neftune_alpha), "0", false, 0, 1e6},         \
    {#stage, "optimizer", HN_FIELD_CHOICE, AT(stage.optimiser), "adamw",                           \
     .choices = "adamw|adamw8bit|lion"},                                                           \
    {#stage, "schedule", HN_FIELD_CHOICE, AT(stage.schedule), "cosine",                            \
     .choices = "linear|cosine|constant"},                                                         \
    {#stage, "warmup_ratio", HN_FIELD_REAL, AT(stage.warmup_ratio), "0.05", false, 0, 1},          \
    {#stage, "warmup_steps", HN_FIELD_INT, AT(stage.warmup_steps), "0", false, 0, 1e9},            \
    {#stage, "max_grad_norm", HN_FIELD_REAL, AT(stage.max_grad_norm), "1", false, 1e-6, 1e6},      \
    {#stage, "numerics", HN_FIELD_CHOICE, AT(stage.numerics), "f32",                               \
     .choices = HN_TRAIN_NUMERICS_CHOICES},                                                        \
    {#stage, "eval_every", HN_FIELD_INT, AT(stage.eval_every), "0", false, 0, 1e9},                \
    {#stage, "save_every", HN_FIELD_INT, AT(stage.save_every), "50", false, 0, 1e9},               \
    {#stage, "best_metric", HN_FIELD_TEXT, AT(stage.best_metric), "loss"},                         \
    {#stage, "general", HN_FIELD_FILE, AT(stage.general)},                                         \
    {#stage, "golden_rows", HN_FIELD_INT, AT(stage.golden_rows), "100", false, 0, 1e7},            \
    {#stage, "early_stop", HN_FIELD_INT, AT(stage.early_stop), "0", false, 0, 1e6},                \
    {#stage, "seed", HN_FIELD_INT, AT(stage.seed), "1", false, 0, 9e15}

/* What the stages have that learn from what was said, their rows apart: whose turns are learned, and
 * what is mixed in. */
#define SAID_KEYS(stage)                                                                           \
    {#stage, "supervise", HN_FIELD_CHOICE, AT(stage.supervise), "completion",                      \
     .choices = "completion|assistant|all"},                                                       \
    {#stage, "replay", HN_FIELD_FILE, AT(stage.replay)},                                           \
    {#stage, "replay_share", HN_FIELD_REAL, AT(stage.replay_share), "0.05", false, 1e-4, 0.9}
/* clang-format on */

const hn_field HN_RECIPE_FIELDS[] = {
    {"", "name", HN_FIELD_NAME, AT(name), NULL, true},
    {"", "version", HN_FIELD_NAME, AT(version), "0.1.0"},
    {"", "base", HN_FIELD_BASE, AT(base), NULL, true},

    {"data", "train", HN_FIELD_FILES, AT(data.train)}, /* needed, like those of rkd and dpo, unless
                                                         generate makes rows */
    {"data", "golden", HN_FIELD_FILE, AT(data.golden), NULL, true},
    {"data", "system", HN_FIELD_TEXT, AT(data.system)},
    {"data", "eval_share", HN_FIELD_REAL, AT(data.eval_share), "0.05", false, 0, 0.5},
    {"data", "near_copy", HN_FIELD_REAL, AT(data.near_copy), "0.9", false, 0, 1},
    {"data", "skip_bad", HN_FIELD_BOOL, AT(data.skip_bad), "false"},
    {"data", "seed", HN_FIELD_INT, AT(data.seed), "1", false, 0, 9e15},

    {"generate", "prompts", HN_FIELD_FILE, AT(generate.prompts), NULL, true},
    {"generate", "teacher", HN_FIELD_BASE, AT(generate.teacher)},
    {"generate", "endpoint", HN_FIELD_TEXT, AT(generate.endpoint)},
    {"generate", "model", HN_FIELD_TEXT, AT(generate.model)},
    {"generate", "key_env", HN_FIELD_TEXT, AT(generate.key_env)},
    {"generate", "for_sft", HN_FIELD_BOOL, AT(generate.into[HN_TEACH_SFT]), "false"},
    {"generate", "for_rkd", HN_FIELD_BOOL, AT(generate.into[HN_TEACH_RKD]), "false"},
    {"generate", "for_dpo", HN_FIELD_BOOL, AT(generate.into[HN_TEACH_DPO]), "false"},
    {"generate", "system", HN_FIELD_TEXT, AT(generate.system)},
    {"generate", "plain", HN_FIELD_BOOL, AT(generate.plain), "false"},
    {"generate", "samples", HN_FIELD_INT, AT(generate.samples), "1", false, 1, 1000},
    {"generate", "temperature", HN_FIELD_REAL, AT(generate.temperature), "0.7", false, 0, 10},
    {"generate", "top_p", HN_FIELD_REAL, AT(generate.top_p), "1", false, 1e-3, 1},
    {"generate", "seed", HN_FIELD_INT, AT(generate.seed), "0", false, 0, 9e15},
    {"generate", "max_tokens", HN_FIELD_INT, AT(generate.max_tokens), "0", false, 0, 1e6},
    {"generate", "max_field_tokens", HN_FIELD_INT, AT(generate.max_field_tokens), "150", false, 1,
     1e6},
    {"generate", "critique", HN_FIELD_BOOL, AT(generate.critique), "false"},
    {"generate", "hard_negatives", HN_FIELD_BOOL, AT(generate.hard_negatives), "false"},
    {"generate", "keep", HN_FIELD_CHOICE, AT(generate.keep), "best",
     .choices = "best|majority|all"},
    {"generate", "vote", HN_FIELD_CHOICE, AT(generate.vote), "text", .choices = "text|number"},
    {"generate", "min_share", HN_FIELD_REAL, AT(generate.min_share), "0", false, 0, 1},
    {"generate", "parallel", HN_FIELD_INT, AT(generate.parallel), "0", false, 0, 256},
    {"generate", "timeout", HN_FIELD_INT, AT(generate.timeout), "120", false, 1, 86400},
    {"generate", "retries", HN_FIELD_INT, AT(generate.retries), "5", false, 0, 100},
    {"generate", "max_total_tokens", HN_FIELD_INT, AT(generate.max_total_tokens), "0", false, 0,
     9e15},
    {"generate", "max_cost", HN_FIELD_REAL, AT(generate.max_cost), "0", false, 0, 1e12},
    {"generate", "price_in", HN_FIELD_REAL, AT(generate.price_in), "0", false, 0, 1e9},
    {"generate", "price_out", HN_FIELD_REAL, AT(generate.price_out), "0", false, 0, 1e9},
    {"generate", "allow_partial", HN_FIELD_BOOL, AT(generate.allow_partial), "false"},

    {"sft", "rank", HN_FIELD_INT, AT(sft.rank), "16", false, 1, 1024},
    {"sft", "alpha", HN_FIELD_REAL, AT(sft.alpha), "32", false, 1e-6, 1e6},
    {"sft", "rslora", HN_FIELD_BOOL, AT(sft.rslora), "false"},
    {"sft", "dora", HN_FIELD_BOOL, AT(sft.dora), "false"},
    {"sft", "modules", HN_FIELD_TEXT, AT(sft.modules), "all"},
    {"sft", "layers", HN_FIELD_TEXT, AT(sft.layers)},
    {"sft", "rank_pattern", HN_FIELD_TEXT, AT(sft.rank_pattern)},
    {"sft", "alpha_pattern", HN_FIELD_TEXT, AT(sft.alpha_pattern)},
    SAID_KEYS(sft),
    TRAINING_KEYS(sft, "2e-4", "1"),

    {"kd", "teacher", HN_FIELD_BASE, AT(distill.teacher)}, /* one of the two is needed */
    {"kd", "teacher_logits", HN_FIELD_FILE, AT(distill.teacher_logits)},
    {"kd", "teacher_numerics", HN_FIELD_CHOICE, AT(distill.teacher_numerics), "int8",
     .choices = "f32|int8"},
    {"kd", "train", HN_FIELD_FILES, AT(kd.train)},
    {"kd", "supervise", HN_FIELD_CHOICE, AT(kd.supervise), "completion",
     .choices = "completion|assistant|all"},
    {"kd", "alpha", HN_FIELD_REAL, AT(distill.alpha), "0.5", false, 0, 1},
    {"kd", "temperature", HN_FIELD_REAL, AT(distill.temperature), "2", false, 0.01, 100},
    {"kd", "beta", HN_FIELD_REAL, AT(distill.beta), "0", false, 0, 1},
    {"kd", "on_policy", HN_FIELD_REAL, AT(distill.on_policy), "0", false, 0, 1},
    {"kd", "on_policy_loss", HN_FIELD_CHOICE, AT(distill.on_policy_loss), "gkd",
     .choices = "gkd|minillm"},
    {"kd", "gamma", HN_FIELD_REAL, AT(distill.gamma), "1", false, 0, 1},
    {"kd", "single_step", HN_FIELD_REAL, AT(distill.single_step), "1", false, 0, 1e6},
    {"kd", "sample_temperature", HN_FIELD_REAL, AT(distill.sample_temperature), "0.9", false, 0.01,
     10},
    {"kd", "sample_tokens", HN_FIELD_INT, AT(distill.sample_tokens), "128", false, 1, 65536},
    {"kd", "hidden", HN_FIELD_REAL, AT(distill.hidden), "0", false, 0, 1e6},
    {"kd", "hidden_layers", HN_FIELD_TEXT, AT(distill.hidden_layers)},
    TRAINING_KEYS(kd, "2e-4", "1"),

    {"rkd", "train", HN_FIELD_FILES, AT(rkd.train)},
    SAID_KEYS(rkd),
    TRAINING_KEYS(rkd, "2e-4", "1"),

    {"dpo", "train", HN_FIELD_FILES, AT(dpo.train)},
    {"dpo", "loss", HN_FIELD_CHOICE, AT(preference.loss), "sigmoid",
     .choices = "sigmoid|robust|ipo"},
    {"dpo", "beta", HN_FIELD_REAL, AT(preference.beta), "0.1", false, 1e-6, 1e3},
    {"dpo", "label_smoothing", HN_FIELD_REAL, AT(preference.label_smoothing), "0", false, 0, 0.5},
    {"dpo", "reference", HN_FIELD_CHOICE, AT(preference.reference), "start",
     .choices = "start|base"},
    TRAINING_KEYS(dpo, "5e-6", "1"),

    {"eval", "max_tokens", HN_FIELD_INT, AT(eval.max_tokens), "64", false, 1, 65536},
    {"eval", "prompt_only", HN_FIELD_TEXT, AT(eval.prompt_only)},
    {"eval", "kl_chunks", HN_FIELD_INT, AT(eval.kl_chunks), "8", false, 0, 1e6},
    {"eval", "kl_text", HN_FIELD_FILE, AT(eval.kl_text)},
    {"eval", "abstain_below", HN_FIELD_REAL, AT(eval.abstain_below), NULL, false, 0, 1},
    {"eval", "abstain_as", HN_FIELD_TEXT, AT(eval.abstain_as)},
    {"eval", "grammar", HN_FIELD_FILE, AT(eval.grammar)},
    {"eval", "json_schema", HN_FIELD_FILE, AT(eval.json_schema)},
    {"eval", "bench", HN_FIELD_BOOL, AT(eval.bench), "true"},

    {"gate", "max_quality_drop", HN_FIELD_REAL, AT(gate.max_quality_drop), "0.02", false, 0, 1},
    {"gate", "max_stage_drop", HN_FIELD_REAL, AT(gate.max_stage_drop), "0.02", false, 0, 1},
    {"gate", "max_slice_drop", HN_FIELD_REAL, AT(gate.max_slice_drop), "0.05", false, 0, 1},
    {"gate", "min_quality", HN_FIELD_REAL, AT(gate.min_quality), "0", false, 0, 1},
    {"gate", "max_p95_ms", HN_FIELD_REAL, AT(gate.max_p95_ms), "0", false, 0, 1e9},
    {"gate", "latency", HN_FIELD_CHOICE, AT(gate.latency), "response",
     .choices = "response|first_token"},

    {"bundle", "artefact", HN_FIELD_NAME, AT(bundle.artefact)},
    {"bundle", "min_runtime_version", HN_FIELD_NAME, AT(bundle.min_runtime_version), "0.1.0"},
};
const size_t HN_RECIPE_N_FIELDS = sizeof HN_RECIPE_FIELDS / sizeof *HN_RECIPE_FIELDS;
_Static_assert(sizeof HN_RECIPE_FIELDS / sizeof *HN_RECIPE_FIELDS <= HN_RECIPE_MAX_FIELDS,
               "raise HN_RECIPE_MAX_FIELDS");

#undef AT
#define AT(member) offsetof(hn_recipe_artefact, member)

const hn_field HN_ARTEFACT_FIELDS[] = {
    {"artefacts", "name", HN_FIELD_NAME, AT(name), NULL, true},
    {"artefacts", "kind", HN_FIELD_CHOICE, AT(kind), "merged",
     .choices = "adapter|merged|huggingface"},
    {"artefacts", "type", HN_FIELD_NAME, AT(type)},
    {"artefacts", "calibration", HN_FIELD_TEXT, AT(calibration)},
    {"artefacts", "allow_lost_adapter", HN_FIELD_BOOL, AT(allow_lost_adapter), "false"},
};
const size_t HN_ARTEFACT_N_FIELDS = sizeof HN_ARTEFACT_FIELDS / sizeof *HN_ARTEFACT_FIELDS;
