/* Goal: messages arrive whole, once and in order on their lane; queues are bounded; a peer's death,
 * return, refusal or mistaken address is noticed and told.
 * Method: real loops and sockets on loopback, ports of the kernel's choice (net_node.h); a peer
 * process that is killed with SIGKILL for its death. */
#include "node/clock.h"
#include "node/transport_internal.h"
#include "raftgroup/base/log.h"
#include "tests/node/net_node.h"

#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t metric(enum node__transport_metric which)
{
    return fl_metric_get(&node__transport_metrics[which]);
}

static void open_two(struct net_node *a, struct net_node *b)
{
    net_open(a, &(struct net_options){.id = 1, .boot = 11});
    net_open(b, &(struct net_options){.id = 2, .boot = 22});
}

static void close_two(struct net_node *a, struct net_node *b)
{
    net_close(a);
    net_close(b);
}

/* --- delivery ------------------------------------------------------------------------------- */

/* Lane 1 of both nodes lives on a loop of its own: its connections change loops after accept. */
static void test_every_lane_keeps_its_order(void **state)
{
    enum { ROUNDS = 40, EACH = 50 };
    struct net_node a;
    struct net_node b;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1, .boot = 11, .loops = 2});
    net_open(&b, &(struct net_options){.id = 2, .boot = 22, .loops = 2});
    net_connect(&a, &b);
    NET_SEES(&a, a.seen.boot == 22);
    NET_SEES(&b, b.seen.boot == 11);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (uint32_t lane = 0; lane < NET_LANES; lane++) {
            uint64_t first = (uint64_t)round * EACH;

            assert_int_equal(net_send(&a, 2, lane, first, EACH, 0), EACH);
            assert_int_equal(net_send(&b, 1, lane, first, EACH, 0), EACH);
        }
    }
    for (uint32_t lane = 0; lane < NET_LANES; lane++) {
        NET_WAIT(&a, a.seen.messages[lane] == ROUNDS * EACH);
        NET_WAIT(&b, b.seen.messages[lane] == ROUNDS * EACH);
    }
    NET_SEES(&a, a.seen.down[NODE_OUTGOING] + a.seen.down[NODE_INCOMING] == 0);
    close_two(&a, &b);
}

static void test_a_turn_is_one_frame_per_peer(void **state)
{
    struct net_node a;
    struct net_node b;
    int64_t frames;
    int64_t messages;

    (void)state;
    open_two(&a, &b);
    net_connect(&a, &b);
    frames = metric(NODE__METRIC_SENT_FRAMES);
    messages = metric(NODE__METRIC_SENT_MESSAGES);
    assert_int_equal(net_send(&a, 2, 0, 0, 64, 300), 64);
    NET_WAIT(&b, b.seen.messages[0] == 64);
    assert_int_equal(metric(NODE__METRIC_SENT_FRAMES), frames + 1);
    assert_int_equal(metric(NODE__METRIC_SENT_MESSAGES), messages + 64);
    close_two(&a, &b);
}

static void test_big_messages(void **state)
{
    enum { BIG = 4 * 1024 * 1024 };
    struct net_node a;
    struct net_node b;

    (void)state;
    open_two(&a, &b);
    net_connect(&a, &b);
    assert_int_equal(net_send(&a, 2, 2, 0, 5, BIG), 5);
    assert_int_equal(net_send(&a, 2, 0, 0, 1, 100), 1);
    NET_WAIT(&b, b.seen.messages[2] == 5 && b.seen.messages[0] == 1);
    NET_SEES(&b, b.seen.bytes == 5 * BIG + 100);
    assert_int_equal(net_queued(&a, 2, 2), 0);
    close_two(&a, &b);
}

/* The receiver's loop stands still: the queue fills, the sender is told and drops, and what it took
 * arrives once the receiver goes on. */
static void test_overflow(void **state)
{
    enum { SIZE = 64 * 1024, MAX = 1024 * 1024 };
    struct net_node a;
    struct net_node b;
    unsigned taken = 1;
    unsigned n;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1, .queue_bytes_max = MAX});
    net_open(&b, &(struct net_options){.id = 2});
    net_connect(&a, &b);
    net_lock(&b);
    b.seen.hold = true;
    net_unlock(&b);
    assert_int_equal(net_send(&a, 2, 0, 0, 1, SIZE), 1);
    NET_WAIT(&b, b.seen.holding);
    do {
        n = net_send(&a, 2, 0, taken, 8, SIZE);
        taken += n;
        assert_true(net_queued(&a, 2, 0) <= MAX);
        assert_true(taken < 10000);
    } while (n == 8);
    NET_SEES(&a, a.seen.unreachable == 1);
    assert_true(net_queued(&a, 2, 0) > MAX - 2 * SIZE);
    /* Another lane to the same peer is not concerned. */
    assert_int_equal(net_send(&a, 2, 2, 0, 1, 100), 1);
    net_lock(&b);
    b.seen.hold = false;
    (void)pthread_cond_broadcast(&b.seen.changed);
    net_unlock(&b);
    NET_WAIT(&a, a.seen.drained >= 1);
    NET_WAIT(&b, b.seen.messages[0] == taken && b.seen.messages[2] == 1);
    assert_int_equal(net_queued(&a, 2, 0), 0);
    /* And the lane works as before. */
    assert_int_equal(net_send(&a, 2, 0, taken, 3, 50), 3);
    NET_WAIT(&b, b.seen.messages[0] == taken + 3);
    close_two(&a, &b);
}

static void test_nothing_is_queued_for_the_absent(void **state)
{
    struct net_node a;
    int64_t dropped = metric(NODE__METRIC_DROPPED_MESSAGES);

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    assert_int_equal(net_send(&a, 2, 0, 0, 1, 10), 0);
    net_peer(&a, 2, 1); /* nobody listens on port 1 */
    assert_int_equal(net_send(&a, 2, 0, 0, 1, 10), 0);
    assert_false(net_is_up(&a, 2, 0));
    assert_int_equal(metric(NODE__METRIC_DROPPED_MESSAGES), dropped + 2);
    NET_SEES(&a, a.seen.unreachable == 0);
    net_close(&a);
}

/* --- coming and going ----------------------------------------------------------------------- */

static void test_reconnects_to_a_restarted_peer(void **state)
{
    struct net_node a;
    struct net_node b;
    uint16_t port;

    (void)state;
    open_two(&a, &b);
    net_connect(&a, &b);
    port = b.port;
    for (uint32_t boot = 23; boot < 26; boot++) {
        unsigned ups = net_ups(&a, NODE_OUTGOING);
        unsigned incoming = net_ups(&a, NODE_INCOMING);

        net_close(&b);
        NET_WAIT(&a, a.seen.down[NODE_OUTGOING] == ups && a.seen.down[NODE_INCOMING] == incoming);
        assert_int_equal(net_send(&a, 2, 0, 0, 1, 10), 0);
        net_open(&b, &(struct net_options){.id = 2, .boot = boot, .port = port});
        net_peer(&b, 1, a.port);
        NET_WAIT(&a, a.seen.up[NODE_OUTGOING] == ups + NET_LANES);
        NET_WAIT(&a, a.seen.up[NODE_INCOMING] == incoming + NET_LANES);
        NET_SEES(&a, a.seen.boot == boot);
        assert_int_equal(net_send(&a, 2, 1, 0, 7, 100), 7);
        NET_WAIT(&b, b.seen.messages[1] == 7);
    }
    close_two(&a, &b);
}

/* A dialer that comes in ends the pause of the line to it: with a pause of an hour, the line is up
 * as soon as the peer dials. */
static void test_an_incoming_peer_ends_the_pause(void **state)
{
    struct net_node a;
    struct net_node b;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1, .backoff_max_ms = 3600000});
    net_open(&b, &(struct net_options){.id = 2, .verdict = FL_NOT_READY});
    /* A refusal makes the pause the longest one. */
    net_peer(&a, 2, b.port);
    NET_WAIT(&a, a.seen.refused == NET_LANES);
    NET_SEES(&a, a.seen.refused_status == FL_NOT_READY);
    net_lock(&b);
    b.seen.verdict = FL_OK;
    net_unlock(&b);
    net_peer(&b, 1, a.port);
    NET_WAIT(&a, a.seen.up[NODE_OUTGOING] == NET_LANES);
    close_two(&a, &b);
}

static int child_main(uint16_t port);

static pid_t spawn_peer(const char *self, uint16_t port, uint16_t *peer_port)
{
    char text[16];
    char *argv[] = {(char *)(uintptr_t)self, (char *)(uintptr_t) "peer", text, NULL};
    posix_spawn_file_actions_t actions;
    int out[2];
    pid_t pid;
    ssize_t n;

    (void)snprintf(text, sizeof(text), "%u", (unsigned)port);
    assert_int_equal(pipe(out), 0);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    (void)posix_spawn_file_actions_addclose(&actions, out[0]);
    assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ), 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(out[1]);
    n = read(out[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    *peer_port = (uint16_t)atoi(text);
    (void)close(out[0]);
    return pid;
}

static void test_a_killed_peer_is_noticed_at_once(void **state)
{
    struct net_node a;
    uint64_t killed_ns;
    uint64_t noticed_ms;
    uint16_t port = 0;
    pid_t pid;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    pid = spawn_peer("transport_test", a.port, &port);
    net_peer(&a, 2, port);
    NET_WAIT(&a, a.seen.up[NODE_OUTGOING] == NET_LANES && a.seen.up[NODE_INCOMING] == NET_LANES);
    killed_ns = node_clock_ns();
    assert_int_equal(kill(pid, SIGKILL), 0);
    NET_WAIT(&a,
             a.seen.down[NODE_OUTGOING] == NET_LANES && a.seen.down[NODE_INCOMING] == NET_LANES);
    noticed_ms = (node_clock_ns() - killed_ns) / 1000000;
    print_message("noticed after %u ms\n", (unsigned)noticed_ms);
    /* Far below any election or support time; usually one or two milliseconds. */
    assert_true(noticed_ms < 500);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    net_close(&a);
}

static void test_reset_dials_anew(void **state)
{
    struct net_node a;
    struct net_node b;

    (void)state;
    open_two(&a, &b);
    net_connect(&a, &b);
    net_reset(&a, 2);
    NET_WAIT(&a, a.seen.up[NODE_OUTGOING] == 2 * NET_LANES);
    NET_WAIT(&a, a.seen.up[NODE_INCOMING] == 2 * NET_LANES);
    NET_SEES(&a, a.seen.down[NODE_OUTGOING] == NET_LANES);
    NET_SEES(&a, a.seen.down[NODE_INCOMING] == NET_LANES);
    NET_SEES(&a, strcmp(a.seen.reason[NODE_OUTGOING], "given up by this node") == 0);
    assert_int_equal(net_send(&a, 2, 0, 0, 5, 10), 5);
    NET_WAIT(&b, b.seen.messages[0] == 5);
    close_two(&a, &b);
}

static void test_a_removed_peer_is_gone(void **state)
{
    struct net_node a;
    struct net_node b;

    (void)state;
    open_two(&a, &b);
    net_connect(&a, &b);
    net_forget(&b, 1);
    net_forget(&b, 77);
    NET_WAIT(&a, a.seen.down[NODE_INCOMING] == NET_LANES);
    assert_false(net_is_up(&b, 1, 0));
    assert_int_equal(net_send(&b, 1, 0, 0, 1, 10), 0);
    /* Removing is this node's own decision: it is not told about it. */
    net_forget(&a, 2);
    NET_SEES(&b, b.seen.down[NODE_OUTGOING] + b.seen.down[NODE_INCOMING] == 0);
    /* It can come back. */
    net_peer(&b, 1, a.port);
    NET_WAIT(&b, b.seen.up[NODE_OUTGOING] == 2 * NET_LANES);
    close_two(&a, &b);
}

static void test_hooks_may_close_and_remove(void **state)
{
    struct net_node a;
    struct net_node b;

    (void)state;
    open_two(&a, &b);
    net_connect(&a, &b);
    net_lock(&a);
    a.seen.remove_in_down = true;
    net_unlock(&a);
    net_lock(&b);
    b.seen.close_in_message = true;
    net_unlock(&b);
    /* The first message closes b's transport in the middle of a frame. */
    assert_int_equal(net_send(&a, 2, 0, 0, 20, 100), 20);
    NET_WAIT(&b, b.seen.closed == 1);
    NET_SEES(&b, b.seen.messages[0] == 1);
    NET_WAIT(&a, a.seen.down[NODE_OUTGOING] + a.seen.down[NODE_INCOMING] >= 1);
    assert_false(net_is_up(&a, 2, 0));
    close_two(&a, &b);
}

/* --- the wrong ones ------------------------------------------------------------------------- */

static void test_refused_by_the_peer(void **state)
{
    struct net_node a;
    struct net_node b;
    int64_t refused = metric(NODE__METRIC_REFUSED);

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    net_open(&b,
             &(struct net_options){.id = 2,
                                   .verdict = FL_FOREIGN_CLUSTER,
                                   .sentence = "this is cluster b2, you come from cluster c1"});
    net_peer(&a, 2, b.port);
    NET_WAIT(&a, a.seen.refused >= 1);
    NET_SEES(&a, a.seen.refused_status == FL_FOREIGN_CLUSTER);
    NET_SEES(&a,
             strcmp(a.seen.refused_sentence, "this is cluster b2, you come from cluster c1") == 0);
    assert_false(net_is_up(&a, 2, 0));
    NET_SEES(&a, a.seen.up[NODE_OUTGOING] == 0);
    NET_SEES(&b, b.seen.up[NODE_INCOMING] == 0);
    assert_true(metric(NODE__METRIC_REFUSED) > refused);
    close_two(&a, &b);
}

/* The address leads to another node than meant, or to one of another cluster. */
static void test_another_node_at_the_address(void **state)
{
    struct net_node a;
    struct net_node b;
    struct net_node c;

    (void)state;
    open_two(&a, &b);
    net_open(&c, &(struct net_options){.id = 3, .cluster_id = 99});
    net_peer(&a, 9, b.port);
    net_peer(&a, 3, c.port);
    NET_WAIT(&b, b.seen.down[NODE_INCOMING] >= 2 * NET_LANES);
    NET_WAIT(&c, c.seen.down[NODE_INCOMING] >= 2 * NET_LANES);
    NET_SEES(&a, a.seen.up[NODE_OUTGOING] == 0);
    /* With the right address next to the wrong one, it is found. */
    {
        char urls[128];

        (void)snprintf(urls,
                       sizeof(urls),
                       "http://127.0.0.1:%u,http://127.0.0.1:%u",
                       (unsigned)c.port,
                       (unsigned)b.port);
        net_peer_url(&a, 2, urls);
    }
    NET_WAIT(&a, a.seen.up[NODE_OUTGOING] == NET_LANES);
    NET_SEES(&a, a.seen.up_peer == 2);
    net_close(&c);
    close_two(&a, &b);
}

/* A node whose address is its own by mistake. */
static void test_dialing_oneself(void **state)
{
    struct net_node a;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    net_peer(&a, 2, a.port);
    NET_WAIT(&a, a.seen.refused >= 1);
    NET_SEES(&a, a.seen.refused_status == FL_EXISTS);
    NET_SEES(&a, a.seen.up[NODE_INCOMING] == 0);
    net_close(&a);
}

static void test_names_are_resolved(void **state)
{
    struct net_node a;
    struct net_node b;
    char url[64];

    (void)state;
    open_two(&a, &b);
    (void)snprintf(url, sizeof(url), "http://localhost:%u", (unsigned)b.port);
    net_peer_url(&a, 2, url);
    NET_WAIT(&a, a.seen.up[NODE_OUTGOING] == NET_LANES);
    /* Closing while a name is being looked up. */
    net_peer_url(&a, 4, "http://no-such-host.invalid:1");
    close_two(&a, &b);
}

struct set_call {
    struct node_transport *transport;
    const char *urls;
    enum fl_status status;
};

static void set_run(void *arg)
{
    struct set_call *call = arg;

    call->status = node_transport_peer_set(call->transport, 2, call->urls);
}

static void test_unusable_urls(void **state)
{
    static const char *const bad[] = {"", ",", "10.0.0.1:2380", "https://a:1", "http://a"};
    struct net_node a;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct set_call call = {.transport = a.transports[0], .urls = bad[i]};

        net_call(&a, 0, set_run, &call);
        assert_int_equal(call.status, FL_INVALID);
    }
    net_close(&a);
}

/* --- the peer process ----------------------------------------------------------------------- */

static int child_main(uint16_t port)
{
    struct net_node node;
    char text[16];
    int n;

    net_open(&node, &(struct net_options){.id = 2});
    net_peer(&node, 1, port);
    n = snprintf(text, sizeof(text), "%u", (unsigned)node.port);
    if (write(STDOUT_FILENO, text, (size_t)n) != n) {
        return 1;
    }
    for (;;) {
        (void)pause();
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_lane_keeps_its_order),
        cmocka_unit_test(test_a_turn_is_one_frame_per_peer),
        cmocka_unit_test(test_big_messages),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_nothing_is_queued_for_the_absent),
        cmocka_unit_test(test_reconnects_to_a_restarted_peer),
        cmocka_unit_test(test_an_incoming_peer_ends_the_pause),
        cmocka_unit_test(test_a_killed_peer_is_noticed_at_once),
        cmocka_unit_test(test_reset_dials_anew),
        cmocka_unit_test(test_a_removed_peer_is_gone),
        cmocka_unit_test(test_hooks_may_close_and_remove),
        cmocka_unit_test(test_refused_by_the_peer),
        cmocka_unit_test(test_another_node_at_the_address),
        cmocka_unit_test(test_dialing_oneself),
        cmocka_unit_test(test_names_are_resolved),
        cmocka_unit_test(test_unusable_urls),
    };

    fl_log_set_level(FL_LOG_ERROR);
    if (argc == 3 && strcmp(argv[1], "peer") == 0) {
        return child_main((uint16_t)atoi(argv[2]));
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
