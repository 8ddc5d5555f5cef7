/* One replica of the placement group for tests. See placement_fixture.h. */
#include "tests/placement/placement_fixture.h"

#include "shard/membership.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void replica_publish(void *context, struct placement_map_view *view)
{
    struct replica *replica = context;

    assert_true(replica->published == NULL || view->version > replica->published->version);
    placement_map_view_release(replica->published);
    replica->published = placement_map_view_acquire(view);
    replica->publications++;
}

static void engine_open(struct replica *replica)
{
    struct shard_engine_options options;
    char why[512] = "";

    shard_engine_options_default(&options);
    options.path = replica->path;
    options.memtable_bytes = (size_t)4 * 1024 * 1024;
    if (shard_engine_open(&replica->engine, &options, why, sizeof(why)) != FL_OK) {
        fail_msg("%s", why);
    }
    replica->batch = shard_batch_create(replica->engine, true);
}

static void engine_close(struct replica *replica)
{
    shard_batch_destroy(replica->batch);
    shard_engine_close(replica->engine);
}

void replica_machine_open(struct replica *replica)
{
    struct shard_machine_status status;

    placement_map_view_release(replica->published);
    replica->published = NULL;
    replica->publications = 0;
    assert_int_equal(placement_open(replica->engine, replica_publish, replica, &replica->placement),
                     FL_OK);
    replica->machine = placement_machine(replica->placement);
    replica->machine->ops->status(replica->machine, &status);
    replica->index = status.applied_index;
}

void replica_machine_close(struct replica *replica)
{
    replica->machine->ops->close(replica->machine);
}

static void descriptor_init(struct shard_range *descriptor)
{
    shard_range_init(descriptor);
    descriptor->group_id = PLACEMENT_GROUP_ID;
    descriptor->version = 1;
    descriptor->conf_version = 1;
    descriptor->next_replica_id = 4;
    descriptor->replica_count = 3;
    for (uint64_t i = 0; i < 3; i++) {
        descriptor->replicas[i] = (struct shard_replica){100 * (i + 1), i + 1, SHARD_REPLICA_VOTER};
    }
}

struct replica *replica_empty(void)
{
    struct replica *replica = fl_xcalloc(1, sizeof(*replica));
    const char *tmp = getenv("TEST_TMPDIR");

    (void)snprintf(replica->path,
                   sizeof(replica->path),
                   "%s/placement_test_XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(replica->path));
    engine_open(replica);
    return replica;
}

struct replica *replica_fresh(void)
{
    struct replica *replica = replica_empty();
    struct shard_range descriptor;
    struct raft_conf conf;

    descriptor_init(&descriptor);
    shard_membership_conf(&descriptor, &conf);
    placement_bootstrap(replica->batch, &descriptor, &conf, 5, 1);
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
    replica_machine_open(replica);
    assert_int_equal(replica->index, 5);
    return replica;
}

void replica_destroy(struct replica *replica)
{
    char command[300];

    engine_close(replica);
    placement_map_view_release(replica->published);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", replica->path);
    assert_int_equal(system(command), 0);
    free(replica);
}

void replica_reopen(struct replica *replica)
{
    replica_machine_close(replica);
    engine_close(replica);
    engine_open(replica);
    replica_machine_open(replica);
}

enum fl_status
replica_apply_pending(struct replica *replica, enum raft_ent_type type, struct fl_bytes payload)
{
    struct shard_apply entry = {
        .index = ++replica->index,
        .term = 2,
        .type = (uint8_t)type,
        .want_result = true,
        .payload = payload,
    };

    replica->machine->ops->apply(replica->machine, replica->batch, &entry, 1);
    assert_true((entry.result != NULL) == (entry.status == FL_OK));
    fl_buf_release(entry.result);
    return entry.status;
}

enum fl_status replica_apply(struct replica *replica, struct fl_buf *command)
{
    enum fl_status status = replica_apply_pending(replica, RAFT_ENT_NORMAL, fl_buf_bytes(command));

    fl_buf_release(command);
    assert_int_equal(shard_batch_commit(replica->batch, false), FL_OK);
    return status;
}

struct placement_node fixture_node(uint64_t id)
{
    struct placement_node node = {
        .id = id,
        .name = fl_bytes_of_string("seed"),
        .peer_urls = fl_bytes_of_string("http://127.0.0.1:2380"),
        .state = PLACEMENT_NODE_SEED,
    };

    fl_put_u64le(node.uuid.bytes, id * 7);
    (void)snprintf(
        node.locality.tier[0], sizeof(node.locality.tier[0]), "dc%u", (unsigned)(id / 100));
    return node;
}

struct fl_buf *fixture_bootstrap(uint64_t cluster_id, uint32_t ranges)
{
    struct placement_node nodes[3] = {fixture_node(100), fixture_node(200), fixture_node(300)};
    struct placement_splits splits;
    struct placement_bootstrap bootstrap;
    struct fl_buf *command = NULL;

    assert_int_equal(placement_splits_even(ranges, &splits), FL_OK);
    bootstrap = (struct placement_bootstrap){cluster_id, nodes, 3, splits.keys, splits.count};
    assert_int_equal(placement_command_bootstrap(&bootstrap, &command), FL_OK);
    placement_splits_close(&splits);
    return command;
}

struct fl_buf *fixture_update(uint64_t id, const char *client_urls)
{
    struct placement_node node = fixture_node(id);
    struct fl_buf *command = NULL;

    node.client_urls = fl_bytes_of_string(client_urls);
    assert_int_equal(placement_command_node_update(&node, &command), FL_OK);
    return command;
}

struct fl_buf *fixture_command(uint8_t kind, const char *body)
{
    struct fl_buf *command = NULL;

    assert_int_equal(shard_command_create(kind, fl_bytes_of_string(body), &command), FL_OK);
    return command;
}

void fixture_same_view(const struct placement_map_view *a, const struct placement_map_view *b)
{
    struct fl_writer x;
    struct fl_writer y;

    fl_writer_init(&x);
    fl_writer_init(&y);
    placement_map_view_encode(a, &x);
    placement_map_view_encode(b, &y);
    assert_true(fl_bytes_equal(fl_writer_bytes(&x), fl_writer_bytes(&y)));
    fl_writer_close(&x);
    fl_writer_close(&y);
}
