/* The part of JSON Schema that golden rows need: types, properties, items, enum and bounds. */
#pragma once

#include "base/buf.h"
#include "base/status.h"

#include <jansson.h>
#include <stdbool.h>

/* Refuses by name every keyword that hn_schema_accepts doesn't look at. `where` opens messages. */
HN_MUST_CHECK hn_status hn_schema_check(const json_t *schema, const char *where, hn_error *err);
/* `schema` has passed hn_schema_check. */
bool hn_schema_accepts(const json_t *schema, const json_t *value);
