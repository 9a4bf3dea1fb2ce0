/* Reading safetensors: the JSON header is parsed strictly, then every tensor's range is checked
 * against its shape, its neighbours and the end of the file. */
#include "formats/safetensors.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LENGTH_BYTES = 8,
    MAX_HEADER_BYTES = 100000000, /* the limit of huggingface/safetensors itself */
    MAX_INDEX_BYTES = 64 << 20,
};

/* Element types that no weight of a language model has; their tensors are passed over. */
static const struct {
    const char *name;
    unsigned n_bytes;
} INTEGER_TYPES[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"U16", 2}, {"I16", 2},
                     {"U32", 4},  {"I32", 4}, {"U64", 8}, {"I64", 8}};

typedef struct range {
    uint64_t begin, end;
    const char *name; /* borrowed from the JSON header */
} range;

static hn_status bad(const char *path, const char *name, const char *problem, hn_error *err) {
    return hn_fail(err, HN_BAD_INPUT, "%s: tensor '%.200s': %s", path, name, problem);
}

static bool take_u64(const json_t *value, uint64_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *out = (uint64_t)json_integer_value(value);
    return true;
}

/* *known stays false for integer tensors, which the caller passes over. */
static hn_status parse_dtype(const char *path, const char *name, const json_t *entry,
                             hn_dtype *dtype, unsigned *item_bytes, bool *known, hn_error *err) {
    const char *text = json_string_value(json_object_get(entry, "dtype"));
    if (!text)
        return bad(path, name, "has no dtype", err);
    *known = true;
    if (!strcmp(text, "F32"))
        *dtype = HN_F32;
    else if (!strcmp(text, "F16"))
        *dtype = HN_F16;
    else if (!strcmp(text, "BF16"))
        *dtype = HN_BF16;
    else
        *known = false;
    if (*known) {
        *item_bytes = hn_dtype_get(*dtype)->block_bytes;
        return HN_OK;
    }
    for (size_t i = 0; i < sizeof INTEGER_TYPES / sizeof *INTEGER_TYPES; i++) {
        if (!strcmp(text, INTEGER_TYPES[i].name)) {
            *item_bytes = INTEGER_TYPES[i].n_bytes;
            return HN_OK;
        }
    }
    return hn_fail(err, HN_UNSUPPORTED,
                   "%s: tensor '%.200s' is of type %.20s; hone reads F32, F16 and BF16", path, name,
                   text);
}

/* One entry of the header: {"dtype", "shape", "data_offsets"}. */
static hn_status parse_entry(const char *path, const char *name, const json_t *entry,
                             uint64_t data_bytes, hn_st_tensor *tensor, range *place, bool *known,
                             hn_error *err) {
    unsigned item_bytes = 0;
    if (!json_is_object(entry))
        return bad(path, name, "its entry must be an object", err);
    HN_TRY(parse_dtype(path, name, entry, &tensor->dtype, &item_bytes, known, err));
    const json_t *shape = json_object_get(entry, "shape"),
                 *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_array(shape) || !json_is_array(offsets) || json_array_size(offsets) != 2)
        return bad(path, name, "needs a shape and two data_offsets", err);
    size_t n_dims = json_array_size(shape);
    if (n_dims > 4 && *known)
        return hn_fail(err, HN_UNSUPPORTED, "%s: tensor '%.200s' has %zu dimensions, more than 4",
                       path, name, n_dims);
    uint64_t size = item_bytes;
    tensor->n_dims = (int)n_dims;
    for (int i = 0; i < 4; i++)
        tensor->shape[i] = 1;
    for (size_t i = 0; i < n_dims; i++) {
        uint64_t dim;
        if (!take_u64(json_array_get(shape, i), &dim) || __builtin_mul_overflow(size, dim, &size))
            return bad(path, name, "its shape isn't a list of sizes or overflows", err);
        if (i < 4)
            tensor->shape[i] = dim;
    }
    if (!take_u64(json_array_get(offsets, 0), &place->begin) ||
        !take_u64(json_array_get(offsets, 1), &place->end) || place->begin > place->end ||
        place->end > data_bytes)
        return bad(path, name,
                   "its data lies beyond the end of the file; it is damaged or was downloaded "
                   "only in part",
                   err);
    if (place->end - place->begin != size)
        return bad(path, name, "its data_offsets don't fit its shape and dtype", err);
    tensor->size_bytes = size;
    place->name = name;
    return HN_OK;
}

static int compare_ranges(const void *a, const void *b) {
    const range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The ranges must cover the data exactly: no overlap, no gap, nothing after the last. */
static hn_status check_ranges(const char *path, range *ranges, size_t count, uint64_t data_bytes,
                              hn_error *err) {
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].begin != at)
            return bad(path, ranges[i].name,
                       ranges[i].begin < at ? "its data overlaps another tensor's"
                                            : "there is a gap before its data",
                       err);
        at = ranges[i].end;
    }
    if (at != data_bytes)
        return hn_fail(err, HN_BAD_INPUT, "%s: %llu bytes of data belong to no tensor", path,
                       (unsigned long long)(data_bytes - at));
    return HN_OK;
}

/* Appends the tensors of one parsed header to st; room for them is there. */
static hn_status add_tensors(hn_safetensors *st, const char *path, json_t *header,
                             const uint8_t *data, uint64_t data_bytes, range *ranges,
                             hn_error *err) {
    const char *name;
    json_t *entry;
    size_t n_ranges = 0;
    json_object_foreach (header, name, entry) {
        hn_st_tensor tensor = {0};
        bool known = false;
        if (!strcmp(name, "__metadata__"))
            continue;
        HN_TRY(parse_entry(path, name, entry, data_bytes, &tensor, &ranges[n_ranges], &known, err));
        tensor.data = data + ranges[n_ranges++].begin;
        if (!known)
            continue;
        tensor.name = hn_strdup(name);
        if (!tensor.name)
            return hn_fail_no_memory(err, strlen(name));
        st->tensors[st->n_tensors++] = tensor;
    }
    return check_ranges(path, ranges, n_ranges, data_bytes, err);
}

static hn_status parse_header(const char *path, const uint8_t *data, size_t size, json_t **header,
                              uint64_t *header_bytes, hn_error *err) {
    if (size < LENGTH_BYTES)
        return hn_fail(err, HN_BAD_INPUT, "%s: not a safetensors file: only %zu bytes", path, size);
    memcpy(header_bytes, data, LENGTH_BYTES);
    if (*header_bytes > size - LENGTH_BYTES || *header_bytes > MAX_HEADER_BYTES ||
        *header_bytes < 2 || data[LENGTH_BYTES] != '{')
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: not a safetensors file, or cut off: a header of %llu bytes in a file "
                       "of %zu",
                       path, (unsigned long long)*header_bytes, size);
    return hn_json_parse((const char *)data + LENGTH_BYTES, (size_t)*header_bytes, path, header,
                         err);
}

hn_status hn_safetensors_parse(hn_safetensors *st, const uint8_t *data, size_t size,
                               const char *name, hn_error *err) {
    hn_safetensors parsed = {0};
    json_t *header = NULL;
    range *ranges = NULL;
    uint64_t header_bytes = 0;
    hn_status status = HN_OK;

    HN_GO(parse_header(name, data, size, &header, &header_bytes, err));
    size_t count = json_object_size(header);
    ranges = hn_calloc(count, sizeof *ranges);
    parsed.tensors = hn_calloc(count, sizeof *parsed.tensors);
    if (!ranges || !parsed.tensors) {
        status = hn_fail_no_memory(err, count * sizeof *parsed.tensors);
        goto done;
    }
    HN_GO(add_tensors(&parsed, name, header, data + LENGTH_BYTES + header_bytes,
                      size - LENGTH_BYTES - header_bytes, ranges, err));
    json_t *metadata = json_object_get(header, "__metadata__");
    if (metadata && !json_is_object(metadata)) {
        status = hn_fail(err, HN_BAD_INPUT, "%s: __metadata__ must be an object", name);
        goto done;
    }
    parsed.metadata = json_incref(metadata);
    *st = parsed;
    parsed = (hn_safetensors){0};
done:
    hn_safetensors_close(&parsed);
    hn_free(ranges);
    json_decref(header);
    return status;
}

static int compare_tensors(const void *a, const void *b) {
    return strcmp(((const hn_st_tensor *)a)->name, ((const hn_st_tensor *)b)->name);
}

/* Maps one file and appends its tensors. */
static hn_status add_file(hn_safetensors *st, const char *path, hn_error *err) {
    hn_safetensors part = {0};
    hn_map map = {0};
    hn_status status = HN_OK;
    hn_map *maps = hn_reallocarray(st->maps, st->n_maps + 1, sizeof *maps);
    if (!maps)
        return hn_fail_no_memory(err, sizeof *maps);
    st->maps = maps;
    HN_GO(hn_map_open(&map, path, err));
    HN_GO(hn_safetensors_parse(&part, map.data, map.size, path, err));
    hn_st_tensor *tensors =
        hn_reallocarray(st->tensors, st->n_tensors + part.n_tensors, sizeof *tensors);
    if (!tensors) {
        status = hn_fail_no_memory(err, part.n_tensors * sizeof *tensors);
        goto done;
    }
    st->tensors = tensors;
    memcpy(tensors + st->n_tensors, part.tensors, part.n_tensors * sizeof *tensors);
    st->n_tensors += part.n_tensors;
    part.n_tensors = 0; /* the names have moved */
    st->maps[st->n_maps++] = map;
    map = (hn_map){0};
    if (!st->metadata)
        st->metadata = json_incref(part.metadata);
done:
    hn_safetensors_close(&part);
    hn_map_close(&map);
    return status;
}

/* Names in an index are files beside it; anything that leads elsewhere is refused. */
static bool is_plain_name(const char *name) {
    return name && name[0] && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

static hn_status add_shards(hn_safetensors *st, const char *index_path, const json_t *map,
                            hn_error *err) {
    const char *tensor;
    json_t *value, *seen = json_object();
    char *dir = hn_path_dir(index_path), *path = NULL;
    hn_status status = HN_OK;
    if (!seen || !dir) {
        status = hn_fail_no_memory(err, strlen(index_path));
        goto done;
    }
    json_object_foreach ((json_t *)(uintptr_t)map, tensor, value) {
        const char *name = json_string_value(value);
        if (!is_plain_name(name)) {
            status = bad(index_path, tensor, "its shard must be a file name beside the index", err);
            goto done;
        }
        if (json_object_get(seen, name))
            continue;
        path = hn_path_join(dir, name);
        if (!path || json_object_set_new(seen, name, json_true())) {
            status = hn_fail_no_memory(err, strlen(name));
            goto done;
        }
        HN_GO(add_file(st, path, err));
        hn_free(path);
        path = NULL;
    }
done:
    hn_free(path);
    hn_free(dir);
    json_decref(seen);
    return status;
}

static hn_status open_index(hn_safetensors *st, const char *path, hn_error *err) {
    json_t *index = NULL;
    hn_status status = HN_OK;
    HN_GO(hn_json_read(path, MAX_INDEX_BYTES, &index, err));
    const json_t *map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        status = hn_fail(err, HN_BAD_INPUT, "%s: has no weight_map", path);
        goto done;
    }
    HN_GO(add_shards(st, path, map, err));
    qsort(st->tensors, st->n_tensors, sizeof *st->tensors, compare_tensors);
    for (size_t i = 1; i < st->n_tensors; i++) {
        if (!strcmp(st->tensors[i - 1].name, st->tensors[i].name)) {
            status = bad(path, st->tensors[i].name, "occurs in two shards", err);
            goto done;
        }
    }
done:
    json_decref(index);
    return status;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* In a folder: the single file if there is one, else the index, as transformers chooses. */
static hn_status choose_file(const char *path, char **chosen, hn_error *err) {
    static const char *const NAMES[] = {"model.safetensors", "model.safetensors.index.json"};
    if (!hn_path_is_dir(path)) {
        *chosen = hn_strdup(path);
        return *chosen ? HN_OK : hn_fail_no_memory(err, strlen(path));
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char *joined = hn_path_join(path, NAMES[i]);
        if (!joined)
            return hn_fail_no_memory(err, strlen(path));
        if (hn_path_exists(joined)) {
            *chosen = joined;
            return HN_OK;
        }
        hn_free(joined);
    }
    return hn_fail(err, HN_IO, "%s: holds neither model.safetensors nor its .index.json", path);
}

hn_status hn_safetensors_open(hn_safetensors *st, const char *path, hn_error *err) {
    hn_safetensors opened = {0};
    char *chosen = NULL;
    HN_TRY(choose_file(path, &chosen, err));
    hn_status status = ends_with(chosen, ".index.json") ? open_index(&opened, chosen, err)
                                                        : add_file(&opened, chosen, err);
    hn_free(chosen);
    if (status == HN_OK)
        *st = opened;
    else
        hn_safetensors_close(&opened);
    return status;
}

void hn_safetensors_close(hn_safetensors *st) {
    if (!st)
        return;
    for (size_t i = 0; i < st->n_tensors; i++)
        hn_free((char *)(uintptr_t)st->tensors[i].name);
    for (size_t i = 0; i < st->n_maps; i++)
        hn_map_close(&st->maps[i]);
    hn_free(st->tensors);
    hn_free(st->maps);
    json_decref(st->metadata);
    *st = (hn_safetensors){0};
}

const hn_st_tensor *hn_safetensors_find(const hn_safetensors *st, const char *name) {
    for (size_t i = 0; i < st->n_tensors; i++)
        if (!strcmp(st->tensors[i].name, name))
            return &st->tensors[i];
    return NULL;
}
