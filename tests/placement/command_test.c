/* Goal: commands of the placement group and encoded views come back as they went; what is
 * malformed, damaged or newer is refused; bounds hold. Method: round trips, every truncation, every
 * flipped bit, limits. */
#include "placement/command.h"

#include "placement/map_view.h"
#include "placement/range_map.h"
#include "raftgroup/base/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct fl_bytes text(const char *s)
{
    return fl_bytes_of_string(s);
}

static struct placement_node node_of(uint64_t id)
{
    struct placement_node node = {
        .id = id,
        .name = text("node"),
        .peer_urls = text("http://h:1"),
        .state = PLACEMENT_NODE_SEED,
    };

    fl_put_u64le(node.uuid.bytes, id);
    strcpy(node.locality.tier[PLACEMENT_TIER_RACK], "r");
    return node;
}

static struct fl_buf *bootstrap_command(void)
{
    struct placement_node nodes[2] = {node_of(20), node_of(10)};
    struct fl_bytes keys[2] = {text("g"), text("t")};
    struct placement_bootstrap bootstrap = {
        .cluster_id = 99,
        .nodes = nodes,
        .node_count = 2,
        .split_keys = keys,
        .split_key_count = 2,
    };
    struct fl_buf *command = NULL;

    assert_int_equal(placement_command_bootstrap(&bootstrap, &command), FL_OK);
    return command;
}

static struct fl_bytes body_of(const struct fl_buf *command, uint8_t kind)
{
    struct shard_command header;

    assert_int_equal(shard_command_decode(fl_buf_bytes(command), &header), FL_OK);
    assert_int_equal(header.kind, kind);
    assert_int_equal(header.seq, 0);
    return header.body;
}

/* Goal: a bootstrap round trip; nodes come in order of id whatever order they were given in. */
static void test_bootstrap(void **state)
{
    struct fl_buf *command = bootstrap_command();
    struct placement_bootstrap back;

    (void)state;
    assert_int_equal(
        placement_bootstrap_decode(body_of(command, PLACEMENT_COMMAND_BOOTSTRAP), &back), FL_OK);
    assert_int_equal(back.cluster_id, 99);
    assert_int_equal(back.node_count, 2);
    assert_int_equal(back.nodes[0].id, 10);
    assert_int_equal(back.nodes[1].id, 20);
    assert_string_equal(back.nodes[1].locality.tier[PLACEMENT_TIER_RACK], "r");
    assert_int_equal(back.split_key_count, 2);
    assert_true(fl_bytes_equal(back.split_keys[1], text("t")));
    placement_bootstrap_close(&back);
    fl_buf_release(command);
}

static void expect_bootstrap_refused(const struct placement_bootstrap *bootstrap,
                                     enum fl_status status)
{
    struct fl_buf *command = NULL;

    assert_int_equal(placement_command_bootstrap(bootstrap, &command), status);
    assert_null(command);
}

/* Goal: nothing is proposed that the machine would refuse, and nothing beyond the request limit. */
static void test_bootstrap_refuses(void **state)
{
    struct placement_node nodes[2] = {node_of(1), node_of(1)};
    struct placement_bootstrap bootstrap = {.cluster_id = 1, .nodes = nodes, .node_count = 1};
    struct fl_bytes keys[40];
    uint8_t *memory = fl_xcalloc(1, FL_KEY_BYTES_MAX + 64);

    (void)state;
    bootstrap.cluster_id = 0;
    expect_bootstrap_refused(&bootstrap, FL_INVALID);
    bootstrap.cluster_id = 1;
    bootstrap.node_count = 0;
    expect_bootstrap_refused(&bootstrap, FL_INVALID);
    bootstrap.node_count = 2;
    expect_bootstrap_refused(&bootstrap, FL_INVALID);
    bootstrap.node_count = 1;
    keys[0] = text("");
    bootstrap.split_keys = keys;
    bootstrap.split_key_count = 1;
    expect_bootstrap_refused(&bootstrap, FL_INVALID);
    for (size_t i = 0; i < 40; i++) { /* 40 times 60 KiB, ascending by length */
        keys[i] = fl_bytes(memory, (size_t)60 * 1024 + i);
    }
    bootstrap.split_key_count = 40;
    expect_bootstrap_refused(&bootstrap, FL_TOO_LARGE);
    free(memory);
}

/* Goal: a node update is always of a started node. */
static void test_node_update(void **state)
{
    struct placement_node node = node_of(5);
    struct placement_node back;
    struct fl_buf *command = NULL;
    struct fl_bytes body;

    (void)state;
    node.client_urls = text("http://h:2");
    assert_int_equal(placement_command_node_update(&node, &command), FL_OK);
    body = body_of(command, PLACEMENT_COMMAND_NODE_UPDATE);
    assert_int_equal(placement_node_update_decode(body, &back), FL_OK);
    assert_int_equal(back.id, 5);
    assert_int_equal(back.state, PLACEMENT_NODE_STARTED);
    assert_true(fl_bytes_equal(back.client_urls, node.client_urls));
    for (size_t cut = 0; cut < body.len; cut++) {
        uint8_t *exact = fl_xmemdup(body.data, cut);

        assert_int_equal(placement_node_update_decode(fl_bytes(exact, cut), &back), FL_BAD_MESSAGE);
        free(exact);
    }
    fl_buf_release(command);
    node.id = 0;
    assert_int_equal(placement_command_node_update(&node, &command), FL_INVALID);
    assert_null(command);
}

/* Goal: a damaged bootstrap is refused, or decodes to one that could have been proposed. */
static void test_bootstrap_robust(void **state)
{
    struct fl_buf *command = bootstrap_command();
    struct fl_bytes body = body_of(command, PLACEMENT_COMMAND_BOOTSTRAP);
    uint8_t *bytes = fl_xmemdup(body.data, body.len);
    struct placement_bootstrap back;

    (void)state;
    for (size_t cut = 0; cut < body.len; cut++) {
        uint8_t *exact = fl_xmemdup(body.data, cut);

        assert_int_equal(placement_bootstrap_decode(fl_bytes(exact, cut), &back), FL_BAD_MESSAGE);
        free(exact);
    }
    for (size_t bit = 0; bit < body.len * 8; bit++) {
        char why[PLACEMENT_WHY_MAX];

        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (placement_bootstrap_decode(fl_bytes(bytes, body.len), &back) == FL_OK) {
            assert_int_equal(
                placement_splits_check(back.split_keys, back.split_key_count, why, sizeof(why)),
                FL_OK);
            assert_int_not_equal(back.cluster_id, 0);
            placement_bootstrap_close(&back);
        }
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    bytes[0] = 2;
    assert_int_equal(placement_bootstrap_decode(fl_bytes(bytes, body.len), &back), FL_NEWER_FORMAT);
    free(bytes);
    fl_buf_release(command);
}

/* Goal: counts are not believed before the bytes are there. */
static void test_counts_are_bounded(void **state)
{
    struct placement_bootstrap back;
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    fl_write_u8(&w, 1);
    fl_write_u64le(&w, 1);
    fl_write_varint(&w, FL_NODES_MAX);
    assert_int_equal(placement_bootstrap_decode(fl_writer_bytes(&w), &back), FL_BAD_MESSAGE);
    w.len = 9;
    fl_write_varint(&w, UINT64_MAX);
    assert_int_equal(placement_bootstrap_decode(fl_writer_bytes(&w), &back), FL_BAD_MESSAGE);
    fl_writer_close(&w);
}

/* ---- views ---- */

static struct placement_map_view *view_of(void)
{
    struct placement_node nodes[2] = {node_of(20), node_of(10)};
    struct shard_range ranges[2];
    struct placement_node_list *list;
    struct placement_range_map *map;
    struct placement_map_view *view;
    char why[PLACEMENT_WHY_MAX];

    for (size_t i = 0; i < 2; i++) {
        shard_range_init(&ranges[i]);
        ranges[i].group_id = 2 + i;
        ranges[i].next_replica_id = 2;
        ranges[i].replica_count = 1;
        ranges[i].replicas[0] = (struct shard_replica){10, 1, SHARD_REPLICA_VOTER};
        shard_range_set_interval(&ranges[i], text(i == 0 ? "" : "m"), text(i == 0 ? "m" : ""));
    }
    assert_int_equal(placement_node_list_create(nodes, 2, &list), FL_OK);
    assert_int_equal(placement_range_map_create(ranges, 2, &map, why, sizeof(why)), FL_OK);
    view = placement_map_view_create(7, 99, list, map);
    placement_node_list_release(list);
    placement_range_map_release(map);
    shard_range_close(&ranges[0]);
    shard_range_close(&ranges[1]);
    return view;
}

/* Goal: a view answers what routers ask, and its encoding is the whole of it. */
static void test_view(void **state)
{
    struct placement_map_view *view = view_of();
    struct placement_map_view *back = NULL;
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    placement_map_view_encode(view, &w);
    placement_map_view_release(view);
    assert_int_equal(placement_map_view_decode(fl_writer_bytes(&w), &back), FL_OK);
    view = placement_map_view_acquire(back);
    placement_map_view_release(back);
    assert_int_equal(view->version, 7);
    assert_int_equal(view->cluster_id, 99);
    assert_true(view->bootstrapped);
    assert_int_equal(placement_map_view_range(view, text("lz"))->group_id, 2);
    assert_int_equal(placement_map_view_range(view, text("m"))->group_id, 3);
    assert_true(fl_bytes_equal(placement_map_view_group(view, 3)->start, text("m")));
    assert_null(placement_map_view_group(view, 4));
    assert_int_equal(placement_map_view_node(view, 20)->id, 20);
    assert_null(placement_map_view_node(view, 21));
    placement_map_view_release(view);
    fl_writer_close(&w);
}

/* Goal: any damage is seen; what a right checksum covers is still not believed. */
static void test_view_robust(void **state)
{
    struct placement_map_view *view = view_of();
    struct placement_map_view *back = NULL;
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    placement_map_view_encode(view, &w);
    placement_map_view_release(view);
    for (size_t cut = 0; cut < w.len; cut++) {
        uint8_t *exact = fl_xmemdup(w.data, cut);

        assert_int_not_equal(placement_map_view_decode(fl_bytes(exact, cut), &back), FL_OK);
        free(exact);
    }
    for (size_t bit = 0; bit < w.len * 8; bit++) {
        w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(placement_map_view_decode(fl_writer_bytes(&w), &back), FL_CORRUPT);
        assert_null(back);
        if (bit / 8 < w.len - 4) { /* now with the checksum made right */
            uint32_t crc = fl_get_u32le(w.data + w.len - 4);

            fl_put_u32le(w.data + w.len - 4, fl_crc32c(0, w.data, w.len - 4));
            if (placement_map_view_decode(fl_writer_bytes(&w), &back) == FL_OK) {
                assert_non_null(placement_map_view_range(back, text("k")));
                placement_map_view_release(back);
                back = NULL;
            }
            fl_put_u32le(w.data + w.len - 4, crc);
        }
        w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    fl_writer_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_bootstrap_refuses),
        cmocka_unit_test(test_node_update),
        cmocka_unit_test(test_bootstrap_robust),
        cmocka_unit_test(test_counts_are_bounded),
        cmocka_unit_test(test_view),
        cmocka_unit_test(test_view_robust),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
