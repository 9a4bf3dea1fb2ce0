/* API keys. Only their hashes are kept; a presented key is hashed and compared with all of them in
 * constant time, so that neither its length nor a common beginning shows. */
#include "http/internal.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

enum { MAX_FILE = 16 << 20 };

typedef struct entry {
    char hash[HN_SHA256_HEX];
    char name[64];
} entry;

struct hn_http_keys {
    entry *keys;
    size_t n, capacity;
};

static hn_status add(hn_http_keys *keys, const char *text, const char *name, hn_error *err) {
    if (keys->n == keys->capacity) {
        size_t capacity = keys->capacity ? 2 * keys->capacity : 8;
        entry *more = hn_reallocarray(keys->keys, capacity, sizeof *more);
        if (!more)
            return hn_fail_no_memory(err, capacity * sizeof *more);
        keys->keys = more;
        keys->capacity = capacity;
    }
    entry *k = &keys->keys[keys->n];
    HN_TRY(hn_sha256_data(text, strlen(text), k->hash, err));
    if (name)
        snprintf(k->name, sizeof k->name, "%s", name);
    else
        snprintf(k->name, sizeof k->name, "key-%zu", keys->n + 1);
    keys->n++;
    return HN_OK;
}

/* "KEY", "NAME KEY", or a comment. */
static hn_status add_line(hn_http_keys *keys, char *line, const char *path, int number,
                          hn_error *err) {
    static const char BLANKS[] = " \t\r";
    char *words[3] = {NULL}, *save = NULL;
    size_t n = 0;
    for (char *w = strtok_r(line, BLANKS, &save); w && w[0] != '#';
         w = strtok_r(NULL, BLANKS, &save))
        if (n < 3)
            words[n++] = w;
    if (n == 0)
        return HN_OK;
    if (n > 2)
        return hn_fail(err, HN_BAD_INPUT, "%s:%d: write KEY, or NAME KEY", path, number);
    const char *text = words[n - 1], *name = n == 2 ? words[0] : NULL;
    if (strlen(text) < 8)
        return hn_fail(err, HN_BAD_INPUT, "%s:%d: a key has at least 8 characters", path, number);
    for (const char *c = name ? name : ""; *c; c++)
        if (!hn_http_is_token_char((unsigned char)*c))
            return hn_fail(err, HN_BAD_INPUT, "%s:%d: a name is letters, digits, '-', '.' or '_'",
                           path, number);
    return add(keys, text, name, err);
}

static hn_status add_file(hn_http_keys *keys, const char *path, hn_error *err) {
    char *text = NULL;
    size_t size;
    int number = 0;
    HN_TRY(hn_file_read(path, MAX_FILE, &text, &size, err));
    hn_status status = HN_OK;
    const size_t before = keys->n;
    for (char *line = text, *end; line && status == HN_OK; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        status = add_line(keys, line, path, ++number, err);
    }
    if (status == HN_OK && keys->n == before)
        status = hn_fail(err, HN_BAD_INPUT, "%s: no key in it; write one a line", path);
    OPENSSL_cleanse(text, size);
    hn_free(text);
    return status;
}

hn_status hn_http_keys_read(hn_http_keys **keys, const char *path, const char *key, hn_error *err) {
    hn_status status = HN_OK;
    hn_http_keys *k = NULL;
    if (path || key) {
        k = hn_calloc(1, sizeof *k);
        if (!k)
            return hn_fail_no_memory(err, sizeof *k);
        if (path)
            HN_GO(add_file(k, path, err));
        if (key)
            HN_GO(add(k, key, NULL, err));
    }
    *keys = k;
    k = NULL;
done:
    hn_http_keys_free(k);
    return status;
}

void hn_http_keys_free(hn_http_keys *keys) {
    if (!keys)
        return;
    hn_free(keys->keys);
    hn_free(keys);
}

int hn_http_keys_find(const hn_http_keys *keys, const char *presented) {
    char hash[HN_SHA256_HEX];
    int found = -1;
    if (hn_sha256_data(presented, strlen(presented), hash, NULL) != HN_OK)
        return -1;
    for (size_t i = 0; i < keys->n; i++)
        if (CRYPTO_memcmp(hash, keys->keys[i].hash, HN_SHA256_HEX) == 0)
            found = (int)i;
    return found;
}

const char *hn_http_keys_name(const hn_http_keys *keys, int key) {
    return key >= 0 && (size_t)key < keys->n ? keys->keys[key].name : "";
}
