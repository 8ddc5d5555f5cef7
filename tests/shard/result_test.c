/* Goal: results survive their encoding and forwarding, hostile results are refused, and merging the
 * answers of several ranges gives what one range would have answered.
 *
 * Method: round trips of nested results, every truncation and damaged copies; random sets of pairs
 * cut into parts, answered part by part by a naive reader, merged, and compared with the whole. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/prng.h"
#include "shard/result.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fl_bytes str(const char *text)
{
    return fl_bytes_of_string(text);
}

static const struct shard_kv pair = {.key = {(const uint8_t *)"key", 3},
                                     .value = {(const uint8_t *)"value", 5},
                                     .create_revision = 300,
                                     .mod_revision = UINT64_MAX,
                                     .version = 2,
                                     .lease = -5};

/* A transaction that holds one of everything, nested. */
static struct fl_buf *sample(void)
{
    struct shard_result_writer w;
    struct fl_buf *buf;

    shard_result_writer_init(&w);
    shard_result_begin(&w, SHARD_RESULT_TXN, 9);
    shard_result_set_flags(&w, false, true, false);
    shard_result_begin(&w, SHARD_RESULT_PUT, 9);
    shard_result_set_flags(&w, false, false, true);
    shard_result_add_kv(&w, &pair);
    shard_result_end(&w);
    shard_result_begin(&w, SHARD_RESULT_TXN, 0);
    shard_result_begin(&w, SHARD_RESULT_RANGE, 8);
    shard_result_set_count(&w, 70);
    shard_result_set_flags(&w, true, false, false);
    shard_result_add_kv(&w, &pair);
    shard_result_add_kv(&w, &pair);
    shard_result_end(&w);
    shard_result_set_revision(&w, 9);
    shard_result_end(&w);
    shard_result_begin(&w, SHARD_RESULT_DELETE_RANGE, 9);
    shard_result_set_count(&w, 3);
    shard_result_end(&w);
    shard_result_end(&w);
    assert_int_equal(shard_result_take(&w, &buf), FL_OK);
    shard_result_writer_close(&w);
    return buf;
}

static void assert_pair(const struct shard_kv *kv)
{
    assert_true(fl_bytes_equal(kv->key, pair.key) && fl_bytes_equal(kv->value, pair.value));
    assert_true(kv->create_revision == pair.create_revision);
    assert_true(kv->mod_revision == pair.mod_revision);
    assert_true(kv->version == pair.version && kv->lease == pair.lease);
}

static void test_nested_round_trip(void **state)
{
    struct fl_buf *buf = sample();
    struct shard_result txn;
    struct shard_result part;
    struct shard_result inner;
    struct shard_kv kv;

    (void)state;
    assert_int_equal(shard_result_check(fl_buf_bytes(buf)), FL_OK);
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &txn), FL_OK);
    assert_true(txn.kind == SHARD_RESULT_TXN && txn.succeeded && txn.revision == 9);
    assert_int_equal(txn.response_count, 3);
    assert_true(shard_result_next_response(&txn, &part));
    assert_true(part.kind == SHARD_RESULT_PUT && part.has_prev);
    assert_true(shard_result_next_kv(&part, &kv));
    assert_pair(&kv);
    assert_false(shard_result_next_kv(&part, &kv));
    assert_true(shard_result_next_response(&txn, &part));
    assert_true(part.kind == SHARD_RESULT_TXN && !part.succeeded && part.revision == 9);
    assert_true(shard_result_next_response(&part, &inner));
    assert_true(inner.more && inner.count == 70 && inner.revision == 8);
    assert_int_equal(inner.kv_count, 2);
    assert_true(shard_result_next_kv(&inner, &kv) && shard_result_next_kv(&inner, &kv));
    assert_pair(&kv);
    assert_false(shard_result_next_response(&part, &inner));
    assert_true(shard_result_next_response(&txn, &part));
    assert_true(part.kind == SHARD_RESULT_DELETE_RANGE && part.count == 3 && part.kv_count == 0);
    assert_false(shard_result_next_response(&txn, &part));
    assert_false(txn.part.bad);
    fl_buf_release(buf);
}

static void test_plain_results(void **state)
{
    struct fl_buf *buf = shard_result_plain(SHARD_RESULT_PUT, 5);
    struct shard_result result;

    (void)state;
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &result), FL_OK);
    assert_true(result.kind == SHARD_RESULT_PUT && result.revision == 5 && !result.has_prev);
    fl_buf_release(buf);
    buf = shard_result_deleted(6, 2);
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &result), FL_OK);
    assert_true(result.kind == SHARD_RESULT_DELETE_RANGE && result.count == 2);
    fl_buf_release(buf);
}

static void test_hostile_bytes(void **state)
{
    struct fl_buf *buf = sample();
    struct fl_prng prng;

    (void)state;
    for (uint32_t len = 0; len < buf->len; len++) {
        uint8_t *cut = malloc(len + 1);

        memcpy(cut, buf->data, len);
        assert_int_equal(shard_result_check(fl_bytes(cut, len)), FL_BAD_MESSAGE);
        free(cut);
    }
    fl_prng_seed(&prng, 8);
    for (unsigned round = 0; round < 60000; round++) {
        uint8_t *copy = malloc(buf->len);
        size_t changes = 1 + (size_t)fl_prng_below(&prng, 3);

        memcpy(copy, buf->data, buf->len);
        while (changes-- != 0) {
            copy[fl_prng_below(&prng, buf->len)] = (uint8_t)fl_prng_next(&prng);
        }
        (void)!shard_result_check(fl_bytes(copy, buf->len));
        free(copy);
    }
    fl_buf_release(buf);
}

static void test_a_writer_keeps_to_its_bound(void **state)
{
    struct shard_result_writer w;
    struct fl_buf *buf;

    (void)state;
    shard_result_writer_init(&w);
    w.bytes_max = 40;
    shard_result_begin(&w, SHARD_RESULT_RANGE, 1);
    shard_result_add_kv(&w, &pair);
    shard_result_end(&w);
    assert_int_equal(shard_result_take(&w, &buf), FL_TOO_LARGE);
    assert_null(buf);
    shard_result_writer_close(&w);
}

/* ---- merging ---- */

#define PAIRS_MAX 40

static struct shard_kv kvs[PAIRS_MAX];
static char keys[PAIRS_MAX][8];
static char values[PAIRS_MAX][8];

static int
order_of(const struct shard_read *read, const struct shard_kv *a, const struct shard_kv *b)
{
    int order = 0;

    if (read->sort_target == SHARD_SORT_MOD) {
        order = a->mod_revision < b->mod_revision ? -1 : a->mod_revision > b->mod_revision;
    } else if (read->sort_target == SHARD_SORT_VALUE) {
        order = fl_bytes_compare(a->value, b->value);
    } else if (read->sort_target == SHARD_SORT_VERSION) {
        order = a->version < b->version ? -1 : a->version > b->version;
    } else if (read->sort_target == SHARD_SORT_CREATE) {
        order =
            a->create_revision < b->create_revision ? -1 : a->create_revision > b->create_revision;
    } else {
        order = fl_bytes_compare(a->key, b->key);
    }
    return read->sort_order == SHARD_SORT_DESCEND ? -order : order;
}

/* What a range that holds pairs from .. to - 1 answers: insertion sort, cut. */
static struct fl_buf *answer(const struct shard_read *read, size_t from, size_t to)
{
    const struct shard_kv *sorted[PAIRS_MAX];
    struct shard_result_writer w;
    struct fl_buf *buf;
    size_t n = 0;
    size_t shown;

    for (size_t i = from; i < to; i++) {
        size_t at = n;

        if (read->min_mod_revision != 0 && (int64_t)kvs[i].mod_revision < read->min_mod_revision) {
            continue;
        }
        while (at > 0 && order_of(read, &kvs[i], sorted[at - 1]) < 0) {
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = &kvs[i];
        n++;
    }
    shown = read->limit != 0 && read->limit < n ? (size_t)read->limit : n;
    shard_result_writer_init(&w);
    shard_result_begin(&w, SHARD_RESULT_RANGE, 50);
    shard_result_set_count(&w, to - from);
    shard_result_set_flags(&w, shown < n && !read->count_only, false, false);
    for (size_t i = 0; i < shown && !read->count_only; i++) {
        struct shard_kv kv = *sorted[i];

        kv.value = read->keys_only ? fl_bytes(NULL, 0) : kv.value;
        shard_result_add_kv(&w, &kv);
    }
    shard_result_end(&w);
    assert_int_equal(shard_result_take(&w, &buf), FL_OK);
    return buf;
}

static void merge_once(struct fl_prng *prng)
{
    size_t count = (size_t)fl_prng_below(prng, PAIRS_MAX + 1);
    size_t parts = 1 + (size_t)fl_prng_below(prng, 4);
    struct fl_buf *bufs[4];
    struct fl_bytes inputs[4];
    struct shard_read read = {.key = str("a"), .end = str("z")};
    struct shard_read part;
    struct fl_buf *whole;
    struct fl_buf *merged;
    size_t from = 0;

    for (size_t i = 0; i < count; i++) {
        snprintf(keys[i], sizeof(keys[i]), "k%02zu", i);
        snprintf(values[i], sizeof(values[i]), "v%u", (unsigned)fl_prng_below(prng, 5));
        kvs[i] = (struct shard_kv){.key = str(keys[i]),
                                   .value = str(values[i]),
                                   .create_revision = 1 + fl_prng_below(prng, 9),
                                   .mod_revision = 10 + fl_prng_below(prng, 9),
                                   .version = 1 + fl_prng_below(prng, 3)};
    }
    read.sort_order = (uint32_t)fl_prng_below(prng, 3);
    read.sort_target = (uint32_t)fl_prng_below(prng, 5);
    read.limit = fl_prng_below(prng, 12);
    read.keys_only = fl_prng_below(prng, 3) == 0;
    read.count_only = fl_prng_below(prng, 5) == 0;
    read.min_mod_revision = fl_prng_below(prng, 2) == 0 ? 0 : 13;
    shard_read_part(&read, &part);
    for (size_t i = 0; i < parts; i++) {
        size_t to = i + 1 == parts ? count : from + (size_t)fl_prng_below(prng, count - from + 1);

        bufs[i] = answer(&part, from, to);
        inputs[i] = fl_buf_bytes(bufs[i]);
        from = to;
    }
    whole = answer(&read, 0, count);
    assert_int_equal(shard_result_merge(&read, inputs, parts, 50, &merged), FL_OK);
    assert_int_equal(merged->len, whole->len);
    assert_memory_equal(merged->data, whole->data, whole->len);
    fl_buf_release(merged);
    fl_buf_release(whole);
    for (size_t i = 0; i < parts; i++) {
        fl_buf_release(bufs[i]);
    }
}

static void test_merged_parts_equal_the_whole(void **state)
{
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 2);
    for (unsigned i = 0; i < 3000; i++) {
        merge_once(&prng);
    }
}

static void test_merging_deletes_and_nonsense(void **state)
{
    struct fl_buf *a = shard_result_deleted(3, 2);
    struct fl_buf *b = shard_result_deleted(4, 5);
    struct fl_bytes parts[] = {fl_buf_bytes(a), fl_buf_bytes(b)};
    const struct shard_read read = {.key = str("a")};
    struct shard_result result;
    struct fl_buf *merged;

    (void)state;
    assert_int_equal(shard_result_merge_deleted(parts, 2, 4, &merged), FL_OK);
    assert_int_equal(shard_result_decode(fl_buf_bytes(merged), &result), FL_OK);
    assert_true(result.count == 7 && result.revision == 4 && result.kv_count == 0);
    fl_buf_release(merged);
    assert_int_equal(shard_result_merge(&read, parts, 2, 4, &merged), FL_BAD_MESSAGE);
    assert_null(merged);
    parts[1].len -= 1;
    assert_int_equal(shard_result_merge_deleted(parts, 2, 4, &merged), FL_BAD_MESSAGE);
    fl_buf_release(a);
    fl_buf_release(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nested_round_trip),
        cmocka_unit_test(test_plain_results),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_a_writer_keeps_to_its_bound),
        cmocka_unit_test(test_merged_parts_equal_the_whole),
        cmocka_unit_test(test_merging_deletes_and_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
