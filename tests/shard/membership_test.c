/* Goal: a membership entry changes configuration and descriptor together or neither, ids are never
 * reused, and hostile payloads are refused.
 *
 * Method: a life of one group step by step; a table of refused changes; damaged payloads. */
#include "raftgroup/base/prng.h"
#include "shard/membership.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void group_of_three(struct shard_range *range, struct raft_conf *conf)
{
    shard_range_init(range);
    range->group_id = 2;
    range->conf_version = 1;
    range->next_replica_id = 4;
    range->replica_count = 3;
    range->replicas[0] = (struct shard_replica){13, 3, SHARD_REPLICA_VOTER};
    range->replicas[1] = (struct shard_replica){11, 1, SHARD_REPLICA_VOTER};
    range->replicas[2] = (struct shard_replica){12, 2, SHARD_REPLICA_VOTER};
    shard_membership_conf(range, conf);
}

static struct shard_membership one(uint8_t op, uint64_t id, uint64_t node, uint64_t conf_version)
{
    return (struct shard_membership){
        .changes = {.transition = RAFT_CONF_SIMPLE, .n = 1, .op = {{op, id}}},
        .conf_version = conf_version,
        .node_id = {node},
    };
}

static enum fl_status
apply(struct shard_membership change, struct raft_conf *conf, struct shard_range *range)
{
    struct fl_buf *payload = shard_membership_encode(&change);
    struct shard_membership decoded;
    enum fl_status status = shard_membership_decode(fl_buf_bytes(payload), &decoded);

    fl_buf_release(payload);
    return status != FL_OK ? status : shard_membership_apply(&decoded, conf, range);
}

static void test_conf_of_a_descriptor(void **state)
{
    struct shard_range range;
    struct raft_conf conf;

    (void)state;
    group_of_three(&range, &conf);
    assert_true(raft_conf_valid(&conf));
    assert_int_equal(conf.n, 3);
    assert_true(conf.id[0] == 1 && conf.id[1] == 2 && conf.id[2] == 3);
    assert_int_equal(conf.in, 7);
    range.replicas[1].role = SHARD_REPLICA_LEARNER; /* replica 1 */
    shard_membership_conf(&range, &conf);
    assert_true(raft_conf_valid(&conf));
    assert_int_equal(conf.in, 6);
    assert_int_equal(conf.learners, 1);
}

static void test_replacing_a_replica(void **state)
{
    struct shard_range range;
    struct raft_conf conf;

    (void)state;
    group_of_three(&range, &conf);
    assert_int_equal(apply(one('l', 4, 14, 1), &conf, &range), FL_OK);
    assert_int_equal(shard_range_replica(&range, 4)->role, SHARD_REPLICA_LEARNER);
    assert_int_equal(range.next_replica_id, 5);
    assert_int_equal(apply(one('v', 4, 14, 2), &conf, &range), FL_OK);
    assert_int_equal(shard_range_replica_on(&range, 14)->role, SHARD_REPLICA_VOTER);
    assert_int_equal(apply(one('r', 2, 0, 3), &conf, &range), FL_OK);
    assert_null(shard_range_replica(&range, 2));
    assert_int_equal(range.replica_count, 3);
    assert_int_equal(range.conf_version, 4);
    assert_int_equal(range.generation, 3);
    assert_int_equal(conf.n, 3);
    {
        struct raft_conf expected;

        range.next_replica_id = 100;
        shard_membership_conf(&range, &expected);
        assert_true(raft_conf_equal(&conf, &expected));
    }
}

static void test_refused_changes_change_nothing(void **state)
{
    const struct {
        struct shard_membership change;
        enum fl_status status;
    } rows[] = {
        {one('l', 4, 14, 9), FL_EPOCH_MISMATCH},
        {one('l', 4, 12, 1), FL_CONF_INVALID}, /* a second replica on a node */
        {one('l', 4, 0, 1), FL_CONF_INVALID},  /* on no node */
        {one('l', 2, 15, 0), FL_OK},           /* a demotion: the node is known already */
    };
    struct shard_range range;
    struct raft_conf conf;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct shard_range before;
        struct raft_conf conf_before;

        group_of_three(&range, &conf);
        before = range;
        conf_before = conf;
        assert_int_equal(apply(rows[i].change, &conf, &range), rows[i].status);
        if (rows[i].status != FL_OK) {
            assert_true(shard_range_equal(&range, &before));
            assert_true(raft_conf_equal(&conf, &conf_before));
        }
    }
    /* An id that was used once and is gone. */
    group_of_three(&range, &conf);
    assert_int_equal(apply(one('r', 3, 0, 0), &conf, &range), FL_OK);
    assert_int_equal(apply(one('l', 3, 13, 0), &conf, &range), FL_CONF_INVALID);
    assert_int_equal(range.replica_count, 2);
}

static void test_payloads(void **state)
{
    struct shard_membership change = one('l', 4, 14, 1);
    struct fl_buf *payload = shard_membership_encode(&change);
    struct shard_membership decoded;

    (void)state;
    assert_int_equal(shard_membership_decode(fl_bytes(NULL, 0), &decoded), FL_OK);
    assert_int_equal(decoded.changes.n, 0); /* leave joint */
    for (uint32_t len = 1; len < payload->len; len++) {
        uint8_t *cut = malloc(len);

        memcpy(cut, payload->data, len);
        assert_int_not_equal(shard_membership_decode(fl_bytes(cut, len), &decoded), FL_OK);
        free(cut);
    }
    for (uint32_t at = 0; at < payload->len; at++) {
        for (unsigned value = 0; value < 256; value++) {
            struct shard_range range;
            struct raft_conf conf;
            uint8_t before = payload->data[at];

            payload->data[at] = (uint8_t)value;
            group_of_three(&range, &conf);
            if (shard_membership_decode(fl_buf_bytes(payload), &decoded) == FL_OK &&
                shard_membership_apply(&decoded, &conf, &range) == FL_OK) {
                assert_true(raft_conf_valid(&conf));
                assert_true(shard_range_valid(&range));
            }
            payload->data[at] = before;
        }
    }
    fl_buf_release(payload);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conf_of_a_descriptor),
        cmocka_unit_test(test_replacing_a_replica),
        cmocka_unit_test(test_refused_changes_change_nothing),
        cmocka_unit_test(test_payloads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
