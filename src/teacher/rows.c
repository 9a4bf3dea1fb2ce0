#include "teacher/rows.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "teacher/prompts.h"
#include "teacher/request.h"

#include <stdlib.h>
#include <string.h>

typedef struct writer {
    const hn_rows_options *options;
    hn_out out;
    hn_rows_result result;
} writer;

/* `row` is taken; NULL is no memory. */
static hn_status write_row(writer *w, json_t *row, hn_error *err) {
    enum { DIGITS = 6 }; /* of a share */
    char *line = row ? json_dumps(row, JSON_REAL_PRECISION(DIGITS)) : NULL;
    json_decref(row);
    if (!line)
        return hn_fail_no_memory(err, 1);
    hn_out_printf(&w->out, "%s\n", line);
    free(line); /* jansson's own memory */
    w->result.n_rows++;
    return HN_OK;
}

/* The assistant's turn as data/messages.c writes it; thought "" = none. */
static json_t *said(const char *thought, const char *response) {
    if (!*thought)
        return json_string(response);
    hn_buf text = {0};
    hn_buf_printf(&text, "<think>\n%s\n</think>\n\n%s", thought, response);
    json_t *value = text.failed ? NULL : json_string(hn_buf_text(&text));
    hn_buf_done(&text);
    return value;
}

static double share_of(const hn_distil_candidates *c, size_t i) {
    size_t same = 0;
    for (size_t k = 0; k < c->n; k++)
        same += c->items[k].group == c->items[i].group;
    return (double)same / (double)c->n;
}

static json_t *answer_row(const hn_distil_candidates *c, size_t i, bool with_thought) {
    const hn_distil_candidate *a = &c->items[i];
    json_t *row;
    if (json_is_array(c->prompt)) {
        json_t *messages = hn_prompt_messages(c->prompt, NULL);
        json_t *turn = json_pack("{s:s, s:o}", "role", "assistant", "content",
                                 said(with_thought ? a->thought : "", a->response));
        if (!messages || json_array_append_new(messages, turn)) {
            json_decref(messages);
            return NULL;
        }
        row = json_pack("{s:o}", "messages", messages);
    } else if (with_thought) {
        row = json_pack("{s:O, s:s, s:s}", "instruction", c->prompt, "thought", a->thought,
                        "response", a->response);
    } else {
        row = json_pack("{s:O, s:s}", "instruction", c->prompt, "response", a->response);
    }
    if (row && c->n > 1)
        json_object_set_new(row, "share", json_real(share_of(c, i)));
    return row;
}

static bool is_kept(const hn_distil_candidates *c, size_t i, hn_rows_keep keep) {
    const hn_distil_candidate *a = &c->items[i];
    switch (keep) {
    case HN_KEEP_BEST:
        return i == c->best;
    case HN_KEEP_MAJORITY:
        return a->group == c->items[c->vote.winner].group;
    case HN_KEEP_ALL:
        break;
    }
    return true;
}

static hn_status write_answers(writer *w, const hn_distil_candidates *c, hn_error *err) {
    bool with_thought = w->options->kind == HN_ROWS_RKD;
    for (size_t i = 0; i < c->n; i++) {
        if (!is_kept(c, i, w->options->keep))
            continue;
        if (with_thought && !*c->items[i].thought)
            w->result.n_thoughtless++;
        else
            HN_TRY(write_row(w, answer_row(c, i, with_thought), err));
    }
    return HN_OK;
}

static hn_status write_pair(writer *w, const hn_distil_candidates *c,
                            const hn_distil_candidate *best, const char *thought,
                            const char *rejected, hn_error *err) {
    bool thoughts = w->options->thoughts;
    return write_row(w,
                     json_pack("{s:O, s:o, s:o}", "prompt", c->prompt, "chosen",
                               said(thoughts ? best->thought : "", best->response), "rejected",
                               said(thoughts ? thought : "", rejected)),
                     err);
}

/* The best answer against each that is ranked below it, or that the vote has against it; and what
 * was rewritten, if it says what the best one does, against the rewrite, which keeps its thought.
 */
static hn_status write_pairs(writer *w, const hn_distil_candidates *c, hn_error *err) {
    const hn_distil_candidate *best = &c->items[c->best];
    for (size_t i = 0; i < c->n; i++) {
        const hn_distil_candidate *a = &c->items[i];
        bool worse = best->rank && a->rank ? a->rank > best->rank
                                           : a->group != best->group && c->vote.n_votes > 1;
        if (worse && !a->repeats)
            HN_TRY(write_pair(w, c, best, a->thought, a->response, err));
    }
    for (size_t i = 0; i < c->n_negatives; i++) {
        const char *of = json_string_value(json_object_get(c->negatives[i], "of"));
        const char *wrong = json_string_value(json_object_get(c->negatives[i], "response"));
        for (size_t k = 0; of && wrong && k < c->n; k++)
            if (strcmp(of, c->items[k].key) == 0 && c->items[k].group == best->group)
                HN_TRY(write_pair(w, c, &c->items[k], c->items[k].thought, wrong, err));
    }
    return HN_OK;
}

static hn_status write_critique(writer *w, const hn_distil_candidates *c, hn_error *err) {
    static const char ASKED[] = "\n\nWhat is right and what is wrong with these answers, and which "
                                "is the best?";
    const char *critique = json_string_value(json_object_get(c->critique, "critique"));
    hn_buf instruction = {0}, response = {0};
    int number = 0;
    if (!critique || !*critique || !c->items[c->best].rank)
        return HN_OK;
    for (size_t i = 0; i <= c->best; i++)
        number += !c->items[i].repeats;
    char *text = hn_question_candidates_text(c);
    hn_buf_printf(&instruction, "%s%s", text ? text : "", ASKED);
    hn_buf_printf(&response, "%s\n\nThe best is answer %d.", critique, number);
    bool ok = text && !instruction.failed && !response.failed;
    hn_status status =
        write_row(w,
                  ok ? json_pack("{s:s, s:s}", "instruction", hn_buf_text(&instruction), "response",
                                 hn_buf_text(&response))
                     : NULL,
                  err);
    hn_free(text);
    hn_buf_done(&instruction);
    hn_buf_done(&response);
    return status;
}

static hn_status write_all(writer *w, const hn_distil_candidate_list *list, hn_error *err) {
    for (size_t i = 0; i < list->n; i++) {
        const hn_distil_candidates *c = &list->items[i];
        if ((double)c->vote.n_votes < w->options->min_share * (double)c->n) {
            w->result.n_disagree++;
            continue;
        }
        switch (w->options->kind) {
        case HN_ROWS_SFT:
        case HN_ROWS_RKD:
            HN_TRY(write_answers(w, c, err));
            break;
        case HN_ROWS_PAIRS:
            HN_TRY(write_pairs(w, c, err));
            break;
        case HN_ROWS_CRITIQUES:
            HN_TRY(write_critique(w, c, err));
            break;
        }
    }
    return HN_OK;
}

static hn_status none(const writer *w, hn_error *err) {
    static const char NO_PAIRS[] = "pairs need ranked answers (--critique), a vote that isn't "
                                   "unanimous (--samples), or wrong rewrites (--hard-negatives)";
    static const char *const WANTED[] = {
        [HN_ROWS_SFT] = "there is no answer",
        [HN_ROWS_RKD] = "no answer has a thought",
        [HN_ROWS_PAIRS] = NO_PAIRS,
        [HN_ROWS_CRITIQUES] = "critiques come from --critique",
    };
    return hn_fail(err, HN_BAD_INPUT, "no rows of %zu prompts%s: %s", w->result.n_prompts,
                   w->result.n_disagree ? ", some left out by --min-share" : "",
                   WANTED[w->options->kind]);
}

hn_status hn_rows_write(const json_t *rows, const hn_rows_options *options, const char *path,
                        hn_rows_result *result, hn_error *err) {
    writer w = {.options = options};
    hn_distil_candidate_list list;
    HN_TRY(hn_distil_candidate_list_build(&list, rows, options->number, err));
    hn_status status;
    HN_GO(hn_out_open(&w.out, path, err));
    w.result.n_prompts = list.n;
    status = write_all(&w, &list, err);
    if (status == HN_OK && !w.result.n_rows)
        status = none(&w, err);
    if (status == HN_OK)
        status = hn_out_commit(&w.out, err);
    else
        hn_out_abort(&w.out);
    if (status == HN_OK)
        *result = w.result;
done:
    hn_distil_candidate_list_done(&list);
    return status;
}
