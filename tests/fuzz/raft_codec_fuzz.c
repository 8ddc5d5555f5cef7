/* Goal: whatever arrives as a message, a change of membership or a configuration is refused or
 * understood; what is understood survives encoding and decoding unchanged.
 *
 * Method: the first byte chooses the decoder. What it accepts is encoded, decoded and encoded
 * again: both encodings are equal, and within their announced size. */
#include "tests/fuzz/input.h"

#include "raftgroup/codec.h"

static void try_message(struct fl_bytes input)
{
    struct fl_reader in = fl_reader(input);
    struct raft_msg m;
    struct raft_msg again;
    uint8_t one[RAFT_MSG_BYTES_MAX];
    uint8_t two[RAFT_MSG_BYTES_MAX];
    size_t len;

    if (raft_msg_decode(&in, &m) != FL_OK) {
        return;
    }
    len = raft_msg_encode(&m, one);
    in = fl_reader(fl_bytes(one, len));
    fuzz_check(raft_msg_decode(&in, &again) == FL_OK && fl_reader_done(&in));
    fuzz_check(raft_msg_encode(&again, two) == len && memcmp(one, two, len) == 0);
}

static void try_changes(struct fl_bytes input)
{
    struct fl_reader in = fl_reader(input);
    struct raft_changes c;
    struct raft_changes again;
    uint8_t one[RAFT_CHANGES_BYTES_MAX];
    uint8_t two[RAFT_CHANGES_BYTES_MAX];
    struct raft_conf conf = {.n = 3, .in = 7, .id = {1, 2, 3}};
    size_t len;

    if (raft_changes_decode(&in, &c) != FL_OK) {
        return;
    }
    len = raft_changes_encode(&c, one);
    in = fl_reader(fl_bytes(one, len));
    fuzz_check(raft_changes_decode(&in, &again) == FL_OK && fl_reader_done(&in));
    fuzz_check(raft_changes_encode(&again, two) == len && memcmp(one, two, len) == 0);
    (void)!raft_conf_change(&conf, &c);
    fuzz_check(raft_conf_valid(&conf));
}

static void try_conf(struct fl_bytes input)
{
    struct fl_reader in = fl_reader(input);
    struct raft_conf conf;
    struct raft_conf again;
    uint8_t one[RAFT_CONF_BYTES_MAX];
    size_t len;

    if (raft_conf_decode(&in, &conf) != FL_OK) {
        return;
    }
    fuzz_check(raft_conf_valid(&conf));
    len = raft_conf_encode(&conf, one);
    in = fl_reader(fl_bytes(one, len));
    fuzz_check(raft_conf_decode(&in, &again) == FL_OK && fl_reader_done(&in));
    fuzz_check(raft_conf_equal(&conf, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned which = fuzz_below(&in, 3);
    struct fl_bytes rest = fl_bytes(in.at, in.left);

    if (which == 0) {
        try_message(rest);
    } else if (which == 1) {
        try_changes(rest);
    } else {
        try_conf(rest);
    }
    return 0;
}
