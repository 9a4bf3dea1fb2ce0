/* JSON schemas from any bytes: an error, or a grammar whose whole texts are strict JSON and, where
 * the golden sets' own checker knows all of the schema's keywords, accepted by it. */
#include "base/json.h"
#include "eval/schema.h"
#include "grammar_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hn_grammar *g = NULL;
    json_t *schema = NULL, *value = NULL;
    hn_buf text = {0};
    hn_error err;
    if (hn_grammar_from_schema_text(&g, (const char *)data, size, "s", &err) != HN_OK)
        return 0;
    if (walk_grammar(g, (unsigned)size, &text)) {
        const char *json = hn_buf_text(&text);
        if (hn_json_parse(json, text.size, "text", &value, &err) == HN_OK) {
            if (hn_json_parse((const char *)data, size, "schema", &schema, &err) == HN_OK &&
                hn_schema_check(schema, "s", &err) == HN_OK && !hn_schema_accepts(schema, value))
                abort();
        } else if (!strstr(err.message, "duplicate")) { /* further properties may come twice */
            abort();
        }
    }
    json_decref(schema);
    json_decref(value);
    hn_buf_done(&text);
    hn_grammar_free(g);
    return 0;
}
