/* Goal: no bytes in the log store's rows make an open read beyond them or believe a length; a row
 * that is accepted says nothing that contradicts itself.
 *
 * Method: rows come raw, and once more with a right checksum around the same body. A record built
 * from the input is read back equal, and with one byte changed it is refused or still whole. */
#include "tests/fuzz/input.h"

#include "node/log_format.h"

static void try_sealed(struct fl_bytes body)
{
    struct node_log_key state_key = node_log_key_state(7);
    struct node_log_key stone_key = node_log_key_tombstone(7);
    struct node_log_key chain_key = node_log_key_chain();
    const struct node_log_key *keys[] = {&state_key, &stone_key, &chain_key};

    for (size_t i = 0; i < 3; i++) {
        struct fl_writer w;
        struct fl_bytes row;
        struct node_log_state state;
        struct node_log_tombstone stone;
        struct node_log_chain chain;

        fl_writer_init(&w);
        node_log_seal(&w, node_log_key_bytes(keys[i]), body);
        row = fl_writer_bytes(&w);
        if (node_log_state_decode(7, row, &state) == FL_OK) {
            fuzz_check(i == 0 && node_log_state_is_valid(&state));
        }
        fuzz_check(node_log_tombstone_decode(7, row, &stone) != FL_OK || i == 1);
        fuzz_check(node_log_chain_decode(row, &chain) != FL_OK || i == 2);
        fl_writer_close(&w);
    }
}

static void try_raw(struct fl_bytes row)
{
    struct node_log_state state;
    struct node_log_tombstone stone;
    struct node_log_chain chain;

    if (node_log_state_decode(7, row, &state) == FL_OK) {
        fuzz_check(node_log_state_is_valid(&state));
    }
    (void)!node_log_tombstone_decode(7, row, &stone);
    (void)!node_log_chain_decode(row, &chain);
}

static void read_record(struct fl_bytes key, struct fl_bytes value)
{
    struct node_log_record record;
    struct node_log_record skipper;
    struct node_log_record_entry entry;
    uint32_t len;

    if (node_log_record_open(key, value, &record) != FL_OK) {
        return;
    }
    skipper = record;
    while (record.next <= record.last && node_log_record_next(&record, &entry) == FL_OK) {
        fuzz_check(entry.payload.len <= value.len);
        fuzz_check(node_log_record_skip(&skipper, &len) == FL_OK && len == entry.payload.len);
    }
    (void)node_log_record_done(&record);
    fuzz_check(node_log_record_next(&record, &entry) != FL_OK || record.next <= record.last + 1);
}

static void try_record(struct fuzz_input *in)
{
    uint32_t count = 1 + fuzz_below(in, 4);
    unsigned at = fuzz_u8(in);
    uint8_t change = fuzz_u8(in);
    struct node_log_key key = node_log_key_entries(7, 1, 10);
    struct fl_writer w;

    fl_writer_init(&w);
    node_log_record_begin(&w, 7, 1, 10, count);
    for (uint32_t i = 0; i < count; i++) {
        size_t len = fuzz_u8(in);

        len = len < in->left ? len : in->left;
        node_log_record_add(&w,
                            7,
                            &(struct node_log_record_entry){.index = 10 + i,
                                                            .term = 3,
                                                            .type = RAFT_ENT_NORMAL,
                                                            .payload = fl_bytes(in->at, len)});
        in->at += len;
        in->left -= len;
    }
    w.data[at % w.len] ^= change;
    read_record(node_log_key_bytes(&key), fl_writer_bytes(&w));
    fl_writer_close(&w);
}

static void try_raw_record(struct fuzz_input *in)
{
    size_t len = fuzz_below(in, NODE_LOG_KEY_MAX);
    struct node_log_key own = node_log_key_entries(7, 1, 10);
    struct fl_bytes key;
    uint64_t group;
    uint64_t incarnation;
    raft_index first;
    uint8_t kind;

    len = len < in->left ? len : in->left;
    key = fl_bytes(in->at, len);
    (void)node_log_key_parse_group(key, NODE_LOG_TAG_STATE, &group);
    (void)node_log_key_parse_intent(key, &group, &kind);
    (void)node_log_key_parse_entries(key, &group, &incarnation, &first);
    read_record(key, fl_bytes(in->at + len, in->left - len));
    read_record(node_log_key_bytes(&own), fl_bytes(in->at + len, in->left - len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};

    switch (fuzz_below(&in, 4)) {
    case 0:
        try_raw(fl_bytes(in.at, in.left));
        break;
    case 1:
        try_sealed(fl_bytes(in.at, in.left));
        break;
    case 2:
        try_record(&in);
        break;
    default:
        try_raw_record(&in);
        break;
    }
    return 0;
}
