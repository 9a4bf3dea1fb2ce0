/* JSON lines over a map: finds the ends of lines, leaves the parsing to base/json. */
#include "formats/jsonl.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

hn_status hn_jsonl_open(hn_jsonl *jsonl, const char *path, hn_error *err) {
    hn_jsonl opened = {.path = hn_strdup(path)};
    if (!opened.path)
        return hn_fail_no_memory(err, strlen(path));
    hn_status status = hn_map_open(&opened.map, path, err);
    if (status != HN_OK) {
        hn_free(opened.path);
        return status;
    }
    if (opened.map.size >= 4 && !memcmp(opened.map.data, "GGUF", 4)) {
        hn_jsonl_close(&opened);
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: a GGUF file where rows of JSON belong: are the arguments in order?",
                       path);
    }
    static const uint8_t BYTE_ORDER_MARK[3] = {0xef, 0xbb, 0xbf}; /* editors on Windows add it */
    if (opened.map.size >= sizeof BYTE_ORDER_MARK &&
        !memcmp(opened.map.data, BYTE_ORDER_MARK, sizeof BYTE_ORDER_MARK))
        opened.offset = sizeof BYTE_ORDER_MARK;
    *jsonl = opened;
    return HN_OK;
}

static bool is_blank(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

static hn_status parse_line(const hn_jsonl *jsonl, const char *text, size_t size, json_t **row,
                            hn_error *err) {
    if (size > HN_JSONL_MAX_LINE_BYTES)
        return hn_fail(err, HN_BAD_INPUT, "%s:%llu: a line of %zu bytes; at most %d are read",
                       jsonl->path, (unsigned long long)jsonl->line, size, HN_JSONL_MAX_LINE_BYTES);
    size_t where_size = strlen(jsonl->path) + 24;
    char *where = hn_malloc(where_size);
    if (!where)
        return hn_fail_no_memory(err, where_size);
    snprintf(where, where_size, "%s:%llu", jsonl->path, (unsigned long long)jsonl->line);
    json_t *value = NULL;
    hn_status status = hn_json_parse(text, size, where, &value, err);
    if (status == HN_OK && !json_is_object(value)) {
        json_decref(value);
        status = hn_fail(err, HN_BAD_INPUT, "%s: each line must be a JSON object {...}", where);
    }
    if (status == HN_OK)
        *row = value;
    hn_free(where);
    return status;
}

hn_status hn_jsonl_next(hn_jsonl *jsonl, json_t **row, hn_error *err) {
    while (jsonl->offset < jsonl->map.size) {
        const char *text = (const char *)jsonl->map.data + jsonl->offset;
        size_t size = jsonl->map.size - jsonl->offset;
        const char *end = memchr(text, '\n', size);
        if (end)
            size = (size_t)(end - text);
        jsonl->offset += size + (end != NULL);
        jsonl->line++;
        if (!is_blank(text, size))
            return parse_line(jsonl, text, size, row, err);
    }
    *row = NULL;
    return HN_OK;
}

void hn_jsonl_close(hn_jsonl *jsonl) {
    if (!jsonl)
        return;
    hn_map_close(&jsonl->map);
    hn_free(jsonl->path);
    *jsonl = (hn_jsonl){0};
}
