/* Goal: the oracle protocol as a whole keeps its promises under chaos:
 *   - no revision is handed out twice, over any number of failovers (OR-1),
 *   - an acknowledged write's revision is above everything acknowledged or read before it began,
 * and a read's R is not below it, on whichever nodes (OR-4..OR-7): real-time order,
 *   - revisions ascend in every range's log (OR-12),
 *   - a read at R over all ranges saw exactly what the ranges hold at R in the end (OR-9, OR-10).
 * Method: a seeded discrete-event simulation in one thread. Real: node_oracle, node_oracle_client,
 * node_floor, node_witness and the message codec. Modelled: Raft of the first range with three or
 * five voters (the term each has met, majorities that elect without asking the others, deposed
 * leaders that do not know it yet, candidates that fail, marks, read rounds), Raft of three more
 * ranges, a network that delays, reorders, repeats and loses, nodes that restart. After the chaos
 * everything must come to an end.
 *
 * ORACLE_SIM_SEED is the first seed, ORACLE_SIM_SEEDS how many. */
#include "node/oracle.h"
#include "raftgroup/base/prng.h"
#include "tests/node/oracle_sim_queue.h"
#include "tests/node/oracle_sim_voters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    CLIENTS = 4, /* nodes 1..4 */
    RANGES = 3,
    CHAOS_MS = 8000,
    CALM_MS = 4000,
    SEEDS_DEFAULT = 90,
};

enum op_kind { OP_WRITE, OP_READ, OP_LEAD };

struct op {
    struct node_oracle_waiter waiter;
    enum op_kind kind;
    size_t client;
    size_t range;
    uint64_t range_term;
    uint64_t horizon; /* highest revision anybody was told of before this began */
    uint64_t index;   /* WRITE: in the range's log, 0: not proposed */
    size_t parts;     /* READ: ranges still to answer */
    bool held;        /* the client has the waiter */
    bool applied;
    bool confirmed;
    bool done;
};

struct entry {
    uint64_t revision;
    struct op *op;
};

struct range {
    uint64_t term;
    size_t leader; /* client */
    bool serving;
    struct node_floor floor;
    struct entry *log; /* index 1 is log[0] */
    size_t log_capacity;
    uint64_t last;
    uint64_t commit;
    uint64_t applied; /* at the leader */
};

/* What a read at R saw of one range. */
struct sight {
    size_t range;
    uint64_t revision;
    uint64_t seen; /* entries at or below R */
};

/* How often the chaos reached what it is meant to test. */
struct stats {
    uint64_t acked;
    uint64_t unconfirmable;
    uint64_t reads;
    uint64_t refloored;
    uint64_t failovers;
    uint64_t restarts;
    uint64_t grants;
    uint64_t witnessed;
    uint64_t denied; /* the voter had been in another term when it asked */
};

struct world {
    struct fl_prng prng;
    uint64_t now;
    bool chaos;
    struct event_queue queue;

    struct sim_voters voters; /* of the first range: nodes 1..3 or 1..5 */
    uint64_t term;            /* newest that has a leader */
    size_t leader;
    uint64_t mark;                        /* committed */
    uint64_t flying_mark[SIM_VOTERS_MAX]; /* proposed in the newest term, not committed */
    struct node_oracle oracle[SIM_VOTERS_MAX];
    struct node_oracle_client client[CLIENTS];
    uint32_t boot[CLIENTS];
    struct range range[RANGES];

    uint64_t horizon;
    uint8_t *used; /* one byte per revision */
    size_t used_capacity;
    struct op **ops;
    size_t op_count;
    size_t op_capacity;
    struct sight *sights;
    size_t sight_count;
    size_t sight_capacity;
    struct stats *stats; /* of all runs */
};

static void client_turn(struct world *world, size_t who);
static void oracle_turn(struct world *world, size_t who);
static event_fn deliver_to_client;

static uint64_t below(struct world *world, uint64_t bound)
{
    return fl_prng_below(&world->prng, bound);
}

static void post(struct world *world, uint64_t delay, struct event event)
{
    event_queue_post(&world->queue, world->now + delay, &event);
}

/* ---- network ---- */

static void send(struct world *world,
                 event_fn *run,
                 size_t who,
                 uint64_t from,
                 const struct node_oracle_message *message)
{
    struct event event = {.run = run, .who = who, .x = from};
    size_t copies = 1;

    event.len = node_oracle_message_encode(message, event.bytes);
    if (world->chaos && below(world, 100) < 3) {
        copies = 2 * below(world, 2);
    }
    for (size_t i = 0; i < copies; i++) {
        uint64_t delay = 1 + below(world, 10);

        if (world->chaos && below(world, 50) == 0) {
            delay += below(world, 1500); /* a message from another time */
        }
        post(world, delay, event);
    }
}

static void deliver_to_oracle(struct world *world, const struct event *event)
{
    struct node_oracle_message ask;
    struct node_oracle *oracle = &world->oracle[event->who];

    assert_int_equal(node_oracle_message_decode(fl_bytes(event->bytes, event->len), &ask), FL_OK);
    if (node_oracle_asked(oracle, event->x, &ask) == FL_NOT_LEADER) {
        struct node_oracle_message message = {
            .type = NODE_ORACLE_REFUSE, .boot = ask.boot, .seq = ask.seq};

        if (below(world, 2) != 0) { /* may be wrong, as hints are */
            message.leader = world->leader + 1;
            message.term = world->term;
        }
        send(world, deliver_to_client, event->x - 1, event->who + 1, &message);
    }
    oracle_turn(world, event->who);
}

static void deliver_to_client(struct world *world, const struct event *event)
{
    struct node_oracle_message message;
    enum fl_status status;

    assert_int_equal(node_oracle_message_decode(fl_bytes(event->bytes, event->len), &message),
                     FL_OK);
    status =
        node_oracle_client_answered(&world->client[event->who], world->now, event->x, &message);
    assert_true(status == FL_OK || status == FL_STALE);
    if (message.type == NODE_ORACLE_GRANT && status == FL_OK) {
        world->stats->grants++;
        world->stats->witnessed += message.witness;
        world->stats->denied +=
            sim_voters_quorum(&world->voters, event->x, message.term, event->who + 1) &&
            !message.witness;
    }
    client_turn(world, event->who);
}

/* ---- the first range: its Raft group is modelled, its oracle is real ---- */

static void mark_done(struct world *world, const struct event *event)
{
    struct node_oracle *oracle = &world->oracle[event->who];

    if (oracle->leading && oracle->term == event->term) {
        node_oracle_marked(oracle, event->x);
        oracle_turn(world, event->who);
    }
}

/* The moment a quorum has it, or will never have. */
static void mark_at_quorum(struct world *world, const struct event *event)
{
    struct event done = *event;

    if (world->term == event->term) {
        world->mark = event->x > world->mark ? event->x : world->mark;
        world->flying_mark[event->who] = 0;
        done.run = mark_done;
        post(world, 1 + below(world, 10), done);
    }
}

static void round_done(struct world *world, const struct event *event)
{
    struct node_oracle *oracle = &world->oracle[event->who];

    if (oracle->leading && oracle->term == event->term) {
        node_oracle_round_done(oracle, event->x, event->y != 0);
        oracle_turn(world, event->who);
    }
}

static void round_at_quorum(struct world *world, const struct event *event)
{
    struct event done = *event;
    size_t answers = 0;

    for (size_t i = 0; i < world->voters.count; i++) {
        answers += world->voters.met[i] == event->term; /* the others may be cut off */
    }
    done.run = round_done;
    done.y = answers > world->voters.count / 2;
    if (done.y != 0 || below(world, 2) == 0) { /* a deposed leader may hear of it, or nothing */
        /* Now and then the answers lie in the buffers of a node that is held up. */
        post(world, 1 + below(world, below(world, 20) == 0 ? 600 : 10), done);
    }
}

static void oracle_turn(struct world *world, size_t who)
{
    struct node_oracle *oracle = &world->oracle[who];
    struct node_oracle_message message;
    uint64_t to;
    uint64_t value;

    while (node_oracle_next(oracle, &to)) {
        node_oracle_take(
            oracle, sim_voters_quorum(&world->voters, who + 1, oracle->term, to), &message);
        send(world, deliver_to_client, to - 1, who + 1, &message);
    }
    if (node_oracle_want_mark(oracle, &value)) {
        if (oracle->term == world->term) {
            world->flying_mark[who] = value;
        }
        post(world,
             1 + below(world, 30),
             (struct event){.run = mark_at_quorum, .who = who, .term = oracle->term, .x = value});
    }
    while (node_oracle_want_round(oracle, &value)) {
        post(world,
             1 + below(world, 10),
             (struct event){.run = round_at_quorum, .who = who, .term = oracle->term, .x = value});
    }
}

static void oracle_lead(struct world *world, const struct event *event)
{
    if (world->term == event->term) { /* its entry of the own term is applied */
        if (event->who < CLIENTS) {
            node_oracle_client_set_oracle(&world->client[event->who], event->who + 1, event->term);
        }
        node_oracle_lead(&world->oracle[event->who], event->term, 0, world->mark, 0);
        oracle_turn(world, event->who);
    }
}

static void meet_term(struct world *world, const struct event *event)
{
    struct node_oracle *oracle = &world->oracle[event->who];

    if (event->term > world->voters.met[event->who]) {
        world->voters.met[event->who] = event->term;
        if (oracle->leading && oracle->term < event->term) {
            node_oracle_step_down(oracle);
        }
    }
}

/* A majority votes; the others, and so perhaps the leader, do not know of it for a while. */
static void elect(struct world *world)
{
    bool votes[SIM_VOTERS_MAX];

    /* What the old leader left may be committed yet. */
    for (size_t i = 0; i < world->voters.count; i++) {
        if (world->flying_mark[i] > world->mark && below(world, 2) == 0) {
            world->mark = world->flying_mark[i];
        }
        world->flying_mark[i] = 0;
    }
    world->term = sim_voters_newer_term(&world->voters) + below(world, 3);
    world->leader = below(world, world->voters.count);
    world->stats->failovers++;
    sim_voters_elect(&world->voters, &world->prng, world->leader, votes);
    for (size_t i = 0; i < world->voters.count; i++) {
        struct event event = {.run = meet_term, .who = i, .term = world->term};

        if (votes[i]) {
            meet_term(world, &event);
        } else {
            post(world, below(world, 1000), event);
        }
    }
    post(world,
         1 + below(world, below(world, 2) == 0 ? 5 : 60),
         (struct event){.run = oracle_lead, .who = world->leader, .term = world->term});
}

static void elect_later(struct world *world, const struct event *event)
{
    if (world->term == event->term) {
        elect(world);
    }
}

/* A candidate whom nobody votes for yet: it bears no witness for the leader any more, who hears of
 * its term later. */
static void campaign(struct world *world)
{
    size_t who = (world->leader + 1 + below(world, world->voters.count - 1)) % world->voters.count;
    struct event event = {.run = meet_term,
                          .who = who,
                          .term = sim_voters_newer_term(&world->voters) + below(world, 3)};

    meet_term(world, &event);
    event.run = elect_later;
    event.term = world->term;
    post(world, below(world, 300), event);
}

/* ---- writes and reads ---- */

static void op_submit(struct world *world, struct op *op)
{
    op->waiter.kind = op->kind == OP_WRITE ? NODE_ORACLE_WRITE : NODE_ORACLE_READ;
    assert_int_equal(node_oracle_client_submit(&world->client[op->client], &op->waiter), FL_OK);
    op->held = true;
}

static struct op *op_begin(struct world *world, enum op_kind kind, size_t client, size_t range)
{
    struct op *op = fl_xcalloc(1, sizeof(*op));

    op->kind = kind;
    op->client = client;
    op->range = range;
    op->range_term = world->range[range].term;
    op->horizon = world->horizon;
    fl_grow(&world->ops, &world->op_capacity, world->op_count + 1, sizeof(struct op *));
    world->ops[world->op_count++] = op;
    op_submit(world, op);
    return op;
}

static void op_drop(struct world *world, struct op *op)
{
    if (op->held) {
        node_oracle_client_cancel(&world->client[op->client], &op->waiter);
        op->held = false;
    }
    op->done = true;
}

static void told(struct world *world, uint64_t revision)
{
    world->horizon = revision > world->horizon ? revision : world->horizon;
}

static void op_maybe_acknowledge(struct world *world, struct op *op)
{
    if (op->applied && op->confirmed && !op->done) {
        assert_true(op->waiter.revision > op->horizon); /* real-time order of writes */
        op->done = true;
        told(world, op->waiter.revision);
        world->stats->acked++;
    }
}

static void range_apply(struct world *world, const struct event *event)
{
    struct range *range = &world->range[event->who];

    if (range->term != event->term) {
        return;
    }
    for (; range->applied < event->x; range->applied++) {
        struct entry *entry = &range->log[range->applied];

        if (entry->op != NULL) {
            entry->op->applied = true;
            op_maybe_acknowledge(world, entry->op);
        }
    }
    node_floor_applied(&range->floor, range->applied);
}

static void range_commit(struct world *world, const struct event *event)
{
    struct range *range = &world->range[event->who];
    struct event apply = *event;

    if (range->term == event->term) {
        range->commit = event->x > range->commit ? event->x : range->commit;
        apply.run = range_apply;
        post(world, 1 + below(world, 15), apply);
    }
}

static void op_granted(struct world *world, struct op *op)
{
    struct range *range = &world->range[op->range];
    uint64_t revision = op->waiter.revision;
    size_t known = world->used_capacity;

    fl_grow(&world->used, &world->used_capacity, revision + 1, 1);
    memset(world->used + known, 0, world->used_capacity - known);
    assert_true(revision != 0 && world->used[revision] == 0); /* OR-1: never twice */
    world->used[revision] = 1;
    if (node_floor_admit(&range->floor, revision) != FL_OK) {
        world->stats->refloored++;
        node_oracle_client_seen(&world->client[op->client], range->floor.floor);
        op_drop(world, op);
        op->done = false;
        op_submit(world, op);
        return;
    }
    assert_true(range->last == 0 || range->log[range->last - 1].revision < revision); /* OR-12 */
    fl_grow(&range->log, &range->log_capacity, range->last + 1, sizeof(range->log[0]));
    range->log[range->last++] = (struct entry){.revision = revision, .op = op};
    op->index = range->last;
    node_floor_proposed(&range->floor, revision, op->index);
    post(
        world,
        2 + below(world, 30),
        (struct event){.run = range_commit, .who = op->range, .term = range->term, .x = op->index});
}

/* ---- a read at R over all ranges ---- */

static void sight_check(const struct world *world, const struct sight *sight)
{
    const struct range *range = &world->range[sight->range];
    uint64_t held = 0;

    while (held < range->last && range->log[held].revision <= sight->revision) {
        held++;
    }
    assert_int_equal(sight->seen, held);
}

static void part_wait(struct world *world, const struct event *event)
{
    struct range *range = &world->range[event->who];
    struct op *op = event->op;
    uint64_t seen = 0;

    if (op->done) {
        return;
    }
    if (range->term != event->term) {
        op->done = true; /* failed: somebody would ask again */
        return;
    }
    if (range->applied < event->x) {
        post(world, 1, *event);
        return;
    }
    while (seen < range->applied && range->log[seen].revision <= op->waiter.revision) {
        seen++;
    }
    fl_grow(&world->sights, &world->sight_capacity, world->sight_count + 1, sizeof(struct sight));
    world->sights[world->sight_count++] = (struct sight){event->who, op->waiter.revision, seen};
    if (--op->parts == 0) {
        op->done = true;
        told(world, op->waiter.revision);
        world->stats->reads++;
    }
}

/* The range's read round ended well: its leader led after the floor was raised. */
static void part_confirmed(struct world *world, const struct event *event)
{
    struct range *range = &world->range[event->who];
    struct event wait = *event;
    uint64_t in_flight;

    if (event->op->done || range->term != event->term) {
        event->op->done = true;
        return;
    }
    in_flight = node_floor_wait_index(&range->floor, event->op->waiter.revision);
    wait.x = in_flight > event->x ? in_flight : event->x;
    wait.run = part_wait;
    part_wait(world, &wait);
}

static void part_arrived(struct world *world, const struct event *event)
{
    struct range *range = &world->range[event->who];
    struct event confirm = *event;

    if (!range->serving || event->op->done) {
        event->op->done = true;
        return;
    }
    node_floor_raise(&range->floor, event->op->waiter.revision);
    confirm.run = part_confirmed;
    confirm.term = range->term;
    confirm.x = range->commit;
    post(world, 1 + below(world, 10), confirm);
}

/* ---- ranges ---- */

static void range_elect(struct world *world, size_t at)
{
    struct range *range = &world->range[at];
    uint64_t kept = range->commit + below(world, range->last - range->commit + 1);

    for (size_t i = 0; i < world->op_count; i++) { /* OR-8 */
        struct op *op = world->ops[i];

        if (op->kind != OP_READ && op->range == at && !op->done &&
            (op->index == 0 || op->index > kept)) {
            op_drop(world, op);
        }
    }
    for (uint64_t i = kept; i < range->last; i++) {
        range->log[i].op = NULL;
    }
    range->last = kept;
    range->commit = kept;
    node_floor_close(&range->floor); /* the next leader's knows nothing of it */
    range->term++;
    range->serving = false;
    range->leader = below(world, CLIENTS);
    range_apply(world, &(struct event){.who = at, .term = range->term, .x = kept});
    op_begin(world, OP_LEAD, range->leader, at); /* OR-10 */
    client_turn(world, range->leader);
}

static void op_confirmed(struct world *world, struct op *op)
{
    struct range *range = &world->range[op->range];

    op->held = false;
    op->confirmed = true;
    if (op->kind == OP_WRITE) {
        op_maybe_acknowledge(world, op);
        return;
    }
    assert_true(op->waiter.revision >= op->horizon); /* real-time order of reads */
    if (op->kind == OP_LEAD) {
        op->done = true;
        node_floor_lead(&range->floor,
                        range->last != 0 ? range->log[range->last - 1].revision : 0,
                        op->waiter.revision);
        range->serving = true;
        return;
    }
    op->parts = RANGES;
    for (size_t i = 0; i < RANGES; i++) {
        post(world, 1 + below(world, 10), (struct event){.run = part_arrived, .who = i, .op = op});
    }
}

/* ---- clients ---- */

static void client_turn(struct world *world, size_t who)
{
    struct node_oracle_client *client = &world->client[who];
    struct node_oracle_message ask;
    struct node_oracle_waiter *waiter;
    enum node_oracle_event event;
    uint64_t to;

    do {
        event = node_oracle_client_next(client, &waiter);
        if (event == NODE_ORACLE_GRANTED) {
            op_granted(world, fl_container_of(waiter, struct op, waiter));
        } else if (event == NODE_ORACLE_CONFIRMED) {
            op_confirmed(world, fl_container_of(waiter, struct op, waiter));
        } else if (event == NODE_ORACLE_UNCONFIRMABLE) {
            struct op *op = fl_container_of(waiter, struct op, waiter);

            op->held = false;
            op->done = true; /* told as unknown */
            world->stats->unconfirmable++;
        }
    } while (event != NODE_ORACLE_NOTHING);
    if (node_oracle_client_lacks_oracle(client)) {
        if (below(world, 2) == 0) {
            node_oracle_client_set_oracle(client, 1 + below(world, world->voters.count), 0);
        } else {
            node_oracle_client_set_oracle(client, world->leader + 1, world->term);
        }
    }
    if (node_oracle_client_ask(
            client, world->now, sim_voters_witness(&world->voters, who + 1), &to, &ask)) {
        assert_false(node_oracle_client_ask(client, world->now, 0, &to, &ask)); /* one in flight */
        send(world, deliver_to_oracle, to - 1, who + 1, &ask);
    }
}

/* Everything in memory is gone; the node's leaderships with it. */
static void node_restart(struct world *world, size_t who)
{
    world->stats->restarts++;
    for (size_t i = 0; i < world->op_count; i++) {
        if (world->ops[i]->client == who && !world->ops[i]->done) {
            op_drop(world, world->ops[i]);
        }
    }
    node_oracle_client_init(&world->client[who], ++world->boot[who]);
    if (who < world->voters.count) {
        node_oracle_close(&world->oracle[who]);
        if (world->leader == who) {
            elect(world);
        }
    }
    for (size_t i = 0; i < RANGES; i++) {
        if (world->range[i].leader == who) {
            range_elect(world, i);
        }
    }
}

/* ---- the run ---- */

static void tick(struct world *world, const struct event *event)
{
    size_t who = event->who;

    node_oracle_client_tick(&world->client[who], world->now);
    if (world->chaos) {
        for (size_t i = below(world, 12); i > 0; i--) {
            size_t at = below(world, RANGES);

            if (below(world, 8) == 0) {
                op_begin(world, OP_READ, who, 0);
            } else if (world->range[at].serving && world->range[at].leader == who) {
                op_begin(world, OP_WRITE, who, at);
            }
        }
        if (below(world, 300) == 0) {
            node_oracle_client_peer_lost(&world->client[who],
                                         1 + below(world, world->voters.count));
        }
        if (below(world, 100) == 0) {
            node_oracle_client_set_oracle(&world->client[who], world->leader + 1, world->term);
        }
    }
    client_turn(world, who);
    post(world, 5 + below(world, 5), *event);
}

static void misfortune(struct world *world, const struct event *event)
{
    if (!world->chaos) {
        return;
    }
    switch (below(world, 7)) {
    case 0:
    case 1:
    case 2:
        elect(world);
        break;
    case 3:
        campaign(world);
        break;
    case 4:
    case 5:
        range_elect(world, below(world, RANGES));
        break;
    default:
        node_restart(world, below(world, CLIENTS));
        break;
    }
    post(world, below(world, 250), *event);
}

static void world_open(struct world *world, uint64_t seed, struct stats *stats)
{
    *world = (struct world){.chaos = true, .stats = stats};
    fl_prng_seed(&world->prng, seed);
    world->voters.count = seed % 3 == 0 ? SIM_VOTERS_MAX : 3;
    for (size_t i = 0; i < SIM_VOTERS_MAX; i++) {
        node_oracle_init(&world->oracle[i]);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        node_oracle_client_init(&world->client[i], ++world->boot[i]);
        post(world, i, (struct event){.run = tick, .who = i});
    }
    for (size_t i = 0; i < RANGES; i++) {
        node_floor_init(&world->range[i].floor);
        range_elect(world, i);
    }
    elect(world);
    post(world, 500, (struct event){.run = misfortune});
}

static void world_close(struct world *world)
{
    for (size_t i = 0; i < SIM_VOTERS_MAX; i++) {
        node_oracle_close(&world->oracle[i]);
    }
    for (size_t i = 0; i < RANGES; i++) {
        node_floor_close(&world->range[i].floor);
        free(world->range[i].log);
    }
    for (size_t i = 0; i < world->op_count; i++) {
        free(world->ops[i]);
    }
    free(world->ops);
    free(world->sights);
    free(world->used);
    event_queue_close(&world->queue);
}

static void run_until(struct world *world, uint64_t time)
{
    while (event_queue_first(&world->queue)->time <= time) {
        struct event event = event_queue_take(&world->queue);

        world->now = event.time;
        event.run(world, &event);
    }
}

static void simulate(uint64_t seed, struct stats *total)
{
    struct world world;

    world_open(&world, seed, total);
    run_until(&world, CHAOS_MS);
    world.chaos = false;
    run_until(&world, CHAOS_MS + CALM_MS);
    for (size_t i = 0; i < world.sight_count; i++) {
        sight_check(&world, &world.sights[i]);
    }
    for (size_t i = 0; i < world.op_count; i++) {
        assert_true(world.ops[i]->done); /* nothing waits for ever */
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        assert_int_equal(world.client[i].count, 0);
    }
    world_close(&world);
}

static void test_chaos(void **state)
{
    const char *from = getenv("ORACLE_SIM_SEED");
    const char *many = getenv("ORACLE_SIM_SEEDS");
    uint64_t first = from != NULL ? strtoull(from, NULL, 10) : 1;
    uint64_t seeds = many != NULL ? strtoull(many, NULL, 10) : SEEDS_DEFAULT;
    struct stats total = {0};

    (void)state;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        simulate(seed, &total);
    }
    if (seeds >= SEEDS_DEFAULT) {
        assert_true(total.acked > 500 * seeds && total.reads > 200 * seeds);
        assert_true(total.failovers > 10 * seeds && total.restarts > seeds);
        assert_true(total.unconfirmable > seeds && total.refloored > seeds);
        assert_true(total.witnessed > total.grants / 10 && total.denied > seeds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chaos)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
