/* A group's state in memory: where its log begins and ends, the terms in between, and how many
 * bytes are kept. Pure bookkeeping; nothing here touches the disk. */
#include "node/log_store_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

enum { MARK_BYTES = 64 * 1024 /* how finely kept bytes are known */ };

struct node__log_group *node__log_group_create(uint64_t id, const struct node_log_state *state)
{
    struct node__log_group *group = fl_xcalloc(1, sizeof(*group));

    group->id = id;
    group->state = *state;
    fl_list_init(&group->touched_link);
    fl_list_init(&group->publish_link);
    fl_list_init(&group->truncate_link);
    return group;
}

void node__log_group_destroy(struct node__log_group *group)
{
    fl_list_remove(&group->touched_link);
    fl_list_remove(&group->publish_link);
    fl_list_remove(&group->truncate_link);
    free(group->runs);
    free(group->marks);
    free(group);
}

static void publish_bytes(struct node__log_group *group)
{
    fl_assert(group->written >= group->written_truncated);
    /* Relaxed: a number for a policy, it orders nothing. */
    atomic_store_explicit(
        &group->kept_bytes, group->written - group->written_truncated, memory_order_relaxed);
}

raft_term node__log_group_term(const struct node__log_group *group, raft_index index)
{
    size_t i = group->run_count;

    fl_assert(index >= group->state.truncated && index <= group->state.last);
    if (index == group->state.truncated) {
        return group->state.truncated_term;
    }
    while (group->runs[i - 1].first > index) {
        i--;
    }
    return group->runs[i - 1].term;
}

void node__log_group_append(struct node__log_group *group,
                            raft_index first,
                            raft_index last,
                            raft_term term)
{
    struct node_log_state *state = &group->state;

    fl_assert(first == state->last + 1 && last >= first && term >= state->last_term);
    if (group->run_count == 0 || group->runs[group->run_count - 1].term != term) {
        fl_grow(&group->runs, &group->run_capacity, group->run_count + 1, sizeof(*group->runs));
        group->runs[group->run_count++] = (struct raft_run){.first = first, .term = term};
    }
    state->last = last;
    state->last_term = term;
}

void node__log_group_count(struct node__log_group *group, raft_index last, uint64_t bytes)
{
    uint64_t marked = group->mark_count != 0 ? group->marks[group->mark_count - 1].written
                                             : group->written_truncated;

    group->written += bytes;
    if (group->written - marked >= MARK_BYTES) {
        fl_grow(&group->marks, &group->mark_capacity, group->mark_count + 1, sizeof(*group->marks));
        group->marks[group->mark_count++] =
            (struct node__log_mark){.index = last, .written = group->written};
    }
    publish_bytes(group);
}

void node__log_group_cut(struct node__log_group *group, raft_index from)
{
    struct node_log_state *state = &group->state;

    fl_assert(from > state->truncated && from <= state->last);
    state->last_term = node__log_group_term(group, from - 1);
    state->last = from - 1;
    while (group->run_count != 0 && group->runs[group->run_count - 1].first >= from) {
        group->run_count--;
    }
    while (group->mark_count != 0 && group->marks[group->mark_count - 1].index >= from) {
        group->mark_count--;
    }
    /* What lies between the mark and the cut is less than a mark: not worth knowing. */
    group->written = group->mark_count != 0 ? group->marks[group->mark_count - 1].written
                                            : group->written_truncated;
    publish_bytes(group);
}

/* Drops the first `n` elements of `size` bytes. */
static void shift(void *array, size_t *count, size_t n, size_t size)
{
    if (n != 0) {
        memmove(array, (uint8_t *)array + n * size, (*count - n) * size);
        *count -= n;
    }
}

/* Everything up to the mark at or below `upto` is no longer kept. */
static void truncate_marks(struct node__log_group *group, raft_index upto)
{
    size_t n = 0;

    while (n < group->mark_count && group->marks[n].index <= upto) {
        group->written_truncated = group->marks[n].written;
        n++;
    }
    shift(group->marks, &group->mark_count, n, sizeof(*group->marks));
    if (upto == group->state.last) {
        group->written_truncated = group->written;
    }
    if (group->mark_count == 0) {
        free(group->marks);
        group->marks = NULL;
        group->mark_capacity = 0;
    }
    publish_bytes(group);
}

void node__log_group_truncate(struct node__log_group *group, raft_index upto)
{
    struct node_log_state *state = &group->state;
    size_t n = 0;

    fl_assert(upto > state->truncated && upto <= state->last);
    state->truncated_term = node__log_group_term(group, upto);
    state->truncated = upto;
    if (upto == state->last) {
        group->run_count = 0;
    } else {
        while (n + 1 < group->run_count && group->runs[n + 1].first <= upto + 1) {
            n++;
        }
        shift(group->runs, &group->run_count, n, sizeof(*group->runs));
        group->runs[0].first = upto + 1;
    }
    truncate_marks(group, upto);
}

void node__log_group_reset(struct node__log_group *group, raft_index index, raft_term term)
{
    struct node_log_state *state = &group->state;

    state->last = index;
    state->last_term = term;
    state->truncated = index;
    state->truncated_term = term;
    group->run_count = 0;
    truncate_marks(group, index);
}
