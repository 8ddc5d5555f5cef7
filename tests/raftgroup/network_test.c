/* Goal: groups with damaged networks keep or regain a leader (E11, E18, E19, E24), a node that lost
 * its vote on the way to disk elects nobody wrongly (E26), and a demoted majority stays electable
 * (M9).
 *
 * Method: a simulated cluster with chosen links cut; all safety checks of cluster.h run as well. */
#include "tests/raftgroup/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sim_cluster *cluster_of(unsigned n, bool pre_vote, bool check_quorum)
{
    struct sim_cluster *c = sim_create(n);
    struct raft_config config;
    struct raft_conf conf = {.n = 0};

    sim_config(&config);
    config.election_ticks = 10;
    config.pre_vote = pre_vote;
    config.check_quorum = check_quorum;
    for (raft_id id = 1; id <= n; id++) {
        struct raft_changes add = {.n = 1, .op = {{.op = 'v', .id = id}}};

        assert_int_equal(raft_conf_change(&conf, &add), FL_OK);
    }
    for (unsigned i = 0; i < n; i++) {
        sim_add_node(c, &config, 10, &conf);
    }
    return c;
}

static void rounds(struct sim_cluster *c, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        for (unsigned i = 1; i <= c->nnodes; i++) {
            sim_tick(&c->node[i]);
        }
        sim_stabilize(c);
    }
    assert_string_equal(c->violation, "");
}

static void only_links(struct sim_cluster *c, const unsigned (*pairs)[2], unsigned n)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        for (unsigned k = 1; k <= c->nnodes; k++) {
            c->cut[i][k] = true;
        }
    }
    for (unsigned i = 0; i < n; i++) {
        c->cut[pairs[i][0]][pairs[i][1]] = false;
        c->cut[pairs[i][1]][pairs[i][0]] = false;
    }
    sim_drop_cut(c);
}

static void elect(struct sim_cluster *c, unsigned id)
{
    assert_int_equal(raft_campaign(c->node[id].group, c->node[id].now), FL_OK);
    sim_stabilize(c);
    assert_int_equal(c->node[id].led, c->node[id].disk.term);
}

static enum raft_role role(const struct sim_cluster *c, unsigned id)
{
    struct raft_status s;

    raft_status_get(c->node[id].group, &s);
    return (enum raft_role)s.role;
}

/* A write is accepted by somebody and applied by `wanted` nodes. */
static bool works(struct sim_cluster *c, unsigned wanted)
{
    static unsigned serial;
    char text[SIM_TEXT_MAX];
    unsigned have = 0;

    (void)snprintf(text, sizeof(text), "w%u.", ++serial);
    for (unsigned i = 1; i <= c->nnodes; i++) {
        if (role(c, i) == RAFT_LEADER) {
            (void)sim_propose(&c->node[i], text);
        }
    }
    rounds(c, 2);
    for (unsigned i = 1; i <= c->nnodes; i++) {
        have += strstr(c->node[i].machine.data, text) != NULL;
    }
    return have >= wanted;
}

/* E18, quorum loss: everybody reaches only node 1, the leader is another one. */
static void test_e18_quorum_loss(void **state)
{
    static const unsigned pairs[][2] = {{1, 2}, {1, 3}, {1, 4}, {1, 5}};
    struct sim_cluster *c = cluster_of(5, true, true);

    (void)state;
    elect(c, 3);
    only_links(c, pairs, 4);
    rounds(c, 100);
    assert_int_equal(role(c, 1), RAFT_LEADER);
    assert_true(works(c, 5));
    sim_destroy(c);
}

/* E18, chain: 1 - 2 - 3, leader at the end: the far end cannot depose it for ever. */
static void test_e18_chain(void **state)
{
    static const unsigned pairs[][2] = {{1, 2}, {2, 3}};
    struct sim_cluster *c = cluster_of(3, true, true);

    (void)state;
    elect(c, 3);
    only_links(c, pairs, 2);
    rounds(c, 100);
    assert_true(works(c, 2));
    assert_true(c->leader_capacity < 64); /* terms did not run away */
    sim_destroy(c);
}

/* E18, 5 nodes, links 4-2 and 5-3 cut off from the rest in a ring: a majority still works. */
static void test_e18_ring(void **state)
{
    static const unsigned pairs[][2] = {{1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 1}};
    struct sim_cluster *c = cluster_of(5, true, true);

    (void)state;
    elect(c, 1);
    only_links(c, pairs, 5);
    rounds(c, 100);
    assert_true(works(c, 3));
    sim_destroy(c);
}

/* E19: a leader that sends and cannot hear steps down; one that hears and cannot send is replaced.
 */
static void test_e19_one_way_links(void **state)
{
    struct sim_cluster *c = cluster_of(3, true, true);

    (void)state;
    elect(c, 1);
    c->cut[2][1] = c->cut[3][1] = true;
    rounds(c, 60);
    assert_int_not_equal(role(c, 1), RAFT_LEADER);
    assert_true(works(c, 2));
    sim_destroy(c);

    c = cluster_of(3, true, true);
    elect(c, 1);
    c->cut[1][2] = c->cut[1][3] = true;
    rounds(c, 60);
    assert_int_not_equal(role(c, 1), RAFT_LEADER);
    assert_true(works(c, 2));
    sim_destroy(c);
}

/* E11: an isolated node with a higher term comes back in the moment the leader dies. */
static void test_e11_higher_term_returns(void **state)
{
    struct sim_cluster *c = cluster_of(3, false, false);

    (void)state;
    elect(c, 1);
    for (unsigned i = 1; i <= 2; i++) {
        c->cut[3][i] = c->cut[i][3] = true;
    }
    rounds(c, 60); /* node 3 campaigns in vain */
    for (unsigned i = 1; i <= 3; i++) {
        c->node[i].config.pre_vote = true; /* now with pre-vote everywhere */
        raft_close(c->node[i].group);
        c->node[i].group = NULL;
        raft_env_destroy(c->node[i].env);
        sim_reopen(&c->node[i]);
    }
    memset(c->cut, 0, sizeof(c->cut));
    for (unsigned i = 2; i <= 3; i++) {
        c->cut[1][i] = c->cut[i][1] = true;
    }
    rounds(c, 60);
    assert_true(works(c, 2));
    sim_destroy(c);
}

/* E24: a removed node that was never told does not disturb. */
static void test_e24_removed_node(void **state)
{
    struct sim_cluster *c = cluster_of(4, true, true);
    raft_term term;

    (void)state;
    elect(c, 1);
    for (unsigned i = 1; i <= 3; i++) {
        c->cut[4][i] = c->cut[i][4] = true;
    }
    assert_int_equal(sim_propose(&c->node[1], "C1[r4]"), FL_OK);
    sim_stabilize(c);
    memset(c->cut, 0, sizeof(c->cut));
    term = c->node[1].disk.term;
    rounds(c, 200);
    assert_int_equal(role(c, 1), RAFT_LEADER);
    assert_int_equal(c->node[1].disk.term, term);
    sim_destroy(c);
}

/* E26: the schedule that makes a library elect a leader without a committed entry: the request is
 * lost with the unsynced tail, so the old grant cannot exist. */
static void test_e26_lost_tail(void **state)
{
    struct sim_cluster *c = cluster_of(3, false, false);
    struct raft_status s;

    (void)state;
    elect(c, 1);
    assert_int_equal(sim_propose(&c->node[1], "e"), FL_OK);
    (void)sim_settle(&c->node[1]);
    while (c->npackets > 0) { /* the entry reaches 3's memory, not its disk; 2 gets nothing */
        struct sim_packet *p = sim_unlink(c, 0);

        if (p->m.to == 3) {
            sim_deliver(c, p);
        } else {
            sim_packet_free(p);
        }
    }
    assert_int_equal(raft_campaign(c->node[3].group, c->node[3].now), FL_OK);
    (void)sim_take_ready(&c->node[3]);
    assert_int_equal(c->npackets, 0);
    sim_restart(&c->node[3], 0);
    raft_status_get(c->node[3].group, &s);
    assert_int_equal(s.last, 11);
    assert_int_equal(raft_campaign(c->node[3].group, c->node[3].now), FL_OK);
    sim_stabilize(c);
    assert_true(works(c, 3));
    assert_string_equal(c->violation, "");
    sim_destroy(c);
}

/* M9: both old voters are replaced in one joint change that is not committed when the leader is
 * lost: somebody is still electable, and the change is finished or undone. */
static void test_m9_joint_leader_lost(void **state)
{
    struct sim_cluster *c = cluster_of(3, true, true);
    struct raft_config config = c->node[1].config;

    (void)state;
    sim_add_node(c, &config, 0, &(struct raft_conf){.n = 0});
    sim_add_node(c, &config, 0, &(struct raft_conf){.n = 0});
    elect(c, 1);
    assert_int_equal(sim_propose(&c->node[1], "C2.1[v4,v5,r2,r3]"), FL_OK);
    (void)sim_settle(&c->node[1]); /* sent, and the leader dies */
    while (c->npackets > 0) {
        sim_deliver(c, sim_unlink(c, 0));
    }
    for (unsigned i = 1; i <= 5; i++) {
        c->cut[1][i] = c->cut[i][1] = true;
    }
    sim_drop_cut(c);
    rounds(c, 100);
    assert_true(works(c, 2));
    sim_destroy(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e18_quorum_loss),
        cmocka_unit_test(test_e18_chain),
        cmocka_unit_test(test_e18_ring),
        cmocka_unit_test(test_e19_one_way_links),
        cmocka_unit_test(test_e11_higher_term_returns),
        cmocka_unit_test(test_e24_removed_node),
        cmocka_unit_test(test_e26_lost_tail),
        cmocka_unit_test(test_m9_joint_leader_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
