/* Some steps of training as `hone sft` and `hone dpo` make them, over a file's rows or over random
 * documents, with what saves work left out by an option.
 *
 *     bench-train MODEL OUT [options]      usage() lists them
 *
 * OUT/metrics.jsonl has a line a step; the last line of standard output says the memory as JSON. */
#include "products.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "eval/limits.h"
#include "train/train.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct settings {
    const char *rows, *system;
    int length; /* of random documents, the last quarter of which is learned */
    bool dpo, pad, watch;
    hn_supervise supervise;
    hn_model_options model;
    hn_train_options train;
} settings;

static void check(hn_status status, const hn_error *err) {
    if (status == HN_OK)
        return;
    fprintf(stderr, "bench-train: %s\n", err->message);
    exit(1);
}

static void *need(void *memory) {
    if (memory)
        return memory;
    fprintf(stderr, "bench-train: out of memory\n");
    exit(1);
}

static void usage(void) {
    fputs("usage: bench-train MODEL OUT [options]\n"
          "  -d FILE   rows; otherwise random documents\n"
          "  -l N      length of these (256); a quarter is learned\n"
          "  -s TEXT   system text of the rows that have none\n"
          "  -P        the rows are preferences: DPO\n"
          "  -b N      rows a step (4)\n"
          "  -n N      steps (3)\n"
          "  -t N      threads; 0 = all\n"
          "  -m N      MiB kept for the backward pass; 0 = as hone sft\n"
          "  -i        forward pass in int8\n"
          "  -w        says what the f32 products reach, from the second step on, and the most\n"
          "what saves work, left out:\n"
          "  -p        rows padded to the longest of their step\n"
          "  -c        common beginnings computed with each row\n"
          "  -a        every token is learned\n"
          "  -f        all weights are trained, not an adapter\n",
          stderr);
    exit(2);
}

static int number(const char *text) {
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 0 || value > 1 << 20)
        usage();
    return (int)value;
}

static settings parse(int argc, char **argv) {
    settings s = {.length = 256, .train = hn_train_options_default()};
    s.train.batch_rows = 4;
    s.train.max_steps = 3;
    s.train.shuffle = false;
    s.train.resume = false;
    s.model.numerics = HN_NUMERICS_F32;
    for (int option; (option = getopt(argc, argv, "d:l:s:Pb:n:t:m:iwpcaf")) != -1;)
        switch (option) {
        case 'd':
            s.rows = optarg;
            break;
        case 'l':
            s.length = number(optarg);
            break;
        case 's':
            s.system = optarg;
            break;
        case 'P':
            s.dpo = true;
            break;
        case 'b':
            s.train.batch_rows = number(optarg);
            break;
        case 'n':
            s.train.max_steps = number(optarg);
            break;
        case 't':
            s.model.n_threads = number(optarg);
            break;
        case 'm':
            s.train.budget_bytes = (size_t)number(optarg) << 20;
            break;
        case 'i':
            s.model.numerics = HN_NUMERICS_INT8;
            break;
        case 'w':
            s.watch = true;
            break;
        case 'p':
            s.pad = true;
            break;
        case 'c':
            s.train.plain_batches = true;
            break;
        case 'a':
            s.supervise = HN_SUPERVISE_ALL;
            break;
        case 'f':
            s.train.full = true;
            break;
        default:
            usage();
        }
    if (argc - optind != 2 || s.train.batch_rows < 1 || s.train.max_steps < 1 || s.length < 8 ||
        (s.dpo && !s.rows))
        usage();
    s.train.out_dir = argv[optind + 1];
    return s;
}

static void make_document(hn_document *d, int32_t n, uint64_t line) {
    *d = (hn_document){.n = n, .line = line};
    d->ids = need(hn_malloc(2 * (size_t)n * sizeof *d->ids));
    d->labels = d->ids + n;
}

/* As a row of so many tokens whose completion is its last quarter. */
static void random_documents(const settings *s, hn_documents *docs, int32_t n_vocab) {
    hn_rng rng = hn_rng_new(1, 1);
    size_t n = (size_t)s->train.batch_rows * (size_t)s->train.max_steps;
    *docs = (hn_documents){.items = need(hn_calloc(n, sizeof *docs->items)), .n = n};
    for (size_t i = 0; i < n; i++) {
        hn_document *d = &docs->items[i];
        make_document(d, s->length, i + 1);
        for (int p = 0; p < s->length; p++)
            d->ids[p] = (int32_t)hn_rng_below(&rng, (uint64_t)n_vocab);
        d->n_supervised = s->supervise == HN_SUPERVISE_ALL ? s->length - 1 : s->length / 4;
        for (int p = 0; p < s->length; p++)
            d->labels[p] =
                p + 1 < s->length && p + 1 >= s->length - d->n_supervised ? d->ids[p + 1] : -1;
        docs->n_supervised += (uint64_t)d->n_supervised;
        docs->n_tokens += (uint64_t)d->n;
    }
}

/* Tokens in front that nothing is learned from, as many as the longest row of a step has more.
 * They differ from row to row, or they would be computed once. */
static void pad(const settings *s, hn_documents *docs) {
    size_t batch = (size_t)s->train.batch_rows;
    for (size_t first = 0; first < docs->n; first += batch) {
        size_t end = first + batch < docs->n ? first + batch : docs->n;
        int32_t longest = 0;
        for (size_t i = first; i < end; i++)
            longest = docs->items[i].n > longest ? docs->items[i].n : longest;
        for (size_t i = first; i < end; i++) {
            hn_document old = docs->items[i], *d = &docs->items[i];
            int32_t more = longest - old.n;
            make_document(d, longest, old.line);
            d->n_supervised = old.n_supervised;
            for (int32_t p = 0; p < more; p++) {
                d->ids[p] = (int32_t)(i - first);
                d->labels[p] = -1;
            }
            memcpy(d->ids + more, old.ids, (size_t)old.n * sizeof *d->ids);
            memcpy(d->labels + more, old.labels, (size_t)old.n * sizeof *d->labels);
            hn_free(old.ids);
        }
    }
}

/* When the reference was begun, and when the first step was reported. */
typedef struct step_clock {
    double began, first_step;
} step_clock;

static void clock_note(void *context, const char *text) {
    step_clock *c = context;
    if (strstr(text, "reference"))
        c->began = hn_clock_seconds();
}

/* The first step, in which memory is had, doesn't count among the products. */
static void clock_update(void *context, const char *label, uint64_t done, uint64_t total,
                         const char *unit, const char *detail) {
    step_clock *c = context;
    (void)label, (void)done, (void)total, (void)unit, (void)detail;
    if (c->first_step != 0)
        return;
    c->first_step = hn_clock_seconds();
    products_reset();
}

/* Both return the seconds of the whole run, without reading the rows. */
static double run_sft(const settings *s, hn_model *model, step_clock *clock) {
    hn_documents docs;
    hn_records records;
    hn_train_result result;
    hn_error err;
    if (s->rows) {
        check(hn_records_read(&records, s->rows, false, NULL, &err), &err);
        check(hn_documents_build(&docs, &records, &model->ckpt, s->system, s->supervise,
                                 s->train.max_length, &err),
              &err);
        hn_records_done(&records);
    } else {
        random_documents(s, &docs, model->arch.n_vocab);
    }
    if (s->pad)
        pad(s, &docs);
    double began = hn_clock_seconds();
    hn_progress progress = {.context = clock, .update = clock_update};
    check(hn_train_sft(model, &docs, NULL, &s->train, &progress, &result, &err), &err);
    double seconds = hn_clock_seconds() - began;
    hn_documents_done(&docs);
    return seconds;
}

static double run_dpo(const settings *s, hn_model *model, step_clock *clock) {
    hn_pairs pairs;
    hn_records records;
    hn_train_result result;
    hn_error err;
    hn_dpo_options options = {.loss = {.beta = 0.1f}, .base_is_reference = true};
    check(hn_records_read(&records, s->rows, false, NULL, &err), &err);
    check(hn_pairs_build(&pairs, &records, &model->ckpt, s->system, s->train.max_length, &err),
          &err);
    hn_records_done(&records);
    double began = hn_clock_seconds();
    hn_progress progress = {.context = clock, .update = clock_update, .note = clock_note};
    check(hn_train_dpo(model, &pairs, NULL, &options, &s->train, &progress, &result, &err), &err);
    double seconds = hn_clock_seconds() - began;
    hn_pairs_done(&pairs);
    return seconds;
}

/* Multiply-adds a second of all threads in registers: a neighbour can spoil a single look. */
static double most_mac(hn_model *model, double before) {
    hn_limits limits = {.compute = model->compute};
    const double now = hn_limits_mac(&limits, HN_NUMERICS_F32);
    return now > before ? now : before;
}

static double share(double multiply_adds, double seconds, double most) {
    return seconds > 0 ? multiply_adds / seconds / most : 0;
}

/* A line before the one that says the memory. `most`: multiply-adds a second of all threads;
 * `wall`: seconds that the steps took. */
static void print_products(hn_model *model, double most, double wall) {
    const double thousand_million = 1e9;
    const int threads = hn_pool_threads(hn_compute_pool(model->compute));
    const products p = products_sum();
    const double seconds = p.seconds + p.other_seconds, each = most / threads;
    printf("{\"most_gmac_s\": %.1f, \"weights_gmac\": %.1f, \"weights_share\": %.4f, "
           "\"unpacking_s\": %.3f, \"all_gmac\": %.1f, \"all_share\": %.4f, "
           "\"products_s\": %.3f, \"threads_s\": %.3f}\n",
           most / thousand_million, p.multiply_adds / thousand_million,
           share(p.multiply_adds, p.seconds, each), p.unpacking,
           (p.multiply_adds + p.other_multiply_adds) / thousand_million,
           share(p.multiply_adds + p.other_multiply_adds, seconds, each), seconds, wall * threads);
}

int main(int argc, char **argv) {
    settings s = parse(argc, argv);
    hn_error err;
    hn_model *model;
    check(hn_model_open(&model, argv[optind], &s.model, &err), &err);
    const double most = s.watch ? most_mac(model, 0) : 0;
    if (s.watch)
        products_watch(model->compute);
    step_clock clock = {0};
    double seconds = s.dpo ? run_dpo(&s, model, &clock) : run_sft(&s, model, &clock);
    double steps = hn_clock_seconds() - clock.first_step;
    if (s.watch)
        print_products(model, most_mac(model, most), steps);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"seconds\": %.3f, \"until_step_s\": %.3f, \"peak_mb\": %.1f, \"isa\": \"%s\"}\n",
           seconds, s.dpo ? clock.first_step - clock.began : 0,
           (double)usage.ru_maxrss * 1024 / 1e6, hn_isa_name(hn_compute_isa(model->compute)));
    hn_model_free(model);
    return 0;
}
