/* The whole state of the placement machine as one blob in chunks: out of one replica, into another.
 *
 *   blob:   u8 format = 1, bytes(apply state), bytes(own descriptor), bytes(view), u32le CRC32C
 *   chunk:  u8 format = 1, u8 flags (1: the last), u32le number from 0, then a piece of the blob
 *
 * bytes(x) is a varint length and x. The state is the map and the nodes, so it is encoded in memory
 * when a snapshot is opened and gathered in memory when one is installed; nothing is staged in
 * files, and what a crash takes from memory is fetched again: the log has not moved yet. */
#include "placement/placement_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"

#define BLOB_FORMAT  1
#define CHUNK_FORMAT 1
#define CHUNK_LAST   1

enum { CRC_BYTES = 4, CHUNK_HEAD_BYTES = 6, BLOB_BYTES_MAX = 256 * 1024 * 1024 };

#define PIECE_BYTES_MAX ((size_t)SHARD_CHUNK_BYTES_MAX - CHUNK_HEAD_BYTES)

static_assert(BLOB_BYTES_MAX / (SHARD_CHUNK_BYTES_MAX - CHUNK_HEAD_BYTES) < UINT32_MAX,
              "chunks are numbered in 32 bits");

/* ---- out ---- */

struct shard_snapshot {
    struct fl_writer blob;
    size_t sent;
    uint32_t number; /* of the next chunk */
};

static void blob_encode(const struct placement *placement, struct fl_writer *blob)
{
    struct fl_writer part;

    fl_writer_init(&part);
    fl_write_u8(blob, BLOB_FORMAT);
    shard_state_encode(&part, &placement->state);
    fl_write_bytes(blob, fl_writer_bytes(&part));
    fl_writer_reset(&part);
    shard_range_encode(&placement->descriptor, &part);
    fl_write_bytes(blob, fl_writer_bytes(&part));
    fl_writer_reset(&part);
    placement_map_view_encode(placement->view, &part);
    fl_write_bytes(blob, fl_writer_bytes(&part));
    fl_write_u32le(blob, fl_crc32c(0, blob->data, blob->len));
    fl_writer_close(&part);
}

enum fl_status placement__snapshot_open(struct shard_machine *machine,
                                        struct shard_batch *batch,
                                        struct shard_snapshot **snapshot,
                                        struct shard_snapshot_info *info)
{
    struct placement *placement = placement__of(machine);

    *snapshot = NULL;
    FL_TRY(shard_batch_commit(batch, false));
    if (!placement->exists) {
        return FL_NOT_READY;
    }
    placement->dirty = false;
    *snapshot = fl_xcalloc(1, sizeof(**snapshot));
    blob_encode(placement, &(*snapshot)->blob);
    fl_assert((*snapshot)->blob.len <= BLOB_BYTES_MAX);
    *info = (struct shard_snapshot_info){
        .index = placement->state.applied_index,
        .term = placement->state.applied_term,
        .conf = placement->state.conf,
    };
    return FL_OK;
}

enum fl_status
placement__snapshot_next(struct shard_snapshot *snapshot, struct fl_writer *chunk, bool *last)
{
    size_t left = snapshot->blob.len - snapshot->sent;
    size_t piece = left < PIECE_BYTES_MAX ? left : PIECE_BYTES_MAX;

    *last = piece == left;
    fl_write_u8(chunk, CHUNK_FORMAT);
    fl_write_u8(chunk, *last ? CHUNK_LAST : 0);
    fl_write_u32le(chunk, snapshot->number++);
    fl_write_raw(chunk, fl_bytes(snapshot->blob.data + snapshot->sent, piece));
    snapshot->sent += piece;
    return FL_OK;
}

void placement__snapshot_close(struct shard_snapshot *snapshot)
{
    fl_writer_close(&snapshot->blob);
    free(snapshot);
}

/* ---- in ---- */

struct shard_install {
    struct fl_writer blob;
    uint32_t number; /* of the next chunk */
    bool complete;   /* the last chunk is here */
    bool sealed;     /* what follows is decoded and sound */
    struct shard_state state;
    struct shard_range descriptor;
    struct placement_map_view *view;
};

enum fl_status placement__install_begin(struct shard_machine *machine,
                                        const char *dir,
                                        struct shard_install **install)
{
    (void)machine;
    (void)dir;
    *install = fl_xcalloc(1, sizeof(**install));
    return FL_OK;
}

enum fl_status placement__install_chunk(struct shard_install *install, struct fl_bytes chunk)
{
    struct fl_reader r = fl_reader(chunk);
    uint8_t format = fl_read_u8(&r);
    uint8_t flags = fl_read_u8(&r);
    uint32_t number = fl_read_u32le(&r);

    if (!r.bad && format > CHUNK_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    if (r.bad || format != CHUNK_FORMAT || flags > CHUNK_LAST || number != install->number ||
        install->complete || chunk.len > (size_t)SHARD_CHUNK_BYTES_MAX ||
        install->blob.len + fl_reader_left(&r) > BLOB_BYTES_MAX) {
        return FL_BAD_MESSAGE;
    }
    fl_write_raw(&install->blob, fl_read_raw(&r, fl_reader_left(&r)));
    install->number++;
    install->complete = flags == CHUNK_LAST;
    return FL_OK;
}

static enum fl_status descriptor_decode(struct fl_bytes input, struct shard_range *descriptor)
{
    struct fl_reader r = fl_reader(input);

    FL_TRY(shard_range_decode(descriptor, &r));
    if (!fl_reader_done(&r) || descriptor->group_id != PLACEMENT_GROUP_ID) {
        shard_range_close(descriptor);
        return FL_BAD_MESSAGE;
    }
    return FL_OK;
}

static enum fl_status blob_decode(struct shard_install *install)
{
    struct fl_bytes input = fl_writer_bytes(&install->blob);
    struct fl_bytes state;
    struct fl_bytes descriptor;
    struct fl_bytes view;
    struct fl_reader r;
    uint8_t format;

    if (input.len < CRC_BYTES + 1) {
        return FL_BAD_MESSAGE;
    }
    input.len -= CRC_BYTES;
    if (fl_get_u32le(input.data + input.len) != fl_crc32c(0, input.data, input.len)) {
        return FL_CORRUPT;
    }
    r = fl_reader(input);
    format = fl_read_u8(&r);
    if (format != BLOB_FORMAT) {
        return format > BLOB_FORMAT ? FL_NEWER_FORMAT : FL_BAD_MESSAGE;
    }
    state = fl_read_bytes(&r);
    descriptor = fl_read_bytes(&r);
    view = fl_read_bytes(&r);
    if (!fl_reader_done(&r)) {
        return FL_BAD_MESSAGE;
    }
    FL_TRY(shard_state_decode(state, &install->state));
    if (install->state.conf.n == 0 || !raft_conf_valid(&install->state.conf)) {
        return FL_BAD_MESSAGE;
    }
    FL_TRY(placement_map_view_decode(view, &install->view));
    return descriptor_decode(descriptor, &install->descriptor);
}

enum fl_status placement__install_seal(struct shard_install *install,
                                       struct shard_snapshot_info *info)
{
    fl_assert(!install->sealed);
    if (!install->complete) {
        return FL_TRUNCATED;
    }
    FL_TRY(blob_decode(install));
    install->sealed = true;
    *info = (struct shard_snapshot_info){
        .index = install->state.applied_index,
        .term = install->state.applied_term,
        .conf = install->state.conf,
    };
    return FL_OK;
}

static void install_free(struct shard_install *install)
{
    fl_writer_close(&install->blob);
    shard_range_close(&install->descriptor);
    placement_map_view_release(install->view);
    free(install);
}

/* One batch, then a flush: all of it durable before the log may begin behind it, or none. */
static enum fl_status install_write(struct shard_engine *engine,
                                    const struct shard_install *install)
{
    const struct placement_map_view *view = install->view;
    struct shard_batch *batch = shard_batch_create(engine, false);
    enum fl_status status;

    placement__rows_delete(batch);
    placement__rows_put_state(batch, &install->state);
    placement__rows_put_descriptor(batch, &install->descriptor);
    if (view->bootstrapped) {
        placement__rows_put_meta(batch, view);
        for (size_t i = 0; i < placement_node_list_count(view->nodes); i++) {
            placement__rows_put_node(batch, placement_node_list_at(view->nodes, i));
        }
        for (size_t i = 0; i < placement_range_map_count(view->ranges); i++) {
            placement__rows_put_range(batch, placement_range_map_at(view->ranges, i));
        }
    }
    status = shard_batch_commit(batch, false);
    shard_batch_destroy(batch);
    return status == FL_OK ? shard_engine_flush(engine, true) : status;
}

enum fl_status placement__install_finish(struct shard_machine *machine,
                                         struct shard_install *install)
{
    struct placement *placement = placement__of(machine);
    enum fl_status status;

    fl_assert(install->sealed);
    status = install_write(placement->engine, install);
    if (status == FL_OK) {
        placement_map_view_release(placement->view);
        shard_range_close(&placement->descriptor);
        placement->exists = true;
        placement->dirty = false;
        placement->state = install->state;
        placement->descriptor = install->descriptor;
        placement->view = install->view;
        shard_range_init(&install->descriptor);
        install->view = NULL;
        if (placement->view->version != 0) {
            placement->publish(placement->publish_context, placement->view);
        }
    }
    install_free(install);
    return status;
}

void placement__install_abort(struct shard_install *install)
{
    install_free(install);
}
