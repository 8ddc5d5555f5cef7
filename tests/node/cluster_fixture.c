/* Real nodes in one process. */
#include "tests/node/cluster_fixture.h"

#include "node/clock.h"
#include "placement/placement.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/log.h"
#include "raftgroup/base/metric.h"
#include "shard/command.h"
#include "shard/result.h"
#include "tests/node/temp_dir.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define POLL_MS   10
#define FLAGS_MAX 40

#define PORT_FIRST   20000
#define PORT_COUNT   12000
#define PORT_STRETCH 40

#ifdef __SANITIZE_THREAD__
/* RocksDB's threads have ended when it is closed, and libuv closes its sockets, by calls that are
 * not seen here (bazel/tsan.supp): what they looked at may then be freed or opened anew. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:^filter_row$\nrace:^drop_row$\nrace:^create_filter$\nrace:^node_close$\n"
           "race:^epoll_ctl$\nrace:^dial$\n";
}
#endif

/* --- waiting -------------------------------------------------------------------------------- */

void cluster_wait(bool (*check)(void *context), void *context, const char *what)
{
    uint64_t deadline = node_clock_ms() + CLUSTER_WAIT_MS;
    struct timespec pause = {.tv_nsec = POLL_MS * 1000 * 1000};

    while (!check(context)) {
        if (node_clock_ms() > deadline) {
            fail_msg("never came true: %s", what);
        }
        (void)nanosleep(&pause, NULL);
    }
}

/* --- nodes ---------------------------------------------------------------------------------- */

/* Ports below those that the kernel gives to whoever dials: one of these could be taken while a
 * node is closed for a moment, or be dialed from itself. Each process has a stretch of its own. */
static void pick_ports(uint16_t *ports, unsigned count)
{
    static unsigned used;

    for (unsigned i = 0; i < count;) {
        struct sockaddr_in address = {.sin_family = AF_INET};
        unsigned port = PORT_FIRST + ((unsigned)getpid() * PORT_STRETCH + used++) % PORT_COUNT;
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        assert_true(fd >= 0);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons((uint16_t)port);
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
            ports[i++] = (uint16_t)port;
        } else {
            assert_int_equal(errno, EADDRINUSE);
        }
        (void)close(fd);
    }
}

struct cluster_flags {
    char *argv[FLAGS_MAX + 1]; /* ends with NULL */
    int argc;
    char text[FLAGS_MAX][320];
};

static void add_flag(struct cluster_flags *flags, const char *name, const char *value)
{
    assert_true(flags->argc < FLAGS_MAX);
    (void)snprintf(flags->text[flags->argc], sizeof(flags->text[0]), "--%s=%s", name, value);
    flags->argv[flags->argc] = flags->text[flags->argc];
    flags->argc++;
}

static void add_number(struct cluster_flags *flags, const char *name, unsigned value)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%u", value);
    add_flag(flags, name, text);
}

static void parse_options(struct cluster *cluster, unsigned i)
{
    static char *const environment[] = {NULL};
    const struct cluster_options *options = &cluster->options;
    struct cluster_flags *flags = fl_xcalloc(1, sizeof(*flags));
    char name[16];
    char why[512] = "";

    (void)snprintf(name, sizeof(name), "n%u", i);
    (void)snprintf(flags->text[0], sizeof(flags->text[0]), "test");
    flags->argv[flags->argc++] = flags->text[0];
    add_flag(flags, "name", name);
    add_flag(flags, "data-dir", temp_path(cluster->directory, name));
    add_flag(flags, "listen-peer-urls", cluster->nodes[i].peer_url);
    add_flag(flags, "initial-advertise-peer-urls", cluster->nodes[i].public_url);
    /* The node only tells these to others; nothing of it listens there. */
    add_flag(flags, "listen-client-urls", "http://127.0.0.1:1");
    add_flag(flags, "listen-metrics-urls", "http://127.0.0.1:2");
    add_flag(flags, "initial-cluster", cluster->initial);
    add_number(flags, "initial-ranges", options->ranges);
    add_number(flags, "raft-loops", options->raft_loops[i] != 0 ? options->raft_loops[i] : 1);
    add_flag(flags, "heartbeat-interval", "50ms");
    add_flag(flags, "election-timeout", "300ms");
    add_flag(flags, "memtable-size", "4MiB");
    add_flag(flags, "log-memtable-size", "4MiB");
    add_flag(flags, "cache-size", "4MiB");
    add_flag(flags, "disk-reserve", "0");
    if (options->log_keep_entries != NULL) {
        add_flag(flags, "log-keep-entries", options->log_keep_entries);
    }
    if (options->flush_interval != NULL) {
        add_flag(flags, "flush-interval", options->flush_interval);
    }
    if (node_options_parse(
            &cluster->nodes[i].options, flags->argc, flags->argv, environment, why, sizeof(why)) !=
        NODE_OPTIONS_RUN) {
        fail_msg("options: %s", why);
    }
    cluster->nodes[i].flags = flags;
}

char *const *cluster_flags(const struct cluster *cluster, unsigned i)
{
    return cluster->nodes[i].flags->argv;
}

enum fl_status cluster_try_start(struct cluster *cluster, unsigned i, char *why, size_t why_bytes)
{
    struct node *node = NULL;
    enum fl_status status = node_open(&node, &cluster->nodes[i].options, why, why_bytes);

    if (status == FL_OK) {
        cluster->nodes[i].node = node;
    }
    return status;
}

void cluster_start(struct cluster *cluster, unsigned i)
{
    char why[512] = "";

    assert_null(cluster->nodes[i].node);
    if (cluster_try_start(cluster, i, why, sizeof(why)) != FL_OK) {
        fail_msg("node %u: %s", i, why);
    }
}

void cluster_stop(struct cluster *cluster, unsigned i)
{
    node_close(cluster->nodes[i].node);
    cluster->nodes[i].node = NULL;
}

static bool all_ready(void *context)
{
    struct cluster *cluster = context;
    bool ready = true;

    for (unsigned i = 0; i < cluster->options.nodes; i++) {
        if (cluster->nodes[i].node != NULL) {
            struct node_view *view = node_view_acquire(cluster->nodes[i].node);

            ready = ready && view->ready && view->group_count == 1 + cluster->options.ranges;
            cluster->nodes[i].id = view->node_id;
            node_view_release(view);
        }
    }
    return ready;
}

void cluster_wait_ready(struct cluster *cluster)
{
    cluster_wait(all_ready, cluster, "every node is ready");
}

static void print_url(char url[64], uint16_t port)
{
    (void)snprintf(url, 64, "http://127.0.0.1:%u", port);
}

struct cluster *cluster_create(const struct cluster_options *options)
{
    struct cluster *cluster = fl_xcalloc(1, sizeof(*cluster));
    uint16_t ports[CLUSTER_NODES_MAX];

    fl_log_set_level(getenv("CLUSTER_LOG") != NULL ? FL_LOG_INFO : FL_LOG_ERROR);
    cluster->options = *options;
    cluster->directory = temp_dir_create();
    pick_ports(ports, options->nodes);
    if (options->proxied) {
        cluster->proxy = cluster_proxy_create(ports, options->nodes);
    }
    for (unsigned i = 0; i < options->nodes; i++) {
        size_t len = strlen(cluster->initial);

        print_url(cluster->nodes[i].peer_url, ports[i]);
        print_url(cluster->nodes[i].public_url,
                  options->proxied ? cluster_proxy_port(cluster->proxy, i) : ports[i]);
        (void)snprintf(cluster->initial + len,
                       sizeof(cluster->initial) - len,
                       "%sn%u=%s",
                       i == 0 ? "" : ",",
                       i,
                       cluster->nodes[i].public_url);
    }
    for (unsigned i = 0; i < options->nodes; i++) {
        parse_options(cluster, i);
        cluster_start(cluster, i);
    }
    cluster_wait_ready(cluster);
    return cluster;
}

void cluster_destroy(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->options.nodes; i++) {
        if (cluster->nodes[i].node != NULL) {
            cluster_stop(cluster, i);
        }
        node_options_close(&cluster->nodes[i].options);
        free(cluster->nodes[i].flags);
    }
    if (cluster->proxy != NULL) {
        cluster_proxy_destroy(cluster->proxy);
    }
    temp_dir_remove(cluster->directory);
    free(cluster);
}

struct leader_search {
    struct cluster *cluster;
    unsigned from;
    const char *key;
    unsigned found;
};

static bool holds(const struct node_group_view *group, const char *key)
{
    struct fl_bytes k;

    if (key == NULL) {
        return group->group_id == PLACEMENT_GROUP_ID;
    }
    k = fl_bytes_of_string(key);
    return group->group_id != PLACEMENT_GROUP_ID && fl_bytes_compare(group->start, k) <= 0 &&
           (group->end.len == 0 || fl_bytes_compare(k, group->end) < 0);
}

static bool leader_is_open(void *context)
{
    struct leader_search *search = context;
    struct cluster *cluster = search->cluster;
    struct node_view *view = node_view_acquire(cluster->nodes[search->from].node);
    bool found = false;

    for (size_t g = 0; g < view->group_count; g++) {
        for (unsigned i = 0; holds(&view->groups[g], search->key) && i < cluster->options.nodes;
             i++) {
            if (cluster->nodes[i].node != NULL && cluster->nodes[i].id == view->groups[g].leader) {
                search->found = i;
                found = true;
            }
        }
    }
    node_view_release(view);
    return found;
}

unsigned cluster_leader(struct cluster *cluster, unsigned i, const char *key)
{
    struct leader_search search = {.cluster = cluster, .from = i, .key = key};

    cluster_wait(leader_is_open, &search, "the range has a leader that is open");
    return search.found;
}

bool cluster_has_leader(struct cluster *cluster, unsigned i, const char *key)
{
    struct leader_search search = {.cluster = cluster, .from = i, .key = key};

    return leader_is_open(&search);
}

struct counter_search {
    const char *name;
    uint64_t value;
};

static void look_at_metric(void *context, const struct fl_metric *metric)
{
    struct counter_search *search = context;

    if (strcmp(metric->name, search->name) == 0) {
        search->value += (uint64_t)fl_metric_get(metric);
    }
}

uint64_t cluster_counter(const char *name)
{
    struct counter_search search = {.name = name};

    fl_metric_walk(look_at_metric, &search);
    return search.value;
}

struct truncation_wait {
    struct cluster *cluster;
    unsigned node;
    uint64_t bytes;
};

static bool log_is_short(void *context)
{
    const struct truncation_wait *wait = context;
    struct node_view *view;
    bool is_short = true;

    /* The store truncates along with writes. */
    cluster_write_many(wait->cluster, wait->node, CLUSTER_BURST, 500);
    view = node_view_acquire(wait->cluster->nodes[wait->node].node);
    for (size_t g = 0; g < view->group_count; g++) {
        /* The picture is as of after the writes, not of before. */
        is_short = is_short && view->groups[g].log_bytes < wait->bytes &&
                   (view->groups[g].group_id == PLACEMENT_GROUP_ID ||
                    view->groups[g].applied_index > CLUSTER_LAG);
    }
    node_view_release(view);
    return is_short;
}

void cluster_leave_behind(struct cluster *cluster, unsigned away)
{
    cluster_write_many(cluster, (away + 1) % 3, CLUSTER_BURST, 500);
    cluster_stop(cluster, away);
    cluster_write_many(cluster, (away + 1) % 3, CLUSTER_LAG, 500);
    for (unsigned i = 1; i < 3; i++) {
        struct truncation_wait wait = {.cluster = cluster, .node = (away + i) % 3, .bytes = 200000};

        cluster_wait(log_is_short, &wait, "the log is truncated");
    }
}

/* --- requests ------------------------------------------------------------------------------- */

void call_init(struct call *call)
{
    pthread_condattr_t attr;

    memset(call, 0, sizeof(*call));
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&call->shared.lock, NULL);
    (void)pthread_cond_init(&call->shared.changed, &attr);
    (void)pthread_condattr_destroy(&attr);
}

void call_close(struct call *call)
{
    fl_buf_release(call->reply.result);
    (void)pthread_cond_destroy(&call->shared.changed);
    (void)pthread_mutex_destroy(&call->shared.lock);
}

static void call_done(struct node_request *request, const struct node_reply *reply)
{
    struct call *call = (struct call *)(void *)((char *)request - offsetof(struct call, request));

    (void)pthread_mutex_lock(&call->shared.lock);
    call->reply = *reply;
    call->answers++;
    call->shared.done = true;
    (void)pthread_cond_broadcast(&call->shared.changed);
    (void)pthread_mutex_unlock(&call->shared.lock);
}

static struct fl_bytes keep(uint8_t *place, const char *text)
{
    size_t len = strlen(text);

    assert_true(len <= 256);
    memcpy(place, text, len);
    return fl_bytes(place, len);
}

/* NULL: empty; "": to the end of the keyspace. */
static struct fl_bytes keep_end(uint8_t *place, const char *text)
{
    if (text == NULL) {
        return fl_bytes(NULL, 0);
    }
    if (text[0] == '\0') {
        place[0] = 0;
        return fl_bytes(place, 1);
    }
    return keep(place, text);
}

static void submit(struct call *call, struct node *node)
{
    call->request.done = call_done;
    node_submit(node, &call->request);
}

static void submit_write(struct call *call, struct node *node, struct fl_buf *command)
{
    call->request.kind = NODE_REQUEST_WRITE;
    call->request.command = command;
    assert_int_equal(
        shard_command_span(fl_buf_bytes(command), &call->request.key, &call->request.end), FL_OK);
    submit(call, node);
}

void call_put(struct call *call, struct node *node, const char *key, const char *value)
{
    struct shard_put op = {.key = fl_bytes_of_string(key), .value = fl_bytes_of_string(value)};
    struct fl_buf *command = NULL;

    assert_int_equal(shard_command_put(&op, &command), FL_OK);
    submit_write(call, node, command);
}

void call_delete(struct call *call, struct node *node, const char *key, const char *end)
{
    struct shard_delete op = {.key = fl_bytes_of_string(key),
                              .end = keep_end(call->end_bytes, end)};
    struct fl_buf *command = NULL;

    assert_int_equal(shard_command_delete(&op, &command), FL_OK);
    submit_write(call, node, command);
}

void call_cas(struct call *call,
              struct node *node,
              const char *key,
              uint64_t mod_revision,
              const char *value)
{
    struct fl_bytes k = fl_bytes_of_string(key);
    struct shard_compare compare = {.result = SHARD_COMPARE_EQUAL,
                                    .target = SHARD_COMPARE_MOD,
                                    .key = k,
                                    .number = (int64_t)mod_revision};
    struct shard_op yes = {.kind = SHARD_OP_PUT,
                           .put = {.key = k, .value = fl_bytes_of_string(value)}};
    struct shard_op no = {.kind = SHARD_OP_RANGE, .range = {.key = k}};
    struct shard_txn txn = {
        .compares = &compare, .compare_count = 1, .then_ops = {&yes, 1}, .else_ops = {&no, 1}};
    struct fl_buf *command = NULL;

    assert_int_equal(shard_command_txn(&txn, &command), FL_OK);
    submit_write(call, node, command);
}

void call_put_two(struct call *call,
                  struct node *node,
                  const char *key,
                  const char *other,
                  const char *value)
{
    struct shard_op ops[2] = {
        {.kind = SHARD_OP_PUT,
         .put = {.key = fl_bytes_of_string(key), .value = fl_bytes_of_string(value)}},
        {.kind = SHARD_OP_PUT,
         .put = {.key = fl_bytes_of_string(other), .value = fl_bytes_of_string(value)}},
    };
    struct shard_txn txn = {.then_ops = {ops, 2}};
    struct fl_buf *command = NULL;

    assert_int_equal(shard_command_txn(&txn, &command), FL_OK);
    submit_write(call, node, command);
}

void call_get(struct call *call,
              struct node *node,
              const char *key,
              const char *end,
              uint64_t revision,
              bool serializable)
{
    call->request.kind = NODE_REQUEST_READ;
    call->request.read = (struct shard_read){
        .key = keep(call->key_bytes, key),
        .end = keep_end(call->end_bytes, end),
        .revision = revision,
        .serializable = serializable,
    };
    submit(call, node);
}

void call_compact(struct call *call, struct node *node, uint64_t revision)
{
    call->request.kind = NODE_REQUEST_COMPACT;
    call->request.revision = revision;
    submit(call, node);
}

void call_hash(struct call *call, struct node *node, uint64_t revision)
{
    call->request.kind = NODE_REQUEST_HASH;
    call->request.revision = revision;
    submit(call, node);
}

enum fl_status call_wait(struct call *call)
{
    struct timespec until;
    int waited = 0;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += CLUSTER_WAIT_MS / 1000;
    (void)pthread_mutex_lock(&call->shared.lock);
    while (!call->shared.done && waited != ETIMEDOUT) {
        waited = pthread_cond_timedwait(&call->shared.changed, &call->shared.lock, &until);
    }
    (void)pthread_mutex_unlock(&call->shared.lock);
    if (waited == ETIMEDOUT) {
        /* Other threads may be inside the fixture: there is nothing to unwind to. */
        (void)fprintf(
            stderr, "a request of kind %u was never answered\n", (unsigned)call->request.kind);
        abort();
    }
    if (call->answers != 1) {
        abort();
    }
    return call->reply.status;
}

/* --- whole exchanges ------------------------------------------------------------------------ */

static uint64_t digest_of(uint64_t digest, struct fl_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        digest = (digest ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    }
    return digest;
}

static void take_pairs(struct outcome *outcome, struct shard_result *result)
{
    struct shard_kv kv;

    outcome->kv_count = result->kv_count;
    for (bool first = true; shard_result_next_kv(result, &kv); first = false) {
        size_t len = kv.value.len < sizeof(outcome->value) ? kv.value.len : 0;

        outcome->digest = digest_of(digest_of(outcome->digest, kv.key), kv.value);
        outcome->digest ^= kv.mod_revision + kv.version;
        if (first) {
            memcpy(outcome->value, kv.value.data, len);
            outcome->mod = kv.mod_revision;
            outcome->version = kv.version;
        }
    }
}

static struct outcome finish(struct call *call)
{
    struct outcome outcome = {.status = call_wait(call),
                              .revision = call->reply.revision,
                              .hash = call->reply.hash,
                              .compact = call->reply.compact_revision};
    struct shard_result result;
    struct shard_result response;

    if (outcome.status == FL_OK && call->reply.result != NULL) {
        if (shard_result_check(fl_buf_bytes(call->reply.result)) != FL_OK ||
            shard_result_decode(fl_buf_bytes(call->reply.result), &result) != FL_OK) {
            abort();
        }
        outcome.count = result.count;
        outcome.succeeded = result.succeeded;
        if (result.kind == SHARD_RESULT_RANGE) {
            take_pairs(&outcome, &result);
        } else if (result.kind == SHARD_RESULT_TXN &&
                   shard_result_next_response(&result, &response) &&
                   response.kind == SHARD_RESULT_RANGE) {
            take_pairs(&outcome, &response);
        }
    }
    call_close(call);
    return outcome;
}

struct outcome put(struct node *node, const char *key, const char *value)
{
    struct call call;

    call_init(&call);
    call_put(&call, node, key, value);
    return finish(&call);
}

struct outcome put_within(struct node *node, const char *key, const char *value, uint64_t ms)
{
    struct call call;

    call_init(&call);
    call.request.deadline_ms = node_clock_ms() + ms;
    call_put(&call, node, key, value);
    return finish(&call);
}

struct outcome get(struct node *node, const char *key)
{
    struct call call;

    call_init(&call);
    call_get(&call, node, key, NULL, 0, false);
    return finish(&call);
}

struct outcome get_within(struct node *node, const char *key, uint64_t ms)
{
    struct call call;

    call_init(&call);
    call.request.deadline_ms = node_clock_ms() + ms;
    call_get(&call, node, key, NULL, 0, false);
    return finish(&call);
}

struct outcome get_local(struct node *node, const char *key)
{
    struct call call;

    call_init(&call);
    call_get(&call, node, key, NULL, 0, true);
    return finish(&call);
}

struct outcome get_range(struct node *node, const char *key, const char *end, uint64_t revision)
{
    struct call call;

    call_init(&call);
    call_get(&call, node, key, end, revision, false);
    return finish(&call);
}

struct outcome delete_range(struct node *node, const char *key, const char *end)
{
    struct call call;

    call_init(&call);
    call_delete(&call, node, key, end);
    return finish(&call);
}

struct outcome cas(struct node *node, const char *key, uint64_t mod_revision, const char *value)
{
    struct call call;

    call_init(&call);
    call_cas(&call, node, key, mod_revision, value);
    return finish(&call);
}

struct outcome compact_to(struct node *node, uint64_t revision)
{
    struct call call;

    call_init(&call);
    call_compact(&call, node, revision);
    return finish(&call);
}

struct outcome hash_at(struct node *node, uint64_t revision)
{
    struct call call;

    call_init(&call);
    call_hash(&call, node, revision);
    return finish(&call);
}

/* --- keys of eight ranges -------------------------------------------------------------------- */

const char *const cluster_keys[CLUSTER_KEYS] = {"!a", "0a", "<a", "Fa", "Ra", "^a", "ja", "xa"};

void cluster_write_everywhere(struct cluster *cluster)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < CLUSTER_KEYS; i++) {
        struct node *node = cluster->nodes[i % cluster->options.nodes].node;
        struct outcome o = put(node, cluster_keys[i], "1");

        assert_int_equal(o.status, FL_OK);
        assert_true(o.revision > last); /* one order over all ranges, in real time */
        last = o.revision;
        /* Every node reads it, the leader or not. */
        for (unsigned n = 0; n < cluster->options.nodes; n++) {
            struct outcome read = get(cluster->nodes[n].node, cluster_keys[i]);

            assert_int_equal(read.status, FL_OK);
            assert_int_equal(read.mod, o.revision);
            assert_true(read.revision >= last);
        }
    }
}

void cluster_write_many(struct cluster *cluster, unsigned i, unsigned count, unsigned keys)
{
    static struct call calls[CLUSTER_BURST];

    for (unsigned done = 0; done < count; done += CLUSTER_BURST) {
        for (unsigned c = 0; c < CLUSTER_BURST; c++) {
            char key[32];

            (void)snprintf(key, sizeof(key), "key%05u", (done + c) % keys);
            call_init(&calls[c]);
            call_put(&calls[c],
                     cluster->nodes[i].node,
                     key,
                     "a value of some length, so that there is something");
        }
        for (unsigned c = 0; c < CLUSTER_BURST; c++) {
            assert_int_equal(call_wait(&calls[c]), FL_OK);
            call_close(&calls[c]);
        }
    }
}
