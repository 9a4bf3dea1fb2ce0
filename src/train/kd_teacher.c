#include "train/kd_teacher.h"

#include "base/mem.h"
#include "train/net.h"

#include <string.h>

struct hn_kd_teacher {
    hn_model *model;
    hn_params params; /* none */
    hn_net *net;
    float *logits; /* grown to the largest tile */
    size_t logits_bytes;
};

static hn_status check_tokens(const hn_vocab *a, const hn_vocab *b, hn_error *err) {
    for (uint32_t i = 0; i < a->n_tokens && i < b->n_tokens; i++)
        if (a->tokens[i].size != b->tokens[i].size ||
            memcmp(a->tokens[i].data, b->tokens[i].data, a->tokens[i].size) != 0)
            return hn_fail(err, HN_BAD_INPUT,
                           "the teacher's vocabulary is another one: token %u is '%.*s', the "
                           "student's '%.*s'. Take a teacher of the student's own family, or let "
                           "it write rows for hone sft",
                           i, (int)b->tokens[i].size, b->tokens[i].data, (int)a->tokens[i].size,
                           a->tokens[i].data);
    return HN_OK;
}

hn_status hn_kd_teacher_check(const hn_model *student, const hn_model *teacher, hn_error *err) {
    if (student->ckpt.tokenizer && teacher->ckpt.tokenizer) {
        hn_vocab ours, theirs;
        hn_tokenizer_vocab(student->ckpt.tokenizer, &ours);
        hn_tokenizer_vocab(teacher->ckpt.tokenizer, &theirs);
        HN_TRY(check_tokens(&ours, &theirs, err));
    }
    if (student->arch.n_vocab != teacher->arch.n_vocab)
        return hn_fail(err, HN_BAD_INPUT,
                       "the teacher has %d tokens, the student %d: their vocabularies must be the "
                       "same",
                       teacher->arch.n_vocab, student->arch.n_vocab);
    return HN_OK;
}

hn_status hn_kd_teacher_new(hn_kd_teacher **out, hn_model *model, hn_error *err) {
    hn_status status = HN_OK;
    hn_kd_teacher *teacher = hn_calloc(1, sizeof *teacher);
    if (!teacher)
        return hn_fail_no_memory(err, sizeof *teacher);
    teacher->model = model;
    HN_GO(hn_params_none(&teacher->params, model->arch.n_layer, err));
    HN_GO(hn_net_new(&teacher->net, model, &teacher->params, 0, 0, err));
    *out = teacher;
    teacher = NULL;
done:
    hn_kd_teacher_free(teacher);
    return status;
}

void hn_kd_teacher_free(hn_kd_teacher *teacher) {
    if (!teacher)
        return;
    hn_net_free(teacher->net);
    hn_params_done(&teacher->params);
    hn_free_aligned(teacher->logits, teacher->logits_bytes);
    hn_free(teacher);
}

hn_status hn_kd_teacher_begin(hn_kd_teacher *teacher, const hn_tree *tree, hn_error *err) {
    hn_net_finish(teacher->net);
    return hn_net_forward(teacher->net, tree, err);
}

hn_status hn_kd_teacher_logits(hn_kd_teacher *teacher, const hn_loss_rows *rows, float **logits,
                               hn_error *err) {
    size_t bytes = (size_t)rows->n * (size_t)rows->n_vocab * sizeof(float);
    if (bytes > teacher->logits_bytes) {
        hn_free_aligned(teacher->logits, teacher->logits_bytes);
        teacher->logits = hn_alloc_aligned(bytes);
        teacher->logits_bytes = teacher->logits ? bytes : 0;
        if (!teacher->logits)
            return hn_fail_no_memory(err, bytes);
    }
    *logits = teacher->logits;
    return hn_net_logits(teacher->net, rows->first, rows->n, teacher->logits, err);
}

void hn_kd_teacher_states(const hn_kd_teacher *teacher, int layer, int32_t first, int32_t n,
                          float *out) {
    const int32_t *row;
    const float *x = hn_net_states(teacher->net, layer, &row);
    int64_t dim = teacher->model->arch.n_embd;
    for (int32_t i = 0; i < n; i++)
        memcpy(out + i * dim, x + row[first + i] * dim, (size_t)dim * sizeof *out);
}
