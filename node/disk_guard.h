/* Refuses writes before the disk is full: RocksDB as built by Debian aborts when it meets ENOSPC
 * (LS-10).
 *
 * Owner:    the node; one guard for the data directory.
 * Lifetime: node_disk_guard_open to node_disk_guard_close.
 * Threads:  node_disk_guard_check and the getters from any thread; open and close from one.
 *
 *   free bytes   |<----- floor ----->|
 *   0 ......... floor/2 .......... floor ...... floor + floor/8 ...... floor + reserve + floor/8
 *     give the reserve   refuse       still refusing    accept again    take a reserve again
 *     file back
 *
 * The reserve file is space that nothing else can have taken when the worst comes: it is deleted
 * for the compactions, flushes and state records that must still go on while writes are refused. */
#ifndef NODE_DISK_GUARD_H
#define NODE_DISK_GUARD_H

#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_DISK_GUARD_RESERVE_BYTES (UINT64_C(64) * 1024 * 1024)
#define NODE_DISK_GUARD_PERIOD_MS     250 /* how long a look at the disk is believed */

struct node_disk_guard;

struct node_disk_guard_options {
    const char *directory;  /* on the disk to guard; holds the file RESERVE */
    uint64_t floor_bytes;   /* refuse when less than this is free */
    uint64_t reserve_bytes; /* 0: no reserve file */
    /* Free bytes for unprivileged users; NULL: statvfs of `directory`. Tests put a small disk here.
     */
    bool (*probe)(void *context, uint64_t *free_bytes);
    void *probe_context;
};

/* Looks at the disk and creates the reserve file if there is room. A disk below the floor is no
 * error here: the node starts and refuses writes. FL_IO with a sentence in `why`. */
FL_MUST_USE enum fl_status node_disk_guard_open(struct node_disk_guard **guard,
                                                const struct node_disk_guard_options *options,
                                                char *why,
                                                size_t why_bytes);
/* FL_OK, or FL_NO_SPACE: take no new data now. `now_ms` is node_clock_ms(). Two atomic loads in
 * between; once in NODE_DISK_GUARD_PERIOD_MS one caller looks at the disk. */
FL_MUST_USE enum fl_status node_disk_guard_check(struct node_disk_guard *guard, uint64_t now_ms);
/* Free bytes as last seen. */
uint64_t node_disk_guard_free_bytes(const struct node_disk_guard *guard);
/* True while the reserve file holds its space. */
bool node_disk_guard_has_reserve(const struct node_disk_guard *guard);
/* The reserve file stays. NULL is allowed. */
void node_disk_guard_close(struct node_disk_guard *guard);

#endif
