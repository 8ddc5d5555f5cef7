/* Compaction: from which revision on the past can still be read, and what the engine may drop.
 *
 * Applying a COMPACT only raises a number in the shard's state. Rows are dropped by the engine's
 * own compactions, on every node at its own pace, once the node has published a compact revision
 * that is durable here (struct shard_gc); nothing replicated depends on when (SH-6). */
#include "raftgroup/base/bytes.h"
#include "shard/shard_internal.h"

/* Current rows an apply thread remembers: an overwrite then saves the search for the old version.
 */
#define RECENT_BYTES ((size_t)64 * 1024 * 1024)

enum fl_status shard__compact(struct shard *shard, uint64_t revision, bool force)
{
    struct shard_state *state = &shard->state;

    if (!force && revision > state->last_revision) {
        return FL_FUTURE_REVISION;
    }
    if (!force && revision <= state->compact_revision) {
        return FL_COMPACTED;
    }
    if (revision > state->compact_revision) {
        state->compact_revision = revision;
    }
    return FL_OK;
}

void shard_gc_publish(struct shard_gc *gc, uint64_t revision)
{
    /* Release: whoever drops a row because of it sees every write that made it durable. */
    atomic_store_explicit(&gc->revision, revision, memory_order_release);
}

/* True for history that ended at or below the published revision. A row that makes no sense is
 * kept: whoever reads it will say so. */
static bool drop_row(void *context, struct fl_bytes key, struct fl_bytes value)
{
    struct shard_gc *gc = context;
    struct shard_kv kv;
    uint64_t end;

    if (key.len == 0 || key.data[0] != SHARD_ROW_HISTORY ||
        shard_history_decode(value, &kv, &end) != FL_OK) {
        return false;
    }
    return end <= atomic_load_explicit(&gc->revision, memory_order_acquire);
}

void shard_engine_options_data(struct shard_engine_options *options, struct shard_gc *gc)
{
    shard_engine_options_default(options);
    options->wal = SHARD_WAL_NONE;
    /* The flusher acts at SHARD_FLUSH_BYTES; the engine by itself only if the flusher cannot
     * follow. */
    options->memtable_bytes = 4 * SHARD_FLUSH_BYTES;
    options->recent_bytes = RECENT_BYTES;
    options->recent_kind = SHARD_ROW_CURRENT;
    options->insert_hint = true;
    options->drop = drop_row;
    options->drop_context = gc;
}
