/* Goal: a follower that was away for longer than the log is kept is brought back by a snapshot and
 * holds the same as the others, whatever happens while it is installed (D5).
 * Method: real nodes in one process, a short log, thousands of writes without one follower. For the
 * crashes that follower runs as a process of its own, this very program started again, and kills
 * itself at a chosen point: calls into the log store are wrapped by the linker. */
#include "node/log_store.h"
#include "raftgroup/base/log.h"
#include "tests/node/cluster_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the process that dies ------------------------------------------------------------------ */

enum crash_point {
    CRASH_NEVER,
    CRASH_STAGED,   /* every piece is in files, nothing points to them */
    CRASH_INTENDED, /* the intent is durable, the machine is the old one */
    CRASH_REPLACED, /* the machine is the new one, the log is the old one */
    CRASH_LOGGED,   /* .. and the log knows, the intent is still there */
};

static enum crash_point crash_point;

static void crash_at(enum crash_point point)
{
    if (crash_point == point) {
        (void)kill(getpid(), SIGKILL);
    }
}

void __real_node_log_store_put_intent(struct node_log_store *store,
                                      uint64_t group,
                                      uint8_t kind,
                                      struct fl_bytes body);
void __wrap_node_log_store_put_intent(struct node_log_store *store,
                                      uint64_t group,
                                      uint8_t kind,
                                      struct fl_bytes body);
void __real_node_log_store_write(struct node_log_store *store,
                                 const struct node_log_write *writes,
                                 size_t count);
void __wrap_node_log_store_write(struct node_log_store *store,
                                 const struct node_log_write *writes,
                                 size_t count);

void __wrap_node_log_store_put_intent(struct node_log_store *store,
                                      uint64_t group,
                                      uint8_t kind,
                                      struct fl_bytes body)
{
    crash_at(CRASH_STAGED);
    __real_node_log_store_put_intent(store, group, kind, body);
    crash_at(CRASH_INTENDED);
}

void __wrap_node_log_store_write(struct node_log_store *store,
                                 const struct node_log_write *writes,
                                 size_t count)
{
    bool snapshot = false;

    for (size_t i = 0; i < count; i++) {
        snapshot = snapshot || writes[i].snapshot;
    }
    if (snapshot) {
        crash_at(CRASH_REPLACED);
    }
    __real_node_log_store_write(store, writes, count);
    if (snapshot) {
        crash_at(CRASH_LOGGED);
    }
}

/* argv: the program, a crash point, the flags of the node. Ends by its crash, or by its parent. */
static int run_until_crash(int argc, char **argv)
{
    static char *const environment[] = {NULL};
    struct node_options options;
    struct node *node = NULL;
    char why[512] = "";

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
    crash_point = (enum crash_point)strtoul(argv[1], NULL, 10);
    fl_log_set_level(FL_LOG_ERROR);
    if (node_options_parse(&options, argc - 1, argv + 1, environment, why, sizeof(why)) !=
            NODE_OPTIONS_RUN ||
        node_open(&node, &options, why, sizeof(why)) != FL_OK) {
        (void)fprintf(stderr, "the child cannot run: %s\n", why);
        return 1;
    }
    for (;;) {
        (void)pause();
    }
}

/* --- its parent ----------------------------------------------------------------------------- */

struct child {
    pid_t pid;
    int status;
};

static bool has_ended(void *context)
{
    struct child *child = context;
    pid_t ended = waitpid(child->pid, &child->status, WNOHANG);

    assert_true(ended == 0 || ended == child->pid);
    return ended == child->pid;
}

static void run_and_crash(const struct cluster *cluster, unsigned i, enum crash_point point)
{
    char *const *flags = cluster_flags(cluster, i);
    char *argv[64] = {flags[0]};
    char number[8];
    struct child child;

    (void)snprintf(number, sizeof(number), "%d", (int)point);
    argv[1] = number;
    for (size_t at = 1; flags[at] != NULL; at++) {
        assert_true(at + 2 < sizeof(argv) / sizeof(argv[0]));
        argv[at + 1] = flags[at];
    }
    child.pid = vfork();
    if (child.pid == 0) {
        (void)execv("/proc/self/exe", argv);
        _exit(127);
    }
    assert_true(child.pid > 0);
    cluster_wait(has_ended, &child, "the node dies at its point");
    if (!WIFSIGNALED(child.status) || WTERMSIG(child.status) != SIGKILL) {
        fail_msg("point %d: status %d instead of a kill", (int)point, child.status);
    }
}

static void assert_ok(struct outcome outcome)
{
    if (outcome.status != FL_OK) {
        fail_msg("status %s", fl_status_name(outcome.status));
    }
}

/* All nodes hold the same, also after node `i` was opened once more. */
static void assert_alike(struct cluster *cluster, unsigned i)
{
    for (unsigned round = 0; round < 2; round++) {
        uint64_t revision = get(cluster->nodes[0].node, "key00001").revision;
        struct outcome first = hash_at(cluster->nodes[0].node, revision);

        assert_ok(first);
        for (unsigned n = 1; n < 3; n++) {
            struct outcome hash = hash_at(cluster->nodes[n].node, revision);

            assert_ok(hash);
            assert_int_equal(hash.hash, first.hash);
        }
        if (round == 0) {
            cluster_stop(cluster, i);
            cluster_start(cluster, i);
            cluster_wait_ready(cluster);
        }
    }
}

static struct cluster *cluster_with_short_log(unsigned *follower)
{
    struct cluster *cluster = cluster_create(&(struct cluster_options){
        .nodes = 3, .ranges = 1, .log_keep_entries = "10", .flush_interval = "100ms"});

    *follower = (cluster_leader(cluster, 0, "key") + 1) % 3;
    return cluster;
}

static bool snapshot_installed(void *context)
{
    return cluster_counter("flotilla_snapshots_installed_total") > *(const uint64_t *)context;
}

/* Goal: the plain case. Method: the counter of installed snapshots and the hashes of all nodes. */
static void test_laggard_gets_a_snapshot(void **state)
{
    struct cluster *cluster;
    unsigned away;
    uint64_t before;

    (void)state;
    cluster = cluster_with_short_log(&away);
    cluster_leave_behind(cluster, away);
    before = cluster_counter("flotilla_snapshots_installed_total");
    cluster_start(cluster, away);
    cluster_wait(snapshot_installed, &before, "a snapshot is installed");
    cluster_wait_ready(cluster);
    cluster_write_many(cluster, away, CLUSTER_BURST, 500);
    assert_alike(cluster, away);
    cluster_destroy(cluster);
}

/* Goal: a read of the laggard's own copy that waits for what the snapshot brings is answered when
 * it is there, although no entry follows. Method: a hash is asked for as soon as the laggard is
 * open, in silence. */
static void test_a_read_waits_for_the_snapshot(void **state)
{
    struct cluster *cluster;
    struct outcome hash;
    unsigned away;
    uint64_t before;
    uint64_t revision;

    (void)state;
    cluster = cluster_with_short_log(&away);
    cluster_leave_behind(cluster, away);
    before = cluster_counter("flotilla_snapshots_installed_total");
    revision = get(cluster->nodes[(away + 1) % 3].node, "key00001").revision;
    cluster_start(cluster, away);
    hash = hash_at(cluster->nodes[away].node, revision);
    assert_ok(hash);
    assert_true(snapshot_installed(&before));
    assert_int_equal(hash.hash, hash_at(cluster->nodes[(away + 1) % 3].node, revision).hash);
    cluster_destroy(cluster);
}

/* Goal: a kill at any point of an installation costs nothing: the node opens, follows, and holds
 * the same; one that was ahead of its log does not need the snapshot again (D5, intents). Method:
 * the follower is killed at each point in turn, opened in this process and compared. */
static void crash_and_recover(enum crash_point point)
{
    struct cluster *cluster;
    unsigned away;

    cluster = cluster_with_short_log(&away);
    cluster_leave_behind(cluster, away);
    run_and_crash(cluster, away, point);
    cluster_start(cluster, away);
    cluster_wait_ready(cluster);
    cluster_write_many(cluster, away, CLUSTER_BURST, 500);
    assert_alike(cluster, away);
    cluster_destroy(cluster);
}

static void test_crash_when_staged(void **state)
{
    (void)state;
    crash_and_recover(CRASH_STAGED);
}

static void test_crash_when_intended(void **state)
{
    (void)state;
    crash_and_recover(CRASH_INTENDED);
}

static void test_crash_when_replaced(void **state)
{
    (void)state;
    crash_and_recover(CRASH_REPLACED);
}

static void test_crash_when_logged(void **state)
{
    (void)state;
    crash_and_recover(CRASH_LOGGED);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_laggard_gets_a_snapshot),
        cmocka_unit_test(test_a_read_waits_for_the_snapshot),
        cmocka_unit_test(test_crash_when_staged),
        cmocka_unit_test(test_crash_when_intended),
        cmocka_unit_test(test_crash_when_replaced),
        cmocka_unit_test(test_crash_when_logged),
    };

    return argc > 1 ? run_until_crash(argc, argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
