/* The hierarchical timing wheel. */
#include "node/wheel.h"

#include "node/loop.h"
#include "raftgroup/base/assert.h"

#include <assert.h>

#define SLOT_BITS 6
#define DUE       (NODE_WHEEL_LEVELS * NODE_WHEEL_SLOTS)
#define NOWHERE   UINT16_MAX

static_assert(1 << SLOT_BITS == NODE_WHEEL_SLOTS, "a slot is one digit");
static_assert(NODE_WHEEL_LEVELS * SLOT_BITS >= 64, "the levels cover every deadline");
static_assert(DUE < NOWHERE, "a slot number fits");

/* The digit of `time` at `level`. */
static unsigned digit(uint64_t time, unsigned level)
{
    return (unsigned)(time >> (SLOT_BITS * level)) & (NODE_WHEEL_SLOTS - 1);
}

void node_wheel_init(struct node_wheel *wheel, uint64_t now_ms)
{
    wheel->now_ms = now_ms;
    wheel->count = 0;
    fl_list_init(&wheel->due);
    for (unsigned level = 0; level < NODE_WHEEL_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (unsigned slot = 0; slot < NODE_WHEEL_SLOTS; slot++) {
            fl_list_init(&wheel->slots[level][slot]);
        }
    }
}

void node_timer_init(struct node_timer *timer)
{
    fl_list_init(&timer->link);
    timer->deadline_ms = NODE_NEVER;
    timer->slot = NOWHERE;
}

bool node_timer_is_set(const struct node_timer *timer)
{
    return timer->slot != NOWHERE;
}

static void place(struct node_wheel *wheel, struct node_timer *timer)
{
    unsigned level;
    unsigned slot;

    if (timer->deadline_ms <= wheel->now_ms) {
        timer->slot = DUE;
        fl_list_push_back(&wheel->due, &timer->link);
        return;
    }
    level = (63u - (unsigned)__builtin_clzll(timer->deadline_ms ^ wheel->now_ms)) / SLOT_BITS;
    slot = digit(timer->deadline_ms, level);
    timer->slot = (uint16_t)(level * NODE_WHEEL_SLOTS + slot);
    fl_list_push_back(&wheel->slots[level][slot], &timer->link);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

void node_wheel_cancel(struct node_wheel *wheel, struct node_timer *timer)
{
    unsigned level = timer->slot / NODE_WHEEL_SLOTS;
    unsigned slot = timer->slot % NODE_WHEEL_SLOTS;

    if (timer->slot == NOWHERE) {
        return;
    }
    fl_list_remove(&timer->link);
    if (timer->slot != DUE && fl_list_empty(&wheel->slots[level][slot])) {
        wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    }
    wheel->count--;
    timer->slot = NOWHERE;
    timer->deadline_ms = NODE_NEVER;
}

void node_wheel_set(struct node_wheel *wheel, struct node_timer *timer, uint64_t deadline_ms)
{
    if (timer->deadline_ms == deadline_ms) {
        return;
    }
    node_wheel_cancel(wheel, timer);
    if (deadline_ms == NODE_NEVER) {
        return;
    }
    timer->deadline_ms = deadline_ms;
    wheel->count++;
    place(wheel, timer);
}

/* Slots of a level whose start lies in (old, now], given that their start is later than old. */
static uint64_t passed_slots(uint64_t old_ms, uint64_t now_ms, unsigned level)
{
    uint64_t from = old_ms >> (SLOT_BITS * level);
    uint64_t to = now_ms >> (SLOT_BITS * level);
    unsigned last = (unsigned)to & (NODE_WHEEL_SLOTS - 1);

    /* Timers of a level share all higher digits with old: when those of now differ, all passed. */
    if (from >> SLOT_BITS != to >> SLOT_BITS) {
        return UINT64_MAX;
    }
    return UINT64_MAX >> (NODE_WHEEL_SLOTS - 1 - last);
}

/* Moves time on; timers of slots that began go to `due` or to a lower level. */
static void advance(struct node_wheel *wheel, uint64_t now_ms)
{
    uint64_t old_ms = wheel->now_ms;
    struct fl_list moved;

    fl_list_init(&moved);
    for (unsigned level = 0; level < NODE_WHEEL_LEVELS; level++) {
        uint64_t slots;

        if (old_ms >> (SLOT_BITS * level) == now_ms >> (SLOT_BITS * level)) {
            break;
        }
        slots = wheel->occupied[level] & passed_slots(old_ms, now_ms, level);
        wheel->occupied[level] &= ~slots;
        while (slots != 0) {
            unsigned slot = (unsigned)__builtin_ctzll(slots);

            slots &= slots - 1;
            fl_list_move_all(&moved, &wheel->slots[level][slot]);
        }
    }
    wheel->now_ms = now_ms;
    while (!fl_list_empty(&moved)) {
        struct node_timer *timer = fl_container_of(moved.next, struct node_timer, link);

        fl_list_remove(&timer->link);
        place(wheel, timer);
    }
}

struct node_timer *node_wheel_pop(struct node_wheel *wheel, uint64_t now_ms)
{
    struct node_timer *timer;

    if (now_ms > wheel->now_ms) {
        advance(wheel, now_ms);
    }
    if (fl_list_empty(&wheel->due)) {
        return NULL;
    }
    timer = fl_container_of(wheel->due.next, struct node_timer, link);
    node_wheel_cancel(wheel, timer);
    return timer;
}

uint64_t node_wheel_next(const struct node_wheel *wheel)
{
    if (!fl_list_empty(&wheel->due)) {
        return wheel->now_ms;
    }
    /* A lower level lies wholly before the next slot of a higher one. */
    for (unsigned level = 0; level < NODE_WHEEL_LEVELS; level++) {
        unsigned shift = SLOT_BITS * level;
        uint64_t slot;
        uint64_t above;

        if (wheel->occupied[level] == 0) {
            continue;
        }
        slot = (uint64_t)__builtin_ctzll(wheel->occupied[level]);
        above = shift + SLOT_BITS < 64 ? wheel->now_ms >> (shift + SLOT_BITS) : 0;
        above = shift + SLOT_BITS < 64 ? above << (shift + SLOT_BITS) : 0;
        return above | slot << shift;
    }
    return NODE_NEVER;
}
