/* The transport over TCP: peers, sending in turns, incoming connections, and its end. */
#include "node/clock.h"
#include "node/transport_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDSHAKE_TIMEOUT_MS 10000
#define CONNECT_TIMEOUT_MS   1000
#define SILENCE_TIMEOUT_MS   5000
#define BACKOFF_MIN_MS       50
#define BACKOFF_MAX_MS       1000

struct fl_metric node__transport_metrics[NODE__METRIC_COUNT] = {
#define X(name, family, help) [NODE__METRIC_##name] = FL_COUNTER(family, help, NULL),
    NODE_TRANSPORT_METRIC_MAP(X)
#undef X
};

static void register_once(void)
{
    for (int i = 0; i < NODE__METRIC_COUNT; i++) {
        fl_metric_register(&node__transport_metrics[i]);
    }
}

void node__transport_register_metrics(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    fl_assert(pthread_once(&once, register_once) == 0);
}

/* --- life ----------------------------------------------------------------------------------- */

static void set_default(uint64_t *value, uint64_t fallback)
{
    if (*value == 0) {
        *value = fallback;
    }
}

static void fill_options(struct node_transport *transport,
                         const struct node_transport_options *options)
{
    struct node_transport_options *own = &transport->options;

    *own = *options;
    own->lanes = transport->lanes;
    if (own->queue_bytes_max == 0) {
        own->queue_bytes_max = (size_t)FL_PEER_QUEUE_BYTES_MAX;
    }
    set_default(&own->handshake_timeout_ms, HANDSHAKE_TIMEOUT_MS);
    set_default(&own->connect_timeout_ms, CONNECT_TIMEOUT_MS);
    set_default(&own->silence_timeout_ms, SILENCE_TIMEOUT_MS);
    set_default(&own->backoff_min_ms, BACKOFF_MIN_MS);
    set_default(&own->backoff_max_ms, BACKOFF_MAX_MS);
    fl_assert(own->hooks.message != NULL);
    fl_assert(own->lane_count > 0 && own->lane_count <= NODE_LANES_MAX);
    memset(transport->lane_index, -1, sizeof(transport->lane_index));
    for (size_t i = 0; i < own->lane_count; i++) {
        fl_assert(options->lanes[i] < NODE_LANES_MAX);
        transport->lanes[i] = options->lanes[i];
        transport->lane_index[options->lanes[i]] = (int8_t)i;
    }
}

struct node_transport *node_transport_create(const struct node_transport_options *options)
{
    struct node_transport *transport = fl_xcalloc(1, sizeof(*transport));

    node__transport_register_metrics();
    transport->loop = options->loop;
    fill_options(transport, options);
    fl_list_init(&transport->dirty);
    fl_list_init(&transport->incoming);
    fl_prng_seed(&transport->prng, options->self.node_id ^ node_clock_ns());
    fl_assert(uv_timer_init(node__loop_uv(transport->loop), &transport->anchor) == 0);
    transport->anchor.data = transport;
    transport->children = 1;
    return transport;
}

void node__transport_child_closed(struct node_transport *transport)
{
    transport->children--;
    if (transport->children > 0) {
        return;
    }
    fl_assert(transport->closing && transport->incoming_count == 0);
    node__loop_hurry(transport->loop);
    if (transport->closed != NULL) {
        transport->closed(transport->closed_ctx);
    }
    free(transport->peers);
    free(transport);
}

/* --- peers ---------------------------------------------------------------------------------- */

/* Place of the peer, or where it would go. */
static size_t peer_place(const struct node_transport *transport, uint64_t id)
{
    size_t low = 0;
    size_t high = transport->peer_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (transport->peers[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct node__peer *peer_find(const struct node_transport *transport, uint64_t id)
{
    size_t place = peer_place(transport, id);

    if (place < transport->peer_count && transport->peers[place]->id == id) {
        return transport->peers[place];
    }
    return NULL;
}

static struct node__line *
line_find(const struct node_transport *transport, uint64_t id, uint32_t lane)
{
    struct node__peer *peer = peer_find(transport, id);

    if (peer == NULL || lane >= NODE_LANES_MAX || transport->lane_index[lane] < 0) {
        return NULL;
    }
    return &peer->lines[transport->lane_index[lane]];
}

static void parse_urls(struct node_url_list *list, const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        struct node_url url;
        char why[256];

        if (list->count < NODE_URLS_MAX &&
            node_url_parse(&url, fl_bytes(text, len), why, sizeof(why))) {
            node_url_list_append(list, url);
        }
        text += len + (text[len] == ',');
    }
}

static struct node__peer *peer_add(struct node_transport *transport, uint64_t id)
{
    size_t lines = transport->options.lane_count;
    size_t place = peer_place(transport, id);
    struct node__peer *peer = fl_xcalloc(1, sizeof(*peer) + lines * sizeof(struct node__line));

    peer->id = id;
    peer->transport = transport;
    fl_grow(&transport->peers,
            &transport->peer_capacity,
            transport->peer_count + 1,
            sizeof(struct node__peer *));
    memmove(&transport->peers[place + 1],
            &transport->peers[place],
            (transport->peer_count - place) * sizeof(struct node__peer *));
    transport->peers[place] = peer;
    transport->peer_count++;
    for (size_t i = 0; i < lines; i++) {
        node__line_init(&peer->lines[i], peer, transport->lanes[i]);
    }
    return peer;
}

enum fl_status
node_transport_peer_set(struct node_transport *transport, uint64_t peer, const char *urls)
{
    struct node_url_list list = {NULL, 0};
    struct node__peer *known;

    node_loop_assert_owner(transport->loop);
    fl_assert(!transport->closing && peer != transport->options.self.node_id);
    parse_urls(&list, urls);
    if (list.count == 0) {
        node_url_list_close(&list);
        return FL_INVALID;
    }
    known = peer_find(transport, peer);
    if (known == NULL) {
        known = peer_add(transport, peer);
    }
    node_url_list_close(&known->urls);
    known->urls = list;
    return FL_OK;
}

static void peer_close(struct node__peer *peer)
{
    struct node_transport *transport = peer->transport;

    if (transport->last_peer == peer) {
        transport->last_peer = NULL;
    }
    for (size_t i = 0; i < transport->options.lane_count; i++) {
        node__line_close(&peer->lines[i]);
    }
}

/* Closes what the peer dialed; `tell`: hooks.down follows. */
static void close_incoming(struct node_transport *transport, uint64_t peer, bool tell)
{
    FL_LIST_FOREACH_SAFE (link, &transport->incoming) {
        struct node__conn *conn = fl_container_of(link, struct node__conn, link);

        if (conn->peer == peer) {
            conn->announced = conn->announced && tell;
            node__conn_close(conn, "given up by this node");
        }
    }
}

void node_transport_peer_remove(struct node_transport *transport, uint64_t peer)
{
    size_t place = peer_place(transport, peer);
    struct node__peer *known = peer_find(transport, peer);

    node_loop_assert_owner(transport->loop);
    close_incoming(transport, peer, false);
    if (known == NULL) {
        return;
    }
    transport->peer_count--;
    memmove(&transport->peers[place],
            &transport->peers[place + 1],
            (transport->peer_count - place) * sizeof(struct node__peer *));
    peer_close(known);
}

void node_transport_peer_reset(struct node_transport *transport, uint64_t peer)
{
    struct node__peer *known = peer_find(transport, peer);

    node_loop_assert_owner(transport->loop);
    close_incoming(transport, peer, true);
    if (known == NULL) {
        return;
    }
    for (size_t i = 0; i < transport->options.lane_count; i++) {
        node__line_reset(&known->lines[i]);
    }
}

static void anchor_close_cb(uv_handle_t *handle)
{
    node__transport_child_closed(handle->data);
}

void node_transport_close(struct node_transport *transport, void (*closed)(void *ctx), void *ctx)
{
    node_loop_assert_owner(transport->loop);
    fl_assert(!transport->closing);
    transport->closing = true;
    transport->closed = closed;
    transport->closed_ctx = ctx;
    for (size_t i = 0; i < transport->peer_count; i++) {
        peer_close(transport->peers[i]);
    }
    transport->peer_count = 0;
    while (!fl_list_empty(&transport->incoming)) {
        node__conn_close(fl_container_of(transport->incoming.next, struct node__conn, link),
                         "this node stops");
    }
    uv_close((uv_handle_t *)&transport->anchor, anchor_close_cb);
}

/* --- sending -------------------------------------------------------------------------------- */

static void mark_dirty(struct node__line *line)
{
    if (fl_list_empty(&line->dirty)) {
        fl_list_push_back(&line->peer->transport->dirty, &line->dirty);
    }
}

void node__transport_clean(struct node__line *line)
{
    fl_list_remove(&line->dirty);
    line->dropped = false;
}

bool node_transport_send(struct node_transport *transport,
                         uint64_t peer,
                         uint32_t lane,
                         uint8_t kind,
                         const struct node_part *parts,
                         size_t count)
{
    struct node__line *line = NULL;

    node_loop_assert_owner(transport->loop);
    if (transport->last_peer == NULL || transport->last_peer->id != peer) {
        transport->last_peer = peer_find(transport, peer);
    }
    if (transport->last_peer != NULL) {
        fl_assert(lane < NODE_LANES_MAX && transport->lane_index[lane] >= 0);
        line = &transport->last_peer->lines[transport->lane_index[lane]];
    }
    if (line == NULL || line->state != NODE__LINE_UP || line->broken != NULL) {
        node__transport_count(NODE__METRIC_DROPPED_MESSAGES, 1);
        return false;
    }
    mark_dirty(line);
    if (!node__outbox_append(
            &line->conn->outbox, transport->options.queue_bytes_max, kind, parts, count)) {
        node__transport_count(NODE__METRIC_DROPPED_MESSAGES, 1);
        line->dropped = true;
        return false;
    }
    return true;
}

void node_transport_flush(struct node_transport *transport)
{
    const struct node_transport_hooks *hooks = &transport->options.hooks;
    struct fl_list lines;

    node_loop_assert_owner(transport->loop);
    fl_list_init(&lines);
    fl_list_move_all(&lines, &transport->dirty);
    while (!fl_list_empty(&lines)) {
        struct node__line *line = fl_container_of(lines.next, struct node__line, dirty);
        bool dropped = line->dropped;
        uint64_t peer = line->peer->id;
        uint32_t lane = line->lane;

        node__transport_clean(line);
        if (line->conn != NULL) {
            node__conn_flush(line->conn);
        }
        if (dropped && hooks->unreachable != NULL) {
            hooks->unreachable(hooks->ctx, peer, lane);
        }
    }
}

size_t
node_transport_queued_bytes(const struct node_transport *transport, uint64_t peer, uint32_t lane)
{
    const struct node__line *line = line_find(transport, peer, lane);

    return line != NULL && line->state == NODE__LINE_UP ? line->conn->outbox.queued_bytes : 0;
}

bool node_transport_is_up(const struct node_transport *transport, uint64_t peer, uint32_t lane)
{
    const struct node__line *line = line_find(transport, peer, lane);

    return line != NULL && line->state == NODE__LINE_UP && line->broken == NULL;
}

/* --- incoming ------------------------------------------------------------------------------- */

/* A peer has one connection per lane; a newer one means that the older is dead or given up. */
static void replace_older(struct node_transport *transport, const struct node_hello *hello)
{
    FL_LIST_FOREACH (link, &transport->incoming) {
        struct node__conn *conn = fl_container_of(link, struct node__conn, link);

        if (conn->peer == hello->node_id && conn->lane == hello->lane) {
            node__conn_fail(conn, "replaced by a newer connection");
            return;
        }
    }
}

static void kick_lines(struct node_transport *transport, uint64_t peer)
{
    struct node__peer *known = peer_find(transport, peer);

    for (size_t i = 0; known != NULL && i < transport->options.lane_count; i++) {
        node__line_kick(&known->lines[i]);
    }
}

static void take_over(struct node_transport *transport, int fd, const struct node_hello *hello)
{
    const struct node_transport_hooks *hooks = &transport->options.hooks;
    struct node__conn *conn;

    if (!transport->closing) {
        replace_older(transport, hello);
    }
    /* The hook that heard of the older one's end may have closed the transport. */
    if (transport->closing ||
        transport->incoming_count >= FL_NODES_MAX * transport->options.lane_count) {
        (void)close(fd);
        return;
    }
    conn = node__conn_create(
        transport, NODE_INCOMING, hello->node_id, hello->lane, (size_t)FL_FRAME_BYTES_MAX);
    if (uv_tcp_open(&conn->tcp, fd) != 0) {
        (void)close(fd);
        node__conn_close(conn, "the socket was not usable");
        return;
    }
    node__conn_set_options(conn);
    if (node__conn_read_start(conn) != 0) {
        node__conn_close(conn, "the socket was not usable");
        return;
    }
    fl_list_push_back(&transport->incoming, &conn->link);
    transport->incoming_count++;
    conn->announced = true;
    kick_lines(transport, hello->node_id);
    node__loop_hurry(transport->loop);
    if (hooks->up != NULL) {
        hooks->up(hooks->ctx, hello->node_id, hello->lane, NODE_INCOMING, hello);
    }
}

struct adoption {
    struct node_task task;
    struct node_transport *transport;
    int fd;
    struct node_hello hello;
};

static void adoption_run(struct node_task *task)
{
    struct adoption *adoption = fl_container_of(task, struct adoption, task);

    take_over(adoption->transport, adoption->fd, &adoption->hello);
    free(adoption);
}

void node__transport_adopt(struct node_transport *transport, int fd, const struct node_hello *hello)
{
    struct adoption *adoption;

    if (node_loop_is_current(transport->loop)) {
        take_over(transport, fd, hello);
        return;
    }
    adoption = fl_xmalloc(sizeof(*adoption));
    *adoption = (struct adoption){
        .task.run = adoption_run, .transport = transport, .fd = fd, .hello = *hello};
    node_loop_post(transport->loop, &adoption->task);
}
