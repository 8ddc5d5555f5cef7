/* Clients: one operation at a time each, retried while it is certainly not applied. */
#include "tests/sim/world.h"

#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <string.h>

enum { FINAL_PUT = 0, FINALS_MAX = 16 };

/* ---- making operations ---- */

static struct sim_op *new_op(struct sim_world *w, struct sim_client *c, unsigned group)
{
    struct sim_op *op;

    fl_grow(&w->ops, &w->op_capacity, w->nops + 2, sizeof(*w->ops));
    op = &w->ops[++w->nops];
    *op = (struct sim_op){.serial = w->nops,
                          .client = c->id,
                          .history_client = c->history_client,
                          .group = (uint8_t)group,
                          .call = w->now};
    c->op = op->serial;
    return op;
}

static void choose_kind(struct sim_world *w, struct sim_op *op)
{
    struct fl_prng *prng = &w->client_prng;
    struct sim_command *c = &op->command;
    uint64_t dice = fl_prng_below(prng, 100);

    c->key = (uint8_t)fl_prng_below(prng, w->plan.keys);
    if (sim_chance(prng, w->plan.reads)) {
        c->kind = SIM_OP_GET;
        return;
    }
    c->value = ++w->next_value;
    c->kind = dice < 50 ? SIM_OP_PUT : dice < 60 ? SIM_OP_DELETE : SIM_OP_CAS;
    if (c->kind == SIM_OP_CAS) {
        c->expect = fl_prng_below(prng, 8) == 0 ? 0 : w->last_value[op->group][c->key];
    }
    if (dice >= 80 && w->plan.keys > 1) {
        c->kind = SIM_OP_TXN;
        c->other = (uint8_t)((c->key + 1 + fl_prng_below(prng, w->plan.keys - 1)) % w->plan.keys);
    }
}

/* In the end: one write and a read of every key, in every group. */
static bool choose_final(struct sim_world *w, struct sim_client *c)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        for (unsigned i = 0; i <= w->plan.keys && i < FINALS_MAX; i++) {
            struct sim_op *op;

            if (w->final[g][i] != 0 || (i != FINAL_PUT && w->final[g][FINAL_PUT] != 2)) {
                continue;
            }
            w->final[g][i] = 1;
            op = new_op(w, c, g);
            op->final = (uint8_t)(i + 1);
            op->command.kind = i == FINAL_PUT ? SIM_OP_PUT : SIM_OP_GET;
            op->command.key = i == FINAL_PUT ? 0 : (uint8_t)(i - 1);
            op->command.value = i == FINAL_PUT ? ++w->next_value : 0;
            return true;
        }
    }
    return false;
}

bool sim_client_finished(const struct sim_world *w)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        for (unsigned i = 0; i <= w->plan.keys; i++) {
            if (w->final[g][i] != 2) {
                return false;
            }
        }
    }
    return true;
}

/* ---- asking ---- */

static void send_request(struct sim_world *w, const struct sim_op *op, uint64_t wait)
{
    unsigned node = w->client[op->client].hint[op->group];

    if (node == 0 || node > w->plan.nodes || fl_prng_below(&w->client_prng, 10) == 0) {
        node = (unsigned)sim_between(&w->client_prng, 1, w->plan.nodes);
    }
    sim_after(w,
              wait,
              (struct sim_event){.kind = SIM_EV_REQUEST, .node = (uint8_t)node, .arg = op->serial});
}

void sim_client_next(struct sim_world *w, struct sim_client *c)
{
    struct sim_op *op;

    if (c->op != 0) {
        return;
    }
    if (w->now <= c->returned) { /* woken twice: it calls after its last answer, not with it */
        sim_after(w, 1, (struct sim_event){.kind = SIM_EV_CLIENT, .arg = c->id});
        return;
    }
    if (w->healing) {
        if (!choose_final(w, c)) {
            sim_after(w, 200000, (struct sim_event){.kind = SIM_EV_CLIENT, .arg = c->id});
            return;
        }
        op = &w->ops[c->op];
    } else {
        op = new_op(w, c, (unsigned)sim_between(&w->client_prng, 1, w->plan.groups));
        choose_kind(w, op);
    }
    send_request(w, op, sim_between(&w->client_prng, 50, 500));
    sim_after(w,
              sim_between(&w->client_prng, 2000000, 6000000),
              (struct sim_event){.kind = SIM_EV_TIMEOUT, .arg = op->serial});
}

static void finish(struct sim_world *w, struct sim_op *op, enum sim_op_state state)
{
    struct sim_client *c = &w->client[op->client];

    op->state = (uint8_t)state;
    op->ret = w->now;
    c->returned = w->now;
    w->counts.ops_ok += state == SIM_OP_OK;
    w->counts.ops_failed += state == SIM_OP_FAILED;
    w->counts.ops_unknown += state == SIM_OP_UNKNOWN;
    if (state == SIM_OP_UNKNOWN) {
        c->history_client += SIM_CLIENTS_MAX; /* whoever does not know goes on as somebody else */
    }
    if (op->final != 0) {
        w->final[op->group][op->final - 1] = state == SIM_OP_OK ? 2 : 0;
    }
    c->op = 0;
    sim_after(w,
              1 + sim_exponential(&w->client_prng, w->plan.think_us),
              (struct sim_event){.kind = SIM_EV_CLIENT, .arg = c->id});
}

/* Certainly not applied so far: ask somebody else. */
static void retry(struct sim_world *w, struct sim_op *op, unsigned hint)
{
    w->client[op->client].hint[op->group] = (uint8_t)hint;
    send_request(w, op, sim_between(&w->client_prng, 10000, 150000));
}

void sim_client_timeout(struct sim_world *w, uint64_t serial)
{
    struct sim_op *op = &w->ops[serial];

    if (op->state != SIM_OP_OPEN) {
        return;
    }
    w->client[op->client].hint[op->group] = 0;
    finish(w, op, op->proposed ? SIM_OP_UNKNOWN : SIM_OP_FAILED);
}

/* ---- at a node ---- */

static unsigned leader_hint(struct sim_world *w, const struct sim_replica *r)
{
    struct raft_status s;

    raft_status_get(r->raft, &s);
    return s.leader != 0 && s.leader <= SIM_REPLICAS_MAX ? w->group[r->group].home[s.leader] : 0;
}

static void ask_read(struct sim_world *w, struct sim_replica *r, struct sim_op *op)
{
    uint64_t ctx = ++w->read_ctx;
    enum fl_status status;

    fl_grow(&r->asked, &r->asked_capacity, r->nasked + 1, sizeof(*r->asked));
    r->asked[r->nasked++] = (struct sim_asked){
        .ctx = ctx, .op = op->serial, .floor = w->group[r->group].truth.committed_hi};
    status = raft_read_index(r->raft, sim_local_ms(w, &w->node[r->node]), ctx);
    if (status != FL_OK) {
        r->nasked--;
    }
    (void)sim_input(w, r, status);
    if (status != FL_OK) {
        retry(w, op, leader_hint(w, r));
    }
}

static void ask_write(struct sim_world *w, struct sim_replica *r, struct sim_op *op)
{
    struct sim_payload payload = {.len = 0};
    struct sim_entry entry = {.type = RAFT_ENT_NORMAL};
    struct raft_ent ent = {.type = RAFT_ENT_NORMAL};
    raft_index index = 0;
    enum fl_status status;

    w->set->encode(w, op, &payload);
    ent.len = entry.len = payload.len;
    status =
        raft_propose(r->raft, sim_local_ms(w, &w->node[r->node]), &ent, 1, &index, &entry.term);
    if (status == FL_OK) {
        entry.payload = sim_payload_new(w);
        w->payloads[entry.payload] = payload;
        sim_replica_keep(w, r, index, entry);
        fl_grow(&r->pending, &r->pending_capacity, r->npending + 1, sizeof(*r->pending));
        r->pending[r->npending++] =
            (struct sim_pending){.index = index, .term = entry.term, .op = op->serial};
        op->repeated = op->proposed;
        op->proposed = true;
        op->proposals++;
        w->client[op->client].hint[op->group] = (uint8_t)r->node;
        w->last_value[op->group][op->command.key] = op->command.value;
        if (w->set->dedupes && fl_prng_below(&w->client_prng, 4) == 0) {
            send_request(w, op, sim_between(&w->client_prng, 100, 2000000)); /* no answer yet? */
        }
    } else {
        fl_buf_release(payload.bytes);
        retry(w, op, leader_hint(w, r));
    }
    (void)sim_input(w, r, status);
}

void sim_client_request(struct sim_world *w, uint64_t serial, struct sim_node *n)
{
    struct sim_op *op = &w->ops[serial];
    struct sim_replica *r = n->replica[op->group];

    if (op->state != SIM_OP_OPEN) {
        return;
    }
    /* What the core appended itself must be learned before more is appended. */
    while (n->up && sim_is_up(r) && !r->held && raft_has_ready(r->raft) &&
           w->violation[0] == '\0') {
        sim_replica_ready(w, r);
    }
    if (!n->up || !sim_is_up(r) || r->held) {
        retry(w, op, 0);
    } else if (op->command.kind == SIM_OP_GET) {
        ask_read(w, r, op);
    } else {
        ask_write(w, r, op);
    }
}

/* ---- answers ---- */

void sim_op_applied(struct sim_world *w, uint64_t serial, const struct sim_outcome *outcome)
{
    struct sim_op *op = &w->ops[serial];

    op->proposals--;
    if (!w->set->dedupes && (op->state == SIM_OP_OK || op->state == SIM_OP_FAILED)) {
        sim_violate(w, "answered once", "operation %" PRIu64 " is answered twice", serial);
        return;
    }
    if (op->state != SIM_OP_OPEN) {
        op->late = true; /* after the timeout, or a repetition */
        return;
    }
    op->outcome = *outcome;
    if (outcome->status == FL_OK) {
        finish(w, op, SIM_OP_OK);
    } else if (outcome->status == FL_UNKNOWN || op->repeated) {
        finish(w, op, SIM_OP_UNKNOWN); /* some turn of it may have been applied */
    } else {
        finish(w, op, SIM_OP_FAILED);
    }
}

void sim_op_lost(struct sim_world *w, uint64_t serial)
{
    struct sim_op *op = &w->ops[serial];

    op->proposals--;
    if (!w->set->dedupes && (op->state == SIM_OP_OK || op->state == SIM_OP_FAILED)) {
        sim_violate(w, "answered once", "operation %" PRIu64 " is lost after its answer", serial);
    } else if (op->state == SIM_OP_OPEN && op->proposals == 0) {
        if (!op->repeated && fl_prng_below(&w->client_prng, 2) == 0) {
            finish(w, op, SIM_OP_FAILED);
        } else {
            retry(w, op, 0);
        }
    }
}

void sim_read_done(struct sim_world *w, struct sim_replica *r, const struct raft_read *read)
{
    size_t at = 0;

    while (at < r->nasked && r->asked[at].ctx != read->ctx) {
        at++;
    }
    if (at == r->nasked || r->asked[at].confirmed) {
        sim_violate(w, "answered once", "a read is answered twice, or was never asked");
        return;
    }
    if (read->ok) {
        if (read->index < r->asked[at].floor) {
            sim_violate(w,
                        "stale read",
                        "group %u: replica %" PRIu64 " reads at %" PRIu64 ", %" PRIu64
                        " was committed before",
                        r->group,
                        r->id,
                        read->index,
                        r->asked[at].floor);
        }
        r->asked[at].index = read->index;
        r->asked[at].confirmed = true;
    } else {
        struct sim_op *op = &w->ops[r->asked[at].op];

        r->asked[at] = r->asked[--r->nasked];
        if (op->state == SIM_OP_OPEN) {
            retry(w, op, 0);
        }
    }
    sim_reads_serve(w, r);
}

void sim_reads_serve(struct sim_world *w, struct sim_replica *r)
{
    struct sim_machine_status s;
    size_t kept = 0;

    if (r->nasked == 0 || r->held) {
        return;
    }
    w->set->status(r->machine, &s);
    for (size_t i = 0; i < r->nasked; i++) {
        struct sim_op *op = &w->ops[r->asked[i].op];

        if (!r->asked[i].confirmed || r->asked[i].index > s.applied) {
            r->asked[kept++] = r->asked[i];
        } else if (op->state == SIM_OP_OPEN) {
            w->set->read(r->machine, op, &op->outcome);
            w->last_value[op->group][op->command.key] = op->outcome.value;
            w->counts.reads_ok++;
            finish(w, op, SIM_OP_OK);
        }
    }
    r->nasked = kept;
}
