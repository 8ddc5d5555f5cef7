/* Parsing of http:// URLs and the lists of them that options hold. */
#include "node/url.h"

#include "node/options_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

char *node__copy_text(struct fl_bytes text)
{
    char *copy = fl_xmalloc(text.len + 1);

    if (text.len != 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}

static bool url_refuse(char *why, size_t why_bytes, struct fl_bytes text, const char *problem)
{
    (void)snprintf(why,
                   why_bytes,
                   "'%.*s' is not a usable URL: %s; write it as http://HOST:PORT",
                   (int)(text.len < 200 ? text.len : 200),
                   text.len == 0 ? "" : (const char *)text.data,
                   problem);
    return false;
}

static bool host_is_valid(struct fl_bytes host, bool bracketed)
{
    const char *allowed = bracketed ? "0123456789abcdefABCDEF:."
                                    : "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789.-_";

    if (host.len == 0 || host.len > 253) {
        return false;
    }
    for (size_t i = 0; i < host.len; i++) {
        if (host.data[i] == 0 || strchr(allowed, host.data[i]) == NULL) {
            return false;
        }
    }
    return true;
}

static bool port_parse(struct fl_bytes text, uint16_t *port)
{
    unsigned long value = 0;

    if (text.len == 0 || text.len > 5) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (unsigned long)(text.data[i] - '0');
    }
    *port = (uint16_t)value;
    return value >= 1 && value <= UINT16_MAX;
}

/* Splits host:port or [host]:port. */
static bool authority_split(struct fl_bytes text, struct fl_bytes *host, struct fl_bytes *port)
{
    size_t colon = text.len;

    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0) {
        return false;
    }
    *host = fl_bytes(text.data, colon - 1);
    *port = fl_bytes(text.data + colon, text.len - colon);
    return true;
}

bool node_url_parse(struct node_url *url, struct fl_bytes text, char *why, size_t why_bytes)
{
    static const char scheme[] = "http://";
    size_t scheme_bytes = sizeof scheme - 1;
    struct fl_bytes rest;
    struct fl_bytes host;
    struct fl_bytes port;
    bool bracketed;
    size_t text_bytes;

    *url = (struct node_url){NULL, NULL, 0};
    if (text.len >= 8 && strncasecmp((const char *)text.data, "https://", 8) == 0) {
        return url_refuse(why, why_bytes, text, "TLS is not supported");
    }
    if (text.len < scheme_bytes ||
        strncasecmp((const char *)text.data, scheme, scheme_bytes) != 0) {
        return url_refuse(why, why_bytes, text, "it does not start with http://");
    }
    rest = fl_bytes(text.data + scheme_bytes, text.len - scheme_bytes);
    if (rest.len > 0 && rest.data[rest.len - 1] == '/') {
        rest.len--;
    }
    if (!authority_split(rest, &host, &port)) {
        return url_refuse(why, why_bytes, text, "it has no port");
    }
    bracketed = host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']';
    if (bracketed) {
        host = fl_bytes(host.data + 1, host.len - 2);
    }
    if (!host_is_valid(host, bracketed)) {
        return url_refuse(why, why_bytes, text, "its host is not a name or address");
    }
    if (!port_parse(port, &url->port)) {
        return url_refuse(why, why_bytes, text, "its port is not a number from 1 to 65535");
    }
    url->host = node__copy_text(host);
    for (char *c = url->host; *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + ('a' - 'A') : *c);
    }
    text_bytes = scheme_bytes + host.len + sizeof "[]:65535";
    url->text = fl_xmalloc(text_bytes);
    (void)snprintf(url->text,
                   text_bytes,
                   bracketed ? "http://[%s]:%u" : "http://%s:%u",
                   url->host,
                   (unsigned)url->port);
    return true;
}

void node_url_close(struct node_url *url)
{
    free(url->text);
    free(url->host);
    *url = (struct node_url){NULL, NULL, 0};
}

void node_url_list_close(struct node_url_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        node_url_close(&list->urls[i]);
    }
    free(list->urls);
    *list = (struct node_url_list){NULL, 0};
}

void node_url_list_append(struct node_url_list *list, struct node_url url)
{
    list->urls = fl_xrealloc(list->urls, list->count + 1, sizeof *list->urls);
    list->urls[list->count++] = url;
}

void node_url_list_copy(struct node_url_list *to, const struct node_url_list *from)
{
    for (size_t i = 0; i < from->count; i++) {
        struct node_url copy = {
            .text = fl_xstrdup(from->urls[i].text),
            .host = fl_xstrdup(from->urls[i].host),
            .port = from->urls[i].port,
        };

        node_url_list_append(to, copy);
    }
}

bool node_url_list_has(const struct node_url_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->urls[i].text, text) == 0) {
            return true;
        }
    }
    return false;
}
