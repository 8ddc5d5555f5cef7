/* Liveness of peers: one beat per node pair, whatever the number of groups (design 7).
 *
 * Owner: the node. Lifetime: node__peers_create to node__peers_destroy.
 * Threads: the system loop, but node__peer_alive, which takes the lock.
 *
 * A connection that closes is known at once; a beat that stays away tells of what closes nothing:
 * a cut cable, a stopped machine. Then every loop treats the peer as gone and dials anew. */
#include "node/host_internal.h"

#include "node/why.h"
#include "raftgroup/base/assert.h"

struct node_peer {
    uint64_t id;
    uint8_t uuid[NODE_UUID_BYTES];
    bool known; /* it has said hello: uuid and locality are valid */
    struct placement_locality locality;
    uint32_t boot;     /* of the living connection, 0: none */
    unsigned incoming; /* connections of the system lane from it */
    uint64_t heard_ms; /* last beat */
    bool lost;         /* silent for FL_PEER_DEAD_MS, told to every loop */
    uint32_t rival;    /* a later start that said hello while an earlier one counted as alive */
    uint64_t rival_ms; /* .. since when */
};

struct node_peers {
    struct node *node;
    size_t count;
    struct node_peer *peers; /* every seed but this node; joined nodes come with membership */
    uint64_t watermark_ms;
    struct {
        pthread_mutex_t lock;
        uint64_t *heard_ms; /* of peers[i] */
    } shared;
};

struct node_peers *node__peers_create(struct node *node)
{
    struct node_peers *peers = fl_xcalloc(1, sizeof(*peers));
    size_t seed_count = 0;
    const struct node_identity_seed *seeds = node_identity_seeds(node->identity, &seed_count);

    peers->node = node;
    peers->peers = fl_xcalloc(seed_count, sizeof(*peers->peers));
    peers->shared.heard_ms = fl_xcalloc(seed_count, sizeof(*peers->shared.heard_ms));
    (void)pthread_mutex_init(&peers->shared.lock, NULL);
    for (size_t i = 0; i < seed_count; i++) {
        if (seeds[i].node_id != node->node_id) {
            peers->peers[peers->count++].id = seeds[i].node_id;
        }
    }
    return peers;
}

void node__peers_destroy(struct node_peers *peers)
{
    (void)pthread_mutex_destroy(&peers->shared.lock);
    free(peers->shared.heard_ms);
    free(peers->peers);
    free(peers);
}

static struct node_peer *find(struct node_peers *peers, uint64_t id)
{
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->peers[i].id == id) {
            return &peers->peers[i];
        }
    }
    return NULL;
}

static void heard(struct node_peers *peers, struct node_peer *peer, uint64_t now_ms)
{
    peer->heard_ms = now_ms;
    peer->lost = false;
    (void)pthread_mutex_lock(&peers->shared.lock);
    peers->shared.heard_ms[peer - peers->peers] = now_ms;
    (void)pthread_mutex_unlock(&peers->shared.lock);
}

bool node__peer_alive(const struct node_peers *peers, uint64_t node_id)
{
    struct node_peers *self = (struct node_peers *)(uintptr_t)peers;
    struct node_peer *peer = find(self, node_id);
    uint64_t last;

    if (node_id == peers->node->node_id) {
        return true;
    }
    if (peer == NULL) {
        return false;
    }
    (void)pthread_mutex_lock(&self->shared.lock);
    last = self->shared.heard_ms[peer - self->peers];
    (void)pthread_mutex_unlock(&self->shared.lock);
    return last != 0 && node_clock_ms() < last + FL_PEER_DEAD_MS;
}

bool node__peer_describe(struct node_peers *peers, uint64_t node_id, struct placement_node *node)
{
    struct node_peer *peer = find(peers, node_id);

    if (peer == NULL || !peer->known) {
        return false;
    }
    memcpy(node->uuid.bytes, peer->uuid, NODE_UUID_BYTES);
    node->locality = peer->locality;
    return true;
}

/* --- handshakes ----------------------------------------------------------------------------- */

/* A node that was killed and is back may say hello before its old connection is known to be dead;
 * only a beat of the earlier start proves that both run (a copied data directory). Until then the
 * new one is asked to wait, not sent away for good. */
static bool may_be_a_restart(struct node_peer *peer, const struct node_hello *hello)
{
    if (peer->incoming == 0 || hello->boot <= peer->boot) {
        return false;
    }
    if (peer->rival != hello->boot) {
        peer->rival = hello->boot;
        peer->rival_ms = node_clock_ms();
    }
    return peer->heard_ms < peer->rival_ms + 2 * (uint64_t)FL_BEAT_MS;
}

enum fl_status
node__peer_check(void *context, const struct node_hello *hello, char *sentence, size_t bytes)
{
    struct node *node = context;
    struct node_peer *peer = find(node->peers, hello->node_id);
    uint32_t live = peer != NULL && peer->incoming != 0 ? peer->boot : 0;

    if (peer != NULL && memcmp(peer->uuid, hello->uuid, NODE_UUID_BYTES) == 0 &&
        hello->cluster_id == node->cluster_id && may_be_a_restart(peer, hello)) {
        return node_why(FL_NOT_READY,
                        sentence,
                        bytes,
                        "start %" PRIu32 " of node '%s' still counts as running: try again",
                        peer->boot,
                        hello->name);
    }
    return node_identity_check_peer(node->identity, hello, hello->peer_urls, live, sentence, bytes);
}

void node__peer_up(struct node *node,
                   uint64_t peer_id,
                   enum node_direction direction,
                   const struct node_hello *hello)
{
    char why[PLACEMENT_WHY_MAX];
    struct node_peer *peer = find(node->peers, peer_id);

    fl_log(FL_LOG_INFO,
           "peer_connected",
           "peer=%016" PRIx64 " name=\"%s\" boot=%u direction=%s",
           peer_id,
           hello->name,
           hello->boot,
           direction == NODE_OUTGOING ? "out" : "in");
    if (peer == NULL) {
        return;
    }
    memcpy(peer->uuid, hello->uuid, NODE_UUID_BYTES);
    if (!placement_locality_parse(
            &peer->locality, fl_bytes_of_string(hello->locality), why, sizeof(why))) {
        fl_log(FL_LOG_WARN,
               "peer_locality_unusable",
               "peer=%016" PRIx64 " reason=\"%s\"",
               peer_id,
               why);
        memset(&peer->locality, 0, sizeof(peer->locality));
    }
    peer->known = true;
    if (direction == NODE_INCOMING) {
        peer->boot = hello->boot;
        peer->incoming++;
        heard(node->peers, peer, node_clock_ms());
    }
}

void node__peer_down(struct node *node, uint64_t peer_id, enum node_direction direction)
{
    struct node_peer *peer = find(node->peers, peer_id);

    if (peer != NULL && direction == NODE_INCOMING && peer->incoming != 0) {
        peer->incoming--;
    }
}

/* --- beats ---------------------------------------------------------------------------------- */

void node__beat_received(struct node_host *host, uint64_t peer_id, struct fl_bytes body)
{
    struct node_peers *peers = host->node->peers;
    struct node_peer *peer = find(peers, peer_id);

    if (body.len != 0 || host->index != 0) {
        node__host_bad_message(host, peer_id, "beat");
        return;
    }
    if (peer != NULL) {
        heard(peers, peer, host->now_ms);
    }
}

struct loss_news {
    struct node_task task;
    struct node_host *host;
    uint64_t peer;
};

static void peer_lost(struct node_task *task)
{
    struct loss_news *news = fl_container_of(task, struct loss_news, task);

    if (!news->host->closing) {
        news->host->now_ms = node_loop_now_ms(news->host->loop);
        node__host_peer_down(news->host, news->peer);
        node_transport_peer_reset(news->host->transport, news->peer);
    }
    free(news);
}

static void declare_lost(struct node_peers *peers, struct node_peer *peer)
{
    peer->lost = true;
    fl_log(FL_LOG_WARN, "peer_silent", "peer=%016" PRIx64, peer->id);
    for (unsigned i = 0; i < peers->node->host_count; i++) {
        struct loss_news *news = fl_xmalloc(sizeof(*news));

        *news = (struct loss_news){
            .task = {.run = peer_lost},
            .host = peers->node->hosts[i],
            .peer = peer->id,
        };
        node_loop_post(news->host->loop, &news->task);
    }
}

/* The next call is due with the next beat, or when the first peer will have been silent for too
 * long: nodes that stopped hearing it at the same time say so at the same time, and the order of
 * heirs (replica.c), whose gaps are shorter than a beat, keeps their elections apart. */
uint64_t node__beat(struct node_host *host)
{
    struct node_peers *peers = host->node->peers;
    uint64_t next_ms = host->now_ms + FL_BEAT_MS;

    for (size_t i = 0; i < peers->count; i++) {
        struct node_peer *peer = &peers->peers[i];

        (void)node__host_send(host, peer->id, NODE_MESSAGE_BEAT, NULL, 0);
        if (peer->lost || peer->heard_ms == 0) {
            continue;
        }
        if (host->now_ms >= peer->heard_ms + FL_PEER_DEAD_MS) {
            declare_lost(peers, peer);
        } else if (peer->heard_ms + FL_PEER_DEAD_MS < next_ms) {
            next_ms = peer->heard_ms + FL_PEER_DEAD_MS;
        }
    }
    node__system_upkeep(host->node, host->now_ms);
    return next_ms;
}
