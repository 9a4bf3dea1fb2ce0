#include "train/kd_file.h"

#include "base/dtype.h"
#include "base/hash.h"
#include "train/state.h"

#include <math.h>
#include <string.h>

uint64_t hn_kd_document_hash(const hn_document *doc) {
    return hn_train_hash_document(doc, 0);
}

uint64_t hn_kd_vocabulary_hash(const hn_model *model) {
    uint64_t hash = hn_hash64(&model->arch.n_vocab, sizeof model->arch.n_vocab, 0);
    if (!model->ckpt.tokenizer)
        return hash;
    hn_vocab vocab;
    hn_tokenizer_vocab(model->ckpt.tokenizer, &vocab);
    for (uint32_t i = 0; i < vocab.n_tokens; i++)
        hash = hn_hash64(vocab.tokens[i].data, vocab.tokens[i].size, hash);
    return hash;
}

static hn_kd_entry entry(const hn_kd_file *file, uint64_t i) {
    hn_kd_entry e;
    memcpy(&e, file->index + i * sizeof e, sizeof e);
    return e;
}

/* Sizes that the header names, against the file's own; no sum of them overflows. */
static bool sizes_fit(const hn_kd_header *h, size_t size) {
    if (h->n_vocab < 1 || h->n_vocab > HN_ARCH_MAX_VOCAB || h->k < 1 || h->k > HN_KD_TOP_MAX ||
        h->k > h->n_vocab || !(h->temperature > 0 && isfinite(h->temperature)) || h->zero != 0)
        return false;
    size_t record = hn_kd_record_bytes(h->k), rest = size - sizeof *h - sizeof(uint64_t);
    if (h->n_tokens > rest / record)
        return false;
    rest -= (size_t)h->n_tokens * record;
    return rest % sizeof(hn_kd_entry) == 0 && h->n_docs == rest / sizeof(hn_kd_entry);
}

/* Ids within the vocabulary and numbers that are probabilities' logarithms. */
static bool record_is_sound(const hn_kd_file *file, const uint8_t *record) {
    const uint8_t *ids = record + sizeof(float), *logs = ids + (size_t)file->k * sizeof(uint32_t);
    float tail;
    memcpy(&tail, record, sizeof tail);
    if (!(tail <= 0))
        return false;
    for (int32_t i = 0; i < file->k; i++) {
        uint32_t id;
        uint16_t log_half;
        memcpy(&id, ids + (size_t)i * sizeof id, sizeof id);
        memcpy(&log_half, logs + (size_t)i * sizeof log_half, sizeof log_half);
        if (id >= (uint32_t)file->n_vocab || !(hn_f16_to_f32(log_half) <= 0))
            return false;
    }
    return true;
}

static bool contents_are_sound(const hn_kd_file *file) {
    size_t record = hn_kd_record_bytes(file->k);
    uint64_t last = 0;
    for (uint64_t i = 0; i < file->n_tokens; i++)
        if (!record_is_sound(file, file->records + i * record))
            return false;
    for (uint64_t i = 0; i < file->n_docs; i++) {
        hn_kd_entry e = entry(file, i);
        if (e.hash < last || e.n > file->n_tokens || e.first > file->n_tokens - e.n)
            return false;
        last = e.hash;
    }
    return true;
}

hn_status hn_kd_file_parse(hn_kd_file *out, const void *data, size_t size, const char *where,
                           hn_error *err) {
    hn_kd_header h;
    const uint8_t *bytes = data;
    if (size < sizeof h + sizeof(uint64_t) || memcmp(bytes, HN_KD_FILE_MAGIC, sizeof h.magic) != 0)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: no file of a teacher's distributions: hone distill store makes them",
                       where);
    memcpy(&h, bytes, sizeof h);
    hn_kd_file file = {.records = bytes + sizeof h,
                       .n_tokens = h.n_tokens,
                       .n_docs = h.n_docs,
                       .vocabulary = h.vocabulary,
                       .n_vocab = h.n_vocab,
                       .k = h.k,
                       .temperature = h.temperature};
    bool sound = sizes_fit(&h, size);
    if (sound) {
        file.index = file.records + h.n_tokens * hn_kd_record_bytes(h.k);
        memcpy(&file.checksum, bytes + size - sizeof file.checksum, sizeof file.checksum);
        uint64_t hash = hn_hash64(&h, sizeof h, 0);
        for (uint64_t i = 0; i < h.n_tokens; i++)
            hash = hn_hash64(file.records + i * hn_kd_record_bytes(h.k), hn_kd_record_bytes(h.k),
                             hash);
        hash = hn_hash64(file.index, h.n_docs * sizeof(hn_kd_entry), hash);
        sound = contents_are_sound(&file) && hash == file.checksum;
    }
    if (!sound)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: cut or damaged: let hone distill store make it again", where);
    *out = file;
    return HN_OK;
}

hn_status hn_kd_file_open(hn_kd_file *out, const char *path, hn_error *err) {
    hn_map map;
    HN_TRY(hn_map_open(&map, path, err));
    hn_status status = hn_kd_file_parse(out, map.data, map.size, path, err);
    if (status == HN_OK)
        out->map = map;
    else
        hn_map_close(&map);
    return status;
}

void hn_kd_file_close(hn_kd_file *file) {
    if (file->map.data)
        hn_map_close(&file->map);
    *file = (hn_kd_file){0};
}

hn_status hn_kd_file_check(const hn_kd_file *file, const hn_model *student, hn_error *err) {
    if (file->n_vocab != student->arch.n_vocab ||
        file->vocabulary != hn_kd_vocabulary_hash(student))
        return hn_fail(err, HN_BAD_INPUT,
                       "the teacher's distributions are over another vocabulary (%d tokens, the "
                       "student has %d): the tokens must be the same",
                       file->n_vocab, student->arch.n_vocab);
    return HN_OK;
}

bool hn_kd_file_find(const hn_kd_file *file, const hn_document *doc, uint64_t *first) {
    uint64_t hash = hn_kd_document_hash(doc), low = 0, high = file->n_docs;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (entry(file, middle).hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == file->n_docs)
        return false;
    hn_kd_entry e = entry(file, low);
    *first = e.first;
    return e.hash == hash && e.n == (uint64_t)doc->n_supervised;
}

void hn_kd_file_logits(const hn_kd_file *file, const hn_train_ops *ops, uint64_t i, const float *s,
                       float *out) {
    /* a rest that is smaller changes nothing, and -infinity would make NaN of 0 times it */
    const float smallest_log = -60;
    const uint8_t *record = file->records + i * hn_kd_record_bytes(file->k);
    const uint8_t *ids = record + sizeof(float), *logs = ids + (size_t)file->k * sizeof(uint32_t);
    float tail, inv_t = 1.0f / file->temperature;
    uint32_t id;
    uint16_t log_half;
    memcpy(&tail, record, sizeof tail);
    tail = tail < smallest_log ? smallest_log : tail;
    if (file->k < file->n_vocab) {
        for (int32_t j = 0; j < file->n_vocab; j++)
            out[j] = s[j] * inv_t;
        for (int32_t j = 0; j < file->k; j++) {
            memcpy(&id, ids + (size_t)j * sizeof id, sizeof id);
            out[id] = -INFINITY;
        }
        float shift = (tail - ops->softmax(out, file->n_vocab)) * file->temperature;
        for (int32_t j = 0; j < file->n_vocab; j++)
            out[j] = s[j] + shift;
    }
    for (int32_t j = 0; j < file->k; j++) {
        memcpy(&id, ids + (size_t)j * sizeof id, sizeof id);
        memcpy(&log_half, logs + (size_t)j * sizeof log_half, sizeof log_half);
        float log_p = hn_f16_to_f32(log_half);
        out[id] = (log_p < smallest_log ? smallest_log : log_p) * file->temperature;
    }
}
