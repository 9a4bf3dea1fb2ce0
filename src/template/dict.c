/* Dictionaries: insertion order, and an index by hash once they have grown. */
#include "template/render.h"
#include "template/value.h"

#include <string.h>

/* Smaller dictionaries are searched from end to end. */
enum { DICT_INDEX_FROM = 9 };

hn_status hn_tdict_new(hn_render *r, hn_tdict **out) {
    void *dict;
    HN_TRY(hn_render_alloc(r, 1, sizeof(hn_tdict), &dict));
    *out = dict;
    return HN_OK;
}

static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdull;
    return h ^ h >> 33;
}

/* Equal values hash alike: 1, 1.0 and True. */
static hn_status hash_nested(hn_render *r, hn_tv v, uint64_t *hash, bool *hashable) {
    int64_t whole;
    uint64_t h = 1469598103934665603ull;
    switch (v.type) {
    case HN_TV_STR:
        HN_TRY(hn_render_charge_scan(r, v.u.s->n_bytes));
        for (uint32_t i = 0; i < v.u.s->n_bytes; i++)
            h = (h ^ (uint8_t)v.u.s->data[i]) * 1099511628211ull;
        *hash = mix(h);
        return HN_OK;
    case HN_TV_INT:
    case HN_TV_BOOL:
        *hash = mix((uint64_t)hn_tv_index(v));
        return HN_OK;
    case HN_TV_FLOAT:
        if (hn_tv_float_to_int(v.u.f, &whole) && (double)whole == v.u.f)
            *hash = mix((uint64_t)whole);
        else
            memcpy(hash, &v.u.f, sizeof *hash);
        return HN_OK;
    case HN_TV_TUPLE:
        for (uint32_t i = 0; i < v.u.list->n && *hashable; i++) {
            uint64_t item = 0;
            HN_TRY(hn_tv_hash(r, v.u.list->items[i], &item, hashable));
            h = mix(h ^ item);
        }
        *hash = h;
        return HN_OK;
    case HN_TV_LIST:
    case HN_TV_DICT:
    case HN_TV_VIEW:
        *hashable = false;
        return HN_OK;
    case HN_TV_NONE:
    case HN_TV_UNDEFINED:
        *hash = (uint64_t)v.type;
        return HN_OK;
    default:
        *hash = mix((uint64_t)(uintptr_t)v.u.list);
        return HN_OK;
    }
}

hn_status hn_tv_hash(hn_render *r, hn_tv v, uint64_t *hash, bool *hashable) {
    if (r->nesting >= HN_TV_MAX_NESTING)
        return hn_render_fail(r, "values are nested more than %d deep", HN_TV_MAX_NESTING);
    r->nesting++;
    hn_status status = hash_nested(r, v, hash, hashable);
    r->nesting--;
    return status;
}

/* The index slot for a key: where it is, or the free one where it would go. */
static hn_status index_find(hn_render *r, hn_tdict *dict, hn_tv key, uint64_t hash,
                            uint32_t *place) {
    uint32_t mask = dict->n_index - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        bool same = !dict->index[i];
        if (!same)
            HN_TRY(hn_tv_equal(r, dict->entries[dict->index[i] - 1].key, key, &same));
        if (same) {
            *place = i;
            return HN_OK;
        }
        HN_TRY(hn_render_charge(r, 1));
    }
}

static hn_status index_rebuild(hn_render *r, hn_tdict *dict) {
    void *index;
    dict->n_index = 32;
    while (dict->n_index < dict->n * 2)
        dict->n_index *= 2;
    HN_TRY(hn_render_alloc(r, dict->n_index, sizeof(uint32_t), &index));
    dict->index = index;
    for (uint32_t i = 0; i < dict->n; i++) {
        uint64_t hash = 0;
        bool hashable = true;
        HN_TRY(hn_tv_hash(r, dict->entries[i].key, &hash, &hashable));
        uint32_t place = (uint32_t)hash & (dict->n_index - 1);
        while (dict->index[place])
            place = (place + 1) & (dict->n_index - 1);
        dict->index[place] = i + 1;
    }
    return HN_OK;
}

/* Appends a key known to be new. */
static hn_status dict_append(hn_render *r, hn_tdict *dict, hn_tv key, hn_tv value) {
    if (dict->n == dict->cap) {
        void *entries;
        uint32_t cap = dict->cap ? dict->cap * 2 : 4;
        HN_TRY(hn_render_alloc(r, cap, sizeof(hn_tentry), &entries));
        if (dict->n)
            memcpy(entries, dict->entries, dict->n * sizeof(hn_tentry));
        dict->entries = entries;
        dict->cap = cap;
    }
    dict->entries[dict->n++] = (hn_tentry){key, value};
    if (dict->n >= DICT_INDEX_FROM && dict->n * 2 > dict->n_index)
        return index_rebuild(r, dict);
    if (dict->n_index) {
        uint64_t hash = 0;
        bool hashable = true;
        uint32_t place = 0;
        HN_TRY(hn_tv_hash(r, key, &hash, &hashable));
        HN_TRY(index_find(r, dict, key, hash, &place));
        dict->index[place] = dict->n;
    }
    return HN_OK;
}

hn_status hn_tdict_open(hn_render *r, hn_tdict *dict) {
    if (!dict->json)
        return HN_OK;
    json_t *json = (json_t *)dict->json; /* jansson's iterators take no const */
    dict->json = NULL;
    HN_TRY(hn_render_charge(r, json_object_size(json)));
    for (void *it = json_object_iter(json); it; it = json_object_iter_next(json, it)) {
        hn_tv key, value;
        HN_TRY(hn_tstr_borrow(r, json_object_iter_key(it), json_object_iter_key_len(it), &key));
        HN_TRY(hn_tv_from_json(r, json_object_iter_value(it), &value));
        HN_TRY(dict_append(r, dict, key, value));
    }
    return HN_OK;
}

hn_status hn_tdict_find(hn_render *r, hn_tdict *dict, hn_tv key, hn_tv **slot, bool *hashable) {
    *slot = NULL;
    uint64_t hash = 0;
    *hashable = true;
    HN_TRY(hn_tdict_open(r, dict));
    if (key.type == HN_TV_TUPLE || key.type == HN_TV_LIST || key.type == HN_TV_DICT ||
        key.type == HN_TV_VIEW || dict->n_index) {
        HN_TRY(hn_tv_hash(r, key, &hash, hashable));
        if (!*hashable)
            return HN_OK;
    }
    if (dict->n_index) {
        uint32_t place = 0;
        HN_TRY(index_find(r, dict, key, hash, &place));
        if (dict->index[place])
            *slot = &dict->entries[dict->index[place] - 1].value;
        return HN_OK;
    }
    for (uint32_t i = 0; i < dict->n; i++) {
        bool same;
        HN_TRY(hn_tv_equal(r, dict->entries[i].key, key, &same));
        if (same) {
            *slot = &dict->entries[i].value;
            return HN_OK;
        }
    }
    return HN_OK;
}

hn_status hn_tdict_find_text(hn_render *r, hn_tdict *dict, const char *key, size_t n_bytes,
                             hn_tv **slot) {
    hn_tstr s = {.data = key, .n_bytes = (uint32_t)n_bytes, .n_chars = HN_TSTR_CHARS_UNKNOWN};
    bool hashable;
    return hn_tdict_find(r, dict, hn_tv_str(&s), slot, &hashable);
}

hn_status hn_tdict_put(hn_render *r, hn_tdict *dict, hn_tv key, hn_tv value) {
    hn_tv *slot;
    bool hashable;
    HN_TRY(hn_tdict_find(r, dict, key, &slot, &hashable));
    if (!hashable)
        return hn_render_fail(r, "unhashable type: '%s'", hn_tv_type_name(key));
    if (slot) {
        *slot = value;
        return HN_OK;
    }
    return dict_append(r, dict, key, value);
}
