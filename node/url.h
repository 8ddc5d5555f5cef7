/* http://host:port as options carry it, checked, and short lists of such URLs.
 *
 * Owner: whoever holds the struct. Lifetime: until the close function.
 * Threads: none of its own; a list that nobody changes may be read by any. */
#ifndef NODE_URL_H
#define NODE_URL_H

#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_URLS_MAX 8 /* of one list */

struct node_url {
    char *text; /* normal form: http://host:port, lower case, an IPv6 address in brackets */
    char *host; /* name or address, without brackets */
    uint16_t port;
};

struct node_url_list {
    struct node_url *urls;
    size_t count; /* 1..NODE_URLS_MAX after parsing of options */
};

/* Parses one URL; on failure false, a sentence in `why`, and nothing to close. */
bool node_url_parse(struct node_url *url, struct fl_bytes text, char *why, size_t why_bytes);
void node_url_close(struct node_url *url);

/* Takes `url` over. */
void node_url_list_append(struct node_url_list *list, struct node_url url);
/* Appends copies of every URL of `from`. */
void node_url_list_copy(struct node_url_list *to, const struct node_url_list *from);
/* Is this normal form in the list? */
bool node_url_list_has(const struct node_url_list *list, const char *text);
void node_url_list_close(struct node_url_list *list);

#endif
