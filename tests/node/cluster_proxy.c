/* A network between nodes that can be cut. */
#include "tests/node/cluster_proxy.h"

#include "raftgroup/base/alloc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS_MAX 256
#define BYTES     65536

struct pair {
    int fds[2]; /* who dialed, and the node */
    unsigned to;
};

struct cluster_proxy {
    unsigned count;
    uint16_t targets[CLUSTER_PROXY_MAX];
    uint16_t ports[CLUSTER_PROXY_MAX];
    int listeners[CLUSTER_PROXY_MAX];
    int wake[2];
    pthread_t thread;
    struct pair pairs[PAIRS_MAX]; /* the thread's */
    unsigned pair_count;
    uint8_t bytes[BYTES];
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool blocked[CLUSTER_PROXY_MAX];
        unsigned cuts_wanted;
        unsigned cuts_done;
        bool stop;
    } shared;
};

static void must(bool ok)
{
    if (!ok) {
        abort();
    }
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void drop_pair(struct cluster_proxy *proxy, unsigned i)
{
    (void)close(proxy->pairs[i].fds[0]);
    (void)close(proxy->pairs[i].fds[1]);
    proxy->pairs[i] = proxy->pairs[--proxy->pair_count];
}

static void accept_one(struct cluster_proxy *proxy, unsigned i)
{
    struct sockaddr_in address = loopback(proxy->targets[i]);
    int from = accept4(proxy->listeners[i], NULL, NULL, SOCK_CLOEXEC);
    int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    bool blocked;

    (void)pthread_mutex_lock(&proxy->shared.lock);
    blocked = proxy->shared.blocked[i];
    (void)pthread_mutex_unlock(&proxy->shared.lock);
    must(to >= 0);
    if (from < 0 || blocked || proxy->pair_count == PAIRS_MAX ||
        connect(to, (struct sockaddr *)&address, sizeof(address)) != 0) {
        (void)close(from);
        (void)close(to);
        return;
    }
    (void)setsockopt(from, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    proxy->pairs[proxy->pair_count++] = (struct pair){.fds = {from, to}, .to = i};
}

/* False: the connection has ended. Nodes always read, so a write never waits for long. */
static bool carry(struct cluster_proxy *proxy, int from, int to)
{
    ssize_t n = recv(from, proxy->bytes, BYTES, MSG_DONTWAIT);
    ssize_t sent = 0;

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    while (n > 0 && sent < n) {
        ssize_t part = send(to, proxy->bytes + sent, (size_t)(n - sent), MSG_NOSIGNAL);

        if (part < 0) {
            return false;
        }
        sent += part;
    }
    return n > 0;
}

/* What the test asked for. False: to stop. */
static bool obey(struct cluster_proxy *proxy)
{
    bool go_on;
    bool cut;
    char byte[16];

    (void)recv(proxy->wake[0], byte, sizeof(byte), MSG_DONTWAIT);
    (void)pthread_mutex_lock(&proxy->shared.lock);
    go_on = !proxy->shared.stop;
    cut = !go_on || proxy->shared.cuts_done != proxy->shared.cuts_wanted;
    for (unsigned i = proxy->pair_count; i-- > 0;) {
        if (cut || proxy->shared.blocked[proxy->pairs[i].to]) {
            drop_pair(proxy, i);
        }
    }
    proxy->shared.cuts_done = proxy->shared.cuts_wanted;
    (void)pthread_cond_broadcast(&proxy->shared.changed);
    (void)pthread_mutex_unlock(&proxy->shared.lock);
    return go_on;
}

static void *run(void *argument)
{
    struct cluster_proxy *proxy = argument;
    struct pollfd polls[1 + CLUSTER_PROXY_MAX + 2 * PAIRS_MAX];

    while (obey(proxy)) {
        unsigned pairs = proxy->pair_count;
        nfds_t n = 0;

        polls[n++] = (struct pollfd){.fd = proxy->wake[0], .events = POLLIN};
        for (unsigned i = 0; i < proxy->count; i++) {
            polls[n++] = (struct pollfd){.fd = proxy->listeners[i], .events = POLLIN};
        }
        for (unsigned i = 0; i < 2 * pairs; i++) {
            polls[n++] = (struct pollfd){.fd = proxy->pairs[i / 2].fds[i % 2], .events = POLLIN};
        }
        (void)poll(polls, n, -1);
        for (unsigned i = pairs; i-- > 0;) { /* downwards: what moves down was looked at */
            const struct pollfd *at = &polls[1 + proxy->count + 2 * i];
            const int *fds = proxy->pairs[i].fds;

            if ((at[0].revents != 0 && !carry(proxy, fds[0], fds[1])) ||
                (at[1].revents != 0 && !carry(proxy, fds[1], fds[0]))) {
                drop_pair(proxy, i);
            }
        }
        for (unsigned i = 0; i < proxy->count; i++) {
            if (polls[1 + i].revents != 0) {
                accept_one(proxy, i);
            }
        }
    }
    return NULL;
}

struct cluster_proxy *cluster_proxy_create(const uint16_t *targets, unsigned count)
{
    struct cluster_proxy *proxy = fl_xcalloc(1, sizeof(*proxy));

    proxy->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct sockaddr_in address = loopback(0);
        socklen_t len = sizeof(address);

        proxy->targets[i] = targets[i];
        proxy->listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(bind(proxy->listeners[i], (struct sockaddr *)&address, sizeof(address)) == 0);
        must(listen(proxy->listeners[i], 64) == 0);
        must(getsockname(proxy->listeners[i], (struct sockaddr *)&address, &len) == 0);
        proxy->ports[i] = ntohs(address.sin_port);
    }
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, proxy->wake) == 0);
    (void)pthread_mutex_init(&proxy->shared.lock, NULL);
    (void)pthread_cond_init(&proxy->shared.changed, NULL);
    must(pthread_create(&proxy->thread, NULL, run, proxy) == 0);
    return proxy;
}

/* Called with the lock. */
static void wake(struct cluster_proxy *proxy)
{
    (void)send(proxy->wake[1], "", 1, MSG_NOSIGNAL);
}

static void wait_for_cut(struct cluster_proxy *proxy)
{
    unsigned wanted = ++proxy->shared.cuts_wanted;

    wake(proxy);
    while ((int)(proxy->shared.cuts_done - wanted) < 0) {
        (void)pthread_cond_wait(&proxy->shared.changed, &proxy->shared.lock);
    }
}

void cluster_proxy_cut(struct cluster_proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->shared.lock);
    wait_for_cut(proxy);
    (void)pthread_mutex_unlock(&proxy->shared.lock);
}

void cluster_proxy_block(struct cluster_proxy *proxy, unsigned i, bool blocked)
{
    (void)pthread_mutex_lock(&proxy->shared.lock);
    proxy->shared.blocked[i] = blocked;
    wake(proxy);
    (void)pthread_mutex_unlock(&proxy->shared.lock);
}

uint16_t cluster_proxy_port(const struct cluster_proxy *proxy, unsigned i)
{
    return proxy->ports[i];
}

void cluster_proxy_destroy(struct cluster_proxy *proxy)
{
    (void)pthread_mutex_lock(&proxy->shared.lock);
    proxy->shared.stop = true;
    wake(proxy);
    (void)pthread_mutex_unlock(&proxy->shared.lock);
    (void)pthread_join(proxy->thread, NULL);
    for (unsigned i = 0; i < proxy->count; i++) {
        (void)close(proxy->listeners[i]);
    }
    (void)close(proxy->wake[0]);
    (void)close(proxy->wake[1]);
    (void)pthread_cond_destroy(&proxy->shared.changed);
    (void)pthread_mutex_destroy(&proxy->shared.lock);
    free(proxy);
}
