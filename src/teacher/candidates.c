#include "teacher/candidates.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static const char *text_of(const json_t *row, const char *key) {
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static json_int_t line_of(const json_t *row) {
    return json_integer_value(json_object_get(row, "line"));
}

/* Rows by prompt: an object {text of the prompt: [rows]}. */
static hn_status group_rows(const json_t *rows, json_t *groups, hn_error *err) {
    const char *key;
    json_t *row;
    json_object_foreach ((json_t *)rows, key, row) {
        char *name = json_dumps(json_object_get(row, "prompt"),
                                JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        json_t *group = name ? json_object_get(groups, name) : NULL;
        bool ok = name != NULL;
        if (ok && !group)
            ok = json_object_set_new(groups, name, group = json_array()) == 0;
        ok = ok && json_array_append(group, row) == 0;
        free(name); /* jansson's own memory */
        if (!ok)
            return hn_fail_no_memory(err, 1);
    }
    return HN_OK;
}

static void set_ranks(hn_distil_candidates *c) {
    const json_t *ranking = json_object_get(c->critique, "ranking");
    size_t place;
    const json_t *key;
    json_array_foreach (ranking, place, key)
        for (size_t i = 0; i < c->n; i++)
            if (json_is_string(key) && strcmp(json_string_value(key), c->items[i].key) == 0)
                c->items[i].rank = (int)place + 1;
    c->best = c->vote.winner;
    for (size_t i = 0; i < c->n; i++)
        if (c->items[i].rank &&
            (!c->items[c->best].rank || c->items[i].rank < c->items[c->best].rank))
            c->best = i;
}

static hn_status vote(hn_distil_candidates *c, bool number, hn_error *err) {
    const char **answers = hn_calloc(c->n, sizeof *answers);
    size_t *group = hn_calloc(c->n, sizeof *group);
    hn_status status = answers && group ? HN_OK : hn_fail_no_memory(err, c->n * sizeof *group);
    for (size_t i = 0; status == HN_OK && i < c->n; i++)
        answers[i] = c->items[i].response;
    if (status == HN_OK)
        status = hn_vote_count(answers, c->n, number, group, &c->vote, err);
    for (size_t i = 0; status == HN_OK && i < c->n; i++) {
        c->items[i].group = group[i];
        for (size_t k = 0; k < i; k++)
            c->items[i].repeats |= strcmp(answers[k], answers[i]) == 0;
    }
    hn_free(answers);
    hn_free(group);
    return status;
}

static hn_status build_one(hn_distil_candidates *c, const json_t *group, bool number,
                           hn_error *err) {
    size_t n = json_array_size(group), i;
    const json_t *row;
    c->items = hn_calloc(n, sizeof *c->items);
    c->negatives = hn_calloc(n, sizeof *c->negatives);
    if (!c->items || !c->negatives)
        return hn_fail_no_memory(err, n * sizeof *c->items);
    json_array_foreach (group, i, row) {
        const char *kind = text_of(row, "kind");
        c->prompt = json_object_get(row, "prompt");
        if (strcmp(kind, "critique") == 0)
            c->critique = row;
        else if (strcmp(kind, "negative") == 0)
            c->negatives[c->n_negatives++] = row;
        else
            c->items[c->n++] = (hn_distil_candidate){.row = row,
                                                     .key = text_of(row, "key"),
                                                     .thought = text_of(row, "thought"),
                                                     .response = text_of(row, "response")};
    }
    if (!c->n)
        return HN_OK;
    HN_TRY(vote(c, number, err));
    set_ranks(c);
    return HN_OK;
}

/* By the prompts' file, whatever order the answers came in. */
static int compare(const void *a, const void *b) {
    const hn_distil_candidates *x = a, *y = b;
    json_int_t line_x = line_of(x->items[0].row), line_y = line_of(y->items[0].row);
    return line_x != line_y ? (line_x > line_y) - (line_x < line_y)
                            : (x->place > y->place) - (x->place < y->place);
}

typedef struct placed_row {
    json_t *row;
    json_int_t sample;
    size_t place; /* in the file */
} placed_row;

/* The samples of a prompt by their number: answers come in any order. */
static int compare_samples(const void *a, const void *b) {
    const placed_row *x = a, *y = b;
    return x->sample != y->sample ? (x->sample > y->sample) - (x->sample < y->sample)
                                  : (x->place > y->place) - (x->place < y->place);
}

static hn_status sort_group(json_t *group, hn_error *err) {
    size_t n = json_array_size(group);
    placed_row *rows = hn_calloc(n, sizeof *rows);
    if (!rows)
        return hn_fail_no_memory(err, n * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        json_t *row = json_incref(json_array_get(group, i));
        rows[i] = (placed_row){row, json_integer_value(json_object_get(row, "sample")), i};
    }
    qsort(rows, n, sizeof *rows, compare_samples);
    for (size_t i = 0; i < n; i++)
        json_array_set_new(group, i, rows[i].row);
    hn_free(rows);
    return HN_OK;
}

hn_status hn_distil_candidate_list_build(hn_distil_candidate_list *list, const json_t *rows,
                                         bool number, hn_error *err) {
    hn_distil_candidate_list built = {0};
    json_t *groups = json_object(), *group;
    const char *name;
    hn_status status;
    if (!groups)
        return hn_fail_no_memory(err, 1);
    HN_GO(group_rows(rows, groups, err));
    size_t n = json_object_size(groups);
    built.items = hn_calloc(n + 1, sizeof *built.items);
    if (!built.items) {
        status = hn_fail_no_memory(err, n * sizeof *built.items);
        goto done;
    }
    json_object_foreach (groups, name, group) {
        hn_distil_candidates *c = &built.items[built.n++];
        c->place = built.n;
        HN_GO(sort_group(group, err));
        HN_GO(build_one(c, group, number, err));
        if (!c->n) {
            hn_free(c->items);
            hn_free(c->negatives);
            *c = (hn_distil_candidates){0};
            built.n--;
        }
    }
    qsort(built.items, built.n, sizeof *built.items, compare);
done:
    json_decref(groups);
    if (status == HN_OK)
        *list = built;
    else
        hn_distil_candidate_list_done(&built);
    return status;
}

void hn_distil_candidate_list_done(hn_distil_candidate_list *list) {
    for (size_t i = 0; i < list->n; i++) {
        hn_free(list->items[i].items);
        hn_free(list->items[i].negatives);
    }
    hn_free(list->items);
    *list = (hn_distil_candidate_list){0};
}

size_t hn_distil_candidates_different(const hn_distil_candidates *candidates) {
    size_t n = 0;
    for (size_t i = 0; i < candidates->n; i++)
        n += !candidates->items[i].repeats;
    return n;
}
