/* Addresses to listen on: opened for the HTTP door, tried out for the gRPC door.
 *
 * Owner: the caller owns the sockets it gets. Lifetime: until it closes them. Threads: any. */
#ifndef API_LISTEN_H
#define API_LISTEN_H

#include "node/url.h"

#include <stdbool.h>
#include <stddef.h>

#define API_LISTEN_SOCKETS_MAX 8 /* addresses of one URL; localhost has two */

/* Listening sockets on every address of `url` that this machine has (a missing IPv6 is no error).
 * Returns their number; 0 with a sentence in `why` when none can be had or one is in use. `flag`
 * names the option to change. */
size_t api_listen_open(const struct node_url *url,
                       const char *flag,
                       int sockets[API_LISTEN_SOCKETS_MAX],
                       char *why,
                       size_t why_bytes);

/* Could every URL of the list be listened on now? If not, a sentence in `why`. */
bool api_listen_check(const struct node_url_list *urls,
                      const char *flag,
                      char *why,
                      size_t why_bytes);

#endif
