/* Goal: the rules of the machine around the keys: epochs and given revisions (SH-1, SH-2), at most
 * once, entries that are not commands, life and death of a replica (D4, D6, D8).
 *
 * Method: one small scenario per rule on a fresh shard, compared by answers, status and hash. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"
#include "shard/membership.h"
#include "shard/shard_format.h"
#include "tests/shard/fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- epoch, revision numbers, marks (SH-1, SH-2) ---- */

static void test_another_epoch_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct fl_buf *command = command_put("k", "v");
    uint32_t before = fixture_hash(f, 0);

    for (uint64_t epoch = FIXTURE_EPOCH - 1; epoch <= FIXTURE_EPOCH + 1; epoch += 2) {
        struct shard_apply entry;

        shard_command_set_epoch(command, epoch);
        shard_command_set_revision(command, 50);
        entry = fixture_apply_raw(f, fl_buf_bytes(command), RAFT_ENT_NORMAL);
        fixture_commit(f);
        assert_int_equal(entry.status, FL_EPOCH_MISMATCH);
        assert_null(entry.result);
    }
    fl_buf_release(command);
    assert_int_equal(fixture_hash(f, 0), before);
    assert_int_equal(fixture_status(f).revision, 1);
    assert_int_equal(fixture_status(f).applied_index, 2);
}

static struct fl_buf *at_revision(struct fl_buf *command, uint64_t revision)
{
    shard_command_set_revision(command, revision);
    return command;
}

static void test_given_revisions_are_used_and_must_ascend(void **state)
{
    struct fixture *f = *state;
    struct shard_apply entry = fixture_apply(f, at_revision(command_put("k", "1"), 10));

    assert_int_equal(entry.revision, 10);
    fl_buf_release(entry.result);
    assert_int_equal(apply_status(f, at_revision(command_put("k", "2"), 10)), FL_STALE);
    assert_int_equal(apply_status(f, at_revision(command_put("k", "2"), 9)), FL_STALE);
    assert_value(f, "k", 0, "1");
    /* One that does not write raises the shard's last all the same. */
    entry = fixture_apply(f, at_revision(command_delete("none", NULL), 20));
    assert_int_equal(entry.status, FL_OK);
    assert_int_equal(entry.revision, 20);
    fl_buf_release(entry.result);
    assert_int_equal(apply_status(f, at_revision(command_put("k", "3"), 20)), FL_STALE);
    entry = fixture_apply(f, at_revision(command_put("k", "3"), 21));
    assert_int_equal(entry.revision, 21);
    fl_buf_release(entry.result);
    assert_value(f, "k", 20, "1");
    assert_value(f, "k", 21, "3");
}

static void test_marks_only_rise(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(apply_status(f, shard_command_mark(100)), FL_OK);
    assert_int_equal(fixture_status(f).mark, 100);
    assert_int_equal(apply_status(f, shard_command_mark(50)), FL_OK);
    assert_int_equal(fixture_status(f).mark, 100);
    assert_int_equal(fixture_status(f).revision, 1);
}

static void test_keys_outside_the_range_are_refused(void **state)
{
    struct fixture f = {0};
    struct shard_op ops[] = {op_put("m", "in"), op_put("z", "out")};
    struct shard_compare outside = {.target = SHARD_COMPARE_MOD, .key = str("a")};
    struct shard_txn txn = {.then_ops = {ops, 2}};

    (void)state;
    fixture_open_range(&f, "k", "t");
    assert_int_equal(apply_status(&f, command_put("a", "v")), FL_CROSS_RANGE);
    assert_int_equal(apply_status(&f, command_put("t", "v")), FL_CROSS_RANGE);
    assert_int_equal(apply_status(&f, command_delete("k", "u")), FL_CROSS_RANGE);
    assert_int_equal(apply_status(&f, command_txn(&txn)), FL_CROSS_RANGE);
    txn = (struct shard_txn){.compares = &outside, .compare_count = 1, .then_ops = {ops, 1}};
    assert_int_equal(apply_status(&f, command_txn(&txn)), FL_CROSS_RANGE);
    assert_int_equal(fixture_status(&f).live_keys, 0);
    assert_int_equal(apply_status(&f, command_put("k", "v")), FL_OK);
    assert_int_equal(apply_status(&f, command_delete("k", "t")), FL_OK);
    fixture_close(&f);
}

/* ---- sessions in the machine ---- */

static struct fl_buf *numbered(struct fl_buf *command, uint32_t boot, uint64_t seq)
{
    shard_command_set_origin(command, (struct shard_origin){5, boot}, seq, 0);
    return command;
}

static void test_a_repeated_command_is_applied_once(void **state)
{
    struct fixture *f = *state;
    struct shard_apply first = fixture_apply(f, numbered(command_put("k", "1"), 1, 9));
    struct shard_apply second;

    fl_buf_release(fixture_apply(f, command_put("k", "2")).result);
    second = fixture_apply(f, numbered(command_put("k", "1"), 1, 9));
    assert_int_equal(second.status, FL_OK);
    assert_int_equal(second.revision, first.revision);
    assert_int_equal(second.result->len, first.result->len);
    assert_memory_equal(second.result->data, first.result->data, first.result->len);
    fl_buf_release(first.result);
    fl_buf_release(second.result);
    assert_value(f, "k", 0, "2");
    assert_int_equal(fixture_status(f).revision, 3);
    /* Numbers of an earlier life of the node are refused. */
    assert_int_equal(apply_status(f, numbered(command_put("k", "3"), 2, 1)), FL_OK);
    assert_int_equal(apply_status(f, numbered(command_put("k", "4"), 1, 10)), FL_STALE);
    assert_value(f, "k", 0, "3");
}

static void test_answers_survive_a_restart(void **state)
{
    struct fixture *f = *state;
    struct shard_apply before = fixture_apply(f, numbered(command_delete("none", NULL), 1, 1));
    struct shard_apply after;

    assert_int_equal(apply_status(f, numbered(command_put("k", "v"), 1, 2)), FL_OK);
    fixture_flush(f);
    fixture_detach(f);
    fixture_attach(f);
    after = fixture_apply(f, numbered(command_delete("none", NULL), 1, 1));
    assert_int_equal(after.status, FL_OK);
    assert_int_equal(after.result->len, before.result->len);
    assert_memory_equal(after.result->data, before.result->data, after.result->len);
    fl_buf_release(before.result);
    fl_buf_release(after.result);
    assert_int_equal(apply_status(f, numbered(command_put("k", "w"), 1, 2)), FL_OK);
    assert_value(f, "k", 0, "v");
}

/* Without a checkpoint the records are lost, not the decisions: relearning restores those. */
static void test_relearned_commands_are_not_applied_again(void **state)
{
    struct fixture *f = *state;
    struct fl_buf *command = numbered(command_put("k", "v"), 1, 1);
    struct shard_apply entry;

    shard_command_set_epoch(command, FIXTURE_EPOCH);
    entry = fixture_apply_raw(f, fl_buf_bytes(command), RAFT_ENT_NORMAL);
    fl_buf_release(entry.result);
    fixture_commit(f);
    assert_int_equal(shard_engine_flush(f->engine, true), FL_OK);
    fixture_detach(f);
    fixture_attach(f);
    assert_int_equal(fixture_status(f).applied_index, 1);
    assert_int_equal(fixture_status(f).checkpoint_index, 0);
    fixture_machine(f)->ops->relearn(fixture_machine(f), &entry);
    assert_true(fixture_status(f).dirty);
    assert_int_equal(apply_status(f, fl_buf_acquire(command)), FL_UNKNOWN);
    assert_int_equal(fixture_status(f).revision, 2);
    fl_buf_release(command);
}

static void test_large_answers_are_not_kept(void **state)
{
    struct fixture *f = *state;
    char value[2000];
    struct shard_put put = {.key = str("k"), .prev_kv = true};
    struct fl_buf *command;
    struct shard_apply entry;

    memset(value, 'x', sizeof(value));
    put.value = fl_bytes(value, sizeof(value));
    assert_int_equal(shard_command_put(&put, &command), FL_OK);
    assert_int_equal(apply_status(f, command), FL_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(shard_command_put(&put, &command), FL_OK);
        entry = fixture_apply(f, numbered(command, 1, 1));
        assert_int_equal(entry.status, i == 0 ? FL_OK : FL_UNKNOWN);
        assert_int_equal(entry.result != NULL, i == 0);
        fl_buf_release(entry.result);
    }
    assert_int_equal(fixture_status(f).revision, 3);
}

/* ---- entries that are not commands ---- */

static void test_noops_only_move_the_index(void **state)
{
    struct fixture *f = *state;
    struct shard_apply entry = fixture_apply_raw(f, fl_bytes(NULL, 0), RAFT_ENT_NOOP);

    assert_int_equal(entry.status, FL_OK);
    entry = fixture_apply_raw(f, fl_bytes(NULL, 0), RAFT_ENT_NORMAL);
    assert_int_equal(entry.status, FL_OK);
    fixture_commit(f);
    assert_int_equal(fixture_status(f).applied_index, 2);
    assert_int_equal(fixture_status(f).revision, 1);
}

static void test_nonsense_is_refused_the_same_everywhere(void **state)
{
    struct fixture *f = *state;
    struct fl_buf *command = command_put("k", "v");
    struct shard_apply entry;
    uint32_t before = fixture_hash(f, 0);

    shard_command_set_epoch(command, FIXTURE_EPOCH);
    for (uint32_t len = 1; len < SHARD_COMMAND_HEADER_BYTES + 4; len++) {
        entry = fixture_apply_raw(f, fl_bytes(command->data, len), RAFT_ENT_NORMAL);
        assert_int_equal(entry.status, FL_BAD_MESSAGE);
    }
    command->data[1] = 40;
    entry = fixture_apply_raw(f, fl_buf_bytes(command), RAFT_ENT_NORMAL);
    assert_int_equal(entry.status, FL_NOT_SUPPORTED);
    fixture_commit(f);
    assert_int_equal(fixture_hash(f, 0), before);
    fl_buf_release(command);
}

static void discard_line(void *context, const char *line)
{
    (void)context;
    (void)line;
}

/* Skipping what newer replicas apply would make this one different: it stops instead. */
static void test_newer_entries_stop_the_process(void **state)
{
    struct fixture *f = *state;
    struct fl_buf *command = command_put("k", "v");
    int status;
    pid_t child;

    command->data[0] = SHARD_COMMAND_VERSION + 1;
    child = fork();
    if (child == 0) {
        fl_log_set_sink(discard_line, NULL);
        (void)fixture_apply_raw(f, fl_buf_bytes(command), RAFT_ENT_NORMAL);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    fl_buf_release(command);
}

static void test_membership_changes_conf_and_descriptor(void **state)
{
    struct fixture *f = *state;
    struct shard_membership change = {
        .changes = {.transition = RAFT_CONF_SIMPLE, .n = 1, .op = {{'l', 2}}},
        .conf_version = 1,
        .node_id = {12},
    };
    struct fl_buf *payload = shard_membership_encode(&change);
    struct shard_apply entry = fixture_apply_raw(f, fl_buf_bytes(payload), RAFT_ENT_CONF);
    const struct shard_range *range;

    fixture_commit(f);
    assert_int_equal(entry.status, FL_OK);
    range = shard_descriptor(f->shard);
    assert_int_equal(range->conf_version, 2);
    assert_int_equal(range->version, FIXTURE_EPOCH);
    assert_int_equal(range->next_replica_id, 3);
    assert_int_equal(shard_range_replica(range, 2)->node_id, 12);
    assert_int_equal(shard_range_replica(range, 2)->role, SHARD_REPLICA_LEARNER);
    /* The same entry again: another conf_version by now, void. */
    entry = fixture_apply_raw(f, fl_buf_bytes(payload), RAFT_ENT_CONF);
    fixture_commit(f);
    assert_int_equal(entry.status, FL_EPOCH_MISMATCH);
    fixture_flush(f);
    fixture_detach(f);
    fixture_attach(f);
    assert_int_equal(fixture_status(f).conf->n, 2);
    assert_int_equal(fixture_status(f).conf->learners, 2);
    assert_int_equal(shard_descriptor(f->shard)->conf_version, 2);
    fl_buf_release(payload);
}

/* ---- life ---- */

static void test_an_empty_shard_waits(void **state)
{
    struct fixture *f = *state;
    struct shard *shard;
    struct shard_machine_status status;
    uint64_t *groups;
    size_t count;

    assert_int_equal(shard_open(f->engine, &f->gc, 99, &shard), FL_OK);
    shard_machine(shard)->ops->status(shard_machine(shard), &status);
    assert_int_equal(status.applied_index, 0);
    assert_int_equal(status.conf->n, 0);
    shard_machine(shard)->ops->close(shard_machine(shard));
    assert_int_equal(shard_groups(f->engine, &groups, &count), FL_OK);
    assert_int_equal(count, 1);
    assert_int_equal(groups[0], FIXTURE_GROUP);
    free(groups);
}

/* D6: nothing of a destroyed replica is left, its neighbours keep everything. */
static void test_destroy_takes_only_its_own_rows(void **state)
{
    struct fixture f = {0};
    static const uint8_t low[1] = {0};
    struct shard_iterator *it;
    struct fl_writer neighbours[5] = {{0}};

    (void)state;
    fixture_open_range(&f, "k", "t");
    shard_current_key(&neighbours[0], str("j"));
    shard_current_key(&neighbours[1], str("t"));
    shard_history_key(&neighbours[2], str("j"), 1);
    shard_history_key(&neighbours[3], str("t"), 5000);
    fl_write_u8(&neighbours[4], SHARD_ROW_PLACEMENT);
    for (size_t i = 0; i < 5; i++) {
        shard_batch_put(f.batch, fl_writer_bytes(&neighbours[i]), str("mine"));
    }
    (void)apply_put(&f, "k", "1");
    (void)apply_put(&f, "k", "2");
    (void)apply_put(&f, "s", "3");
    fixture_machine(&f)->ops->destroy(fixture_machine(&f), f.batch);
    fixture_commit(&f);
    assert_int_equal(shard_engine_flush(f.engine, true), FL_OK);
    fixture_detach(&f);
    fixture_attach(&f);
    assert_int_equal(f.index, 0);
    it = shard_iterator_create(f.engine, NULL, fl_bytes(low, 1), fl_bytes(NULL, 0));
    shard_iterator_first(it);
    for (size_t i = 0; i < 5; i++, shard_iterator_next(it)) {
        assert_true(shard_iterator_valid(it));
        assert_true(fl_bytes_equal(shard_iterator_key(it), fl_writer_bytes(&neighbours[i])));
        fl_writer_close(&neighbours[i]);
    }
    assert_false(shard_iterator_valid(it));
    shard_iterator_destroy(it);
    fixture_close(&f);
}

/* D4: what is durable is told apart from what is only applied. */
static void test_durable_index_follows_flushes(void **state)
{
    struct fixture *f = *state;
    uint64_t durable;

    (void)apply_put(f, "k", "1");
    assert_int_equal(shard_durable_index(f->engine, FIXTURE_GROUP, &durable), FL_OK);
    assert_int_equal(durable, 0);
    fixture_flush(f);
    (void)apply_put(f, "k", "2");
    assert_int_equal(shard_durable_index(f->engine, FIXTURE_GROUP, &durable), FL_OK);
    assert_int_equal(durable, 1);
    assert_int_equal(fixture_status(f).applied_index, 2);
}

/* D8: once the engine has stopped, nothing is applied or committed any more. */
static void test_a_stopped_engine_commits_nothing(void **state)
{
    struct fixture *f = *state;
    struct fl_buf *command = command_put("k", "v");
    struct shard_apply entry;
    char why[1024];

    shard_command_set_epoch(command, FIXTURE_EPOCH);
    assert_int_equal(shard_engine_fault(f->engine, why, sizeof(why)), FL_OK);
    shard_engine_stop(f->engine, FL_IO, "a disk is gone");
    entry = fixture_apply_raw(f, fl_buf_bytes(command), RAFT_ENT_NORMAL);
    fl_buf_release(entry.result);
    assert_int_equal(shard_batch_commit(f->batch, false), FL_IO);
    assert_int_equal(shard_engine_flush(f->engine, true), FL_IO);
    assert_int_equal(shard_engine_fault(f->engine, why, sizeof(why)), FL_IO);
    assert_non_null(strstr(why, "a disk is gone"));
    assert_non_null(strstr(why, f->dir));
    assert_value(f, "k", 0, NULL);
    fl_buf_release(command);
}

static void apply_uncommitted(struct fixture *f, struct fl_buf *command)
{
    struct shard_apply entry;

    shard_command_set_epoch(command, FIXTURE_EPOCH);
    entry = fixture_apply_raw(f, fl_buf_bytes(command), RAFT_ENT_NORMAL);
    assert_int_equal(entry.status, FL_OK);
    fl_buf_release(entry.result);
    fl_buf_release(command);
}

/* Goal: a command that may iterate does not have thousands of rows of others to look at, also as
 * the first entry of its call; a put leaves them in the batch. Method: the size of the batch. */
static void test_many_rows_are_committed_before_iterating(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 1500; i++) {
        char key[16];

        snprintf(key, sizeof(key), "k%04u", i);
        apply_uncommitted(f, command_put(key, "v"));
    }
    assert_true(shard_batch_count(f->batch) >= 3000);
    apply_uncommitted(f, command_delete("k0001", "k0003"));
    assert_in_range(shard_batch_count(f->batch), 2, 20); /* its own rows, and the state */
    fixture_commit(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_another_epoch_changes_nothing),
        TEST(test_given_revisions_are_used_and_must_ascend),
        TEST(test_marks_only_rise),
        cmocka_unit_test(test_keys_outside_the_range_are_refused),
        TEST(test_a_repeated_command_is_applied_once),
        TEST(test_answers_survive_a_restart),
        TEST(test_relearned_commands_are_not_applied_again),
        TEST(test_large_answers_are_not_kept),
        TEST(test_noops_only_move_the_index),
        TEST(test_nonsense_is_refused_the_same_everywhere),
        TEST(test_newer_entries_stop_the_process),
        TEST(test_membership_changes_conf_and_descriptor),
        TEST(test_an_empty_shard_waits),
        TEST(test_many_rows_are_committed_before_iterating),
        cmocka_unit_test(test_destroy_takes_only_its_own_rows),
        TEST(test_durable_index_follows_flushes),
        TEST(test_a_stopped_engine_commits_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
