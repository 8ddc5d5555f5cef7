/* Goal: no command, read, result, membership change or row makes a shard or the placement machine
 * read beyond it, nest without bound, or stop.
 *
 * Method: the first byte chooses a decoder of shard/ or placement/. What is accepted goes through
 * validation, which must cope with anything decodable, and through its encoder where there is one.
 */
#include "tests/fuzz/input.h"

#include "placement/command.h"
#include "placement/map_view.h"
#include "shard/command.h"
#include "shard/membership.h"
#include "shard/range.h"
#include "shard/read.h"
#include "shard/result.h"
#include "shard/session.h"

static void try_txn(struct fl_bytes body)
{
    void *memory = NULL;
    size_t memory_bytes = 0;
    struct shard_txn txn;

    if (shard_txn_decode(body, &txn, &memory, &memory_bytes) == FL_OK) {
        (void)!shard_txn_validate(&txn);
    }
    free(memory);
}

static void try_body(uint8_t kind, struct fl_bytes body)
{
    struct shard_put put;
    struct shard_delete del;
    uint64_t number;
    bool force;

    if (kind == SHARD_COMMAND_PUT && shard_put_decode(body, &put) == FL_OK) {
        (void)!shard_put_validate(&put);
    } else if (kind == SHARD_COMMAND_DELETE_RANGE && shard_delete_decode(body, &del) == FL_OK) {
        (void)!shard_delete_validate(&del);
    } else if (kind == SHARD_COMMAND_TXN) {
        try_txn(body);
    } else if (kind == SHARD_COMMAND_COMPACT) {
        (void)!shard_compact_decode(body, &number, &force);
    } else if (kind == SHARD_COMMAND_MARK) {
        (void)!shard_mark_decode(body, &number);
    }
}

static void try_command(struct fl_bytes input)
{
    struct shard_command command;
    struct fl_bytes key;
    struct fl_bytes end;

    if (shard_command_decode(input, &command) == FL_OK) {
        try_body(command.kind, command.body);
    }
    (void)!shard_command_span(input, &key, &end);
}

static void try_read(struct fl_bytes input)
{
    struct shard_read read;
    struct shard_read again;
    struct fl_writer w;

    if (shard_read_decode(&read, input) != FL_OK) {
        return;
    }
    (void)!shard_read_validate(&read);
    fl_writer_init(&w);
    shard_read_encode(&read, &w);
    fuzz_check(shard_read_decode(&again, fl_writer_bytes(&w)) == FL_OK);
    fuzz_check(fl_bytes_equal(read.key, again.key) && fl_bytes_equal(read.end, again.end));
    fl_writer_close(&w);
}

static void try_result(struct fl_bytes input)
{
    struct shard_result result;
    struct shard_kv kv;

    (void)!shard_result_check(input);
    if (shard_result_decode(input, &result) == FL_OK) {
        while (shard_result_next_kv(&result, &kv)) {
            fuzz_check(kv.key.len <= input.len && kv.value.len <= input.len);
        }
    }
}

static void try_membership(struct fl_bytes input)
{
    struct shard_membership change;

    if (shard_membership_decode(input, &change) == FL_OK) {
        struct fl_buf *buf = shard_membership_encode(&change);

        fuzz_check(shard_membership_decode(fl_buf_bytes(buf), &change) == FL_OK);
        fl_buf_release(buf);
    }
}

static void try_range(struct fl_bytes input)
{
    struct fl_reader in = fl_reader(input);
    struct shard_range range;

    if (shard_range_decode(&range, &in) == FL_OK) {
        fuzz_check(shard_range_valid(&range));
        shard_range_close(&range);
    }
}

static void try_sessions(struct fl_bytes input)
{
    struct shard_sessions sessions;

    shard_sessions_init(&sessions);
    (void)!shard_sessions_decode(&sessions, input);
    shard_sessions_close(&sessions);
}

static void try_placement(unsigned which, struct fl_bytes input)
{
    struct placement_bootstrap bootstrap;
    struct placement_map_view *view;
    struct placement_node node;

    if (which == 0 && placement_bootstrap_decode(input, &bootstrap) == FL_OK) {
        placement_bootstrap_close(&bootstrap);
    } else if (which == 1) {
        (void)!placement_node_update_decode(input, &node);
    } else if (which == 2 && placement_map_view_decode(input, &view) == FL_OK) {
        placement_map_view_release(view);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned which = fuzz_below(&in, 10);
    uint8_t kind = fuzz_u8(&in);
    struct fl_bytes rest = fl_bytes(in.at, in.left);

    switch (which) {
    case 0:
        try_command(rest);
        break;
    case 1:
        try_body(kind % 8, rest);
        break;
    case 2:
        try_read(rest);
        break;
    case 3:
        try_result(rest);
        break;
    case 4:
        try_membership(rest);
        break;
    case 5:
        try_range(rest);
        break;
    case 6:
        try_sessions(rest);
        break;
    default:
        try_placement(which - 7, rest);
        break;
    }
    return 0;
}
