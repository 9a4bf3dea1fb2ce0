/* The head of a request: its end, its request line, its fields and what they say of the body. */
#include "http/parse.h"

#include "base/mem.h"
#include "base/text.h"

#include <string.h>
#include <strings.h>

bool hn_http_is_token_char(unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool hn_http_is_plain(const char *text, size_t max, const char *more) {
    size_t n = 0;
    for (; text[n]; n++)
        if (n == max || (!hn_http_is_token_char((unsigned char)text[n]) && !strchr(more, text[n])))
            return false;
    return n > 0;
}

long hn_http_head_scan(const char *text, size_t n, size_t *from) {
    for (size_t i = *from; i < n; i++) {
        if (text[i] == '\0')
            return -1;
        if (text[i] != '\n')
            continue;
        if (i == 0 || text[i - 1] != '\r')
            return -1;
        if (i >= 3 && text[i - 2] == '\n' && text[i - 3] == '\r')
            return (long)(i + 1);
    }
    *from = n;
    return 0;
}

const char *hn_http_head_get(const hn_http_head *head, const char *name) {
    for (size_t i = 0; i < head->n_fields; i++)
        if (strcasecmp(head->fields[i].name, name) == 0)
            return head->fields[i].value;
    return NULL;
}

static size_t count(const hn_http_head *head, const char *name) {
    size_t n = 0;
    for (size_t i = 0; i < head->n_fields; i++)
        n += strcasecmp(head->fields[i].name, name) == 0;
    return n;
}

/* True when the comma-separated field has this word. */
static bool has_word(const char *list, const char *word) {
    size_t n = strlen(word);
    while (list && *list) {
        list += strspn(list, " \t,");
        size_t length = strcspn(list, " \t,");
        if (length == n && strncasecmp(list, word, n) == 0)
            return true;
        list += length;
    }
    return false;
}

static int refuse(int status, const char **why, const char *text) {
    *why = text;
    return status;
}

/* "a%20b" to "a b", in place. */
static bool percent_decode(char *text) {
    char *out = text;
    for (const char *in = text; *in; in++) {
        unsigned char c = (unsigned char)*in;
        if (c == '%') {
            int high = hn_hex_digit(in[1]), low = high < 0 ? -1 : hn_hex_digit(in[2]);
            if (low < 0)
                return false;
            c = (unsigned char)(high << 4 | low);
            in += 2;
        }
        if (c < ' ' || c == 0x7f)
            return false;
        *out++ = (char)c;
    }
    *out = '\0';
    return true;
}

/* "/path?query", "http://host/path?query", or "*". */
static int parse_target(hn_http_head *head, char *target, const char **why) {
    for (const unsigned char *c = (const unsigned char *)target; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || *c == '#')
            return refuse(400, why, "the request's target has bytes that must be percent-encoded");
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        target = strchr(target, ':') + 3;
        target += strcspn(target, "/?");
        if (*target != '/')
            return refuse(400, why, "the request's target has no path");
    }
    char *query = strchr(target, '?');
    if (query) {
        *query = '\0';
        head->query = query + 1;
    }
    if (target[0] != '/' && (strcmp(target, "*") != 0 || strcmp(head->method, "OPTIONS") != 0))
        return refuse(400, why, "the request's target must begin with '/'");
    if (!percent_decode(target))
        return refuse(400, why, "the request's path isn't validly percent-encoded");
    head->path = target;
    return 0;
}

/* "GET /path HTTP/1.1" */
static int parse_request_line(hn_http_head *head, char *line, const char **why) {
    static const char WRONG[] = "the request line must be: METHOD TARGET HTTP/1.1";
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version)
        return refuse(400, why, WRONG);
    *target++ = *version++ = '\0';
    if (!hn_http_is_plain(line, 16, ""))
        return refuse(400, why, WRONG);
    head->method = line;
    if (strcmp(version, "HTTP/1.1") == 0)
        head->minor = 1;
    else if (strcmp(version, "HTTP/1.0") == 0)
        head->minor = 0;
    else
        return refuse(strncmp(version, "HTTP/", 5) == 0 ? 505 : 400, why,
                      "this server speaks HTTP/1.1 and HTTP/1.0");
    return parse_target(head, target, why);
}

/* "Name: value" */
static int parse_field(hn_http_head *head, char *line, const char **why) {
    char *colon = strchr(line, ':');
    if (!colon)
        return refuse(400, why, "a header line has no colon");
    char *end = line + strlen(line);
    *colon = '\0';
    if (!hn_http_is_plain(line, HN_HTTP_MAX_HEAD, "")) /* a folded line too, and "Name :" */
        return refuse(400, why, "a header's name has a byte that doesn't belong there");
    char *value = colon + 1;
    while (*value == ' ' || *value == '\t')
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        *--end = '\0';
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        if ((*c < ' ' && *c != '\t') || *c == 0x7f)
            return refuse(400, why, "a header's value has a control character");
    if (head->n_fields == HN_HTTP_MAX_FIELDS)
        return refuse(431, why, "the request has too many headers");
    head->fields[head->n_fields++] = (hn_http_field){line, value};
    return 0;
}

/* How long the body is; two answers to that are refused (request smuggling). */
static int parse_framing(hn_http_head *head, const char **why) {
    const char *length = hn_http_head_get(head, "Content-Length");
    const char *coding = hn_http_head_get(head, "Transfer-Encoding");
    if (count(head, "Content-Length") > 1)
        return refuse(400, why, "the request has two Content-Length headers");
    if (length && coding)
        return refuse(400, why, "the request has both Content-Length and Transfer-Encoding");
    if (coding) {
        if (count(head, "Transfer-Encoding") > 1 || head->minor == 0)
            return refuse(400, why, "Transfer-Encoding must stand once, in HTTP/1.1");
        if (strcasecmp(coding, "chunked") != 0)
            return refuse(501, why, "the only transfer encoding known here is chunked");
        head->chunked = true;
    }
    if (length) {
        size_t n = strspn(length, "0123456789");
        if (n == 0 || length[n])
            return refuse(400, why, "Content-Length must be a decimal number");
        head->has_length = true;
        for (; *length; length++)
            if (__builtin_mul_overflow(head->length, 10, &head->length) ||
                __builtin_add_overflow(head->length, (uint64_t)(*length - '0'), &head->length))
                return refuse(413, why, "Content-Length is beyond any limit");
    }
    return 0;
}

/* What the fields together say. */
static int parse_meaning(hn_http_head *head, const char **why) {
    size_t hosts = count(head, "Host");
    if (hosts > 1 || (hosts == 0 && head->minor == 1))
        return refuse(400, why, "an HTTP/1.1 request has one Host header");
    const char *connection = hn_http_head_get(head, "Connection");
    head->keep_alive =
        head->minor == 1 ? !has_word(connection, "close") : has_word(connection, "keep-alive");
    const char *expect = hn_http_head_get(head, "Expect");
    if (expect && strcasecmp(expect, "100-continue") != 0)
        return refuse(417, why, "the only expectation known here is 100-continue");
    head->expects_continue = expect && head->minor == 1;
    const char *encoding = hn_http_head_get(head, "Content-Encoding");
    if (encoding && strcasecmp(encoding, "identity") != 0)
        return refuse(415, why, "the body is compressed: send it without a Content-Encoding");
    return parse_framing(head, why);
}

int hn_http_head_parse(hn_http_head *head, const char *text, size_t n, const char **why) {
    *head = (hn_http_head){.method = "", .path = "", .query = "", .minor = 1};
    while (n >= 2 && text[0] == '\r' &&
           text[1] == '\n') /* RFC 9112, 2.2: lines before are ignored */
        text += 2, n -= 2;
    head->text = hn_strndup(text, n);
    head->fields = hn_calloc(HN_HTTP_MAX_FIELDS, sizeof *head->fields);
    if (!head->text || !head->fields)
        return refuse(503, why, "the server is short of memory");
    char *line = head->text;
    for (size_t i = 0; line[0]; i++) {
        char *end = strchr(line, '\n');
        if (!end || end == line || end[-1] != '\r')
            return refuse(400, why, "a line of the request's head doesn't end in CR LF");
        end[-1] = '\0';
        if (end - 1 == line)
            break;
        if (strchr(line, '\r'))
            return refuse(400, why, "a carriage return stands inside a line");
        if (i == 0 && end - line > HN_HTTP_MAX_TARGET)
            return refuse(414, why, "the request line is too long");
        int status = i == 0 ? parse_request_line(head, line, why) : parse_field(head, line, why);
        if (status)
            return status;
        line = end + 1;
    }
    if (!head->method[0])
        return refuse(400, why, "the request is empty");
    return parse_meaning(head, why);
}

void hn_http_head_done(hn_http_head *head) {
    hn_free(head->text);
    hn_free(head->fields);
    *head = (hn_http_head){.method = "", .path = "", .query = ""};
}
