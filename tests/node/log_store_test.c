/* Goal: the log store keeps what it acknowledged, and only that, through conflicts, snapshots,
 * truncation, compaction, and the life and death of replicas (rules LS-1 .. LS-4, LS-11).
 * Method: each rule by itself, each state read back before and after closing and opening; then
 * random operations on several groups against a model in memory. */
#include "node/log_store.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"
#include "tests/node/log_fixture.h"
#include "tests/node/temp_dir.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct log_fixture f;

static int setup(void **state)
{
    (void)state;
    log_fixture_open(&f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_fixture_close(&f);
    return 0;
}

static enum fl_status
read_status(uint64_t group, uint64_t incarnation, raft_index lo, raft_index hi)
{
    struct node_log_read read;
    enum fl_status status = node_log_store_read(f.store, group, incarnation, lo, hi, 0, &read);

    node_log_read_close(&read);
    return status;
}

/* Goal: an empty group comes back as it was created, and reading from it says so. */
static void test_created_group_boots(void **state)
{
    struct node_log_group_init split = {
        .group = 9,
        .replica_id = 4,
        .term = 5,
        .vote = 0,
        .commit = 5,
        .truncated = 5,
        .truncated_term = 5,
    };
    uint64_t incarnation;
    const struct node_log_group_boot *boot;

    (void)state;
    assert_int_equal(log_create_group(f.store, 2), 1);
    assert_int_equal(node_log_store_create_group(f.store, &split, &incarnation), FL_OK);
    assert_int_equal(node_log_store_create_group(f.store, &split, &incarnation), FL_EXISTS);
    log_fixture_reopen(&f);
    assert_int_equal(f.report.group_count, 2);
    boot = log_fixture_boot(&f, 2);
    assert_true(boot->replica_id == 1 && boot->incarnation == 1 && boot->term == 1);
    assert_true(boot->last == 0 && boot->nruns == 0 && boot->nconf_at == 0 && !boot->damaged);
    boot = log_fixture_boot(&f, 9);
    assert_true(boot->replica_id == 4 && boot->term == 5 && boot->commit == 5 && boot->last == 5);
    assert_true(boot->last_term == 5 && boot->truncated == 5 && boot->truncated_term == 5);
    assert_int_equal(read_status(9, incarnation, 5, 6), FL_COMPACTED);
    assert_int_equal(read_status(9, incarnation, 6, 6), FL_NOT_FOUND);
    assert_int_equal(read_status(9, incarnation + 1, 6, 6), FL_NOT_FOUND);
    assert_int_equal(read_status(10, 1, 1, 1), FL_NOT_FOUND);
    log_append(f.store, 9, incarnation, 6, 8, 6, 6);
    log_fixture_reopen(&f);
    assert_int_equal(log_fixture_boot(&f, 9)->last, 8);
}

/* Goal: one write call makes the entries and votes of many groups durable in one batch (LS-1);
 * terms, runs and CONF positions come back. */
static void test_many_groups_in_one_batch(void **state)
{
    enum { GROUPS = 100 };
    struct node_log_write writes[GROUPS];
    struct node_log_stats before;
    struct node_log_stats after;
    raft_term terms[16];

    (void)state;
    for (uint64_t g = 0; g < GROUPS; g++) {
        (void)log_create_group(f.store, g + 2);
    }
    node_log_store_stats(f.store, &before);
    for (raft_term term = 1; term <= 3; term++) {
        for (uint64_t g = 0; g < GROUPS; g++) {
            writes[g] = log_write(g + 2, 1, term * 5 - 4, term * 5, term, term * 5 - 5);
            writes[g].vote = g + term;
        }
        node_log_store_write(f.store, writes, GROUPS);
        for (uint64_t g = 0; g < GROUPS; g++) {
            log_write_release(&writes[g]);
        }
    }
    node_log_store_stats(f.store, &after);
    assert_int_equal(after.batches - before.batches, 3);
    assert_int_equal(after.syncs - before.syncs, 3);
    assert_int_equal(after.entries - before.entries, 3 * 5 * GROUPS);
    assert_int_equal(node_log_store_busy_since_ns(f.store), 0);
    log_fixture_reopen(&f);
    assert_int_equal(f.report.entries, 15 * GROUPS);
    for (raft_index i = 1; i <= 15; i++) {
        terms[i] = (i + 4) / 5;
    }
    for (uint64_t g = 0; g < GROUPS; g++) {
        const struct node_log_group_boot *boot = log_fixture_boot(&f, g + 2);

        assert_true(boot->last == 15 && boot->last_term == 3 && boot->term == 3);
        assert_true(boot->vote == g + 3 && boot->commit == 10);
        assert_int_equal(boot->nruns, 3);
        for (uint32_t r = 0; r < 3; r++) {
            assert_true(boot->runs[r].first == r * 5 + 1 && boot->runs[r].term == r + 1);
        }
        assert_int_equal(boot->nconf_at, 2);
        assert_true(boot->conf_at[0] == 7 && boot->conf_at[1] == 14);
        assert_true(boot->bytes == node_log_store_group_bytes(f.store, g + 2));
        log_assert_log(f.store, g + 2, 1, 1, 15, terms);
    }
}

/* Goal: a conflict replaces the log from the cut on, in the middle of records too, and no old entry
 * shows through afterwards (LS-3). Method: records of 10, cut at every index, short and long
 * replacements. */
static void test_conflict_overwrites(void **state)
{
    raft_term terms[80];
    uint64_t group = 2;

    (void)state;
    for (raft_index cut = 1; cut <= 40; cut++) {
        for (raft_index more = 0; more <= 24; more += 12) {
            uint64_t incarnation = log_create_group(f.store, ++group);
            const struct node_log_group_boot *boot;

            for (raft_index lo = 1; lo <= 40; lo += 10) {
                log_append(f.store, group, incarnation, lo, lo + 9, 1, 0);
            }
            log_append(f.store, group, incarnation, cut, cut + more, 2, 0);
            log_append(f.store, group, incarnation, cut + more + 1, cut + more + 1, 3, 0);
            for (raft_index i = 1; i < 80; i++) {
                terms[i] = i < cut ? 1 : i <= cut + more ? 2 : 3;
            }
            log_assert_log(f.store, group, incarnation, 1, cut + more + 1, terms);
            assert_int_equal(read_status(group, incarnation, cut + more + 2, 80), FL_NOT_FOUND);
            if (cut % 10 == more % 10) {
                log_fixture_reopen(&f);
                boot = log_fixture_boot(&f, group);
                assert_true(boot->last == cut + more + 1 && boot->last_term == 3);
                log_assert_log(f.store, group, incarnation, 1, cut + more + 1, terms);
            }
        }
    }
}

/* Goal: several writes of one group in one call act in order, also when a later one cuts what an
 * earlier one put into the same batch; a cut alone shortens the log. */
static void test_conflict_inside_one_batch(void **state)
{
    uint64_t incarnation = log_create_group(f.store, 2);
    raft_term terms[32] = {0};
    struct node_log_write writes[5] = {
        log_write(2, incarnation, 1, 4, 1, 0),
        log_write(2, incarnation, 5, 8, 1, 0),
        log_write(2, incarnation, 9, 12, 1, 0),
        log_write(2, incarnation, 3, 4, 2, 0),
        log_write(2, incarnation, 5, 5, 3, 0),
    };

    (void)state;
    node_log_store_write(f.store, writes, 5);
    for (int i = 0; i < 5; i++) {
        log_write_release(&writes[i]);
    }
    terms[1] = terms[2] = 1;
    terms[3] = terms[4] = 2;
    terms[5] = 3;
    log_assert_log(f.store, 2, incarnation, 1, 5, terms);
    assert_int_equal(read_status(2, incarnation, 6, 6), FL_NOT_FOUND);
    writes[0] = log_write(2, incarnation, 1, 0, 3, 0);
    writes[0].trunc_from = 4;
    node_log_store_write(f.store, writes, 1);
    assert_int_equal(read_status(2, incarnation, 4, 4), FL_NOT_FOUND);
    log_fixture_reopen(&f);
    assert_true(log_fixture_boot(&f, 2)->last == 3 && log_fixture_boot(&f, 2)->last_term == 2);
    log_append(f.store, 2, incarnation, 4, 6, 4, 0);
    terms[4] = terms[5] = terms[6] = 4;
    log_assert_log(f.store, 2, incarnation, 1, 6, terms);
}

/* Goal: a snapshot marker empties the log, whether it lies inside, at the end of or behind the log,
 * and entries follow it. */
static void test_snapshot_replaces_log(void **state)
{
    static const raft_index SNAPS[] = {5, 15, 20, 21, 100};
    raft_term terms[128];

    (void)state;
    for (raft_index i = 0; i < 128; i++) {
        terms[i] = 7;
    }
    for (uint64_t s = 0; s < sizeof(SNAPS) / sizeof(SNAPS[0]); s++) {
        uint64_t group = s + 2;
        uint64_t incarnation = log_create_group(f.store, group);
        struct node_log_write write;
        const struct node_log_group_boot *boot;

        log_append(f.store, group, incarnation, 1, 10, 1, 0);
        log_append(f.store, group, incarnation, 11, 20, 1, 0);
        write = log_write(group, incarnation, SNAPS[s] + 1, SNAPS[s] + 3, 7, SNAPS[s] + 1);
        write.snapshot = true;
        write.snap_index = SNAPS[s];
        write.snap_term = 6;
        node_log_store_write(f.store, &write, 1);
        log_write_release(&write);
        log_assert_log(f.store, group, incarnation, SNAPS[s] + 1, SNAPS[s] + 3, terms);
        assert_int_equal(read_status(group, incarnation, SNAPS[s], 128), FL_COMPACTED);
        assert_int_equal(read_status(group, incarnation, SNAPS[s] + 4, 128), FL_NOT_FOUND);
        log_fixture_reopen(&f);
        boot = log_fixture_boot(&f, group);
        assert_true(boot->truncated == SNAPS[s] && boot->truncated_term == 6);
        assert_true(boot->last == SNAPS[s] + 3 && boot->last_term == 7 && boot->nruns == 1);
        assert_true(boot->runs[0].first == SNAPS[s] + 1);
        log_assert_log(f.store, group, incarnation, SNAPS[s] + 1, SNAPS[s] + 3, terms);
    }
}

/* Goal: truncation rides in the next write, is dropped by compaction only once it is synced (LS-4),
 * and everything live stays. Method: 40 records of 10 entries; compaction after each step. */
static void test_truncation_and_compaction(void **state)
{
    uint64_t incarnation = log_create_group(f.store, 2);
    uint64_t other = log_create_group(f.store, 3);
    raft_term terms[401];
    struct node_log_write lazy;
    struct node_log_stats stats;

    (void)state;
    for (raft_index i = 0; i <= 400; i++) {
        terms[i] = 1;
    }
    for (raft_index lo = 1; lo <= 400; lo += 10) {
        log_append(f.store, 2, incarnation, lo, lo + 9, 1, lo + 9);
        log_append(f.store, 3, other, lo, lo + 9, 1, 0);
    }
    node_log_store_truncate(f.store, 2, 205);
    node_log_store_truncate(f.store, 2, 100); /* older news */
    node_log_store_truncate(f.store, 77, 5);  /* no such group */
    node_log_store_compact(f.store);
    node_log_store_stats(f.store, &stats);
    assert_int_equal(stats.dropped, 0);
    log_assert_log(f.store, 2, incarnation, 1, 400, terms);
    lazy = log_write(3, other, 1, 0, 1, 5); /* another group's, without fsync */
    lazy.must_sync = false;
    node_log_store_write(f.store, &lazy, 1);
    assert_int_equal(read_status(2, incarnation, 205, 400), FL_COMPACTED);
    node_log_store_compact(f.store);
    node_log_store_stats(f.store, &stats);
    assert_int_equal(stats.dropped, 0); /* written, but not known to be on disk */
    log_append(f.store, 3, other, 401, 401, 1, 0);
    node_log_store_compact(f.store);
    node_log_store_stats(f.store, &stats);
    assert_int_equal(stats.dropped, 20); /* 1..200; the record 201..210 still holds live entries */
    log_assert_log(f.store, 2, incarnation, 206, 400, terms);
    log_fixture_reopen(&f);
    assert_true(log_fixture_boot(&f, 2)->truncated == 205);
    assert_true(log_fixture_boot(&f, 2)->truncated_term == 1);
    assert_true(log_fixture_boot(&f, 2)->runs[0].first == 206);
    log_assert_log(f.store, 2, incarnation, 206, 400, terms);
    log_assert_log(f.store, 3, other, 1, 400, terms);
    node_log_store_truncate(f.store, 2, 400);
    log_append(f.store, 3, other, 402, 402, 1, 0);
    node_log_store_compact(f.store);
    assert_int_equal(node_log_store_group_bytes(f.store, 2), 0);
    log_fixture_reopen(&f);
    assert_true(log_fixture_boot(&f, 2)->last == 400 && log_fixture_boot(&f, 2)->nruns == 0);
    log_append(f.store, 2, incarnation, 401, 401, 2, 400);
    log_fixture_reopen(&f);
}

/* Goal: a truncation that compaction has acted on survives a crash without close. Method: what a
 * crash would leave is copied right after the compaction and opened. */
static void test_truncation_survives_crash(void **state)
{
    uint64_t incarnation = log_create_group(f.store, 2);
    struct node_log_store_options copy_options = f.options;
    struct node_log_store *copy;
    struct node_log_report report;
    char why[512] = "";
    const char *path = temp_path(f.directory, "copy");

    (void)state;
    for (raft_index lo = 1; lo <= 400; lo += 10) {
        log_append(f.store, 2, incarnation, lo, lo + 9, 1, lo + 9);
    }
    node_log_store_truncate(f.store, 2, 300);
    log_append(f.store, 2, incarnation, 401, 401, 1, 400);
    node_log_store_compact(f.store);
    temp_copy(f.path, path);
    temp_copy_file(temp_path(f.directory, "log.watermark"),
                   temp_path(f.directory, "copy.watermark"));
    copy_options.path = path;
    assert_int_equal(node_log_store_open(&copy, &copy_options, &report, why, sizeof(why)), FL_OK);
    assert_int_equal(report.groups[0].truncated, 300);
    assert_int_equal(report.groups[0].last, 401);
    node_log_store_close(copy);
    node_log_report_close(&report);
}

/* Goal: bytes kept follow appends, truncation and cuts to within a mark (64 KiB) and a record. */
static void test_bytes_kept(void **state)
{
    enum { MARK = 64 * 1024 };
    uint64_t incarnation = log_create_group(f.store, 2);
    uint64_t bytes = 0;
    raft_index last = 0;

    (void)state;
    while (last < 4000) {
        log_append(f.store, 2, incarnation, last + 1, last + 20, 1, last);
        last += 20;
    }
    for (raft_index i = 1; i <= last; i++) {
        bytes += log_payload_len(2, i, 1) + 20;
    }
    assert_in_range(node_log_store_group_bytes(f.store, 2), bytes, bytes + MARK);
    node_log_store_truncate(f.store, 2, 3000);
    log_append(f.store, 2, incarnation, last + 1, last + 1, 1, last);
    for (raft_index i = 1; i <= 3000; i++) {
        bytes -= log_payload_len(2, i, 1) + 20;
    }
    assert_in_range(node_log_store_group_bytes(f.store, 2), bytes, bytes + MARK);
    log_append(f.store, 2, incarnation, 3002, 3002, 2, 3000);
    assert_in_range(node_log_store_group_bytes(f.store, 2), 0, MARK);
    log_fixture_reopen(&f);
    assert_in_range(node_log_store_group_bytes(f.store, 2), 1, 1000);
    assert_int_equal(node_log_store_group_bytes(f.store, 99), 0);
}

/* Goal: a destroyed replica stays dead: its id is refused, its writes are ignored, a successor sees
 * none of its entries, and compaction takes them away. */
static void test_destroy_and_create_again(void **state)
{
    uint64_t incarnation = log_create_group(f.store, 2);
    struct node_log_group_init init = {.group = 2, .replica_id = 1, .term = 1};
    struct node_log_stats stats;
    raft_term terms[32];
    uint64_t next;
    uint64_t second;

    (void)state;
    log_append(f.store, 2, incarnation, 1, 20, 1, 0);
    node_log_store_truncate(f.store, 2, 10);
    node_log_store_destroy_group(f.store, 2, 5);
    log_append(f.store, 2, incarnation, 21, 22, 1, 0); /* was on its way */
    node_log_store_stats(f.store, &stats);
    assert_int_equal(stats.stale_writes, 1);
    for (int round = 0; round < 2; round++) {
        assert_null(log_fixture_boot(&f, 2));
        assert_int_equal(node_log_store_tombstone(f.store, 2, &next), FL_OK);
        assert_int_equal(next, 5);
        assert_int_equal(read_status(2, incarnation, 1, 1), FL_NOT_FOUND);
        init.replica_id = 4;
        assert_int_equal(node_log_store_create_group(f.store, &init, &second), FL_STALE);
        log_fixture_reopen(&f);
    }
    init.replica_id = 5;
    assert_int_equal(node_log_store_create_group(f.store, &init, &second), FL_OK);
    assert_true(second > incarnation);
    assert_int_equal(node_log_store_tombstone(f.store, 2, &next), FL_OK);
    assert_int_equal(next, 0);
    assert_int_equal(read_status(2, second, 1, 1), FL_NOT_FOUND);
    log_append(f.store, 2, incarnation, 1, 3, 9, 0); /* still on its way */
    assert_int_equal(read_status(2, second, 1, 1), FL_NOT_FOUND);
    log_append(f.store, 2, second, 1, 5, 2, 0);
    node_log_store_compact(f.store);
    node_log_store_stats(f.store, &stats);
    assert_int_equal(stats.dropped, 1);
    for (raft_index i = 0; i < 32; i++) {
        terms[i] = 2;
    }
    log_assert_log(f.store, 2, second, 1, 5, terms);
    node_log_store_destroy_group(f.store, 2, 0); /* the one that lived here is excluded anyhow */
    assert_int_equal(node_log_store_tombstone(f.store, 2, &next), FL_OK);
    assert_int_equal(next, 6);
    node_log_store_destroy_group(f.store, 40, 3); /* never was here */
    assert_int_equal(node_log_store_tombstone(f.store, 40, &next), FL_OK);
    assert_int_equal(next, 3);
    log_fixture_reopen(&f);
    assert_int_equal(f.report.group_count, 0);
}

static void collect(void *context, uint64_t group, uint8_t kind, struct fl_bytes body)
{
    struct fl_writer *out = context;

    fl_write_u8(out, (uint8_t)group);
    fl_write_u8(out, kind);
    fl_write_raw(out, body);
}

/* Goal: intents and identity rows are durable, listed in order, replaced and dropped. */
static void test_small_rows(void **state)
{
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    node_log_store_put_intent(f.store, 3, 1, fl_bytes_of_string("cc"));
    node_log_store_put_intent(f.store, 2, 2, fl_bytes_of_string("bb"));
    node_log_store_put_intent(f.store, 2, 1, fl_bytes_of_string("xx"));
    node_log_store_put_intent(f.store, 2, 1, fl_bytes_of_string("aa"));
    log_fixture_reopen(&f);
    assert_int_equal(node_log_store_each_intent(f.store, collect, &w), FL_OK);
    assert_true(fl_bytes_equal(fl_writer_bytes(&w), fl_bytes("\2\1aa\2\2bb\3\1cc", 12)));
    node_log_store_drop_intent(f.store, 2, 2);
    node_log_store_drop_intent(f.store, 9, 9); /* was not there */
    log_fixture_reopen(&f);
    fl_writer_reset(&w);
    assert_int_equal(node_log_store_each_intent(f.store, collect, &w), FL_OK);
    assert_true(fl_bytes_equal(fl_writer_bytes(&w), fl_bytes("\2\1aa\3\1cc", 8)));
    fl_writer_reset(&w);
    assert_int_equal(node_log_store_get_identity(f.store, "seeds", &w), FL_NOT_FOUND);
    node_log_store_put_identity(f.store, "seeds", fl_bytes_of_string("one"));
    node_log_store_put_identity(f.store, "seeds", fl_bytes_of_string("two"));
    log_fixture_reopen(&f);
    assert_int_equal(node_log_store_get_identity(f.store, "seeds", &w), FL_OK);
    assert_true(fl_bytes_equal(fl_writer_bytes(&w), fl_bytes_of_string("two")));
    fl_writer_close(&w);
}

/* Goal: the log of one data directory is refused in another. */
static void test_foreign_log_is_refused(void **state)
{
    static const uint8_t OTHER[NODE_LOG_UUID_BYTES] = "other";

    (void)state;
    log_fixture_shut(&f);
    f.options.uuid = OTHER;
    assert_int_equal(log_fixture_try_reopen(&f), FL_REFUSED);
    assert_non_null(strstr(f.why,
                           "belongs to another data directory: put back the one that was "
                           "there before"));
    f.options.uuid = NULL; /* not asked */
    assert_int_equal(log_fixture_try_reopen(&f), FL_OK);
}

/* Goal: a payload larger than a record's target, and a turn larger than it, are split and come
 * back. */
static void test_large_entries(void **state)
{
    enum { N = 40, LEN = 300 * 1024 };
    uint64_t incarnation = log_create_group(f.store, 2);
    struct node_log_entry entries[N];
    struct node_log_write write = log_write(2, incarnation, 1, 0, 1, 0);
    struct node_log_read read;

    (void)state;
    for (unsigned i = 0; i < N; i++) {
        entries[i] = (struct node_log_entry){
            .term = 1,
            .payload = fl_buf_create(i == 7 ? 1600 * 1024 : LEN),
        };
        memset(entries[i].payload->data, (int)i, entries[i].payload->len);
    }
    write.lo = 1;
    write.hi = N;
    write.entries = entries;
    node_log_store_write(f.store, &write, 1);
    log_fixture_reopen(&f);
    assert_int_equal(log_fixture_boot(&f, 2)->last, N);
    for (raft_index at = 1; at <= N;) {
        size_t want = at == 8 ? 1 : at < 8 ? 8 - at : N + 1 - at;

        assert_int_equal(node_log_store_read(f.store, 2, incarnation, at, N, 1024 * 1024, &read),
                         FL_OK);
        assert_int_equal(read.count, want < 3 ? want : 3);
        for (size_t i = 0; i < read.count; i++) {
            assert_memory_equal(read.entries[i].payload->data,
                                entries[at - 1 + i].payload->data,
                                entries[at - 1 + i].payload->len);
        }
        at += read.count;
        node_log_read_close(&read);
    }
    for (unsigned i = 0; i < N; i++) {
        fl_buf_release(entries[i].payload);
    }
}

/* --- random operations against a model -------------------------------------------------------- */

enum { MODEL_GROUPS = 6, MODEL_ENTRIES = 3000 };

struct model_group {
    uint64_t id;
    uint64_t incarnation; /* 0: not alive */
    uint64_t replica_id;
    raft_index truncated;
    raft_term truncated_term;
    raft_index last;
    raft_term term;
    raft_id vote;
    raft_term terms[MODEL_ENTRIES];
};

static void model_assert(struct model_group *m)
{
    const struct node_log_group_boot *boot = log_fixture_boot(&f, m->id);
    size_t runs = 0;

    if (m->incarnation == 0) {
        assert_null(boot);
        return;
    }
    assert_true(boot->incarnation == m->incarnation && boot->replica_id == m->replica_id);
    assert_true(boot->term == m->term && boot->vote == m->vote && boot->last == m->last);
    assert_true(boot->truncated == m->truncated && boot->truncated_term == m->truncated_term);
    for (raft_index i = m->truncated + 1; i <= m->last; i++) {
        if (i == m->truncated + 1 || m->terms[i] != m->terms[i - 1]) {
            assert_true(boot->runs[runs].first == i && boot->runs[runs].term == m->terms[i]);
            runs++;
        }
    }
    assert_int_equal(boot->nruns, runs);
    if (m->truncated < m->last) {
        log_assert_log(f.store, m->id, m->incarnation, m->truncated + 1, m->last, m->terms);
    }
    if (m->truncated > 0) {
        assert_int_equal(read_status(m->id, m->incarnation, m->truncated, m->last + 1),
                         FL_COMPACTED);
    }
    assert_int_equal(read_status(m->id, m->incarnation, m->last + 1, m->last + 1), FL_NOT_FOUND);
}

static void model_append(struct model_group *m, struct fl_prng *prng, bool conflict)
{
    raft_index lo = m->last + 1;
    raft_index hi;

    if (conflict && m->last > m->truncated) {
        lo = m->truncated + 1 + fl_prng_below(prng, m->last - m->truncated);
    }
    if (conflict || fl_prng_below(prng, 8) == 0) {
        m->term++;
        m->vote = 1;
    }
    hi = lo + fl_prng_below(prng, 12);
    for (raft_index i = lo; i <= hi; i++) {
        m->terms[i] = m->term;
    }
    m->last = hi;
    m->vote = 1;
    log_append(f.store, m->id, m->incarnation, lo, hi, m->term, m->truncated);
}

static void model_snapshot(struct model_group *m, struct fl_prng *prng)
{
    struct node_log_write write = log_write(m->id, m->incarnation, 1, 0, ++m->term, 0);
    raft_index at = m->truncated + fl_prng_below(prng, m->last - m->truncated + 20);

    write.snapshot = true;
    write.snap_index = at;
    write.snap_term = m->term - 1 > m->truncated_term ? m->term - 1 : m->truncated_term;
    node_log_store_write(f.store, &write, 1);
    m->vote = 1;
    m->truncated = m->last = at;
    m->truncated_term = write.snap_term;
}

/* Takes effect with the next write, so one follows at once. */
static void model_truncate(struct model_group *m, struct fl_prng *prng)
{
    raft_index at = m->truncated + fl_prng_below(prng, m->last - m->truncated + 1);

    node_log_store_truncate(f.store, m->id, at);
    if (at > m->truncated) {
        m->truncated_term = m->terms[at];
        m->truncated = at;
    }
    model_append(m, prng, false);
}

static void model_life(struct model_group *m)
{
    struct node_log_group_init init = {.group = m->id, .replica_id = ++m->replica_id, .term = 1};

    if (m->incarnation != 0) {
        node_log_store_destroy_group(f.store, m->id, m->replica_id);
        m->incarnation = 0;
        return;
    }
    assert_int_equal(node_log_store_create_group(f.store, &init, &m->incarnation), FL_OK);
    m->truncated = m->last = 0;
    m->truncated_term = 0;
    m->vote = 0;
    m->term = 1;
}

static void model_step(struct model_group *m, struct fl_prng *prng)
{
    uint64_t what = fl_prng_below(prng, 100);

    if (m->incarnation == 0 || what == 0 || m->last + 40 > MODEL_ENTRIES) {
        model_life(m);
    } else if (what < 3) {
        model_snapshot(m, prng);
    } else if (what < 20) {
        model_append(m, prng, true);
    } else if (what < 30) {
        model_truncate(m, prng);
    } else {
        model_append(m, prng, false);
    }
}

/* Goal: whatever happens to several groups in whatever order, with compactions and restarts in
 * between, the store holds what the model holds. */
static void test_random_model(void **state)
{
    struct model_group *groups = fl_xcalloc(MODEL_GROUPS, sizeof(*groups));
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 20261120);
    for (uint64_t i = 0; i < MODEL_GROUPS; i++) {
        groups[i].id = i + 2;
    }
    for (int step = 1; step <= 3000; step++) {
        model_step(&groups[fl_prng_below(&prng, MODEL_GROUPS)], &prng);
        if (step % 200 == 0) {
            if (step % 400 == 0) {
                node_log_store_compact(f.store);
            }
            log_fixture_reopen(&f);
            for (size_t i = 0; i < MODEL_GROUPS; i++) {
                model_assert(&groups[i]);
            }
        }
    }
    free(groups);
}

/* --- readers beside the writer ---------------------------------------------------------------- */

struct reader {
    pthread_t thread;
    uint64_t incarnation;
    _Atomic raft_index last;      /* written */
    _Atomic raft_index truncated; /* asked for */
    atomic_bool stop;
    atomic_ulong reads;
};

/* Every read must give a contiguous piece of correct entries, or say that it came too late. */
static void *read_all_the_time(void *arg)
{
    struct reader *reader = arg;
    struct fl_prng prng;

    fl_prng_seed(&prng, 5);
    while (!atomic_load(&reader->stop)) {
        raft_index low = atomic_load(&reader->truncated) + 1;
        raft_index last = atomic_load(&reader->last);
        raft_index lo = low + fl_prng_below(&prng, last - low + 1);
        struct node_log_read read;
        enum fl_status status =
            node_log_store_read(f.store, 2, reader->incarnation, lo, lo + 50, 4000, &read);

        if (status == FL_COMPACTED) {
            assert_true(lo <= atomic_load(&reader->truncated));
            continue;
        }
        assert_int_equal(status, FL_OK);
        for (size_t i = 0; i < read.count; i++) {
            log_assert_entry(&read.entries[i], 2, lo + i, 1);
        }
        node_log_read_close(&read);
        atomic_fetch_add(&reader->reads, 1);
        assert_true(node_log_store_group_bytes(f.store, 2) > 0);
    }
    return NULL;
}

/* Goal: reading is safe against writing, truncation and compaction on other threads. */
static void test_readers_beside_the_writer(void **state)
{
    struct reader reader = {.incarnation = log_create_group(f.store, 2)};
    raft_index last = 0;

    (void)state;
    log_append(f.store, 2, reader.incarnation, 1, 20, 1, 0);
    atomic_store(&reader.last, last = 20);
    assert_int_equal(pthread_create(&reader.thread, NULL, read_all_the_time, &reader), 0);
    while (last < 6000 || atomic_load(&reader.reads) < 500) {
        log_append(f.store, 2, reader.incarnation, last + 1, last + 10, 1, last);
        atomic_store(&reader.last, last += 10);
        if (last % 500 == 0) {
            atomic_store(&reader.truncated, last - 100);
            node_log_store_truncate(f.store, 2, last - 100);
        }
        if (last % 2000 == 0) {
            node_log_store_compact(f.store);
        }
        node_log_store_persist_watermark(f.store);
    }
    atomic_store(&reader.stop, true);
    assert_int_equal(pthread_join(reader.thread, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_created_group_boots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_groups_in_one_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict_overwrites, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict_inside_one_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_replaces_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncation_and_compaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncation_survives_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bytes_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_destroy_and_create_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_small_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_log_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readers_beside_the_writer, setup, teardown),
    };

    return cmocka_run_group_tests_name("log_store", tests, NULL, NULL);
}
