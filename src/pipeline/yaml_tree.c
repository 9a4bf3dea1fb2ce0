/* libyaml's events into a tree, with limits that a recipe never reaches and a hostile file does. */
#include "pipeline/yaml_tree.h"

#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 16, MAX_NODES = 20000 };

typedef struct yaml_reader {
    hn_arena *arena;
    yaml_parser_t parser;
    const char *where;
    int n_nodes;
} yaml_reader;

static hn_status fail_at(const yaml_reader *reader, yaml_mark_t mark, hn_error *err,
                         const char *problem) {
    return hn_fail(err, HN_BAD_INPUT, "%s:%zu:%zu: %s", reader->where, mark.line + 1,
                   mark.column + 1, problem);
}

static hn_status next_event(yaml_reader *reader, yaml_event_t *event, hn_error *err) {
    if (yaml_parser_parse(&reader->parser, event))
        return HN_OK;
    if (reader->parser.error == YAML_MEMORY_ERROR)
        return hn_fail_no_memory(err, 0);
    yaml_mark_t mark = reader->parser.problem_mark;
    if (reader->parser.error == YAML_READER_ERROR) /* has an offset, not a mark */
        return hn_fail(err, HN_BAD_INPUT, "%s: byte %zu: %s", reader->where,
                       reader->parser.problem_offset, reader->parser.problem);
    return fail_at(reader, mark, err,
                   reader->parser.problem ? reader->parser.problem : "not valid YAML");
}

static hn_status node_new(yaml_reader *reader, const yaml_event_t *event, hn_yaml_node **out,
                          hn_error *err) {
    if (++reader->n_nodes > MAX_NODES)
        return fail_at(reader, event->start_mark, err, "too many values for a recipe");
    hn_yaml_node *node = HN_ARENA_NEW(reader->arena, hn_yaml_node, 1);
    if (!node)
        return hn_fail_no_memory(err, sizeof *node);
    node->line = event->start_mark.line + 1;
    node->column = event->start_mark.column + 1;
    *out = node;
    return HN_OK;
}

/* Anchors would let a few bytes stand for many, tags would change what a value means. */
static hn_status refuse_extras(const yaml_reader *reader, const yaml_event_t *event,
                               hn_error *err) {
    const char *ANCHOR = "anchors and aliases aren't supported in a recipe: write the value out";
    const char *TAG = "tags aren't supported in a recipe";
    yaml_mark_t at = event->start_mark;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return fail_at(reader, at, err, ANCHOR);
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor)
            return fail_at(reader, at, err, ANCHOR);
        return event->data.scalar.tag ? fail_at(reader, at, err, TAG) : HN_OK;
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor)
            return fail_at(reader, at, err, ANCHOR);
        return event->data.sequence_start.tag ? fail_at(reader, at, err, TAG) : HN_OK;
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor)
            return fail_at(reader, at, err, ANCHOR);
        return event->data.mapping_start.tag ? fail_at(reader, at, err, TAG) : HN_OK;
    default:
        return HN_OK;
    }
}

static hn_status scalar_text(yaml_reader *reader, const yaml_event_t *event, const char **text,
                             hn_error *err) {
    size_t n = event->data.scalar.length;
    if (memchr(event->data.scalar.value, 0, n))
        return fail_at(reader, event->start_mark, err, "a NUL character");
    char *copy = hn_arena_strndup(reader->arena, (const char *)event->data.scalar.value, n);
    if (!copy)
        return hn_fail_no_memory(err, n);
    *text = copy;
    return HN_OK;
}

static hn_status read_node(yaml_reader *reader, const yaml_event_t *event, int depth,
                           hn_yaml_node **out, hn_error *err);

static hn_status append(yaml_reader *reader, hn_yaml_node *parent, hn_yaml_node **last,
                        const yaml_event_t *event, int depth, hn_yaml_node **out, hn_error *err) {
    hn_yaml_node *child;
    HN_TRY(read_node(reader, event, depth + 1, &child, err));
    *(*last ? &(*last)->next : &parent->first) = child;
    *last = child;
    *out = child;
    return HN_OK;
}

static hn_status read_list(yaml_reader *reader, hn_yaml_node *list, int depth, hn_error *err) {
    hn_yaml_node *last = NULL, *child;
    for (;;) {
        yaml_event_t event;
        HN_TRY(next_event(reader, &event, err));
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        hn_status status = end ? HN_OK : append(reader, list, &last, &event, depth, &child, err);
        yaml_event_delete(&event);
        if (end || status != HN_OK)
            return status;
    }
}

static hn_status check_new_key(const yaml_reader *reader, const hn_yaml_node *map, const char *key,
                               yaml_mark_t mark, hn_error *err) {
    for (const hn_yaml_node *other = map->first; other; other = other->next)
        if (!strcmp(other->key, key))
            return hn_fail(err, HN_BAD_INPUT,
                           "%s:%zu:%zu: '%s' stands here again (first in line "
                           "%zu): keep one",
                           reader->where, mark.line + 1, mark.column + 1, key, other->key_line);
    return HN_OK;
}

static hn_status read_member(yaml_reader *reader, hn_yaml_node *map, hn_yaml_node **last,
                             const yaml_event_t *key_event, int depth, hn_error *err) {
    const char *key;
    if (key_event->type != YAML_SCALAR_EVENT)
        return fail_at(reader, key_event->start_mark, err, "a key must be a plain word");
    HN_TRY(refuse_extras(reader, key_event, err));
    HN_TRY(scalar_text(reader, key_event, &key, err));
    HN_TRY(check_new_key(reader, map, key, key_event->start_mark, err));
    yaml_event_t event;
    HN_TRY(next_event(reader, &event, err));
    hn_yaml_node *child = NULL;
    hn_status status = append(reader, map, last, &event, depth, &child, err);
    yaml_event_delete(&event);
    HN_TRY(status);
    child->key = key;
    child->key_line = key_event->start_mark.line + 1;
    child->key_column = key_event->start_mark.column + 1;
    return HN_OK;
}

static hn_status read_map(yaml_reader *reader, hn_yaml_node *map, int depth, hn_error *err) {
    hn_yaml_node *last = NULL;
    for (;;) {
        yaml_event_t event;
        HN_TRY(next_event(reader, &event, err));
        bool end = event.type == YAML_MAPPING_END_EVENT;
        hn_status status = end ? HN_OK : read_member(reader, map, &last, &event, depth, err);
        yaml_event_delete(&event);
        if (end || status != HN_OK)
            return status;
    }
}

static hn_status read_node(yaml_reader *reader, const yaml_event_t *event, int depth,
                           hn_yaml_node **out, hn_error *err) {
    hn_yaml_node *node;
    if (depth > MAX_DEPTH)
        return fail_at(reader, event->start_mark, err, "nested too deeply");
    HN_TRY(refuse_extras(reader, event, err));
    HN_TRY(node_new(reader, event, &node, err));
    *out = node;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        node->kind = HN_YAML_SCALAR;
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        return scalar_text(reader, event, &node->text, err);
    case YAML_SEQUENCE_START_EVENT:
        node->kind = HN_YAML_LIST;
        return read_list(reader, node, depth, err);
    case YAML_MAPPING_START_EVENT:
        node->kind = HN_YAML_MAP;
        return read_map(reader, node, depth, err);
    default:
        return fail_at(reader, event->start_mark, err, "expected a value");
    }
}

/* stream start, document start, the root, document end, stream end */
static hn_status read_document(yaml_reader *reader, hn_yaml_node **root, hn_error *err) {
    hn_yaml_node *node = NULL;
    for (;;) {
        yaml_event_t event;
        hn_status status = HN_OK;
        HN_TRY(next_event(reader, &event, err));
        yaml_event_type_t type = event.type;
        yaml_mark_t mark = event.start_mark;
        bool is_frame = type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT ||
                        type == YAML_DOCUMENT_END_EVENT || type == YAML_STREAM_END_EVENT;
        if (type == YAML_DOCUMENT_START_EVENT && node)
            status = fail_at(reader, mark, err, "a second document: a recipe is one");
        else if (!is_frame)
            status = read_node(reader, &event, 0, &node, err);
        yaml_event_delete(&event);
        HN_TRY(status);
        if (type == YAML_STREAM_END_EVENT)
            break;
    }
    if (!node)
        return hn_fail(err, HN_BAD_INPUT, "%s: empty", reader->where);
    *root = node;
    return HN_OK;
}

hn_status hn_yaml_read(hn_arena *arena, const char *text, size_t n_bytes, const char *where,
                       const hn_yaml_node **root, hn_error *err) {
    yaml_reader reader = {.arena = arena, .where = where};
    hn_yaml_node *node = NULL;
    if (!yaml_parser_initialize(&reader.parser))
        return hn_fail_no_memory(err, sizeof reader.parser);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, n_bytes);
    hn_status status = read_document(&reader, &node, err);
    yaml_parser_delete(&reader.parser);
    if (status == HN_OK)
        *root = node;
    return status;
}

const hn_yaml_node *hn_yaml_member(const hn_yaml_node *map, const char *key) {
    for (const hn_yaml_node *node = map->first; node; node = node->next)
        if (!strcmp(node->key, key))
            return node;
    return NULL;
}
