/* Goal: a busy core takes no memory from the system, an idle follower holds at most 1 KiB, and one
 * processor carries a million inputs of cores per second.
 *
 * Method: the linker puts counters around malloc and its kin. Three cores exchange messages through
 * fixed arrays; after a warm-up, thousands of rounds of propose, append, acknowledge, commit, apply
 * and read must not call malloc once. Bytes are what the allocator gave, not what was asked for.
 * Speed is printed, not judged: machines differ. */
#include "raftgroup/base/assert.h"
#include "raftgroup/raft.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* ---- counters ---- */

static size_t live_bytes;
static unsigned long calls;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *p);

static void *note(void *p)
{
    calls++;
    live_bytes += malloc_usable_size(p);
    return p;
}

void *__wrap_malloc(size_t size)
{
    return note(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return note(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    live_bytes -= malloc_usable_size(old);
    return note(__real_realloc(old, size));
}

void __wrap_free(void *p)
{
    calls += p != NULL;
    live_bytes -= malloc_usable_size(p);
    __real_free(p);
}

/* ---- three cores ---- */

enum { CORES = 3, QUEUE = 256, ENTS = 64, WARM_UP = 200, ROUNDS = 20000, SPEED_ROUNDS = 200000 };

struct packet {
    struct raft_msg m;
    struct raft_ent ents[ENTS];
};

struct core {
    struct raft_env *env;
    struct raft_group *group;
    unsigned reads;
};

struct trio {
    struct core core[CORES];
    struct packet queue[QUEUE];
    unsigned head;
    unsigned n;
    uint64_t now;
    uint64_t inputs;
};

static uint32_t fit(void *user, raft_index lo, raft_index hi, uint64_t max_bytes, uint64_t *bytes)
{
    (void)user;
    (void)max_bytes;
    *bytes = 100 * (hi - lo + 1);
    return (uint32_t)(hi - lo + 1);
}

static void open_core(struct core *c, const struct raft_config *config, raft_id self)
{
    const struct raft_ops ops = {.fit = fit};
    const struct raft_boot boot = {
        .group = 1, .self = self, .seed = self, .conf = {.n = 3, .in = 7, .id = {1, 2, 3}}};

    c->env = raft_env_create(config, &ops);
    assert_int_equal(raft_open(c->env, &boot, NULL, 0, &c->group, NULL), FL_OK);
}

static struct trio *open_trio(void)
{
    struct trio *t = calloc(1, sizeof(*t));
    struct raft_config config;

    assert_non_null(t);
    raft_config_default(&config);
    config.max_msg_ents = ENTS;
    for (unsigned i = 0; i < CORES; i++) {
        open_core(&t->core[i], &config, i + 1);
    }
    return t;
}

static void close_trio(struct trio *t)
{
    for (unsigned i = 0; i < CORES; i++) {
        raft_close(t->core[i].group);
        raft_env_destroy(t->core[i].env);
    }
    free(t);
}

static void post(struct trio *t, const struct core *from, const struct raft_msg *m)
{
    struct packet *p = &t->queue[(t->head + t->n++) % QUEUE];

    fl_assert(t->n <= QUEUE && m->nents <= ENTS);
    p->m = *m;
    for (uint32_t i = 0; i < m->nents; i++) {
        p->ents[i] = (struct raft_ent){.term = raft_term_at(from->group, m->index + 1 + i),
                                       .len = 100,
                                       .type = RAFT_ENT_NORMAL};
    }
}

/* Takes one ready and carries it out at once; false = there was none. */
static bool turn(struct trio *t, struct core *c)
{
    struct raft_ready r;
    uint64_t seq;

    if (!raft_has_ready(c->group)) {
        return false;
    }
    fl_assert(raft_ready_get(c->group, &r) == FL_OK);
    for (uint32_t i = 0; i < r.nmsgs; i++) {
        post(t, c, &r.msgs[i]);
    }
    c->reads += r.nreads;
    seq = r.persist != NULL ? r.persist->seq : 0;
    raft_ready_done(c->group);
    if (seq != 0) {
        fl_assert(raft_persisted(c->group, t->now, seq) == FL_OK);
        t->inputs++;
    }
    if (r.apply_lo <= r.apply_hi) {
        uint64_t bytes = 100 * (r.apply_hi - r.apply_lo + 1);

        fl_assert(raft_applied(c->group, t->now, r.apply_hi, bytes) == FL_OK);
        t->inputs++;
    }
    return true;
}

static void deliver(struct trio *t)
{
    struct packet *p = &t->queue[t->head];
    raft_index lo;
    raft_index hi;

    t->head = (t->head + 1) % QUEUE;
    t->n--;
    fl_assert(
        raft_step(
            t->core[p->m.to - 1].group, t->now, &p->m, p->m.nents > 0 ? p->ents : NULL, &lo, &hi) ==
        FL_OK);
    t->inputs++;
}

static void settle(struct trio *t)
{
    bool moved = true;

    while (moved) {
        moved = false;
        for (unsigned i = 0; i < CORES; i++) {
            while (turn(t, &t->core[i])) {
                moved = true;
            }
        }
        while (t->n > 0) {
            deliver(t);
            moved = true;
        }
    }
}

static void tick(struct trio *t)
{
    for (unsigned i = 0; i < CORES; i++) {
        fl_assert(raft_tick(t->core[i].group, t->now) == FL_OK);
        t->inputs++;
    }
}

static void elect(struct trio *t)
{
    t->now += 5000; /* longer than any timeout */
    assert_int_equal(raft_campaign(t->core[0].group, t->now), FL_OK);
    settle(t);
    assert_int_equal(raft_propose(t->core[0].group,
                                  t->now,
                                  &(struct raft_ent){.len = 100},
                                  1,
                                  &(raft_index){0},
                                  &(raft_term){0}),
                     FL_OK);
    settle(t);
}

/* One write, one read at the leader, one read at a follower; now and then a beat. */
static void busy_round(struct trio *t, unsigned round)
{
    const struct raft_ent ent = {.len = 100};
    raft_index at;
    raft_term term;

    fl_assert(raft_propose(t->core[0].group, t->now, &ent, 1, &at, &term) == FL_OK);
    fl_assert(raft_read_index(t->core[0].group, t->now, round) == FL_OK);
    fl_assert(raft_read_index(t->core[1].group, t->now, round) == FL_OK);
    t->inputs += 3;
    settle(t);
    if (round % 8 == 0) {
        t->now += 100;
        tick(t);
        settle(t);
    }
}

/* ---- tests ---- */

static void test_busy_core_does_not_allocate(void **state)
{
    struct trio *t = open_trio();
    struct raft_status s;
    unsigned long before;

    (void)state;
    elect(t);
    for (unsigned i = 0; i < WARM_UP; i++) {
        busy_round(t, i);
    }
    before = calls;
    for (unsigned i = 0; i < ROUNDS; i++) {
        busy_round(t, i);
    }
    before = calls - before;
    raft_status_get(t->core[2].group, &s);
    print_message("%d rounds, %lu entries applied, %u reads: %lu calls of the allocator\n",
                  ROUNDS,
                  (unsigned long)s.applied,
                  t->core[0].reads + t->core[1].reads,
                  before);
    assert_true(s.applied >= ROUNDS);
    assert_int_equal(t->core[0].reads, WARM_UP + ROUNDS);
    assert_int_equal(t->core[1].reads, WARM_UP + ROUNDS);
    assert_int_equal(before, 0);
    close_trio(t);
}

/* The env and its scratch belong to all groups of a loop; a second group costs what is its own. */
static void test_idle_follower_fits_in_1_kib(void **state)
{
    struct trio *t = open_trio();
    size_t without;
    size_t held[CORES];

    (void)state;
    elect(t);
    for (unsigned i = 0; i < WARM_UP; i++) {
        busy_round(t, i);
    }
    assert_int_equal(raft_quiesce(t->core[0].group, t->now), FL_OK);
    settle(t);
    for (unsigned i = 0; i < CORES; i++) {
        size_t own = raft_group_bytes(t->core[i].group);

        without = live_bytes;
        raft_close(t->core[i].group);
        t->core[i].group = NULL;
        held[i] = without - live_bytes;
        print_message("%s: %zu bytes held, %zu reported\n",
                      i == 0 ? "idle leader of three" : "idle follower",
                      held[i],
                      own);
        assert_true(own <= held[i] && held[i] <= own + 64);
    }
    assert_true(held[1] <= 1024 && held[2] <= 1024);
    close_trio(t);
}

static void test_speed_is_printed(void **state)
{
    struct trio *t = open_trio();
    struct timespec from;
    struct timespec to;
    double seconds;
    uint64_t before;

    (void)state;
    elect(t);
    before = t->inputs;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (unsigned i = 0; i < SPEED_ROUNDS; i++) {
        busy_round(t, i);
    }
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    print_message("%lu inputs of cores in %.2f s of one processor: %.2f million per second\n",
                  (unsigned long)(t->inputs - before),
                  seconds,
                  (double)(t->inputs - before) / seconds / 1e6);
    close_trio(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_busy_core_does_not_allocate),
        cmocka_unit_test(test_idle_follower_fits_in_1_kib),
        cmocka_unit_test(test_speed_is_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
