/* The synced watermark: the newest batch of the log store that is known to be on disk, kept in a
 * small file of its own, because RocksDB cannot tell a torn tail from rotten synced data (LS-7).
 *
 * Owner:    the log store. Lifetime: node_watermark_open to node_watermark_close.
 * Threads:  node_watermark_raise on the thread that synced; node_watermark_persist and
 *           node_watermark_mark_damaged on any thread, one after the other under a lock inside.
 *
 * The file holds two copies, written in turn, each in a page of its own (0 and 4096):
 *   off  size  field
 *   0    4     magic "FLwm"
 *   4    1     format = 1
 *   5    1     flags (1 = the store has lost synced data and goes on without it)
 *   6    2     zero
 *   8    8     generation; the copy with the highest one counts
 *   16   8     watermark: number of the newest batch known synced
 *   24   4     CRC32C of bytes 0..23 */
#ifndef NODE_WATERMARK_H
#define NODE_WATERMARK_H

#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct node_watermark;

/* Opens the file at `path`; `create`: makes it, durably and with watermark 0, when it is not there.
 * On failure *watermark is NULL and `why` holds one sentence: FL_NOT_FOUND, FL_CORRUPT (neither
 * copy is readable), FL_NEWER_FORMAT, FL_IO. */
FL_MUST_USE enum fl_status node_watermark_open(struct node_watermark **watermark,
                                               const char *path,
                                               bool create,
                                               char *why,
                                               size_t why_bytes);
/* Replaces a missing or unreadable file by one with watermark 0 that is marked damaged. FL_IO. */
FL_MUST_USE enum fl_status node_watermark_replace(struct node_watermark **watermark,
                                                  const char *path,
                                                  char *why,
                                                  size_t why_bytes);
/* The value found at open or persisted since. */
uint64_t node_watermark_durable(const struct node_watermark *watermark);
/* True from node_watermark_mark_damaged on, across restarts, until node_watermark_clear_damaged. */
bool node_watermark_is_damaged(const struct node_watermark *watermark);
/* Notes in memory that batch `value` is synced; lower values than before are ignored. */
void node_watermark_raise(struct node_watermark *watermark, uint64_t value);
/* Writes the noted value and syncs it; nothing to do when it is durable already. Takes one fsync:
 * never call it on the write path. A failed write or fsync is fl_fatal (LS-9). */
void node_watermark_persist(struct node_watermark *watermark);
/* Makes the damaged mark durable before anything else happens to the store. */
void node_watermark_mark_damaged(struct node_watermark *watermark);
/* Takes the mark away, durably. */
void node_watermark_clear_damaged(struct node_watermark *watermark);
/* Persists what is noted, in both copies, and closes. NULL is allowed. */
void node_watermark_close(struct node_watermark *watermark);

#endif
