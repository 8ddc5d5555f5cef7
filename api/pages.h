/* The pages of the HTTP door, without HTTP: a path and its arguments in, a body out.
 *
 * Owner: the caller. Lifetime: of the call; the body is the caller's. Threads: any. */
#ifndef API_PAGES_H
#define API_PAGES_H

#include "api/server.h"
#include "node/node.h"
#include "raftgroup/base/bytes.h"

#include <stdbool.h>

#define API_GROUPS_TOP_MAX 1000 /* groups of one /metrics/groups page */

/* What pages are about. */
struct api_site {
    struct node *node;
    struct api_server *server; /* NULL: no gRPC door, its families are left out */
};

/* The value of an argument of the query; "" when it was given without one, NULL when not at all. */
typedef const char *api_argument_fn(void *context, const char *name);

struct api_page {
    unsigned status; /* HTTP */
    const char *content_type;
    struct fl_writer body; /* the caller closes it */
};

/* Makes the page of `path`; one that does not exist is a 404 page. */
void api_page_make(const struct api_site *site,
                   const char *path,
                   api_argument_fn *argument,
                   void *context,
                   struct api_page *page);

/* The two of metrics_page.c: Prometheus text. */
void api_metrics_write(const struct api_site *site, struct fl_writer *w);
/* `by` is "lag", "apply" or "log": the `top` groups that have most of it. */
void api_metrics_groups_write(const struct node_view *view,
                              size_t top,
                              const char *by,
                              struct fl_writer *w);

#endif
