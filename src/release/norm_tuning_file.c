/* Norm tuning of a file that is all written but not published yet: its model is the student. */
#include "base/mem.h"
#include "model/thaw.h"
#include "release/norm_tuning.h"

enum { TOKENS = 32768 }; /* of the data: about as many as are learned from, each once */

/* Vectors lie in the file in f32, less what is added as they are loaded. */
static hn_status write_vectors(hn_model *student, hn_gguf_writer *writer, hn_error *err) {
    hn_status status = HN_OK;
    float *values = NULL;
    for (size_t i = 0; i < student->ckpt.n_tensors; i++) {
        const hn_tensor *tensor = &student->ckpt.tensors[i];
        const float *vector = hn_model_vector(student, tensor);
        if (!vector || tensor->dtype != HN_F32)
            continue;
        size_t n = (size_t)(tensor->rows * tensor->cols);
        float *grown = hn_reallocarray(values, n, sizeof *grown);
        if (!grown)
            HN_GO(hn_fail_no_memory(err, n * sizeof *grown));
        values = grown;
        for (size_t at = 0; at < n; at++)
            values[at] = vector[at] - tensor->add;
        HN_GO(hn_gguf_writer_change(writer, tensor->name, values, n * sizeof *values, err));
    }
done:
    hn_free(values);
    return status;
}

static hn_status run(hn_calibration *calibration, hn_model *student, const hn_progress *progress,
                     hn_norm_tuning_result *result, hn_error *err) {
    hn_norm_tuning tuning = {.student = student, .progress = progress};
    hn_document *docs;
    size_t given, own;
    tuning.teacher = hn_calibration_model(calibration, &tuning.adapter);
    HN_TRY(hn_calibration_documents(calibration, TOKENS, &docs, &given, &own, err));
    tuning.sources[0] = (hn_norm_source){docs, given};
    tuning.sources[1] = (hn_norm_source){docs + given, own};
    hn_status status = hn_norm_tuning_run(&tuning, result, err);
    hn_free(docs);
    return status;
}

void hn_norm_tuning_report(const hn_norm_tuning_result *result, double *before, double *after) {
    int source = isfinite(result->before[0]) ? 0 : 1;
    *before = result->before[source];
    *after = result->after[source];
}

hn_status hn_norm_tuning_of_file(hn_gguf_writer *writer, hn_calibration *calibration, int n_threads,
                                 const hn_progress *progress, hn_norm_tuning_result *result,
                                 hn_error *err) {
    const hn_model_options options = {.n_threads = n_threads, .numerics = HN_NUMERICS_INT8};
    const char *path;
    hn_model *student;
    *result = HN_NORM_NOT_TUNED;
    if (!calibration)
        return HN_OK;
    hn_status status = hn_gguf_writer_read_back(writer, &path, err);
    if (status == HN_UNSUPPORTED) {
        hn_progress_note(progress, "%s: norms stay as they are", err->message);
        return HN_OK;
    }
    HN_TRY(status);
    HN_TRY(hn_model_open(&student, path, &options, err));
    HN_GO(run(calibration, student, progress, result, err));
    if (status == HN_OK && result->tuned)
        status = write_vectors(student, writer, err);
done:
    hn_model_free(student);
    return status;
}
