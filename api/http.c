/* libmicrohttpd's only home: one daemon per listening socket, pages from pages.c. */
#include "api/http.h"

#include "api/listen.h"
#include "api/pages.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/log.h"

#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECTIONS_MAX         64u
#define CONNECTION_SECONDS_MAX  10u
#define CONNECTION_MEMORY_BYTES ((size_t)32 * 1024)

struct api_http {
    struct api_site site;
    struct MHD_Daemon **daemons;
    size_t daemon_count;
};

static const char *argument(void *context, const char *name)
{
    const char *value = NULL;

    if (MHD_lookup_connection_value_n(
            context, MHD_GET_ARGUMENT_KIND, name, strlen(name), &value, NULL) != MHD_YES) {
        return NULL;
    }
    return value == NULL ? "" : value;
}

static enum MHD_Result refuse_method(struct MHD_Connection *connection)
{
    static char text[] = "only GET and HEAD are served here\n";
    struct MHD_Response *response =
        MHD_create_response_from_buffer(sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    (void)MHD_add_response_header(response, "Allow", "GET, HEAD");
    result = MHD_queue_response(connection, MHD_HTTP_METHOD_NOT_ALLOWED, response);
    MHD_destroy_response(response);
    return result;
}

/* NOLINTNEXTLINE(readability-function-size): the library asks for these parameters */
static enum MHD_Result serve(void *context,
                             struct MHD_Connection *connection,
                             const char *url,
                             const char *method,
                             const char *version,
                             const char *upload,
                             size_t *upload_bytes,
                             void **state)
{
    const struct api_http *http = context;
    struct MHD_Response *response;
    struct api_page page;
    enum MHD_Result result;

    (void)version;
    (void)upload;
    (void)state;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        *upload_bytes = 0;
        return refuse_method(connection);
    }
    api_page_make(&http->site, url, argument, connection, &page);
    response =
        MHD_create_response_from_buffer(page.body.len, page.body.data, MHD_RESPMEM_MUST_FREE);
    (void)MHD_add_response_header(response, "Content-Type", page.content_type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    result = MHD_queue_response(connection, page.status, response);
    MHD_destroy_response(response);
    return result;
}

/* The library's complaints are about single connections. */
static void log_line(void *context, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void log_line(void *context, const char *format, va_list args)
{
    char text[256];

    (void)context;
    (void)vsnprintf(text, sizeof text, format, args);
    text[strcspn(text, "\"\n")] = '\0';
    fl_log(FL_LOG_DEBUG, "http", "message=\"%s\"", text);
}

static bool add_daemon(struct api_http *http, int socket)
{
    struct MHD_Daemon *daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_EPOLL | MHD_USE_ERROR_LOG,
                         0,
                         NULL,
                         NULL,
                         serve,
                         http,
                         MHD_OPTION_EXTERNAL_LOGGER,
                         log_line,
                         NULL,
                         MHD_OPTION_LISTEN_SOCKET,
                         socket,
                         MHD_OPTION_CONNECTION_LIMIT,
                         CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT,
                         CONNECTION_SECONDS_MAX,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                         CONNECTION_MEMORY_BYTES,
                         MHD_OPTION_END);

    if (daemon == NULL) {
        (void)close(socket);
        return false;
    }
    http->daemons = fl_xrealloc(http->daemons, http->daemon_count + 1, sizeof(struct MHD_Daemon *));
    http->daemons[http->daemon_count++] = daemon;
    return true;
}

static bool add_url(struct api_http *http, const struct node_url *url, char *why, size_t why_bytes)
{
    int sockets[API_LISTEN_SOCKETS_MAX];
    size_t count = api_listen_open(url, "listen-metrics-urls", sockets, why, why_bytes);
    bool added = count > 0;

    for (size_t i = 0; i < count; i++) {
        if (!added) {
            (void)close(sockets[i]);
        } else if (!add_daemon(http, sockets[i])) {
            (void)snprintf(why, why_bytes, "the HTTP door on %s could not be started", url->text);
            added = false;
        }
    }
    return added;
}

enum fl_status api_http_start(struct api_http **http,
                              struct node *node,
                              struct api_server *server,
                              const struct node_options *options,
                              char *why,
                              size_t why_bytes)
{
    struct api_http *h = fl_xcalloc(1, sizeof *h);

    h->site = (struct api_site){.node = node, .server = server};
    for (size_t i = 0; i < options->listen_metrics_urls.count; i++) {
        if (!add_url(h, &options->listen_metrics_urls.urls[i], why, why_bytes)) {
            api_http_stop(h);
            return FL_REFUSED;
        }
    }
    *http = h;
    return FL_OK;
}

void api_http_stop(struct api_http *http)
{
    for (size_t i = 0; i < http->daemon_count; i++) {
        MHD_stop_daemon(http->daemons[i]);
    }
    free(http->daemons);
    free(http);
}
