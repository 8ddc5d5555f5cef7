/* Goal: rows that are rolled back, missing, rotten or from a newer program are noticed at open, and
 * charged to the group they belong to; promises a store made cannot be broken through its own doors
 * (LS-5, LS-6, LS-8, LS-11).
 * Method: single rows of a closed store are changed through the engine, behind the store's back. */
#include "node/log_format.h"
#include "node/log_store.h"
#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/log.h"
#include "shard/engine.h"
#include "tests/node/log_fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct log_fixture f;

static void quiet(void *context, const char *line)
{
    (void)context;
    (void)line;
}

static int setup(void **state)
{
    (void)state;
    log_fixture_open(&f);
    fl_log_set_sink(quiet, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fl_log_set_sink(NULL, NULL);
    f.options.allow_damaged = false;
    log_fixture_close(&f);
    return 0;
}

static struct shard_engine *open_engine(void)
{
    struct shard_engine_options options;
    struct shard_engine *engine;

    shard_engine_options_default(&options);
    options.path = f.path;
    options.wal = SHARD_WAL_TORN;
    assert_int_equal(shard_engine_open(&engine, &options, f.why, sizeof(f.why)), FL_OK);
    return engine;
}

/* Replaces the row at `key`; an empty value deletes it. */
static void put_behind_back(const struct node_log_key *key, struct fl_bytes value)
{
    struct shard_engine *engine = open_engine();
    struct shard_batch *batch = shard_batch_create(engine, false);

    if (value.len != 0) {
        shard_batch_put(batch, node_log_key_bytes(key), value);
    } else {
        shard_batch_delete(batch, node_log_key_bytes(key));
    }
    assert_int_equal(shard_batch_commit(batch, true), FL_OK);
    shard_batch_destroy(batch);
    shard_engine_close(engine);
}

/* Appends the row at `key` to `out`. */
static void get_behind_back(const struct node_log_key *key, struct fl_writer *out)
{
    struct shard_engine *engine = open_engine();
    struct shard_value value;

    assert_int_equal(shard_engine_get(engine, NULL, node_log_key_bytes(key), &value), FL_OK);
    fl_write_raw(out, value.bytes);
    shard_value_release(&value);
    shard_engine_close(engine);
}

/* Goal: a state row that is older than the newest batch, as after losing a WAL in the middle, is
 * noticed although the row itself is valid and the store ends where it must (LS-6). */
static void test_rolled_back_row(void **state)
{
    struct node_log_key key = node_log_key_state(3);
    struct fl_writer old;

    (void)state;
    (void)log_create_group(f.store, 3);
    fl_writer_init(&old);
    log_fixture_shut(&f);
    get_behind_back(&key, &old);
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    log_append(f.store, 3, 1, 1, 0, 9, 0); /* a vote in term 9 */
    log_fixture_reopen(&f);
    assert_int_equal(log_fixture_boot(&f, 3)->term, 9);
    log_fixture_shut(&f);
    put_behind_back(&key, fl_writer_bytes(&old));
    assert_int_equal(log_fixture_try_reopen(&f), FL_CORRUPT);
    assert_non_null(strstr(f.why, "is not as batch "));
    fl_writer_close(&old);
}

/* A group whose log holds 1..30 in records of 10. */
static void make_three_records(uint64_t group)
{
    (void)log_create_group(f.store, group);
    for (raft_index lo = 1; lo <= 30; lo += 10) {
        log_append(f.store, group, 1, lo, lo + 9, 1, 0);
    }
}

/* After damage in group 2 from `readable` + 1 on: it is refused; on request it is opened with that
 * group marked and cut, the other whole; a snapshot repairs it. */
static void assert_one_damaged_group(raft_index readable, const char *sentence)
{
    raft_term terms[40];
    struct node_log_write repair;

    for (int i = 0; i < 40; i++) {
        terms[i] = 1;
    }
    assert_int_equal(log_fixture_try_reopen(&f), FL_CORRUPT);
    assert_non_null(strstr(f.why, "the log of group 2 in "));
    assert_non_null(strstr(f.why, sentence));
    f.options.allow_damaged = true;
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    f.options.allow_damaged = false;
    for (int i = 0; i < 2; i++) {
        assert_false(f.report.damaged);
        assert_int_equal(f.report.damaged_group_count, 1);
        assert_true(log_fixture_boot(&f, 2)->damaged && log_fixture_boot(&f, 2)->last == readable);
        assert_true(!log_fixture_boot(&f, 3)->damaged && log_fixture_boot(&f, 3)->last == 30);
        log_assert_log(f.store, 3, 1, 1, 30, terms);
        if (readable != 0) {
            log_assert_log(f.store, 2, 1, 1, readable, terms);
        }
        log_fixture_shut(&f);
        assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    }
    repair = log_write(2, 1, 31, 33, 1, 30);
    repair.term = 2;
    repair.snapshot = true;
    repair.snap_index = 30;
    repair.snap_term = 1;
    repair.repaired = true;
    node_log_store_write(f.store, &repair, 1);
    log_write_release(&repair);
    log_fixture_reopen(&f);
    log_assert_log(f.store, 2, 1, 31, 33, terms);
}

/* Goal: a flipped payload bit and a missing record damage that group alone (LS-5). */
static void test_damaged_entries(void **state)
{
    struct node_log_key key = node_log_key_entries(2, 1, 11);
    struct fl_writer record;
    const size_t in_fourth = NODE_LOG_RECORD_HEADER + 4 * NODE_LOG_ENTRY_HEADER +
                             log_payload_len(2, 11, 1) + log_payload_len(2, 12, 1) +
                             log_payload_len(2, 13, 1);

    (void)state;
    fl_writer_init(&record);
    make_three_records(2);
    make_three_records(3);
    log_fixture_shut(&f);
    get_behind_back(&key, &record);
    record.data[in_fourth] ^= 0x10;
    put_behind_back(&key, fl_writer_bytes(&record));
    assert_one_damaged_group(13, "(an entry fails its checksum)");
    fl_writer_close(&record);
}

static void test_missing_record(void **state)
{
    struct node_log_key key = node_log_key_entries(2, 1, 11);

    (void)state;
    make_three_records(2);
    make_three_records(3);
    log_fixture_shut(&f);
    put_behind_back(&key, fl_bytes(NULL, 0));
    assert_one_damaged_group(10, "(entries are missing)");
}

static void test_missing_first_record(void **state)
{
    struct node_log_key key = node_log_key_entries(2, 1, 1);

    (void)state;
    make_three_records(2);
    make_three_records(3);
    log_fixture_shut(&f);
    put_behind_back(&key, fl_bytes(NULL, 0));
    assert_one_damaged_group(0, "(entries are missing)");
}

static void test_missing_last_record(void **state)
{
    struct node_log_key key = node_log_key_entries(2, 1, 21);

    (void)state;
    make_three_records(2);
    make_three_records(3);
    log_fixture_shut(&f);
    put_behind_back(&key, fl_bytes(NULL, 0));
    assert_one_damaged_group(20, "(entries are missing)");
}

/* Goal: entries whose checksums fit are not believed when their terms fall, or pass the term the
 * group has seen (LS-5). Method: the record 11..20 is written anew with another term in the middle.
 */
static void check_wrong_term(raft_term wrong)
{
    struct node_log_key key = node_log_key_entries(2, 1, 11);
    struct fl_writer record;

    make_three_records(2);
    make_three_records(3);
    log_append(f.store, 2, 1, 31, 31, 2, 0); /* the group is in term 2 */
    log_fixture_shut(&f);
    fl_writer_init(&record);
    node_log_record_begin(&record, 2, 1, 11, 10);
    for (raft_index i = 11; i <= 20; i++) {
        struct node_log_entry from = log_entry(2, i, 1);
        struct node_log_record_entry entry = {
            .index = i,
            .term = i == 15 ? wrong : 1,
            .type = from.type,
        };

        if (from.payload != NULL) {
            entry.payload = fl_buf_bytes(from.payload);
        }
        node_log_record_add(&record, 2, &entry);
        fl_buf_release(from.payload);
    }
    put_behind_back(&key, fl_writer_bytes(&record));
    fl_writer_close(&record);
}

static void test_falling_term(void **state)
{
    (void)state;
    check_wrong_term(0);
    assert_one_damaged_group(14, "(its terms fall)");
}

static void test_term_from_the_future(void **state)
{
    (void)state;
    check_wrong_term(3);
    assert_one_damaged_group(14, "(its terms fall)");
}

/* Goal: when a state row is unreadable the replica is reported as lost, can be destroyed, and its
 * successor sees none of its entries although nobody knows its incarnation any more. */
static void test_unreadable_state_row(void **state)
{
    struct node_log_key key = node_log_key_state(2);
    struct node_log_group_init init = {.group = 2, .replica_id = 8, .term = 1};
    struct node_log_read read;
    uint64_t incarnation;

    (void)state;
    make_three_records(2);
    log_fixture_shut(&f);
    put_behind_back(&key, fl_bytes_of_string("rotten"));
    f.options.allow_damaged = true;
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    assert_true(log_fixture_boot(&f, 2)->damaged && log_fixture_boot(&f, 2)->replica_id == 0);
    node_log_store_destroy_group(f.store, 2, 8);
    assert_int_equal(node_log_store_create_group(f.store, &init, &incarnation), FL_OK);
    assert_int_equal(incarnation, 2);
    assert_int_equal(node_log_store_read(f.store, 2, 2, 1, 1, 0, &read), FL_NOT_FOUND);
    node_log_store_clear_damaged(f.store);
    f.options.allow_damaged = false;
    log_fixture_reopen(&f);
    assert_int_equal(log_fixture_boot(&f, 2)->replica_id, 8);
}

/* Goal: rows of a newer program stop the start with that sentence, and are not called damaged. */
static void test_newer_row(void **state)
{
    struct node_log_key key = node_log_key_state(2);
    struct fl_bytes k = node_log_key_bytes(&key);
    struct fl_writer row;

    (void)state;
    fl_writer_init(&row);
    (void)log_create_group(f.store, 2);
    log_fixture_shut(&f);
    get_behind_back(&key, &row);
    row.data[0] = NODE_LOG_FORMAT + 1;
    fl_put_u32le(row.data + row.len - 4,
                 fl_crc32c(fl_crc32c(0, k.data, k.len), row.data, row.len - 4));
    put_behind_back(&key, fl_writer_bytes(&row));
    assert_int_equal(log_fixture_try_reopen(&f), FL_NEWER_FORMAT);
    assert_non_null(
        strstr(f.why, "was written by a newer version of flotilla: start that version"));
    fl_writer_close(&row);
}

/* Goal: votes cannot be taken back and a gap cannot be written: both stop the process (LS-11). */
static void test_broken_promises_are_asserted(void **state)
{
    (void)state;
    (void)log_create_group(f.store, 2);
    log_append(f.store, 2, 1, 1, 0, 5, 0); /* vote 1 in term 5 */
    for (int i = 0; i < 3; i++) {
        int status;
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            struct node_log_write write = log_write(2, 1, i == 2 ? 3 : 1, i == 2 ? 3 : 0, 5, 0);

            write.vote = i == 0 ? 2 : 1;
            write.term = i == 1 ? 4 : 5;
            node_log_store_write(f.store, &write, 1);
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rolled_back_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_first_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_last_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_falling_term, setup, teardown),
        cmocka_unit_test_setup_teardown(test_term_from_the_future, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable_state_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken_promises_are_asserted, setup, teardown),
    };

    return cmocka_run_group_tests_name("log_damage", tests, NULL, NULL);
}
