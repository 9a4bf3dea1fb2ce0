/* The metadata of a GGUF that hone writes. Private to release/. */
#pragma once

#include "release/quantise.h"

/* All keys: those of the source when it is a GGUF, else made from architecture, tokenizer and chat
 * template; with general.file_type and quantization_version of `ftype`. */
HN_MUST_CHECK hn_status hn_quantise_write_metadata(hn_gguf_writer *writer,
                                                   const hn_checkpoint *ckpt, hn_ftype ftype,
                                                   hn_error *err);
