/* One shard on an engine of its own in a temporary directory. */
#include "tests/shard/fixture.h"

#include "raftgroup/base/assert.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void fixture_make_dir(char *dir, size_t dir_bytes)
{
    const char *root = getenv("TEST_TMPDIR");

    fl_assert(snprintf(dir, dir_bytes, "%s/shard-XXXXXX", root != NULL ? root : "/tmp") > 0);
    fl_assert(mkdtemp(dir) != NULL);
}

void fixture_remove_dir(const char *dir)
{
    (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

void fixture_attach(struct fixture *f)
{
    struct shard_engine_options options;
    struct shard_machine_status status;
    char why[256];

    shard_engine_options_data(&options, &f->gc);
    options.path = f->dir;
    if (f->memtable_bytes != 0) {
        options.memtable_bytes = f->memtable_bytes;
    }
    fl_assert(shard_engine_open(&f->engine, &options, why, sizeof(why)) == FL_OK);
    f->batch = shard_batch_create(f->engine, true);
    fl_assert(shard_open(f->engine, &f->gc, FIXTURE_GROUP, &f->shard) == FL_OK);
    status = fixture_status(f);
    f->index = status.applied_index;
    f->term = status.applied_term != 0 ? status.applied_term : 1;
}

void fixture_detach(struct fixture *f)
{
    fixture_machine(f)->ops->close(fixture_machine(f));
    shard_batch_destroy(f->batch);
    shard_engine_close(f->engine);
}

void fixture_open_range(struct fixture *f, const char *start, const char *end)
{
    struct shard_range range;
    struct raft_conf conf = {.n = 1, .in = 1, .id = {1}};

    fixture_make_dir(f->dir, sizeof(f->dir));
    fixture_attach(f);
    shard_range_init(&range);
    range.group_id = FIXTURE_GROUP;
    range.version = FIXTURE_EPOCH;
    range.conf_version = 1;
    range.next_replica_id = 2;
    range.replica_count = 1;
    range.replicas[0] = (struct shard_replica){11, 1, SHARD_REPLICA_VOTER};
    shard_range_set_interval(&range, str(start), str(end));
    shard_bootstrap(f->batch, &range, &conf, 0, 0, SHARD_REVISION_FIRST);
    shard_range_close(&range);
    fixture_commit(f);
    fixture_machine(f)->ops->close(fixture_machine(f));
    fl_assert(shard_open(f->engine, &f->gc, FIXTURE_GROUP, &f->shard) == FL_OK);
}

void fixture_open(struct fixture *f)
{
    *f = (struct fixture){0};
    fixture_open_range(f, "", "");
}

void fixture_close(struct fixture *f)
{
    fixture_detach(f);
    fixture_remove_dir(f->dir);
}

int fixture_setup(void **state)
{
    struct fixture *f = fl_xcalloc(1, sizeof(*f));

    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

struct shard_machine *fixture_machine(struct fixture *f)
{
    return shard_machine(f->shard);
}

struct shard_machine_status fixture_status(struct fixture *f)
{
    struct shard_machine_status status;

    fixture_machine(f)->ops->status(fixture_machine(f), &status);
    return status;
}

struct shard_apply fixture_apply_raw(struct fixture *f, struct fl_bytes payload, uint8_t type)
{
    struct shard_apply entry = {.index = ++f->index,
                                .term = f->term,
                                .type = type,
                                .want_result = true,
                                .payload = payload};

    fixture_machine(f)->ops->apply(fixture_machine(f), f->batch, &entry, 1);
    return entry;
}

void fixture_commit(struct fixture *f)
{
    fl_assert(shard_batch_commit(f->batch, false) == FL_OK);
}

struct shard_apply fixture_apply(struct fixture *f, struct fl_buf *command)
{
    struct shard_apply entry;

    shard_command_set_epoch(command, FIXTURE_EPOCH);
    entry = fixture_apply_raw(f, fl_buf_bytes(command), RAFT_ENT_NORMAL);
    fixture_commit(f);
    fl_buf_release(command);
    return entry;
}

void fixture_flush(struct fixture *f)
{
    fixture_machine(f)->ops->checkpoint(fixture_machine(f), f->batch);
    fixture_commit(f);
    fl_assert(shard_engine_flush(f->engine, true) == FL_OK);
}

struct fl_buf *command_put(const char *key, const char *value)
{
    const struct shard_put put = {.key = str(key), .value = str(value)};
    struct fl_buf *command;

    fl_assert(shard_command_put(&put, &command) == FL_OK);
    return command;
}

struct fl_buf *command_delete(const char *key, const char *end)
{
    const struct shard_delete del = {.key = str(key), .end = str(end)};
    struct fl_buf *command;

    fl_assert(shard_command_delete(&del, &command) == FL_OK);
    return command;
}

struct fl_buf *command_txn(const struct shard_txn *txn)
{
    struct fl_buf *command;

    fl_assert(shard_command_txn(txn, &command) == FL_OK);
    return command;
}

struct shard_op op_put(const char *key, const char *value)
{
    return (struct shard_op){.kind = SHARD_OP_PUT, .put = {.key = str(key), .value = str(value)}};
}

enum fl_status apply_status(struct fixture *f, struct fl_buf *command)
{
    struct shard_apply entry = fixture_apply(f, command);

    fl_buf_release(entry.result);
    return entry.status;
}

static uint64_t apply_ok(struct fixture *f, struct fl_buf *command)
{
    struct shard_apply entry = fixture_apply(f, command);

    fl_assert(entry.status == FL_OK);
    fl_buf_release(entry.result);
    return entry.revision;
}

uint64_t apply_put(struct fixture *f, const char *key, const char *value)
{
    return apply_ok(f, command_put(key, value));
}

uint64_t apply_delete(struct fixture *f, const char *key, const char *end)
{
    return apply_ok(f, command_delete(key, end));
}

uint64_t apply_compact(struct fixture *f, uint64_t revision)
{
    return apply_ok(f, shard_command_compact(revision, false));
}

enum fl_status
fixture_read(struct fixture *f, const struct shard_read *read, struct fl_buf **result)
{
    const struct shard_range *range = shard_descriptor(f->shard);
    const struct shard_read_at at = {
        .group_id = FIXTURE_GROUP, .start = range->start, .end = range->end};

    return shard_read_execute(f->engine, &at, read, result);
}

void assert_value(struct fixture *f, const char *key, uint64_t revision, const char *value)
{
    const struct shard_read read = {.key = str(key), .revision = revision};
    struct shard_result result;
    struct shard_kv kv;
    struct fl_buf *buf;

    fl_assert(fixture_read(f, &read, &buf) == FL_OK);
    fl_assert(shard_result_decode(fl_buf_bytes(buf), &result) == FL_OK);
    fl_assert(result.count == (value != NULL ? 1 : 0));
    if (value != NULL) {
        fl_assert(shard_result_next_kv(&result, &kv));
        fl_assert(fl_bytes_equal(kv.value, str(value)));
    }
    fl_buf_release(buf);
}

uint32_t fixture_hash(struct fixture *f, uint64_t revision)
{
    const struct shard_range *range = shard_descriptor(f->shard);
    const struct shard_read_at at = {
        .group_id = FIXTURE_GROUP, .start = range->start, .end = range->end, .revision = revision};
    struct shard_hash_result hash;

    fl_assert(shard_hash(f->engine, &at, 0, &hash) == FL_OK);
    return hash.hash;
}
