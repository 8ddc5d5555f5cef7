/* Goal: nothing a stranger sends or withholds at the peer port crashes the node, holds a handshake
 * for longer than its limit or keeps real peers out; what breaks the protocol is closed and
 * counted. Method: bare sockets on loopback against a real listener and transport (net_node.h). */
#include "node/transport_internal.h"
#include "raftgroup/base/log.h"
#include "raftgroup/base/prng.h"
#include "tests/node/greeting.h"
#include "tests/node/net_node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t metric(enum node__transport_metric which)
{
    return fl_metric_get(&node__transport_metrics[which]);
}

static int stranger(const struct net_node *node)
{
    return greeting_dial(node->port);
}

/* The other side closed without a word (a reset counts: bytes we sent were left unread). */
static void assert_closed(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, 0);

    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    (void)close(fd);
}

static void write_hello(struct fl_writer *out, const struct node_hello *hello)
{
    struct fl_writer body;

    fl_writer_init(&body);
    node_hello_encode(&body, hello);
    node_frame_write(out, NODE_FRAME_HELLO, fl_writer_bytes(&body));
    fl_writer_close(&body);
}

static void good_hello(struct node_hello *hello)
{
    net_hello(&(struct net_options){.id = 7, .boot = 5}, 0, hello);
}

static int greeted_stranger(const struct net_node *node)
{
    struct node_answer answer;
    struct node_hello hello;
    int fd = stranger(node);

    good_hello(&hello);
    greeting_say(fd, &hello);
    greeting_hear(fd, &answer);
    assert_int_equal(answer.status, FL_OK);
    assert_int_equal(answer.hello.node_id, node->options.id);
    return fd;
}

/* A proper node still gets in and through. */
static void assert_serves(struct net_node *node)
{
    unsigned incoming = net_ups(node, NODE_INCOMING);
    struct net_node other;

    net_open(&other, &(struct net_options){.id = 50});
    net_peer(&other, node->options.id, node->port);
    NET_WAIT(&other, other.seen.up[NODE_OUTGOING] == NET_LANES);
    NET_WAIT(node, node->seen.up[NODE_INCOMING] >= incoming + NET_LANES);
    net_close(&other);
}

/* --- malformed ------------------------------------------------------------------------------ */

static void test_malformed_handshakes(void **state)
{
    static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct net_node a;
    struct node_hello hello;
    struct fl_writer out;
    int64_t bad;
    int fd;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    bad = metric(NODE__METRIC_BAD_FRAMES);
    fl_writer_init(&out);
    good_hello(&hello);
    write_hello(&out, &hello);

    fd = stranger(&a);
    greeting_send(fd, http, sizeof(http));
    assert_closed(fd);

    /* Each byte of the hello wrong once: length, checksum, version, type, magic, fields. */
    for (size_t i = 4; i < out.len; i++) {
        fd = stranger(&a);
        out.data[i] ^= 0x40;
        greeting_send(fd, out.data, out.len);
        out.data[i] ^= 0x40;
        assert_closed(fd);
    }
    assert_int_equal(metric(NODE__METRIC_BAD_FRAMES), bad + 1 + (int64_t)out.len - 4);

    /* A length beyond the handshake's bound, though any frame's bound would allow it. */
    fd = stranger(&a);
    fl_put_u32le(out.data, NODE_HANDSHAKE_BYTES_MAX + 1);
    greeting_send(fd, out.data, NODE_FRAME_HEADER_BYTES);
    assert_closed(fd);

    /* Messages instead of a hello. */
    fl_writer_reset(&out);
    node_frame_write(&out, NODE_FRAME_MESSAGES, fl_bytes("\1\0", 2));
    fd = stranger(&a);
    greeting_send(fd, out.data, out.len);
    assert_closed(fd);

    /* A hello and more without waiting for the answer. */
    fl_writer_reset(&out);
    write_hello(&out, &hello);
    fl_write_u8(&out, 0);
    fd = stranger(&a);
    greeting_send(fd, out.data, out.len);
    assert_closed(fd);

    /* A dialer that goes away in the middle. */
    fd = stranger(&a);
    greeting_send(fd, out.data, out.len / 2);
    (void)close(fd);

    NET_SEES(&a, a.seen.up[NODE_INCOMING] == 0);
    assert_serves(&a);
    fl_writer_close(&out);
    net_close(&a);
}

static void test_random_bytes(void **state)
{
    struct net_node a;
    struct fl_prng prng;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1, .handshake_timeout_ms = 50});
    fl_prng_seed(&prng, 3);
    for (int round = 0; round < 100; round++) {
        uint8_t bytes[300];
        int fd = stranger(&a);

        for (size_t i = 0; i < sizeof(bytes); i++) {
            bytes[i] = (uint8_t)fl_prng_next(&prng);
        }
        greeting_send(fd, bytes, 1 + (size_t)fl_prng_below(&prng, sizeof(bytes) - 1));
        /* Refused for its bytes or for their absence. */
        assert_closed(fd);
    }
    assert_serves(&a);
    net_close(&a);
}

/* After a good handshake, bad bytes end this connection, not the node. */
static void test_malformed_messages(void **state)
{
    struct net_node a;
    struct fl_writer out;
    int64_t bad;
    int fd;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    bad = metric(NODE__METRIC_BAD_FRAMES);
    fl_writer_init(&out);
    for (unsigned which = 0; which < 4; which++) {
        fd = greeted_stranger(&a);
        fl_writer_reset(&out);
        if (which == 0) {
            node_frame_write(&out, NODE_FRAME_HELLO, fl_bytes("x", 1));
        } else if (which == 1) {
            node_frame_write(&out, NODE_FRAME_MESSAGES, fl_bytes("\1\50", 2));
        } else {
            node_frame_write(&out, NODE_FRAME_MESSAGES, fl_bytes("\1\1a", 3));
            out.data[which == 2 ? out.len - 1 : 3] ^= 0x20;
        }
        greeting_send(fd, out.data, out.len);
        assert_closed(fd);
        NET_WAIT(&a, a.seen.down[NODE_INCOMING] == which + 1);
    }
    assert_int_equal(metric(NODE__METRIC_BAD_FRAMES), bad + 4);
    NET_SEES(&a, a.seen.messages[0] == 0);
    assert_serves(&a);
    fl_writer_close(&out);
    net_close(&a);
}

/* --- refused -------------------------------------------------------------------------------- */

static void test_refusals_come_with_a_sentence(void **state)
{
    struct net_node a;
    struct node_answer answer;
    struct node_hello hello;
    int fd;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    good_hello(&hello);
    hello.version_min = NODE_PROTOCOL_MAX + 1;
    hello.version_max = NODE_PROTOCOL_MAX + 4;
    fd = stranger(&a);
    greeting_say(fd, &hello);
    greeting_hear(fd, &answer);
    assert_int_equal(answer.status, FL_NEWER_FORMAT);
    assert_non_null(strstr(answer.sentence, "protocol versions 2 to 5"));
    assert_closed(fd);

    good_hello(&hello);
    for (int i = 0; i < 2; i++) {
        hello.lane = i == 0 ? NET_LANES : UINT32_MAX;
        fd = stranger(&a);
        greeting_say(fd, &hello);
        greeting_hear(fd, &answer);
        assert_int_equal(answer.status, FL_REFUSED);
        assert_non_null(strstr(answer.sentence, "lane"));
        assert_closed(fd);
    }

    good_hello(&hello);
    hello.node_id = 1;
    fd = stranger(&a);
    greeting_say(fd, &hello);
    greeting_hear(fd, &answer);
    assert_int_equal(answer.status, FL_EXISTS);
    assert_closed(fd);
    net_close(&a);
}

/* --- slow and many -------------------------------------------------------------------------- */

static void test_slow_handshakes_expire(void **state)
{
    enum { SLOW = 5 };
    struct net_node a;
    int64_t expired = metric(NODE__METRIC_SLOW);
    int fds[SLOW];

    (void)state;
    net_open(&a, &(struct net_options){.id = 1, .handshake_timeout_ms = 60});
    for (int i = 0; i < SLOW; i++) {
        fds[i] = stranger(&a);
        if (i % 2 == 0) {
            greeting_send(fds[i], "\100\0\0", 3);
        }
    }
    for (int i = 0; i < SLOW; i++) {
        assert_closed(fds[i]);
    }
    assert_int_equal(metric(NODE__METRIC_SLOW), expired + SLOW);
    assert_serves(&a);
    net_close(&a);
}

static void test_handshakes_are_counted(void **state)
{
    struct net_node a;
    int64_t turned = metric(NODE__METRIC_TURNED_AWAY);
    int first;
    int second;
    int third;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1, .handshakes_max = 2});
    first = stranger(&a);
    second = stranger(&a);
    third = stranger(&a);
    assert_closed(third);
    assert_int_equal(metric(NODE__METRIC_TURNED_AWAY), turned + 1);
    (void)close(first);
    (void)close(second);
    net_close(&a);
}

/* Out of descriptors the listener turns dialers away instead of spinning or going deaf. */
static void test_out_of_descriptors(void **state)
{
    enum { FILL_MAX = 4096 };
    static int filled[FILL_MAX];
    struct net_node a;
    struct rlimit old;
    struct rlimit low;
    int64_t turned = metric(NODE__METRIC_TURNED_AWAY);
    int fds[3];
    int count = 0;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    for (int i = 0; i < 3; i++) {
        fds[i] = greeting_socket();
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 256;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (count < FILL_MAX && (filled[count] = dup(fds[0])) >= 0) {
        count++;
    }
    assert_true(count > 0 && count < FILL_MAX);
    for (int i = 0; i < 3; i++) {
        greeting_connect(fds[i], a.port);
        assert_closed(fds[i]);
        /* Its number must not serve the next one. */
        filled[count] = dup(filled[0]);
        assert_true(filled[count] >= 0);
        count++;
    }
    assert_int_equal(metric(NODE__METRIC_TURNED_AWAY), turned + 3);
    while (count > 0) {
        (void)close(filled[--count]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_serves(&a);
    net_close(&a);
}

/* --- the same peer again -------------------------------------------------------------------- */

static void test_a_newer_connection_replaces_the_older(void **state)
{
    struct net_node a;
    int first;
    int second;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    first = greeted_stranger(&a);
    NET_WAIT(&a, a.seen.up[NODE_INCOMING] == 1);
    second = greeted_stranger(&a);
    NET_WAIT(&a, a.seen.up[NODE_INCOMING] == 2);
    NET_SEES(&a, a.seen.down[NODE_INCOMING] == 1);
    NET_SEES(&a, strcmp(a.seen.reason[NODE_INCOMING], "replaced by a newer connection") == 0);
    assert_closed(first);
    (void)close(second);
    NET_WAIT(&a, a.seen.down[NODE_INCOMING] == 2);
    NET_SEES(&a, strcmp(a.seen.reason[NODE_INCOMING], "closed by the peer") == 0);
    net_close(&a);
}

/* libuv calls back after the turn as well, here from a close; what the hooks then mark dirty must
 * not wait for the next message or deadline, of which there is none here. */
static void test_a_turn_follows_every_callback(void **state)
{
    struct net_node a;
    int fd;

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    fd = greeted_stranger(&a);
    NET_WAIT(&a, a.seen.up[NODE_INCOMING] == 1 && a.seen.turned);
    net_reset(&a, 7);
    NET_WAIT(&a, a.seen.down[NODE_INCOMING] == 1 && a.seen.turned);
    assert_closed(fd);
    net_close(&a);
}

/* Closing while handshakes are open and connections are being handed over. */
static void test_closing_in_the_middle(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct net_node a;
        struct node_hello hello;
        int fds[6];

        net_open(&a, &(struct net_options){.id = 1, .loops = 2});
        good_hello(&hello);
        hello.lane = 1;
        for (int i = 0; i < 6; i++) {
            fds[i] = stranger(&a);
            if (i >= round % 6) {
                greeting_say(fds[i], &hello);
            }
        }
        net_close(&a);
        for (int i = 0; i < 6; i++) {
            (void)close(fds[i]);
        }
    }
}

static enum fl_status
never_asked(void *ctx, const struct node_hello *hello, char *sentence, size_t sentence_bytes)
{
    (void)ctx;
    (void)hello;
    (void)sentence;
    (void)sentence_bytes;
    return FL_REFUSED;
}

static void test_an_address_in_use(void **state)
{
    char host[] = "127.0.0.1";
    struct net_node a;
    struct node_url url = {.host = host};
    struct node_loop *loop = node_loop_create("second", NULL);
    struct node_transport *lanes[1] = {NULL};
    struct node_listener_options options = {
        .loop = loop,
        .urls = &url,
        .url_count = 1,
        .lanes = lanes,
        .lane_count = 1,
        .check = never_asked,
    };
    struct node_listener *listener = NULL;
    char why[200];

    (void)state;
    net_open(&a, &(struct net_options){.id = 1});
    url.port = a.port;
    assert_int_equal(node_listener_create(&listener, &options, why, sizeof(why)), FL_IO);
    assert_non_null(strstr(why, "cannot listen for peers on 127.0.0.1"));
    assert_null(listener);
    node_loop_destroy(loop);
    net_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed_handshakes),
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_malformed_messages),
        cmocka_unit_test(test_refusals_come_with_a_sentence),
        cmocka_unit_test(test_slow_handshakes_expire),
        cmocka_unit_test(test_handshakes_are_counted),
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_a_newer_connection_replaces_the_older),
        cmocka_unit_test(test_a_turn_follows_every_callback),
        cmocka_unit_test(test_closing_in_the_middle),
        cmocka_unit_test(test_an_address_in_use),
    };

    fl_log_set_level(FL_LOG_FATAL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
