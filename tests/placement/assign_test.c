/* Goal: first replicas are spread over datacentres, then racks, then hosts, then nodes; preferred
 * leaders over nodes; the same everywhere (PL-5).
 * Method: topologies by hand and at random, properties counted. */
#include "placement/assign.h"

#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { NODES_MAX = 16, RANGES = 240 };

struct topology {
    size_t count;
    const char *locality[NODES_MAX];
};

static struct placement_node_list *nodes_of(const struct topology *topology, bool backwards)
{
    struct placement_node nodes[NODES_MAX];
    struct placement_node_list *list;
    char why[PLACEMENT_WHY_MAX];

    for (size_t i = 0; i < topology->count; i++) {
        struct placement_node *node = &nodes[backwards ? topology->count - 1 - i : i];

        *node = (struct placement_node){
            .id = 1 + i, .peer_urls = fl_bytes_of_string("u"), .state = PLACEMENT_NODE_SEED};
        node->uuid.bytes[0] = (uint8_t)(1 + i);
        assert_true(placement_locality_parse(
            &node->locality, fl_bytes_of_string(topology->locality[i]), why, sizeof(why)));
    }
    assert_int_equal(placement_node_list_create(nodes, topology->count, &list), FL_OK);
    return list;
}

struct spread {
    size_t replicas[NODES_MAX + 1];
    size_t leaders[NODES_MAX + 1];
};

/* Assigns, checks what must always hold, and counts. */
static struct spread assign(const struct topology *topology, struct placement_assignment *out)
{
    struct placement_node_list *nodes = nodes_of(topology, false);
    struct placement_node_list *same = nodes_of(topology, true);
    struct placement_assignment again[RANGES];
    struct spread spread = {0};
    size_t want = topology->count < 3 ? topology->count : 3;

    placement_assign(nodes, RANGES, out);
    placement_assign(same, RANGES, again);
    for (size_t i = 0; i < RANGES; i++) {
        assert_memory_equal(&out[i], &again[i], sizeof(out[i])); /* PL-5 */
        assert_int_equal(out[i].count, want);
        for (size_t j = 0; j < want; j++) {
            assert_in_range(out[i].node[j], 1, topology->count);
            spread.replicas[out[i].node[j]]++;
            for (size_t k = 0; k < j; k++) {
                assert_int_not_equal(out[i].node[j], out[i].node[k]);
            }
        }
        spread.leaders[out[i].node[0]]++;
    }
    placement_node_list_release(nodes);
    placement_node_list_release(same);
    return spread;
}

static void expect_even(const size_t *counts, size_t nodes, size_t slack)
{
    size_t least = SIZE_MAX;
    size_t most = 0;

    for (size_t i = 1; i <= nodes; i++) {
        least = counts[i] < least ? counts[i] : least;
        most = counts[i] > most ? counts[i] : most;
    }
    assert_true(most - least <= slack);
}

/* How many different prefixes up to tier `name` the nodes of an assignment have. */
static size_t domains(const struct topology *topology,
                      const struct placement_assignment *assignment,
                      size_t tiers)
{
    char seen[3][PLACEMENT_LOCALITY_TEXT_MAX];
    size_t count = 0;

    for (size_t i = 0; i < assignment->count; i++) {
        struct placement_locality locality;
        char text[PLACEMENT_LOCALITY_TEXT_MAX];
        char why[PLACEMENT_WHY_MAX];
        bool known = false;
        const char *given = topology->locality[assignment->node[i] - 1];

        assert_true(
            placement_locality_parse(&locality, fl_bytes_of_string(given), why, sizeof(why)));
        for (size_t tier = tiers; tier < PLACEMENT_TIERS; tier++) {
            locality.tier[tier][0] = 0;
        }
        placement_locality_format(&locality, text);
        for (size_t j = 0; j < count; j++) {
            known = known || strcmp(seen[j], text) == 0;
        }
        if (!known) {
            memcpy(seen[count++], text, sizeof(text));
        }
    }
    return count;
}

/* Goal: few nodes: every node has every range, leaders are even. */
static void test_few_nodes(void **state)
{
    static const struct topology one = {1, {"dc=a"}};
    static const struct topology two = {2, {"dc=a", "dc=b"}};
    static const struct topology three = {3, {"dc=a", "dc=b", "dc=c"}};
    struct placement_assignment out[RANGES];
    struct spread spread;

    (void)state;
    spread = assign(&one, out);
    assert_int_equal(spread.leaders[1], RANGES);
    spread = assign(&two, out);
    assert_int_equal(spread.leaders[1], RANGES / 2);
    spread = assign(&three, out);
    for (size_t i = 1; i <= 3; i++) {
        assert_int_equal(spread.leaders[i], RANGES / 3);
        assert_int_equal(spread.replicas[i], RANGES);
    }
    /* Eight ranges over three nodes: three, three and two. */
    struct placement_node_list *nodes = nodes_of(&three, false);
    size_t leaders[4] = {0};
    placement_assign(nodes, 8, out);
    for (size_t i = 0; i < 8; i++) {
        leaders[out[i].node[0]]++;
    }
    expect_even(leaders, 3, 1);
    placement_node_list_release(nodes);
}

/* Goal: no locality at all: replicas and leaders are even. */
static void test_no_locality(void **state)
{
    static const struct topology seven = {7, {"", "", "", "", "", "", ""}};
    struct placement_assignment out[RANGES];
    struct spread spread;

    (void)state;
    spread = assign(&seven, out);
    expect_even(spread.replicas, 7, 1);
    expect_even(spread.leaders, 7, 1);
}

/* Goal: three datacentres of unequal size: each range is in all three; inside one, load is even. */
static void test_over_datacentres(void **state)
{
    static const struct topology topology = {6, {"dc=a", "dc=a", "dc=a", "dc=b", "dc=b", "dc=c"}};
    struct placement_assignment out[RANGES];
    struct spread spread;

    (void)state;
    spread = assign(&topology, out);
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(domains(&topology, &out[i], 1), 3);
    }
    expect_even(spread.replicas, 3, 1);
    expect_even(spread.replicas + 3, 2, 1);
    expect_even(spread.leaders, 6, 1);
}

/* Goal: two datacentres: two and one, over different racks where there are any; a rack's name
 * counts only inside its datacentre. */
static void test_over_racks(void **state)
{
    static const struct topology topology = {8,
                                             {"dc=a,rack=1",
                                              "dc=a,rack=1",
                                              "dc=a,rack=2",
                                              "dc=a,rack=2",
                                              "dc=b,rack=1",
                                              "dc=b,rack=1",
                                              "dc=b,rack=2",
                                              "dc=b,rack=2"}};
    struct placement_assignment out[RANGES];
    struct spread spread;

    (void)state;
    spread = assign(&topology, out);
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(domains(&topology, &out[i], 1), 2);
        assert_int_equal(domains(&topology, &out[i], 2), 3);
    }
    expect_even(spread.replicas, 8, 1);
    expect_even(spread.leaders, 8, 1);
}

/* Goal: hosts: two processes of one machine do not share a range while there are others. */
static void test_over_hosts(void **state)
{
    static const struct topology topology = {
        6,
        {"dc=a,host=x", "dc=a,host=x", "dc=a,host=y", "dc=a,host=y", "dc=a,host=z", "dc=a,host=z"}};
    struct placement_assignment out[RANGES];
    struct spread spread;

    (void)state;
    spread = assign(&topology, out);
    for (size_t i = 0; i < RANGES; i++) {
        assert_int_equal(domains(&topology, &out[i], 3), 3);
    }
    expect_even(spread.replicas, 6, 1);
}

/* Goal: in any topology every range is in as many datacentres as there can be, and leaders are
 * never two apart where every node can lead equally. */
static void test_random_topologies(void **state)
{
    static const char *const places[] = {
        "", "dc=a", "dc=b", "dc=c", "dc=a,rack=1", "dc=b,rack=1", "dc=c,host=h", "dc=a,rack=2"};
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 3);
    for (size_t round = 0; round < 200; round++) {
        struct topology topology = {.count = 1 + fl_prng_below(&prng, NODES_MAX)};
        struct placement_assignment out[RANGES];
        bool dc[4] = {false};
        size_t datacentres;

        for (size_t i = 0; i < topology.count; i++) {
            const char *place = places[fl_prng_below(&prng, 8)];

            topology.locality[i] = place;
            dc[place[0] == 0 ? 3 : place[3] - 'a'] = true;
        }
        datacentres = (size_t)dc[0] + dc[1] + dc[2] + dc[3];
        (void)assign(&topology, out);
        for (size_t i = 0; i < RANGES; i++) {
            size_t most = out[i].count < datacentres ? out[i].count : datacentres;

            assert_int_equal(domains(&topology, &out[i], 1), most);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_nodes),
        cmocka_unit_test(test_no_locality),
        cmocka_unit_test(test_over_datacentres),
        cmocka_unit_test(test_over_racks),
        cmocka_unit_test(test_over_hosts),
        cmocka_unit_test(test_random_topologies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
