/* Goal: nothing acknowledged is ever lost in silence: not by a killed process, a torn tail, rotten
 * bits, deleted files, rows rolled back behind our back, or a disk that refuses to sync (LS-1,
 * LS-5 .. LS-9; faults 6-9, 16).
 * Method: children that write and are killed; files of a closed store damaged one place at a time.
 */
#include "node/log_store.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/log.h"
#include "raftgroup/base/prng.h"
#include "tests/node/log_fixture.h"
#include "tests/node/temp_dir.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { GROUPS = 4 };

static struct log_fixture f;

/* Number of fdatasync calls that still succeed; negative: all. RocksDB calls through this one. */
static int syncs_left = -1;

int fdatasync(int fd)
{
    if (syncs_left == 0) {
        errno = EIO;
        return -1;
    }
    syncs_left -= syncs_left > 0 ? 1 : 0;
    return (int)syscall(SYS_fdatasync, fd);
}

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

/* Turn `n` of a fixed history: appends 1..3 entries to each of two groups; every 9th turn is a
 * conflict; terms grow. last[] and terms[][] follow. */
struct history {
    struct fl_prng prng;
    raft_term term;
    raft_index last[GROUPS];
    raft_term terms[GROUPS][8000];
};

static void history_begin(struct history *h, uint64_t seed)
{
    memset(h, 0, sizeof(*h));
    fl_prng_seed(&h->prng, seed);
    h->term = 1;
}

/* Advances the history by one turn; writes it to `store` unless that is NULL. */
static void history_turn(struct history *h, struct node_log_store *store, unsigned n)
{
    struct node_log_write writes[2];

    h->term += n % 9 == 0 ? 1 : 0;
    for (unsigned i = 0; i < 2; i++) {
        unsigned g = (unsigned)((n + i) % GROUPS);
        raft_index lo = h->last[g] + 1;
        raft_index hi;

        if (n % 9 == 0 && lo > 4) {
            lo -= 1 + fl_prng_below(&h->prng, 3);
        }
        hi = lo + fl_prng_below(&h->prng, 3);
        for (raft_index at = lo; at <= hi; at++) {
            h->terms[g][at] = h->term;
        }
        h->last[g] = hi;
        if (store != NULL) {
            writes[i] = log_write(g + 2, 1, lo, hi, h->term, 0);
            writes[i].vote = n;
            writes[i].term = h->term + n; /* each turn its own, so that a vote may differ */
        }
    }
    if (store != NULL) {
        node_log_store_write(store, writes, 2);
        log_write_release(&writes[0]);
        log_write_release(&writes[1]);
    }
}

static void history_create_groups(void)
{
    for (uint64_t g = 0; g < GROUPS; g++) {
        assert_int_equal(log_create_group(f.store, g + 2), 1);
    }
}

/* True if the open store holds the history after exactly `turns` turns. */
static bool history_matches(uint64_t seed, unsigned turns)
{
    struct history *h = fl_xmalloc(sizeof(*h));
    bool same = true;

    history_begin(h, seed);
    for (unsigned n = 1; n <= turns; n++) {
        history_turn(h, NULL, n);
    }
    for (uint64_t g = 0; g < GROUPS && same; g++) {
        const struct node_log_group_boot *boot = log_fixture_boot(&f, g + 2);

        same = boot != NULL && !boot->damaged && boot->last == h->last[g] &&
               boot->last_term == h->terms[g][h->last[g]];
        if (same && boot->last != 0) {
            log_assert_log(f.store, g + 2, 1, 1, boot->last, h->terms[g]);
        }
    }
    free(h);
    return same;
}

/* --- killed processes ------------------------------------------------------------------------- */

/* Runs this program again as a child, because a fork would lack RocksDB's threads: main() hands the
 * numbers to child_write or child_check. *out (may be NULL) is the child's standard output. */
static pid_t start_child(const char *mode, uint64_t a, uint64_t b, int c, int *out)
{
    char text[3][24];
    int pipes[2];
    pid_t child;

    (void)snprintf(text[0], sizeof(text[0]), "%llu", (unsigned long long)a);
    (void)snprintf(text[1], sizeof(text[1]), "%llu", (unsigned long long)b);
    (void)snprintf(text[2], sizeof(text[2]), "%d", c);
    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(pipes[1], STDOUT_FILENO);
        (void)close(pipes[0]);
        (void)execl("/proc/self/exe", "child", mode, f.path, text[0], text[1], text[2], NULL);
        _exit(99);
    }
    (void)close(pipes[1]);
    if (out != NULL) {
        *out = pipes[0];
    } else {
        (void)close(pipes[0]);
    }
    return child;
}

/* Opens the store, goes through the history and writes turns after `from` for ever, one byte to
 * standard output after each. */
_Noreturn static void child_write(uint64_t seed, unsigned from, int syncs)
{
    struct history *h = fl_xmalloc(sizeof(*h));

    history_begin(h, seed);
    if (log_fixture_try_reopen(&f) != FL_OK) {
        _exit(3);
    }
    syncs_left = syncs;
    for (unsigned n = 1;; n++) {
        history_turn(h, n > from ? f.store : NULL, n);
        if (n > from && write(STDOUT_FILENO, "k", 1) != 1) {
            _exit(4);
        }
        if (n % 40 == 0) {
            node_log_store_persist_watermark(f.store);
        }
    }
}

/* Opens the store: exits with 0 when it holds the whole history, 1 when it is refused, 3 when it
 * opens with less, 2 for any other reason. */
_Noreturn static void child_check(uint64_t seed, unsigned turns)
{
    enum fl_status status = log_fixture_try_reopen(&f);

    if (status != FL_OK) {
        _exit(status == FL_CORRUPT || status == FL_IO || status == FL_NEWER_FORMAT ? 1 : 2);
    }
    _exit(history_matches(seed, turns) ? 0 : 3);
}

/* Goal: SIGKILL at any moment loses no acknowledged turn and leaves whole turns only (fault 5, D1
 * of the log). Method: a child acknowledges through a pipe; it is killed after a random number of
 * acknowledgements; the next child goes on where the store stands. */
static void test_kill_loses_nothing(void **state)
{
    struct fl_prng prng;
    unsigned turns = 0;

    (void)state;
    fl_prng_seed(&prng, (uint64_t)getpid());
    history_create_groups();
    log_fixture_shut(&f);
    for (int round = 0; round < 12; round++) {
        unsigned want = 1 + (unsigned)fl_prng_below(&prng, 60);
        unsigned acked = turns;
        unsigned found = 0;
        int out;
        char byte;
        pid_t child = start_child("write", 42, turns, -1, &out);

        while (acked < turns + want && read(out, &byte, 1) == 1) {
            acked++;
        }
        assert_int_equal(acked, turns + want);
        assert_int_equal(kill(child, SIGKILL), 0);
        while (read(out, &byte, 1) == 1) { /* what it acknowledged until it died */
            acked++;
        }
        (void)close(out);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
        while (!history_matches(42, acked + found)) {
            assert_true(++found < 2); /* at most the turn that was on its way */
        }
        turns = acked + found;
        log_fixture_shut(&f);
    }
}

/* Goal: a failed fsync stops the process before anything of that turn is acknowledged, and the
 * turns before it are there afterwards (LS-9, fault 16). */
static void test_failed_fsync_is_fatal(void **state)
{
    unsigned acked = 0;
    int out;
    int status;
    char byte;
    pid_t child;

    (void)state;
    history_create_groups();
    log_fixture_shut(&f);
    child = start_child("write", 7, 0, 5, &out);
    while (read(out, &byte, 1) == 1) {
        acked++;
    }
    (void)close(out);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(acked, 5);
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    assert_true(history_matches(7, acked) || history_matches(7, acked + 1));
}

/* --- damaged files ---------------------------------------------------------------------------- */

/* Fills the store with `turns` turns of history 3, the watermark persisted after turn `marked`, and
 * keeps in DIR/clean what a crash at that point leaves. Returns the batches before the first turn.
 */
static uint64_t make_victim(unsigned turns, unsigned marked)
{
    struct history *h = fl_xmalloc(sizeof(*h));
    uint64_t before;

    history_create_groups();
    log_fixture_reopen(&f); /* flushes, so that the WAL holds turns only */
    before = f.report.batch;
    history_begin(h, 3);
    for (unsigned n = 1; n <= turns; n++) {
        history_turn(h, f.store, n);
        if (n == marked) {
            node_log_store_persist_watermark(f.store);
        }
    }
    free(h);
    assert_int_equal(mkdir(temp_path(f.directory, "clean"), 0700), 0);
    temp_copy(f.path, temp_path(f.directory, "clean/log"));
    temp_copy_file(temp_path(f.directory, "log.watermark"),
                   temp_path(f.directory, "clean/log.watermark"));
    log_fixture_shut(&f);
    return before;
}

/* Puts the clean copy back. */
static void restore_victim(void)
{
    log_fixture_shut(&f);
    temp_erase(f.path);
    temp_copy(temp_path(f.directory, "clean/log"), f.path);
    temp_copy_file(temp_path(f.directory, "clean/log.watermark"),
                   temp_path(f.directory, "log.watermark"));
}

typedef void tear_fn(const char *path, size_t from);

static void check_torn_tails(tear_fn *tear)
{
    enum { TURNS = 60, MARKED = 30, CUTS = 200 };
    uint64_t before = make_victim(TURNS, MARKED);
    unsigned refused = 0;
    unsigned last = 0;

    for (unsigned cut = 0; cut <= CUTS; cut++) {
        enum fl_status status;
        char *wal;

        restore_victim();
        wal = log_fixture_wal(&f);
        tear(wal, temp_file_used(wal) * cut / CUTS);
        free(wal);
        status = log_fixture_try_reopen(&f);
        if (status == FL_OK) {
            unsigned turns = (unsigned)(f.report.batch - before);

            assert_false(f.report.damaged);
            assert_true(turns >= MARKED && turns >= last);
            assert_true(history_matches(3, turns));
            last = turns;
        } else {
            assert_int_equal(status, FL_CORRUPT);
            assert_non_null(strstr(f.why, "has lost synced writes (it ends at batch "));
            assert_non_null(strstr(f.why,
                                   "remove this node from the cluster, empty its data "
                                   "directory and let it join again as a new node"));
            assert_int_equal(last, 0); /* no cut is accepted above which one is refused */
            refused++;
        }
    }
    assert_int_equal(last, TURNS);
    assert_in_range(refused, CUTS / 4, CUTS * 3 / 4);
}

/* Goal: a WAL cut anywhere behind the watermark opens undamaged with a whole number of turns; cut
 * below it, it is refused with one sentence (LS-7, fault 8). Method: 200 cut points. */
static void test_torn_tail(void **state)
{
    (void)state;
    check_torn_tails(temp_file_cut);
}

/* A write that stops does so between sectors. */
static void blank_sectors(const char *path, size_t from)
{
    size_t sector = (from + 511) / 512 * 512;

    if (sector < temp_file_size(path)) {
        temp_file_blank(path, sector);
    }
}

/* Goal: the same for what a death in the middle of a write leaves: the runway's zeros behind the
 * part that was written. Method: zeros from the start of each of 200 sectors on. */
static void test_torn_on_the_runway(void **state)
{
    (void)state;
    check_torn_tails(blank_sectors);
}

/* Opens the damaged store in a child, because Debian's RocksDB may abort on what it finds. True:
 * opened, and the history is complete; false: refused. Anything else fails the test. */
static bool opens_complete(unsigned turns)
{
    int status;
    pid_t child = start_child("check", 3, turns, 0, NULL);

    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGABRT);
        return false;
    }
    assert_in_range(WEXITSTATUS(status), 0, 1);
    return WEXITSTATUS(status) == 0;
}

static void flip_somewhere(const char *path, struct fl_prng *prng)
{
    size_t size = temp_file_used(path);

    temp_file_flip(path, fl_prng_below(prng, size), (unsigned)fl_prng_below(prng, 8));
}

/* Goal: a bit flipped anywhere in the WAL below the watermark is found or harmless, never forgotten
 * (fault 9; RocksDB alone forgets in three of its four modes). Method: 150 random bits. */
static void test_flipped_bit_in_wal(void **state)
{
    enum { TURNS = 60, FLIPS = 150 };
    struct fl_prng prng;
    unsigned refused = 0;

    (void)state;
    (void)make_victim(TURNS, TURNS);
    fl_prng_seed(&prng, 11);
    for (unsigned i = 0; i < FLIPS; i++) {
        char *wal;

        restore_victim();
        wal = log_fixture_wal(&f);
        flip_somewhere(wal, &prng);
        free(wal);
        refused += opens_complete(TURNS) ? 0 : 1;
    }
    assert_true(refused > FLIPS * 9 / 10);
}

/* Goal: the same for every other file of the store, after compaction into files, and for the
 * watermark. */
static void test_flipped_bit_in_other_files(void **state)
{
    static const char *const SUFFIXES[] = {".sst", "CURRENT", "MANIFEST", "watermark"};
    struct fl_prng prng;

    (void)state;
    (void)make_victim(60, 60);
    restore_victim();
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    node_log_store_compact(f.store);
    log_fixture_shut(&f);
    temp_erase(temp_path(f.directory, "clean"));
    assert_int_equal(mkdir(temp_path(f.directory, "clean"), 0700), 0);
    temp_copy(f.path, temp_path(f.directory, "clean/log"));
    temp_copy_file(temp_path(f.directory, "log.watermark"),
                   temp_path(f.directory, "clean/log.watermark"));
    fl_prng_seed(&prng, 12);
    for (unsigned i = 0; i < 80; i++) {
        const char *kind = SUFFIXES[i % 4];
        size_t count;
        char **names;
        size_t at = 0;

        restore_victim();
        names = temp_list(i % 4 == 3 ? f.directory : f.path, i % 4 == 2 ? "" : kind, &count);
        while (i % 4 == 2 && strstr(names[at], kind) == NULL) {
            at++;
        }
        flip_somewhere(names[at], &prng);
        temp_list_free(names, count);
        (void)opens_complete(60); /* complete or refused; it fails the test otherwise */
    }
}

static void delete_wals(void)
{
    size_t count;
    char **names = temp_list(f.path, ".log", &count);

    for (size_t i = 0; i < count; i++) {
        assert_int_equal(unlink(names[i]), 0);
    }
    assert_true(count != 0);
    temp_list_free(names, count);
}

/* Goal: a deleted WAL, which RocksDB opens without a word, is refused; when the operator goes on
 * all the same, every group is marked, the mark lives until each is repaired, and numbers never go
 * back (LS-8). */
static void test_deleted_wal(void **state)
{
    struct node_log_write repair;
    uint64_t before = make_victim(20, 20);

    (void)state;
    restore_victim();
    delete_wals();
    for (int i = 0; i < 2; i++) {
        assert_int_equal(log_fixture_try_reopen(&f), FL_CORRUPT);
        assert_true(f.report.damaged && f.report.watermark == before + 20);
        assert_string_equal(f.why, f.report.why);
    }
    f.options.allow_damaged = true;
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    assert_true(f.report.damaged);
    assert_int_equal(f.report.damaged_group_count, GROUPS);
    f.options.allow_damaged = false;
    for (int i = 0; i < 2; i++) { /* known by now: no reason to refuse, but still damaged */
        log_fixture_shut(&f);
        assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
        assert_true(f.report.damaged && f.report.batch > before + 20);
        assert_int_equal(f.report.damaged_group_count, GROUPS);
        assert_non_null(strstr(f.report.why, "lost synced writes before"));
    }
    for (uint64_t g = 0; g < GROUPS; g++) {
        repair = log_write(g + 2, 1, 1, 0, 50, 30);
        repair.snapshot = true;
        repair.snap_index = 30;
        repair.snap_term = 40;
        repair.repaired = true;
        node_log_store_write(f.store, &repair, 1);
    }
    log_fixture_shut(&f);
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    assert_true(f.report.damaged); /* groups nobody knows of may be missing still */
    node_log_store_clear_damaged(f.store);
    log_fixture_reopen(&f);
    assert_int_equal(log_fixture_boot(&f, 2)->last, 30);
}

/* Goal: a store whose files are gone, or whose watermark is, is not taken for a new one. */
static void test_missing_parts(void **state)
{
    (void)state;
    (void)make_victim(20, 20);
    restore_victim();
    temp_erase(f.path);
    assert_int_equal(log_fixture_try_reopen(&f), FL_CORRUPT);
    assert_non_null(strstr(f.why, "has lost synced writes (it ends at batch 0"));
    restore_victim();
    temp_erase(temp_path(f.directory, "log.watermark"));
    assert_int_equal(log_fixture_try_reopen(&f), FL_CORRUPT);
    assert_non_null(
        strstr(f.why, "log.watermark is missing, so nobody knows what the log must hold"));
    assert_false(temp_exists(temp_path(f.directory, "log.watermark")));
    temp_file_write(temp_path(f.directory, "log.watermark"), "nonsense", 8);
    assert_int_equal(log_fixture_try_reopen(&f), FL_CORRUPT);
    assert_non_null(strstr(f.why, "log.watermark is unreadable"));
    f.options.allow_damaged = true;
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
    assert_true(f.report.damaged && f.report.damaged_group_count == GROUPS);
}

/* argv: "child", mode, path of the store, three numbers. */
static void run_as_child(char **argv)
{
    uint64_t a = strtoull(argv[3], NULL, 10);
    unsigned b = (unsigned)strtoul(argv[4], NULL, 10);

    fl_log_set_sink(quiet, NULL);
    log_fixture_attach(&f, argv[2]);
    if (strcmp(argv[1], "write") == 0) {
        child_write(a, b, (int)strtol(argv[5], NULL, 10));
    }
    child_check(a, b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_fsync_is_fatal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_tail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_on_the_runway, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flipped_bit_in_wal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flipped_bit_in_other_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_wal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_parts, setup, teardown),
    };

    if (argc == 6 && strcmp(argv[0], "child") == 0) {
        run_as_child(argv);
    }
    return cmocka_run_group_tests_name("log_crash", tests, NULL, NULL);
}
