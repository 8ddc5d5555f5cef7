/* One shard on an engine of its own in a temporary directory, driven by hand.
 *
 * Owner: the test. Lifetime: fixture_open to fixture_close. Threads: the test's only. */
#ifndef TESTS_SHARD_FIXTURE_H
#define TESTS_SHARD_FIXTURE_H

#include "shard/command.h"
#include "shard/result.h"
#include "shard/shard.h"

#include <stdint.h>

#define FIXTURE_GROUP 7
#define FIXTURE_EPOCH 3

struct fixture {
    char dir[256];
    struct shard_gc gc;
    struct shard_engine *engine;
    struct shard_batch *batch;
    struct shard *shard;
    uint64_t index; /* of the last entry applied */
    uint64_t term;
    size_t memtable_bytes; /* 0: the default */
};

/* A new directory below $TEST_TMPDIR or /tmp; remove it with fixture_remove_dir. */
void fixture_make_dir(char *dir, size_t dir_bytes);
void fixture_remove_dir(const char *dir);

/* An engine and a bootstrapped shard that holds [start, end), committed, not flushed. */
void fixture_open_range(struct fixture *f, const char *start, const char *end);
/* All keys. */
void fixture_open(struct fixture *f);
/* Engine and shard of a directory that exists; no rows are made. */
void fixture_attach(struct fixture *f);
/* Closes shard and engine, keeps the directory. */
void fixture_detach(struct fixture *f);
void fixture_close(struct fixture *f);

/* For cmocka: a fixture that holds all keys in `*state`. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

struct shard_machine *fixture_machine(struct fixture *f);
struct shard_machine_status fixture_status(struct fixture *f);

/* Applies one command (taking its reference) as the next entry, with the fixture's epoch, and
 * commits. The result is the caller's. */
struct shard_apply fixture_apply(struct fixture *f, struct fl_buf *command);
/* The same without setting the epoch and without committing. */
struct shard_apply fixture_apply_raw(struct fixture *f, struct fl_bytes payload, uint8_t type);
void fixture_commit(struct fixture *f);
/* Checkpoint, commit, flush. */
void fixture_flush(struct fixture *f);

/* Commands by strings; an end of NULL is empty. */
struct fl_buf *command_put(const char *key, const char *value);
struct fl_buf *command_delete(const char *key, const char *end);
struct fl_buf *command_txn(const struct shard_txn *txn);
struct shard_op op_put(const char *key, const char *value);

/* Applies the command, forgets its result. */
enum fl_status apply_status(struct fixture *f, struct fl_buf *command);

/* Shorthands that apply and assert FL_OK; they return the answer's revision. */
uint64_t apply_put(struct fixture *f, const char *key, const char *value);
uint64_t apply_delete(struct fixture *f, const char *key, const char *end);
uint64_t apply_compact(struct fixture *f, uint64_t revision);

/* A read through shard_read_execute; the result is the caller's. */
enum fl_status
fixture_read(struct fixture *f, const struct shard_read *read, struct fl_buf **result);
/* Asserts that a read of `key` at `revision` (0: newest) gives `value` (NULL: not there). */
void assert_value(struct fixture *f, const char *key, uint64_t revision, const char *value);
uint32_t fixture_hash(struct fixture *f, uint64_t revision);

static inline struct fl_bytes str(const char *text)
{
    return text != NULL ? fl_bytes_of_string(text) : fl_bytes(NULL, 0);
}

#endif
