/* Appends that may wait: a leader needs answers from a quorum, not from everybody.
 *
 * Entries go at once to the front, the fewest voters that make a quorum together with the leader
 * ("thrifty" replication, Moraru et al., EPaxos, SOSP 2013, section 6). The other members get
 * theirs at the next multiple of defer_ticks, many in one message and one fsync; so does a commit
 * point that has no entries to travel with. All groups wait for the same multiples, so that theirs
 * leave in one frame. Any message may be late in Raft: nothing here is needed for safety (RG-17).
 *
 * What it costs: an entry is on a bare quorum for up to defer_ticks, and a member of the front that
 * falls silent is noticed when the others' turn comes: after defer_ticks, or twice that when its
 * silence began just before.
 *
 *        voters that replicate with room in the window, the quickest first
 *       |<--- front --->|<------------- deferred: the rest, learners ----------->|
 *          at once           at `due`; then until they have everything */
#include "raftgroup/raft_internal.h"

/* Delays are measured in sixteenths of a tick; longer ones are all the same. The mean moves an
 * eighth of the way to the news and is kept eightfold, so that what is equal becomes equal. */
enum { DELAY_ONE = 16, DELAY_GAIN = 8, DELAY_MAX = 1 << 24 };

static bool defers(const struct raft_group *g)
{
    return raft__config(g)->defer_ticks != 0;
}

/* A member of the front answers soon: it is in step, its next entry is at hand, and there is room
 * for it. */
static bool is_quick(const struct raft_group *g, int slot)
{
    const struct raft_progress *p = &g->peers[slot];

    return p->state == RAFT_REPLICATE && !p->paused && !p->fetching &&
           p->next > g->log.snap_index && !raft__progress_is_full(p, &g->env->window);
}

/* How long the answer that is being timed has taken up to now: half a tick at least, so that the
 * delay is 0 only of those never measured. */
static uint32_t waited(const struct raft_group *g, const struct raft_progress *p)
{
    uint32_t ticks = (uint32_t)g->now - p->timed_at;

    return ticks < DELAY_MAX / DELAY_ONE ? ticks * DELAY_ONE + DELAY_ONE / 2 : DELAY_MAX;
}

/* Equals differ from group to group, so that the work is spread over the nodes. */
static unsigned turn_of(const struct raft_group *g, int slot)
{
    return (unsigned)(((uint64_t)slot + g->conf.n - g->id % g->conf.n) % g->conf.n);
}

static bool may_be_front(const struct raft_group *g, int slot)
{
    return g->conf.id[slot] != g->self && (g->conf.in >> slot & 1) != 0;
}

/* The voters that make a quorum with the leader. */
static int front_size(const struct raft_group *g)
{
    return __builtin_popcount(g->conf.in) / 2;
}

/* One of the front if all are equal. The shell lets the first voters of this order inherit a lost
 * leadership: best those who have everything. */
static bool is_heir(const struct raft_group *g, int slot)
{
    int before = 0;

    for (int i = 0; i < g->conf.n; i++) {
        before += may_be_front(g, i) && turn_of(g, i) < turn_of(g, slot) ? 1 : 0;
    }
    return before < front_size(g);
}

/* Who was never measured is taken for as slow as the slowest. */
static uint32_t usual_delay(const struct raft_group *g)
{
    uint32_t delay = 0;

    for (int i = 0; i < g->conf.n; i++) {
        delay = g->peers[i].delay > delay ? g->peers[i].delay : delay;
    }
    return delay / DELAY_GAIN;
}

/* How long it takes to answer, as seen lately or as it is waited for now. Who has a place keeps it
 * unless twice as slow and two ticks more: the delay of the deferred is that of other, larger
 * messages. The same favour goes to heirs, and to those never measured. */
static uint32_t slowness(const struct raft_group *g, int slot)
{
    const struct raft_progress *p = &g->peers[slot];
    uint32_t now = p->timed != 0 ? waited(g, p) : 0;
    uint32_t delay = p->delay != 0 ? p->delay / DELAY_GAIN : usual_delay(g);
    bool favoured =
        (g->front != RAFT__ALL && (g->front >> slot & 1) != 0) || p->delay == 0 || is_heir(g, slot);

    delay = now > delay ? now : delay;
    if (!favoured) {
        return delay;
    }
    return delay > 2 * DELAY_ONE ? (delay - 2 * DELAY_ONE) / 2 : 0;
}

static bool goes_before(const struct raft_group *g, int a, int b)
{
    uint32_t slow_a = slowness(g, a);
    uint32_t slow_b = slowness(g, b);

    return slow_a != slow_b ? slow_a < slow_b : turn_of(g, a) < turn_of(g, b);
}

static raft_mask choose_front(const struct raft_group *g)
{
    int wanted = front_size(g);
    raft_mask front = 0;

    if (g->conf.out != 0 || (g->conf.in & raft__self_bit(g)) == 0) {
        return RAFT__ALL; /* two majorities, or one without us: rare, and nobody waits */
    }
    while (wanted-- > 0) {
        int best = -1;

        for (int i = 0; i < g->conf.n; i++) {
            if (may_be_front(g, i) && (front >> i & 1) == 0 && is_quick(g, i) &&
                (best < 0 || goes_before(g, i, best))) {
                best = i;
            }
        }
        if (best < 0) {
            return RAFT__ALL; /* too few: everybody is needed */
        }
        front |= raft__conf_bit(best);
    }
    return front;
}

/* What waited may leave, and places are given anew. Whatever comes first at a multiple begins it:
 * under load that is hardly ever the tick. */
static bool begin_turn(struct raft_group *g)
{
    if (g->defer_until == 0 || g->now < g->defer_until) {
        return false;
    }
    g->defer_until = 0;
    if (g->front != RAFT__ALL) {
        g->front = choose_front(g);
    }
    return true;
}

void raft__defer_choose(struct raft_group *g)
{
    if (!defers(g)) {
        return;
    }
    (void)begin_turn(g);
    for (int i = 0; i < g->conf.n && g->front != RAFT__ALL; i++) {
        if ((g->front >> i & 1) != 0 && !is_quick(g, i)) {
            g->front = RAFT__ALL;
        }
    }
    if (g->front == RAFT__ALL) {
        g->front = choose_front(g);
    }
}

/* An append of any kind may wait for it: probes and the last entries of a transfer may not. */
static bool may_wait(const struct raft_group *g, int slot)
{
    return defers(g) && g->peers[slot].state == RAFT_REPLICATE && g->conf.id[slot] != g->transferee;
}

bool raft__is_deferred(const struct raft_group *g, int slot)
{
    return may_wait(g, slot) && (g->front >> slot & 1) == 0;
}

bool raft__defer_waits(struct raft_group *g, int slot, bool entries)
{
    struct raft_progress *p = &g->peers[slot];
    uint32_t ticks = raft__config(g)->defer_ticks;

    if (entries ? !raft__is_deferred(g, slot) : !may_wait(g, slot)) {
        return false;
    }
    p->due = p->due != 0 && !RG_BUG(C29) ? p->due : (g->now / ticks + 1) * ticks;
    if (g->now >= p->due) {
        return false;
    }
    /* All that wait wait for the same multiple. */
    g->defer_until = RG_BUG(C29_DEADLINE) ? g->defer_until : p->due;
    return true;
}

void raft__defer_sent(struct raft_group *g, int slot, bool entries)
{
    struct raft_progress *p = &g->peers[slot];

    if (entries && p->state == RAFT_REPLICATE && p->timed == 0) {
        p->timed = p->next - 1;
        p->timed_at = (uint32_t)g->now;
    }
    if (p->next > g->log.last) {
        p->due = 0; /* it has everything: what comes next may wait again */
    }
}

void raft__defer_acked(struct raft_group *g, struct raft_progress *p)
{
    if (p->timed != 0 && p->match >= p->timed) {
        uint32_t delay = waited(g, p);

        p->delay = p->delay != 0 ? p->delay - p->delay / DELAY_GAIN + delay : delay * DELAY_GAIN;
        p->timed = 0;
    }
}

void raft__defer_lost(struct raft_group *g, int slot)
{
    if (g->defer_until != 0 && g->front != RAFT__ALL && (g->front >> slot & 1) != 0) {
        g->send_due = true;
    }
}

void raft__defer_tick(struct raft_group *g)
{
    g->send_due = begin_turn(g) || g->send_due;
}
