/* Goal: what a node is told by others is believed only as far as it can be true: a stranger's word
 * sends no member home, two starts of one node are told from a restart, and a group whose peers
 * contradict themselves stops here and goes on elsewhere.
 * Method: real nodes in one process; a node of another cluster at a member's address, and bare
 * sockets that speak under a member's name. */
#include "node/clock.h"
#include "node/frame.h"
#include "node/message.h"
#include "node/transport.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/log.h"
#include "raftgroup/codec.h"
#include "tests/node/cluster_fixture.h"
#include "tests/node/greeting.h"
#include "tests/node/temp_dir.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_ok(struct outcome outcome)
{
    if (outcome.status != FL_OK) {
        fail_msg("status %s", fl_status_name(outcome.status));
    }
}

static uint16_t peer_port(const struct cluster *cluster, unsigned i)
{
    return (uint16_t)strtoul(strrchr(cluster->nodes[i].peer_url, ':') + 1, NULL, 10);
}

/* Node `i` as it introduces itself: the answer tells, whoever asks. */
static struct node_hello hello_of(const struct cluster *cluster, unsigned i)
{
    struct node_hello nobody = {.version_min = NODE_PROTOCOL_MIN,
                                .version_max = NODE_PROTOCOL_MAX,
                                .cluster_id = 1,
                                .node_id = 1,
                                .boot = 1};
    struct node_answer answer;
    int fd = greeting_dial(peer_port(cluster, i));

    greeting_say(fd, &nobody);
    greeting_hear(fd, &answer);
    (void)close(fd);
    assert_int_equal(answer.status, FL_FOREIGN_CLUSTER);
    assert_int_equal(answer.hello.node_id, cluster->nodes[i].id);
    return answer.hello;
}

/* --- a foreign neighbour -------------------------------------------------------------------- */

/* Lines about being refused by `peer`. */
static struct {
    uint64_t peer;
    atomic_uint count;
} refusals;

static void count_refusals(void *context, const char *line)
{
    char text[64];

    (void)context;
    (void)snprintf(text, sizeof(text), "event=refused_by_peer peer=%016" PRIx64, refusals.peer);
    if (strstr(line, text) != NULL) {
        atomic_fetch_add(&refusals.count, 1);
    }
}

static bool all_lanes_refused(void *context)
{
    (void)context;
    return atomic_load(&refusals.count) >= 6; /* two nodes, three lanes each */
}

/* Goal: one wrong node at the address of a member makes no other member stop; it stops itself, and
 * the member is taken back when it is there again. Method: one of three nodes is closed, a node
 * with another token opened in its place; both others dial it and are refused on every lane. */
static void test_foreign_node_at_a_members_address(void **state)
{
    struct cluster *cluster;
    struct node_options foreign_options;
    struct node *foreign = NULL;
    char token[] = "another-cluster";
    const char *refusal;
    char why[512] = "";

    (void)state;
    fl_log_set_sink(count_refusals, NULL);
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    refusals.peer = cluster->nodes[2].id;
    cluster_stop(cluster, 2);
    foreign_options = cluster->nodes[2].options;
    foreign_options.cluster_token = token;
    foreign_options.data_dir = (char *)(uintptr_t)temp_path(cluster->directory, "foreign");
    assert_int_equal(node_open(&foreign, &foreign_options, why, sizeof(why)), FL_OK);
    refusal = node_wait(foreign);
    assert_non_null(refusal);
    assert_non_null(strstr(refusal, "belongs to cluster"));
    cluster_wait(all_lanes_refused, NULL, "both members are refused");
    node_close(foreign);
    for (unsigned i = 0; i < 2; i++) {
        node_stop_waiting(cluster->nodes[i].node);
        assert_null(node_wait(cluster->nodes[i].node));
        assert_ok(put(cluster->nodes[i].node, "xa", "1"));
    }
    cluster_start(cluster, 2);
    cluster_wait_ready(cluster);
    assert_string_equal(get(cluster->nodes[2].node, "xa").value, "1");
    cluster_destroy(cluster);
    fl_log_set_sink(NULL, NULL);
}

/* --- copies of a data directory ------------------------------------------------------------- */

/* Goal: a node whose directory was put back from an old copy does not come in, however often it is
 * started: it has forgotten what it promised since. It is told so and stops; the original comes
 * back. Method: a copy made between two starts; started until its boot count is beyond every one
 * that was seen, among them the very count of the start it has missed. */
static void test_an_old_copy_stays_out(void **state)
{
    struct cluster *cluster;
    char copy[512];
    char original[512];

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 1});
    (void)snprintf(original, sizeof(original), "%s", cluster->nodes[2].options.data_dir);
    (void)snprintf(copy, sizeof(copy), "%s", temp_path(cluster->directory, "copy"));
    cluster_stop(cluster, 2);
    temp_copy(original, copy);
    cluster_start(cluster, 2);
    cluster_wait_ready(cluster);
    assert_ok(put(cluster->nodes[2].node, "xa", "1"));
    cluster_stop(cluster, 2);
    free(cluster->nodes[2].options.data_dir);
    cluster->nodes[2].options.data_dir = copy;
    for (unsigned start = 0; start < 4; start++) {
        const char *refusal;

        cluster_start(cluster, 2);
        refusal = node_wait(cluster->nodes[2].node);
        assert_non_null(refusal);
        assert_non_null(strstr(refusal, "runs on a copy of its data directory"));
        cluster_stop(cluster, 2);
    }
    assert_ok(put(cluster->nodes[0].node, "xa", "2"));
    cluster->nodes[2].options.data_dir = fl_xstrdup(original);
    cluster_start(cluster, 2);
    cluster_wait_ready(cluster);
    assert_string_equal(get(cluster->nodes[2].node, "xa").value, "2");
    cluster_destroy(cluster);
}

/* --- two starts of one node ----------------------------------------------------------------- */

static void start_again(struct node_hello *hello)
{
    hello->boot++;
    memmove(&hello->starts[1], &hello->starts[0], (NODE_STARTS_MAX - 1) * sizeof(uint64_t));
    hello->starts[0] = hello->boot;
}

struct knock {
    uint16_t port;
    struct node_hello hello;
    struct node_answer answer; /* the newest */
    enum fl_status wanted;
    int fd; /* when accepted: still open */
};

static bool answered_as_wanted(void *context)
{
    struct knock *knock = context;

    knock->fd = greeting_dial(knock->port);
    greeting_say(knock->fd, &knock->hello);
    greeting_hear(knock->fd, &knock->answer);
    if (knock->answer.status == FL_OK && knock->wanted == FL_OK) {
        return true;
    }
    (void)close(knock->fd);
    knock->fd = -1;
    return knock->answer.status == knock->wanted;
}

/* Goal: a later start of a node is asked to wait while it is open whether the earlier one still
 * runs, is refused for good once a beat proves that both run, and is taken in when the earlier one
 * is gone, also if its connection only fell silent. Method: under the name of a running node a
 * socket says hello as its next start; then that node is closed; then the socket stays silent while
 * another one says hello as the start after. */
static void test_a_rival_start(void **state)
{
    struct cluster *cluster;
    struct knock rival;
    struct knock next;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 1});
    rival = (struct knock){.port = peer_port(cluster, 0), .hello = hello_of(cluster, 2)};
    start_again(&rival.hello);
    (void)answered_as_wanted(&rival);
    assert_int_equal(rival.answer.status, FL_NOT_READY);
    assert_non_null(strstr(rival.answer.sentence, "still counts as running: try again"));
    rival.wanted = FL_REFUSED;
    cluster_wait(answered_as_wanted, &rival, "both are known to run");
    assert_non_null(strstr(rival.answer.sentence, "is already running"));
    assert_ok(put(cluster->nodes[2].node, "xa", "1")); /* the earlier one is not disturbed */

    cluster_stop(cluster, 2);
    rival.wanted = FL_OK;
    cluster_wait(answered_as_wanted, &rival, "the next start is taken in");
    next = rival;
    start_again(&next.hello);
    (void)answered_as_wanted(&next);
    assert_int_equal(next.answer.status, FL_NOT_READY);
    cluster_wait(answered_as_wanted, &next, "the silent one has given way");
    (void)close(next.fd);
    (void)close(rival.fd);
    assert_ok(put(cluster->nodes[1].node, "xa", "2"));
    cluster_destroy(cluster);
}

/* --- a frozen group ------------------------------------------------------------------------- */

static struct node_group_view group_of(const struct cluster *cluster, unsigned i, uint64_t id)
{
    struct node_view *view = node_view_acquire(cluster->nodes[i].node);
    struct node_group_view found = {.group_id = 0};

    for (size_t g = 0; g < view->group_count; g++) {
        if (view->groups[g].group_id == id) {
            found = view->groups[g];
            found.start = fl_bytes(NULL, 0);
            found.end = fl_bytes(NULL, 0);
        }
    }
    node_view_release(view);
    return found;
}

struct frozen_wait {
    struct cluster *cluster;
    unsigned node;
    uint64_t group_id;
};

static bool is_frozen(void *context)
{
    const struct frozen_wait *wait = context;

    return group_of(wait->cluster, wait->node, wait->group_id).role == NODE_ROLE_FROZEN;
}

/* Says to node `to`, under the name of node `from`, that `from` leads the group in the same term.
 * Returns the open connection. */
static int claim_leadership(struct cluster *cluster, unsigned from, unsigned to, uint64_t group_id)
{
    struct node_group_view theirs = group_of(cluster, to, group_id);
    struct raft_msg beat = {.type = RAFT_M_HB,
                            .group = group_id,
                            .from = group_of(cluster, from, group_id).replica_id,
                            .to = theirs.replica_id,
                            .term = theirs.term};
    struct node_hello hello = hello_of(cluster, from);
    struct node_answer answer;
    uint8_t bytes[RAFT_MSG_BYTES_MAX];
    size_t len = raft_msg_encode(&beat, bytes);
    struct fl_writer body;
    struct fl_writer frame;
    int fd = greeting_dial(peer_port(cluster, to));

    hello.lane = NODE_LANE_RAFT;
    greeting_say(fd, &hello);
    greeting_hear(fd, &answer);
    assert_int_equal(answer.status, FL_OK);
    fl_writer_init(&body);
    fl_writer_init(&frame);
    fl_write_u8(&body, NODE_MESSAGE_RAFT);
    fl_write_varint(&body, len);
    fl_write_raw(&body, fl_bytes(bytes, len));
    node_frame_write(&frame, NODE_FRAME_MESSAGES, fl_writer_bytes(&body));
    greeting_send(fd, frame.data, frame.len);
    fl_writer_close(&frame);
    fl_writer_close(&body);
    return fd;
}

/* Goal: a group that meets what cannot be (RG-3: two leaders in one term) stops on that node only:
 * the others elect, requests through the frozen node reach them, its other groups go on, and after
 * a restart the replica follows and holds the same (ND-9). Method: the leader of a range hears
 * under another member's name that this one leads the same term. */
static void test_a_frozen_group(void **state)
{
    struct cluster *cluster;
    struct frozen_wait frozen = {.group_id = 2};
    uint64_t revision;
    int fd;

    (void)state;
    cluster = cluster_create(&(struct cluster_options){.nodes = 3, .ranges = 8});
    cluster_write_everywhere(cluster);
    frozen.cluster = cluster;
    frozen.node = cluster_leader(cluster, 0, "!a"); /* the first range: the oracle's too */
    fd = claim_leadership(cluster, (frozen.node + 1) % 3, frozen.node, frozen.group_id);
    cluster_wait(is_frozen, &frozen, "the group is frozen");
    for (unsigned i = 0; i < 3; i++) {
        assert_ok(put(cluster->nodes[i].node, "!a", "2"));
        assert_ok(put(cluster->nodes[i].node, "xa", "2"));
        assert_string_equal(get(cluster->nodes[i].node, "!a").value, "2");
    }
    assert_true(is_frozen(&frozen)); /* it never comes back by itself */
    (void)close(fd);
    cluster_stop(cluster, frozen.node);
    cluster_start(cluster, frozen.node);
    cluster_wait_ready(cluster);
    assert_ok(put(cluster->nodes[frozen.node].node, "!a", "3"));
    revision = get(cluster->nodes[0].node, "!a").revision;
    for (unsigned i = 0; i < 3; i++) {
        struct outcome hash = hash_at(cluster->nodes[i].node, revision);

        assert_ok(hash);
        assert_int_equal(hash.hash, hash_at(cluster->nodes[0].node, revision).hash);
    }
    cluster_destroy(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_node_at_a_members_address),
        cmocka_unit_test(test_an_old_copy_stays_out),
        cmocka_unit_test(test_a_rival_start),
        cmocka_unit_test(test_a_frozen_group),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
