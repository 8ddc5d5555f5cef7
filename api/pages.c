/* Routes, and the small pages: health in etcd's form and in Kubernetes' form, version. */
#include "api/pages.h"

#include "api/header.h"
#include "api/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json"

/* --- readiness ------------------------------------------------------------------------------ */

/* One thing a ready node has; `why` says what is missing. */
struct check {
    const char *name;
    bool (*holds)(const struct node_view *view);
    const char *why;
};

static bool knows_ranges(const struct node_view *view)
{
    return api_view_first_range(view) != NULL;
}

static bool has_leader(const struct node_view *view)
{
    return view->leader != 0;
}

static bool ranges_available(const struct node_view *view)
{
    return view->ready && api_view_leaderless(view) == 0;
}

static bool is_serving(const struct node_view *view)
{
    return !view->draining;
}

static const struct check checks[] = {
    {"placement", knows_ranges, "the range map is not known yet"},
    {"leader", has_leader, "the first range has no leader"},
    {"ranges", ranges_available, "a range has no leader or is not open"},
    {"serving", is_serving, "this node is draining"},
};

#define CHECKS (sizeof checks / sizeof checks[0])

/* The first check that does not hold, or NULL. */
static const struct check *first_failed(const struct node_view *view)
{
    for (size_t i = 0; i < CHECKS; i++) {
        if (!checks[i].holds(view)) {
            return &checks[i];
        }
    }
    return NULL;
}

/* --- pages ---------------------------------------------------------------------------------- */

struct visit {
    const struct api_site *site;
    const struct node_view *view;
    const char *rest; /* of the path, behind the route */
    api_argument_fn *argument;
    void *context;
    struct api_page *page;
};

static void not_found(struct visit *v)
{
    v->page->status = 404;
    api_text(&v->page->body,
             "not found; there are /metrics /metrics/groups /health /livez /readyz /version\n");
}

static void metrics_page(struct visit *v)
{
    v->page->content_type = "text/plain; version=0.0.4; charset=utf-8";
    api_metrics_write(v->site, &v->page->body);
}

static bool parse_count(const char *text, size_t *count)
{
    char *end;
    unsigned long value;

    if (text == NULL) {
        return true;
    }
    errno = 0;
    value = strtoul(text, &end, 10);
    *count = value;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value >= 1 &&
           value <= API_GROUPS_TOP_MAX;
}

static void groups_page(struct visit *v)
{
    const char *by = v->argument(v->context, "by");
    size_t top = 10;

    by = by == NULL ? "lag" : by;
    if (!parse_count(v->argument(v->context, "top"), &top) ||
        (strcmp(by, "lag") != 0 && strcmp(by, "apply") != 0 && strcmp(by, "log") != 0)) {
        v->page->status = 400;
        api_text(&v->page->body,
                 "usage: /metrics/groups?top=N&by=lag|apply|log with N from 1 to %d\n",
                 API_GROUPS_TOP_MAX);
        return;
    }
    v->page->content_type = "text/plain; version=0.0.4; charset=utf-8";
    api_metrics_groups_write(v->view, top, by, &v->page->body);
}

/* etcd's form: a JSON object whose fields are texts. */
static void health_page(struct visit *v)
{
    const struct check *failed = first_failed(v->view);

    v->page->content_type = JSON;
    v->page->status = failed == NULL ? 200 : 503;
    api_text(&v->page->body, "{\"health\":\"%s\",\"reason\":", failed == NULL ? "true" : "false");
    api_text_json(&v->page->body, fl_bytes_of_string(failed == NULL ? "" : failed->why));
    api_text(&v->page->body, "}\n");
}

/* The process answers, so it lives. A store that failed has ended it. */
static void livez_page(struct visit *v)
{
    api_text(&v->page->body, "ok\n");
}

static void check_line(struct visit *v, const struct check *check)
{
    bool holds = check->holds(v->view);

    api_text(&v->page->body,
             "[%c]%s %s%s\n",
             holds ? '+' : '-',
             check->name,
             holds ? "ok" : "failed: ",
             holds ? "" : check->why);
}

/* All checks, or the one named behind the slash. */
static void readyz_page(struct visit *v)
{
    bool verbose = v->argument(v->context, "verbose") != NULL;
    const struct check *failed = first_failed(v->view);

    if (v->rest[0] == '/') {
        for (size_t i = 0; i < CHECKS; i++) {
            if (strcmp(v->rest + 1, checks[i].name) == 0) {
                v->page->status = checks[i].holds(v->view) ? 200 : 503;
                check_line(v, &checks[i]);
                return;
            }
        }
        not_found(v);
        return;
    }
    v->page->status = failed == NULL ? 200 : 503;
    for (size_t i = 0; i < CHECKS && (verbose || failed != NULL); i++) {
        check_line(v, &checks[i]);
    }
    api_text(&v->page->body, failed == NULL ? "ok\n" : "not ready\n");
}

static void version_page(struct visit *v)
{
    v->page->content_type = JSON;
    api_text(&v->page->body,
             "{\"etcdserver\":\"%s\",\"etcdcluster\":\"%s\",\"flotilla\":\"%s\"}\n",
             NODE_ETCD_VERSION,
             NODE_ETCD_CLUSTER_VERSION,
             NODE_VERSION);
}

static const struct {
    const char *path;
    void (*make)(struct visit *v);
    bool sub_paths;
} routes[] = {
    {"/metrics/groups", groups_page, false},
    {"/metrics", metrics_page, false},
    {"/health", health_page, false},
    {"/livez", livez_page, false},
    {"/readyz", readyz_page, true},
    {"/version", version_page, false},
};

static void (*find_route(const char *path, const char **rest))(struct visit *v)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        size_t len = strlen(routes[i].path);

        *rest = path + len;
        if (strncmp(path, routes[i].path, len) == 0 &&
            (path[len] == '\0' || (routes[i].sub_paths && path[len] == '/'))) {
            return routes[i].make;
        }
    }
    return not_found;
}

void api_page_make(const struct api_site *site,
                   const char *path,
                   api_argument_fn *argument,
                   void *context,
                   struct api_page *page)
{
    struct node_view *view = node_view_acquire(site->node);
    struct visit v = {
        .site = site, .view = view, .argument = argument, .context = context, .page = page};

    page->status = 200;
    page->content_type = TEXT;
    fl_writer_init(&page->body);
    find_route(path, &v.rest)(&v);
    node_view_release(view);
}
