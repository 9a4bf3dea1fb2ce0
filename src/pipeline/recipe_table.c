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

    {"data", "train", HN_FIELD_FILES, AT(data.train), NULL, true},
    {"data", "golden", HN_FIELD_FILE, AT(data.golden), NULL, true},
    {"data", "system", HN_FIELD_TEXT, AT(data.system)},
    {"data", "eval_share", HN_FIELD_REAL, AT(data.eval_share), "0.05", false, 0, 0.5},
    {"data", "near_copy", HN_FIELD_REAL, AT(data.near_copy), "0.9", false, 0, 1},
    {"data", "skip_bad", HN_FIELD_BOOL, AT(data.skip_bad), "false"},
    {"data", "seed", HN_FIELD_INT, AT(data.seed), "1", false, 0, 9e15},

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

    {"rkd", "train", HN_FIELD_FILES, AT(rkd.train), NULL, true},
    SAID_KEYS(rkd),
    TRAINING_KEYS(rkd, "2e-4", "1"),

    {"dpo", "train", HN_FIELD_FILES, AT(dpo.train), NULL, true},
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
