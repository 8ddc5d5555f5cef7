/* Goal: what nodes promise holds while nodes and connections come and go: nothing acknowledged is
 * lost, nothing is applied twice, every request is answered once, what was read stays as it was.
 * Method: real nodes in one process; threads write through all of them while nodes are closed,
 * drained and opened, connections are cut, and nodes are made deaf. */
#include "tests/node/cluster_writers.h"

#include "node/clock.h"

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

/* Goal: no acknowledged write is lost, none is applied twice and each is answered once while nodes
 * go away in the middle of things and come back (ND-3, ND-4, ND-6). Method: writers over all nodes;
 * each node in turn is closed with requests in flight, leaders among them, and opened again. */
static void test_writers_while_nodes_close_and_open(void **state)
{
    struct cluster *cluster;
    struct writers *all;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    all = writers_start(cluster);
    for (unsigned i = 0; i < 4; i++) {
        unsigned victim = i % 3;

        writers_go_on(all, 20);
        writers_close_node(all, victim, false);
        writers_go_on(all, 20);
        writers_open_node(all, victim);
    }
    writers_stop(all);
    writers_destroy(all);
    cluster_destroy(cluster);
}

/* Goal: connections that break in the middle of everything lose nothing and apply nothing twice:
 * what was sent again had its turn at most once (ND-3). Method: writers over all nodes, through a
 * network that closes every connection again and again. */
static void test_writers_while_connections_break(void **state)
{
    struct cluster *cluster;
    struct writers *all;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8, .proxied = true});
    all = writers_start(cluster);
    for (unsigned i = 0; i < 12; i++) {
        writers_go_on(all, 4);
        cluster_proxy_cut(cluster->proxy);
    }
    writers_go_on(all, 10);
    writers_stop(all);
    writers_destroy(all);
    cluster_destroy(cluster);
}

/* Goal: a node that hears nobody, while others hear it, serves no stale read as leader, loses
 * nothing, and is taken back. Method: each node in turn is made deaf; writers over all nodes; after
 * each change the newest acknowledged value of every key is read through the deaf node: the answer
 * is that value or newer, or none. */
static void test_deaf_nodes(void **state)
{
    struct cluster *cluster;
    struct writers *all;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8, .proxied = true});
    all = writers_start(cluster);
    for (unsigned deaf = 0; deaf < 3; deaf++) {
        writers_go_on(all, 10);
        cluster_proxy_block(cluster->proxy, deaf, true);
        for (unsigned i = 0; i < WRITERS; i++) {
            const struct writer *writer = &all->writer[i];
            uint64_t revision = atomic_load(&writer->revision);
            struct outcome o = get_within(cluster->nodes[deaf].node, writer->key, 250);

            assert_true(o.status != FL_OK || o.mod >= revision);
        }
        cluster_proxy_block(cluster->proxy, deaf, false);
        writers_go_on(all, 10);
    }
    writers_stop(all);
    writers_destroy(all);
    cluster_destroy(cluster);
}

/* Goal: draining hands every leadership over and answers everything for good: nobody hears of an
 * unknown outcome, neither through the node that leaves nor through the others. Method: writers
 * over all nodes while each node in turn is drained, closed and opened again. */
static void test_drain_answers_everything(void **state)
{
    struct cluster *cluster;
    struct writers *all;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    all = writers_start(cluster);
    for (unsigned victim = 0; victim < 3; victim++) {
        struct node_view *view;

        writers_go_on(all, 20);
        node_drain(cluster->nodes[victim].node, CLUSTER_WAIT_MS);
        view = node_view_acquire(cluster->nodes[victim].node);
        assert_true(view->draining);
        for (size_t g = 0; g < view->group_count; g++) {
            assert_int_not_equal(view->groups[g].role, NODE_ROLE_LEADER);
        }
        node_view_release(view);
        writers_close_node(all, victim, true);
        writers_go_on(all, 20);
        writers_open_node(all, victim);
    }
    writers_stop(all);
    for (unsigned i = 0; i < WRITERS; i++) {
        if (all->writer[i].unknown != 0) {
            fail_msg("%" PRIu64 " writes with unknown outcome, the last: %s",
                     all->writer[i].unknown,
                     fl_status_name(all->writer[i].why));
        }
    }
    writers_destroy(all);
    cluster_destroy(cluster);
}

/* Goal: a read over several ranges shows one moment, which stays what it was: no write of any range
 * appears at or below its revision afterwards (OR-9). Method: writers to all ranges; every read is
 * done again at its revision through the other nodes, at once and when the writers have stopped. */
static void test_a_read_is_one_moment(void **state)
{
    enum { READS = 60 };
    static struct outcome reads[READS];
    struct cluster *cluster;
    struct writers *all;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    all = writers_start(cluster);
    writers_go_on(all, 5);
    for (unsigned i = 0; i < READS; i++) {
        reads[i] = get_range(cluster->nodes[i % 3].node, "!", "", 0);
        assert_ok(reads[i]);
        assert_int_equal(reads[i].count, WRITERS);
        assert_true(i == 0 || reads[i].revision >= reads[i - 1].revision);
        assert_int_equal(
            get_range(cluster->nodes[(i + 1) % 3].node, "!", "", reads[i].revision).digest,
            reads[i].digest);
    }
    writers_stop(all);
    for (unsigned i = 0; i < READS; i++) {
        assert_int_equal(
            get_range(cluster->nodes[(i + 2) % 3].node, "!", "", reads[i].revision).digest,
            reads[i].digest);
    }
    writers_destroy(all);
    cluster_destroy(cluster);
}

/* --- what the view says --------------------------------------------------------------------- */

/* Goal: health and status never contradict what the same node has just done: once a request was
 * served through it, its view names an open node as leader of that range. Method: the leader of a
 * range is closed and opened again, over and over; after the first answer through each other node,
 * and through the one that is back, the view is looked at once, without waiting. */
static void test_view_knows_who_served(void **state)
{
    struct cluster *cluster;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    cluster_write_everywhere(cluster);
    for (unsigned round = 0; round < 4; round++) {
        unsigned victim = cluster_leader(cluster, 0, "xa");

        cluster_stop(cluster, victim);
        for (unsigned i = 1; i < 3; i++) {
            unsigned other = (victim + i) % 3;

            assert_ok(put(cluster->nodes[other].node, "xa", "1"));
            assert_true(cluster_has_leader(cluster, other, "xa"));
        }
        cluster_start(cluster, victim);
        assert_ok(get(cluster->nodes[victim].node, "xa"));
        assert_true(cluster_has_leader(cluster, victim, "xa"));
        cluster_wait_ready(cluster);
    }
    cluster_destroy(cluster);
}

/* --- restarts ------------------------------------------------------------------------------- */

/* Goal: when all nodes have stopped, everything acknowledged is there and revisions go on above.
 * Method: writes over all ranges, all nodes closed, opened in another order. */
static void test_restart_of_all(void **state)
{
    struct cluster *cluster;
    uint64_t revision;

    (void)state;
    cluster =
        cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8, .raft_loops = {2, 2, 2}});
    cluster_write_everywhere(cluster);
    cluster_write_many(cluster, 1, 512, 512);
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
        assert_int_equal(o.count, CLUSTER_KEYS + 512);
        assert_true(o.revision >= revision);
        assert_int_equal(get_range(cluster->nodes[n].node, "!", "", revision).count,
                         CLUSTER_KEYS + 512);
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
    cluster_write_everywhere(cluster);
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
        cmocka_unit_test(test_writers_while_nodes_close_and_open),
        cmocka_unit_test(test_writers_while_connections_break),
        cmocka_unit_test(test_deaf_nodes),
        cmocka_unit_test(test_drain_answers_everything),
        cmocka_unit_test(test_a_read_is_one_moment),
        cmocka_unit_test(test_view_knows_who_served),
        cmocka_unit_test(test_restart_of_all),
        cmocka_unit_test(test_minority_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
