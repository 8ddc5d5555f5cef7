/* What options say about each other, and what follows from them. */
#include "node/options_internal.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const char *seed_key(const struct node_seed *seed)
{
    return seed->peer_urls.urls[0].text;
}

static int seed_order(const void *a, const void *b)
{
    return strcmp(seed_key(a), seed_key(b));
}

static int url_order(const void *a, const void *b)
{
    return strcmp(((const struct node_url *)a)->text, ((const struct node_url *)b)->text);
}

/* Every node must number the seeds alike, however its flag orders them. */
static void seeds_sort(struct node_options *o)
{
    for (size_t i = 0; i < o->seed_count; i++) {
        struct node_url_list *list = &o->seeds[i].peer_urls;

        qsort(list->urls, list->count, sizeof *list->urls, url_order);
    }
    qsort(o->seeds, o->seed_count, sizeof *o->seeds, seed_order);
}

/* 1 up to 4 cores, then about a quarter of them: gRPC, Raft, apply and reads share the machine. */
static void fill_threads(struct node_options *o)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t each = cores <= 4 ? 1 : (uint32_t)(cores < 64 ? cores / 4 : 16);
    uint32_t *const counts[] = {
        &o->raft_loops, &o->apply_threads, &o->read_threads, &o->client_threads};

    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *counts[i] = *counts[i] == 0 ? each : *counts[i];
    }
}

static bool host_is_wildcard(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* A listen URL names an address of this machine, not something to look up (etcd's rule). */
static bool check_listen(struct node_reading *p, const struct node_url_list *list, const char *flag)
{
    for (size_t i = 0; i < list->count; i++) {
        const char *host = list->urls[i].host;

        if (strcmp(host, "localhost") != 0 && strchr(host, ':') == NULL &&
            strspn(host, "0123456789.") != strlen(host)) {
            return node__refuse(
                p,
                "--%s: '%s' is a name; listen on an address or on localhost, and put "
                "names into the advertise flags",
                flag,
                host);
        }
    }
    return true;
}

/* What others are told: never a wildcard, which would send them to themselves. */
static bool fill_advertise(struct node_reading *p,
                           struct node_url_list *told,
                           const struct node_url_list *listened,
                           const char *flag)
{
    if (told->count == 0) {
        node_url_list_copy(told, listened);
    }
    for (size_t i = 0; i < told->count; i++) {
        if (host_is_wildcard(told->urls[i].host)) {
            return node__refuse(
                p,
                "others cannot reach %s; say with --%s under which address they can",
                told->urls[i].text,
                flag);
        }
    }
    return true;
}

static bool check_ports(struct node_reading *p)
{
    const struct node_options *o = p->options;
    const struct node_url_list *lists[] = {
        &o->listen_client_urls, &o->listen_peer_urls, &o->listen_metrics_urls};

    for (size_t i = 0; i < 3; i++) {
        for (size_t j = i + 1; j < 3; j++) {
            for (size_t k = 0; k < lists[i]->count; k++) {
                if (node_url_list_has(lists[j], lists[i]->urls[k].text)) {
                    return node__refuse(
                        p,
                        "%s is listed for two purposes; clients, peers and metrics each "
                        "need their own port",
                        lists[i]->urls[k].text);
                }
            }
        }
    }
    return true;
}

static bool same_urls(const struct node_url_list *a, const struct node_url_list *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; same && i < a->count; i++) {
        same = node_url_list_has(b, a->urls[i].text);
    }
    return same;
}

/* Peers tell each other their names, and log them: plain characters only (hello.h). */
static bool name_is_plain(const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name < 0x20 || *name > 0x7e) {
            return false;
        }
    }
    return true;
}

static bool check_names(struct node_reading *p)
{
    const struct node_options *o = p->options;

    if (strpbrk(o->name, "=,") != NULL) {
        return node__refuse(p, "--name: '=' and ',' are not allowed in a name");
    }
    if (!name_is_plain(o->name)) {
        return node__refuse(p, "--name: only ASCII characters are allowed in a name");
    }
    for (size_t i = 0; i < o->seed_count; i++) {
        if (!name_is_plain(o->seeds[i].name)) {
            return node__refuse(
                p,
                "--initial-cluster: only ASCII characters are allowed in a name, unlike '%s'",
                o->seeds[i].name);
        }
    }
    return true;
}

/* This node must be one of the seeds, under the URLs it tells others. */
static bool check_seeds(struct node_reading *p)
{
    struct node_options *o = p->options;
    struct node_seed *self;

    if (!check_names(p)) {
        return false;
    }
    self = node__seed_find(o, fl_bytes_of_string(o->name));
    if (o->seed_count > 0 && self == NULL) {
        return node__refuse(
            p,
            "--initial-cluster does not list this node, '%s'; add %s=URL or correct "
            "--name",
            o->name,
            o->name);
    }
    if (self != NULL && o->advertise_peer_urls.count == 0) {
        node_url_list_copy(&o->advertise_peer_urls, &self->peer_urls);
    }
    if (!fill_advertise(
            p, &o->advertise_peer_urls, &o->listen_peer_urls, "initial-advertise-peer-urls")) {
        return false;
    }
    if (self == NULL) {
        self = node__seed_add(o, fl_bytes_of_string(o->name));
        node_url_list_copy(&self->peer_urls, &o->advertise_peer_urls);
    } else if (!same_urls(&self->peer_urls, &o->advertise_peer_urls)) {
        return node__refuse(
            p,
            "--initial-cluster says %s for this node but --initial-advertise-peer-urls "
            "says %s; make them equal",
            self->peer_urls.urls[0].text,
            o->advertise_peer_urls.urls[0].text);
    }
    seeds_sort(o);
    return true;
}

bool node__options_check(struct node_reading *p)
{
    struct node_options *o = p->options;

    if (o->data_dir == NULL) {
        if (strchr(o->name, '/') != NULL) {
            return node__refuse(p, "--name has a '/' in it; give --data-dir as well");
        }
        o->data_dir = fl_xmalloc(strlen(o->name) + sizeof ".flotilla");
        (void)stpcpy(stpcpy(o->data_dir, o->name), ".flotilla");
    }
    if (o->election_ms < 5 * o->heartbeat_ms) {
        return node__refuse(p,
                            "--election-timeout (%" PRIu32
                            "ms) must be at least five times "
                            "--heartbeat-interval (%" PRIu32 "ms)",
                            o->election_ms,
                            o->heartbeat_ms);
    }
    if (o->split_key_count > 0) {
        o->initial_ranges = (uint32_t)o->split_key_count + 1;
    }
    fill_threads(o);
    return check_listen(p, &o->listen_client_urls, "listen-client-urls") &&
           check_listen(p, &o->listen_peer_urls, "listen-peer-urls") &&
           check_listen(p, &o->listen_metrics_urls, "listen-metrics-urls") && check_ports(p) &&
           fill_advertise(
               p, &o->advertise_client_urls, &o->listen_client_urls, "advertise-client-urls") &&
           check_seeds(p);
}
