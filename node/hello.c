/* The handshake codec. */
#include "node/hello.h"

#include "raftgroup/base/assert.h"

#include <assert.h>

#define MAGIC       "flotilla"
#define MAGIC_BYTES 8

static_assert(sizeof(MAGIC) == MAGIC_BYTES + 1, "the table of hello.h");
/* Fixed fields, four texts with two-byte lengths, starts, answer code and sentence. */
static_assert(52 + NODE_NAME_BYTES_MAX + 2 * NODE_URLS_BYTES_MAX + NODE_LOCALITY_BYTES_MAX + 8 +
                      8 * NODE_STARTS_MAX + 1 + 2 + NODE_SENTENCE_BYTES_MAX + 3 <
                  NODE_HANDSHAKE_BYTES_MAX,
              "both bodies fit, with room for later versions");

/* Wire numbers of an answer; the place in the table is the number. */
static const enum fl_status answer_codes[] = {
    FL_OK,
    FL_REFUSED,
    FL_FOREIGN_CLUSTER,
    FL_NEWER_FORMAT,
    FL_NOT_READY,
    FL_STALE,
    FL_TOO_MANY,
    FL_EXISTS,
};

#define ANSWER_CODE_COUNT   (sizeof(answer_codes) / sizeof(answer_codes[0]))
#define ANSWER_CODE_REFUSED 1

static void write_text(struct fl_writer *out, const char *text, size_t max)
{
    struct fl_bytes bytes = fl_bytes_of_string(text);

    fl_assert(bytes.len <= max);
    fl_write_bytes(out, bytes);
}

/* Texts end up in log lines: only printable ASCII gets in. `text` holds max + 1 bytes. */
static void read_text(struct fl_reader *in, char *text, size_t max)
{
    struct fl_bytes bytes = fl_read_bytes(in);

    if (bytes.len > max) {
        in->bad = true;
        bytes.len = 0;
    }
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] < 0x20 || bytes.data[i] > 0x7e) {
            in->bad = true;
        }
        text[i] = (char)bytes.data[i];
    }
    text[bytes.len] = '\0';
}

void node_hello_encode(struct fl_writer *out, const struct node_hello *hello)
{
    fl_write_raw(out, fl_bytes(MAGIC, MAGIC_BYTES));
    fl_put_u16le(fl_write_space(out, 2), hello->version_min);
    fl_put_u16le(fl_write_space(out, 2), hello->version_max);
    fl_write_u64le(out, hello->cluster_id);
    fl_write_u64le(out, hello->node_id);
    fl_write_raw(out, fl_bytes(hello->uuid, NODE_UUID_BYTES));
    fl_write_u32le(out, hello->boot);
    fl_write_u32le(out, hello->lane);
    write_text(out, hello->name, NODE_NAME_BYTES_MAX);
    write_text(out, hello->peer_urls, NODE_URLS_BYTES_MAX);
    write_text(out, hello->client_urls, NODE_URLS_BYTES_MAX);
    write_text(out, hello->locality, NODE_LOCALITY_BYTES_MAX);
    for (size_t i = 0; i < NODE_STARTS_MAX; i++) {
        fl_write_u64le(out, hello->starts[i]);
    }
}

static uint16_t read_u16(struct fl_reader *in)
{
    struct fl_bytes bytes = fl_read_raw(in, 2);

    return bytes.len == 2 ? fl_get_u16le(bytes.data) : 0;
}

enum fl_status node_hello_decode(struct fl_bytes body, struct node_hello *hello)
{
    struct fl_reader in = fl_reader(body);
    struct fl_bytes magic = fl_read_raw(&in, MAGIC_BYTES);
    struct fl_bytes uuid;

    if (!fl_bytes_equal(magic, fl_bytes(MAGIC, MAGIC_BYTES))) {
        return FL_BAD_MESSAGE;
    }
    hello->version_min = read_u16(&in);
    hello->version_max = read_u16(&in);
    hello->cluster_id = fl_read_u64le(&in);
    hello->node_id = fl_read_u64le(&in);
    uuid = fl_read_raw(&in, NODE_UUID_BYTES);
    if (uuid.len == NODE_UUID_BYTES) {
        memcpy(hello->uuid, uuid.data, NODE_UUID_BYTES);
    }
    hello->boot = fl_read_u32le(&in);
    hello->lane = fl_read_u32le(&in);
    read_text(&in, hello->name, NODE_NAME_BYTES_MAX);
    read_text(&in, hello->peer_urls, NODE_URLS_BYTES_MAX);
    read_text(&in, hello->client_urls, NODE_URLS_BYTES_MAX);
    read_text(&in, hello->locality, NODE_LOCALITY_BYTES_MAX);
    for (size_t i = 0; i < NODE_STARTS_MAX; i++) {
        hello->starts[i] = fl_read_u64le(&in);
    }
    /* What follows belongs to a version that knows what it means. */
    return in.bad || hello->version_min > hello->version_max ? FL_BAD_MESSAGE : FL_OK;
}

void node_answer_encode(struct fl_writer *out, const struct node_answer *answer)
{
    uint8_t code = ANSWER_CODE_REFUSED;
    struct fl_writer hello;

    for (size_t i = 0; i < ANSWER_CODE_COUNT; i++) {
        if (answer_codes[i] == answer->status) {
            code = (uint8_t)i;
        }
    }
    fl_write_u8(out, code);
    write_text(out, answer->sentence, NODE_SENTENCE_BYTES_MAX);
    fl_writer_init(&hello);
    node_hello_encode(&hello, &answer->hello);
    fl_write_bytes(out, fl_writer_bytes(&hello));
    fl_writer_close(&hello);
}

enum fl_status node_answer_decode(struct fl_bytes body, struct node_answer *answer)
{
    struct fl_reader in = fl_reader(body);
    uint8_t code = fl_read_u8(&in);
    struct fl_bytes hello;

    /* A reason a newer version invented is still a refusal. */
    answer->status = answer_codes[code < ANSWER_CODE_COUNT ? code : ANSWER_CODE_REFUSED];
    read_text(&in, answer->sentence, NODE_SENTENCE_BYTES_MAX);
    hello = fl_read_bytes(&in);
    if (in.bad) {
        return FL_BAD_MESSAGE;
    }
    return node_hello_decode(hello, &answer->hello);
}

uint16_t node_hello_version(const struct node_hello *a, const struct node_hello *b)
{
    uint16_t high = a->version_max < b->version_max ? a->version_max : b->version_max;
    uint16_t low = a->version_min > b->version_min ? a->version_min : b->version_min;

    return high >= low ? high : 0;
}
