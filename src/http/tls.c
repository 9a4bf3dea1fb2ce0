/* TLS: a context from two PEM files. */
#include "http/internal.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

/* HTTP/1.1 is all that is spoken here. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                           const unsigned char *in, unsigned n_in, void *context) {
    static const unsigned char OURS[] = "\x08http/1.1";
    (void)ssl;
    (void)context;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, n_out, OURS, sizeof OURS - 1, in, n_in) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Nobody is there to be asked for a key's passphrase. */
static int no_passphrase(char *out, int n, int writing, void *context) {
    (void)out, (void)n, (void)writing, (void)context;
    return -1;
}

static hn_status fail(hn_error *err, const char *path, const char *what) {
    char text[256];
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    ERR_clear_error();
    return hn_fail(err, HN_BAD_INPUT, "%s: %s (%s)", path, what, text);
}

hn_status hn_http_tls_open(SSL_CTX **out, const char *cert, const char *key, hn_error *err) {
    hn_status status = HN_OK;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        return hn_fail(err, HN_NO_MEMORY, "TLS couldn't be set up");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_default_passwd_cb(context, no_passphrase);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        status = fail(err, cert, "is no certificate in PEM form that can be read");
    else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        status = fail(err, key, "is no private key in PEM form that can be read");
    else if (SSL_CTX_check_private_key(context) != 1)
        status = fail(err, key, "doesn't belong to the certificate");
    if (status == HN_OK)
        *out = context;
    else
        SSL_CTX_free(context);
    return status;
}

void hn_http_tls_close(SSL_CTX *context) {
    SSL_CTX_free(context);
}
