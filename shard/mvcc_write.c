/* Writing versions: one revision per command, the superseded version becomes history.
 *
 * A version ended by the revision it was written at was never visible to anybody (a transaction put
 * and deleted the key): it leaves no history row. */
#include "raftgroup/base/assert.h"
#include "shard/shard_internal.h"

uint64_t shard__revision(const struct shard__write *write)
{
    return write->wrote ? write->revision : write->shard->state.last_revision;
}

bool shard__building(struct shard__write *write)
{
    const struct shard_result_writer *w = &write->shard->result;

    if (write->build && w->len > w->bytes_max) {
        write->build = false;
    }
    return write->build;
}

/* Ends a version: it stays visible at revisions up to, but not including, the one being written. */
static void put_history(struct shard__write *write, const struct shard_kv *old)
{
    struct shard *shard = write->shard;

    if (old->mod_revision == write->revision) {
        return;
    }
    fl_assert(old->mod_revision < write->revision);
    fl_writer_reset(&shard->history_key);
    shard_history_key(&shard->history_key, old->key, old->mod_revision);
    fl_writer_reset(&shard->head);
    shard_version_head(&shard->head, old, write->revision);
    shard_batch_put2(write->batch,
                     fl_writer_bytes(&shard->history_key),
                     fl_writer_bytes(&shard->head),
                     old->value);
}

static void put_current(struct shard__write *write, const struct shard_kv *kv)
{
    struct shard *shard = write->shard;

    fl_writer_reset(&shard->key);
    shard_current_key(&shard->key, kv->key);
    fl_writer_reset(&shard->head);
    shard_version_head(&shard->head, kv, 0);
    shard_batch_put2(
        write->batch, fl_writer_bytes(&shard->key), fl_writer_bytes(&shard->head), kv->value);
}

enum fl_status shard__put_check(struct shard__write *write, const struct shard_put *put)
{
    struct shard_value row = {0};
    struct shard_kv old;

    if (!shard_range_contains(&write->shard->range, put->key)) {
        return FL_CROSS_RANGE;
    }
    if (put->ignore_value || put->ignore_lease) {
        enum fl_status status =
            shard__get_current(&write->source, &write->shard->key, put->key, &row, &old);

        shard_value_release(&row);
        if (status != FL_OK) {
            return status == FL_NOT_FOUND ? FL_KEY_NOT_FOUND : status;
        }
    }
    return put->lease != 0 && !put->ignore_lease ? FL_LEASE_NOT_FOUND : FL_OK;
}

enum fl_status shard__delete_check(const struct shard__write *write, const struct shard_delete *del)
{
    return shard_range_covers(&write->shard->range, del->key, del->end) ? FL_OK : FL_CROSS_RANGE;
}

static void emit_put(struct shard__write *write, const struct shard_kv *old)
{
    struct shard_result_writer *w = &write->shard->result;

    shard_result_begin(w, SHARD_RESULT_PUT, write->revision);
    shard_result_set_flags(w, false, false, old != NULL);
    if (old != NULL) {
        shard_result_add_kv(w, old);
    }
    shard_result_end(w);
}

enum fl_status shard__put(struct shard__write *write, const struct shard_put *put, bool emit)
{
    struct shard *shard = write->shard;
    struct shard_value row = {0};
    struct shard_kv old = {0};
    struct shard_kv kv = {.key = put->key, .value = put->value, .lease = put->lease};
    enum fl_status status = shard__get_current(&write->source, &shard->key, put->key, &row, &old);
    bool exists = status == FL_OK;

    if (!exists && status != FL_NOT_FOUND) {
        return status;
    }
    if (emit) {
        emit_put(write, put->prev_kv && exists ? &old : NULL);
    }
    kv.create_revision = exists ? old.create_revision : write->revision;
    kv.mod_revision = write->revision;
    kv.version = exists ? old.version + 1 : 1;
    kv.lease = put->ignore_lease ? old.lease : put->lease;
    if (exists && row.pin == NULL) {
        /* The old value lies in the batch, which the next row may move. */
        fl_writer_reset(&shard->copy);
        fl_write_raw(&shard->copy, old.value);
        old.value = fl_writer_bytes(&shard->copy);
    }
    if (put->ignore_value) {
        kv.value = old.value;
    }
    if (exists) {
        put_history(write, &old);
    } else {
        shard->state.live_keys++;
    }
    put_current(write, &kv);
    write->wrote = true;
    shard_value_release(&row);
    return FL_OK;
}

/* ---- deletes ---- */

struct deletion {
    struct shard__write *write;
    bool emit_pairs;
    uint64_t count;
};

static bool visit_delete(void *context, const struct shard_kv *kv)
{
    struct deletion *deletion = context;
    struct shard *shard = deletion->write->shard;
    struct shard_kv old = *kv;

    if (deletion->emit_pairs && shard__building(deletion->write)) {
        shard_result_add_kv(&shard->result, kv);
    }
    /* Key and value may lie in the batch, which the rows below may move. */
    fl_writer_reset(&shard->copy);
    fl_write_raw(&shard->copy, kv->key);
    fl_write_raw(&shard->copy, kv->value);
    old.key = fl_bytes(shard->copy.data, kv->key.len);
    old.value = fl_bytes(shard->copy.data + kv->key.len, kv->value.len);
    put_history(deletion->write, &old);
    fl_writer_reset(&shard->key);
    shard_current_key(&shard->key, old.key);
    shard_batch_delete(deletion->write->batch, fl_writer_bytes(&shard->key));
    deletion->count++;
    return true;
}

static enum fl_status
delete_point(struct shard__write *write, struct deletion *deletion, struct fl_bytes key)
{
    struct shard_value row = {0};
    struct shard_kv old;
    enum fl_status status = shard__get_current(&write->source, &write->shard->key, key, &row, &old);

    if (status == FL_OK) {
        (void)visit_delete(deletion, &old);
        shard_value_release(&row);
    }
    return status == FL_NOT_FOUND ? FL_OK : status;
}

static enum fl_status delete_interval(struct shard__write *write,
                                      struct deletion *deletion,
                                      const struct shard_delete *del)
{
    const struct shard_range *range = &write->shard->range;
    struct shard__interval interval;
    struct fl_writer scratch;
    enum fl_status status;

    fl_writer_init(&scratch);
    interval = shard__clip(del->key, del->end, range->start, range->end, &scratch);
    status = shard__walk(&write->source, &interval, 0, visit_delete, deletion);
    fl_writer_close(&scratch);
    return status;
}

enum fl_status shard__delete(struct shard__write *write,
                             const struct shard_delete *del,
                             bool emit,
                             uint64_t *deleted)
{
    struct shard *shard = write->shard;
    struct deletion deletion = {.write = write, .emit_pairs = emit && del->prev_kv};
    enum fl_status status;

    if (emit) {
        shard_result_begin(&shard->result, SHARD_RESULT_DELETE_RANGE, write->revision);
    }
    status = del->end.len == 0 ? delete_point(write, &deletion, del->key)
                               : delete_interval(write, &deletion, del);
    if (status != FL_OK) {
        return status;
    }
    fl_assert(deletion.count <= shard->state.live_keys);
    shard->state.live_keys -= deletion.count;
    write->wrote = write->wrote || deletion.count != 0;
    if (emit) {
        shard_result_set_revision(&shard->result, shard__revision(write));
        shard_result_set_count(&shard->result, deletion.count);
        shard_result_end(&shard->result);
    }
    *deleted = deletion.count;
    return FL_OK;
}
