/* The simulated world: inputs, birth and death. See cluster.h. */
#include "tests/raftgroup/cluster_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs ---- */

static bool is_conf(const char *text)
{
    return strncmp(text, "C1[", 3) == 0 || strncmp(text, "C2.", 3) == 0;
}

static enum fl_status propose_at_leader(struct sim_node *n, const char *text)
{
    struct sim_entry e = {.type = RAFT_ENT_NORMAL};
    struct raft_ent ent = {.type = RAFT_ENT_NORMAL, .len = (uint32_t)strlen(text)};
    raft_index index = 0;
    enum fl_status status;

    (void)snprintf(e.text, sizeof(e.text), "%s", text);
    if (is_conf(text)) {
        struct raft_changes changes;

        if (!sim_parse_changes(text, &changes)) {
            sim_violate(n->cluster, "bad change %s", text);
        }
        e.type = RAFT_ENT_CONF;
        status = sim__seen(
            n,
            raft_propose_conf(n->group, n->now, &changes, (uint32_t)strlen(text), &index, &e.term));
        if (status == FL_OK) {
            sim__keep_entry(n, index, e);
        }
        if (status != FL_CONF_PENDING && status != FL_CONF_INVALID && status != FL_NOT_READY) {
            return status;
        }
        /* The recorded library puts an empty entry where a refused change would be. */
        e = (struct sim_entry){.type = RAFT_ENT_NORMAL};
        ent.len = 0;
    }
    status = sim__seen(n, raft_propose(n->group, n->now, &ent, 1, &index, &e.term));
    if (status == FL_OK) {
        sim__keep_entry(n, index, e);
    }
    return status;
}

enum fl_status sim__propose_here(struct sim_node *n, raft_id from, const char *text)
{
    struct raft_status s;
    struct sim_packet *p;

    raft_status_get(n->group, &s);
    if (s.role == RAFT_LEADER) {
        return propose_at_leader(n, text);
    }
    if (s.leader == 0) {
        return FL_NO_LEADER;
    }
    p = fl_xcalloc(1, sizeof(*p));
    p->m = (struct raft_msg){.type = SIM_M_PROP, .from = from, .to = s.leader};
    (void)snprintf(p->prop.text, sizeof(p->prop.text), "%s", text);
    sim__post(n->cluster, p);
    return FL_OK;
}

enum fl_status sim_propose(struct sim_node *n, const char *text)
{
    enum fl_status status = sim__propose_here(n, n->id, text);

    sim__observe(n);
    return status;
}

enum fl_status sim_read(struct sim_node *n, uint64_t ctx)
{
    enum fl_status status = sim__seen(n, raft_read_index(n->group, n->now, ctx));

    if (status == FL_OK) {
        fl_grow(&n->asked, &n->asked_capacity, n->nasked + 1, sizeof(*n->asked));
        n->asked[n->nasked++] = (struct sim_asked){.ctx = ctx, .floor = n->cluster->commit_hi};
    }
    sim__observe(n);
    return status;
}

void sim_tick(struct sim_node *n)
{
    n->now++;
    (void)sim__seen(n, raft_tick(n->group, n->now));
    sim__observe(n);
}

void sim_save(struct sim_node *n)
{
    sim__machine_copy(&n->saved, &n->machine);
}

void sim_compact(struct sim_node *n)
{
    sim_compact_to(n, n->saved.applied);
}

void sim_compact_to(struct sim_node *n, raft_index upto)
{
    raft_term term = raft_term_at(n->group, upto);
    enum fl_status status;

    if (upto <= n->disk.snap_index) {
        return;
    }
    status = sim__seen(n, raft_compacted(n->group, upto));
    if (status == FL_NOT_READY && n->records == NULL) {
        (void)sim_take_ready(n); /* the record with the commit */
        while (sim_persist_one(n)) {
        }
        status = sim__seen(n, raft_compacted(n->group, upto));
    }
    if (status == FL_OK) {
        n->disk.snap_index = upto;
        n->disk.snap_term = term;
    }
    sim__observe(n);
}

/* ---- birth and death ---- */

static uint32_t fit(void *user, raft_index lo, raft_index hi, uint64_t max_bytes, uint64_t *bytes)
{
    struct sim_node *n = user;
    uint64_t sum = 0;
    uint32_t count = 0;

    if (n->cold != 0 && fl_prng_below(&n->cluster->prng, n->cold) == 0) {
        return 0;
    }
    for (raft_index i = lo; i <= hi; i++) {
        const struct sim_entry *e = sim__log_get(&n->cache, i);
        size_t len = e != NULL ? strlen(e->text) : 0;

        if (count > 0 && sum + len > max_bytes) {
            break;
        }
        sum += len;
        count++;
    }
    *bytes = sum;
    return count;
}

static void open_group(struct sim_node *n)
{
    struct sim_disk *d = &n->disk;
    struct raft_run *runs = fl_xcalloc(d->last - d->snap_index + 1, sizeof(*runs));
    raft_index *conf_at = fl_xcalloc(d->last - d->snap_index + 1, sizeof(*conf_at));
    struct raft_boot boot = {.group = 7,
                             .self = n->id,
                             .seed = n->cluster->events * 1000 + n->id,
                             .term = d->term,
                             .vote = d->vote,
                             .commit = d->commit,
                             .snap_index = d->snap_index,
                             .snap_term = d->snap_term,
                             .applied = n->machine.applied,
                             .conf = n->machine.conf,
                             .last = d->last,
                             .runs = runs,
                             .conf_at = conf_at};
    const char *why = NULL;

    for (raft_index i = d->snap_index + 1; i <= d->last; i++) {
        const struct sim_entry *e = sim__log_get(&d->log, i);

        if (boot.nruns == 0 || runs[boot.nruns - 1].term != e->term) {
            runs[boot.nruns++] = (struct raft_run){.first = i, .term = e->term};
        }
        if (i > n->machine.applied && e->type == RAFT_ENT_CONF) {
            conf_at[boot.nconf_at++] = i;
        }
        sim__log_put(&n->cache, i, e);
    }
    if (raft_open(n->env, &boot, n, n->now, &n->group, &why) != FL_OK) {
        sim_violate(n->cluster, "node %d does not open: %s", (int)n->id, why);
        (void)fprintf(stderr, "%s\n", n->cluster->violation);
        abort(); /* nothing can go on without the node */
    }
    free(runs);
    free(conf_at);
    n->apply_hi = n->machine.applied;
}

void sim_config(struct raft_config *config)
{
    raft_config_default(config);
    config->election_ticks = 3;
    config->heartbeat_ticks = 1;
    config->disk_stall_ticks = 0;
    config->lease_drift_ticks = 0;
    config->self_check = true;
    config->strict_conf = false;
    config->parity = RAFT_PARITY_BOOT_TERM;
}

struct sim_node *sim_add_node(struct sim_cluster *c,
                              const struct raft_config *config,
                              raft_index index,
                              const struct raft_conf *conf)
{
    struct raft_ops ops = {.fit = fit};
    struct sim_node *n = &c->node[++c->nnodes];

    fl_assert(c->nnodes <= SIM_NODES_MAX);
    n->id = c->nnodes;
    n->cluster = c;
    n->config = *config;
    n->env = raft_env_create(config, &ops);
    sim__machine_append(&n->machine, "");
    if (index > 0) {
        n->machine.applied = index;
        n->machine.applied_term = 1;
        n->machine.conf = *conf;
        n->disk.snap_index = n->disk.last = n->disk.commit = index;
        n->disk.snap_term = 1;
    }
    sim_save(n);
    open_group(n);
    sim__observe(n);
    return n;
}

static void close_volatile(struct sim_node *n)
{
    raft_close(n->group);
    n->group = NULL;
    while (n->records != NULL) {
        struct sim_record *next = n->records->next;

        sim__record_free(n->records);
        n->records = next;
    }
    sim__snapshot_free(n->staged);
    n->staged = NULL;
    if (n->cache.at != NULL) {
        memset(n->cache.at, 0, n->cache.capacity * sizeof(*n->cache.at));
    }
    n->nasked = 0;
    n->fetching = 0;
    n->led = 0;
    n->term = 0;
    n->commit = 0;
}

void sim_restart(struct sim_node *n, unsigned survived)
{
    /* Records reach the disk in order; a crash keeps some prefix of those not yet acknowledged. */
    for (; survived > 0 && n->records != NULL; survived--) {
        struct sim_record *r = n->records;

        n->records = r->next;
        sim__write_record(n, r);
        sim__record_free(r);
    }
    close_volatile(n);
    sim__machine_copy(&n->machine, &n->saved);
    if (n->disk.commit > n->disk.last) {
        sim_violate(n->cluster, "node %d: the stored commit is beyond the log", (int)n->id);
    }
    open_group(n);
    sim__observe(n);
}

void sim_reopen(struct sim_node *n)
{
    struct raft_ops ops = {.fit = fit};

    close_volatile(n);
    n->env = raft_env_create(&n->config, &ops);
    open_group(n);
    sim__observe(n);
}

struct sim_cluster *sim_create(uint64_t seed)
{
    struct sim_cluster *c = fl_xcalloc(1, sizeof(*c));

    c->tail = &c->packets;
    fl_prng_seed(&c->prng, seed);
    return c;
}

void sim_destroy(struct sim_cluster *c)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        struct sim_node *n = &c->node[i];

        close_volatile(n);
        raft_env_destroy(n->env);
        free(n->cache.at);
        free(n->disk.log.at);
        free(n->machine.data);
        free(n->saved.data);
        free(n->asked);
        free(n->answers);
    }
    while (c->npackets > 0) {
        sim_packet_free(sim_unlink(c, 0));
    }
    free(c->committed);
    free(c->leader_of);
    free(c->lost);
    free(c);
}
