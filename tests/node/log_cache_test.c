/* Goal: the cache holds exactly the entries the rules say, answers fit() as the core needs it,
 * keeps to its budget, and leaks no reference. Method: the rules one by one, then 200 000 random
 * steps against a plain array; every payload's reference count is checked at the end. */
#include "node/log_cache.h"

#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COST NODE_LOG_CACHE_ENTRY_BYTES

static struct fl_buf *payload(size_t len)
{
    struct fl_buf *buf = fl_buf_create(len);

    memset(buf->data, 'x', len);
    return buf;
}

static void append(struct node_log_cache *cache, raft_index index, raft_term term, size_t len)
{
    struct fl_buf *buf = payload(len);

    node_log_cache_append(cache, index, term, RAFT_ENT_NORMAL, buf);
    fl_buf_release(buf);
}

static void append_range(struct node_log_cache *cache, raft_index lo, raft_index hi, size_t len)
{
    for (raft_index i = lo; i <= hi; i++) {
        append(cache, i, 1, len);
    }
}

/* Goal: append, get, replace from a conflict on, start over after a gap. */
static void test_window(void **state)
{
    struct node_log_cache_pool *pool = node_log_cache_pool_create(1 << 20);
    struct node_log_cache *cache = node_log_cache_create(pool, 11);

    (void)state;
    assert_true(node_log_cache_first(cache) == 11 && node_log_cache_last(cache) == 10);
    assert_null(node_log_cache_get(cache, 11));
    append_range(cache, 11, 110, 5);
    assert_null(node_log_cache_get(cache, 10));
    assert_null(node_log_cache_get(cache, 111));
    assert_true(node_log_cache_get(cache, 50)->term == 1);
    assert_int_equal(node_log_cache_bytes(cache), 100 * (5 + COST));
    append(cache, 60, 2, 7); /* conflict */
    assert_true(node_log_cache_last(cache) == 60 && node_log_cache_get(cache, 60)->term == 2);
    assert_null(node_log_cache_get(cache, 61));
    assert_int_equal(node_log_cache_bytes(cache), 49 * (5 + COST) + 7 + COST);
    append(cache, 5, 3, 1); /* conflict below the window */
    assert_true(node_log_cache_first(cache) == 5 && node_log_cache_last(cache) == 5);
    append(cache, 100, 3, 1); /* gap */
    assert_true(node_log_cache_first(cache) == 100 && node_log_cache_last(cache) == 100);
    assert_null(node_log_cache_get(cache, 5));
    node_log_cache_append(cache, 101, 3, RAFT_ENT_NOOP, NULL);
    assert_int_equal(node_log_cache_get(cache, 101)->payload->len, 0);
    assert_int_equal(node_log_cache_get(cache, 101)->type, RAFT_ENT_NOOP);
    node_log_cache_truncate_from(cache, 101);
    assert_true(node_log_cache_last(cache) == 100);
    node_log_cache_truncate_from(cache, 40);
    assert_true(node_log_cache_first(cache) == 40 && node_log_cache_last(cache) == 39);
    assert_int_equal(node_log_cache_bytes(cache), 0);
    append(cache, 40, 4, 1);
    assert_true(node_log_cache_get(cache, 40)->term == 4);
    node_log_cache_reset(cache, 7);
    assert_true(node_log_cache_first(cache) == 7 && node_log_cache_bytes(cache) == 0);
    node_log_cache_destroy(cache);
    node_log_cache_pool_destroy(pool);
}

/* Goal: what others may still need stays, whatever is asked to go. */
static void test_keep(void **state)
{
    struct node_log_cache_pool *pool = node_log_cache_pool_create(0);
    struct node_log_cache *cache = node_log_cache_create(pool, 1);

    (void)state;
    append_range(cache, 1, 10, 5);
    node_log_cache_trim_to(cache, 10);
    node_log_cache_pool_trim(pool);
    assert_true(node_log_cache_first(cache) == 1); /* nothing is known to be written */
    node_log_cache_set_keep(cache, 8);
    node_log_cache_trim_to(cache, 3);
    assert_true(node_log_cache_first(cache) == 4);
    node_log_cache_trim_to(cache, 100);
    assert_true(node_log_cache_first(cache) == 8);
    node_log_cache_pool_trim(pool);
    assert_true(node_log_cache_first(cache) == 8);
    node_log_cache_set_keep(cache, 11);
    node_log_cache_pool_trim(pool);
    assert_int_equal(node_log_cache_pool_bytes(pool), 0);
    assert_true(node_log_cache_first(cache) == 11 && node_log_cache_last(cache) == 10);
    node_log_cache_destroy(cache);
    node_log_cache_pool_destroy(pool);
}

/* Goal: over budget, the group appended to longest ago gives first, and no more than needed. */
static void test_budget(void **state)
{
    struct node_log_cache_pool *pool = node_log_cache_pool_create(30 * (36 + COST));
    struct node_log_cache *cache[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        cache[i] = node_log_cache_create(pool, 1);
        node_log_cache_set_keep(cache[i], UINT64_MAX);
        append_range(cache[i], 1, 10, 36);
    }
    node_log_cache_pool_trim(pool);
    assert_int_equal(node_log_cache_pool_bytes(pool), 30 * (36 + COST));
    append(cache[0], 11, 1, 36); /* now cache 1 is the oldest */
    append(cache[0], 12, 1, 36);
    node_log_cache_pool_trim(pool);
    assert_int_equal(node_log_cache_pool_bytes(pool), 30 * (36 + COST));
    assert_true(node_log_cache_first(cache[0]) == 1);
    assert_true(node_log_cache_first(cache[1]) == 3);
    assert_true(node_log_cache_first(cache[2]) == 1);
    append_range(cache[2], 11, 20, 36); /* takes the rest of cache 1, then of cache 0 */
    node_log_cache_pool_trim(pool);
    assert_true(node_log_cache_first(cache[1]) == 11);
    assert_true(node_log_cache_first(cache[0]) == 3);
    assert_true(node_log_cache_first(cache[2]) == 1);
    for (int i = 0; i < 3; i++) {
        node_log_cache_destroy(cache[i]);
    }
    node_log_cache_pool_destroy(pool);
}

/* Goal: fit() counts payload bytes, always lets one entry pass, and says 0 for what is not there.
 */
static void test_fit(void **state)
{
    struct node_log_cache_pool *pool = node_log_cache_pool_create(1 << 20);
    struct node_log_cache *cache = node_log_cache_create(pool, 5);
    uint64_t bytes;

    (void)state;
    append_range(cache, 5, 14, 100);
    assert_int_equal(node_log_cache_fit(cache, 5, 14, 1000, &bytes), 10);
    assert_int_equal(bytes, 1000);
    assert_int_equal(node_log_cache_fit(cache, 5, 14, 999, &bytes), 9);
    assert_int_equal(bytes, 900);
    assert_int_equal(node_log_cache_fit(cache, 5, 7, 1000, &bytes), 3);
    assert_int_equal(node_log_cache_fit(cache, 5, 14, 1, &bytes), 1);
    assert_int_equal(bytes, 100);
    assert_int_equal(node_log_cache_fit(cache, 5, 14, 0, &bytes), 1);
    assert_int_equal(node_log_cache_fit(cache, 14, 30, 1000, &bytes), 1);
    assert_int_equal(node_log_cache_fit(cache, 4, 14, 1000, &bytes), 0);
    assert_int_equal(bytes, 0);
    assert_int_equal(node_log_cache_fit(cache, 15, 20, 1000, &bytes), 0);
    node_log_cache_append(cache, 15, 1, RAFT_ENT_NOOP, NULL);
    assert_int_equal(node_log_cache_fit(cache, 15, 15, 0, &bytes), 1);
    assert_int_equal(bytes, 0);
    node_log_cache_destroy(cache);
    node_log_cache_pool_destroy(pool);
}

/* Goal: what was read back for a laggard is found, counted, replaced, and gone after a conflict. */
static void test_lent(void **state)
{
    struct node_log_cache_pool *pool = node_log_cache_pool_create(1 << 20);
    struct node_log_cache *cache = node_log_cache_create(pool, 100);
    struct node_log_entry entries[3];
    uint64_t bytes;

    (void)state;
    append_range(cache, 100, 104, 10);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 3; i++) {
            entries[i] = (struct node_log_entry){.term = 1, .payload = payload(20)};
        }
        entries[2].payload->len = 20;
        node_log_cache_lend(cache, 97, entries, 3);
        assert_null(entries[0].payload);
    }
    assert_int_equal(node_log_cache_bytes(cache), 5 * (10 + COST) + 3 * (20 + COST));
    assert_null(node_log_cache_get(cache, 96));
    assert_int_equal(node_log_cache_get(cache, 97)->payload->len, 20);
    assert_int_equal(node_log_cache_fit(cache, 98, 104, 1000, &bytes), 7); /* across both windows */
    assert_int_equal(bytes, 2 * 20 + 5 * 10);
    node_log_cache_truncate_from(cache, 99);
    assert_null(node_log_cache_get(cache, 98)); /* part of what was lent is no longer true */
    assert_int_equal(node_log_cache_pool_bytes(pool), 0);
    node_log_cache_lend(cache, 97, entries, 0);
    assert_null(node_log_cache_get(cache, 97));
    node_log_cache_destroy(cache);
    node_log_cache_pool_destroy(pool);
}

enum { MODEL_MAX = 4096, BUFFERS = 64 };

/* What must be true of a cache after any step. */
struct model {
    raft_index first;
    raft_index next;
    raft_index keep;
    raft_term term[MODEL_MAX];
    struct fl_buf *buf[MODEL_MAX];
};

static void compare(const struct node_log_cache *cache, const struct model *m)
{
    uint64_t bytes = 0;

    assert_true(node_log_cache_last(cache) + 1 == m->next);
    assert_true(node_log_cache_first(cache) == m->first);
    for (raft_index i = m->first; i < m->next; i++) {
        const struct node_log_entry *entry = node_log_cache_get(cache, i);

        assert_true(entry->term == m->term[i] && entry->payload == m->buf[i]);
        bytes += entry->payload->len + COST;
    }
    assert_int_equal(node_log_cache_bytes(cache), bytes);
}

static void model_step(struct node_log_cache *cache,
                       struct model *m,
                       struct fl_prng *prng,
                       struct fl_buf **bufs)
{
    raft_index at = m->first + fl_prng_below(prng, m->next - m->first + 1);
    struct fl_buf *buf = bufs[fl_prng_below(prng, BUFFERS)];

    switch (fl_prng_below(prng, 16)) {
    case 0: /* conflict */
        m->term[at] = fl_prng_next(prng);
        m->buf[at] = buf;
        node_log_cache_append(cache, at, m->term[at], 0, buf);
        m->next = at + 1;
        break;
    case 1:
        node_log_cache_truncate_from(cache, at);
        m->next = at;
        break;
    case 2:
        m->keep = at;
        node_log_cache_set_keep(cache, at);
        break;
    case 3:
    case 4:
        node_log_cache_trim_to(cache, at);
        while (m->first < m->next && m->first <= at && m->first < m->keep) {
            m->first++;
        }
        break;
    default:
        m->term[m->next] = fl_prng_next(prng);
        m->buf[m->next] = buf;
        node_log_cache_append(cache, m->next, m->term[m->next], 0, buf);
        m->next++;
    }
}

/* Goal: no sequence of operations makes the ring lose, swap or leak an entry. */
static void test_random_model(void **state)
{
    struct node_log_cache_pool *pool = node_log_cache_pool_create(1 << 30);
    struct node_log_cache *cache = node_log_cache_create(pool, 1);
    struct model *m = fl_xcalloc(1, sizeof(*m));
    struct fl_buf *bufs[BUFFERS];
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 7);
    for (size_t i = 0; i < BUFFERS; i++) {
        bufs[i] = payload(i);
    }
    m->first = m->next = 1;
    for (int i = 0; i < 200000; i++) {
        if (m->next + 1 >= MODEL_MAX) {
            m->first = m->next = 1;
            node_log_cache_reset(cache, 1);
        }
        model_step(cache, m, &prng, bufs);
        if (i % 97 == 0) {
            compare(cache, m);
        }
    }
    compare(cache, m);
    node_log_cache_destroy(cache);
    assert_int_equal(node_log_cache_pool_bytes(pool), 0);
    node_log_cache_pool_destroy(pool);
    for (size_t i = 0; i < BUFFERS; i++) {
        assert_int_equal(bufs[i]->refs, 1);
        fl_buf_release(bufs[i]);
    }
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_keep),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_lent),
        cmocka_unit_test(test_random_model),
    };

    return cmocka_run_group_tests_name("log_cache", tests, NULL, NULL);
}
