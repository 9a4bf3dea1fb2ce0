/* SHA-256 for identity and integrity, and a fast 64-bit hash for tables. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { HN_SHA256_BYTES = 32, HN_SHA256_HEX = 65 /* 64 digits and a NUL */ };

typedef struct hn_sha256 {
    void *context; /* EVP_MD_CTX */
} hn_sha256;

HN_MUST_CHECK hn_status hn_sha256_init(hn_sha256 *sha, hn_error *err);
void hn_sha256_update(hn_sha256 *sha, const void *data, size_t n_bytes);
/* Writes the digest and frees the context. */
void hn_sha256_final(hn_sha256 *sha, uint8_t digest[HN_SHA256_BYTES]);
void hn_sha256_hex(const uint8_t digest[HN_SHA256_BYTES], char hex[HN_SHA256_HEX]);

HN_MUST_CHECK hn_status hn_sha256_data(const void *data, size_t n_bytes, char hex[HN_SHA256_HEX],
                                       hn_error *err);
HN_MUST_CHECK hn_status hn_sha256_file(const char *path, char hex[HN_SHA256_HEX], hn_error *err);

/* Not for untrusted keys that an attacker may choose to collide without a per-process seed. */
uint64_t hn_hash64(const void *data, size_t n_bytes, uint64_t seed);
