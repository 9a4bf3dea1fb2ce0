/* Any bytes as text, the first one picks the vocabulary: what isn't UTF-8 is refused, and the rest
 * comes back from its ids, whole and streamed. */
#include "base/mem.h"
#include "base/text.h"
#include "tokenizer/tokenizer.h"

#include "../unit/tiny_vocab.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition)
        abort();
}

/* Byte-level text comes back as it was (without NFC); streaming gives the same as decoding whole
 * while every piece of it is UTF-8. */
static void check_back(const hn_tokenizer *tk, const hn_ids *ids, const char *text, size_t size,
                       bool exact) {
    hn_buf whole = {0}, streamed = {0};
    hn_error err;
    hn_decoder decoder;
    require(hn_decode(tk, ids->data, ids->size, true, &whole, &err) == HN_OK);
    hn_decoder_init(&decoder, tk, true);
    for (size_t i = 0; i < ids->size; i++) {
        require(hn_decoder_push(&decoder, ids->data[i], &streamed, &err) == HN_OK);
        require(hn_utf8_valid(hn_buf_text(&streamed), streamed.size));
    }
    require(hn_decoder_finish(&decoder, &streamed, &err) == HN_OK);
    require(whole.size == streamed.size &&
            memcmp(hn_buf_text(&whole), hn_buf_text(&streamed), whole.size) == 0);
    require(!exact || (whole.size == size && memcmp(hn_buf_text(&whole), text, size) == 0));
    hn_buf_done(&whole);
    hn_buf_done(&streamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const PRE[] = {"gpt-2", "llama-bpe", "qwen2", "smollm", "default", "gpt-4o"};
    static hn_tokenizer *tokenizers[7];
    hn_error err;
    if (size == 0)
        return 0;
    unsigned pick = data[0] % 7;
    if (!tokenizers[pick]) {
        static tiny_vocab tiny;
        if (pick < 6)
            tiny_byte_level(&tiny, PRE[pick]);
        else
            tiny_sentencepiece(&tiny);
        require(hn_tokenizer_from_vocab(&tokenizers[pick], &tiny.vocab, &err) == HN_OK);
    }
    const char *text = (const char *)data + 1;
    size--;
    hn_ids ids = {0};
    for (int flags = 0; flags < 4; flags += 2) {
        ids.size = 0;
        hn_status status = hn_encode(tokenizers[pick], text, size, flags, &ids, &err);
        require(status == (hn_utf8_valid(text, size) ? HN_OK : HN_BAD_INPUT));
        if (status == HN_OK)
            check_back(tokenizers[pick], &ids, text, size, pick != 2 && pick != 6);
    }
    hn_ids_done(&ids);
    return 0;
}
