/* Goal: each sentence of etcd's contract that a client relies on: puts, deletions, transactions,
 * compaction, reads.
 *
 * Method: one small scenario per sentence on a fresh shard; answers are decoded and compared field
 * by field. The random model test covers combinations; here every rule has a name. */
#include "tests/shard/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct shard_result decode(const struct fl_buf *buf)
{
    struct shard_result result;

    assert_non_null(buf);
    assert_int_equal(shard_result_check(fl_buf_bytes(buf)), FL_OK);
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &result), FL_OK);
    return result;
}

static struct shard_kv next_kv(struct shard_result *result)
{
    struct shard_kv kv;

    assert_true(shard_result_next_kv(result, &kv));
    return kv;
}

static struct shard_result next_response(struct shard_result *result)
{
    struct shard_result response;

    assert_true(shard_result_next_response(result, &response));
    return response;
}

static void assert_bytes(struct fl_bytes got, const char *wanted)
{
    assert_int_equal(got.len, strlen(wanted));
    assert_memory_equal(got.data, wanted, got.len);
}

static void assert_kv(struct shard_kv kv,
                      const char *key,
                      const char *value,
                      uint64_t create,
                      uint64_t mod,
                      uint64_t version)
{
    assert_bytes(kv.key, key);
    assert_bytes(kv.value, value);
    assert_int_equal(kv.create_revision, create);
    assert_int_equal(kv.mod_revision, mod);
    assert_int_equal(kv.version, version);
    assert_int_equal(kv.lease, 0);
}

static struct shard_apply apply_put_struct(struct fixture *f, struct shard_put put)
{
    struct fl_buf *command;

    assert_int_equal(shard_command_put(&put, &command), FL_OK);
    return fixture_apply(f, command);
}

/* ---- put, delete, revisions ---- */

static void test_versions_count_up_and_start_again_after_a_delete(void **state)
{
    struct fixture *f = *state;
    const struct shard_read read = {.key = str("k")};
    struct shard_result result;
    struct fl_buf *buf;

    assert_int_equal(apply_put(f, "k", "1"), 2); /* an empty store is at revision 1 */
    assert_int_equal(apply_put(f, "k", "2"), 3);
    assert_int_equal(fixture_read(f, &read, &buf), FL_OK);
    result = decode(buf);
    assert_int_equal(result.revision, 3);
    assert_kv(next_kv(&result), "k", "2", 2, 3, 2);
    fl_buf_release(buf);
    assert_int_equal(apply_delete(f, "k", NULL), 4);
    assert_int_equal(apply_put(f, "k", "3"), 5);
    assert_int_equal(fixture_read(f, &read, &buf), FL_OK);
    result = decode(buf);
    assert_kv(next_kv(&result), "k", "3", 5, 5, 1);
    fl_buf_release(buf);
    assert_value(f, "k", 2, "1");
    assert_value(f, "k", 3, "2");
    assert_value(f, "k", 4, NULL);
}

static void test_put_gives_the_previous_pair_when_asked(void **state)
{
    struct fixture *f = *state;
    struct shard_put put = {.key = str("k"), .value = str("new"), .prev_kv = true};
    struct shard_apply entry = apply_put_struct(f, put);
    struct shard_result result = decode(entry.result);

    assert_false(result.has_prev);
    fl_buf_release(entry.result);
    put.value = str("newer");
    entry = apply_put_struct(f, put);
    result = decode(entry.result);
    assert_int_equal(result.kind, SHARD_RESULT_PUT);
    assert_int_equal(result.revision, 3);
    assert_true(result.has_prev);
    assert_kv(next_kv(&result), "k", "new", 2, 2, 1);
    fl_buf_release(entry.result);
}

static void test_ignore_needs_an_existing_key(void **state)
{
    struct fixture *f = *state;
    struct shard_put put = {.key = str("k"), .ignore_value = true};

    assert_int_equal(apply_put_struct(f, put).status, FL_KEY_NOT_FOUND);
    put = (struct shard_put){.key = str("k"), .value = str("v"), .ignore_lease = true};
    assert_int_equal(apply_put_struct(f, put).status, FL_KEY_NOT_FOUND);
    assert_int_equal(fixture_status(f).revision, 1);
    (void)apply_put(f, "k", "v");
    put = (struct shard_put){.key = str("k"), .ignore_value = true, .ignore_lease = true};
    fl_buf_release(apply_put_struct(f, put).result);
    assert_value(f, "k", 0, "v");
    assert_int_equal(fixture_status(f).revision, 3);
}

static void test_a_lease_is_not_found(void **state)
{
    struct fixture *f = *state;
    const struct shard_put put = {.key = str("k"), .value = str("v"), .lease = 5};

    assert_int_equal(apply_put_struct(f, put).status, FL_LEASE_NOT_FOUND);
    assert_value(f, "k", 0, NULL);
}

static void test_deleting_nothing_does_not_advance(void **state)
{
    struct fixture *f = *state;
    struct shard_apply entry = fixture_apply(f, command_delete("a", "z"));
    struct shard_result result = decode(entry.result);

    assert_int_equal(entry.revision, 1);
    assert_int_equal(result.kind, SHARD_RESULT_DELETE_RANGE);
    assert_int_equal(result.count, 0);
    assert_int_equal(result.revision, 1);
    fl_buf_release(entry.result);
}

static void test_deleting_many_keys_takes_one_revision(void **state)
{
    struct fixture *f = *state;
    const struct shard_delete del = {.key = str("b"), .end = str("d"), .prev_kv = true};
    struct shard_apply entry;
    struct shard_result result;
    struct fl_buf *command;

    (void)apply_put(f, "a", "1");
    (void)apply_put(f, "b", "2");
    (void)apply_put(f, "c", "3");
    (void)apply_put(f, "d", "4");
    assert_int_equal(fixture_status(f).live_keys, 4);
    assert_int_equal(shard_command_delete(&del, &command), FL_OK);
    entry = fixture_apply(f, command);
    result = decode(entry.result);
    assert_int_equal(entry.revision, 6);
    assert_int_equal(result.count, 2);
    assert_kv(next_kv(&result), "b", "2", 3, 3, 1);
    assert_kv(next_kv(&result), "c", "3", 4, 4, 1);
    fl_buf_release(entry.result);
    assert_int_equal(fixture_status(f).live_keys, 2);
    assert_value(f, "b", 0, NULL);
    assert_value(f, "d", 0, "4");
    assert_value(f, "b", 5, "2");
}

/* ---- transactions ---- */

static struct shard_op op_range(const char *key, const char *end)
{
    return (struct shard_op){.kind = SHARD_OP_RANGE, .range = {.key = str(key), .end = str(end)}};
}

static struct shard_op op_delete(const char *key, const char *end)
{
    return (struct shard_op){.kind = SHARD_OP_DELETE_RANGE,
                             .del = {.key = str(key), .end = str(end)}};
}

static void test_txn_runs_in_order_at_one_revision(void **state)
{
    struct fixture *f = *state;
    struct shard_op ops[] = {op_range("a", "z"),
                             op_put("a", "1"),
                             op_range("a", "z"),
                             op_put("b", "2"),
                             op_delete("x", NULL),
                             op_range("a", "z")};
    const struct shard_txn txn = {.then_ops = {ops, 6}};
    struct shard_apply entry;
    struct shard_result result;
    struct shard_result part;

    (void)apply_put(f, "x", "0");
    entry = fixture_apply(f, command_txn(&txn));
    result = decode(entry.result);
    assert_int_equal(entry.revision, 3);
    assert_true(result.succeeded);
    assert_int_equal(result.response_count, 6);
    part = next_response(&result);
    assert_int_equal(part.revision, 2); /* nothing written yet */
    assert_int_equal(part.count, 1);
    part = next_response(&result);
    assert_int_equal(part.revision, 3);
    part = next_response(&result);
    assert_int_equal(part.revision, 3);
    assert_int_equal(part.count, 2);
    assert_kv(next_kv(&part), "a", "1", 3, 3, 1);
    assert_kv(next_kv(&part), "x", "0", 2, 2, 1);
    (void)next_response(&result);
    part = next_response(&result);
    assert_int_equal(part.count, 1);
    part = next_response(&result);
    assert_int_equal(part.count, 2);
    assert_kv(next_kv(&part), "a", "1", 3, 3, 1);
    assert_kv(next_kv(&part), "b", "2", 3, 3, 1);
    fl_buf_release(entry.result);
    assert_int_equal(fixture_status(f).live_keys, 2);
}

static void test_read_only_txn_does_not_advance(void **state)
{
    struct fixture *f = *state;
    struct shard_op ops[] = {op_range("a", "z"), op_delete("a", NULL)};
    const struct shard_txn txn = {.then_ops = {ops, 2}};
    struct shard_apply entry = fixture_apply(f, command_txn(&txn));

    assert_int_equal(entry.revision, 1);
    assert_int_equal(decode(entry.result).revision, 1);
    fl_buf_release(entry.result);
}

/* Does a txn with just this compare succeed? */
static bool compare(struct fixture *f, struct shard_compare c)
{
    const struct shard_txn txn = {.compares = &c, .compare_count = 1};
    struct shard_apply entry = fixture_apply(f, command_txn(&txn));
    bool succeeded = decode(entry.result).succeeded;

    fl_buf_release(entry.result);
    return succeeded;
}

static void test_compares_of_missing_keys(void **state)
{
    struct fixture *f = *state;
    const uint32_t numbers[] = {
        SHARD_COMPARE_VERSION, SHARD_COMPARE_CREATE, SHARD_COMPARE_MOD, SHARD_COMPARE_LEASE};

    for (size_t i = 0; i < 4; i++) {
        struct shard_compare c = {.target = numbers[i], .key = str("k")};

        assert_true(compare(f, c)); /* EQUAL 0 */
        c.number = 1;
        assert_false(compare(f, c));
        c.result = SHARD_COMPARE_LESS;
        assert_true(compare(f, c));
        c.end = str("z"); /* an empty interval compares the same */
        assert_true(compare(f, c));
    }
    for (uint32_t result = 0; result <= SHARD_COMPARE_NOT_EQUAL; result++) {
        assert_false(compare(f,
                             (struct shard_compare){.result = result,
                                                    .target = SHARD_COMPARE_VALUE,
                                                    .key = str("k")}));
    }
}

static void test_compare_must_hold_for_every_key(void **state)
{
    struct fixture *f = *state;
    struct shard_compare c = {.result = SHARD_COMPARE_LESS,
                              .target = SHARD_COMPARE_MOD,
                              .key = str("a"),
                              .end = str("c"),
                              .number = 4};

    (void)apply_put(f, "a", "1");
    (void)apply_put(f, "b", "2");
    (void)apply_put(f, "c", "3");
    assert_true(compare(f, c));
    c.end = str("d");
    assert_false(compare(f, c));
    c = (struct shard_compare){.target = SHARD_COMPARE_VALUE, .key = str("b"), .value = str("2")};
    assert_true(compare(f, c));
    c.result = SHARD_COMPARE_GREATER;
    c.value = str("1");
    assert_true(compare(f, c));
}

/* As in etcd: the whole path is chosen before the first write. */
static void test_nested_compares_see_the_state_before(void **state)
{
    struct fixture *f = *state;
    struct shard_compare missing = {.target = SHARD_COMPARE_VERSION, .key = str("k")};
    struct shard_op inner_then[] = {op_put("then", "")};
    struct shard_op inner_else[] = {op_put("else", "")};
    struct shard_op ops[] = {
        op_put("k", "v"),
        {.kind = SHARD_OP_TXN,
         .txn = {.compares = &missing,
                 .compare_count = 1,
                 .then_ops = {inner_then, 1},
                 .else_ops = {inner_else, 1}}},
    };
    const struct shard_txn txn = {.then_ops = {ops, 2}};

    assert_int_equal(apply_status(f, command_txn(&txn)), FL_OK);
    assert_value(f, "then", 0, "");
    assert_value(f, "else", 0, NULL);
}

/* A range at a fixed revision that cannot be read fails the transaction before any write. */
static void test_txn_with_unreadable_range_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct shard_op ops[] = {op_put("a", "1"), op_range("a", NULL)};
    const struct shard_txn txn = {.then_ops = {ops, 2}};
    uint32_t before;

    (void)apply_put(f, "k", "1");
    (void)apply_put(f, "k", "2");
    (void)apply_compact(f, 3);
    before = fixture_hash(f, 0);
    ops[1].range.revision = 4; /* the one the transaction itself would get */
    assert_int_equal(apply_status(f, command_txn(&txn)), FL_FUTURE_REVISION);
    ops[1].range.revision = 2;
    assert_int_equal(apply_status(f, command_txn(&txn)), FL_COMPACTED);
    assert_int_equal(fixture_hash(f, 0), before);
    assert_int_equal(fixture_status(f).revision, 3);
    ops[1].range.revision = 3;
    assert_int_equal(apply_status(f, command_txn(&txn)), FL_OK);
}

/* A put that cannot be done fails the transaction although an earlier one could. */
static void test_txn_is_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    struct shard_op ops[] = {op_put("a", "1"), op_put("missing", "")};
    const struct shard_txn txn = {.then_ops = {ops, 2}};

    ops[1].put.ignore_value = true;
    assert_int_equal(apply_status(f, command_txn(&txn)), FL_KEY_NOT_FOUND);
    assert_value(f, "a", 0, NULL);
    ops[1] = op_put("b", "");
    ops[1].put.lease = 9;
    assert_int_equal(apply_status(f, command_txn(&txn)), FL_LEASE_NOT_FOUND);
    assert_value(f, "a", 0, NULL);
    assert_int_equal(fixture_status(f).revision, 1);
}

/* ---- compaction ---- */

static void test_compaction_rules(void **state)
{
    struct fixture *f = *state;
    const struct shard_read below = {.key = str("k"), .revision = 2};
    struct fl_buf *buf;

    (void)apply_put(f, "k", "1");
    (void)apply_put(f, "k", "2");
    (void)apply_put(f, "k", "3");
    assert_int_equal(apply_status(f, shard_command_compact(5, false)), FL_FUTURE_REVISION);
    assert_int_equal(apply_compact(f, 3), 4);
    assert_int_equal(apply_status(f, shard_command_compact(3, false)), FL_COMPACTED);
    assert_int_equal(apply_status(f, shard_command_compact(2, false)), FL_COMPACTED);
    assert_value(f, "k", 3, "2"); /* exactly the compacted revision still works */
    assert_int_equal(fixture_read(f, &below, &buf), FL_COMPACTED);
    assert_int_equal(fixture_status(f).compact_revision, 3);
}

static void test_forced_compaction_never_fails(void **state)
{
    struct fixture *f = *state;
    const struct shard_read now = {.key = str("a"), .end = str("z")};
    struct fl_buf *buf;

    (void)apply_put(f, "k", "1");
    assert_int_equal(apply_status(f, shard_command_compact(9, true)), FL_OK);
    assert_int_equal(fixture_status(f).compact_revision, 9);
    assert_int_equal(fixture_status(f).revision, 2);
    assert_int_equal(apply_status(f, shard_command_compact(4, true)), FL_OK);
    assert_int_equal(fixture_status(f).compact_revision, 9);
    assert_int_equal(fixture_read(f, &now, &buf), FL_OK); /* the newest is always there */
    fl_buf_release(buf);
    assert_int_equal(fixture_hash(f, 0), fixture_hash(f, 0));
}

/* SH-6: what the engine has dropped or not can be seen by nobody. */
static void test_garbage_collection_is_invisible(void **state)
{
    struct fixture *f = *state;
    uint64_t rows;
    uint32_t hash;

    for (unsigned i = 0; i < 50; i++) {
        (void)apply_put(f, "k", i % 2 == 0 ? "even" : "odd");
    }
    (void)apply_delete(f, "k", NULL);
    (void)apply_put(f, "other", "v");
    fixture_flush(f);
    (void)apply_compact(f, 40);
    hash = fixture_hash(f, 45);
    fixture_flush(f);
    rows = shard_engine_property(f->engine, "rocksdb.estimate-num-keys");
    shard_gc_publish(&f->gc, 40);
    shard_engine_compact(f->engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    assert_true(shard_engine_property(f->engine, "rocksdb.estimate-num-keys") <= rows - 30);
    assert_int_equal(fixture_hash(f, 45), hash);
    assert_value(f, "k", 40, "even");
    assert_value(f, "k", 41, "odd");
    assert_value(f, "k", 52, NULL);
    assert_value(f, "other", 0, "v");
}

/* ---- reads ---- */

static void test_count_ignores_limit_and_filters(void **state)
{
    struct fixture *f = *state;
    struct shard_read read = {.key = str("a"), .end = str("z"), .limit = 2};
    struct shard_result result;
    struct fl_buf *buf;

    (void)apply_put(f, "a", "1");
    (void)apply_put(f, "b", "2");
    (void)apply_put(f, "c", "3");
    assert_int_equal(fixture_read(f, &read, &buf), FL_OK);
    result = decode(buf);
    assert_int_equal(result.count, 3);
    assert_int_equal(result.kv_count, 2);
    assert_true(result.more);
    fl_buf_release(buf);
    read = (struct shard_read){.key = str("a"), .end = str("z"), .min_mod_revision = 4};
    assert_int_equal(fixture_read(f, &read, &buf), FL_OK);
    result = decode(buf);
    assert_int_equal(result.count, 3);
    assert_int_equal(result.kv_count, 1);
    assert_false(result.more);
    fl_buf_release(buf);
    /* The whole range: the count is known without looking at every row. */
    read = (struct shard_read){.key = str("\0"), .limit = 1};
    read.key = read.end = fl_bytes("\0", 1);
    assert_int_equal(fixture_read(f, &read, &buf), FL_OK);
    result = decode(buf);
    assert_int_equal(result.count, 3);
    assert_int_equal(result.kv_count, 1);
    assert_true(result.more);
    fl_buf_release(buf);
}

static void test_sorts_before_it_cuts(void **state)
{
    struct fixture *f = *state;
    struct shard_read read = {.key = str("a"),
                              .end = str("z"),
                              .limit = 2,
                              .sort_target = SHARD_SORT_VALUE,
                              .keys_only = true};
    struct shard_result result;
    struct fl_buf *buf;

    (void)apply_put(f, "a", "3");
    (void)apply_put(f, "b", "1");
    (void)apply_put(f, "c", "2");
    assert_int_equal(fixture_read(f, &read, &buf), FL_OK);
    result = decode(buf);
    assert_kv(next_kv(&result), "b", "", 3, 3, 1);
    assert_kv(next_kv(&result), "c", "", 4, 4, 1);
    assert_true(result.more);
    fl_buf_release(buf);
}

static void test_old_revisions_and_future_ones(void **state)
{
    struct fixture *f = *state;
    struct shard_read read = {.key = str("a"), .end = str("z"), .revision = 2};
    struct shard_result result;
    struct fl_buf *buf;

    (void)apply_put(f, "a", "1");
    (void)apply_put(f, "b", "2");
    (void)apply_delete(f, "a", NULL);
    assert_int_equal(fixture_read(f, &read, &buf), FL_OK);
    result = decode(buf);
    assert_int_equal(result.revision, 4); /* header: the newest, not the one read at */
    assert_int_equal(result.count, 1);
    assert_kv(next_kv(&result), "a", "1", 2, 2, 1);
    fl_buf_release(buf);
    read.revision = 5;
    assert_int_equal(fixture_read(f, &read, &buf), FL_FUTURE_REVISION);
}

/* A single key with a known revision takes the short way; both ways answer alike. */
static void test_point_read_equals_the_long_way(void **state)
{
    struct fixture *f = *state;
    struct shard_read_at at = {.group_id = FIXTURE_GROUP};
    struct shard_read read = {.key = str("k")};
    struct fl_buf *slow;
    struct fl_buf *quick;

    (void)apply_put(f, "k", "v");
    (void)apply_put(f, "k2", "v");
    for (unsigned i = 0; i < 6; i++) {
        read.keys_only = i == 1;
        read.count_only = i == 2;
        read.max_mod_revision = i == 3 ? 1 : 0;
        read.limit = i == 4 ? 1 : 0;
        read.key = str(i == 5 ? "missing" : "k");
        at.known = 0;
        assert_int_equal(shard_read_execute(f->engine, &at, &read, &slow), FL_OK);
        at.known = 3;
        assert_int_equal(shard_read_execute(f->engine, &at, &read, &quick), FL_OK);
        assert_int_equal(slow->len, quick->len);
        assert_memory_equal(slow->data, quick->data, slow->len);
        fl_buf_release(slow);
        fl_buf_release(quick);
    }
    at.known = 1; /* older than what is found: the header must not be below the pair */
    read = (struct shard_read){.key = str("k")};
    assert_int_equal(shard_read_execute(f->engine, &at, &read, &quick), FL_OK);
    assert_int_equal(decode(quick).revision, 2);
    fl_buf_release(quick);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_versions_count_up_and_start_again_after_a_delete),
        TEST(test_put_gives_the_previous_pair_when_asked),
        TEST(test_ignore_needs_an_existing_key),
        TEST(test_a_lease_is_not_found),
        TEST(test_deleting_nothing_does_not_advance),
        TEST(test_deleting_many_keys_takes_one_revision),
        TEST(test_txn_runs_in_order_at_one_revision),
        TEST(test_read_only_txn_does_not_advance),
        TEST(test_compares_of_missing_keys),
        TEST(test_compare_must_hold_for_every_key),
        TEST(test_nested_compares_see_the_state_before),
        TEST(test_txn_with_unreadable_range_writes_nothing),
        TEST(test_txn_is_all_or_nothing),
        TEST(test_compaction_rules),
        TEST(test_forced_compaction_never_fails),
        TEST(test_garbage_collection_is_invisible),
        TEST(test_count_ignores_limit_and_filters),
        TEST(test_sorts_before_it_cuts),
        TEST(test_old_revisions_and_future_ones),
        TEST(test_point_read_equals_the_long_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
