/* The walk: a stack of open messages, one field at a time. */
#include "api/wire_guard.h"

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_32 = 5,
};

/* One open message. */
struct level {
    const ProtobufCMessageDescriptor *descriptor;
    const uint8_t *end;
    uint64_t seen; /* bit i: the single message field i was there */
};

struct walk {
    struct fl_reader reader;
    struct level levels[API_WIRE_DEPTH_MAX];
    size_t depth; /* open levels */
};

/* A message field of the schema, or NULL: everything else is skipped by its wire type. */
static const ProtobufCFieldDescriptor *message_field(const struct level *level, uint64_t number)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(level->descriptor, (unsigned)number);

    return field != NULL && field->type == PROTOBUF_C_TYPE_MESSAGE ? field : NULL;
}

/* A second copy of a field that is not repeated would be merged. */
static bool seen_before(struct level *level, const ProtobufCFieldDescriptor *field)
{
    size_t index = (size_t)(field - level->descriptor->fields);
    uint64_t bit = UINT64_C(1) << (index % 64);
    bool before = (level->seen & bit) != 0;

    level->seen |= bit;
    return before && field->label != PROTOBUF_C_LABEL_REPEATED;
}

/* Enters the message of a length-delimited field, or skips the bytes. */
static enum fl_status walk_bytes(struct walk *walk, uint64_t number)
{
    struct level *level = &walk->levels[walk->depth - 1];
    struct fl_bytes content = fl_read_bytes(&walk->reader);
    const ProtobufCFieldDescriptor *field = message_field(level, number);

    if (walk->reader.bad || field == NULL) {
        return FL_OK;
    }
    if (seen_before(level, field)) {
        return FL_BAD_MESSAGE;
    }
    if (walk->depth == API_WIRE_DEPTH_MAX) {
        return FL_TOO_DEEP;
    }
    walk->levels[walk->depth++] = (struct level){
        .descriptor = field->descriptor,
        .end = content.data + content.len,
    };
    walk->reader = fl_reader(content);
    return FL_OK;
}

static enum fl_status walk_field(struct walk *walk)
{
    uint64_t tag = fl_read_varint(&walk->reader);
    uint64_t number = tag >> 3;

    if (walk->reader.bad || number == 0 || number > 0x1fffffff) {
        return FL_BAD_MESSAGE;
    }
    switch (tag & 7) {
    case WIRE_VARINT:
        (void)fl_read_varint(&walk->reader);
        return FL_OK;
    case WIRE_64:
        (void)fl_read_raw(&walk->reader, 8);
        return FL_OK;
    case WIRE_32:
        (void)fl_read_raw(&walk->reader, 4);
        return FL_OK;
    case WIRE_BYTES:
        return walk_bytes(walk, number);
    default: /* groups are not part of proto3 */
        return FL_BAD_MESSAGE;
    }
}

/* Leaves every message that ends here. */
static void walk_up(struct walk *walk)
{
    while (walk->depth > 0 && walk->reader.next == walk->levels[walk->depth - 1].end) {
        walk->depth--;
        if (walk->depth > 0) {
            walk->reader.end = walk->levels[walk->depth - 1].end;
        }
    }
}

enum fl_status api_wire_check(struct fl_bytes wire, const ProtobufCMessageDescriptor *descriptor)
{
    struct walk walk;
    size_t fields = 0;

    if (wire.len == 0) {
        return FL_OK;
    }
    walk.reader = fl_reader(wire);
    walk.depth = 1;
    walk.levels[0] = (struct level){.descriptor = descriptor, .end = wire.data + wire.len};
    while (walk.depth > 0) {
        if (++fields > API_WIRE_FIELDS_MAX) {
            return FL_TOO_MANY_OPS;
        }
        FL_TRY(walk_field(&walk));
        if (walk.reader.bad) {
            return FL_BAD_MESSAGE;
        }
        walk_up(&walk);
    }
    return FL_OK;
}
