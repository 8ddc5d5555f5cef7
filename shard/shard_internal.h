/* What the files of the shard share: its struct and the verbs between them.
 *
 * Owner: the folder. Lifetime: of the shard. Threads: the apply thread's, unless said otherwise. */
#ifndef SHARD_SHARD_INTERNAL_H
#define SHARD_SHARD_INTERNAL_H

#include "shard/command.h"
#include "shard/engine.h"
#include "shard/machine.h"
#include "shard/range.h"
#include "shard/read.h"
#include "shard/result.h"
#include "shard/session.h"
#include "shard/shard.h"
#include "shard/shard_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shard {
    struct shard_machine machine;
    struct shard_engine *engine;
    struct shard_gc *gc;
    uint64_t group_id;
    struct shard_state state; /* as of the last entry applied, pending batches included */
    struct shard_range range;
    struct shard_sessions sessions;
    uint64_t checkpoint_index; /* state.applied_index when the session row was written */
    bool dirty;                /* state.applied_index > checkpoint_index, or records relearned */
    bool range_changed;        /* the descriptor's row is to be written */
    /* scratch, kept between entries */
    struct fl_writer key;
    struct fl_writer history_key;
    struct fl_writer head;
    struct fl_writer copy;
    struct shard_result_writer result;
    void *txn_memory;
    size_t txn_memory_bytes;
};

/* ---- reading rows (mvcc_read.c); any thread ---- */

/* Where rows are read from: a batch with the engine below it, or the engine alone. */
struct shard__source {
    struct shard_engine *engine;
    const struct shard_engine_snapshot *snapshot; /* NULL: newest */
    struct shard_batch *batch;                    /* NULL: no pending writes */
};

/* [start, end) in user keys; an empty `end`: no upper end. */
struct shard__interval {
    struct fl_bytes start;
    struct fl_bytes end;
};

/* One visible version, in key order; slices are borrowed for the call. False stops the walk. */
typedef bool shard__visit_fn(void *context, const struct shard_kv *kv);

/* The current version of a key: FL_OK with `row` to be released and `kv` borrowed from it (and from
 * `key`), FL_NOT_FOUND, FL_IO, FL_CORRUPT. `scratch` is overwritten. */
FL_MUST_USE enum fl_status shard__get_current(const struct shard__source *source,
                                              struct fl_writer *scratch,
                                              struct fl_bytes key,
                                              struct shard_value *row,
                                              struct shard_kv *kv);
/* Visits what is visible in the interval at `revision` (0: newest). FL_OK also when stopped. */
FL_MUST_USE enum fl_status shard__walk(const struct shard__source *source,
                                       const struct shard__interval *interval,
                                       uint64_t revision,
                                       shard__visit_fn *visit,
                                       void *context);
/* The interval of a request within the range [start, end). */
struct shard__interval shard__clip(struct fl_bytes key,
                                   struct fl_bytes request_end,
                                   struct fl_bytes start,
                                   struct fl_bytes end,
                                   struct fl_writer *scratch);
/* When a range is read, and what is known of it. */
struct shard__when {
    uint64_t revision;     /* 0: newest */
    uint64_t header;       /* header.revision of the answer */
    const uint64_t *total; /* keys of the interval, if known beforehand; NULL */
};

/* Writes the answer to `read` as one RANGE result. FL_TOO_LARGE beyond w->bytes_max. */
FL_MUST_USE enum fl_status shard__range(const struct shard__source *source,
                                        const struct shard__interval *interval,
                                        const struct shard_read *read,
                                        const struct shard__when *when,
                                        struct shard_result_writer *w);

/* ---- one command being applied (mvcc_write.c) ---- */

/* The revision rule in one place: every write of a command gets `revision`; the shard's last
 * becomes it when something was written. */
struct shard__write {
    struct shard *shard;
    struct shard_batch *batch;
    struct shard__source source; /* batch and engine */
    uint64_t revision;           /* that writes of this command get; > state.last_revision */
    bool wrote;
    bool build; /* a result is wanted; given up beyond shard->result.bytes_max */
};

/* Header revision of an answer given now. */
uint64_t shard__revision(const struct shard__write *write);
/* Adds to the result unless it is not wanted (any more). */
bool shard__building(struct shard__write *write);

/* May this be applied? To be asked before anything of the command is written. FL_KEY_NOT_FOUND,
 * FL_LEASE_NOT_FOUND, FL_CROSS_RANGE; FL_IO, FL_CORRUPT. */
FL_MUST_USE enum fl_status shard__put_check(struct shard__write *write,
                                            const struct shard_put *put);
FL_MUST_USE enum fl_status shard__delete_check(const struct shard__write *write,
                                               const struct shard_delete *del);
/* Applies it. `emit`: a PUT result with the previous pair, if asked for, is written. Fails only
 * with FL_IO or FL_CORRUPT: the engine is to be stopped. */
FL_MUST_USE enum fl_status
shard__put(struct shard__write *write, const struct shard_put *put, bool emit);
/* Deletes a key or interval, *deleted of them. As above. */
FL_MUST_USE enum fl_status shard__delete(struct shard__write *write,
                                         const struct shard_delete *del,
                                         bool emit,
                                         uint64_t *deleted);

/* FL_COMPACTED, FL_FUTURE_REVISION (mvcc_compact.c). */
FL_MUST_USE enum fl_status shard__compact(struct shard *shard, uint64_t revision, bool force);

/* ---- rows of the group (shard.c) ---- */

/* The 'a' row of a group: FL_OK, FL_NOT_FOUND, FL_CORRUPT, FL_NEWER_FORMAT, FL_IO. */
FL_MUST_USE enum fl_status shard__read_state(struct shard_engine *engine,
                                             const struct shard_engine_snapshot *snapshot,
                                             uint64_t group_id,
                                             struct shard_state *state);
/* Loads state, descriptor and sessions from the engine into a shard with none in memory. FL_OK also
 * when there are no rows at all. */
FL_MUST_USE enum fl_status shard__load(struct shard *shard);
/* Forgets state, descriptor and sessions. */
void shard__unload(struct shard *shard);
/* Adds the rows that hold them to a batch. */
void shard__write_state(struct shard *shard, struct shard_batch *batch);
void shard__checkpoint(struct shard *shard, struct shard_batch *batch);

/* ---- snapshots (snapshot.c); machine.h says what they do ---- */

enum fl_status shard__snapshot_open(struct shard_machine *machine,
                                    struct shard_batch *batch,
                                    struct shard_snapshot **snapshot,
                                    struct shard_snapshot_info *info);
enum fl_status
shard__snapshot_next(struct shard_snapshot *snapshot, struct fl_writer *chunk, bool *last);
void shard__snapshot_close(struct shard_snapshot *snapshot);
enum fl_status shard__install_begin(struct shard_machine *machine,
                                    const char *dir,
                                    struct shard_install **install);
enum fl_status shard__install_chunk(struct shard_install *install, struct fl_bytes chunk);
enum fl_status shard__install_seal(struct shard_install *install, struct shard_snapshot_info *info);
enum fl_status shard__install_finish(struct shard_machine *machine, struct shard_install *install);
void shard__install_abort(struct shard_install *install);

#endif
