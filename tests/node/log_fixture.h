/* A log store under test: opening it again and again, and logs whose content is a function of
 * group, index and term, so that what is read can be checked without remembering it.
 *
 * Owner: the test. Lifetime: log_fixture_open to log_fixture_close. Threads: one. */
#ifndef TESTS_NODE_LOG_FIXTURE_H
#define TESTS_NODE_LOG_FIXTURE_H

#include "node/log_store.h"

struct log_fixture {
    char *directory; /* temporary */
    char path[4096]; /* of the store */
    struct node_log_store_options options;
    struct node_log_store *store; /* NULL: closed */
    struct node_log_report report;
    char why[512];
};

/* A new directory with an open, empty store. */
void log_fixture_open(struct log_fixture *f);
/* A fixture for the store at `path` that another process made; not open yet. */
void log_fixture_attach(struct log_fixture *f, const char *path);
/* Closes and removes everything. */
void log_fixture_close(struct log_fixture *f);
/* Opens what is on disk; the status is the test's to judge. */
enum fl_status log_fixture_try_reopen(struct log_fixture *f);
/* Closes and opens again; must succeed without damage. */
void log_fixture_reopen(struct log_fixture *f);
/* Closes the store only. */
void log_fixture_shut(struct log_fixture *f);
/* The boot of `group`, NULL when the report has none. */
const struct node_log_group_boot *log_fixture_boot(const struct log_fixture *f, uint64_t group);

/* The only RocksDB WAL file with content; free() it. */
char *log_fixture_wal(const struct log_fixture *f);

/* Creates a group with replica id 1 in term 1, returns its incarnation. */
uint64_t log_create_group(struct node_log_store *store, uint64_t group);
/* Payload bytes of an entry, 0..299. */
size_t log_payload_len(uint64_t group, raft_index index, raft_term term);
/* The entry itself; the caller releases the payload. CONF at every multiple of 7. */
struct node_log_entry log_entry(uint64_t group, raft_index index, raft_term term);
void log_assert_entry(const struct node_log_entry *entry,
                      uint64_t group,
                      raft_index index,
                      raft_term term);
/* Writes lo..hi of `term` in one synced turn, hard state {term, vote 1, commit}. */
void log_append(struct node_log_store *store,
                uint64_t group,
                uint64_t incarnation,
                raft_index lo,
                raft_index hi,
                raft_term term,
                raft_index commit);
/* Fills a write with entries lo..hi; release with log_write_release. */
struct node_log_write log_write(uint64_t group,
                                uint64_t incarnation,
                                raft_index lo,
                                raft_index hi,
                                raft_term term,
                                raft_index commit);
void log_write_release(struct node_log_write *write);
/* Reads lo..hi with all kinds of limits and compares with terms[index]. */
void log_assert_log(struct node_log_store *store,
                    uint64_t group,
                    uint64_t incarnation,
                    raft_index lo,
                    raft_index hi,
                    const raft_term *terms);

#endif
