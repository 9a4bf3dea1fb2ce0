/* A teacher's distributions kept in a file, so that it needs no memory while the student trains: of
 * every learned token the likeliest k tokens with their log-probabilities (f16) and the logarithm
 * of what the rest share (f32), all at the temperature of training. 4 + 6 k bytes a token. */
#pragma once

#include "base/file.h"
#include "data/records.h"
#include "model/model.h"
#include "train/ops.h"

enum { HN_KD_TOP_DEFAULT = 32, HN_KD_TOP_MAX = 1024 };

typedef struct hn_kd_file {
    hn_map map;
    const uint8_t *records, *index;
    uint64_t n_tokens, n_docs;
    uint64_t vocabulary; /* hash of the teacher's tokens */
    uint64_t checksum;
    int32_t n_vocab, k;
    float temperature;
} hn_kd_file;

/* HN_BAD_INPUT with the path for what is no such file, cut or damaged. */
HN_MUST_CHECK hn_status hn_kd_file_open(hn_kd_file *file, const char *path, hn_error *err);
/* The same over borrowed bytes, which stay after hn_kd_file_close; `where` opens messages. */
HN_MUST_CHECK hn_status hn_kd_file_parse(hn_kd_file *file, const void *data, size_t size,
                                         const char *where, hn_error *err);
void hn_kd_file_close(hn_kd_file *file);
/* HN_BAD_INPUT unless it was made with the model's tokens. */
HN_MUST_CHECK hn_status hn_kd_file_check(const hn_kd_file *file, const hn_model *student,
                                         hn_error *err);
/* The record of a document's first learned token; the others follow it. False: not in the file. */
bool hn_kd_file_find(const hn_kd_file *file, const hn_document *doc, uint64_t *first);
/* Logits whose softmax at the file's temperature is record `i`: what the likeliest tokens leave is
 * spread as the student, whose logits are s (n_vocab), spreads it, so that the divergence is that
 * of the tokens and of the rest as one. out: (n_vocab) */
void hn_kd_file_logits(const hn_kd_file *file, const hn_train_ops *ops, uint64_t i, const float *s,
                       float *out);

typedef struct hn_kd_store_options {
    int k;
    float temperature;
} hn_kd_store_options;

/* Runs the teacher over the documents and writes the file. */
HN_MUST_CHECK hn_status hn_kd_store(hn_model *teacher, const hn_documents *docs,
                                    const hn_kd_store_options *options, const char *path,
                                    const hn_progress *progress, hn_error *err);

/* Between the files of kd_file and kd_store. */
#define HN_KD_FILE_MAGIC "HONEKDL1"
typedef struct hn_kd_header {
    char magic[8];
    uint64_t vocabulary, n_tokens, n_docs;
    int32_t n_vocab, k;
    float temperature;
    uint32_t zero;
} hn_kd_header;
/* The index, behind the records, is sorted by hash; a checksum of all ends the file. */
typedef struct hn_kd_entry {
    uint64_t hash, first, n;
} hn_kd_entry;
static inline size_t hn_kd_record_bytes(int32_t k) {
    return sizeof(float) + (size_t)k * (sizeof(uint32_t) + sizeof(uint16_t));
}
uint64_t hn_kd_document_hash(const hn_document *doc);
uint64_t hn_kd_vocabulary_hash(const hn_model *model);
