/* A node's networking alone, for tests. */
#include "tests/node/net_node.h"

#include "raftgroup/base/list.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* --- waiting -------------------------------------------------------------------------------- */

void net_lock(struct net_node *node)
{
    (void)pthread_mutex_lock(&node->seen.lock);
}

void net_unlock(struct net_node *node)
{
    (void)pthread_mutex_unlock(&node->seen.lock);
}

void net_wait_change(struct net_node *node, const char *what)
{
    struct timespec limit;

    (void)clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += NET_WAIT_S;
    if (pthread_cond_timedwait(&node->seen.changed, &node->seen.lock, &limit) == ETIMEDOUT) {
        net_unlock(node);
        fail_msg("never came true: %s", what);
    }
}

static void changed(struct net_node *node)
{
    (void)pthread_cond_broadcast(&node->seen.changed);
    net_unlock(node);
}

struct call {
    struct node_task task;
    void (*run)(void *arg);
    void *arg;
    sem_t done;
};

static void call_run(struct node_task *task)
{
    struct call *call = fl_container_of(task, struct call, task);

    call->run(call->arg);
    (void)sem_post(&call->done);
}

static size_t loop_of_lane(const struct net_node *node, uint32_t lane)
{
    return lane == 1 && node->options.loops == 2 ? 1 : 0;
}

void net_call(struct net_node *node, uint32_t lane, void (*run)(void *arg), void *arg)
{
    struct call call = {.task.run = call_run, .run = run, .arg = arg};

    assert_int_equal(sem_init(&call.done, 0, 0), 0);
    node_loop_post(node->loops[loop_of_lane(node, lane)], &call.task);
    while (sem_wait(&call.done) != 0) {
    }
    (void)sem_destroy(&call.done);
}

/* --- hooks ---------------------------------------------------------------------------------- */

static uint8_t pattern(uint64_t number, size_t i)
{
    return (uint8_t)(number * 37 + i + i / 253);
}

static void fill(uint8_t *body, uint64_t number, size_t size)
{
    fl_put_u64le(body, number);
    for (size_t i = 8; i < size; i++) {
        body[i] = pattern(number, i);
    }
}

static bool is_right(struct fl_bytes body, uint64_t number)
{
    bool right = body.len >= 8 && fl_get_u64le(body.data) == number;

    for (size_t i = 8; i < body.len; i++) {
        right = right && body.data[i] == pattern(number, i);
    }
    return right;
}

static void on_closed(void *ctx)
{
    struct net_node *node = ctx;

    net_lock(node);
    node->seen.closed++;
    changed(node);
}

static void on_message(void *ctx, uint64_t peer, uint32_t lane, uint8_t kind, struct fl_bytes body)
{
    struct net_node *node = ctx;
    size_t loop = loop_of_lane(node, lane);

    (void)peer;
    net_lock(node);
    if (lane >= NET_LANES || kind != lane + 10 || !is_right(body, node->seen.messages[lane])) {
        node->seen.wrong = true;
    } else {
        node->seen.messages[lane]++;
    }
    node->seen.bytes += body.len;
    while (node->seen.hold) {
        node->seen.holding = true;
        (void)pthread_cond_broadcast(&node->seen.changed);
        (void)pthread_cond_wait(&node->seen.changed, &node->seen.lock);
    }
    if (node->seen.close_in_message && node->transports[loop] != NULL) {
        node_transport_close(node->transports[loop], on_closed, node);
        node->transports[loop] = NULL;
    }
    changed(node);
}

static void on_up(void *ctx,
                  uint64_t peer,
                  uint32_t lane,
                  enum node_direction direction,
                  const struct node_hello *hello)
{
    struct net_node *node = ctx;

    net_lock(node);
    node->seen.wrong = node->seen.wrong || hello->node_id != peer || lane >= NET_LANES;
    node->seen.boot = hello->boot;
    node->seen.up_peer = peer;
    node->seen.up[direction]++;
    node->seen.turned = false;
    changed(node);
}

static void
on_down(void *ctx, uint64_t peer, uint32_t lane, enum node_direction direction, const char *reason)
{
    struct net_node *node = ctx;
    bool remove;

    net_lock(node);
    node->seen.down[direction]++;
    node->seen.turned = false;
    node->seen.reason[direction] = reason;
    node->seen.down_before_up =
        node->seen.down_before_up || node->seen.down[direction] > node->seen.up[direction];
    remove = node->seen.remove_in_down;
    changed(node);
    if (remove) {
        node_transport_peer_remove(node->transports[loop_of_lane(node, lane)], peer);
    }
}

static void on_unreachable(void *ctx, uint64_t peer, uint32_t lane)
{
    struct net_node *node = ctx;

    (void)peer;
    (void)lane;
    net_lock(node);
    node->seen.unreachable++;
    changed(node);
}

static void on_drained(void *ctx, uint64_t peer, uint32_t lane)
{
    struct net_node *node = ctx;

    (void)peer;
    (void)lane;
    net_lock(node);
    node->seen.drained++;
    changed(node);
}

static void on_refused(void *ctx, uint64_t peer, enum fl_status status, const char *sentence)
{
    struct net_node *node = ctx;

    (void)peer;
    net_lock(node);
    node->seen.refused++;
    node->seen.refused_status = status;
    (void)snprintf(
        node->seen.refused_sentence, sizeof(node->seen.refused_sentence), "%s", sentence);
    changed(node);
}

static void turn(void *ctx, uint64_t now_ms)
{
    struct net_node *node = ctx;

    (void)now_ms;
    net_lock(node);
    node->seen.turned = true;
    changed(node);
}

static enum fl_status
check(void *ctx, const struct node_hello *hello, char *sentence, size_t sentence_bytes)
{
    struct net_node *node = ctx;
    enum fl_status verdict;

    (void)hello;
    if (node->options.sentence != NULL) {
        (void)snprintf(sentence, sentence_bytes, "%s", node->options.sentence);
    }
    net_lock(node);
    verdict = node->seen.verdict;
    net_unlock(node);
    return verdict;
}

/* --- life ----------------------------------------------------------------------------------- */

void net_hello(const struct net_options *options, uint32_t lane, struct node_hello *hello)
{
    memset(hello, 0, sizeof(*hello));
    hello->version_min = NODE_PROTOCOL_MIN;
    hello->version_max = NODE_PROTOCOL_MAX;
    hello->cluster_id = options->cluster_id != 0 ? options->cluster_id : NET_CLUSTER;
    hello->node_id = options->id;
    hello->boot = options->boot;
    hello->lane = lane;
    (void)snprintf(hello->name, sizeof(hello->name), "node-%u", (unsigned)options->id);
}

static struct node_transport *open_transport(struct net_node *node, size_t loop)
{
    static const uint32_t all[NET_LANES] = {0, 1, 2};
    static const uint32_t split[2][2] = {{0, 2}, {1, 1}};
    bool two = node->options.loops == 2;
    struct node_transport_options options = {
        .loop = node->loops[loop],
        .lanes = two ? split[loop] : all,
        .lane_count = !two        ? NET_LANES
                      : loop == 0 ? 2
                                  : 1,
        .hooks = {.ctx = node,
                  .message = on_message,
                  .up = on_up,
                  .down = on_down,
                  .unreachable = on_unreachable,
                  .drained = on_drained,
                  .refused = on_refused},
        .queue_bytes_max = node->options.queue_bytes_max,
        .handshake_timeout_ms = node->options.handshake_timeout_ms,
        .backoff_max_ms = node->options.backoff_max_ms,
    };

    net_hello(&node->options, 0, &options.self);
    return node_transport_create(&options);
}

static void open_listener(struct net_node *node)
{
    char host[] = "127.0.0.1";
    struct node_url url = {.host = host, .port = node->options.port};
    struct node_transport *lanes[NET_LANES];
    struct node_listener_options options = {
        .loop = node->loops[0],
        .urls = &url,
        .url_count = 1,
        .lanes = lanes,
        .lane_count = NET_LANES,
        .ctx = node,
        .check = check,
        .handshake_timeout_ms = node->options.handshake_timeout_ms,
        .handshakes_max = node->options.handshakes_max,
    };
    char why[256];

    for (uint32_t lane = 0; lane < NET_LANES; lane++) {
        lanes[lane] = node->transports[loop_of_lane(node, lane)];
    }
    net_hello(&node->options, 0, &options.self);
    assert_int_equal(node_listener_create(&node->listener, &options, why, sizeof(why)), FL_OK);
    node->port = node_listener_port(node->listener, 0);
}

void net_open(struct net_node *node, const struct net_options *options)
{
    struct node_loop_hooks hooks = {.ctx = node, .turn = turn};

    memset(node, 0, sizeof(*node));
    node->options = *options;
    node->seen.verdict = options->verdict;
    if (node->options.loops == 0) {
        node->options.loops = 1;
    }
    (void)pthread_mutex_init(&node->seen.lock, NULL);
    (void)pthread_cond_init(&node->seen.changed, NULL);
    for (size_t i = 0; i < node->options.loops; i++) {
        node->loops[i] = node_loop_create("net", &hooks);
        node->transports[i] = open_transport(node, i);
    }
    open_listener(node);
    for (size_t i = 0; i < node->options.loops; i++) {
        node_loop_start(node->loops[i]);
    }
}

static void close_listener(void *arg)
{
    struct net_node *node = arg;

    node_listener_close(node->listener, on_closed, node);
}

static void close_transport(void *arg)
{
    struct net_node *node = arg;
    size_t loop = node_loop_is_current(node->loops[0]) ? 0 : 1;

    if (node->transports[loop] != NULL) {
        node_transport_close(node->transports[loop], on_closed, node);
    }
    node->transports[loop] = NULL;
}

void net_close(struct net_node *node)
{
    net_call(node, 0, close_listener, node);
    NET_WAIT(node, node->seen.closed >= 1);
    for (uint32_t i = 0; i < node->options.loops; i++) {
        net_call(node, i, close_transport, node);
    }
    NET_WAIT(node, node->seen.closed == 1 + node->options.loops);
    for (size_t i = 0; i < node->options.loops; i++) {
        node_loop_stop(node->loops[i]);
        node_loop_join(node->loops[i]);
        node_loop_destroy(node->loops[i]);
    }
    assert_false(node->seen.wrong);
    assert_false(node->seen.down_before_up);
    (void)pthread_cond_destroy(&node->seen.changed);
    (void)pthread_mutex_destroy(&node->seen.lock);
}

/* --- use ------------------------------------------------------------------------------------ */

struct order {
    struct net_node *node;
    uint64_t peer;
    uint32_t lane;
    const char *urls;
    uint64_t first;
    unsigned count;
    size_t size;
    size_t result;
};

static struct node_transport *transport_of(const struct order *order)
{
    return order->node->transports[loop_of_lane(order->node, order->lane)];
}

static void peer_run(void *arg)
{
    struct order *order = arg;

    assert_int_equal(node_transport_peer_set(transport_of(order), order->peer, order->urls), FL_OK);
}

static void forget_run(void *arg)
{
    struct order *order = arg;

    node_transport_peer_remove(transport_of(order), order->peer);
}

static void reset_run(void *arg)
{
    struct order *order = arg;

    node_transport_peer_reset(transport_of(order), order->peer);
}

/* On every loop of the node. */
static void on_loops(struct net_node *node, struct order order, void (*run)(void *))
{
    order.node = node;
    for (uint32_t lane = 0; lane < node->options.loops; lane++) {
        order.lane = lane;
        net_call(node, lane, run, &order);
    }
}

void net_peer_url(struct net_node *node, uint64_t peer, const char *urls)
{
    on_loops(node, (struct order){.peer = peer, .urls = urls}, peer_run);
}

void net_peer(struct net_node *node, uint64_t peer, uint16_t port)
{
    char url[64];

    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", (unsigned)port);
    net_peer_url(node, peer, url);
}

void net_forget(struct net_node *node, uint64_t peer)
{
    on_loops(node, (struct order){.peer = peer}, forget_run);
}

void net_reset(struct net_node *node, uint64_t peer)
{
    on_loops(node, (struct order){.peer = peer}, reset_run);
}

void net_connect(struct net_node *a, struct net_node *b)
{
    net_peer(a, b->options.id, b->port);
    net_peer(b, a->options.id, a->port);
    NET_WAIT(a, a->seen.up[NODE_OUTGOING] >= NET_LANES && a->seen.up[NODE_INCOMING] >= NET_LANES);
    NET_WAIT(b, b->seen.up[NODE_OUTGOING] >= NET_LANES && b->seen.up[NODE_INCOMING] >= NET_LANES);
}

/* Sometimes copied, sometimes borrowed, in one or two parts. */
static bool send_one(const struct order *order, uint64_t number)
{
    size_t size = order->size != 0 ? order->size : 8 + (size_t)(number * 2654435761u % 5000);
    struct fl_buf *buf = fl_buf_create(size);
    struct node_part parts[2] = {
        {fl_bytes(buf->data, 8), NULL},
        {fl_bytes(buf->data + 8, size - 8), number % 3 == 0 ? NULL : buf},
    };
    bool taken;

    fill(buf->data, number, size);
    taken = node_transport_send(
        transport_of(order), order->peer, order->lane, (uint8_t)(order->lane + 10), parts, 2);
    fl_buf_release(buf);
    return taken;
}

static void send_run(void *arg)
{
    struct order *order = arg;

    while (order->result < order->count && send_one(order, order->first + order->result)) {
        order->result++;
    }
    node_transport_flush(transport_of(order));
}

unsigned net_send(struct net_node *node,
                  uint64_t peer,
                  uint32_t lane,
                  uint64_t first,
                  unsigned count,
                  size_t size)
{
    struct order order = {
        .node = node, .peer = peer, .lane = lane, .first = first, .count = count, .size = size};

    net_call(node, lane, send_run, &order);
    return (unsigned)order.result;
}

static void is_up_run(void *arg)
{
    struct order *order = arg;

    order->result = node_transport_is_up(transport_of(order), order->peer, order->lane);
}

bool net_is_up(struct net_node *node, uint64_t peer, uint32_t lane)
{
    struct order order = {.node = node, .peer = peer, .lane = lane};

    net_call(node, lane, is_up_run, &order);
    return order.result != 0;
}

static void queued_run(void *arg)
{
    struct order *order = arg;

    order->result = node_transport_queued_bytes(transport_of(order), order->peer, order->lane);
}

size_t net_queued(struct net_node *node, uint64_t peer, uint32_t lane)
{
    struct order order = {.node = node, .peer = peer, .lane = lane};

    net_call(node, lane, queued_run, &order);
    return order.result;
}

unsigned net_ups(struct net_node *node, enum node_direction direction)
{
    unsigned ups;

    net_lock(node);
    ups = node->seen.up[direction];
    net_unlock(node);
    return ups;
}
