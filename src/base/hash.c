#include "base/hash.h"

#include "base/file.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

hn_status hn_sha256_init(hn_sha256 *sha, hn_error *err) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context || !EVP_DigestInit_ex(context, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(context);
        return hn_fail(err, HN_FAILED, "SHA-256 is not available in this machine's libcrypto");
    }
    sha->context = context;
    return HN_OK;
}

void hn_sha256_update(hn_sha256 *sha, const void *data, size_t n_bytes) {
    EVP_DigestUpdate(sha->context, data, n_bytes);
}

void hn_sha256_final(hn_sha256 *sha, uint8_t digest[HN_SHA256_BYTES]) {
    EVP_DigestFinal_ex(sha->context, digest, NULL);
    EVP_MD_CTX_free(sha->context);
    sha->context = NULL;
}

void hn_sha256_hex(const uint8_t digest[HN_SHA256_BYTES], char hex[HN_SHA256_HEX]) {
    for (int i = 0; i < HN_SHA256_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

hn_status hn_sha256_data(const void *data, size_t n_bytes, char hex[HN_SHA256_HEX], hn_error *err) {
    hn_sha256 sha;
    uint8_t digest[HN_SHA256_BYTES];
    HN_TRY(hn_sha256_init(&sha, err));
    hn_sha256_update(&sha, data, n_bytes);
    hn_sha256_final(&sha, digest);
    hn_sha256_hex(digest, hex);
    return HN_OK;
}

hn_status hn_sha256_file(const char *path, char hex[HN_SHA256_HEX], hn_error *err) {
    hn_map map;
    HN_TRY(hn_map_open(&map, path, err));
    hn_status status = hn_sha256_data(map.data, map.size, hex, err);
    hn_map_close(&map);
    return status;
}

/* Multiply-and-fold over 8-byte words; the final avalanche is MurmurHash3's (public domain). */
uint64_t hn_hash64(const void *data, size_t n_bytes, uint64_t seed) {
    const uint64_t multiplier = 0x9E3779B97F4A7C15u;
    const uint8_t *p = data;
    uint64_t h = seed ^ (n_bytes * multiplier);
    for (; n_bytes >= 8; p += 8, n_bytes -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * multiplier;
        h ^= h >> 32;
    }
    uint64_t tail = 0;
    if (n_bytes)
        memcpy(&tail, p, n_bytes);
    h = (h ^ tail) * multiplier;
    h ^= h >> 33;
    h *= 0xFF51AFD7ED558CCDu;
    h ^= h >> 33;
    h *= 0xC4CEB9FE1A85EC53u;
    return h ^ h >> 33;
}
