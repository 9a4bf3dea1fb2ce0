/* The two big parts of a tokenizer.json, vocabulary and merges, read straight from the text: a JSON
 * tree of 100,000 strings would cost more time than all the rest of loading. Everything else in the
 * file goes through the JSON library. */
#include "tokenizer/tk.h"

#include "base/text.h"

/* Largest id that a vocabulary may use, as a multiple of its entries and beyond. */
enum { SPARSE_FACTOR = 2, SPARSE_EXTRA = 65536 };

typedef struct cursor {
    const char *p, *end, *begin;
    const char *where, *part;
    char *blob; /* where strings are written, no longer than their source */
    hn_error *err;
} cursor;

static hn_status bad(const cursor *c, const char *what) {
    return hn_fail(c->err, HN_BAD_INPUT, "%s: %s, byte %zu of it: %s", c->where, c->part,
                   (size_t)(c->p - c->begin), what);
}

static void skip_space(cursor *c) {
    while (c->p < c->end && (*c->p == ' ' || *c->p == '\n' || *c->p == '\r' || *c->p == '\t'))
        c->p++;
}

/* The next character that isn't white space is taken when it is `wanted`. */
static bool take(cursor *c, char wanted) {
    skip_space(c);
    if (c->p == c->end || *c->p != wanted)
        return false;
    c->p++;
    return true;
}

static int hex4(const cursor *c) {
    int value = 0;
    if (c->end - c->p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hn_hex_digit(c->p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* \uXXXX, and a second one when it is half of a pair; behind the u. */
static hn_status take_unicode(cursor *c) {
    int high = hex4(c);
    if (high < 0)
        return bad(c, "four hexadecimal digits are missing after \\u");
    c->p += 4;
    uint32_t code_point = (uint32_t)high;
    if (high >= 0xd800 && high < 0xe000) {
        int low = -1;
        if (c->end - c->p >= 6 && c->p[0] == '\\' && c->p[1] == 'u') {
            c->p += 2;
            low = hex4(c);
        }
        if (high >= 0xdc00 || low < 0xdc00 || low >= 0xe000)
            return bad(c, "half of a surrogate pair");
        c->p += 4;
        code_point = 0x10000 + (((uint32_t)high - 0xd800) << 10) + ((uint32_t)low - 0xdc00);
    }
    c->blob += hn_utf8_encode(code_point, c->blob);
    return HN_OK;
}

static hn_status take_escape(cursor *c) {
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    if (c->p == c->end)
        return bad(c, "the text ends within a string");
    char x = *c->p++;
    if (x == 'u')
        return take_unicode(c);
    const char *found = x ? strchr(FROM, x) : NULL;
    if (!found)
        return bad(c, "unknown escape");
    *c->blob++ = TO[found - FROM];
    return HN_OK;
}

/* A string, unescaped into the blob. */
static hn_status take_string(cursor *c, hn_vocab_text *out) {
    if (!take(c, '"'))
        return bad(c, "a string is missing");
    char *begin = c->blob;
    for (;;) {
        if (c->p == c->end)
            return bad(c, "the text ends within a string");
        uint8_t x = (uint8_t)*c->p;
        if (x == '"')
            break;
        if (x == '\\') {
            c->p++;
            HN_TRY(take_escape(c));
        } else if (x < 0x20) {
            return bad(c, "a control character in a string");
        } else if (x < 0x80) {
            *c->blob++ = *c->p++;
        } else {
            uint32_t ignored;
            size_t n = hn_utf8_decode(c->p, (size_t)(c->end - c->p), &ignored);
            if (n == 0)
                return bad(c, "not UTF-8");
            memcpy(c->blob, c->p, n);
            c->blob += n;
            c->p += n;
        }
    }
    c->p++;
    *out = (hn_vocab_text){begin, (size_t)(c->blob - begin)};
    return HN_OK;
}

static hn_status take_id(cursor *c, uint32_t *id) {
    skip_space(c);
    uint64_t value = 0;
    const char *from = c->p;
    while (c->p < c->end && *c->p >= '0' && *c->p <= '9' && value <= UINT32_MAX)
        value = value * 10 + (uint64_t)(*c->p++ - '0');
    if (c->p == from || value > INT32_MAX || (*from == '0' && c->p > from + 1))
        return bad(c, "an id from 0 to 2147483647 is missing");
    *id = (uint32_t)value;
    return HN_OK;
}

static hn_status cursor_new(hn_arena *arena, cursor *c, hn_vocab_text part, const char *name,
                            const char *where, hn_error *err) {
    *c = (cursor){.p = part.data,
                  .begin = part.data,
                  .end = part.data + part.size,
                  .part = name,
                  .where = where,
                  .err = err};
    c->blob = HN_ARENA_NEW(arena, char, part.size + 1);
    return c->blob ? HN_OK : hn_tk_no_memory(err);
}

/* No more strings than every second quotation mark. */
static uint32_t count_strings(hn_vocab_text part) {
    size_t quotes = 0;
    for (size_t i = 0; i < part.size; i++)
        quotes += part.data[i] == '"';
    return (uint32_t)(quotes / 2 < UINT32_MAX ? quotes / 2 : UINT32_MAX);
}

typedef struct entry {
    hn_vocab_text text;
    uint32_t id;
} entry;

static hn_status take_entries(cursor *c, entry *entries, uint32_t *count, uint32_t *largest) {
    if (!take(c, '{'))
        return bad(c, "'{' is missing");
    if (take(c, '}'))
        return HN_OK;
    do {
        entry *e = &entries[(*count)++];
        HN_TRY(take_string(c, &e->text));
        if (!take(c, ':'))
            return bad(c, "':' is missing");
        HN_TRY(take_id(c, &e->id));
        if (e->id > *largest)
            *largest = e->id;
    } while (take(c, ','));
    return take(c, '}') ? HN_OK : bad(c, "',' or '}' is missing");
}

static hn_status place(hn_tokenizer *tk, const entry *entries, uint32_t count, const char *where,
                       hn_error *err) {
    for (uint32_t i = 0; i < count; i++) {
        hn_vocab_text *text = &tk->texts[entries[i].id];
        if (text->data)
            return hn_fail(err, HN_BAD_INPUT, "%s: vocab: id %u is given to '%.*s' and '%.*s'",
                           where, entries[i].id, (int)(text->size < 80 ? text->size : 80),
                           text->data, (int)(entries[i].text.size < 80 ? entries[i].text.size : 80),
                           entries[i].text.data);
        *text = entries[i].text;
    }
    return HN_OK;
}

hn_status hn_tk_json_vocab(hn_tokenizer *tk, hn_vocab_text part, uint32_t min_tokens,
                           const char *where, hn_error *err) {
    cursor c;
    uint32_t count = 0, largest = 0;
    HN_TRY(cursor_new(&tk->arena, &c, part, "vocab", where, err));
    /* a damaged text may begin one string more than it ends */
    entry *entries = hn_reallocarray(NULL, (size_t)count_strings(part) + 2, sizeof *entries);
    if (!entries)
        return hn_tk_no_memory(err);
    hn_status status = HN_OK;
    HN_GO(take_entries(&c, entries, &count, &largest));
    uint64_t n = count ? (uint64_t)largest + 1 : 0;
    n = n < min_tokens ? min_tokens : n;
    if (n > (uint64_t)count * SPARSE_FACTOR + SPARSE_EXTRA) {
        status = hn_fail(err, HN_BAD_INPUT, "%s: vocab: %u tokens, but ids up to %u", where, count,
                         (unsigned)(n - 1));
        goto done;
    }
    tk->n_tokens = (uint32_t)n;
    tk->texts = HN_ARENA_NEW(&tk->arena, hn_vocab_text, tk->n_tokens);
    if (!tk->texts) {
        status = hn_tk_no_memory(err);
        goto done;
    }
    status = place(tk, entries, count, where, err);
done:
    hn_free(entries);
    return status;
}

/* One merge as "left right" or ["left", "right"]. On success *merge is "left right" in the blob,
 * and behind it, not counted, lies "leftright". */
static hn_status take_merge(cursor *c, hn_vocab_text *merge, size_t *n_left) {
    char *begin = c->blob;
    hn_vocab_text part;
    if (take(c, '[')) {
        HN_TRY(take_string(c, &part));
        *n_left = part.size;
        *c->blob++ = ' ';
        if (!take(c, ','))
            return bad(c, "',' is missing in a merge");
        HN_TRY(take_string(c, &part));
        if (!take(c, ']'))
            return bad(c, "a merge is more than two tokens");
    } else {
        HN_TRY(take_string(c, &part));
        const char *space = memchr(part.data, ' ', part.size);
        if (!space || memchr(space + 1, ' ', (size_t)(part.data + part.size - space - 1)))
            return bad(c, "a merge is not two tokens with a space between them");
        *n_left = (size_t)(space - part.data);
    }
    *merge = (hn_vocab_text){begin, (size_t)(c->blob - begin)};
    return HN_OK;
}

/* Fills merges[i] and n_left[i], the size of merge i's left token. */
static hn_status take_merges(hn_tokenizer *tk, cursor *c, hn_vocab_text *merges, uint32_t *n_left) {
    if (!take(c, '['))
        return bad(c, "'[' is missing");
    if (take(c, ']'))
        return HN_OK;
    do {
        size_t left;
        HN_TRY(take_merge(c, &merges[tk->n_merges], &left));
        n_left[tk->n_merges++] = (uint32_t)left;
    } while (take(c, ','));
    return take(c, ']') ? HN_OK : bad(c, "',' or ']' is missing");
}

hn_status hn_tk_json_merges(hn_tokenizer *tk, hn_vocab_text part, const char *where,
                            hn_error *err) {
    cursor c;
    hn_arena arena = {0}; /* texts that nobody needs when the table stands */
    size_t most = (size_t)count_strings(part) + 2;
    hn_vocab_text *merges = HN_ARENA_NEW(&arena, hn_vocab_text, most);
    uint32_t *n_left = HN_ARENA_NEW(&arena, uint32_t, most);
    hn_status status = HN_OK;
    if (!merges || !n_left)
        HN_GO(hn_tk_no_memory(err));
    HN_GO(cursor_new(&arena, &c, part, "merges", where, err));
    HN_GO(take_merges(tk, &c, merges, n_left));
    HN_GO(hn_tk_merges_fill(tk, merges, n_left, where, err));
done:
    hn_arena_done(&arena);
    return status;
}

/* --- where the parts lie --- */

/* Steps over a string (behind its opening quotation mark). */
static void pass_string(cursor *c) {
    while (c->p < c->end && *c->p != '"')
        c->p += *c->p == '\\' && c->end - c->p > 1 ? 2 : 1;
    if (c->p < c->end)
        c->p++;
}

/* Steps over any value, well formed or not; only brackets and strings matter. */
static hn_vocab_text pass_value(cursor *c) {
    skip_space(c);
    const char *from = c->p;
    size_t depth = 0;
    while (c->p < c->end) {
        char x = *c->p;
        if (depth == 0 && (x == ',' || x == '}' || x == ']'))
            break;
        c->p++;
        if (x == '"')
            pass_string(c);
        else if (x == '{' || x == '[')
            depth++;
        else if ((x == '}' || x == ']') && --depth == 0)
            break;
    }
    return (hn_vocab_text){from, (size_t)(c->p - from)};
}

/* The next key of an object and its value; false at the end. */
static bool next_member(cursor *c, hn_vocab_text *key, hn_vocab_text *value) {
    if (!take(c, '"'))
        return false;
    key->data = c->p;
    pass_string(c);
    key->size = (size_t)(c->p - key->data) - (c->p > key->data && c->p[-1] == '"');
    if (!take(c, ':'))
        return false;
    *value = pass_value(c);
    take(c, ',');
    return true;
}

static hn_vocab_text find_member(hn_vocab_text object, const char *name) {
    cursor c = {.p = object.data, .end = object.data + object.size};
    hn_vocab_text key, value;
    if (take(&c, '{'))
        while (next_member(&c, &key, &value))
            if (hn_tk_text_is(key, name, strlen(name)))
                return value;
    return (hn_vocab_text){0};
}

hn_tk_json_parts hn_tk_json_find(const char *json, size_t size) {
    hn_tk_json_parts parts = {0};
    hn_vocab_text model = find_member((hn_vocab_text){json, size}, "model");
    if (!model.size)
        return parts;
    hn_vocab_text vocab = find_member(model, "vocab"), merges = find_member(model, "merges");
    if (vocab.size && *vocab.data == '{')
        parts.vocab = vocab;
    if (merges.size && *merges.data == '[')
        parts.merges = merges;
    return parts;
}
