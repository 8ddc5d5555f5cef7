/* Goal: no sequence of inputs, and no message a peer may make up, breaks a core. It may freeze only
 * when the messages prove that a leader broke Raft (RG-3, RG-6, RG-7, two changes of membership at
 * once); a lie must never reach an assertion, wrong memory, a promise before the disk, or any other
 * invariant.
 *
 * Method: bytes become inputs to one core of the simulated world (tests/raftgroup/cluster.h), whose
 * disk, machine and checks are used; all its peers are made up. Numbers in messages lie near those
 * of the core, so that they are believed, or are any number at all. */
#include "tests/fuzz/input.h"
#include "tests/raftgroup/cluster_internal.h"

enum { MEMBERS = 5, ENTS_MAX = 8, LAST_MAX = 2000, TERM_MAX = 100000 };

struct world {
    struct sim_cluster *c;
    struct sim_node *n;
    struct fuzz_input in;
    struct raft_status s;
    uint64_t ctx;
};

static const char *const changes[] = {"C1[v2]",
                                      "C1[l2]",
                                      "C1[r3]",
                                      "C1[v6]",
                                      "C2.0[]",
                                      "C2.1[v4,r2,l3]",
                                      "C2.2[v6,l5,r4]",
                                      "C1[r1]"};

/* ---- numbers that are likely to be believed ---- */

static uint64_t near(struct world *w, uint64_t value)
{
    uint8_t way = fuzz_u8(&w->in);

    if (way == 255) {
        return fuzz_u64(&w->in);
    }
    return value + way % 8 >= 3 ? value + way % 8 - 3 : 0;
}

static raft_index some_index(struct world *w)
{
    switch (fuzz_below(&w->in, 4)) {
    case 0:
        return near(w, w->s.last);
    case 1:
        return near(w, w->s.commit);
    case 2:
        return near(w, w->s.first);
    default:
        return near(w, fuzz_u8(&w->in));
    }
}

static raft_term some_term_at(struct world *w, raft_index index)
{
    raft_term term = raft_term_at(w->n->group, index);

    return fuzz_below(&w->in, 4) == 0 ? near(w, term) : term;
}

/* ---- inputs ---- */

static void make_entries(struct world *w, struct raft_msg *m, struct raft_ent *ents)
{
    raft_term term = m->log_term;

    m->nents = fuzz_below(&w->in, ENTS_MAX + 1);
    for (uint32_t i = 0; i < m->nents; i++) {
        uint8_t kind = fuzz_u8(&w->in);
        raft_term known = raft_term_at(w->n->group, m->index + 1 + i);

        term = kind % 4 == 0 && term < m->term ? term + 1 : term;
        term = kind % 4 == 1 && known >= term ? known : term;
        ents[i] = (struct raft_ent){.term = kind % 4 == 2 ? m->term : term,
                                    .len = kind,
                                    .type = kind % 16 == 0 ? RAFT_ENT_CONF : RAFT_ENT_NORMAL};
        term = ents[i].term;
    }
}

static struct raft_msg make_message(struct world *w, struct raft_ent *ents)
{
    struct raft_msg m = {.group = 7, .to = 1};

    m.type = (uint8_t)(1 + fuzz_below(&w->in, RAFT_M_MAX));
    m.from = 2 + fuzz_below(&w->in, MEMBERS);
    m.term = fuzz_below(&w->in, 3) != 0 ? w->s.term : near(w, w->s.term + 1);
    m.flags = fuzz_below(&w->in, 3) == 0 ? fuzz_u8(&w->in) & RAFT_F_ALL : 0;
    m.index = some_index(w);
    m.log_term = some_term_at(w, m.index);
    m.commit = some_index(w);
    m.commit_term = some_term_at(w, m.commit);
    m.x = fuzz_below(&w->in, 2) == 0 ? some_index(w) : near(w, w->ctx);
    m.stamp = near(w, w->n->now);
    if (m.type == RAFT_M_APP) {
        make_entries(w, &m, ents);
    }
    return m;
}

static void stage(struct world *w, const struct raft_msg *m)
{
    struct raft_conf conf = w->n->machine.conf;
    enum fl_status status;

    if (m->index > LAST_MAX) {
        return; /* the world keeps its log by index */
    }
    if (fuzz_below(&w->in, 2) == 0) {
        struct raft_changes change;

        (void)sim_parse_changes(changes[fuzz_below(&w->in, 8)], &change);
        sim_allow(w->n, raft_conf_change(&conf, &change));
    }
    status = raft_snapshot_staged(w->n->group, w->n->now, m->from, m->index, m->log_term, &conf);
    sim_allow(w->n, status);
    if (status == FL_OK) {
        sim__snapshot_free(w->n->staged);
        w->n->staged = sim__snapshot_new(m->index, m->log_term, &conf, "snapshot");
        w->n->apply_hi = w->n->machine.applied;
    }
}

static void step(struct world *w)
{
    struct raft_ent ents[ENTS_MAX];
    struct raft_msg m = make_message(w, ents);
    raft_index lo;
    raft_index hi;
    enum fl_status status = raft_step(w->n->group, w->n->now, &m, ents, &lo, &hi);

    sim_allow(w->n, status);
    for (raft_index i = lo; i <= hi; i++) {
        const struct raft_ent *ent = &ents[i - m.index - 1];
        struct sim_entry e = {.term = ent->term, .type = ent->type};

        (void)snprintf(e.text,
                       sizeof(e.text),
                       "%s",
                       e.type == RAFT_ENT_CONF ? changes[ent->len / 16 % 8] : "x");
        sim__keep_entry(w->n, i, e);
    }
    if (m.type == RAFT_M_SNAP && status == FL_OK && fuzz_below(&w->in, 4) != 0) {
        stage(w, &m);
    }
}

/* A message without any sense. */
static void step_raw(struct world *w)
{
    struct raft_msg m = {.group = fuzz_below(&w->in, 8), .to = fuzz_below(&w->in, 3)};
    raft_index lo;
    raft_index hi;

    m.from = fuzz_below(&w->in, 8);
    m.type = fuzz_u8(&w->in);
    m.flags = fuzz_u8(&w->in);
    m.term = fuzz_u64(&w->in);
    m.index = fuzz_u64(&w->in);
    m.log_term = fuzz_u64(&w->in);
    m.commit = fuzz_u64(&w->in);
    m.commit_term = fuzz_u64(&w->in);
    m.x = fuzz_u64(&w->in);
    m.stamp = fuzz_u64(&w->in);
    m.nents = m.type == RAFT_M_APP ? 0 : fuzz_u8(&w->in);
    sim_allow(w->n, raft_step(w->n->group, w->n->now, &m, NULL, &lo, &hi));
}

/* What a crash takes from a core's memory, a leader may lie about afterwards without being found
 * out: what was acknowledged, committed, or lost because of that. */
static void forget(struct world *w)
{
    raft_status_get(w->n->group, &w->s);
    w->n->acked = 0;
    w->c->nlost = 0;
    for (raft_index i = w->s.commit + 1; i < w->c->committed_capacity; i++) {
        w->c->committed[i] = (struct sim_committed){0};
    }
}

static void disk_or_machine(struct world *w)
{
    switch (fuzz_below(&w->in, 8)) {
    case 0:
    case 1:
        (void)sim_persist_one(w->n);
        break;
    case 2:
        (void)sim_apply(w->n);
        break;
    case 3:
        (void)sim_settle(w->n);
        break;
    case 4:
        sim_save(w->n);
        break;
    case 5:
        sim_save(w->n);
        sim_compact(w->n);
        break;
    case 6:
        sim_restart(w->n, fuzz_below(&w->in, 4));
        forget(w);
        break;
    default:
        w->n->now += fuzz_u8(&w->in);
        break;
    }
}

static void ask(struct world *w)
{
    struct raft_group *g = w->n->group;
    uint64_t now = w->n->now;
    raft_id peer = 1 + fuzz_below(&w->in, MEMBERS + 1);

    switch (fuzz_below(&w->in, 13)) {
    case 0:
    case 1:
        sim_allow(w->n, sim_propose(w->n, "y"));
        break;
    case 2:
        sim_allow(w->n, sim_propose(w->n, changes[fuzz_below(&w->in, 8)]));
        break;
    case 3:
        (void)sim_read(w->n, ++w->ctx);
        break;
    case 4:
        sim_allow(w->n, raft_campaign(g, now));
        break;
    case 5:
        sim_allow(w->n, raft_transfer(g, now, peer));
        break;
    case 6:
        sim_allow(w->n, raft_unreachable(g, now, peer));
        break;
    case 7:
        sim_allow(w->n, raft_snapshot_status(g, now, peer, fuzz_below(&w->in, 2) != 0));
        break;
    case 8:
        sim_allow(w->n, raft_peer_alive(g, now, peer, near(w, now)));
        break;
    case 9:
        sim_allow(w->n, raft_quiesce(g, now));
        break;
    case 10:
        sim_allow(w->n, raft_wake(g, now));
        break;
    case 11:
        sim_allow(w->n, raft_forget_leader(g, now));
        break;
    default:
        sim_allow(w->n, raft_fetched(g, now, peer));
        break;
    }
}

static void one_input(struct world *w)
{
    raft_status_get(w->n->group, &w->s);
    switch (fuzz_below(&w->in, 8)) {
    case 0:
    case 1:
    case 2:
        step(w);
        break;
    case 3:
        (void)sim_take_ready(w->n);
        break;
    case 4:
        disk_or_machine(w);
        break;
    case 5:
        ask(w);
        break;
    case 6:
        sim_tick(w->n);
        break;
    default:
        step_raw(w);
        break;
    }
    while (w->c->npackets > 0) {
        sim_packet_free(sim_unlink(w->c, 0));
    }
}

static void open_world(struct world *w)
{
    uint8_t options = fuzz_u8(&w->in);
    struct raft_config config;
    struct raft_conf conf = {.n = MEMBERS, .in = 0xf, .learners = 0x10, .id = {1, 2, 3, 4, 5}};

    sim_config(&config);
    config.pre_vote = (options & 1) != 0;
    config.check_quorum = (options & 2) != 0;
    config.strict_conf = (options & 4) != 0;
    config.step_down_on_removal = (options & 8) != 0;
    config.max_inflight = (options & 16) != 0 ? 2 : 256;
    config.max_apply_ents = (options & 32) != 0 ? 1 : 100;
    config.max_uncommitted_bytes = (options & 64) != 0 ? 20 : 0;
    w->c = sim_create(1);
    w->n = sim_add_node(w->c, &config, 10, &conf);
    w->n->check_disabled = true; /* a made up leader answers reads as it likes */
    w->n->cold = (options & 128) != 0 ? 3 : 0;
}

/* The lie can only be a leader's: two of them in one term, one that lacks what is committed, one
 * that takes back its own entries, or begins a change before the last one is committed. */
static bool is_proof_of_a_liar(const char *violation)
{
    return strstr(violation, ": RG-3") != NULL || strstr(violation, ": RG-6") != NULL ||
           strstr(violation, ": RG-7") != NULL ||
           strstr(violation, ": RG-11: two membership changes") != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.in = {data, size}};

    open_world(&w);
    while (w.in.left > 0 && w.c->violation[0] == '\0') {
        one_input(&w);
        raft_status_get(w.n->group, &w.s);
        if (w.s.last > LAST_MAX || w.s.term > TERM_MAX) {
            break; /* the world keeps both by number */
        }
    }
    if (w.c->violation[0] != '\0' && !is_proof_of_a_liar(w.c->violation)) {
        (void)fprintf(stderr, "%s\n", w.c->violation);
        abort();
    }
    sim_destroy(w.c);
    return 0;
}
