/* Codecs of the peer messages. */
#include "node/message.h"

#include "raftgroup/codec.h"

/* Revisions stay below 2^53 (design 10); one beyond would lift every floor it meets for good. */
#define REVISION_MAX ((UINT64_C(1) << 53) - 1)

void node_message_write_entry(struct fl_writer *w, uint8_t type, raft_term term, uint32_t len)
{
    fl_write_u8(w, type);
    fl_write_varint(w, term);
    fl_write_varint(w, len);
}

void node_message_read_entry(struct fl_reader *r, struct raft_ent *ent, struct fl_bytes *payload)
{
    ent->type = fl_read_u8(r);
    ent->term = fl_read_varint(r);
    *payload = fl_read_bytes(r);
    ent->len = (uint32_t)payload->len;
    if (ent->type > RAFT_ENT_CONF || payload->len > FL_ENTRY_BYTES_MAX) {
        r->bad = true;
    }
}

static uint32_t read_boot(struct fl_reader *r)
{
    uint64_t boot = fl_read_varint(r);

    if (boot > UINT32_MAX) {
        r->bad = true;
    }
    return (uint32_t)boot;
}

static enum fl_status read_status(struct fl_reader *r)
{
    uint8_t status = fl_read_u8(r);

    if (status >= FL_STATUS_COUNT) {
        r->bad = true;
    }
    return (enum fl_status)status;
}

static enum fl_status finish(const struct fl_reader *r)
{
    return fl_reader_done(r) ? FL_OK : FL_BAD_MESSAGE;
}

void node_forward_encode(struct fl_writer *w, const struct node_forward *forward)
{
    fl_write_u8(w, forward->kind);
    fl_write_varint(w, forward->boot);
    fl_write_varint(w, forward->seq);
    fl_write_varint(w, forward->group);
    fl_write_varint(w, forward->version);
    fl_write_varint(w, forward->timeout_ms);
    fl_write_varint(w, forward->at_revision);
    fl_write_bytes(w, forward->body);
}

enum fl_status node_forward_decode(struct fl_bytes body, struct node_forward *out)
{
    struct fl_reader r = fl_reader(body);

    out->kind = fl_read_u8(&r);
    out->boot = read_boot(&r);
    out->seq = fl_read_varint(&r);
    out->group = fl_read_varint(&r);
    out->version = fl_read_varint(&r);
    out->timeout_ms = fl_read_varint(&r);
    out->at_revision = fl_read_varint(&r);
    out->body = fl_read_bytes(&r);
    if (out->kind < NODE_FORWARD_WRITE || out->kind > NODE_FORWARD_READ ||
        out->body.len > FL_ENTRY_BYTES_MAX || out->at_revision > REVISION_MAX) {
        return FL_BAD_MESSAGE;
    }
    return finish(&r);
}

void node_message_reply_encode(struct fl_writer *w, const struct node_message_reply *reply)
{
    fl_write_varint(w, reply->boot);
    fl_write_varint(w, reply->seq);
    fl_write_u8(w, (uint8_t)reply->status);
    fl_write_varint(w, reply->leader);
    fl_write_varint(w, reply->revision);
    fl_write_varint(w, reply->term);
    fl_write_bytes(w, reply->result);
}

enum fl_status node_message_reply_decode(struct fl_bytes body, struct node_message_reply *out)
{
    struct fl_reader r = fl_reader(body);

    out->boot = read_boot(&r);
    out->seq = fl_read_varint(&r);
    out->status = read_status(&r);
    out->leader = fl_read_varint(&r);
    out->revision = fl_read_varint(&r);
    out->term = fl_read_varint(&r);
    out->result = fl_read_bytes(&r);
    if (out->revision > REVISION_MAX || out->result.len > NODE_MESSAGE_RESULT_BYTES_MAX) {
        return FL_BAD_MESSAGE;
    }
    return finish(&r);
}

void node_snapshot_piece_encode(struct fl_writer *w, const struct node_snapshot_piece *piece)
{
    fl_write_varint(w, piece->group);
    fl_write_varint(w, piece->stream);
    fl_write_varint(w, piece->boot);
    fl_write_varint(w, piece->number);
    fl_write_u8(w, piece->last ? 1 : 0);
    if (piece->number == 0) {
        uint8_t *start = fl_write_space(w, RAFT_MSG_BYTES_MAX);
        size_t len = raft_msg_encode(&piece->offer, start);

        w->len -= RAFT_MSG_BYTES_MAX - len;
    }
    fl_write_bytes(w, piece->chunk);
}

enum fl_status node_snapshot_piece_decode(struct fl_bytes body, struct node_snapshot_piece *out)
{
    struct fl_reader r = fl_reader(body);
    uint8_t last;

    out->group = fl_read_varint(&r);
    out->stream = fl_read_varint(&r);
    out->boot = read_boot(&r);
    out->number = fl_read_varint(&r);
    last = fl_read_u8(&r);
    out->last = last == 1;
    if (last > 1) {
        return FL_BAD_MESSAGE;
    }
    if (out->number == 0 && !r.bad) {
        FL_TRY(raft_msg_decode(&r, &out->offer));
        if (out->offer.type != RAFT_M_SNAP || out->offer.group != out->group) {
            return FL_BAD_MESSAGE;
        }
    }
    out->chunk = fl_read_bytes(&r);
    if (out->chunk.len > NODE_MESSAGE_CHUNK_BYTES_MAX) {
        return FL_BAD_MESSAGE;
    }
    return finish(&r);
}

void node_snapshot_ack_encode(struct fl_writer *w, const struct node_snapshot_ack *ack)
{
    fl_write_varint(w, ack->group);
    fl_write_varint(w, ack->stream);
    fl_write_varint(w, ack->boot);
    fl_write_varint(w, ack->next);
    fl_write_u8(w, (uint8_t)ack->status);
    fl_write_u8(w, ack->done ? 1 : 0);
}

enum fl_status node_snapshot_ack_decode(struct fl_bytes body, struct node_snapshot_ack *out)
{
    struct fl_reader r = fl_reader(body);
    uint8_t done;

    out->group = fl_read_varint(&r);
    out->stream = fl_read_varint(&r);
    out->boot = read_boot(&r);
    out->next = fl_read_varint(&r);
    out->status = read_status(&r);
    done = fl_read_u8(&r);
    out->done = done == 1;
    return done > 1 ? FL_BAD_MESSAGE : finish(&r);
}
