/* Encodings of messages, changes and configurations. Byte tables: README.md. */
#include "raftgroup/codec.h"

#include "raftgroup/conf.h"

#include <assert.h>

enum { VERSION = 1 };

/* Fields of a message in the order of their bits. */
enum { FIELDS = 12 };
static_assert(RAFT_MSG_BYTES_MAX >= 5 + 10 * (FIELDS - 1) + 5, "header, fields, 32-bit count");
static_assert(RAFT_CHANGES_BYTES_MAX == 3 + RAFT_CHANGES_MAX * (1 + 10), "op and id");
static_assert(RAFT_CONF_BYTES_MAX == 3 + RAFT_MEMBERS_MAX * (1 + 10), "roles and id");

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

size_t raft_msg_encode(const struct raft_msg *m, uint8_t out[RAFT_MSG_BYTES_MAX])
{
    const uint64_t field[FIELDS] = {m->group,
                                    m->from,
                                    m->to,
                                    m->term,
                                    m->log_term,
                                    m->index,
                                    m->commit,
                                    m->commit_term,
                                    m->x,
                                    m->stamp,
                                    m->bytes,
                                    m->nents};
    uint16_t present = 0;
    uint8_t *p = out + 5;

    for (unsigned i = 0; i < FIELDS; i++) {
        if (field[i] != 0) {
            present |= (uint16_t)(1U << i);
            p = put_varint(p, field[i]);
        }
    }
    out[0] = VERSION;
    out[1] = m->type;
    out[2] = m->flags;
    fl_put_u16le(out + 3, present);
    return (size_t)(p - out);
}

enum fl_status raft_msg_decode(struct fl_reader *in, struct raft_msg *out)
{
    uint64_t field[FIELDS] = {0};
    uint8_t version = fl_read_u8(in);
    uint8_t type = fl_read_u8(in);
    uint8_t flags = fl_read_u8(in);
    unsigned present = fl_read_u8(in);

    present |= (unsigned)fl_read_u8(in) << 8;
    if (!in->bad && version != VERSION) {
        return version > VERSION ? FL_NEWER_FORMAT : FL_BAD_MESSAGE;
    }
    if (type == 0 || type > RAFT_M_MAX || (flags & ~RAFT_F_ALL) != 0 || present >> FIELDS != 0) {
        return FL_BAD_MESSAGE;
    }
    for (unsigned i = 0; i < FIELDS; i++) {
        if ((present >> i & 1) != 0) {
            field[i] = fl_read_varint(in);
        }
    }
    if (in->bad || field[11] > UINT32_MAX) {
        return FL_BAD_MESSAGE;
    }
    *out = (struct raft_msg){.group = field[0],
                             .from = field[1],
                             .to = field[2],
                             .term = field[3],
                             .log_term = field[4],
                             .index = field[5],
                             .commit = field[6],
                             .commit_term = field[7],
                             .x = field[8],
                             .stamp = field[9],
                             .bytes = field[10],
                             .nents = (uint32_t)field[11],
                             .type = type,
                             .flags = flags};
    return FL_OK;
}

size_t raft_changes_encode(const struct raft_changes *c, uint8_t out[RAFT_CHANGES_BYTES_MAX])
{
    uint8_t *p = out + 3;

    out[0] = VERSION;
    out[1] = c->transition;
    out[2] = c->n;
    for (unsigned i = 0; i < c->n; i++) {
        *p++ = c->op[i].op;
        p = put_varint(p, c->op[i].id);
    }
    return (size_t)(p - out);
}

enum fl_status raft_changes_decode(struct fl_reader *in, struct raft_changes *out)
{
    uint8_t version = fl_read_u8(in);

    out->transition = fl_read_u8(in);
    out->n = fl_read_u8(in);
    if (!in->bad && version != VERSION) {
        return version > VERSION ? FL_NEWER_FORMAT : FL_BAD_MESSAGE;
    }
    if (in->bad || out->transition > RAFT_CONF_VOID || out->n > RAFT_CHANGES_MAX) {
        return FL_BAD_MESSAGE;
    }
    for (unsigned i = 0; i < out->n; i++) {
        uint8_t op = fl_read_u8(in);

        out->op[i] = (struct raft_change){.op = op, .id = fl_read_varint(in)};
        if (op != 'v' && op != 'l' && op != 'r' && op != 'u') {
            return FL_BAD_MESSAGE;
        }
    }
    return in->bad ? FL_BAD_MESSAGE : FL_OK;
}

/* One byte per member: bit 0 voter, 1 old half, 2 learner, 3 learner next. */
size_t raft_conf_encode(const struct raft_conf *c, uint8_t out[RAFT_CONF_BYTES_MAX])
{
    uint8_t *p = out + 3;

    out[0] = VERSION;
    out[1] = c->autoleave ? 1 : 0;
    out[2] = c->n;
    for (unsigned i = 0; i < c->n; i++) {
        *p++ = (uint8_t)((c->in >> i & 1) | (c->out >> i & 1) << 1 | (c->learners >> i & 1) << 2 |
                         (c->next >> i & 1) << 3);
        p = put_varint(p, c->id[i]);
    }
    return (size_t)(p - out);
}

enum fl_status raft_conf_decode(struct fl_reader *in, struct raft_conf *out)
{
    uint8_t version = fl_read_u8(in);
    uint8_t autoleave = fl_read_u8(in);
    uint8_t n = fl_read_u8(in);

    if (!in->bad && version != VERSION) {
        return version > VERSION ? FL_NEWER_FORMAT : FL_BAD_MESSAGE;
    }
    if (in->bad || autoleave > 1 || n > RAFT_MEMBERS_MAX) {
        return FL_BAD_MESSAGE;
    }
    *out = (struct raft_conf){.n = n, .autoleave = autoleave != 0};
    for (unsigned i = 0; i < n; i++) {
        unsigned role = fl_read_u8(in);

        out->id[i] = fl_read_varint(in);
        if (role > 15) {
            return FL_BAD_MESSAGE;
        }
        out->in |= (raft_mask)((role & 1) << i);
        out->out |= (raft_mask)((role >> 1 & 1) << i);
        out->learners |= (raft_mask)((role >> 2 & 1) << i);
        out->next |= (raft_mask)((role >> 3 & 1) << i);
    }
    return in->bad || !raft_conf_valid(out) ? FL_BAD_MESSAGE : FL_OK;
}
