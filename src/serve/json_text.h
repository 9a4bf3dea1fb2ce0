/* JSON written straight into a buffer: a chunk a token is too often for trees of values. */
#pragma once

#include "base/buf.h"

#include <jansson.h>
#include <stdint.h>

/* A string with its quotes. Bytes that are no UTF-8 become U+FFFD; everything below blank and what
 * could end a line in JavaScript (U+2028, U+2029) is escaped. */
void hn_json_put_string(hn_buf *out, const char *text, size_t n_bytes);
void hn_json_put_text(hn_buf *out, const char *text); /* NUL-terminated; NULL becomes null */
/* "name": with its quotes; a comma first unless an object or array has just been opened. */
void hn_json_put_key(hn_buf *out, const char *name);
void hn_json_put_comma(hn_buf *out);
void hn_json_put_int(hn_buf *out, int64_t value);
/* Nine digits, enough for any float; what is no number becomes null. */
void hn_json_put_real(hn_buf *out, double value);
/* Compact; a failure marks the buffer as failed. */
void hn_json_put_value(hn_buf *out, const json_t *value);
