/* What is decided once a request's head is read: its id, its route, whether its origin, its key and
 * its length are welcome. Nothing of its body has been read by then. */
#include "http/internal.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static void hex(char *out, const unsigned char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* "00-<32 hex>-<16 hex>-<2 hex>" (W3C Trace Context); the id isn't all zeros. */
static bool take_trace(hn_http_call *call, const char *text) {
    static const char DIGITS[] = "0123456789abcdef";
    if (!text || strlen(text) != 55 || strncmp(text, "00-", 3) != 0 ||
        strspn(text + 3, DIGITS) != 32 || text[35] != '-' || strspn(text + 36, DIGITS) != 16 ||
        text[52] != '-' || strspn(text + 53, DIGITS) != 2 || strspn(text + 3, "0") == 32)
        return false;
    memcpy(call->trace_id, text + 3, 32);
    return true;
}

void hn_http_identify(hn_http_call *call) {
    unsigned char random[16] = {0};
    const char *id = hn_http_head_get(&call->head, "X-Request-Id");
    take_trace(call, hn_http_head_get(&call->head, "traceparent"));
    if (id && hn_http_is_plain(id, HN_HTTP_ID_BYTES - 1, ":/+=@")) {
        snprintf(call->id, sizeof call->id, "%s", id);
        return;
    }
    (void)!RAND_bytes(random, sizeof random); /* an id that is taken twice does no harm */
    hex(call->id, random, sizeof random);
}

static bool serves(const hn_http_route *route, const char *method) {
    return strcmp(route->method, method) == 0 ||
           (strcmp(route->method, "GET") == 0 && strcmp(method, "HEAD") == 0);
}

/* How much of the path the route's text is; 0 = another path. */
static size_t match(const hn_http_route *route, const char *path) {
    size_t n = strlen(route->path);
    if (n && route->path[n - 1] == '*')
        return strncmp(route->path, path, n - 1) == 0 && path[n - 1] ? n - 1 : 0;
    return strcmp(route->path, path) == 0 ? n + 1 : 0;
}

/* Text ends in the end of a path: from a slash on. */
static bool ends_in(const char *text, size_t n, const char *path, size_t n_path) {
    return n_path > 1 && n >= n_path && memcmp(text + n - n_path, path, n_path) == 0;
}

/* The route that was meant with a part too much or too little before it, such as /v1, or a slash
 * behind it: the nearest in length; NULL. */
static const char *find_meant(const hn_http_server *server, const char *path) {
    size_t n = strlen(path), least = SIZE_MAX;
    const char *meant = NULL;
    while (n > 1 && path[n - 1] == '/')
        n--;
    for (size_t t = 0; t < server->n_tables; t++)
        for (size_t i = 0; i < server->tables[t].n; i++) {
            const char *route = server->tables[t].routes[i].path;
            const size_t n_route = strlen(route), apart = n > n_route ? n - n_route : n_route - n;
            if (apart < least &&
                (ends_in(path, n, route, n_route) || ends_in(route, n_route, path, n))) {
                least = apart;
                meant = route;
            }
        }
    return meant;
}

/* Sets the call's route, or leaves it NULL and lists in `allow` what the path serves. */
static void find_route(const hn_http_server *server, hn_http_call *call, hn_buf *allow) {
    const char *path = call->head.path;
    size_t longest = 0;
    for (size_t t = 0; t < server->n_tables; t++)
        for (size_t i = 0; i < server->tables[t].n; i++) {
            size_t n = match(&server->tables[t].routes[i], path);
            longest = n > longest ? n : longest;
        }
    for (size_t t = 0; t < server->n_tables && longest; t++)
        for (size_t i = 0; i < server->tables[t].n; i++) {
            const hn_http_route *route = &server->tables[t].routes[i];
            if (match(route, path) != longest)
                continue;
            hn_buf_printf(allow, "%s%s", allow->size ? ", " : "", route->method);
            if (strcmp(route->method, "GET") == 0)
                hn_buf_puts(allow, ", HEAD");
            if (!call->route && serves(route, call->head.method)) {
                call->route = route;
                call->route_context = server->tables[t].context;
                size_t n = strlen(route->path);
                if (route->path[n - 1] == '*')
                    call->tail = path + n - 1;
            }
        }
    if (longest)
        hn_buf_puts(allow, ", OPTIONS");
}

/* Whether the list of the options names this origin; *origin is what the answer says. */
static bool allows_origin(const char *list, const char **origin) {
    static const char BLANKS[] = " ,\t";
    while (list && *list) {
        list += strspn(list, BLANKS);
        size_t n = strcspn(list, BLANKS);
        if (n == 1 && *list == '*') {
            *origin = "*";
            return true;
        }
        if (n && strlen(*origin) == n && strncasecmp(list, *origin, n) == 0)
            return true;
        list += n;
    }
    return false;
}

/* "127.0.0.1:8080", "[::1]:8080", "localhost:8080": no name that somebody else's DNS answers. */
static bool is_literal(const char *host) {
    static const char LOCAL[] = "localhost";
    const size_t n = sizeof LOCAL - 1;
    if (host[0] == '[' || host[strspn(host, "0123456789.")] == ':' ||
        !host[strspn(host, "0123456789.")])
        return true;
    return strncasecmp(host, LOCAL, n) == 0 && (host[n] == ':' || !host[n]);
}

/* "https://host:port" is where the request itself went. A name could have been made to point here
 * by the page's own DNS (rebinding), so that only an address counts. */
static bool is_own_origin(const hn_http_call *call, const char *origin) {
    const char *host = hn_http_head_get(&call->head, "Host");
    const char *name = strstr(origin, "://");
    return host && name && strcasecmp(name + 3, host) == 0 && is_literal(host);
}

static void preflight(hn_http_call *call, const char *allow) {
    const char *wanted = hn_http_head_get(&call->head, "Access-Control-Request-Headers");
    hn_http_field fields[5] = {{"Allow", allow}};
    if (call->cors_origin) {
        fields[1] = (hn_http_field){"Access-Control-Allow-Methods", allow};
        fields[2] = (hn_http_field){"Access-Control-Allow-Headers",
                                    wanted ? wanted : "Authorization, Content-Type, X-Api-Key"};
        fields[3] = (hn_http_field){"Access-Control-Max-Age", "86400"};
    }
    hn_http_reply(call, 204, NULL, NULL, 0, fields);
}

/* Looks at the key; answers and returns false without a right one. */
static bool check_key(hn_http_server *server, hn_http_call *call) {
    static const hn_http_field CHALLENGE = {"WWW-Authenticate", "Bearer"};
    const char *presented = hn_http_head_get(&call->head, "Authorization");
    if (presented && strncasecmp(presented, "Bearer ", 7) == 0)
        presented += 7 + strspn(presented + 7, " ");
    else
        presented = hn_http_head_get(&call->head, "X-Api-Key");
    if (!server->keys)
        return true;
    call->key = presented ? hn_http_keys_find(server->keys, presented) : -1;
    if (call->key >= 0) {
        snprintf(call->key_name, sizeof call->key_name, "%s",
                 hn_http_keys_name(server->keys, call->key));
        return true;
    }
    if (call->route->is_public)
        return true;
    atomic_fetch_add(&server->n_rejected_keys, 1);
    hn_http_fail_with(call, &(hn_http_problem){.status = 401, .code = "invalid_api_key"},
                      &CHALLENGE,
                      presented ? "this API key isn't known here"
                                : "an API key is needed: Authorization: Bearer KEY, or X-Api-Key");
    return false;
}

/* Path, method and origin; answers and returns false when one isn't served. */
static bool check_route(hn_http_server *server, hn_http_call *call, const char *allow) {
    const char *method = call->head.method;
    const char *origin = hn_http_head_get(&call->head, "Origin");
    const char *allowed = origin;
    if (origin && allows_origin(server->options.cors_origins, &allowed))
        call->cors_origin = allowed;
    if (strcmp(method, "OPTIONS") == 0 && (*allow || strcmp(call->head.path, "*") == 0)) {
        preflight(call, *allow ? allow : "GET, HEAD, POST, OPTIONS");
        return false;
    }
    if (!*allow) {
        const char *meant = find_meant(server, call->head.path);
        hn_http_fail(call, &(hn_http_problem){.status = 404, .code = "not_found"},
                     "there is nothing at %s%s%s", call->head.path, meant ? ": served is " : "",
                     meant ? meant : "");
        return false;
    }
    if (!call->route) {
        char text[128];
        snprintf(text, sizeof text, "%s serves %.80s", "this path", allow);
        hn_http_fail_with(call, &(hn_http_problem){.status = 405, .code = "method_not_allowed"},
                          &(hn_http_field){"Allow", allow}, text);
        return false;
    }
    /* Without keys any page that somebody has open could use the server through their browser: a
     * plain POST needs no preflight. */
    if (origin && !call->cors_origin && !server->keys && !is_own_origin(call, origin) &&
        strcmp(call->route->method, "GET") != 0) {
        hn_http_fail(call, &(hn_http_problem){.status = 403, .code = "origin_not_allowed"},
                     "pages of another origin may not use this server; --cors-origin allows them");
        return false;
    }
    return true;
}

bool hn_http_admit(hn_http_server *server, hn_http_call *call) {
    hn_buf allow = {0};
    find_route(server, call, &allow);
    bool ok = check_route(server, call, hn_buf_text(&allow));
    hn_buf_done(&allow);
    if (!ok)
        return false;
    if (atomic_load(&server->box->draining) && !call->route->while_draining) {
        hn_http_fail(call,
                     &(hn_http_problem){.status = 503, .retry_after_s = 1, .code = "draining"},
                     "the server is shutting down");
        return false;
    }
    if (!check_key(server, call))
        return false;
    if (call->head.length > server->options.max_body_bytes) {
        hn_http_fail(call, &(hn_http_problem){.status = 413, .code = "body_too_large"},
                     "the body is larger than the %zu bytes allowed",
                     server->options.max_body_bytes);
        return false;
    }
    return true;
}
