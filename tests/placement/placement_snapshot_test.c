/* Goal: the state of the placement machine travels whole into another replica, durable and in place
 * of what was there; nothing else than a whole snapshot is taken. Method: two replicas on real
 * engines, chunks in order, out of order, damaged. */
#include "tests/placement/placement_fixture.h"

#include "shard/shard_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct chunks {
    struct fl_buf *chunk[64];
    size_t count;
    struct shard_snapshot_info info;
};

static void take_snapshot(struct replica *replica, struct chunks *chunks)
{
    const struct shard_machine_ops *ops = replica->machine->ops;
    struct shard_snapshot *snapshot;
    bool last = false;

    assert_int_equal(ops->snapshot_open(replica->machine, replica->batch, &snapshot, &chunks->info),
                     FL_OK);
    for (chunks->count = 0; !last; chunks->count++) {
        struct fl_writer w;

        fl_writer_init(&w);
        assert_true(chunks->count < 64);
        assert_int_equal(ops->snapshot_next(snapshot, &w, &last), FL_OK);
        assert_true(w.len <= (size_t)SHARD_CHUNK_BYTES_MAX);
        chunks->chunk[chunks->count] = fl_buf_copy(fl_writer_bytes(&w));
        fl_writer_close(&w);
    }
    ops->snapshot_close(snapshot);
}

static void chunks_release(struct chunks *chunks)
{
    for (size_t i = 0; i < chunks->count; i++) {
        fl_buf_release(chunks->chunk[i]);
    }
}

static struct shard_install *install_begin(struct replica *replica)
{
    struct shard_install *install = NULL;

    assert_int_equal(
        replica->machine->ops->install_begin(replica->machine, replica->path, &install), FL_OK);
    return install;
}

/* Goal: a state of several chunks arrives whole, durable without the WAL, in place of what was
 * there before. */
static void test_snapshot(void **state)
{
    struct replica *from = replica_fresh();
    struct replica *to = replica_fresh();
    struct chunks chunks;
    struct shard_install *install;
    struct shard_snapshot_info info;
    struct shard_machine_status status;

    (void)state;
    assert_int_equal(replica_apply(from, fixture_bootstrap(1, 20000)), FL_OK);
    assert_int_equal(replica_apply(from, fixture_update(300, "http://a")), FL_OK);
    assert_int_equal(replica_apply(to, fixture_bootstrap(2, 21000)),
                     FL_OK); /* more rows than come */
    take_snapshot(from, &chunks);
    assert_true(chunks.count > 1);
    assert_int_equal(chunks.info.index, 7);
    install = install_begin(to);
    for (size_t i = 0; i < chunks.count; i++) {
        assert_int_equal(to->machine->ops->install_seal(install, &info), FL_TRUNCATED);
        assert_int_equal(to->machine->ops->install_chunk(install, fl_buf_bytes(chunks.chunk[i])),
                         FL_OK);
    }
    assert_int_equal(to->machine->ops->install_seal(install, &info), FL_OK);
    assert_int_equal(info.index, chunks.info.index);
    assert_int_equal(info.term, chunks.info.term);
    assert_true(raft_conf_equal(&info.conf, &chunks.info.conf));
    assert_int_equal(to->index, 6); /* nothing has changed yet */
    assert_int_equal(placement_view(to->placement)->cluster_id, 2);
    assert_int_equal(to->machine->ops->install_finish(to->machine, install), FL_OK);
    fixture_same_view(placement_view(to->placement), placement_view(from->placement));
    assert_ptr_equal(to->published, placement_view(to->placement));
    /* Only what is in files counts: the engine has no WAL (D5). */
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value value;
    struct shard_state durable;
    shard_group_key(SHARD_ROW_STATE, PLACEMENT_GROUP_ID, key);
    assert_int_equal(shard_engine_get_durable(to->engine, fl_bytes(key, sizeof(key)), &value),
                     FL_OK);
    assert_int_equal(shard_state_decode(value.bytes, &durable), FL_OK);
    assert_int_equal(durable.applied_index, 7);
    shard_value_release(&value);
    replica_reopen(to);
    to->machine->ops->status(to->machine, &status);
    assert_int_equal(status.applied_index, 7);
    assert_true(raft_conf_equal(status.conf, &info.conf));
    fixture_same_view(placement_view(to->placement), placement_view(from->placement));
    assert_int_equal(replica_apply(to, fixture_update(100, "http://b")),
                     FL_OK); /* and it goes on */
    chunks_release(&chunks);
    replica_machine_close(from);
    replica_machine_close(to);
    replica_destroy(from);
    replica_destroy(to);
}

/* Goal: a machine without rows comes to life by a snapshot, also one of a group not bootstrapped.
 */
static void test_snapshot_into_nothing(void **state)
{
    struct replica *from = replica_fresh();
    struct replica *to = replica_empty();
    struct chunks chunks;
    struct shard_install *install;
    struct shard_snapshot_info info;

    (void)state;
    replica_machine_open(to);
    take_snapshot(from, &chunks);
    install = install_begin(to);
    assert_int_equal(chunks.count, 1);
    assert_int_equal(to->machine->ops->install_chunk(install, fl_buf_bytes(chunks.chunk[0])),
                     FL_OK);
    assert_int_equal(to->machine->ops->install_seal(install, &info), FL_OK);
    assert_int_equal(to->machine->ops->install_finish(to->machine, install), FL_OK);
    assert_int_equal(to->publications, 0); /* there is nothing to show */
    to->index = info.index;
    assert_int_equal(replica_apply(to, fixture_bootstrap(1, 2)), FL_OK);
    assert_int_equal(to->publications, 1);
    chunks_release(&chunks);
    replica_machine_close(from);
    replica_machine_close(to);
    replica_destroy(from);
    replica_destroy(to);
}

/* Goal: pieces out of order, missing, damaged or foreign are refused before anything changes. */
static void test_snapshot_robust(void **state)
{
    struct replica *replica = replica_fresh();
    const struct shard_machine_ops *ops = replica->machine->ops;
    struct chunks chunks;
    struct shard_install *install;
    struct shard_snapshot_info info;
    struct fl_bytes first;

    (void)state;
    assert_int_equal(replica_apply(replica, fixture_bootstrap(1, 3)), FL_OK);
    take_snapshot(replica, &chunks);
    assert_int_equal(chunks.count, 1);
    first = fl_buf_bytes(chunks.chunk[0]);
    for (size_t bit = 0; bit < first.len * 8; bit++) {
        uint8_t *bytes = fl_xmemdup(first.data, first.len);
        enum fl_status status;

        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        install = install_begin(replica);
        status = ops->install_chunk(install, fl_bytes(bytes, first.len));
        if (status == FL_OK) {
            status = ops->install_seal(install, &info);
        }
        assert_int_not_equal(status, FL_OK);
        ops->install_abort(install);
        free(bytes);
    }
    install = install_begin(replica);
    assert_int_equal(ops->install_chunk(install, fl_bytes(first.data, 5)), FL_BAD_MESSAGE);
    assert_int_equal(ops->install_chunk(install, first), FL_OK);
    assert_int_equal(ops->install_chunk(install, first), FL_BAD_MESSAGE); /* after the last */
    ops->install_abort(install);
    install = install_begin(replica);
    assert_int_equal(ops->install_chunk(install, fl_bytes(first.data, first.len - 9)), FL_OK);
    assert_int_equal(ops->install_seal(install, &info), FL_CORRUPT);
    ops->install_abort(install);
    chunks_release(&chunks);
    replica_machine_close(replica);
    replica_destroy(replica);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_snapshot_into_nothing),
        cmocka_unit_test(test_snapshot_robust),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
