/* Membership entries, and how they change configuration and descriptor together.
 *
 *   raft_changes (raftgroup/codec.h), then
 *   u8 version = 1, varint conf_version, one varint node id per change */
#include "shard/membership.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/codec.h"

#define MEMBERSHIP_FORMAT 1

struct fl_buf *shard_membership_encode(const struct shard_membership *change)
{
    uint8_t changes[RAFT_CHANGES_BYTES_MAX];
    struct fl_writer w;
    struct fl_buf *payload;

    fl_writer_init(&w);
    fl_write_raw(&w, fl_bytes(changes, raft_changes_encode(&change->changes, changes)));
    fl_write_u8(&w, MEMBERSHIP_FORMAT);
    fl_write_varint(&w, change->conf_version);
    for (uint8_t i = 0; i < change->changes.n; i++) {
        fl_write_varint(&w, change->node_id[i]);
    }
    payload = fl_buf_copy(fl_writer_bytes(&w));
    fl_writer_close(&w);
    return payload;
}

enum fl_status shard_membership_decode(struct fl_bytes payload, struct shard_membership *change)
{
    struct fl_reader r = fl_reader(payload);
    uint8_t format;

    *change = (struct shard_membership){0};
    if (payload.len == 0) {
        return FL_OK;
    }
    FL_TRY(raft_changes_decode(&r, &change->changes));
    format = fl_read_u8(&r);
    if (!r.bad && format > MEMBERSHIP_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    change->conf_version = fl_read_varint(&r);
    for (uint8_t i = 0; i < change->changes.n; i++) {
        change->node_id[i] = fl_read_varint(&r);
    }
    return fl_reader_done(&r) && format == MEMBERSHIP_FORMAT ? FL_OK : FL_BAD_MESSAGE;
}

static uint32_t replica_slot(const struct shard_range *range, uint64_t replica_id)
{
    const struct shard_replica *replica = shard_range_replica(range, replica_id);

    return replica != NULL ? (uint32_t)(replica - range->replicas) : range->replica_count;
}

/* A replica the configuration is about to gain: its id must never have been used (M15). */
static enum fl_status add_replica(struct shard_range *range, uint64_t replica_id, uint64_t node_id)
{
    if (replica_slot(range, replica_id) != range->replica_count) {
        return FL_OK; /* a role change; roles are read off the configuration */
    }
    if (node_id == 0 || replica_id < range->next_replica_id || replica_id == UINT64_MAX ||
        range->replica_count == FL_REPLICAS_MAX || shard_range_replica_on(range, node_id) != NULL) {
        return FL_CONF_INVALID;
    }
    range->replicas[range->replica_count++] =
        (struct shard_replica){node_id, replica_id, SHARD_REPLICA_LEARNER};
    range->next_replica_id = replica_id + 1;
    return FL_OK;
}

/* Keeps the replicas that `conf` has and gives them their roles. */
static enum fl_status follow_conf(struct shard_range *range, const struct raft_conf *conf)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < range->replica_count; i++) {
        int slot = raft_conf_slot(conf, range->replicas[i].replica_id);

        if (slot < 0) {
            continue;
        }
        range->replicas[kept] = range->replicas[i];
        range->replicas[kept].role =
            (conf->learners >> slot & 1) != 0 ? SHARD_REPLICA_LEARNER : SHARD_REPLICA_VOTER;
        kept++;
    }
    range->replica_count = kept;
    return kept == conf->n ? FL_OK : FL_CONF_INVALID;
}

enum fl_status shard_membership_apply(const struct shard_membership *change,
                                      struct raft_conf *conf,
                                      struct shard_range *range)
{
    const struct raft_changes *changes = &change->changes;
    struct raft_conf next_conf = *conf;
    struct shard_range next = *range; /* the keys stay shared: only members change */

    if (change->conf_version != 0 && change->conf_version != range->conf_version) {
        return FL_EPOCH_MISMATCH;
    }
    for (uint8_t i = 0; i < changes->n; i++) {
        if (changes->op[i].op == 'v' || changes->op[i].op == 'l') {
            FL_TRY(add_replica(&next, changes->op[i].id, change->node_id[i]));
        }
    }
    FL_TRY(raft_conf_change(&next_conf, changes));
    FL_TRY(follow_conf(&next, &next_conf));
    next.conf_version++;
    next.generation++;
    *conf = next_conf;
    *range = next;
    return FL_OK;
}

void shard_membership_conf(const struct shard_range *range, struct raft_conf *conf)
{
    *conf = (struct raft_conf){0};
    for (uint64_t id = 0; conf->n < range->replica_count; id++) {
        const struct shard_replica *next = NULL;

        for (uint32_t i = 0; i < range->replica_count; i++) {
            const struct shard_replica *replica = &range->replicas[i];

            if (replica->replica_id >= id &&
                (next == NULL || replica->replica_id < next->replica_id)) {
                next = replica;
            }
        }
        if (next == NULL) {
            return; /* the ids of a descriptor are unique: there is one for every slot */
        }
        conf->id[conf->n] = next->replica_id;
        if (next->role == SHARD_REPLICA_LEARNER) {
            conf->learners = (raft_mask)(conf->learners | 1u << conf->n);
        } else {
            conf->in = (raft_mask)(conf->in | 1u << conf->n);
        }
        conf->n++;
        id = next->replica_id;
    }
}
