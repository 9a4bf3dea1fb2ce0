/* What a training run does when nobody says, and what it can't do. */
#include "base/mem.h"
#include "train/loop.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

hn_train_options hn_train_options_default(void) {
    return (hn_train_options){.r = 16,
                              .alpha = 32,
                              .module_mask = (1u << HN_MODULE_COUNT) - 1,
                              .lora_plus_ratio = 1,
                              .learning_rate = 2e-4f,
                              .beta1 = 0.9f,
                              .adam_eps = 1e-8f,
                              .max_grad_norm = 1.0f,
                              .schedule = HN_SCHEDULE_LINEAR,
                              .epochs = 1,
                              .batch_rows = 8,
                              .max_length = 1024,
                              .seed = 42,
                              .resume = true,
                              .shuffle = true};
}

hn_status hn_train_options_check(const hn_train_options *o, hn_error *err) {
    if (!o->out_dir || !*o->out_dir)
        return hn_fail(err, HN_USAGE, "no output folder given");
    if (o->batch_rows < 1)
        return hn_fail(err, HN_USAGE, "batch of %d rows: at least 1 is needed", o->batch_rows);
    if (!(o->learning_rate >= 0 && isfinite(o->learning_rate)))
        return hn_fail(err, HN_USAGE, "learning rate %g: a number from 0 up is needed",
                       (double)o->learning_rate);
    if (!(o->dropout >= 0 && o->dropout < 1))
        return hn_fail(err, HN_USAGE, "dropout %g: 0 to below 1 is possible", (double)o->dropout);
    if (o->full && (o->init_adapter || o->dropout > 0))
        return hn_fail(err, HN_USAGE, "%s is for adapters, and all weights are to be trained",
                       o->init_adapter ? "an adapter to start from" : "dropout");
    if (!(o->lora_plus_ratio > 0 && isfinite(o->lora_plus_ratio)))
        return hn_fail(err, HN_USAGE, "LoRA+ ratio %g: a number above 0 is needed",
                       (double)o->lora_plus_ratio);
    if (!(o->neftune_alpha >= 0 && isfinite(o->neftune_alpha)))
        return hn_fail(err, HN_USAGE, "NEFTune alpha %g: a number from 0 up is needed",
                       (double)o->neftune_alpha);
    if (o->replay && !(o->replay_share > 0 && o->replay_share < 1))
        return hn_fail(err, HN_USAGE, "replay share %g: more than 0 and less than 1 is possible",
                       (double)o->replay_share);
    if (o->max_steps <= 0 && !(o->epochs > 0 && o->epochs < 1e6f))
        return hn_fail(err, HN_USAGE, "%g epochs: more than 0 are needed", (double)o->epochs);
    return HN_OK;
}

hn_status hn_train_count_steps(const hn_train_options *o, size_t n_items, int *an_epoch, int *all,
                               hn_error *err) {
    const size_t batch = (size_t)o->batch_rows, epoch = (n_items + batch - 1) / batch;
    const double steps = o->max_steps > 0 ? o->max_steps : ceil((double)o->epochs * (double)epoch);
    if (!(steps <= INT_MAX))
        return hn_fail(err, HN_USAGE, "%g epochs of %zu steps: at most %d steps are possible",
                       (double)o->epochs, epoch, INT_MAX);
    *an_epoch = (int)epoch;
    *all = (int)steps;
    return HN_OK;
}

hn_status hn_layer_pairs_parse(const char *text, hn_layer_pair **pairs, int *n, hn_error *err) {
    const char *rest = text ? text : "";
    int count = 0;
    hn_layer_pair *out = hn_calloc(strlen(rest) / 2 + 1, sizeof *out);
    if (!out)
        return hn_fail_no_memory(err, strlen(rest));
    while (*rest) {
        char *colon, *end;
        long student = strtol(rest, &colon, 10);
        long teacher = *colon == ':' ? strtol(colon + 1, &end, 10) : 0;
        if (*colon != ':' || end == colon + 1 || (*end && *end != ',') || student < 1 ||
            teacher < 1 || student > HN_ARCH_MAX_LAYERS || teacher > HN_ARCH_MAX_LAYERS) {
            hn_free(out);
            return hn_fail(err, HN_USAGE,
                           "'%s' is no list of a student's layer and its teacher's, such as "
                           "2:4,6:12",
                           text);
        }
        out[count++] = (hn_layer_pair){(int)student, (int)teacher};
        rest = end + (*end == ',');
    }
    *pairs = out;
    *n = count;
    return HN_OK;
}
