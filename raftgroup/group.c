/* Environments and groups: birth from durable state, death, and looking in. */
#include "raftgroup/base/alloc.h"
#include "raftgroup/raft_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- environment ---- */

void raft_config_default(struct raft_config *config)
{
    *config = (struct raft_config){.election_ticks = 1000,
                                   .heartbeat_ticks = 200,
                                   .max_inflight = 256,
                                   .max_msg_bytes = 1024 * 1024,
                                   .max_msg_ents = 4096,
                                   .max_inflight_bytes = UINT64_C(4) * 1024 * 1024,
                                   .max_uncommitted_bytes = UINT64_C(16) * 1024 * 1024,
                                   .max_apply_ents = 4096,
                                   .lease_drift_ticks = 100,
                                   .disk_stall_ticks = 10000,
                                   .pre_vote = true,
                                   .check_quorum = true,
                                   .step_down_on_removal = true,
                                   .strict_conf = true};
}

struct raft_env *raft_env_create(const struct raft_config *config, const struct raft_ops *ops)
{
    struct raft_env *env = fl_xcalloc(1, sizeof(*env));
    bool parity = (config->parity & RAFT_PARITY_LEASE_ROLE) != 0;

    fl_assert(config->heartbeat_ticks > 0 && config->heartbeat_ticks < config->election_ticks);
    fl_assert(config->max_inflight > 0 && config->max_msg_ents > 0 && config->max_apply_ents > 0);
    fl_assert(config->max_msg_ents <= RAFT_APP_ENTS_MAX && ops->fit != NULL);
    /* A lease rests on stickiness, which rests on the quorum check and survives restarts (R7, R8).
     */
    fl_assert(!config->lease_reads || parity ||
              (config->check_quorum && config->lease_drift_ticks < config->election_ticks &&
               config->boot_quarantine_ticks >= config->election_ticks));
    env->config = *config;
    env->ops = *ops;
    env->window =
        (struct raft_window){.messages = config->max_inflight, .bytes = config->max_inflight_bytes};
    return env;
}

void raft_env_destroy(struct raft_env *env)
{
    if (env == NULL) {
        return;
    }
    fl_assert(env->groups == 0);
    while (env->free_out != NULL) {
        struct raft_out *next = env->free_out->next_free;

        free(env->free_out);
        env->free_out = next;
    }
    while (env->free_reads != NULL) {
        struct raft_reads *next = env->free_reads->next_free;

        free(env->free_reads);
        env->free_reads = next;
    }
    free(env->msgs);
    free(env);
}

const struct raft_stats *raft_env_stats(const struct raft_env *env)
{
    return &env->stats;
}

/* ---- invariants and entry ---- */

void raft__freeze(struct raft_group *g, const char *why)
{
#ifdef RAFT_ABORT_ON_FREEZE
    fl_fatal("raft group %llu replica %llu: %s",
             (unsigned long long)g->id,
             (unsigned long long)g->self,
             why);
#else
    if (g->why == NULL) {
        g->why = why;
        g->env->stats.frozen++;
    }
#endif
}

static void self_check(struct raft_group *g)
{
    const char *why = raft__config(g)->self_check ? raft__check(g) : NULL;

    if (why != NULL) {
        raft__freeze(g, why);
    }
}

enum fl_status raft__enter(struct raft_group *g, uint64_t now)
{
    fl_assert(g->env->ready_of != g);
    if (g->why != NULL) {
        return FL_FROZEN;
    }
    g->now = now > g->now ? now : g->now;
    self_check(g);
    return g->why != NULL ? FL_FROZEN : FL_OK;
}

enum fl_status raft__leave(struct raft_group *g, enum fl_status status)
{
    if (g->why == NULL) {
        self_check(g);
    }
    return g->why != NULL ? FL_FROZEN : status;
}

/* ---- open ---- */

/* Why durable state contradicts itself, or NULL (D4, D8). */
static const char *boot_fault(const struct raft_boot *b, bool parity)
{
    raft_index expect = b->snap_index + 1;
    raft_term term = b->snap_term;

    if (b->self == 0 || !raft_conf_valid(&b->conf) || b->last > RAFT_VALUE_MAX) {
        return "RG-1 at open: no replica id, or a malformed configuration";
    }
    if (b->snap_index > b->applied || b->applied > b->last || b->commit > b->last ||
        (RG_BUG(D9) && b->applied > b->commit)) {
        return "RG-2 at open: snapshot <= applied <= last and commit <= last do not hold";
    }
    if ((b->snap_index == 0) != (b->snap_term == 0)) {
        return "RG-5 at open: a snapshot position without a term";
    }
    for (uint32_t i = 0; i < b->nruns; i++) {
        bool first = i == 0;

        if ((first ? b->runs[i].first != expect : b->runs[i].first < expect) ||
            b->runs[i].first > b->last || b->runs[i].term == 0 ||
            (first ? b->runs[i].term < term : b->runs[i].term <= term)) {
            return "RG-5 at open: the log has a gap or terms that fall";
        }
        expect = b->runs[i].first + 1;
        term = b->runs[i].term;
    }
    if ((b->nruns == 0) != (b->last == b->snap_index)) {
        return "RG-5 at open: the log has a gap or terms that fall";
    }
    if (term > b->term && !parity) {
        return "RG-5 at open: the log is newer than the hard state";
    }
    for (uint32_t i = 0; i < b->nconf_at; i++) {
        if (b->conf_at[i] <= (i == 0 ? b->applied : b->conf_at[i - 1]) || b->conf_at[i] > b->last) {
            return "RG-11 at open: membership entries out of order";
        }
    }
    return NULL;
}

static raft_index max3(raft_index a, raft_index b, raft_index c)
{
    raft_index ab = a > b ? a : b;

    return ab > c ? ab : c;
}

static void load_log(struct raft_group *g, const struct raft_boot *b)
{
    raft__log_init(&g->log, b->snap_index, b->snap_term);
    for (uint32_t i = 0; i < b->nruns; i++) {
        raft_index end = i + 1 < b->nruns ? b->runs[i + 1].first : b->last + 1;

        raft__log_append(&g->log, b->runs[i].term, end - b->runs[i].first);
    }
    for (uint32_t i = 0; i < b->nconf_at; i++) {
        raft__conf_note(g, b->conf_at[i]);
    }
}

enum fl_status raft_open(struct raft_env *env,
                         const struct raft_boot *boot,
                         void *user,
                         uint64_t now,
                         struct raft_group **out,
                         const char **why)
{
    const char *fault = boot_fault(boot, (env->config.parity & RAFT_PARITY_BOOT_TERM) != 0);
    struct raft_group *g;

    *out = NULL;
    if (why != NULL) {
        *why = fault;
    }
    if (fault != NULL) {
        env->stats.frozen++;
        return FL_FROZEN;
    }
    g = fl_xcalloc(1, sizeof(*g));
    g->env = env;
    g->user = user;
    g->id = boot->group;
    g->self = boot->self;
    g->now = now;
    g->conf = boot->conf;
    load_log(g, boot);
    g->term = g->durable_term = g->issued_term = g->soft_term = boot->term;
    g->vote = g->durable_vote = g->issued_vote = boot->vote;
    /* The stored commit may lag behind what the machine already has (D5, D9). */
    g->commit = RG_BUG(D5) ? boot->commit : max3(boot->commit, boot->applied, boot->snap_index);
    g->durable_commit = g->issued_commit = boot->commit;
    g->applied = g->applying = boot->applied;
    g->durable = g->issued = boot->last;
    g->verified = g->commit;
    fl_prng_seed(&g->prng, boot->seed);
    g->quarantine = boot->term > 0 && !RG_BUG(R7) ? now + env->config.boot_quarantine_ticks : now;
    raft__restart_timer(g);
    env->groups++;
    *out = g;
    return FL_OK;
}

void raft_close(struct raft_group *g)
{
    if (g == NULL) {
        return;
    }
    if (g->env->ready_of == g) {
        g->env->ready_of = NULL;
    }
    free(raft__progress_remap(g->peers, &g->conf, &(struct raft_conf){.n = 0}, 0));
    raft__release_out(g);
    raft__log_close(&g->log);
    free(g->conf_at);
    raft__release_reads(g);
    free(g->lost);
    free(g->doubt);
    g->env->groups--;
    free(g);
}

/* ---- looking in ---- */

void raft_status_get(const struct raft_group *g, struct raft_status *out)
{
    int slot = raft__self_slot(g);

    *out = (struct raft_status){.group = g->id,
                                .self = g->self,
                                .role = g->role,
                                .quiesced = g->quiesced,
                                .joint = g->conf.out != 0,
                                .voter = (raft__conf_voters(&g->conf) & raft__conf_bit(slot)) != 0,
                                .learner = (g->conf.learners & raft__conf_bit(slot)) != 0,
                                .leader = g->leader,
                                .vote = g->vote,
                                .transferee = g->transferee,
                                .term = g->term,
                                .durable_term = g->durable_term,
                                .commit = g->commit,
                                .durable_commit = g->durable_commit,
                                .applying = g->applying,
                                .applied = g->applied,
                                .first = g->log.snap_index + 1,
                                .last = g->log.last,
                                .durable = g->durable,
                                .conf_pending = g->conf_at_n > 0 ? g->conf_at[g->conf_at_n - 1] : 0,
                                .persists = (uint32_t)(g->seq - g->seq_acked),
                                .reads = g->reads != NULL ? g->reads->n : 0,
                                .uncommitted_bytes = g->uncommitted,
                                .why = g->why};
}

uint32_t raft_peers_get(const struct raft_group *g, struct raft_peer_status *out, uint32_t max)
{
    if (g->role != RAFT_LEADER) {
        return 0;
    }
    for (uint32_t i = 0; i < g->conf.n && i < max; i++) {
        const struct raft_progress *p = &g->peers[i];
        bool self = g->conf.id[i] == g->self;

        out[i] = (struct raft_peer_status){.id = g->conf.id[i],
                                           .state = self ? (uint8_t)RAFT_REPLICATE : p->state,
                                           .learner = (g->conf.learners >> i & 1) != 0,
                                           .active = self || (g->active >> i & 1) != 0,
                                           .paused = !self && raft__progress_is_paused(p),
                                           .fetching = p->fetching,
                                           .deferred = !self && raft__is_deferred(g, (int)i),
                                           .match = self ? g->durable : p->match,
                                           .next = self ? g->log.last + 1 : p->next,
                                           .snapshot = p->snapshot,
                                           .inflight = p->count,
                                           .inflight_bytes = p->inflight_bytes};
    }
    return g->conf.n;
}

const struct raft_conf *raft_conf_get(const struct raft_group *g)
{
    return &g->conf;
}

raft_term raft_term_at(const struct raft_group *g, raft_index index)
{
    return raft__log_term(&g->log, index);
}

size_t raft_group_bytes(const struct raft_group *g)
{
    size_t bytes = sizeof(*g) + raft__log_heap_bytes(&g->log) +
                   g->conf_at_capacity * sizeof(*g->conf_at) +
                   (g->nlost + g->ndoubt) * sizeof(*g->lost);

    bytes += g->reads != NULL ? sizeof(*g->reads) : 0;
    bytes += g->out != NULL ? sizeof(*g->out) : 0;
    for (int i = 0; g->peers != NULL && i < g->conf.n; i++) {
        bytes += sizeof(*g->peers) + g->peers[i].capacity * sizeof(*g->peers[i].ring);
    }
    return bytes;
}
