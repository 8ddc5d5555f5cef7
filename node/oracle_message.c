/* The codec of the oracle's messages. See oracle_message.h. */
#include "node/oracle_message.h"

#define MESSAGE_VERSION 1

size_t node_oracle_message_encode(const struct node_oracle_message *message,
                                  uint8_t out[NODE_ORACLE_MESSAGE_BYTES])
{
    out[0] = MESSAGE_VERSION;
    out[1] = (uint8_t)message->type;
    fl_put_u32le(out + 2, message->boot);
    fl_put_u64le(out + 6, message->seq);
    fl_put_u64le(out + 14, message->term);
    fl_put_u32le(out + 22, message->count);
    fl_put_u64le(out + 26, message->current);
    fl_put_u64le(out + 34, message->start);
    fl_put_u64le(out + 42, message->compact);
    fl_put_u64le(out + 50, message->leader);
    out[58] = message->witness ? 1 : 0;
    return NODE_ORACLE_MESSAGE_BYTES;
}

static bool message_is_sound(const struct node_oracle_message *m)
{
    bool ask = m->type == NODE_ORACLE_ASK;
    bool grant = m->type == NODE_ORACLE_GRANT;
    bool refuse = m->type == NODE_ORACLE_REFUSE;
    bool known = ask || grant || refuse || m->type == NODE_ORACLE_CONFIRM;
    bool unused = (ask || grant || (m->count == 0 && !m->witness)) && (refuse || m->leader == 0) &&
                  (grant || (m->current | m->start | m->compact) == 0);
    bool bounded = m->count <= NODE_ORACLE_ASK_MAX && m->current <= NODE_REVISION_MAX - m->count &&
                   m->start <= m->current && m->compact <= NODE_REVISION_MAX;

    return known && unused && bounded && m->seq != 0 && (m->term != 0 || ask || refuse);
}

enum fl_status node_oracle_message_decode(struct fl_bytes input,
                                          struct node_oracle_message *message)
{
    struct fl_reader r = fl_reader(input);
    uint8_t version = fl_read_u8(&r);
    uint8_t witness;

    if (!r.bad && version > MESSAGE_VERSION) {
        return FL_NEWER_FORMAT;
    }
    message->type = (enum node_oracle_message_type)fl_read_u8(&r);
    message->boot = fl_read_u32le(&r);
    message->seq = fl_read_u64le(&r);
    message->term = fl_read_u64le(&r);
    message->count = fl_read_u32le(&r);
    message->current = fl_read_u64le(&r);
    message->start = fl_read_u64le(&r);
    message->compact = fl_read_u64le(&r);
    message->leader = fl_read_u64le(&r);
    witness = fl_read_u8(&r);
    message->witness = witness == 1;
    if (r.bad) {
        return FL_TRUNCATED;
    }
    return fl_reader_done(&r) && version == MESSAGE_VERSION && witness <= 1 &&
                   message_is_sound(message)
               ? FL_OK
               : FL_BAD_MESSAGE;
}
