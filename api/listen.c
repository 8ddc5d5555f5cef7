/* Sockets, and the sentence that says why there is none. */
#include "api/listen.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 128

static int listen_on(const struct addrinfo *address)
{
    int one = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error;

    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->ai_family == AF_INET6) {
        /* "::" must not take the IPv4 port away from a second URL. */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        return fd;
    }
    error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

static void explain(const struct node_url *url, const char *flag, int error, char *why, size_t n)
{
    if (error == EADDRINUSE) {
        (void)snprintf(why,
                       n,
                       "port %u on %s is in use by another process; stop that one or choose "
                       "another port with --%s",
                       (unsigned)url->port,
                       url->host,
                       flag);
    } else if (error == EACCES) {
        (void)snprintf(why,
                       n,
                       "listening on %s is not permitted; choose a port above 1023 with --%s",
                       url->text,
                       flag);
    } else {
        (void)snprintf(why,
                       n,
                       "cannot listen on %s: %s; give an address of this machine with --%s",
                       url->text,
                       strerror(error),
                       flag);
    }
}

/* An address family the machine does not have is not worth a word. */
static bool is_absent(int error)
{
    return error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
}

static void close_all(const int *sockets, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)close(sockets[i]);
    }
}

size_t api_listen_open(const struct node_url *url,
                       const char *flag,
                       int sockets[API_LISTEN_SOCKETS_MAX],
                       char *why,
                       size_t why_bytes)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[8];
    size_t count = 0;
    int error = EADDRNOTAVAIL;

    (void)snprintf(port, sizeof port, "%u", (unsigned)url->port);
    if (getaddrinfo(url->host, port, &hints, &found) != 0) {
        explain(url, flag, error, why, why_bytes);
        return 0;
    }
    for (const struct addrinfo *a = found; a != NULL && count < API_LISTEN_SOCKETS_MAX;
         a = a->ai_next) {
        int fd = listen_on(a);

        if (fd >= 0) {
            sockets[count++] = fd;
        } else if (!is_absent(errno)) {
            error = errno;
            close_all(sockets, count);
            count = 0;
            break;
        }
    }
    freeaddrinfo(found);
    if (count == 0) {
        explain(url, flag, error, why, why_bytes);
    }
    return count;
}

bool api_listen_check(const struct node_url_list *urls,
                      const char *flag,
                      char *why,
                      size_t why_bytes)
{
    for (size_t i = 0; i < urls->count; i++) {
        int sockets[API_LISTEN_SOCKETS_MAX];
        size_t count = api_listen_open(&urls->urls[i], flag, sockets, why, why_bytes);

        close_all(sockets, count);
        if (count == 0) {
            return false;
        }
    }
    return true;
}
