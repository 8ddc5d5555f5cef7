/* Inside the search over one group of keys: its data, the state it tries operations on, and the
 * rule for unanswered operations (rule 5 in lincheck_search.c).
 *
 * Owner: lincheck__search. Lifetime: one search. Threads: one. */
#ifndef TESTS_LIB_LINCHECK_SEARCH_H
#define TESTS_LIB_LINCHECK_SEARCH_H

#include "tests/lib/lincheck_internal.h"

#define UNNOTICED (UINT64_C(1) << 32) /* rule 5: bit beside the version in a key's state */

/* Calls and returns in time order as a doubly linked list; index 0 is the head. */
struct entry {
    uint32_t op;
    bool is_return;
    uint32_t next, previous;
};

struct undo {
    uint32_t key;
    uint64_t old;
};

struct frame {
    size_t first, last, next; /* candidates: [first, last), the next to try */
    bool complete;            /* unanswered operations are among the candidates (rule 5) */
    size_t undo_mark;
    uint32_t placed; /* by this frame, or LIN_NONE */
};

struct search {
    struct checker *checker;
    const struct lin_op *ops;
    uint32_t op_count;
    struct entry *entries;
    uint32_t *call_entry, *return_entry;
    bool *placed;
    uint32_t mandatory_left;
    bool guided;      /* rule 6 */
    uint64_t *state;  /* per key: version, UNNOTICED */
    uint32_t *unread; /* per version: unplaced operations that saw it (rule 2) */
    uint64_t hash[2]; /* of placed set and state */
    struct undo *undos;
    size_t undo_count, undo_capacity;
    uint32_t
        mark_key; /* rule 5: the only key written by the operation being applied, or LIN_NONE */
    uint32_t *candidates; /* stack, cut by frames */
    size_t candidate_count, candidate_capacity;
    struct frame *frames;
    size_t frame_count, frame_capacity;
    uint64_t (*visited)[2]; /* open addressing, {0,0} is free */
    size_t visited_count, visited_capacity;
    uint32_t least_left; /* fewest unplaced seen at a dead end */
};

static inline uint32_t lincheck__version_in(uint64_t state)
{
    return (uint32_t)state;
}

/* True for an operation without an answer: it may be left out. */
static inline bool lincheck__is_open(const struct search *search, uint32_t op)
{
    return search->return_entry[op] == 0;
}

/* --- lincheck_state.c: placing and taking back --------------------------------------------------
 */

bool lincheck__compare_holds(const struct history_cmp *cmp, uint32_t version);

/* Counts what the operation saw as unplaced (rule 2). */
void lincheck__expect_seen(struct search *search, const struct lin_op *op);

/* Applies and places; false (nothing changed) when the operation does not fit here. */
bool lincheck__try_place(struct search *search, uint32_t op, bool *changes);

/* Undoes lincheck__try_place; `mark` is what undo_count was before it. */
void lincheck__take_back(struct search *search, uint32_t op, size_t mark);

/* True when this (set, state, row) is new. The row of unanswered operations placed last belongs to
 * it: it restricts what may follow (rule 5), so failing with it proves nothing without it. */
bool lincheck__visit(struct search *search);

/* --- lincheck_open.c: unanswered operations, rule 5 ----------------------------------------------
 */

/* Does `next` touch every member of the row of unanswered operations placed last that no later
 * member touches? */
bool lincheck__may_follow_row(const struct search *search, const struct lin_op *next);

/* Can something that may come next make use of the unanswered operation `op`, which has just been
 * placed? `mark` is what undo_count was before. */
bool lincheck__is_useful(const struct search *search, uint32_t op, size_t mark);

/* The answered operation that is next in the order of hints among those that may come now. */
uint32_t lincheck__next_in_order(const struct search *search);

#endif
