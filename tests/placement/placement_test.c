/* Goal: the placement machine applies its commands once, keeps rows and applied index together
 * (D1), restores itself, and tells every change. Method: the real data engine in a directory of its
 * own, driven through the machine port. */
#include "tests/placement/placement_fixture.h"

#include "raftgroup/base/prng.h"
#include "shard/membership.h"
#include "shard/shard_format.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Goal: without rows the machine holds nothing and says so. */
static void test_empty(void **state)
{
    struct replica *replica = replica_empty();
    struct shard_machine_status status;
    struct shard_snapshot *snapshot;
    struct shard_snapshot_info info;

    (void)state;
    replica_machine_open(replica);
    replica->machine->ops->status(replica->machine, &status);
    assert_int_equal(status.applied_index, 0);
    assert_int_equal(status.conf->n, 0);
    assert_int_equal(replica->publications, 0);
    assert_false(placement_view(replica->placement)->bootstrapped);
    assert_int_equal(
        replica->machine->ops->snapshot_open(replica->machine, replica->batch, &snapshot, &info),
        FL_NOT_READY);
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: bootstrap makes nodes and ranges, publishes them, and they are there after a restart. */
static void test_bootstrap(void **state)
{
    struct replica *replica = replica_fresh();
    struct placement_map_view *before;
    size_t leaders[4] = {0};

    (void)state;
    assert_int_equal(replica->publications, 0);
    assert_int_equal(replica_apply(replica, fixture_bootstrap(4711, 8)), FL_OK);
    assert_int_equal(replica->publications, 1);
    assert_ptr_equal(replica->published, placement_view(replica->placement));
    before = placement_map_view_acquire(replica->published);
    assert_true(before->bootstrapped);
    assert_int_equal(before->cluster_id, 4711);
    assert_int_equal(before->version, 1);
    assert_int_equal(placement_node_list_count(before->nodes), 3);
    assert_int_equal(placement_range_map_count(before->ranges), 8);
    for (size_t i = 0; i < 8; i++) {
        const struct shard_range *range = placement_range_map_at(before->ranges, i);

        assert_int_equal(range->group_id, PLACEMENT_FIRST_RANGE_ID + i);
        assert_int_equal(range->version, 1);
        assert_int_equal(range->next_replica_id, 4);
        assert_int_equal(range->replica_count, 3);
        for (uint64_t r = 0; r < 3; r++) {
            assert_int_equal(range->replicas[r].replica_id, r + 1);
            assert_int_equal(range->replicas[r].role, SHARD_REPLICA_VOTER);
            assert_non_null(placement_map_view_node(before, range->replicas[r].node_id));
        }
        leaders[range->replicas[0].node_id / 100]++;
    }
    assert_true(leaders[1] >= 2 && leaders[2] >= 2 && leaders[3] >= 2);
    replica_reopen(replica);
    assert_int_equal(replica->index, 6);
    assert_int_equal(replica->publications, 1);
    fixture_same_view(replica->published, before);
    placement_map_view_release(before);
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: PL-3, D15: a second bootstrap, the same or another, changes nothing, also after a restart.
 */
static void test_bootstrap_twice(void **state)
{
    struct replica *replica = replica_fresh();
    struct placement_map_view *before;

    (void)state;
    assert_int_equal(replica_apply(replica, fixture_bootstrap(1, 2)), FL_OK);
    before = placement_map_view_acquire(replica->published);
    assert_int_equal(replica_apply(replica, fixture_bootstrap(1, 2)), FL_EXISTS);
    assert_int_equal(replica_apply(replica, fixture_bootstrap(2, 5)), FL_EXISTS);
    assert_int_equal(replica->publications, 1);
    assert_ptr_equal(placement_view(replica->placement), before);
    replica_reopen(replica);
    assert_int_equal(replica_apply(replica, fixture_bootstrap(2, 5)), FL_EXISTS);
    fixture_same_view(placement_view(replica->placement), before);
    placement_map_view_release(before);
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: PL-7: a node registers itself under its own uuid only; repetitions are not published. */
static void test_node_update(void **state)
{
    struct replica *replica = replica_fresh();
    struct placement_node wiped = fixture_node(200);
    struct fl_buf *command = NULL;
    const struct placement_node *node;

    (void)state;
    assert_int_equal(replica_apply(replica, fixture_update(200, "http://a")), FL_NOT_FOUND);
    assert_int_equal(replica_apply(replica, fixture_bootstrap(1, 2)), FL_OK);
    assert_int_equal(replica_apply(replica, fixture_update(400, "http://a")), FL_NOT_FOUND);
    wiped.uuid.bytes[15] = 1;
    assert_int_equal(placement_command_node_update(&wiped, &command), FL_OK);
    assert_int_equal(replica_apply(replica, command), FL_REFUSED);
    assert_int_equal(replica->publications, 1);
    assert_int_equal(replica_apply(replica, fixture_update(200, "http://a")), FL_OK);
    assert_int_equal(replica->publications, 2);
    assert_int_equal(replica_apply(replica, fixture_update(200, "http://a")), FL_OK);
    assert_int_equal(replica->publications, 2);
    assert_int_equal(replica_apply(replica, fixture_update(200, "http://b")), FL_OK);
    assert_int_equal(replica->publications, 3);
    replica_reopen(replica);
    assert_int_equal(replica->published->version, 3);
    node = placement_map_view_node(replica->published, 200);
    assert_int_equal(node->state, PLACEMENT_NODE_STARTED);
    assert_true(fl_bytes_equal(node->client_urls, fl_bytes_of_string("http://b")));
    assert_int_equal(placement_map_view_node(replica->published, 100)->state, PLACEMENT_NODE_SEED);
    assert_int_equal(placement_range_map_count(replica->published->ranges), 2);
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: D1: rows and applied index become visible together, by the caller's commit, for several
 * entries in one call; a change is published once. */
static void test_one_batch(void **state)
{
    struct replica *replica = replica_fresh();
    struct fl_buf *commands[2] = {fixture_bootstrap(1, 3), fixture_update(100, "http://a")};
    struct shard_apply entries[4] = {
        {.index = 6, .term = 2, .type = RAFT_ENT_NOOP},
        {.index = 7, .term = 2, .type = RAFT_ENT_NORMAL, .payload = fl_buf_bytes(commands[0])},
        {.index = 8, .term = 2, .type = RAFT_ENT_NORMAL, .payload = fl_buf_bytes(commands[1])},
        {.index = 9, .term = 3, .type = RAFT_ENT_NORMAL},
    };
    struct shard_machine_status status;

    (void)state;
    replica->machine->ops->status(replica->machine, &status);
    assert_false(status.dirty);
    replica->machine->ops->apply(replica->machine, replica->batch, entries, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(entries[i].status, FL_OK);
        assert_null(entries[i].result); /* nobody wanted one */
    }
    assert_int_equal(replica->publications, 1);
    assert_int_equal(replica->published->version, 2);
    replica->machine->ops->status(replica->machine, &status);
    assert_int_equal(status.applied_index, 9);
    assert_int_equal(status.applied_term, 3);
    assert_int_equal(status.checkpoint_index, 9);
    assert_true(status.dirty);
    replica_machine_close(replica);
    replica_machine_open(replica); /* the batch is not committed: nothing has happened */
    assert_int_equal(replica->index, 5);
    assert_int_equal(replica->publications, 0);
    replica_machine_close(replica);
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
    replica_machine_open(replica);
    assert_int_equal(replica->index, 9);
    assert_int_equal(replica->published->version, 2);
    replica->machine->ops->checkpoint(replica->machine, replica->batch);
    replica->machine->ops->status(replica->machine, &status);
    assert_false(status.dirty);
    replica_machine_close(replica);
    fl_buf_release(commands[0]);
    fl_buf_release(commands[1]);
    replica_destroy(replica);
}

/* Goal: what is not a command of this machine is answered and passed over. */
static void test_foreign_commands(void **state)
{
    struct replica *replica = replica_fresh();

    (void)state;
    assert_int_equal(replica_apply(replica, fixture_command(SHARD_COMMAND_PUT, "x")),
                     FL_NOT_SUPPORTED);
    assert_int_equal(replica_apply(replica, fixture_command(PLACEMENT_COMMAND_BOOTSTRAP, "\x01")),
                     FL_BAD_MESSAGE);
    assert_int_equal(
        replica_apply(replica, fixture_command(PLACEMENT_COMMAND_NODE_UPDATE, "\x01\x01")),
        FL_BAD_MESSAGE);
    assert_int_equal(replica_apply_pending(replica, RAFT_ENT_NORMAL, fl_bytes_of_string("\x01")),
                     FL_BAD_MESSAGE);
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
    assert_int_equal(replica->publications, 0);
    replica_reopen(replica);
    assert_int_equal(replica->index, 9);
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: PL-5: an entry this program is too old for stops the process. Method: in a child. */
static void test_newer_command_stops(void **state)
{
    struct replica *replica = replica_fresh();
    struct fl_buf *newer[2] = {fixture_command(PLACEMENT_COMMAND_NODE_UPDATE + 1, "x"),
                               fixture_command(PLACEMENT_COMMAND_BOOTSTRAP, "\x02")};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        pid_t child = fork();
        int status = 0;

        if (child == 0) {
            struct rlimit none = {0, 0};

            (void)setrlimit(RLIMIT_CORE, &none);
            (void)close(STDERR_FILENO); /* the sentence is expected */
            (void)signal(SIGABRT, SIG_DFL);
            (void)replica_apply_pending(replica, RAFT_ENT_NORMAL, fl_buf_bytes(newer[i]));
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        fl_buf_release(newer[i]);
    }
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: a membership change moves configuration and descriptor together, and is restored; one that
 * cannot be changes neither. */
static void test_membership(void **state)
{
    struct replica *replica = replica_fresh();
    struct shard_membership change = {
        .changes = {.transition = RAFT_CONF_SIMPLE, .n = 1, .op = {{'l', 4}}},
        .node_id = {400},
    };
    struct fl_buf *payload = shard_membership_encode(&change);
    struct shard_machine_status status;

    (void)state;
    assert_int_equal(replica_apply_pending(replica, RAFT_ENT_CONF, fl_buf_bytes(payload)), FL_OK);
    fl_buf_release(payload);
    change.changes.op[0].id = 5; /* the node has a replica already */
    payload = shard_membership_encode(&change);
    assert_int_equal(replica_apply_pending(replica, RAFT_ENT_CONF, fl_buf_bytes(payload)),
                     FL_CONF_INVALID);
    fl_buf_release(payload);
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
    for (size_t i = 0; i < 2; i++) {
        replica->machine->ops->status(replica->machine, &status);
        assert_int_equal(status.applied_index, 7);
        assert_int_equal(status.conf->n, 4);
        assert_int_equal(placement_descriptor(replica->placement)->conf_version, 2);
        assert_int_equal(
            shard_range_replica_on(placement_descriptor(replica->placement), 400)->role,
            SHARD_REPLICA_LEARNER);
        replica_reopen(replica);
    }
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: destroy leaves no row; the machine is as new. */
static void test_destroy(void **state)
{
    struct replica *replica = replica_fresh();
    struct shard_iterator *it;

    (void)state;
    assert_int_equal(replica_apply(replica, fixture_bootstrap(1, 20)), FL_OK);
    replica->machine->ops->destroy(replica->machine, replica->batch);
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
    assert_false(placement_view(replica->placement)->bootstrapped);
    it = shard_iterator_create(replica->engine, NULL, fl_bytes("", 0), fl_bytes("", 0));
    shard_iterator_first(it);
    assert_false(shard_iterator_valid(it));
    assert_int_equal(shard_iterator_status(it), FL_OK);
    shard_iterator_destroy(it);
    replica_reopen(replica);
    assert_int_equal(replica->index, 0);
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* ---- damage ---- */

static void ignore(void *context, struct placement_map_view *view)
{
    (void)context;
    (void)view;
}

static void expect_open(struct replica *replica, enum fl_status status)
{
    struct placement *placement = NULL;

    assert_int_equal(placement_open(replica->engine, ignore, replica, &placement), status);
    assert_null(placement);
}

/* Puts (or with a NULL value deletes) one row, opens, and puts the old row back. */
static void with_row(struct replica *replica,
                     struct fl_bytes key,
                     const struct fl_bytes *value,
                     enum fl_status status)
{
    struct shard_value old;
    bool was = shard_engine_get(replica->engine, NULL, key, &old) == FL_OK;
    struct fl_buf *kept = was ? fl_buf_copy(old.bytes) : NULL;

    if (was) {
        shard_value_release(&old);
    }
    if (value != NULL) {
        shard_batch_put(replica->batch, key, *value);
    } else {
        shard_batch_delete(replica->batch, key);
    }
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
    expect_open(replica, status);
    if (was) {
        shard_batch_put(replica->batch, key, fl_buf_bytes(kept));
    } else {
        shard_batch_delete(replica->batch, key);
    }
    fl_buf_release(kept);
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
}

/* Goal: rows that contradict each other are damage, newer ones are told apart; nothing is guessed.
 */
static void test_damaged_rows(void **state)
{
    struct replica *replica = replica_fresh();
    struct fl_bytes junk = fl_bytes_of_string("\x01junk");
    struct fl_bytes newer = fl_bytes_of_string("\x7f");
    uint8_t state_key[SHARD_GROUP_KEY_BYTES];
    uint8_t descriptor_key[SHARD_GROUP_KEY_BYTES];
    uint8_t range_key[10] = {'p', 'r', 0, 0, 0, 0, 0, 0, 0, 3};
    uint8_t node_key[10] = {'p', 'n', 0, 0, 0, 0, 0, 0, 0, 100};
    struct fl_bytes rows[5] = {
        fl_bytes(state_key, sizeof(state_key)),
        fl_bytes(descriptor_key, sizeof(descriptor_key)),
        fl_bytes("pm", 2),
        fl_bytes(range_key, sizeof(range_key)),
        fl_bytes(node_key, sizeof(node_key)),
    };

    (void)state;
    shard_group_key(SHARD_ROW_STATE, PLACEMENT_GROUP_ID, state_key);
    shard_group_key(SHARD_ROW_DESCRIPTOR, PLACEMENT_GROUP_ID, descriptor_key);
    assert_int_equal(replica_apply(replica, fixture_bootstrap(1, 4)), FL_OK);
    replica_machine_close(replica);
    for (size_t i = 0; i < 5; i++) {
        with_row(replica, rows[i], &junk, FL_CORRUPT);
        with_row(replica, rows[i], &newer, FL_NEWER_FORMAT);
        if (i != 4) { /* one node less is still a list of nodes */
            with_row(replica, rows[i], NULL, FL_CORRUPT);
        }
    }
    with_row(replica, fl_bytes("px", 2), &junk, FL_CORRUPT);
    with_row(replica, fl_bytes("p", 1), &junk, FL_CORRUPT);
    range_key[9] = 77; /* a row under a key that is not its own */
    struct shard_value value;
    assert_int_equal(shard_engine_get(replica->engine, NULL, rows[4], &value), FL_OK);
    node_key[9] = 101;
    with_row(replica, rows[4], &value.bytes, FL_CORRUPT);
    shard_value_release(&value);
    replica_machine_open(replica); /* all is as it was */
    assert_true(replica->published->bootstrapped);
    replica_machine_close(replica);
    replica_destroy(replica);
}

/* Goal: D3: replay from the restored index gives the same state as never having stopped. Method:
 * one replica runs through, the other loses uncommitted batches and restarts at random. */
static void test_replay(void **state)
{
    enum { ENTRIES = 300 };
    struct replica *steady = replica_fresh();
    struct replica *shaken = replica_fresh();
    struct fl_buf *log[ENTRIES];
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 11);
    for (size_t i = 0; i < ENTRIES; i++) {
        char urls[32];

        (void)snprintf(urls, sizeof(urls), "http://%u", (unsigned)fl_prng_below(&prng, 4));
        log[i] = fl_prng_below(&prng, 20) == 0
                     ? fixture_bootstrap(1 + i, 1 + (uint32_t)fl_prng_below(&prng, 5))
                     : fixture_update(100 * (1 + fl_prng_below(&prng, 4)), urls);
        (void)replica_apply(steady, fl_buf_acquire(log[i]));
    }
    while (shaken->index < 5 + ENTRIES) {
        (void)replica_apply_pending(shaken, RAFT_ENT_NORMAL, fl_buf_bytes(log[shaken->index - 5]));
        switch (fl_prng_below(&prng, 12)) {
        case 0:
            shard_batch_clear(shaken->batch);
            replica_machine_close(shaken);
            replica_machine_open(shaken);
            break;
        case 1:
        case 2:
            assert_int_equal(shard_batch_commit(shaken->batch, false), FL_OK);
            break;
        case 3:
            assert_int_equal(shard_batch_commit(shaken->batch, false), FL_OK);
            replica_machine_close(shaken);
            replica_machine_open(shaken);
            break;
        default:
            break;
        }
    }
    assert_int_equal(shard_batch_commit(shaken->batch, false), FL_OK);
    fixture_same_view(placement_view(steady->placement), placement_view(shaken->placement));
    assert_true(placement_view(steady->placement)->version > 50);
    for (size_t i = 0; i < ENTRIES; i++) {
        fl_buf_release(log[i]);
    }
    replica_machine_close(steady);
    replica_machine_close(shaken);
    replica_destroy(steady);
    replica_destroy(shaken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_bootstrap_twice),
        cmocka_unit_test(test_node_update),
        cmocka_unit_test(test_one_batch),
        cmocka_unit_test(test_foreign_commands),
        cmocka_unit_test(test_newer_command_stops),
        cmocka_unit_test(test_membership),
        cmocka_unit_test(test_destroy),
        cmocka_unit_test(test_damaged_rows),
        cmocka_unit_test(test_replay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
