/* The files around the weights of a Hugging Face folder. Private to release/. */
#pragma once

#include "release/quantise.h"

/* config.json and generation_config.json: the source's own with the new dtype, or made from the
 * architecture of a GGUF. */
HN_MUST_CHECK hn_status hn_merge_write_config(const hn_checkpoint *ckpt, const char *dir,
                                              hn_dtype dtype, hn_error *err);
/* tokenizer.json and tokenizer_config.json with the chat template: copied, or made from the
 * vocabulary of a GGUF. */
HN_MUST_CHECK hn_status hn_merge_write_tokenizer(const hn_checkpoint *ckpt, const char *dir,
                                                 hn_error *err);
/* Writes dir/name as JSON; takes over a reference to value (NULL = memory ran out). */
HN_MUST_CHECK hn_status hn_merge_write_json(const char *dir, const char *name, json_t *value,
                                            hn_error *err);
/* Copies a file of the source's folder when it is there. */
HN_MUST_CHECK hn_status hn_merge_copy(const hn_checkpoint *ckpt, const char *dir, const char *name,
                                      hn_error *err);
