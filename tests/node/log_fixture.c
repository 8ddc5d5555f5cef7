/* A log store under test. */
#include "tests/node/log_fixture.h"

#include "raftgroup/base/alloc.h"
#include "tests/node/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static const uint8_t UUID[NODE_LOG_UUID_BYTES] = "0123456789abcde";

void log_fixture_attach(struct log_fixture *f, const char *path)
{
    *f = (struct log_fixture){0};
    (void)snprintf(f->path, sizeof(f->path), "%s", path);
    f->options.path = f->path;
    f->options.uuid = UUID;
    f->options.memtable_bytes = 8 * 1024 * 1024;
}

void log_fixture_open(struct log_fixture *f)
{
    char *directory = temp_dir_create();

    log_fixture_attach(f, temp_path(directory, "log"));
    f->directory = directory;
    assert_int_equal(log_fixture_try_reopen(f), FL_OK);
    assert_string_equal(f->report.why, "");
    assert_int_equal(f->report.group_count, 0);
}

void log_fixture_shut(struct log_fixture *f)
{
    node_log_store_close(f->store);
    f->store = NULL;
    node_log_report_close(&f->report);
}

void log_fixture_close(struct log_fixture *f)
{
    log_fixture_shut(f);
    temp_dir_remove(f->directory);
}

enum fl_status log_fixture_try_reopen(struct log_fixture *f)
{
    node_log_report_close(&f->report);
    f->why[0] = '\0';
    return node_log_store_open(&f->store, &f->options, &f->report, f->why, sizeof(f->why));
}

void log_fixture_reopen(struct log_fixture *f)
{
    log_fixture_shut(f);
    if (log_fixture_try_reopen(f) != FL_OK) {
        fail_msg("reopen: %s", f->why);
    }
    assert_string_equal(f->report.why, "");
    assert_false(f->report.damaged);
    assert_int_equal(f->report.damaged_group_count, 0);
}

const struct node_log_group_boot *log_fixture_boot(const struct log_fixture *f, uint64_t group)
{
    for (size_t i = 0; i < f->report.group_count; i++) {
        if (f->report.groups[i].group == group) {
            return &f->report.groups[i];
        }
    }
    return NULL;
}

char *log_fixture_wal(const struct log_fixture *f)
{
    size_t count;
    char **names = temp_list(f->path, ".log", &count);
    char *found = NULL;

    for (size_t i = 0; i < count; i++) {
        if (temp_file_size(names[i]) != 0) {
            assert_null(found);
            found = fl_xstrdup(names[i]);
        }
    }
    assert_non_null(found);
    temp_list_free(names, count);
    return found;
}

uint64_t log_create_group(struct node_log_store *store, uint64_t group)
{
    struct node_log_group_init init = {.group = group, .replica_id = 1, .term = 1};
    uint64_t incarnation = 0;

    assert_int_equal(node_log_store_create_group(store, &init, &incarnation), FL_OK);
    assert_true(incarnation != 0);
    return incarnation;
}

size_t log_payload_len(uint64_t group, raft_index index, raft_term term)
{
    return (size_t)((group * 131 + index * 37 + term * 17) % 300);
}

struct node_log_entry log_entry(uint64_t group, raft_index index, raft_term term)
{
    size_t len = log_payload_len(group, index, term);
    struct node_log_entry entry = {
        .term = term,
        .type = index % 7 == 0 ? RAFT_ENT_CONF : RAFT_ENT_NORMAL,
    };

    if (len != 0) {
        entry.payload = fl_buf_create(len);
        for (size_t i = 0; i < len; i++) {
            entry.payload->data[i] = (uint8_t)(group + index * 3 + term * 5 + i);
        }
    }
    return entry;
}

void log_assert_entry(const struct node_log_entry *entry,
                      uint64_t group,
                      raft_index index,
                      raft_term term)
{
    struct node_log_entry want = log_entry(group, index, term);

    assert_int_equal(entry->term, term);
    assert_int_equal(entry->type, want.type);
    assert_non_null(entry->payload);
    assert_int_equal(entry->payload->len, log_payload_len(group, index, term));
    if (want.payload != NULL) {
        assert_memory_equal(entry->payload->data, want.payload->data, want.payload->len);
    }
    fl_buf_release(want.payload);
}

struct node_log_write log_write(uint64_t group,
                                uint64_t incarnation,
                                raft_index lo,
                                raft_index hi,
                                raft_term term,
                                raft_index commit)
{
    struct node_log_write write = {
        .group = group,
        .incarnation = incarnation,
        .lo = lo,
        .hi = hi,
        .term = term,
        .vote = 1,
        .commit = commit,
        .must_sync = true,
    };

    if (lo <= hi) {
        struct node_log_entry *entries = fl_xcalloc((size_t)(hi - lo + 1), sizeof(*entries));

        for (raft_index i = lo; i <= hi; i++) {
            entries[i - lo] = log_entry(group, i, term);
        }
        write.entries = entries;
    }
    return write;
}

void log_write_release(struct node_log_write *write)
{
    for (raft_index i = write->lo; i <= write->hi && write->entries != NULL; i++) {
        fl_buf_release(write->entries[i - write->lo].payload);
    }
    free((void *)(uintptr_t)write->entries);
    write->entries = NULL;
}

void log_append(struct node_log_store *store,
                uint64_t group,
                uint64_t incarnation,
                raft_index lo,
                raft_index hi,
                raft_term term,
                raft_index commit)
{
    struct node_log_write write = log_write(group, incarnation, lo, hi, term, commit);

    node_log_store_write(store, &write, 1);
    log_write_release(&write);
}

/* Reads lo..hi in pieces of at most `max_bytes`. */
static void assert_pieces(struct node_log_store *store,
                          uint64_t group,
                          uint64_t incarnation,
                          raft_index lo,
                          raft_index hi,
                          uint64_t max_bytes,
                          const raft_term *terms)
{
    for (raft_index at = lo; at <= hi;) {
        struct node_log_read read;
        uint64_t bytes = 0;

        assert_int_equal(node_log_store_read(store, group, incarnation, at, hi, max_bytes, &read),
                         FL_OK);
        assert_true(read.lo == at && read.count != 0 && read.count <= hi - at + 1);
        for (size_t i = 0; i < read.count; i++) {
            log_assert_entry(&read.entries[i], group, at + i, terms[at + i]);
            bytes += read.entries[i].payload->len;
        }
        assert_true(bytes <= max_bytes || read.count == 1);
        at += read.count;
        /* It stopped for a reason: the end, or the next one does not fit. */
        assert_true(at > hi || bytes >= max_bytes ||
                    bytes + log_payload_len(group, at, terms[at]) > max_bytes);
        node_log_read_close(&read);
    }
}

void log_assert_log(struct node_log_store *store,
                    uint64_t group,
                    uint64_t incarnation,
                    raft_index lo,
                    raft_index hi,
                    const raft_term *terms)
{
    static const uint64_t LIMITS[] = {0, 500, 5000, UINT64_MAX};

    for (size_t i = 0; i < sizeof(LIMITS) / sizeof(LIMITS[0]); i++) {
        assert_pieces(store, group, incarnation, lo, hi, LIMITS[i], terms);
    }
}
