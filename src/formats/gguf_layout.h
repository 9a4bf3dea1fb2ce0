/* What GGUF's reader, getters and writer share: constants of the layout. Private to formats/. */
#pragma once

#include "formats/gguf.h"

enum { HN_GGUF_VERSION = 3, HN_GGUF_DEFAULT_ALIGNMENT = 32 };

/* Bytes of one item; 0 for strings and arrays, whose size varies. */
size_t hn_gguf_type_bytes(hn_gguf_type type);

/* For "%.*s": a name from a file, cut where it would flood the message. */
#define HN_GGUF_SHOWN(text) (int)((text).size < 200 ? (text).size : 200), (text).data
