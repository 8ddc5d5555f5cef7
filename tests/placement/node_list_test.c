/* Goal: localities are parsed strictly and told about clearly; a node list is sound, sorted, its
 * own copy; encodings of nodes survive nothing but themselves. Method: tables of good and bad
 * texts, broken nodes one rule at a time, truncation and bit flips. */
#include "placement/node_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define X63 "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"

static struct fl_bytes text(const char *s)
{
    return fl_bytes_of_string(s);
}

static struct placement_node node_of(uint64_t id)
{
    struct placement_node node = {
        .id = id,
        .name = text("n"),
        .peer_urls = text("http://127.0.0.1:2380"),
        .client_urls = text("http://127.0.0.1:2379"),
        .state = PLACEMENT_NODE_STARTED,
    };

    fl_put_u64le(node.uuid.bytes, id);
    strcpy(node.locality.tier[PLACEMENT_TIER_DC], "east");
    return node;
}

/* Goal: what may be written, and its normal form. */
static void test_locality_good(void **state)
{
    static const char *const table[][2] = {
        {"", ""},
        {"dc=a", "dc=a"},
        {"dc=a,rack=b,host=c", "dc=a,rack=b,host=c"},
        {"host=c,dc=a", "dc=a,host=c"},
        {"rack=R-1_x.y", "rack=R-1_x.y"},
        {"dc=" X63 ",rack=" X63 ",host=" X63, "dc=" X63 ",rack=" X63 ",host=" X63},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct placement_locality locality;
        struct placement_locality again;
        char formatted[PLACEMENT_LOCALITY_TEXT_MAX];
        char why[PLACEMENT_WHY_MAX] = "";

        assert_true(placement_locality_parse(&locality, text(table[i][0]), why, sizeof(why)));
        placement_locality_format(&locality, formatted);
        assert_string_equal(formatted, table[i][1]);
        assert_true(placement_locality_parse(&again, text(formatted), why, sizeof(why)));
        assert_true(placement_locality_equal(&locality, &again));
    }
}

/* Goal: what may not, and the sentence. */
static void test_locality_bad(void **state)
{
    static const char *const table[][2] = {
        {"zone=a", "unknown tier \"zone\", known are dc, rack and host"},
        {"dc", "\"dc\" has no value, write dc=NAME"},
        {"dc=", "\"dc\" has no value, write dc=NAME"},
        {"dc=a,rack=", "\"rack\" has no value, write rack=NAME"},
        {"dc=a,dc=a", "\"dc\" is given twice"},
        {"dc=a,host=b,host=c", "\"host\" is given twice"},
        {",", "a part is empty"},
        {"dc=a,", "a part is empty"},
        {",dc=a", "a part is empty"},
        {"dc=a,,rack=b", "a part is empty"},
        {"=a", "unknown tier \"\""},
        {"DC=a", "unknown tier \"DC\""},
        {"dc =a", "unknown tier \"dc \""},
        {"dcx=a", "unknown tier \"dcx\""},
        {"dc=a b", "\"dc\" may hold only letters, digits"},
        {"dc=a=b", "\"dc\" may hold only letters, digits"},
        {"rack=\xc3\xa4", "\"rack\" may hold only letters, digits"},
        {"host=" X63 "l", "\"host\" has 64 bytes, at most 63 are allowed"},
        {"\x01\x02=a", "unknown tier \"??\""},
        {X63 "=a", "unknown tier \"abcdefghijklmnopqrstuvwxyzabcdef...\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct placement_locality locality;
        struct placement_locality none = {0};
        char why[PLACEMENT_WHY_MAX] = "";

        assert_false(placement_locality_parse(&locality, text(table[i][0]), why, sizeof(why)));
        if (strstr(why, table[i][1]) == NULL || strncmp(why, "locality: ", 10) != 0) {
            fail_msg("\"%s\": \"%s\"", table[i][0], why);
        }
        assert_true(placement_locality_equal(&locality, &none));
    }
    /* A byte of zero inside is a byte like any other bad one. */
    struct placement_locality locality;
    char why[PLACEMENT_WHY_MAX];
    assert_false(placement_locality_parse(&locality, fl_bytes("dc=a\0b", 6), why, sizeof(why)));
}

/* Goal: a list is sorted, found in, and independent of what it was made from. */
static void test_list(void **state)
{
    struct placement_node nodes[3] = {node_of(30), node_of(10), node_of(20)};
    char name[] = "first";
    struct placement_node_list *list;
    struct placement_node_list *next;
    struct placement_node changed = node_of(20);
    struct placement_node added = node_of(5);

    (void)state;
    nodes[1].name = text(name);
    assert_int_equal(placement_node_list_create(nodes, 3, &list), FL_OK);
    memset(name, 'x', 5);
    memset(nodes, 0, sizeof(nodes));
    assert_int_equal(placement_node_list_count(list), 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(placement_node_list_at(list, i)->id, 10 * (i + 1));
        assert_ptr_equal(placement_node_list_find(list, 10 * (i + 1)),
                         placement_node_list_at(list, i));
    }
    assert_null(placement_node_list_find(list, 15));
    assert_null(placement_node_list_find(list, 31));
    assert_true(fl_bytes_equal(placement_node_list_at(list, 0)->name, text("first")));
    changed.name = text("changed");
    assert_int_equal(placement_node_list_with(list, &changed, &next), FL_OK);
    assert_int_equal(placement_node_list_count(next), 3);
    assert_true(fl_bytes_equal(placement_node_list_find(next, 20)->name, text("changed")));
    assert_true(fl_bytes_equal(placement_node_list_find(list, 20)->name, text("n")));
    placement_node_list_release(next);
    assert_int_equal(placement_node_list_with(list, &added, &next), FL_OK);
    placement_node_list_release(list); /* the new list shares nothing with it */
    assert_int_equal(placement_node_list_count(next), 4);
    assert_int_equal(placement_node_list_at(next, 0)->id, 5);
    placement_node_list_release(next);
}

static void expect_refused(struct placement_node *nodes, size_t count, enum fl_status status)
{
    struct placement_node_list *list = NULL;

    assert_int_equal(placement_node_list_create(nodes, count, &list), status);
    assert_null(list);
}

/* Goal: every rule of a node is enforced. */
static void test_list_refuses(void **state)
{
    struct placement_node nodes[2];
    struct placement_node *many = fl_xcalloc(FL_NODES_MAX + 1, sizeof(*many));
    uint8_t *large = fl_xcalloc(1, PLACEMENT_URLS_BYTES_MAX + 1);

    (void)state;
    nodes[0] = node_of(1);
    nodes[1] = node_of(1);
    nodes[1].uuid.bytes[8] = 1;
    expect_refused(nodes, 2, FL_INVALID); /* id twice */
    nodes[1] = node_of(2);
    nodes[1].uuid = nodes[0].uuid;
    expect_refused(nodes, 2, FL_INVALID); /* a copied data directory */
    nodes[1] = node_of(2);
    nodes[1].id = 0;
    expect_refused(nodes, 2, FL_INVALID);
    nodes[1] = node_of(2);
    memset(&nodes[1].uuid, 0, sizeof(nodes[1].uuid));
    expect_refused(nodes, 2, FL_INVALID);
    nodes[1] = node_of(2);
    nodes[1].state = (enum placement_node_state)3;
    expect_refused(nodes, 2, FL_INVALID);
    nodes[1] = node_of(2);
    nodes[1].peer_urls = text("");
    expect_refused(nodes, 2, FL_INVALID);
    nodes[1].peer_urls = fl_bytes(large, PLACEMENT_URLS_BYTES_MAX + 1);
    expect_refused(nodes, 2, FL_INVALID);
    nodes[1] = node_of(2);
    nodes[1].client_urls = fl_bytes(large, PLACEMENT_URLS_BYTES_MAX + 1);
    expect_refused(nodes, 2, FL_INVALID);
    nodes[1] = node_of(2);
    nodes[1].name = fl_bytes(large, PLACEMENT_NAME_BYTES_MAX + 1);
    expect_refused(nodes, 2, FL_INVALID);
    for (size_t i = 0; i <= FL_NODES_MAX; i++) {
        many[i] = node_of(i + 1);
    }
    expect_refused(many, FL_NODES_MAX + 1, FL_TOO_MANY);
    free(many);
    free(large);
}

/* Goal: a node comes back as it went; damage is refused or gives another sound node, and reads
 * nothing beyond its end. */
static void test_node_codec(void **state)
{
    struct placement_node node = node_of(77);
    struct placement_node back;
    struct fl_writer w;
    struct fl_reader r;

    (void)state;
    fl_writer_init(&w);
    placement_node_encode(&node, &w);
    fl_write_u8(&w, 0xee); /* what follows is left alone */
    r = fl_reader(fl_writer_bytes(&w));
    assert_int_equal(placement_node_decode(&back, &r), FL_OK);
    assert_int_equal(fl_reader_left(&r), 1);
    assert_int_equal(back.id, 77);
    assert_true(placement_uuid_equal(&back.uuid, &node.uuid));
    assert_true(fl_bytes_equal(back.name, node.name));
    assert_true(fl_bytes_equal(back.peer_urls, node.peer_urls));
    assert_true(fl_bytes_equal(back.client_urls, node.client_urls));
    assert_true(placement_locality_equal(&back.locality, &node.locality));
    assert_int_equal(back.state, PLACEMENT_NODE_STARTED);
    w.len--;
    for (size_t cut = 0; cut < w.len; cut++) {
        uint8_t *exact = fl_xmemdup(w.data, cut);

        r = fl_reader(fl_bytes(exact, cut));
        assert_int_equal(placement_node_decode(&back, &r), FL_BAD_MESSAGE);
        free(exact);
    }
    for (size_t bit = 0; bit < w.len * 8; bit++) {
        w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = fl_reader(fl_writer_bytes(&w));
        if (placement_node_decode(&back, &r) == FL_OK) {
            struct placement_node_list *list;

            assert_int_equal(placement_node_list_create(&back, 1, &list), FL_OK);
            placement_node_list_release(list);
        }
        w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    w.data[0] = 2;
    r = fl_reader(fl_writer_bytes(&w));
    assert_int_equal(placement_node_decode(&back, &r), FL_NEWER_FORMAT);
    fl_writer_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locality_good),
        cmocka_unit_test(test_locality_bad),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_refuses),
        cmocka_unit_test(test_node_codec),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
