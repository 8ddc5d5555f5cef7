/* Goal: a data directory says who the node is and refuses everybody else with one sentence; what a
 * peer was first is what it must stay (faults 23, 24).
 * Method: real directories; every refusal is provoked once and its whole sentence compared. */
#include "node/identity_internal.h"

#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/log.h"
#include "tests/node/temp_dir.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct node_identity_seed SEEDS[] = {
    {.name = "a", .peer_urls = "http://10.0.0.1:2380"},
    {.name = "b", .peer_urls = "http://10.0.0.2:2380"},
    {.name = "c", .peer_urls = "http://10.0.0.3:2380,http://10.0.1.3:2380"},
};

static char *root;
static char directory[2048];
static char why[512];
static char wanted[4096];
static struct node_identity_options options;

static void quiet(void *context, const char *line)
{
    (void)context;
    (void)line;
}

static int setup(void **state)
{
    (void)state;
    fl_log_set_sink(quiet, NULL);
    root = temp_dir_create();
    (void)snprintf(directory, sizeof(directory), "%s/a.flotilla", root);
    options = (struct node_identity_options){
        .data_dir = directory,
        .name = "a",
        .token = "token",
        .seeds = SEEDS,
        .seed_count = 3,
    };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fl_log_set_sink(NULL, NULL);
    temp_dir_remove(root);
    return 0;
}

static struct node_identity *open_it(void)
{
    struct node_identity *identity;

    if (node_identity_open(&identity, &options, why, sizeof(why)) != FL_OK) {
        fail_msg("%s", why);
    }
    return identity;
}

/* The sentence must be exactly this one. */
__attribute__((format(printf, 2, 3))) static void
assert_refused(enum fl_status status, const char *format, ...)
{
    struct node_identity *identity;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(wanted, sizeof(wanted), format, args);
    va_end(args);
    assert_int_equal(node_identity_open(&identity, &options, why, sizeof(why)), status);
    assert_null(identity);
    assert_string_equal(why, wanted);
}

/* Goal: ids depend on URLs and token, not on order, and are pinned: a changed hash would make every
 * existing directory foreign. */
static void test_ids(void **state)
{
    struct node_identity_seed shuffled[] = {SEEDS[2], SEEDS[0], SEEDS[1]};
    uint64_t id = node_identity_cluster_id(SEEDS, 3, "token");
    uint64_t node = node_identity_node_id(SEEDS[0].peer_urls, "token");

    (void)state;
    assert_true(id == node_identity_cluster_id(shuffled, 3, "token"));
    assert_true(id != node_identity_cluster_id(SEEDS, 3, "other"));
    assert_true(id != node_identity_cluster_id(SEEDS, 2, "token"));
    assert_true(node != node_identity_node_id(SEEDS[1].peer_urls, "token"));
    assert_true(node != node_identity_node_id(SEEDS[0].peer_urls, "other"));
    shuffled[0].name = "d";
    assert_true(id != node_identity_cluster_id(shuffled, 3, "token"));
    assert_int_equal(id, UINT64_C(0x4ff8fa71b78a38f9));
    assert_int_equal(node, UINT64_C(0x97b7b3541e0159ca));
}

/* Goal: the first start makes everything, private to the user; later ones find it; each counts. */
static void test_first_and_later_starts(void **state)
{
    struct node_identity *identity = open_it();
    uint8_t uuid[NODE_UUID_BYTES];
    const struct node_identity_seed *seeds;
    size_t count;
    struct stat st;

    (void)state;
    assert_true(node_identity_is_new(identity) && !node_identity_has_joined(identity));
    assert_int_equal(node_identity_boot(identity), 1);
    assert_string_equal(node_identity_name(identity), "a");
    assert_true(node_identity_cluster(identity) == node_identity_cluster_id(SEEDS, 3, "token"));
    assert_true(node_identity_node(identity) == node_identity_node_id(SEEDS[0].peer_urls, "token"));
    memcpy(uuid, node_identity_uuid(identity), sizeof(uuid));
    assert_int_equal(stat(directory, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(temp_path(directory, "STORE"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(temp_path(directory, "LOCK"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(node_identity_log_path(identity), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(node_identity_data_path(identity), &st), 0);
    temp_file_write(temp_path(node_identity_snap_path(identity), "left-over"), "x", 1);
    assert_int_equal(mkdir(temp_path(node_identity_snap_path(identity), "deep"), 0700), 0);
    temp_file_write(temp_path(node_identity_snap_path(identity), "deep/file"), "x", 1);
    node_identity_close(identity);
    assert_int_equal(chmod(directory, 0755), 0);

    options.seeds = NULL; /* the directory knows */
    options.seed_count = 0;
    identity = open_it();
    assert_false(node_identity_is_new(identity));
    assert_int_equal(node_identity_boot(identity), 2);
    assert_memory_equal(node_identity_uuid(identity), uuid, sizeof(uuid));
    seeds = node_identity_seeds(identity, &count);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < 3; i++) {
        size_t k = 0;

        while (strcmp(SEEDS[k].name, seeds[i].name) != 0) {
            k++;
        }
        assert_string_equal(seeds[i].peer_urls, SEEDS[k].peer_urls);
        assert_true(seeds[i].node_id == node_identity_node_id(SEEDS[k].peer_urls, "token"));
        assert_true(i == 0 || seeds[i].node_id > seeds[i - 1].node_id);
    }
    assert_int_equal(stat(directory, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(temp_exists(node_identity_snap_path(identity)));
    assert_false(temp_exists(temp_path(node_identity_snap_path(identity), "left-over")));
    assert_false(temp_exists(temp_path(node_identity_snap_path(identity), "deep")));
    node_identity_close(identity);
}

/* Goal: two directories never get one uuid. */
static void test_uuids_differ(void **state)
{
    struct node_identity *a = open_it();
    struct node_identity *b;

    (void)state;
    options.data_dir = temp_path(root, "not/there/yet");
    options.name = "b";
    b = open_it();
    assert_memory_not_equal(node_identity_uuid(a), node_identity_uuid(b), NODE_UUID_BYTES);
    node_identity_close(a);
    node_identity_close(b);
}

/* Goal: a node that joins takes the ids it is told, and is not held against seed lists later. */
static void test_joining(void **state)
{
    struct node_identity *identity;

    (void)state;
    options.name = "new";
    options.join_cluster_id = 77;
    options.join_node_id = 88;
    identity = open_it();
    assert_true(node_identity_has_joined(identity));
    assert_true(node_identity_cluster(identity) == 77 && node_identity_node(identity) == 88);
    node_identity_close(identity);
    options.join_cluster_id = 0;
    options.join_node_id = 0;
    identity = open_it();
    assert_true(node_identity_node(identity) == 88);
    node_identity_close(identity);
    options.join_cluster_id = 77;
    options.join_node_id = 89;
    assert_refused(FL_REFUSED,
                   "%s belongs to node 58, not to node 59: start with another --data-dir",
                   directory);
}

static void test_foreign_directories(void **state)
{
    struct node_identity_seed other[] = {SEEDS[0], SEEDS[1]};
    char one[17];
    char two[17];

    (void)state;
    node_identity_close(open_it());
    (void)snprintf(
        one, sizeof(one), "%llx", (unsigned long long)node_identity_cluster_id(SEEDS, 3, "token"));
    (void)snprintf(
        two, sizeof(two), "%llx", (unsigned long long)node_identity_cluster_id(other, 2, "token"));
    options.seeds = other;
    options.seed_count = 2;
    assert_refused(
        FL_FOREIGN_CLUSTER,
        "%s belongs to cluster %s, but the initial cluster and token given now are those "
        "of cluster %s: start with those of the first start, or with another --data-dir",
        directory,
        one,
        two);
    options.seeds = SEEDS;
    options.seed_count = 3;
    options.name = "b";
    assert_refused(FL_REFUSED,
                   "%s belongs to node 'a', not to 'b': start with --name a, or with another "
                   "--data-dir",
                   directory);
    options.name = "a";
    node_identity_close(open_it()); /* refusals count no start */
}

static void test_bad_initial_clusters(void **state)
{
    struct node_identity_seed twice[] = {SEEDS[0], {.name = "a", .peer_urls = "http://x:1"}};
    struct node_identity_seed same[] = {SEEDS[0],
                                        {.name = "b", .peer_urls = "http://10.0.0.1:2380"}};

    (void)state;
    options.name = "x";
    assert_refused(
        FL_INVALID,
        "the initial cluster does not hold 'x': add 'x=URL' to it, or start with the name "
        "it gives this node");
    options.name = "a";
    options.seed_count = 2;
    options.seeds = twice;
    assert_refused(
        FL_INVALID,
        "the initial cluster gives 'a=http://10.0.0.1:2380' and 'a=http://x:1': every node "
        "needs its own name and its own peer URL");
    options.seeds = same;
    assert_refused(FL_INVALID,
                   "the initial cluster gives 'a=http://10.0.0.1:2380' and "
                   "'b=http://10.0.0.1:2380': every node needs its own name and its own peer URL");
}

/* Goal: a second process is refused while the first lives, with its pid, and not after it died. */
static void test_locked(void **state)
{
    int ready[2];
    char byte;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ready), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct node_identity *identity;

        if (node_identity_open(&identity, &options, why, sizeof(why)) != FL_OK ||
            write(ready[1], "r", 1) != 1) {
            _exit(1);
        }
        for (;;) {
            (void)pause();
        }
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_refused(
        FL_LOCKED,
        "the data directory %s is in use by process %ld: stop that process, or start with "
        "another --data-dir",
        directory,
        (long)child);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(ready[0]);
    (void)close(ready[1]);
    node_identity_close(open_it());
}

/* Goal: any flipped bit and any cut of STORE is refused, a newer format told apart, a STORE that is
 * gone not replaced while there is data. */
static void test_damaged_store(void **state)
{
    const char *store = temp_path(directory, "STORE");
    char path[4096];
    size_t size;
    struct fl_writer newer;
    struct node__identity_row row = {
        .cluster_id = 1,
        .node_id = 2,
        .boot = 3,
        .name = (char *)(uintptr_t) "a",
    };

    (void)state;
    (void)snprintf(path, sizeof(path), "%s", store);
    node_identity_close(open_it());
    size = temp_file_size(path);
    for (size_t bit = 0; bit < size * 8; bit += 11) {
        temp_file_flip(path, bit / 8, bit % 8);
        assert_refused(FL_CORRUPT,
                       "%s/STORE is damaged (its checksum does not match): restore the file, or "
                       "remove this node from the cluster and start with an empty directory",
                       directory);
        temp_file_flip(path, bit / 8, bit % 8);
    }
    node_identity_close(open_it());
    fl_writer_init(&newer);
    node__identity_encode(&newer, &row);
    newer.data[8]++;
    fl_put_u32le(newer.data + newer.len - 4, fl_crc32c(0, newer.data, newer.len - 4));
    temp_file_write(path, newer.data, newer.len);
    assert_refused(FL_NEWER_FORMAT,
                   "%s was written by a newer version of flotilla: start that version",
                   directory);
    for (size_t len = newer.len; len-- > 0;) {
        temp_file_write(path, newer.data, len);
        assert_int_equal(
            node_identity_open(&(struct node_identity *){NULL}, &options, why, sizeof(why)),
            FL_CORRUPT);
    }
    fl_writer_close(&newer);
    assert_int_equal(unlink(path), 0);
    temp_file_write(temp_path(directory, "data/CURRENT"), "x", 1);
    assert_refused(FL_REFUSED,
                   "%s holds data but its STORE file is gone, so nobody knows whose: restore the "
                   "file, or remove this node from the cluster and start with an empty directory",
                   directory);
}

static void test_unusable_directory(void **state)
{
    (void)state;
    temp_file_write(directory, "a file", 6);
    assert_refused(
        FL_IO,
        "cannot use the data directory %s (Not a directory): give this user a directory it "
        "may write",
        directory);
    options.data_dir = temp_path(directory, "below");
    assert_refused(
        FL_IO,
        "cannot use the data directory %s (Not a directory): give this user a directory it "
        "may write",
        options.data_dir);
    options.data_dir = "";
    assert_int_equal(
        node_identity_open(&(struct node_identity *){NULL}, &options, why, sizeof(why)), FL_IO);
}

/* Goal: the decoder believes no count and no length of a hostile file whose checksum fits. */
static void test_hostile_store(void **state)
{
    static const uint8_t TAILS[][4] = {
        {0, 0xff, 0xff, 0x7f}, /* more seeds than there are bytes */
        {0, 0, 0xff, 0x7f},    /* more peers */
        {0x7f, 0, 0, 0},       /* a name longer than the file */
        {1, 0, 0, 0},          /* a name with a zero byte */
        {0, 0, 0, 0},          /* bytes left over */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(TAILS) / sizeof(TAILS[0]); i++) {
        struct node__identity_row row;
        uint8_t file[46 + 4 + 4] = "FLstore";

        file[8] = 1;
        fl_put_u64le(file + 10, 1);
        fl_put_u64le(file + 18, 1);
        fl_put_u32le(file + 42, 1);
        memcpy(file + 46, TAILS[i], 4);
        fl_put_u32le(file + 50, fl_crc32c(0, file, 50));
        assert_int_equal(node__identity_decode(fl_bytes(file, sizeof(file)), &row), FL_CORRUPT);
        node__identity_row_close(&row);
    }
}

/* --- peers ------------------------------------------------------------------------------------ */

static struct node_hello hello_of(const struct node_identity *identity, const char *name)
{
    struct node_hello hello = {
        .cluster_id = node_identity_cluster(identity),
        .node_id = 500,
        .uuid = "peer-uuid-00001",
        .boot = 5,
        .starts = {5, 4},
    };

    (void)snprintf(hello.name, sizeof(hello.name), "%s", name);
    return hello;
}

/* The same directory, started once more. */
static void start_again(struct node_hello *hello)
{
    hello->boot++;
    memmove(&hello->starts[1], &hello->starts[0], (NODE_STARTS_MAX - 1) * sizeof(uint64_t));
    hello->starts[0] = hello->boot;
}

static void assert_peer(struct node_identity *identity,
                        const struct node_hello *hello,
                        uint32_t live_boot,
                        enum fl_status status,
                        const char *sentence)
{
    why[0] = '\0';
    assert_int_equal(
        node_identity_check_peer(identity, hello, "10.0.0.9:777", live_boot, why, sizeof(why)),
        status);
    assert_string_equal(why, sentence);
}

/* Goal: a stranger is believed once and then held to what it was, across our own restarts. */
static void test_peer_is_remembered(void **state)
{
    struct node_identity *identity = open_it();
    struct node_hello peer = hello_of(identity, "p");

    (void)state;
    for (int start = 0; start < 2; start++) {
        assert_peer(identity, &peer, 0, FL_OK, "");
        assert_peer(identity, &peer, 5, FL_OK, ""); /* its second connection */
        peer.uuid[0] = 'X';
        assert_peer(identity,
                    &peer,
                    0,
                    FL_REFUSED,
                    "node 'p' at 10.0.0.9:777 comes with a new disk under its old id 1f4: what it "
                    "promised is lost, so remove it from the cluster and add it as a new node");
        peer.uuid[0] = 'p';
        node_identity_close(identity);
        identity = open_it();
    }
    start_again(&peer); /* its old connection is not seen dead yet */
    assert_peer(identity,
                &peer,
                5,
                FL_REFUSED,
                "node 'p' is already running (start 5, 10.0.0.9:777 is start 6): copied data "
                "directory? stop one of the two");
    assert_peer(identity, &peer, 0, FL_OK, "");
    node_identity_close(identity);
    identity = open_it();
    peer.boot = 5;
    assert_peer(
        identity,
        &peer,
        0,
        FL_STALE,
        "node 'p' at 10.0.0.9:777 runs on an old copy of its data directory (start 5, start 6 "
        "was seen): remove it from the cluster and add it as a new node");
    peer.boot = 4;
    assert_peer(identity,
                &peer,
                6,
                FL_REFUSED,
                "node 'p' is already running (start 6, 10.0.0.9:777 is start 4): copied data "
                "directory? stop one of the two");
    assert_int_equal(node_identity_forget_peer(identity, 500), FL_OK);
    assert_int_equal(node_identity_forget_peer(identity, 500), FL_OK);
    node_identity_close(identity);
    identity = open_it();
    peer.uuid[0] = 'Y';
    assert_peer(identity, &peer, 0, FL_OK, "");
    node_identity_close(identity);
}

/* Goal: a copy of a directory that did not take part in the newest start that was seen is refused,
 * with the same number of starts and with more; one that did is not, also when it was not seen for
 * longer than marks are kept. Method: one history, and another that parts from it. */
static void test_copies_are_told_apart(void **state)
{
    struct node_identity *identity = open_it();
    struct node_hello peer = hello_of(identity, "p");
    struct node_hello copy = peer;

    (void)state;
    assert_peer(identity, &peer, 0, FL_OK, "");
    start_again(&peer);
    assert_peer(identity, &peer, 0, FL_OK, "");
    node_identity_close(identity);
    identity = open_it();
    for (int i = 0; i < NODE_STARTS_MAX; i++) {
        start_again(&copy);
        copy.starts[0] += 1000;
        assert_peer(identity,
                    &copy,
                    i == 0 ? 6 : 0, /* at the same time, too */
                    FL_STALE,
                    "node 'p' at 10.0.0.9:777 runs on a copy of its data directory that is not the "
                    "one whose start 6 was seen: start that one, or remove this node from the "
                    "cluster and add it as a new node");
    }
    for (int i = 0; i < 2 * NODE_STARTS_MAX; i++) {
        start_again(&peer);
    }
    assert_peer(identity, &peer, 0, FL_OK, "");
    node_identity_close(identity);
}

/* Goal: a STORE of the format before is read; marks begin with the next start. Method: its bytes by
 * hand. */
static void test_store_without_starts(void **state)
{
    struct node__identity_row row;
    struct fl_writer old;

    (void)state;
    fl_writer_init(&old);
    fl_write_raw(&old, fl_bytes("FLstore", 8));
    fl_write_u8(&old, 1);
    fl_write_u8(&old, 0);
    fl_write_u64le(&old, 11);
    fl_write_u64le(&old, 22);
    fl_write_raw(&old, fl_bytes("0123456789abcdef", NODE_UUID_BYTES));
    fl_write_u32le(&old, 3);
    fl_write_bytes(&old, fl_bytes("n1", 2));
    fl_write_varint(&old, 0);
    fl_write_varint(&old, 1);
    fl_write_u64le(&old, 33);
    fl_write_raw(&old, fl_bytes("fedcba9876543210", NODE_UUID_BYTES));
    fl_write_u32le(&old, 9);
    fl_write_u32le(&old, fl_crc32c(0, old.data, old.len));
    assert_int_equal(node__identity_decode(fl_writer_bytes(&old), &row), FL_OK);
    assert_int_equal(row.boot, 3);
    assert_int_equal(row.peer_count, 1);
    assert_int_equal(row.peers[0].boot, 9);
    assert_int_equal(row.peers[0].start, 0);
    assert_int_equal(row.starts[0], 0);
    node__identity_row_close(&row);
    fl_writer_close(&old);
}

/* Goal: foreign clusters, nodes without an id and impostors are refused and not remembered. */
static void test_peer_is_refused_at_sight(void **state)
{
    struct node_identity *identity = open_it();
    struct node_hello peer = hello_of(identity, "p");
    char sentence[256];

    (void)state;
    peer.cluster_id = 0xabc;
    (void)snprintf(
        sentence,
        sizeof(sentence),
        "node 'p' at 10.0.0.9:777 belongs to cluster abc, this is cluster %llx: check the "
        "initial cluster and token of both",
        (unsigned long long)node_identity_cluster(identity));
    assert_peer(identity, &peer, 0, FL_FOREIGN_CLUSTER, sentence);
    peer = hello_of(identity, "p");
    peer.node_id = node_identity_node(identity);
    assert_peer(
        identity,
        &peer,
        0,
        FL_REFUSED,
        "node 'p' at 10.0.0.9:777 claims the id of this node: give it its own name and peer "
        "URL");
    memcpy(peer.uuid, node_identity_uuid(identity), NODE_UUID_BYTES);
    assert_peer(
        identity,
        &peer,
        0,
        FL_REFUSED,
        "node 'p' at 10.0.0.9:777 runs on a copy of this node's data directory: stop it and "
        "let it join with an empty one");
    peer = hello_of(identity, "p");
    peer.node_id = 0;
    assert_peer(identity,
                &peer,
                0,
                FL_REFUSED,
                "node 'p' at 10.0.0.9:777 has no id: let it join the cluster first");
    peer = hello_of(identity, "p");
    peer.uuid[3] = 'Z';
    assert_peer(identity, &peer, 0, FL_OK, ""); /* none of the above was its first use */
    node_identity_close(identity);
}

/* Goal: no more peers than a cluster may have nodes, and all of them survive a restart. */
static void test_peers_are_bounded(void **state)
{
    struct node_identity *identity = open_it();
    struct node_hello peer = hello_of(identity, "p");

    (void)state;
    for (uint64_t i = 0; i < FL_NODES_MAX; i++) {
        peer.node_id = 1000 + i;
        assert_peer(identity, &peer, 0, FL_OK, "");
    }
    peer.node_id = 999;
    assert_peer(identity,
                &peer,
                0,
                FL_TOO_MANY,
                "node 'p' is one more than the 1024 nodes a cluster may have");
    node_identity_close(identity);
    identity = open_it();
    peer.uuid[0] = 'X';
    peer.node_id = 1000 + FL_NODES_MAX - 1;
    assert_int_equal(node_identity_check_peer(identity, &peer, "x", 0, why, sizeof(why)),
                     FL_REFUSED);
    node_identity_close(identity);
}

/* Goal: a peer that could not be written down is not believed, now or at its next try. */
static void test_unwritten_peer_is_refused(void **state)
{
    struct node_identity *identity = open_it();
    struct node_hello peer = hello_of(identity, "p");
    struct node_hello later;

    (void)state;
    assert_int_equal(mkdir(temp_path(directory, "STORE.new"), 0700), 0); /* in the way */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(node_identity_check_peer(identity, &peer, "x", 0, why, sizeof(why)),
                         FL_IO);
    }
    assert_int_equal(rmdir(temp_path(directory, "STORE.new")), 0);
    peer.uuid[0] = 'Q';
    assert_peer(identity, &peer, 0, FL_OK, "");
    assert_int_equal(mkdir(temp_path(directory, "STORE.new"), 0700), 0);
    later = peer;
    start_again(&later);
    assert_int_equal(node_identity_check_peer(identity, &later, "x", 0, why, sizeof(why)), FL_IO);
    assert_peer(identity, &peer, 0, FL_OK, "");
    node_identity_close(identity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_and_later_starts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uuids_differ, setup, teardown),
        cmocka_unit_test_setup_teardown(test_joining, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_directories, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_initial_clusters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unusable_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_store, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peer_is_remembered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies_are_told_apart, setup, teardown),
        cmocka_unit_test(test_store_without_starts),
        cmocka_unit_test_setup_teardown(test_peer_is_refused_at_sight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_peers_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unwritten_peer_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
