/* Goal: the engine keeps the promises of engine.h: batches are atomic and read their own writes,
 * scans merge pending rows, snapshots stand still, what is durable can be told, files are taken in
 * as one.
 *
 * Method: direct calls on an engine in a temporary directory; the overlay is compared with a sorted
 * array under random writes. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/prng.h"
#include "tests/shard/fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct place {
    char dir[256];
    struct shard_engine *engine;
    enum shard_wal wal;
    shard_engine_drop_fn *drop;
    size_t recent_bytes; /* of keys that begin with 'k' */
    bool insert_hint;
};

static struct shard_engine_options options_of(const struct place *p)
{
    struct shard_engine_options options;

    shard_engine_options_default(&options);
    options.path = p->dir;
    options.wal = p->wal;
    options.drop = p->drop;
    options.recent_bytes = p->recent_bytes;
    options.recent_kind = 'k';
    options.insert_hint = p->insert_hint;
    return options;
}

static void open_place(struct place *p)
{
    struct shard_engine_options options = options_of(p);
    char why[256];

    if (shard_engine_open(&p->engine, &options, why, sizeof(why)) != FL_OK) {
        fail_msg("%s", why);
    }
}

static void make_place(struct place *p)
{
    fixture_make_dir(p->dir, sizeof(p->dir));
    open_place(p);
}

static void close_place(struct place *p)
{
    shard_engine_close(p->engine);
    fixture_remove_dir(p->dir);
}

static void put(struct place *p, const char *key, const char *value)
{
    struct shard_batch *batch = shard_batch_create(p->engine, false);

    shard_batch_put(batch, str(key), str(value));
    assert_int_equal(shard_batch_commit(batch, p->wal != SHARD_WAL_NONE), FL_OK);
    shard_batch_destroy(batch);
}

static void assert_row(struct place *p,
                       const struct shard_engine_snapshot *snapshot,
                       const char *key,
                       const char *value)
{
    struct shard_value got;
    enum fl_status status = shard_engine_get(p->engine, snapshot, str(key), &got);

    assert_int_equal(status, value != NULL ? FL_OK : FL_NOT_FOUND);
    if (value != NULL) {
        assert_true(fl_bytes_equal(got.bytes, str(value)));
    }
    shard_value_release(&got);
}

static void test_opening(void **state)
{
    struct place p = {0};
    struct shard_engine_options options;
    struct shard_engine *engine;
    char why[256];

    (void)state;
    make_place(&p);
    options = options_of(&p);
    assert_int_equal(shard_engine_open(&engine, &options, why, sizeof(why)), FL_LOCKED);
    assert_non_null(strstr(why, p.dir));
    shard_engine_close(p.engine);
    fixture_remove_dir(p.dir);
    options.create = false;
    assert_int_equal(shard_engine_open(&engine, &options, why, sizeof(why)), FL_NOT_FOUND);
    assert_null(engine);
    options.path = "/proc/nowhere/engine";
    options.create = true;
    assert_int_equal(shard_engine_open(&engine, &options, why, sizeof(why)), FL_IO);
    assert_non_null(strstr(why, "/proc/nowhere/engine"));
}

/* Goal: a large batch, which is written in key order and without the rows it replaced itself,
 * leaves what the same writes leave one by one. Method: random puts and deletions over few keys
 * that are all there before, with and without a deleted range among them, with and without insert
 * hints; every key compared with a second engine. */
static void test_a_large_batch_equals_its_writes(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 24; seed++) {
        struct place large = {.insert_hint = seed % 4 < 2};
        struct place single = {.insert_hint = seed % 4 == 1};
        struct shard_batch *batch;
        struct fl_prng prng;

        fl_prng_seed(&prng, seed);
        make_place(&large);
        make_place(&single);
        for (unsigned i = 0; i < 40; i++) {
            char key[8];

            (void)snprintf(key, sizeof(key), "k%02u", i);
            put(&large, key, "before");
            put(&single, key, "before");
        }
        batch = shard_batch_create(large.engine, true);
        for (unsigned i = 0; i < 120; i++) {
            struct shard_batch *one = shard_batch_create(single.engine, false);
            char key[8];
            char value[16];

            (void)snprintf(key, sizeof(key), "k%02u", (unsigned)fl_prng_below(&prng, 40));
            (void)snprintf(value, sizeof(value), "%u", i);
            if (seed % 2 == 1 && i == 60) {
                shard_batch_delete_range(batch, str("k10"), str("k20"));
                shard_batch_delete_range(one, str("k10"), str("k20"));
            } else if (fl_prng_below(&prng, 4) == 0) {
                shard_batch_delete(batch, str(key));
                shard_batch_delete(one, str(key));
            } else {
                shard_batch_put(batch, str(key), str(value));
                shard_batch_put(one, str(key), str(value));
            }
            assert_int_equal(shard_batch_commit(one, false), FL_OK);
            shard_batch_destroy(one);
        }
        assert_int_equal(shard_batch_commit(batch, false), FL_OK);
        shard_batch_destroy(batch);
        for (unsigned i = 0; i < 40; i++) {
            struct shard_value want;
            char key[8];
            char text[16] = "";

            (void)snprintf(key, sizeof(key), "k%02u", i);
            if (shard_engine_get(single.engine, NULL, str(key), &want) == FL_OK) {
                memcpy(text, want.bytes.data, want.bytes.len);
                shard_value_release(&want);
            }
            assert_row(&large, NULL, key, text[0] != '\0' ? text : NULL);
        }
        close_place(&large);
        close_place(&single);
    }
}

static void test_a_batch_is_all_or_nothing(void **state)
{
    struct place p = {0};
    struct shard_batch *batch;

    (void)state;
    make_place(&p);
    batch = shard_batch_create(p.engine, false);
    shard_batch_put(batch, str("a"), str("1"));
    shard_batch_put2(batch, str("b"), str("2"), str("3"));
    shard_batch_delete(batch, str("a"));
    assert_int_equal(shard_batch_count(batch), 3);
    assert_true(shard_batch_bytes(batch) > 12);
    assert_row(&p, NULL, "b", NULL);
    assert_int_equal(shard_batch_commit(batch, false), FL_OK);
    assert_int_equal(shard_batch_count(batch), 0);
    assert_row(&p, NULL, "a", NULL);
    assert_row(&p, NULL, "b", "23");
    shard_batch_put(batch, str("c"), str("1"));
    shard_batch_clear(batch);
    assert_int_equal(shard_batch_commit(batch, false), FL_OK);
    assert_row(&p, NULL, "c", NULL);
    shard_batch_destroy(batch);
    close_place(&p);
}

/* ---- overlay against a model ---- */

#define KEYS 60

struct pending {
    char value[KEYS][8]; /* "" : not there */
};

static void
check_overlay(struct shard_batch *batch, const struct pending *model, unsigned from, unsigned to)
{
    char lower[8];
    char upper[8];
    struct shard_iterator *it;

    snprintf(lower, sizeof(lower), "k%02u", from);
    snprintf(upper, sizeof(upper), "k%02u", to);
    it = shard_batch_scan(batch, str(lower), to < KEYS ? str(upper) : fl_bytes(NULL, 0));
    shard_iterator_first(it);
    for (unsigned i = from; i < to; i++) {
        struct shard_value value;
        char key[8];
        bool there = model->value[i][0] != '\0';

        snprintf(key, sizeof(key), "k%02u", i);
        assert_int_equal(shard_batch_get(batch, str(key), &value), there ? FL_OK : FL_NOT_FOUND);
        if (there) {
            assert_true(fl_bytes_equal(value.bytes, str(model->value[i])));
            assert_true(shard_iterator_valid(it));
            assert_true(fl_bytes_equal(shard_iterator_key(it), str(key)));
            assert_true(fl_bytes_equal(shard_iterator_value(it), str(model->value[i])));
            shard_iterator_next(it);
        }
        shard_value_release(&value);
    }
    assert_false(shard_iterator_valid(it));
    assert_int_equal(shard_iterator_status(it), FL_OK);
    shard_iterator_destroy(it);
}

static void write_randomly(struct shard_batch *batch, struct pending *model, struct fl_prng *prng)
{
    unsigned i = (unsigned)fl_prng_below(prng, KEYS);
    char key[8];

    snprintf(key, sizeof(key), "k%02u", i);
    switch (fl_prng_below(prng, 8)) {
    case 0:
    case 1:
        shard_batch_delete(batch, str(key));
        model->value[i][0] = '\0';
        break;
    case 2: {
        unsigned j = i + (unsigned)fl_prng_below(prng, 9);
        char end[8];

        j = j < KEYS ? j : KEYS;
        snprintf(end, sizeof(end), "k%02u", j);
        shard_batch_delete_range(batch, str(key), str(end));
        for (unsigned k = i; k < j; k++) {
            model->value[k][0] = '\0';
        }
        break;
    }
    default:
        snprintf(
            model->value[i], sizeof(model->value[i]), "v%u", (unsigned)fl_prng_below(prng, 999));
        shard_batch_put(batch, str(key), str(model->value[i]));
    }
}

/* Two batches take turns on the same keys; what they remember of earlier commits must never be
 * older than what the other one committed. */
static void read_own_writes(size_t recent_bytes, bool insert_hint)
{
    struct place p = {.recent_bytes = recent_bytes, .insert_hint = insert_hint};
    struct pending model = {0};
    struct shard_batch *batches[2];
    struct fl_prng prng;
    size_t turn = 0;

    make_place(&p);
    batches[0] = shard_batch_create(p.engine, true);
    batches[1] = shard_batch_create(p.engine, true);
    fl_prng_seed(&prng, 3);
    for (unsigned round = 0; round < 300; round++) {
        struct shard_batch *batch = batches[turn];
        unsigned writes = (unsigned)fl_prng_below(&prng, round % 20 == 0 ? 400 : 20);
        unsigned from = (unsigned)fl_prng_below(&prng, KEYS);

        for (unsigned i = 0; i < writes; i++) {
            write_randomly(batch, &model, &prng);
        }
        check_overlay(batch, &model, 0, KEYS);
        check_overlay(batch, &model, from, from + (unsigned)fl_prng_below(&prng, KEYS - from));
        if (fl_prng_below(&prng, 2) == 0) {
            assert_int_equal(shard_batch_commit(batch, false), FL_OK);
            check_overlay(batches[0], &model, 0, KEYS);
            check_overlay(batches[1], &model, 0, KEYS);
            turn = fl_prng_below(&prng, 4) == 0 ? 1 - turn : turn;
        }
    }
    shard_batch_destroy(batches[0]);
    shard_batch_destroy(batches[1]);
    close_place(&p);
}

static void test_a_batch_reads_its_own_writes(void **state)
{
    (void)state;
    read_own_writes(0, false);
    read_own_writes(0, true);
}

static void *write_sealed(void *batch)
{
    assert_int_equal(shard_batch_write_sealed(batch), FL_OK);
    return NULL;
}

static void check_gets(struct shard_batch *batch, const struct pending *model)
{
    for (unsigned i = 0; i < KEYS; i++) {
        bool there = model->value[i][0] != '\0';
        struct shard_value value;
        char key[8];

        snprintf(key, sizeof(key), "k%02u", i);
        assert_int_equal(shard_batch_get(batch, str(key), &value), there ? FL_OK : FL_NOT_FOUND);
        assert_true(!there || fl_bytes_equal(value.bytes, str(model->value[i])));
        shard_value_release(&value);
    }
}

/* Goal: what is sealed is read back before, while and after it is written, under what is put
 * meanwhile; scans, seals and commits wait for it and keep the order. Method: random writes and
 * deletions against a model, a thread that writes; rows remembered and not. */
static void test_sealed_writes_are_read_back(void **state)
{
    (void)state;
    for (size_t recent_bytes = 0; recent_bytes <= 4096; recent_bytes += 1024) {
        struct place p = {.recent_bytes = recent_bytes, .insert_hint = true};
        struct pending model = {0};
        struct shard_batch *batch;
        struct fl_prng prng;

        fl_prng_seed(&prng, 7 + recent_bytes);
        make_place(&p);
        batch = shard_batch_create(p.engine, true);
        assert_false(shard_batch_seal(batch)); /* nothing to write */
        for (unsigned round = 0; round < 60; round++) {
            pthread_t writer;

            for (unsigned i = 0; i < 30; i++) {
                write_randomly(batch, &model, &prng);
            }
            if (!shard_batch_seal(batch)) {
                continue; /* deletions of nothing */
            }
            check_gets(batch, &model);
            assert_int_equal(shard_batch_count(batch), 0);
            assert_int_equal(pthread_create(&writer, NULL, write_sealed, batch), 0);
            for (unsigned i = 0; i < 10; i++) {
                write_randomly(batch, &model, &prng);
            }
            check_gets(batch, &model);
            check_overlay(batch, &model, 0, KEYS);
            if (round % 3 == 0) {
                assert_int_equal(shard_batch_commit(batch, false), FL_OK);
            }
            check_overlay(batch, &model, 0, KEYS);
            assert_int_equal(pthread_join(writer, NULL), 0);
        }
        shard_batch_destroy(batch);
        close_place(&p);
    }
}

static void test_remembered_rows_are_never_stale(void **state)
{
    (void)state;
    read_own_writes(1024, false);
    read_own_writes(1024, true); /* rows give way all the time */
    read_own_writes((size_t)1024 * 1024, false);
    read_own_writes((size_t)1024 * 1024, true);
}

/* A file that comes in changes rows behind every batch. */
static void test_remembered_rows_end_with_an_ingestion(void **state)
{
    struct place p = {.recent_bytes = 4096};
    struct shard_batch *batch;
    struct shard_value value;
    struct shard_file *file;
    char path[300];
    const char *list[1] = {path};

    (void)state;
    make_place(&p);
    batch = shard_batch_create(p.engine, true);
    shard_batch_put(batch, str("k"), str("old"));
    assert_int_equal(shard_batch_commit(batch, false), FL_OK);
    snprintf(path, sizeof(path), "%s.sst", p.dir);
    assert_int_equal(shard_file_create(p.engine, path, &file), FL_OK);
    assert_int_equal(shard_file_put(file, str("k"), str("new")), FL_OK);
    assert_int_equal(shard_file_finish(file), FL_OK);
    assert_int_equal(shard_engine_ingest(p.engine, list, 1), FL_OK);
    assert_int_equal(shard_batch_get(batch, str("k"), &value), FL_OK);
    assert_true(fl_bytes_equal(value.bytes, str("new")));
    shard_value_release(&value);
    shard_batch_destroy(batch);
    close_place(&p);
}

/* A value read from the batch may be written back to it although its memory moves. */
static void test_values_of_a_batch_may_be_copied_within_it(void **state)
{
    struct place p = {0};
    struct shard_batch *batch;
    char big[9000];

    (void)state;
    make_place(&p);
    memset(big, 'x', sizeof(big));
    batch = shard_batch_create(p.engine, true);
    shard_batch_put(batch, str("k0"), fl_bytes(big, sizeof(big)));
    for (unsigned i = 0; i < 50; i++) {
        struct shard_value value;
        char from[8];
        char to[8];

        snprintf(from, sizeof(from), "k%u", i);
        snprintf(to, sizeof(to), "k%u", i + 1);
        assert_int_equal(shard_batch_get(batch, str(from), &value), FL_OK);
        if (i % 2 == 0) {
            shard_batch_put(batch, str(to), value.bytes);
        } else {
            shard_batch_put2(batch, str(to), fl_bytes(NULL, 0), value.bytes);
        }
    }
    for (unsigned i = 0; i <= 50; i++) {
        struct shard_value value;
        char key[8];

        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(shard_batch_get(batch, str(key), &value), FL_OK);
        assert_int_equal(value.bytes.len, sizeof(big));
        assert_memory_equal(value.bytes.data, big, sizeof(big));
    }
    shard_batch_destroy(batch);
    close_place(&p);
}

/* A scan goes on over rows that are deleted behind and at it. */
static void test_a_scan_survives_writes_to_its_batch(void **state)
{
    struct place p = {0};
    struct shard_batch *batch;
    struct shard_iterator *it;
    unsigned seen = 0;

    (void)state;
    make_place(&p);
    batch = shard_batch_create(p.engine, true);
    for (unsigned i = 0; i < 100; i++) {
        char key[8];

        snprintf(key, sizeof(key), "k%03u", i);
        shard_batch_put(batch, str(key), str("v"));
        if (i == 49) {
            assert_int_equal(shard_batch_commit(batch, false), FL_OK);
        }
    }
    it = shard_batch_scan(batch, str("k"), str("l"));
    for (shard_iterator_first(it); shard_iterator_valid(it); shard_iterator_next(it)) {
        struct fl_bytes key = shard_iterator_key(it);
        struct fl_buf *copy = fl_buf_copy(key);

        shard_batch_delete(batch, fl_buf_bytes(copy));
        fl_buf_release(copy);
        seen++;
    }
    assert_int_equal(seen, 100);
    shard_iterator_destroy(it);
    it = shard_batch_scan(batch, str("k"), str("l"));
    shard_iterator_first(it);
    assert_false(shard_iterator_valid(it));
    shard_iterator_destroy(it);
    shard_batch_destroy(batch);
    close_place(&p);
}

/* ---- reads ---- */

static void test_iterators_keep_to_their_bounds(void **state)
{
    struct place p = {0};
    struct shard_iterator *it;
    const char *const keys[] = {"a", "b", "b1", "c", "d"};

    (void)state;
    make_place(&p);
    for (size_t i = 0; i < 5; i++) {
        put(&p, keys[i], keys[i]);
    }
    it = shard_iterator_create(p.engine, NULL, str("b"), str("d"));
    assert_false(shard_iterator_valid(it));
    shard_iterator_last(it);
    assert_true(fl_bytes_equal(shard_iterator_key(it), str("c")));
    shard_iterator_prev(it);
    assert_true(fl_bytes_equal(shard_iterator_key(it), str("b1")));
    shard_iterator_seek(it, str("a"));
    assert_true(fl_bytes_equal(shard_iterator_key(it), str("b")));
    shard_iterator_prev(it);
    assert_false(shard_iterator_valid(it));
    shard_iterator_seek(it, str("c1"));
    assert_false(shard_iterator_valid(it));
    assert_int_equal(shard_iterator_status(it), FL_OK);
    shard_iterator_destroy(it);
    close_place(&p);
}

static void test_snapshots_stand_still(void **state)
{
    struct place p = {0};
    struct shard_engine_snapshot *snapshot;
    struct shard_iterator *it;

    (void)state;
    make_place(&p);
    put(&p, "k", "1");
    snapshot = shard_engine_snapshot_create(p.engine);
    put(&p, "k", "2");
    put(&p, "l", "2");
    assert_int_equal(shard_engine_flush(p.engine, true), FL_OK);
    shard_engine_compact(p.engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    assert_row(&p, snapshot, "k", "1");
    assert_row(&p, snapshot, "l", NULL);
    assert_row(&p, NULL, "k", "2");
    it = shard_iterator_create(p.engine, snapshot, str("k"), fl_bytes(NULL, 0));
    shard_iterator_first(it);
    assert_true(fl_bytes_equal(shard_iterator_value(it), str("1")));
    shard_iterator_next(it);
    assert_false(shard_iterator_valid(it));
    shard_iterator_destroy(it);
    shard_engine_snapshot_release(snapshot);
    close_place(&p);
}

/* ---- durability ---- */

static void test_durable_reads_see_only_what_is_flushed(void **state)
{
    struct place p = {0};
    struct shard_value value;

    (void)state;
    make_place(&p);
    put(&p, "k", "1");
    assert_int_equal(shard_engine_get_durable(p.engine, str("k"), &value), FL_NOT_FOUND);
    assert_true(shard_engine_memtable_bytes(p.engine) > 0);
    assert_int_equal(shard_engine_flush(p.engine, true), FL_OK);
    assert_int_equal(shard_engine_get_durable(p.engine, str("k"), &value), FL_OK);
    shard_value_release(&value);
    put(&p, "k", "2");
    assert_int_equal(shard_engine_get_durable(p.engine, str("k"), &value), FL_OK);
    assert_true(fl_bytes_equal(value.bytes, str("1")));
    shard_value_release(&value);
    assert_int_equal(shard_engine_sequence(p.engine), 2);
    assert_true(shard_engine_disk_bytes(p.engine) > 0);
    close_place(&p);
}

/* Damage to the middle of the log must not look like a shorter log. */
static void test_damaged_wal_is_refused(void **state)
{
    struct place p = {.wal = SHARD_WAL_TORN};
    struct shard_engine_options options;
    char command[600];
    char path[300];
    char why[256];
    FILE *listing;
    uint8_t byte;
    int fd;

    (void)state;
    make_place(&p);
    put(&p, "a", "1");
    put(&p, "b", "2");
    put(&p, "c", "3");
    snprintf(command, sizeof(command), "cp -r %s %s-copy", p.dir, p.dir); /* as a crash leaves it */
    assert_int_equal(system(command), 0);
    close_place(&p);
    strcat(p.dir, "-copy");
    snprintf(command, sizeof(command), "ls %s/*.log", p.dir);
    listing = popen(command, "r");
    assert_non_null(fgets(path, sizeof(path), listing));
    pclose(listing);
    path[strcspn(path, "\n")] = '\0';
    fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, 15), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 15), 1);
    close(fd);
    options = options_of(&p);
    assert_int_equal(shard_engine_open(&p.engine, &options, why, sizeof(why)), FL_CORRUPT);
    assert_non_null(strstr(why, p.dir));
    fixture_remove_dir(p.dir);
}

static void test_wal_keeps_synced_writes(void **state)
{
    struct place p = {.wal = SHARD_WAL_EXACT};
    char command[600];

    (void)state;
    make_place(&p);
    put(&p, "a", "1");
    snprintf(command, sizeof(command), "cp -r %s %s-copy", p.dir, p.dir);
    assert_int_equal(system(command), 0);
    close_place(&p);
    strcat(p.dir, "-copy");
    open_place(&p);
    assert_row(&p, NULL, "a", "1");
    close_place(&p);
}

/* ---- filter and files ---- */

static bool drop_odd(void *context, struct fl_bytes key, struct fl_bytes value)
{
    (void)context;
    (void)key;
    return value.len == 1 && (value.data[0] - '0') % 2 == 1;
}

static void test_the_filter_drops_rows_in_compactions_only(void **state)
{
    struct place p = {.drop = drop_odd};

    (void)state;
    make_place(&p);
    put(&p, "a", "1");
    put(&p, "b", "2");
    assert_int_equal(shard_engine_flush(p.engine, true), FL_OK);
    assert_row(&p, NULL, "a", "1");
    shard_engine_compact(p.engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    assert_row(&p, NULL, "a", NULL);
    assert_row(&p, NULL, "b", "2");
    close_place(&p);
}

static void test_files_are_taken_in_as_one(void **state)
{
    struct place p = {0};
    char paths[2][300];
    const char *list[2] = {paths[0], paths[1]};
    struct shard_file *file;
    uint64_t before;

    (void)state;
    make_place(&p);
    put(&p, "a", "old");
    put(&p, "b", "old");
    put(&p, "z", "old");
    for (size_t i = 0; i < 2; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/../%s-%zu.sst", p.dir, strrchr(p.dir, '/') + 1, i);
    }
    assert_int_equal(shard_file_create(p.engine, paths[0], &file), FL_OK);
    assert_int_equal(shard_file_delete_range(file, str("a"), str("m")), FL_OK);
    assert_int_equal(shard_file_finish(file), FL_OK);
    assert_int_equal(shard_file_create(p.engine, paths[1], &file), FL_OK);
    assert_int_equal(shard_file_put(file, str("b"), str("new")), FL_OK);
    assert_int_equal(shard_file_put(file, str("a"), str("new")), FL_IO); /* out of order */
    assert_true(shard_file_bytes(file) > 0);
    assert_int_equal(shard_file_finish(file), FL_OK);
    before = shard_engine_sequence(p.engine);
    assert_int_equal(shard_engine_ingest(p.engine, list, 2), FL_OK);
    assert_true(shard_engine_sequence(p.engine) >= before);
    assert_row(&p, NULL, "a", NULL);
    assert_row(&p, NULL, "b", "new");
    assert_row(&p, NULL, "z", "old");
    assert_int_equal(access(paths[0], F_OK), -1); /* moved, not copied */
    assert_int_equal(shard_file_create(p.engine, paths[0], &file), FL_OK);
    assert_int_equal(shard_file_finish(file), FL_INVALID);
    (void)unlink(paths[0]);
    close_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_a_large_batch_equals_its_writes),
        cmocka_unit_test(test_a_batch_is_all_or_nothing),
        cmocka_unit_test(test_a_batch_reads_its_own_writes),
        cmocka_unit_test(test_sealed_writes_are_read_back),
        cmocka_unit_test(test_remembered_rows_are_never_stale),
        cmocka_unit_test(test_remembered_rows_end_with_an_ingestion),
        cmocka_unit_test(test_values_of_a_batch_may_be_copied_within_it),
        cmocka_unit_test(test_a_scan_survives_writes_to_its_batch),
        cmocka_unit_test(test_iterators_keep_to_their_bounds),
        cmocka_unit_test(test_snapshots_stand_still),
        cmocka_unit_test(test_durable_reads_see_only_what_is_flushed),
        cmocka_unit_test(test_damaged_wal_is_refused),
        cmocka_unit_test(test_wal_keeps_synced_writes),
        cmocka_unit_test(test_the_filter_drops_rows_in_compactions_only),
        cmocka_unit_test(test_files_are_taken_in_as_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
