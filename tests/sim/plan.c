/* From a seed to a plan. See plan.h. */
#include "tests/sim/plan.h"

#include <string.h>

#define SECOND UINT64_C(1000000)

#define FAULT_NAME(name, text) text,
#define FAULT_WORD(name, text) #name,

const char *sim_fault_name(enum sim_fault fault)
{
    static const char *const names[] = {SIM_FAULT_MAP(FAULT_NAME)};

    return names[fault];
}

const char *sim_fault_word(enum sim_fault fault)
{
    static const char *const words[] = {SIM_FAULT_MAP(FAULT_WORD)};

    return words[fault];
}

static void make_config(struct sim_plan *plan, struct fl_prng *prng)
{
    static const uint32_t windows[] = {1, 2, 8, 256};
    static const uint32_t sizes[] = {0, 1, 300, 1U << 20};
    struct raft_config *c = &plan->config;

    raft_config_default(c);
    c->election_ticks = (uint32_t)sim_between(prng, 300, 1500);
    c->heartbeat_ticks = c->election_ticks / (uint32_t)sim_between(prng, 3, 8);
    c->max_inflight = windows[fl_prng_below(prng, 4)];
    c->max_msg_bytes = sizes[fl_prng_below(prng, 4)];
    c->max_msg_ents = (uint32_t)sim_between(prng, 1, 64);
    c->max_inflight_bytes = fl_prng_below(prng, 4) == 0 ? 500 : 0;
    c->max_apply_ents = (uint32_t)sim_between(prng, 1, 40);
    c->max_uncommitted_bytes = fl_prng_below(prng, 4) == 0 ? 2000 : 0;
    c->pre_vote = fl_prng_below(prng, 4) != 0;
    c->check_quorum = fl_prng_below(prng, 4) != 0;
    c->strict_conf = fl_prng_below(prng, 4) != 0;
    c->step_down_on_removal = fl_prng_below(prng, 4) != 0;
    c->disk_stall_ticks = fl_prng_below(prng, 2) == 0 ? 4 * c->election_ticks : 0;
    c->self_check = true;
    /* Two clocks may differ by the factor 1.2 / 0.8: a lease measured by the slow one must end
     * before the fast one has counted an election timeout. */
    c->lease_drift_ticks = c->election_ticks * 2 / 5;
    c->lease_reads = c->check_quorum && fl_prng_below(prng, 3) == 0;
    c->boot_quarantine_ticks = c->lease_reads ? c->election_ticks * 2 : 0;
    c->defer_ticks =
        fl_prng_below(prng, 2) == 0 ? 0 : (uint32_t)sim_between(prng, 1, c->heartbeat_ticks);
}

static void make_faults(struct sim_plan *plan, struct fl_prng *prng, uint64_t allowed)
{
    /* Some seeds are calm, some are wild: the share of faults is drawn first. */
    uint32_t share = (uint32_t)sim_between(prng, 0, 700);

    plan->faults = 0;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        bool on = sim_chance(prng, share);

        plan->strength[i] = (uint32_t)sim_between(prng, 1, 1000);
        plan->faults |= (uint64_t)on << i;
    }
    plan->faults &= allowed;
    /* Chances that would starve everything else at full strength. */
    plan->strength[SIM_FAULT_LOSS] = plan->strength[SIM_FAULT_LOSS] * 3 / 10;
    plan->strength[SIM_FAULT_DUPLICATE] /= 2;
    plan->strength[SIM_FAULT_REPLAY] /= 10;
    plan->strength[SIM_FAULT_AIM_SEND] = plan->strength[SIM_FAULT_AIM_SEND] / 100 + 1;
    plan->strength[SIM_FAULT_AIM_ACK] = plan->strength[SIM_FAULT_AIM_ACK] / 100 + 1;
    plan->strength[SIM_FAULT_AIM_COMMIT] = plan->strength[SIM_FAULT_AIM_COMMIT] / 50 + 1;
    plan->strength[SIM_FAULT_AIM_STAGED] /= 2;
    plan->strength[SIM_FAULT_AIM_INSTALLED] /= 2;
    plan->strength[SIM_FAULT_AIM_WON] /= 4;
    plan->strength[SIM_FAULT_AIM_VOTED] /= 3;
    plan->strength[SIM_FAULT_SNAP_LOSS] /= 3;
}

static void make_times(struct sim_plan *plan, struct fl_prng *prng)
{
    plan->turn_us = fl_prng_below(prng, 2) == 0 ? 0 : (uint32_t)sim_between(prng, 50, 3000);
    plan->delay_us = (uint32_t)sim_between(prng, 50, 3000);
    plan->spread_us = (uint32_t)sim_between(prng, 500, 60000);
    plan->disk_us = (uint32_t)sim_between(prng, 50, 8000);
    plan->apply_us = (uint32_t)sim_between(prng, 10, 4000);
    plan->think_us = (uint32_t)sim_between(prng, 2000, 40000);
    plan->fault_us = (uint32_t)sim_between(prng, 200000, 5000000);
    plan->flush_us = (uint32_t)sim_between(prng, 200000, 6000000);
    plan->keep_log = (uint32_t)sim_between(prng, 0, 40);
    plan->warm = (uint32_t)sim_between(prng, 1, 30);
    plan->pieces = (uint32_t)sim_between(prng, 1, 4);
    plan->reads = (uint32_t)sim_between(prng, 100, 600);
    plan->until_us = sim_between(prng, 20, 120) * SECOND;
    plan->events_max = 80000;
    plan->quiesce = fl_prng_below(prng, 4) == 0;
}

static uint64_t least(uint64_t value, uint64_t limit)
{
    return limit != 0 && limit < value ? limit : value;
}

void sim_plan_make(struct sim_plan *plan, const struct sim_options *options)
{
    struct fl_prng prng;

    memset(plan, 0, sizeof(*plan));
    fl_prng_seed(&prng, options->seed * 2654435761U + 17);
    plan->nodes = (unsigned)sim_between(&prng, 3, 7);
    plan->groups = (unsigned)sim_between(&prng, 1, options->full ? 9 : 4);
    plan->voters = (unsigned)sim_between(&prng, 1, 5);
    plan->clients = (unsigned)sim_between(&prng, 1, 8);
    plan->keys = (unsigned)sim_between(&prng, 1, 6);
    make_faults(plan, &prng, options->allowed);
    make_config(plan, &prng);
    make_times(plan, &prng);
    plan->joint = !plan->config.strict_conf && !options->full && fl_prng_below(&prng, 2) == 0;
    plan->nodes = (unsigned)least(plan->nodes, options->nodes_max);
    plan->groups = (unsigned)least(plan->groups, options->groups_max);
    plan->voters = (unsigned)least(plan->voters, plan->nodes);
    plan->until_us = least(plan->until_us, options->until_us);
    plan->events_max = least(plan->events_max, options->events_max);
    if (plan->voters == 2 && plan->nodes > 2) {
        plan->voters = 3;
    }
}
