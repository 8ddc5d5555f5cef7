/* The port between a hosted Raft group and the machine its entries drive.
 *
 * Owner: the node owns a machine it opened. Lifetime: a machine's own open to ops->close.
 * Threads: named at each operation. A group's entries are applied by one thread, in log order.
 *
 * Shards and the placement machine implement it; the node hosts both without knowing which.
 *
 *     apply thread      ops->apply(machine A, batch, ..)  ops->apply(machine B, batch, ..)  ..
 *                       shard_batch_commit(batch, false)            one batch, whole entries (D1)
 *                       raft_applied .. answer clients
 *     every so often    ops->checkpoint(each dirty machine, batch)  commit
 *                       note applied index of each; shard_engine_flush(engine, true)
 *                       FL_OK: these indexes are durable, the log may be cut there (D4) */
#ifndef SHARD_MACHINE_H
#define SHARD_MACHINE_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"
#include "shard/engine.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARD_CHUNK_BYTES_MAX ((size_t)256 * 1024) /* of one snapshot chunk, header included */

/* One committed entry. The caller fills the first part, the machine the second. */
struct shard_apply {
    uint64_t index;
    uint64_t term;
    uint8_t type;            /* enum raft_ent_type */
    bool want_result;        /* somebody waits for `result` */
    struct fl_bytes payload; /* NORMAL: command; CONF: shard/membership.h; may be empty */
    /* out */
    enum fl_status status; /* of the command; every status but FL_OK means nothing was changed, but
                            * for FL_UNKNOWN: a repetition whose first turn's answer is lost. CONF:
                            * FL_OK, or the change is void (RAFT_CONF_VOID) */
    uint64_t revision;     /* header.revision of the answer */
    struct fl_buf
        *result; /* encoded result; the caller releases it; NULL unless FL_OK and wanted */
};

/* What has been applied, committed batches and pending ones alike. */
struct shard_machine_status {
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t checkpoint_index; /* session records are in the engine as of this entry */
    bool dirty;                /* applied entries since the last checkpoint */
    uint64_t revision;         /* last revision used or skipped; 0 for the placement machine */
    uint64_t compact_revision;
    uint64_t mark; /* oracle's high-water mark */
    uint64_t live_keys;
    const struct raft_conf *conf; /* as of applied_index; n == 0: nothing known yet. Borrowed */
};

/* What a snapshot stands for. */
struct shard_snapshot_info {
    uint64_t index;
    uint64_t term;
    struct raft_conf conf;
};

struct shard_machine;
struct shard_snapshot;
struct shard_install;

struct shard_machine_ops {
    /* Apply thread. Applies `n` consecutive entries, the first at applied_index + 1: adds their
     * rows and the new applied state to `batch` (which needs an overlay) and fills in their
     * outcome. The caller commits. May commit the batch itself between two whole entries when it
     * grew large. A commit or read that fails leaves the engine stopped (shard_engine_fault): the
     * outcomes are then worthless and nobody may be answered (D8). */
    void (*apply)(struct shard_machine *machine,
                  struct shard_batch *batch,
                  struct shard_apply *entries,
                  size_t n);
    /* Before the first apply after opening: every entry of (checkpoint_index, applied_index] in
     * order (what is no longer in the log may be left out only from the front). Rebuilds session
     * records and nothing else. */
    void (*relearn)(struct shard_machine *machine, const struct shard_apply *entry);
    /* Apply thread. */
    void (*status)(const struct shard_machine *machine, struct shard_machine_status *status);
    /* Apply thread. Adds what lives only in memory, as of applied_index; clears `dirty`. */
    void (*checkpoint)(struct shard_machine *machine, struct shard_batch *batch);

    /* Apply thread. Checkpoints, commits `batch` with all that is pending in it, and pins the state
     * of that moment. FL_NOT_READY: the machine holds nothing yet. */
    enum fl_status (*snapshot_open)(struct shard_machine *machine,
                                    struct shard_batch *batch,
                                    struct shard_snapshot **snapshot,
                                    struct shard_snapshot_info *info);
    /* Any thread, one at a time, also after the machine is closed. Appends one chunk of at most
     * SHARD_CHUNK_BYTES_MAX to `chunk`; *last on the final one. FL_IO, FL_CORRUPT. */
    enum fl_status (*snapshot_next)(struct shard_snapshot *snapshot,
                                    struct fl_writer *chunk,
                                    bool *last);
    void (*snapshot_close)(struct shard_snapshot *snapshot);

    /* Any thread, one at a time; the machine is not touched. Staging goes into files below the
     * directory `dir`, which exists, is empty and is on the engine's file system. */
    enum fl_status (*install_begin)(struct shard_machine *machine,
                                    const char *dir,
                                    struct shard_install **install);
    /* One chunk, in order. FL_BAD_MESSAGE, FL_CORRUPT (checksum), FL_NEWER_FORMAT, FL_IO,
     * FL_NO_SPACE: abort. */
    enum fl_status (*install_chunk)(struct shard_install *install, struct fl_bytes chunk);
    /* After the last chunk: everything is here, verified and durable in `dir`. FL_TRUNCATED: not
     * yet the last one. */
    enum fl_status (*install_seal)(struct shard_install *install, struct shard_snapshot_info *info);
    /* Apply thread, nothing of this machine pending in any batch. Replaces the state of the machine
     * by the sealed snapshot in one durable step (D5); `install` is gone. An error stops the
     * engine. */
    enum fl_status (*install_finish)(struct shard_machine *machine, struct shard_install *install);
    /* Instead of finish; the files stay for the caller to remove. */
    void (*install_abort)(struct shard_install *install);

    /* Apply thread. Deletes every row of the replica; durable once `batch` is committed and the
     * engine flushed (D6). The machine is as if new. */
    void (*destroy)(struct shard_machine *machine, struct shard_batch *batch);
    /* Frees the memory; rows stay. */
    void (*close)(struct shard_machine *machine);
};

/* First member of every machine. */
struct shard_machine {
    const struct shard_machine_ops *ops;
};

#endif
