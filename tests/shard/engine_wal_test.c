/* Goal: the zeros kept ahead of the log change nothing but its speed: whatever a crash leaves, what
 * was synced is there at the next open, a write that died half-way is not, and damage to what was
 * synced is refused.
 *
 * Method: an engine with a small runway in a temporary directory; a copy made while it runs is what
 * a crash leaves. The copy's log is torn or damaged at every place of its last record, and at
 * places of others. */
#include "raftgroup/base/alloc.h"
#include "tests/shard/fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define RUNWAY ((size_t)64 * 1024)
#define SECTOR 512

struct place {
    char dir[256];
    char crashed[300]; /* dir as a crash leaves it */
    char copy[300];    /* of that */
    char log[600];     /* .. and its log */
    struct shard_engine *engine;
    size_t used;   /* bytes of the log written */
    size_t before; /* .. before the last record */
};

static enum fl_status try_open(struct place *p, const char *dir, enum shard_wal wal)
{
    struct shard_engine_options options;
    char why[512] = "";
    enum fl_status status;

    shard_engine_options_default(&options);
    options.path = dir;
    options.wal = wal;
    options.wal_runway = RUNWAY;
    status = shard_engine_open(&p->engine, &options, why, sizeof(why));
    if (status != FL_OK) {
        assert_non_null(strstr(why, dir)); /* names the place */
    }
    return status;
}

static void put(struct place *p, unsigned n, size_t bytes)
{
    struct shard_batch *batch = shard_batch_create(p->engine, false);
    char *value = fl_xmalloc(bytes);
    char key[16];

    snprintf(key, sizeof(key), "k%u", n);
    memset(value, 'v', bytes);
    shard_batch_put(batch, str(key), fl_bytes(value, bytes));
    assert_int_equal(shard_batch_commit(batch, true), FL_OK);
    shard_batch_destroy(batch);
    free(value);
}

static bool has(struct place *p, unsigned n)
{
    struct shard_value value;
    enum fl_status status;
    char key[16];

    snprintf(key, sizeof(key), "k%u", n);
    status = shard_engine_get(p->engine, NULL, str(key), &value);
    shard_value_release(&value);
    assert_true(status == FL_OK || status == FL_NOT_FOUND);
    return status == FL_OK;
}

/* The newest log in `dir`. */
static void find_log(const char *dir, char *path, size_t bytes)
{
    DIR *list = opendir(dir);
    const struct dirent *entry;
    unsigned long newest = 0;

    assert_non_null(list);
    while ((entry = readdir(list)) != NULL) {
        const char *dot = strstr(entry->d_name, ".log");
        unsigned long number = strtoul(entry->d_name, NULL, 10);

        if (dot != NULL && number > newest) {
            newest = number;
            snprintf(path, bytes, "%s/%s", dir, entry->d_name);
        }
    }
    closedir(list);
    assert_int_not_equal(newest, 0);
}

static uint8_t *read_log(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY);
    struct stat st;
    uint8_t *bytes;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *size = (size_t)st.st_size;
    bytes = fl_xmalloc(*size + 1);
    assert_int_equal(pread(fd, bytes, *size, 0), (ssize_t)*size);
    close(fd);
    return bytes;
}

static size_t used_of(const char *path)
{
    size_t size;
    uint8_t *bytes = read_log(path, &size);

    while (size > 0 && bytes[size - 1] == 0) {
        size--;
    }
    free(bytes);
    return size;
}

static void write_at(const char *path, const void *bytes, size_t n, size_t at)
{
    int fd = open(path, O_WRONLY);

    assert_true(fd >= 0 && pwrite(fd, bytes, n, (off_t)at) == (ssize_t)n);
    close(fd);
}

static void blank(const char *path, size_t from, size_t to)
{
    uint8_t *zeros = fl_xcalloc(1, to - from + 1);

    write_at(path, zeros, to - from, from);
    free(zeros);
}

static void flip_bit(const char *path, size_t at, unsigned bit)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1);
    byte = (uint8_t)(byte ^ (1U << bit));
    assert_true(pwrite(fd, &byte, 1, (off_t)at) == 1);
    close(fd);
}

/* `to` becomes a copy of `from`. */
static void copy_dir(const char *from, const char *to)
{
    char command[1024];

    snprintf(command, sizeof(command), "rm -rf %s && cp -r %s %s", to, from, to);
    assert_int_equal(system(command), 0);
}

/* Writes rows 0..3, the last one of `bytes`, and keeps what a crash leaves then. */
static void make_victim(struct place *p, size_t bytes)
{
    char live[600];

    fixture_make_dir(p->dir, sizeof(p->dir));
    assert_int_equal(try_open(p, p->dir, SHARD_WAL_TORN), FL_OK);
    put(p, 0, 100);
    put(p, 1, 3000);
    put(p, 2, 10);
    find_log(p->dir, live, sizeof(live));
    p->before = used_of(live);
    put(p, 3, bytes);
    p->used = used_of(live);
    snprintf(p->crashed, sizeof(p->crashed), "%s-crashed", p->dir);
    snprintf(p->copy, sizeof(p->copy), "%s-copy", p->dir);
    copy_dir(p->dir, p->crashed);
    shard_engine_close(p->engine);
}

/* Puts a fresh copy of the victim where it can be damaged. */
static void restore(struct place *p)
{
    copy_dir(p->crashed, p->copy);
    find_log(p->copy, p->log, sizeof(p->log));
}

static void remove_victim(struct place *p)
{
    fixture_remove_dir(p->dir);
    fixture_remove_dir(p->crashed);
    fixture_remove_dir(p->copy);
}

/* Opens the copy and says how many of the rows, which must be the first ones, are there. */
static unsigned rows_left(struct place *p)
{
    unsigned n = 0;

    assert_int_equal(try_open(p, p->copy, SHARD_WAL_TORN), FL_OK);
    while (n < 4 && has(p, n)) {
        n++;
    }
    for (unsigned i = n; i < 4; i++) {
        assert_false(has(p, i));
    }
    put(p, 9, 10); /* and it goes on */
    shard_engine_close(p->engine);
    return n;
}

/* Goal: zeros do lie ahead, by at least half a runway and at most one and a batch, whatever the
 * sizes of the batches and through changes of the log; a clean close leaves none. */
static void test_zeros_lie_ahead(void **state)
{
    struct place p = {0};
    char log[600];

    (void)state;
    fixture_make_dir(p.dir, sizeof(p.dir));
    assert_int_equal(try_open(&p, p.dir, SHARD_WAL_TORN), FL_OK);
    for (unsigned i = 0; i < 60; i++) {
        struct stat st;
        size_t used;

        put(&p, i, i % 7 == 6 ? 3 * RUNWAY : 100 + 997 * (size_t)(i % 5));
        if (i % 20 == 19) {
            assert_int_equal(shard_engine_flush(p.engine, true), FL_OK); /* a new log */
            put(&p, i, 10);
        }
        find_log(p.dir, log, sizeof(log));
        used = used_of(log);
        assert_int_equal(stat(log, &st), 0);
        assert_in_range((size_t)st.st_size - used, RUNWAY / 2, RUNWAY);
    }
    shard_engine_close(p.engine);
    find_log(p.dir, log, sizeof(log));
    {
        struct stat st;

        assert_int_equal(stat(log, &st), 0);
        assert_int_equal((size_t)st.st_size, used_of(log));
    }
    fixture_remove_dir(p.dir);
}

/* Goal: a crash behind the last sync loses nothing, and the zeros are cut. */
static void test_a_crash_leaves_every_row(void **state)
{
    struct place p = {0};

    (void)state;
    make_victim(&p, 5000);
    restore(&p);
    assert_int_equal(rows_left(&p), 4);
    restore(&p);
    assert_int_equal(try_open(&p, p.copy, SHARD_WAL_EXACT), FL_OK); /* zeros are no torn tail */
    shard_engine_close(p.engine);
    remove_victim(&p);
}

static void check_torn(size_t bytes, size_t step)
{
    struct place p = {0};

    make_victim(&p, bytes);
    /* the write ended early */
    for (size_t at = p.before; at < p.used; at = at - at % SECTOR + step) {
        restore(&p);
        blank(p.log, at, p.used);
        assert_int_equal(rows_left(&p), 3);
    }
    /* power failed: one sector did not reach the disk, later ones did */
    for (size_t at = p.before; at < p.used; at = at - at % SECTOR + SECTOR) {
        size_t end = at - at % SECTOR + SECTOR;

        restore(&p);
        blank(p.log, at, end < p.used ? end : p.used);
        assert_int_equal(rows_left(&p), 3);
    }
    restore(&p);
    blank(p.log, p.before + 20, p.used);
    assert_int_equal(try_open(&p, p.copy, SHARD_WAL_EXACT), FL_CORRUPT);
    remove_victim(&p);
}

/* Goal: a last record of which a part is missing is dropped, the rows before it are there.
 * Method: every beginning of it, and every single sector taken out of it; in one block and over
 * three. */
static void test_a_torn_record_is_dropped(void **state)
{
    (void)state;
    check_torn(3000, SECTOR);
    check_torn((size_t)70 * 1000, (size_t)16 * SECTOR);
}

/* Goal: a flipped bit is never taken for a torn write, also not in the last record.
 * Method: bits of every record, of header and bytes. */
static void test_damage_is_refused(void **state)
{
    struct place p = {0};

    (void)state;
    make_victim(&p, 5000);
    for (size_t at = 0; at < p.used; at += at < 60 ? 3 : 97) {
        restore(&p);
        flip_bit(p.log, at, 4);
        assert_int_equal(try_open(&p, p.copy, SHARD_WAL_TORN), FL_CORRUPT);
        assert_null(p.engine);
    }
    /* a length, which no checksum covers: it reaches into the zeros, or ends too early */
    for (size_t at = 4; at < 6; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            restore(&p);
            flip_bit(p.log, at, bit);
            assert_int_equal(try_open(&p, p.copy, SHARD_WAL_TORN), FL_CORRUPT);
            restore(&p);
            flip_bit(p.log, p.before + at, bit);
            assert_int_equal(try_open(&p, p.copy, SHARD_WAL_TORN), FL_CORRUPT);
        }
    }
    /* a sector of an earlier record is gone, but a later record is there */
    restore(&p);
    blank(p.log, 512, 1024);
    assert_int_equal(try_open(&p, p.copy, SHARD_WAL_TORN), FL_CORRUPT);
    remove_victim(&p);
}

/* Goal: a log that another process writes is left alone. Method: a child holds it open; the parent,
 * refused, must not have cut its zeros. */
static void test_a_live_log_is_left_alone(void **state)
{
    struct place p = {0};
    struct stat st;
    int ready[2];
    int done[2];
    char byte = 0;
    char log[600];
    off_t size;
    pid_t child;
    int status;

    (void)state;
    fixture_make_dir(p.dir, sizeof(p.dir));
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    child = fork();
    if (child == 0) {
        bool ok = try_open(&p, p.dir, SHARD_WAL_TORN) == FL_OK;

        put(&p, 0, 100);
        ok = write(ready[1], "r", 1) == 1 && read(done[0], &byte, 1) == 1 && ok;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    find_log(p.dir, log, sizeof(log));
    assert_int_equal(stat(log, &st), 0);
    size = st.st_size;
    assert_true((size_t)size > used_of(log));
    assert_int_equal(try_open(&p, p.dir, SHARD_WAL_TORN), FL_LOCKED);
    assert_int_equal(stat(log, &st), 0);
    assert_int_equal(st.st_size, size);
    assert_int_equal(write(done[1], "d", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fixture_remove_dir(p.dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zeros_lie_ahead),
        cmocka_unit_test(test_a_crash_leaves_every_row),
        cmocka_unit_test(test_a_torn_record_is_dropped),
        cmocka_unit_test(test_damage_is_refused),
        cmocka_unit_test(test_a_live_log_is_left_alone),
    };

    return cmocka_run_group_tests_name("engine_wal", tests, NULL, NULL);
}
