/* Goal: whole nodes keep what they promise to clients: nothing acknowledged is lost, nothing is
 * applied twice, every request is answered once, revisions are one order.
 * Method: real nodes on loopback in one process, with real stores in temporary directories; nodes
 * are closed, drained and opened while threads write through the others. */
#include "tests/node/cluster_fixture.h"

#include "node/clock.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Keys of eight ranges: the cuts lie between these first bytes. */
static const char *const spread_keys[] = {"!a", "0a", "<a", "Fa", "Ra", "^a", "ja", "xa"};
#define SPREAD_COUNT (sizeof(spread_keys) / sizeof(spread_keys[0]))

static void assert_ok(struct outcome outcome)
{
    if (outcome.status != FL_OK) {
        fail_msg("status %s", fl_status_name(outcome.status));
    }
}

/* --- one node ------------------------------------------------------------------------------- */

/* Goal: one range numbers exactly like etcd, densely, and a write that changes nothing takes no
 * number. Method: one node, one write after the other, every revision compared; then again after
 * the node was opened anew. */
static void test_single_node_revisions_are_dense(void **state)
{
    struct cluster *cluster;
    struct node *node;
    struct outcome o;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 1, .ranges = 1});
    node = cluster->nodes[0].node;
    assert_int_equal(get(node, "a").revision, 1);
    assert_int_equal(put(node, "a", "1").revision, 2);
    assert_int_equal(put(node, "b", "2").revision, 3);
    assert_int_equal(delete_range(node, "nothing", NULL).revision, 3);
    o = cas(node, "a", 99, "no");
    assert_false(o.succeeded);
    assert_int_equal(o.revision, 3);
    assert_string_equal(o.value, "1");
    o = cas(node, "a", 2, "3");
    assert_true(o.succeeded);
    assert_int_equal(o.revision, 4);
    o = delete_range(node, "a", "");
    assert_int_equal(o.count, 2);
    assert_int_equal(o.revision, 5);
    assert_int_equal(get_range(node, "a", "", 4).count, 2);
    assert_int_equal(get_range(node, "a", "", 6).status, FL_FUTURE_REVISION);
    assert_int_equal(hash_at(node, 6).status, FL_FUTURE_REVISION);
    assert_ok(compact_to(node, 4));
    assert_int_equal(get_range(node, "a", "", 3).status, FL_COMPACTED);
    assert_int_equal(compact_to(node, 4).status, FL_COMPACTED);
    assert_int_equal(compact_to(node, 9).status, FL_FUTURE_REVISION);
    assert_int_equal(node_revision(node), 5);
    cluster_stop(cluster, 0);
    cluster_start(cluster, 0);
    cluster_wait_ready(cluster);
    node = cluster->nodes[0].node;
    assert_int_equal(get(node, "a").revision, 5);
    assert_int_equal(put(node, "a", "4").revision, 6);
    cluster_destroy(cluster);
}

/* Goal: what cannot be opened is refused with a sentence and leaves nothing behind. Method: a
 * directory that is in use, then more loops than there are lanes; the node opens afterwards. */
static void test_refused_opening(void **state)
{
    struct cluster *cluster;
    struct node *running;
    char why[512] = "";

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 1, .ranges = 1});
    running = cluster->nodes[0].node;
    assert_int_equal(cluster_try_start(cluster, 0, why, sizeof(why)), FL_LOCKED);
    assert_true(strlen(why) != 0);
    assert_ok(put(running, "a", "1"));
    cluster_stop(cluster, 0);
    cluster->nodes[0].options.raft_loops = 32;
    assert_int_equal(cluster_try_start(cluster, 0, why, sizeof(why)), FL_INVALID);
    cluster->nodes[0].options.raft_loops = 31;
    cluster_start(cluster, 0);
    cluster_wait_ready(cluster);
    assert_string_equal(get(cluster->nodes[0].node, "a").value, "1");
    cluster_destroy(cluster);
}

/* --- three nodes ---------------------------------------------------------------------------- */

static void write_everywhere(struct cluster *cluster)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < SPREAD_COUNT; i++) {
        struct node *node = cluster->nodes[i % cluster->options.nodes].node;
        struct outcome o = put(node, spread_keys[i], "1");

        assert_ok(o);
        assert_true(o.revision > last); /* one order over all ranges, in real time */
        last = o.revision;
        /* Every node reads it, the leader or not. */
        for (unsigned n = 0; n < cluster->options.nodes; n++) {
            struct outcome read = get(cluster->nodes[n].node, spread_keys[i]);

            assert_ok(read);
            assert_int_equal(read.mod, o.revision);
            assert_true(read.revision >= last);
        }
    }
}

/* Goal: every kind of request is right over several ranges, asked of any node. Method: eight ranges
 * on three nodes with the given numbers of loops; writes and reads of all kinds, in one order. */
static void use_all_kinds(const unsigned loops[3])
{
    struct cluster_options options = {.nodes = 3, .ranges = 8};
    struct cluster *cluster;
    struct outcome o;
    struct outcome hashes[3];
    struct call call;
    uint64_t before;

    memcpy(options.raft_loops, loops, sizeof(options.raft_loops));
    cluster = cluster_create(&options);
    write_everywhere(cluster);
    for (unsigned n = 0; n < 3; n++) {
        struct node *node = cluster->nodes[n].node;

        o = get_range(node, "!", "", 0);
        assert_ok(o);
        assert_int_equal(o.count, SPREAD_COUNT + (n == 0 ? 0 : 2));
        assert_int_equal(get_range(node, "0", "S", 0).count, 4);
        assert_int_equal(get_range(node, "S", "0", 0).count, 0); /* an empty interval */
        assert_int_equal(get_range(node, "!", "", o.revision + 1000000).status,
                         FL_FUTURE_REVISION);
        assert_true(cas(node, "ja", get(node, "ja").mod, "2").succeeded);
        assert_false(cas(node, "ja", 1, "2").succeeded);
        call_init(&call);
        call_put_two(&call, node, "!a", "xa", "no");
        assert_int_equal(call_wait(&call), FL_CROSS_RANGE);
        call_close(&call);
        call_init(&call);
        call_put_two(&call, node, "xb", "xc", "yes");
        assert_int_equal(call_wait(&call), FL_OK);
        call_close(&call);
    }
    before = get(cluster->nodes[0].node, "!a").revision;
    o = delete_range(cluster->nodes[1].node, "0", "x");
    assert_ok(o);
    assert_int_equal(o.count, 6);
    assert_true(o.revision > before);
    o = get_range(cluster->nodes[2].node, "!", "", before);
    assert_int_equal(o.count, SPREAD_COUNT + 2); /* the past is still there */
    assert_int_equal(get_range(cluster->nodes[2].node, "!", "", 0).count, 4);
    assert_ok(compact_to(cluster->nodes[2].node, before));
    assert_int_equal(get_range(cluster->nodes[0].node, "!", "", before - 1).status, FL_COMPACTED);
    assert_int_equal(compact_to(cluster->nodes[0].node, before).status, FL_COMPACTED);
    assert_int_equal(compact_to(cluster->nodes[0].node, before + 1000000).status,
                     FL_FUTURE_REVISION);
    before = get(cluster->nodes[0].node, "!a").revision;
    for (unsigned n = 0; n < 3; n++) {
        hashes[n] = hash_at(cluster->nodes[n].node, before);
        assert_ok(hashes[n]);
        assert_int_equal(hashes[n].hash, hashes[0].hash);
        assert_int_equal(hashes[n].compact, hashes[0].compact);
    }
    assert_int_not_equal(hashes[0].hash, 0);
    cluster_destroy(cluster);
}

static void test_all_kinds_of_requests(void **state)
{
    (void)state;
    use_all_kinds((const unsigned[]){1, 1, 1});
}

/* Goal: nodes with different numbers of loops understand each other: lanes, seqs and oracle clients
 * find their loops (ND-2). Method: as above. */
static void test_all_kinds_of_requests_over_mixed_loops(void **state)
{
    (void)state;
    use_all_kinds((const unsigned[]){1, 2, 3});
}

/* --- writers -------------------------------------------------------------------------------- */

#define WRITERS      6
#define WRITER_NODES CLUSTER_NODES_MAX

/* Writes 1, 2, 3 .. to a key of its own, one after the other. */
struct writer {
    pthread_t thread;
    struct writers *all;
    unsigned number;
    char key[16];
    uint64_t acknowledged; /* highest value answered with FL_OK */
    _Atomic uint64_t attempted;
    uint64_t ok;
    uint64_t unknown;
    enum fl_status why; /* the newest unknown one */
    uint64_t refused;
    uint64_t revision; /* of the newest answer */
    bool fell_back;    /* a revision was not above the one before */
};

struct writers {
    struct cluster *cluster;
    struct writer writer[WRITERS];
    bool avoid_closed; /* writers use open nodes only; else they stay away while `closed` is set */
    atomic_bool stop;
    pthread_mutex_t lock; /* of nodes[].node, and who uses it */
    pthread_cond_t changed;
    unsigned users[WRITER_NODES];
    bool closing[WRITER_NODES];
};

/* A node that stays open until writers_leave. */
static struct node *writers_enter(struct writers *all, unsigned *i)
{
    struct node *node = NULL;

    (void)pthread_mutex_lock(&all->lock);
    while (node == NULL) {
        *i = (*i + 1) % all->cluster->options.nodes;
        if (!all->closing[*i]) {
            node = all->cluster->nodes[*i].node;
        }
    }
    all->users[*i]++;
    (void)pthread_mutex_unlock(&all->lock);
    return node;
}

static void writers_leave(struct writers *all, unsigned i)
{
    (void)pthread_mutex_lock(&all->lock);
    all->users[i]--;
    (void)pthread_cond_broadcast(&all->changed);
    (void)pthread_mutex_unlock(&all->lock);
}

static void note(struct writer *writer, uint64_t value, const struct outcome *o)
{
    if (o->status == FL_OK) {
        writer->ok++;
        writer->acknowledged = value;
        writer->fell_back = writer->fell_back || o->revision <= writer->revision;
        writer->revision = o->revision;
    } else if (fl_status_is_unknown(o->status)) {
        writer->unknown++;
        writer->why = o->status;
    } else {
        writer->refused++;
    }
}

static void *write_on(void *argument)
{
    struct writer *writer = argument;
    struct writers *all = writer->all;
    unsigned at = writer->number;
    uint64_t number = 0;

    while (!atomic_load(&all->stop)) {
        struct node *node = writers_enter(all, &at);
        struct outcome o;
        char value[24];

        number++;
        (void)snprintf(value, sizeof(value), "%" PRIu64, number);
        o = put(node, writer->key, value);
        note(writer, number, &o);
        atomic_store(&writer->attempted, number);
        writers_leave(all, at);
    }
    return NULL;
}

static void writers_start(struct writers *all, struct cluster *cluster)
{
    memset(all, 0, sizeof(*all));
    all->cluster = cluster;
    (void)pthread_mutex_init(&all->lock, NULL);
    (void)pthread_cond_init(&all->changed, NULL);
    for (unsigned i = 0; i < WRITERS; i++) {
        struct writer *writer = &all->writer[i];

        writer->all = all;
        writer->number = i;
        (void)snprintf(
            writer->key, sizeof(writer->key), "%.1sw%u", spread_keys[i % SPREAD_COUNT], i);
        assert_int_equal(pthread_create(&writer->thread, NULL, write_on, writer), 0);
    }
}

static void writers_stop(struct writers *all)
{
    atomic_store(&all->stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        (void)pthread_join(all->writer[i].thread, NULL);
    }
    (void)pthread_cond_destroy(&all->changed);
    (void)pthread_mutex_destroy(&all->lock);
}

/* Nothing acknowledged is lost, nothing was applied that was certainly refused, nothing twice: a
 * key's version is how many of its writes were applied. */
static void writers_check(struct writers *all)
{
    uint64_t unknown = 0;

    for (unsigned i = 0; i < WRITERS; i++) {
        const struct writer *writer = &all->writer[i];

        for (unsigned n = 0; n < all->cluster->options.nodes; n++) {
            struct outcome o = get(all->cluster->nodes[n].node, writer->key);

            assert_ok(o);
            assert_true(strtoull(o.value, NULL, 10) >= writer->acknowledged);
            assert_true(strtoull(o.value, NULL, 10) <= writer->attempted);
            assert_true(o.version >= writer->ok);
            assert_true(o.version <= writer->ok + writer->unknown);
        }
        assert_false(writer->fell_back);
        assert_true(writer->ok > 10);
        unknown += writer->unknown;
    }
    print_message("    %" PRIu64 " of writer 0 acknowledged, %" PRIu64 " unknown in all\n",
                  all->writer[0].ok,
                  unknown);
}

/* Closes the node while requests of its own are under way, or after they have left. */
static void writers_close_node(struct writers *all, unsigned i, bool wait)
{
    struct node *node;

    (void)pthread_mutex_lock(&all->lock);
    all->closing[i] = true;
    (void)pthread_mutex_unlock(&all->lock);
    node = all->cluster->nodes[i].node;
    if (wait) {
        (void)pthread_mutex_lock(&all->lock);
        while (all->users[i] != 0) {
            (void)pthread_cond_wait(&all->changed, &all->lock);
        }
        (void)pthread_mutex_unlock(&all->lock);
    }
    node_close(node);
    (void)pthread_mutex_lock(&all->lock);
    all->cluster->nodes[i].node = NULL;
    while (all->users[i] != 0) { /* answered, and about to leave */
        (void)pthread_cond_wait(&all->changed, &all->lock);
    }
    all->closing[i] = false;
    (void)pthread_mutex_unlock(&all->lock);
}

struct progress {
    struct writers *all;
    uint64_t beyond[WRITERS];
};

static bool all_went_on(void *context)
{
    struct progress *progress = context;

    for (unsigned i = 0; i < WRITERS; i++) {
        if (atomic_load(&progress->all->writer[i].attempted) < progress->beyond[i]) {
            return false;
        }
    }
    return true;
}

/* Every writer has written `count` times more. */
static void writers_go_on(struct writers *all, uint64_t count)
{
    struct progress progress = {.all = all};

    for (unsigned i = 0; i < WRITERS; i++) {
        progress.beyond[i] = atomic_load(&all->writer[i].attempted) + count;
    }
    cluster_wait(all_went_on, &progress, "every writer goes on");
}

/* Goal: no acknowledged write is lost, none is applied twice and each is answered once while nodes
 * go away in the middle of things and come back (ND-1, ND-3, ND-4). Method: writers over all nodes;
 * each node in turn is closed with requests in flight, leaders among them, and opened again. */
static void test_writers_while_nodes_close_and_open(void **state)
{
    struct cluster *cluster;
    struct writers all;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    writers_start(&all, cluster);
    for (unsigned i = 0; i < 4; i++) {
        unsigned victim = i % 3;

        writers_go_on(&all, 20);
        writers_close_node(&all, victim, false);
        writers_go_on(&all, 20);
        (void)pthread_mutex_lock(&all.lock);
        all.closing[victim] = true;
        (void)pthread_mutex_unlock(&all.lock);
        cluster_start(cluster, victim);
        cluster_wait_ready(cluster);
        (void)pthread_mutex_lock(&all.lock);
        all.closing[victim] = false;
        (void)pthread_mutex_unlock(&all.lock);
    }
    writers_stop(&all);
    writers_check(&all);
    cluster_destroy(cluster);
}

/* Goal: draining hands every leadership over and answers everything for good: nobody hears of an
 * unknown outcome, neither through the node that leaves nor through the others. Method: writers
 * over all nodes while each node in turn is drained, closed and opened again. */
static void test_drain_answers_everything(void **state)
{
    struct cluster *cluster;
    struct writers all;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    writers_start(&all, cluster);
    for (unsigned victim = 0; victim < 3; victim++) {
        struct node_view *view;

        writers_go_on(&all, 20);
        node_drain(cluster->nodes[victim].node, CLUSTER_WAIT_MS);
        view = node_view_acquire(cluster->nodes[victim].node);
        assert_true(view->draining);
        for (size_t g = 0; g < view->group_count; g++) {
            assert_int_not_equal(view->groups[g].role, NODE_ROLE_LEADER);
        }
        node_view_release(view);
        writers_close_node(&all, victim, true);
        writers_go_on(&all, 20);
        (void)pthread_mutex_lock(&all.lock);
        all.closing[victim] = true;
        (void)pthread_mutex_unlock(&all.lock);
        cluster_start(cluster, victim);
        cluster_wait_ready(cluster);
        (void)pthread_mutex_lock(&all.lock);
        all.closing[victim] = false;
        (void)pthread_mutex_unlock(&all.lock);
    }
    writers_stop(&all);
    writers_check(&all);
    for (unsigned i = 0; i < WRITERS; i++) {
        if (all.writer[i].unknown != 0) {
            fail_msg("%" PRIu64 " writes with unknown outcome, the last: %s",
                     all.writer[i].unknown,
                     fl_status_name(all.writer[i].why));
        }
    }
    cluster_destroy(cluster);
}

/* --- counters ------------------------------------------------------------------------------- */

struct counter {
    pthread_t thread;
    struct cluster *cluster;
    const char *key;
    unsigned number;
    uint64_t turns; /* successful increments wanted */
    uint64_t succeeded;
    uint64_t unknown;
    bool torn; /* a success that did not continue what it had read */
};

static void *count_on(void *argument)
{
    struct counter *counter = argument;
    struct node *node = counter->cluster->nodes[counter->number % 3].node;
    struct outcome seen = get(node, counter->key);

    while (counter->succeeded + counter->unknown < counter->turns) {
        struct outcome o;
        char value[24];

        (void)snprintf(value, sizeof(value), "%llu", strtoull(seen.value, NULL, 10) + 1);
        o = cas(node, counter->key, seen.mod, value);
        if (o.status == FL_OK && o.succeeded) {
            counter->succeeded++;
            counter->torn = counter->torn || o.revision <= seen.mod;
            seen.mod = o.revision;
            memcpy(seen.value, value, sizeof(value));
        } else if (o.status == FL_OK) {
            seen = o; /* the else branch has read it */
        } else {
            counter->unknown += fl_status_is_unknown(o.status) ? 1 : 0;
            seen = get(node, counter->key);
        }
    }
    return NULL;
}

/* Goal: compare-and-swap is atomic over all nodes and threads: every success is one step, none is
 * lost and none counted twice. Method: threads on all nodes count one key up; the sum of successes
 * is the final value. One range and eight: dense numbers and those of the oracle. */
static void count_together(unsigned ranges)
{
    struct cluster *cluster;
    struct counter counters[6];
    struct outcome o;
    uint64_t sum = 0;

    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = ranges});
    for (unsigned i = 0; i < 6; i++) {
        counters[i] = (struct counter){
            .cluster = cluster, .key = "counter", .number = i, .turns = 25};
        assert_int_equal(pthread_create(&counters[i].thread, NULL, count_on, &counters[i]), 0);
    }
    for (unsigned i = 0; i < 6; i++) {
        (void)pthread_join(counters[i].thread, NULL);
        assert_int_equal(counters[i].unknown, 0);
        assert_false(counters[i].torn);
        sum += counters[i].succeeded;
    }
    o = get(cluster->nodes[1].node, "counter");
    assert_int_equal(strtoull(o.value, NULL, 10), sum);
    assert_int_equal(o.version, sum);
    assert_int_equal(sum, 6 * 25);
    cluster_destroy(cluster);
}

static void test_counter(void **state)
{
    (void)state;
    count_together(1);
}

static void test_counter_over_ranges(void **state)
{
    (void)state;
    count_together(8);
}

/* --- order ---------------------------------------------------------------------------------- */

#define ORDER_THREADS 6
#define ORDER_WRITES  60

struct order {
    pthread_t thread;
    struct cluster *cluster;
    unsigned number;
    uint64_t revisions[ORDER_WRITES];
    bool fell_back; /* an answer of this node was below an earlier one */
};

static void *write_in_order(void *argument)
{
    struct order *order = argument;
    struct node *node = order->cluster->nodes[order->number % 3].node;
    uint64_t seen = 0;

    for (unsigned i = 0; i < ORDER_WRITES; i++) {
        const char *key = spread_keys[(order->number + i) % SPREAD_COUNT];
        uint64_t before = node_revision(node);
        struct outcome o = put(node, key, "x");
        struct outcome read = get(node, spread_keys[(order->number + i + 3) % SPREAD_COUNT]);

        if (o.status != FL_OK || read.status != FL_OK) {
            order->fell_back = true;
            break;
        }
        order->revisions[i] = o.revision;
        order->fell_back = order->fell_back || o.revision <= seen || read.revision < o.revision ||
                           o.revision <= before || node_revision(node) < o.revision;
        seen = read.revision;
    }
    return NULL;
}

static int compare_revisions(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Goal: revisions are strictly unique over all ranges, follow real time, and what one node answers
 * to one client never goes back. Method: threads on all nodes write to all ranges and read others
 * in between; all revisions are compared in the end. */
static void test_revisions_are_one_order(void **state)
{
    static uint64_t revisions[ORDER_THREADS * ORDER_WRITES];
    static struct order orders[ORDER_THREADS];
    struct cluster *cluster;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    for (unsigned i = 0; i < ORDER_THREADS; i++) {
        orders[i] = (struct order){.cluster = cluster, .number = i};
        assert_int_equal(pthread_create(&orders[i].thread, NULL, write_in_order, &orders[i]), 0);
    }
    for (unsigned i = 0; i < ORDER_THREADS; i++) {
        (void)pthread_join(orders[i].thread, NULL);
        assert_false(orders[i].fell_back);
        memcpy(revisions + i * ORDER_WRITES, orders[i].revisions, sizeof(orders[i].revisions));
    }
    qsort(revisions, ORDER_THREADS * ORDER_WRITES, sizeof(revisions[0]), compare_revisions);
    for (unsigned i = 1; i < ORDER_THREADS * ORDER_WRITES; i++) {
        assert_true(revisions[i] > revisions[i - 1]);
    }
    cluster_destroy(cluster);
}

/* --- laggards and restarts ------------------------------------------------------------------ */

struct snapshot_wait {
    uint64_t beyond;
};

static bool snapshot_installed(void *context)
{
    const struct snapshot_wait *wait = context;

    return cluster_counter("flotilla_snapshots_installed_total") > wait->beyond;
}

#define BURST 64

/* `count` puts over `keys` different keys, BURST at a time. */
static void write_many(struct node *node, unsigned count, unsigned keys)
{
    static struct call calls[BURST];

    for (unsigned done = 0; done < count; done += BURST) {
        for (unsigned i = 0; i < BURST; i++) {
            char key[32];

            (void)snprintf(key, sizeof(key), "key%05u", (done + i) % keys);
            call_init(&calls[i]);
            call_put(&calls[i], node, key, "a value of some length, so that there is something");
        }
        for (unsigned i = 0; i < BURST; i++) {
            assert_int_equal(call_wait(&calls[i]), FL_OK);
            call_close(&calls[i]);
        }
    }
}

struct truncation_wait {
    struct node *node;
    uint64_t bytes;
};

static bool log_is_short(void *context)
{
    const struct truncation_wait *wait = context;
    struct node_view *view = node_view_acquire(wait->node);
    bool is_short = true;

    for (size_t g = 0; g < view->group_count; g++) {
        is_short = is_short && view->groups[g].log_bytes < wait->bytes;
    }
    node_view_release(view);
    return is_short;
}

/* Goal: a follower that was away for longer than the log is kept is brought back by a snapshot and
 * holds the same (hash), also after it is opened once more. Method: a short log, a closed follower,
 * thousands of writes, checkpoints until the log is truncated; the counter of installed snapshots
 * and the hashes of all nodes. */
static void test_laggard_gets_a_snapshot(void **state)
{
    struct cluster *cluster;
    struct snapshot_wait wait;
    struct truncation_wait truncated;
    unsigned away;
    struct outcome hashes[3];

    (void)state;
    cluster = cluster_create(&(struct cluster_options){
            .nodes = 3, .ranges = 1, .log_keep_entries = "10", .flush_interval = "100ms"});
    away = (cluster_leader(cluster, 0, "key") + 1) % 3;
    write_many(cluster->nodes[(away + 1) % 3].node, BURST, 500);
    cluster_stop(cluster, away);
    wait.beyond = cluster_counter("flotilla_snapshots_installed_total");
    write_many(cluster->nodes[(away + 1) % 3].node, 4096, 500);
    for (unsigned i = 1; i < 3; i++) {
        truncated =
            (struct truncation_wait){.node = cluster->nodes[(away + i) % 3].node, .bytes = 200000};
        cluster_wait(log_is_short, &truncated, "the log is truncated");
    }
    cluster_start(cluster, away);
    cluster_wait(snapshot_installed, &wait, "a snapshot is installed");
    cluster_wait_ready(cluster);
    write_many(cluster->nodes[away].node, BURST, 500);
    for (unsigned round = 0; round < 2; round++) {
        uint64_t revision = get(cluster->nodes[0].node, "key00001").revision;

        for (unsigned n = 0; n < 3; n++) {
            hashes[n] = hash_at(cluster->nodes[n].node, revision);
            assert_ok(hashes[n]);
            assert_int_equal(hashes[n].hash, hashes[0].hash);
        }
        if (round == 0) {
            cluster_stop(cluster, away);
            cluster_start(cluster, away);
            cluster_wait_ready(cluster);
        }
    }
    cluster_destroy(cluster);
}

/* Goal: when all nodes have stopped, everything acknowledged is there and revisions go on above.
 * Method: writes over all ranges, all nodes closed, opened in another order. */
static void test_restart_of_all(void **state)
{
    struct cluster *cluster;
    uint64_t revision;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8, .raft_loops = {2, 2, 2}});
    write_everywhere(cluster);
    write_many(cluster->nodes[1].node, 512, 512);
    revision = get_range(cluster->nodes[0].node, "!", "", 0).revision;
    for (unsigned i = 0; i < 3; i++) {
        cluster_stop(cluster, i);
    }
    for (unsigned i = 3; i-- > 0;) {
        cluster_start(cluster, i);
    }
    cluster_wait_ready(cluster);
    for (unsigned n = 0; n < 3; n++) {
        struct outcome o = get_range(cluster->nodes[n].node, "!", "", 0);

        assert_ok(o);
        assert_int_equal(o.count, SPREAD_COUNT + 512);
        assert_true(o.revision >= revision);
        assert_int_equal(get_range(cluster->nodes[n].node, "!", "", revision).count,
                         SPREAD_COUNT + 512);
    }
    assert_true(put(cluster->nodes[2].node, "xa", "2").revision > revision);
    cluster_destroy(cluster);
}

/* Goal: a node that cannot reach a majority answers every request within its deadline: reads and
 * writes fail or are unknown, local reads are answered, and all is well when the others are back.
 * Method: two of three nodes closed; requests with a short deadline. */
static void test_minority_answers(void **state)
{
    struct cluster *cluster;
    struct node *node;
    struct call write;
    struct call read;
    struct outcome o;
    enum fl_status status;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    write_everywhere(cluster);
    cluster_stop(cluster, 1);
    cluster_stop(cluster, 2);
    node = cluster->nodes[0].node;
    call_init(&write);
    call_init(&read);
    write.request.deadline_ms = node_clock_ms() + 700;
    read.request.deadline_ms = node_clock_ms() + 700;
    call_put(&write, node, "xa", "lost?");
    call_get(&read, node, "!", "", 0, false);
    status = call_wait(&write);
    assert_true(status == FL_TIMEOUT || fl_status_is_unknown(status));
    assert_int_equal(call_wait(&read), FL_TIMEOUT);
    call_close(&read);
    assert_string_equal(get_local(node, "!a").value, "1");
    cluster_start(cluster, 1);
    cluster_wait_ready(cluster);
    o = get(node, "xa");
    assert_ok(o);
    if (status == FL_TIMEOUT) {
        assert_string_equal(o.value, "1"); /* certainly not applied (ND-4) */
    }
    call_close(&write);
    assert_ok(put(node, "xa", "2"));
    cluster_destroy(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_node_revisions_are_dense),
        cmocka_unit_test(test_refused_opening),
        cmocka_unit_test(test_all_kinds_of_requests),
        cmocka_unit_test(test_all_kinds_of_requests_over_mixed_loops),
        cmocka_unit_test(test_counter),
        cmocka_unit_test(test_counter_over_ranges),
        cmocka_unit_test(test_revisions_are_one_order),
        cmocka_unit_test(test_laggard_gets_a_snapshot),
        cmocka_unit_test(test_restart_of_all),
        cmocka_unit_test(test_minority_answers),
        cmocka_unit_test(test_drain_answers_everything),
        cmocka_unit_test(test_writers_while_nodes_close_and_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
