/* Goal: readers beside the applying thread see whole commands and one revision each, in the past as
 * well as now, while flushes, compactions and garbage collection go on (SH-5, SH-6).
 *
 * Method: one thread applies transactions that always write the same value to all keys; readers
 * check that all agree, that header revisions never go back, and that a hash of the past stays the
 * same. They like to read exactly at the compact revision, whose history goes while they walk. A
 * fixed number of rounds, no clock. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/prng.h"
#include "tests/shard/fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS  2000
#define KEYS    60
#define READERS 2

struct world {
    struct fixture f;
    atomic_ulong known;   /* a revision that is committed */
    atomic_ulong compact; /* about to be, or just, the compact revision */
    atomic_bool done;
};

static void read_and_check(struct world *w, uint64_t revision, uint64_t *header)
{
    const struct shard_read_at at = {.group_id = FIXTURE_GROUP};
    const struct shard_read read = {
        .key = str("a"), .end = fl_bytes("\0", 1), .revision = revision};
    struct shard_result result;
    struct shard_kv kv;
    struct fl_buf *buf;
    struct fl_bytes first = {NULL, 0};
    enum fl_status status = shard_read_execute(w->f.engine, &at, &read, &buf);

    if (status == FL_COMPACTED) {
        return;
    }
    fl_assert(status == FL_OK);
    fl_assert(shard_result_decode(fl_buf_bytes(buf), &result) == FL_OK);
    fl_assert(result.count == KEYS || result.count == 0);
    fl_assert(result.revision >= *header);
    *header = result.revision;
    while (shard_result_next_kv(&result, &kv)) {
        fl_assert(first.data == NULL || fl_bytes_equal(first, kv.value));
        first = kv.value;
    }
    fl_buf_release(buf);
}

static void *reader(void *context)
{
    struct world *w = context;
    struct fl_prng prng;
    uint64_t header = 0;

    fl_prng_seed(&prng, (uint64_t)(uintptr_t)&prng);
    while (!atomic_load(&w->done)) {
        uint64_t known = atomic_load(&w->known);
        struct shard_read_at at = {.group_id = FIXTURE_GROUP, .revision = known};
        struct shard_hash_result hash[2];
        enum fl_status status[2];

        read_and_check(w, 0, &header);
        fl_assert(header >= known);
        read_and_check(w, 1 + fl_prng_below(&prng, known), &header);
        read_and_check(w, atomic_load(&w->compact), &header);
        status[0] = shard_hash(w->f.engine, &at, 0, &hash[0]);
        status[1] = shard_hash(w->f.engine, &at, 0, &hash[1]);
        if (status[0] == FL_OK && status[1] == FL_OK &&
            hash[0].compact_revision == hash[1].compact_revision) {
            fl_assert(hash[0].hash == hash[1].hash);
        }
    }
    return NULL;
}

static uint64_t write_all(struct fixture *f, unsigned round)
{
    struct shard_op ops[KEYS];
    const struct shard_txn txn = {.then_ops = {ops, KEYS}};
    struct shard_apply entry;
    char names[KEYS][8];
    char value[16];

    snprintf(value, sizeof(value), "%u", round);
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(names[i], sizeof(names[i]), "k%02zu", i);
        ops[i] = (struct shard_op){.kind = SHARD_OP_PUT,
                                   .put = {.key = str(names[i]), .value = str(value)}};
    }
    entry = fixture_apply(f, round % 10 == 9 ? command_delete("a", "zz") : command_txn(&txn));
    fl_assert(entry.status == FL_OK);
    fl_buf_release(entry.result);
    return entry.revision;
}

static void collect_garbage(struct world *w)
{
    struct fixture *f = &w->f;
    uint64_t revision = fixture_status(f).revision;

    atomic_store(&w->compact, revision);
    (void)apply_compact(f, revision);
    fixture_flush(f);
    shard_gc_publish(&f->gc, fixture_status(f).compact_revision);
    shard_engine_compact(f->engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
}

static void test_readers_see_whole_commands(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    pthread_t threads[READERS];

    (void)state;
    fixture_open(&w->f);
    atomic_store(&w->known, write_all(&w->f, 0));
    atomic_store(&w->compact, 1);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader, w), 0);
    }
    for (unsigned round = 1; round < ROUNDS; round++) {
        atomic_store(&w->known, write_all(&w->f, round));
        if (round % 20 == 19) {
            collect_garbage(w);
        }
    }
    atomic_store(&w->done, true);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    fixture_close(&w->f);
    free(w);
}

/* What one reader knows to be committed may be old news when it looks: a key that a later deletion
 * took away must not be told as missing at the old revision, where it was there. The interleaving
 * that hurts is laid out by hand: learn a revision, delete, read. */
static void test_a_missing_key_is_told_at_the_deletion_or_later(void **state)
{
    const struct shard_read read = {.key = str("k")};
    struct shard_read_at at = {.group_id = FIXTURE_GROUP};
    struct fixture *f = *state;
    struct shard_result result;
    struct fl_buf *buf;
    uint64_t deletion;

    (void)apply_put(f, "other", "v");
    at.known = apply_put(f, "k", "v");
    deletion = apply_delete(f, "k", NULL);
    assert_true(deletion > at.known);
    for (; at.known <= deletion; at.known++) {
        assert_int_equal(shard_read_execute(f->engine, &at, &read, &buf), FL_OK);
        assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &result), FL_OK);
        assert_int_equal(result.count, 0);
        assert_true(result.revision >= deletion);
        fl_buf_release(buf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readers_see_whole_commands),
        cmocka_unit_test_setup_teardown(
            test_a_missing_key_is_told_at_the_deletion_or_later, fixture_setup, fixture_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
