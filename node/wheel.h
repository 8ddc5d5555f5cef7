/* Deadlines of many groups: a hierarchical timing wheel over milliseconds.
 *
 * Owner: the loop that owns the groups. Lifetime: init until the owner goes; nothing to close.
 * Threads: the owner's only.
 *
 * A group moves its deadline with nearly every message, so set must be O(1) without comparing with
 * others; a heap would pay log n for deadlines that almost never fall due. Level k has 64 slots of
 * 64^k ms; a timer sits in the level of the highest 6-bit digit in which its deadline differs from
 * `now`, in the slot of that digit:
 *
 *     deadline  ..|dddddd|dddddd|dddddd|     level 2   level 1   level 0
 *     now       ..|nnnnnn|nnnnnn|nnnnnn|       ^ first difference here: level 2, slot dddddd
 *
 * Eleven levels cover all 64 bits: no overflow list. A timer comes down at most once per level. */
#ifndef NODE_WHEEL_H
#define NODE_WHEEL_H

#include "raftgroup/base/list.h"

#include <stdbool.h>
#include <stdint.h>

#define NODE_WHEEL_LEVELS 11
#define NODE_WHEEL_SLOTS  64

/* Embedded in whatever has a deadline. */
struct node_timer {
    struct fl_list link;
    uint64_t deadline_ms; /* NODE_NEVER (UINT64_MAX) when not in a wheel */
    uint16_t slot;        /* level * 64 + slot, or the due list */
};

struct node_wheel {
    uint64_t now_ms;                             /* every timer not in `due` is later than this */
    size_t count;                                /* timers in the wheel, due ones included */
    uint64_t occupied[NODE_WHEEL_LEVELS];        /* bit per slot that is not empty */
    struct fl_list due;                          /* deadline <= now_ms */
    struct fl_list slots[NODE_WHEEL_LEVELS][64]; /* lists of node_timer.link */
};

/* An empty wheel at time `now_ms`. */
void node_wheel_init(struct node_wheel *wheel, uint64_t now_ms);
/* A timer that is in no wheel. */
void node_timer_init(struct node_timer *timer);

/* Sets or moves the deadline; one in the past is due at once, NODE_NEVER takes the timer out. O(1)
 */
void node_wheel_set(struct node_wheel *wheel, struct node_timer *timer, uint64_t deadline_ms);
/* Takes the timer out; one that is not in is left alone. O(1) */
void node_wheel_cancel(struct node_wheel *wheel, struct node_timer *timer);
/* True while the timer waits or is due and was not popped. */
bool node_timer_is_set(const struct node_timer *timer);

/* Takes out one timer with deadline <= now_ms, NULL when there is none left. Call until NULL; due
 * timers come in slot order, timers of one millisecond in order of setting. The wheel never goes
 * back: an older now_ms counts as the newest seen. */
struct node_timer *node_wheel_pop(struct node_wheel *wheel, uint64_t now_ms);
/* A time not later than the earliest deadline (exact within the current 64 ms, else the start of
 * its slot, where the timers come one level down), NODE_NEVER when empty. O(levels) */
uint64_t node_wheel_next(const struct node_wheel *wheel);

#endif
