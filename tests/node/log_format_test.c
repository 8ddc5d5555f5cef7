/* Goal: every row of the log store comes back as it was written, keys sort as numbers do, and no
 * damaged, cut or hostile row is believed.
 * Method: round trips, pinned offsets, every bit flipped, every truncation, random bytes. */
#include "node/log_format.h"

#include "raftgroup/base/buf.h"
#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct node_log_state STATE = {
    .replica_id = 3,
    .incarnation = 2,
    .term = 9,
    .vote = 7,
    .commit = 40,
    .last = 44,
    .last_term = 8,
    .truncated = 12,
    .truncated_term = 5,
    .damaged = true,
};

/* Goal: byte order of keys is the order of their numbers, and parsing inverts building.
 * Method: numbers around byte borders, compared pairwise. */
static void test_keys_sort_as_numbers(void **state)
{
    static const uint64_t N[] = {0, 1, 255, 256, 65535, UINT32_MAX, UINT64_C(1) << 40, UINT64_MAX};
    size_t n = sizeof(N) / sizeof(N[0]);
    uint64_t group;
    uint64_t incarnation;
    raft_index first;

    (void)state;
    for (size_t i = 0; i < n * n * n; i++) {
        struct node_log_key a = node_log_key_entries(N[i / n / n], N[i / n % n], N[i % n]);

        assert_true(
            node_log_key_parse_entries(node_log_key_bytes(&a), &group, &incarnation, &first));
        assert_true(group == N[i / n / n] && incarnation == N[i / n % n] && first == N[i % n]);
        if (i != 0) {
            size_t k = i - 1;
            struct node_log_key b = node_log_key_entries(N[k / n / n], N[k / n % n], N[k % n]);

            assert_true(fl_bytes_compare(node_log_key_bytes(&b), node_log_key_bytes(&a)) < 0);
        }
    }
}

/* Goal: kinds of rows do not mix. Method: each key is offered to every parser. */
static void test_keys_are_told_apart(void **state)
{
    struct node_log_key keys[] = {
        node_log_key_chain(),
        node_log_key_entries(1, 1, 1),
        node_log_key_state(1),
        node_log_key_identity("uuid"),
        node_log_key_intent(1, 2),
        node_log_key_tombstone(1),
    };
    uint64_t group;
    uint64_t incarnation;
    raft_index first;
    uint8_t kind;

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct fl_bytes k = node_log_key_bytes(&keys[i]);
        enum node_log_tag tag = (enum node_log_tag)k.data[0];
        struct node_log_key end = node_log_key_tag_end(tag);

        assert_int_equal(i == 1, node_log_key_parse_entries(k, &group, &incarnation, &first));
        assert_int_equal(i == 2, node_log_key_parse_group(k, NODE_LOG_TAG_STATE, &group));
        assert_int_equal(i == 4, node_log_key_parse_intent(k, &group, &kind));
        assert_int_equal(i == 5, node_log_key_parse_group(k, NODE_LOG_TAG_TOMBSTONE, &group));
        assert_true(fl_bytes_compare(k, node_log_key_bytes(&end)) < 0);
        if (i != 0) {
            assert_true(fl_bytes_compare(node_log_key_bytes(&keys[i - 1]), k) < 0);
        }
        k.len--;
        assert_false(node_log_key_parse_entries(k, &group, &incarnation, &first));
        assert_false(node_log_key_parse_group(k, NODE_LOG_TAG_STATE, &group));
        assert_false(node_log_key_parse_group(k, NODE_LOG_TAG_TOMBSTONE, &group));
    }
}

static enum fl_status decode_any(unsigned kind, struct fl_bytes value)
{
    struct node_log_chain chain;
    struct node_log_state s;
    struct node_log_tombstone tombstone;

    switch (kind) {
    case 0:
        return node_log_chain_decode(value, &chain);
    case 1:
        return node_log_state_decode(77, value, &s);
    default:
        return node_log_tombstone_decode(77, value, &tombstone);
    }
}

static void encode_any(unsigned kind, struct fl_writer *out)
{
    struct node_log_chain chain = {.batch = 5, .digest = UINT64_MAX};
    struct node_log_tombstone tombstone = {.next_replica_id = 4, .next_incarnation = 2};

    switch (kind) {
    case 0:
        node_log_chain_encode(out, &chain);
        return;
    case 1:
        node_log_state_encode(out, 77, &STATE);
        return;
    default:
        node_log_tombstone_encode(out, 77, &tombstone);
    }
}

/* Goal: sealed rows survive the round trip; any flipped bit and any cut is noticed; a row moved to
 * another group is noticed (its key is under the checksum). */
static void test_sealed_rows_notice_damage(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct fl_writer w;
        struct node_log_state s;

        fl_writer_init(&w);
        encode_any(kind, &w);
        assert_int_equal(decode_any(kind, fl_writer_bytes(&w)), FL_OK);
        for (size_t bit = 0; bit < w.len * 8; bit++) {
            w.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
            assert_int_equal(decode_any(kind, fl_writer_bytes(&w)), FL_CORRUPT);
            w.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        }
        for (size_t len = 0; len < w.len; len++) {
            assert_int_not_equal(decode_any(kind, fl_bytes(w.data, len)), FL_OK);
        }
        if (kind == 1) {
            assert_int_equal(node_log_state_decode(78, fl_writer_bytes(&w), &s), FL_CORRUPT);
            assert_int_equal(node_log_state_decode(77, fl_writer_bytes(&w), &s), FL_OK);
            assert_int_equal(w.len, NODE_LOG_STATE_BYTES);
            assert_true(s.replica_id == 3 && s.incarnation == 2 && s.term == 9 && s.vote == 7);
            assert_true(s.commit == 40 && s.last == 44 && s.last_term == 8);
            assert_true(s.truncated == 12 && s.truncated_term == 5 && s.damaged);
        }
        fl_writer_close(&w);
    }
}

/* Goal: a row of a newer program is told apart from a damaged one. Method: the format byte of a
 * valid row is raised, without and with a checksum that fits. */
static void test_newer_format_is_refused(void **state)
{
    struct node_log_key key = node_log_key_intent(1, 1);
    struct fl_bytes k = node_log_key_bytes(&key);
    struct fl_bytes body;
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    node_log_seal(&w, k, fl_bytes_of_string("body"));
    assert_int_equal(node_log_unseal(k, fl_writer_bytes(&w), &body), FL_OK);
    assert_true(fl_bytes_equal(body, fl_bytes_of_string("body")));
    w.data[0] = NODE_LOG_FORMAT + 1;
    assert_int_equal(node_log_unseal(k, fl_writer_bytes(&w), &body), FL_CORRUPT);
    fl_put_u32le(w.data + w.len - 4, fl_crc32c(fl_crc32c(0, k.data, k.len), w.data, w.len - 4));
    assert_int_equal(node_log_unseal(k, fl_writer_bytes(&w), &body), FL_NEWER_FORMAT);
    fl_writer_close(&w);
}

/* Goal: a state row that contradicts itself is not believed although its checksum fits. */
static void test_contradicting_state_is_refused(void **state)
{
    struct node_log_state bad[7];

    (void)state;
    assert_true(node_log_state_is_valid(&STATE));
    for (size_t i = 0; i < 7; i++) {
        bad[i] = STATE;
    }
    bad[0].replica_id = 0;
    bad[1].incarnation = 0;
    bad[2].truncated = 45;     /* > last */
    bad[3].truncated_term = 9; /* > last_term */
    bad[4].last_term = 10;     /* > term */
    bad[5].commit = 45;        /* > last */
    bad[6].truncated = 44;     /* nothing kept, but two terms for one index */
    for (size_t i = 0; i < 7; i++) {
        assert_false(node_log_state_is_valid(&bad[i]));
    }
}

static void
write_record(struct fl_writer *w, uint64_t group, uint64_t incarnation, raft_index first)
{
    node_log_record_begin(w, group, incarnation, first, 3);
    for (unsigned i = 0; i < 3; i++) {
        struct node_log_record_entry entry = {
            .index = first + i,
            .term = 4 + i,
            .type = (uint8_t)i,
            .payload = fl_bytes("payload", i * 3),
        };

        node_log_record_add(w, group, &entry);
    }
}

/* Reads the whole record; FL_OK only if every entry is what write_record wrote. */
static enum fl_status read_record(struct fl_bytes key, struct fl_bytes value)
{
    struct node_log_record record;
    struct node_log_record_entry entry;

    FL_TRY(node_log_record_open(key, value, &record));
    for (unsigned i = 0; record.next <= record.last; i++) {
        FL_TRY(node_log_record_next(&record, &entry));
        assert_true(entry.index == record.first + i && entry.term == 4 + i && entry.type == i);
        assert_true(fl_bytes_equal(entry.payload, fl_bytes("payload", i * 3)));
    }
    return node_log_record_done(&record) && record.last == record.first + 2 ? FL_OK : FL_CORRUPT;
}

/* Goal: entries come back; any flipped bit is noticed, in payloads, headers and padding; so are
 * cuts, bytes behind the end, and a record under the key of another group, incarnation or index. */
static void test_record_notices_damage(void **state)
{
    struct node_log_key key = node_log_key_entries(7, 2, 100);
    struct node_log_key foreign[] = {
        node_log_key_entries(8, 2, 100),
        node_log_key_entries(7, 3, 100),
        node_log_key_entries(7, 2, 101),
        node_log_key_state(7),
    };
    struct fl_bytes k = node_log_key_bytes(&key);
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    write_record(&w, 7, 2, 100);
    assert_int_equal(w.len, NODE_LOG_RECORD_HEADER + 3 * NODE_LOG_ENTRY_HEADER + 0 + 3 + 6);
    assert_int_equal(read_record(k, fl_writer_bytes(&w)), FL_OK);
    for (size_t bit = 0; bit < w.len * 8; bit++) {
        w.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(read_record(k, fl_writer_bytes(&w)), FL_CORRUPT);
        w.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t len = 0; len < w.len; len++) {
        /* On the heap at its exact size, so that a read behind the end is seen by the sanitizer. */
        struct fl_buf *copy = fl_buf_copy(fl_bytes(w.data, len));

        assert_int_not_equal(read_record(k, fl_buf_bytes(copy)), FL_OK);
        fl_buf_release(copy);
    }
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        assert_int_equal(read_record(node_log_key_bytes(&foreign[i]), fl_writer_bytes(&w)),
                         FL_CORRUPT);
    }
    fl_write_u8(&w, 0);
    assert_int_equal(read_record(k, fl_writer_bytes(&w)), FL_CORRUPT);
    fl_writer_close(&w);
}

/* Goal: skipping gives the payload lengths and lands on the same entries as reading. */
static void test_record_skips(void **state)
{
    struct node_log_key key = node_log_key_entries(7, 2, 100);
    struct node_log_record record;
    struct node_log_record_entry entry;
    struct fl_writer w;
    uint32_t len;

    (void)state;
    fl_writer_init(&w);
    write_record(&w, 7, 2, 100);
    assert_int_equal(node_log_record_open(node_log_key_bytes(&key), fl_writer_bytes(&w), &record),
                     FL_OK);
    assert_int_equal(node_log_record_skip(&record, &len), FL_OK);
    assert_int_equal(len, 0);
    assert_int_equal(node_log_record_skip(&record, &len), FL_OK);
    assert_int_equal(len, 3);
    assert_int_equal(node_log_record_next(&record, &entry), FL_OK);
    assert_true(entry.index == 102 && entry.term == 6 && entry.type == RAFT_ENT_CONF);
    assert_true(node_log_record_done(&record));
    assert_int_equal(node_log_record_next(&record, &entry), FL_CORRUPT);
    assert_int_equal(node_log_record_skip(&record, &len), FL_CORRUPT);
    fl_writer_close(&w);
}

/* Goal: a hostile count cannot make the reader run away, even under a checksum that fits.
 * Method: the count is raised and the header's checksum recomputed, as an attacker would. */
static void test_record_with_hostile_count(void **state)
{
    static const uint32_t COUNTS[] = {0, 4, 1000, UINT32_MAX};
    struct node_log_key key = node_log_key_entries(7, 2, 100);
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    write_record(&w, 7, 2, 100);
    for (size_t i = 0; i < sizeof(COUNTS) / sizeof(COUNTS[0]); i++) {
        uint8_t header[32];

        fl_put_u32le(w.data + 4, COUNTS[i]);
        fl_put_u64le(header, 7);
        fl_put_u64le(header + 8, 2);
        memcpy(header + 16, w.data, 16);
        fl_put_u32le(w.data + 16, fl_crc32c(0, header, sizeof(header)));
        assert_int_equal(read_record(node_log_key_bytes(&key), fl_writer_bytes(&w)), FL_CORRUPT);
    }
    fl_writer_close(&w);
}

/* Goal: random bytes are refused by every decoder without a wild read. */
static void test_random_bytes_are_refused(void **state)
{
    struct node_log_key key = node_log_key_entries(7, 2, 100);
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 1);
    for (int i = 0; i < 20000; i++) {
        struct fl_buf *buf = fl_buf_create(fl_prng_below(&prng, 128));

        for (uint32_t n = 0; n < buf->len; n++) {
            buf->data[n] = (uint8_t)fl_prng_next(&prng);
        }
        for (unsigned kind = 0; kind < 3; kind++) {
            assert_int_not_equal(decode_any(kind, fl_buf_bytes(buf)), FL_OK);
        }
        assert_int_not_equal(read_record(node_log_key_bytes(&key), fl_buf_bytes(buf)), FL_OK);
        fl_buf_release(buf);
    }
}

/* Goal: the digest of the store changes when two rows swap their values or one bit of one row turns
 * (LS-6), which XOR alone over the bytes would not show. */
static void test_row_hash_binds_key_and_value(void **state)
{
    struct fl_bytes a = fl_bytes_of_string("a");
    struct fl_bytes b = fl_bytes_of_string("b");

    (void)state;
    assert_true((node_log_row_hash(a, a) ^ node_log_row_hash(b, b)) !=
                (node_log_row_hash(a, b) ^ node_log_row_hash(b, a)));
    assert_true(node_log_row_hash(a, a) != node_log_row_hash(a, b));
    assert_true(node_log_row_hash(a, a) != node_log_row_hash(b, a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_sort_as_numbers),
        cmocka_unit_test(test_keys_are_told_apart),
        cmocka_unit_test(test_sealed_rows_notice_damage),
        cmocka_unit_test(test_newer_format_is_refused),
        cmocka_unit_test(test_contradicting_state_is_refused),
        cmocka_unit_test(test_record_notices_damage),
        cmocka_unit_test(test_record_skips),
        cmocka_unit_test(test_record_with_hostile_count),
        cmocka_unit_test(test_random_bytes_are_refused),
        cmocka_unit_test(test_row_hash_binds_key_and_value),
    };

    return cmocka_run_group_tests_name("log_format", tests, NULL, NULL);
}
