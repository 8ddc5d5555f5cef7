/* The write-ahead log's file: zeros ahead of its end while it is written, its end found again after
 * a crash.
 *
 * A sync of a file that grows waits for two writes, the data's and that of its new size; over
 * blocks that are there already for one (ext4 on this machine: 83 us of CPU and 210 us of waiting
 * against 46 and 135). So zeros are written ahead, half a runway at a time. The library's reader
 * takes them for the end, and its writer cuts a log that it closes.
 *
 * Owner: the engine. Lifetime: of the open engine. Threads: none inside; the engine has one writer
 * when it has a runway. */
#ifndef SHARD_ENGINE_WAL_H
#define SHARD_ENGINE_WAL_H

#include "raftgroup/base/status.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct shard_runway {
    char *directory;  /* of the logs; NULL: no runway */
    size_t bytes;     /* at most this far ahead, at least half of it */
    int file;         /* the library's open log, shared with it; -1: none yet */
    off_t at;         /* where the log ended when last looked at */
    off_t end;        /* where the zeros end */
    atomic_bool busy; /* between begin and extend */
};

/* `bytes` 0: none. */
void shard_runway_init(struct shard_runway *runway, const char *directory, size_t bytes);
void shard_runway_close(struct shard_runway *runway);
/* Before every batch written: asserts that no other is being written, on which zeros could fall. */
void shard_runway_begin(struct shard_runway *runway);
/* After it: sees to it that zeros lie ahead. */
void shard_runway_extend(struct shard_runway *runway);

/* Before the engine opens `directory`: cuts what lies behind the last whole record of every log
 * there, if it is a runway or, with `torn`, a record of which some sectors never reached the disk
 * and that nothing follows. FL_CORRUPT: a record is damaged that was whole once, or others follow
 * it. FL_IO. `why` gets a sentence. Does nothing while another process has the engine open. */
FL_MUST_USE enum fl_status
shard_wal_settle(const char *directory, bool torn, char *why, size_t why_bytes);

#endif
