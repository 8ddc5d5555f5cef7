/* Goal: whole nodes keep what they promise to clients: nothing acknowledged is lost, nothing is
 * applied twice, every request is answered once, revisions are one order.
 * Method: real nodes on loopback in one process, with real stores in temporary directories; nodes
 * are closed, drained and opened while threads write through the others. */
#include "tests/node/cluster_fixture.h"

#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

/* Goal: what was answered is read (ND-11), although its rows may still wait in the batch of an
 * apply thread; and a node that is stopped keeps them. Method: one node; write, then read at once,
 * serializable and linearizable in turn, the newest and the revision before; stop, start, read. */
static void test_reads_see_what_waits_to_be_committed(void **state)
{
    struct cluster *cluster;
    struct node *node;
    uint64_t before = 1;
    char value[16];

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 1, .ranges = 1});
    node = cluster->nodes[0].node;
    for (unsigned i = 0; i < 600; i++) {
        struct outcome written;
        struct outcome read;

        (void)snprintf(value, sizeof(value), "%u", i);
        written = put(node, "a", value);
        assert_ok(written);
        /* Not after every write: batches should be of one entry, and of many. */
        if (i % 7 < 3) {
            read = i % 2 == 0 ? get_local(node, "a") : get(node, "a");
            assert_string_equal(read.value, value);
            assert_true(read.revision >= written.revision && read.mod == written.revision);
            assert_true(i == 0 || get_range(node, "a", NULL, before).mod == before);
        }
        before = written.revision;
    }
    cluster_stop(cluster, 0);
    cluster_start(cluster, 0);
    cluster_wait_ready(cluster);
    assert_string_equal(get(cluster->nodes[0].node, "a").value, value);
    cluster_destroy(cluster);
}

/* Goal: what cannot be opened is refused with a sentence and leaves nothing behind. Method: a
 * directory that is in use; the node opens afterwards, with as many loops as there may be. */
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
    cluster->nodes[0].options.raft_loops = NODE_RAFT_LOOPS_MAX;
    cluster_start(cluster, 0);
    cluster_wait_ready(cluster);
    assert_string_equal(get(cluster->nodes[0].node, "a").value, "1");
    cluster_destroy(cluster);
}

/* --- three nodes ---------------------------------------------------------------------------- */

/* What every node should come to hold. */
struct everywhere {
    struct cluster *cluster;
    const char *key;
    const char *value;
};

static bool is_everywhere(void *context)
{
    const struct everywhere *e = context;

    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(get_local(e->cluster->nodes[i].node, e->key).value, e->value) != 0) {
            return false;
        }
    }
    return true;
}

/* Goal: entries that gather on a follower are applied although nothing follows them and nobody
 * waits. Method: one write at a time, in silence; every node's own copy must come to show it. */
static void test_followers_apply_in_silence(void **state)
{
    struct cluster *cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 1});
    struct everywhere e = {.cluster = cluster, .key = "a"};
    char value[16];

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(value, sizeof(value), "%u", i);
        e.value = value;
        assert_ok(put(cluster->nodes[i % 3].node, "a", value));
        cluster_wait(is_everywhere, &e, "every copy shows the write");
    }
    cluster_destroy(cluster);
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
    cluster_write_everywhere(cluster);
    for (unsigned n = 0; n < 3; n++) {
        struct node *node = cluster->nodes[n].node;

        o = get_range(node, "!", "", 0);
        assert_ok(o);
        assert_int_equal(o.count, CLUSTER_KEYS + (n == 0 ? 0 : 2));
        assert_int_equal(get_range(node, "0", "S", 0).count, 4);
        assert_int_equal(get_range(node, "S", "0", 0).count, 0); /* an empty interval */
        assert_int_equal(get_range(node, "!", "", o.revision + 1000000).status, FL_FUTURE_REVISION);
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
    assert_int_equal(o.count, CLUSTER_KEYS + 2); /* the past is still there */
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
 * find their loops (ND-10). Method: as above. */
static void test_all_kinds_of_requests_over_mixed_loops(void **state)
{
    (void)state;
    use_all_kinds((const unsigned[]){1, 2, 3});
}

/* Goal: an answer larger than a message between nodes is refused to who asked through another node,
 * and harms nobody. Method: 36 MiB of values in one range, read through its leader and through a
 * follower, linearizable and locally. */
static void test_a_result_that_fits_no_message(void **state)
{
    enum { VALUES = 30, VALUE_BYTES = 1228800 };
    struct cluster *cluster;
    unsigned leader;
    struct node *follower;
    char *value = fl_xmalloc(VALUE_BYTES + 1);

    (void)state;
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 1});
    leader = cluster_leader(cluster, 0, "k");
    follower = cluster->nodes[(leader + 1) % 3].node;
    for (unsigned i = 0; i < VALUES; i++) {
        char key[8];

        (void)snprintf(key, sizeof(key), "k%02u", i);
        assert_ok(put(cluster->nodes[leader].node, key, value));
    }
    assert_int_equal(get_range(follower, "k", "l", 0).status, FL_TOO_LARGE);
    assert_int_equal(get_range(cluster->nodes[leader].node, "k", "l", 0).count, VALUES);
    assert_int_equal(get_range(follower, "k00", "k20", 0).count, 20);
    assert_ok(put(follower, "k", "small"));
    assert_int_equal(cluster_leader(cluster, 0, "k"), leader);
    free(value);
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
        counters[i] =
            (struct counter){.cluster = cluster, .key = "counter", .number = i, .turns = 25};
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
        const char *key = cluster_keys[(order->number + i) % CLUSTER_KEYS];
        uint64_t before = node_revision(node);
        struct outcome o = put(node, key, "x");
        struct outcome read = get(node, cluster_keys[(order->number + i + 3) % CLUSTER_KEYS]);

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

#define SNAPSHOT_THREADS 6
#define SNAPSHOT_TURNS   600
/* So seldom that no reader has had to wait for rows lately when a write comes. */
#define SNAPSHOT_WRITES_EVERY 30

/* A thread that reads two keys in turn, and writes them now and then. */
struct snapshots {
    pthread_t thread;
    struct cluster *cluster;
    unsigned number;
    bool failed;
    uint64_t written[SNAPSHOT_TURNS]; /* revisions of writes, 0: none in this turn */
    uint64_t read[SNAPSHOT_TURNS];    /* R of a read, 0: none */
    uint64_t found[SNAPSHOT_TURNS];   /* .. and the modification revision it found */
};

static const char *snapshot_key(unsigned turn)
{
    return cluster_keys[turn % 2 == 0 ? 1 : 6];
}

static void *write_and_read(void *argument)
{
    struct snapshots *s = argument;
    struct node *node = s->cluster->nodes[s->number % 3].node;

    for (unsigned i = 0; i < SNAPSHOT_TURNS; i++) {
        bool reads = (i + 5 * s->number) % SNAPSHOT_WRITES_EVERY != 0;
        struct outcome o = reads ? get(node, snapshot_key(i)) : put(node, snapshot_key(i), "x");

        s->failed = s->failed || o.status != FL_OK;
        s->written[i] = reads ? 0 : o.revision;
        s->read[i] = reads ? o.revision : 0;
        s->found[i] = o.mod;
    }
    return NULL;
}

/* The newest write of the key of turn `turn` at or below `revision`, 0: none. */
static uint64_t newest_write(const struct snapshots *all, unsigned turn, uint64_t revision)
{
    uint64_t newest = 0;

    for (unsigned w = 0; w < SNAPSHOT_THREADS; w++) {
        for (unsigned i = turn % 2; i < SNAPSHOT_TURNS; i += 2) {
            uint64_t r = all[w].written[i];

            newest = r <= revision && r > newest ? r : newest;
        }
    }
    return newest;
}

/* Goal: a read that answers with revision R shows every write at or below R, also one that was in
 * flight, applied, or waiting in the batch of an apply thread when R was given (OR-9, ND-11).
 * Method: threads read two keys of different ranges through all nodes, and write now and then; in
 * the end every read is compared with all the writes. */
static void test_reads_hold_all_below_their_revision(void **state)
{
    static struct snapshots all[SNAPSHOT_THREADS];
    struct cluster *cluster;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    for (unsigned i = 0; i < SNAPSHOT_THREADS; i++) {
        all[i] = (struct snapshots){.cluster = cluster, .number = i};
        assert_int_equal(pthread_create(&all[i].thread, NULL, write_and_read, &all[i]), 0);
    }
    for (unsigned i = 0; i < SNAPSHOT_THREADS; i++) {
        (void)pthread_join(all[i].thread, NULL);
        assert_false(all[i].failed);
    }
    for (unsigned i = 0; i < SNAPSHOT_THREADS; i++) {
        for (unsigned k = 0; k < SNAPSHOT_TURNS; k++) {
            if (all[i].read[k] != 0) {
                assert_int_equal(all[i].found[k], newest_write(all, k, all[i].read[k]));
            }
        }
    }
    cluster_destroy(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_node_revisions_are_dense),
        cmocka_unit_test(test_reads_see_what_waits_to_be_committed),
        cmocka_unit_test(test_refused_opening),
        cmocka_unit_test(test_followers_apply_in_silence),
        cmocka_unit_test(test_all_kinds_of_requests),
        cmocka_unit_test(test_all_kinds_of_requests_over_mixed_loops),
        cmocka_unit_test(test_a_result_that_fits_no_message),
        cmocka_unit_test(test_counter),
        cmocka_unit_test(test_counter_over_ranges),
        cmocka_unit_test(test_revisions_are_one_order),
        cmocka_unit_test(test_reads_hold_all_below_their_revision),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
