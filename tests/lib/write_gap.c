/* Write gaps of faults. See write_gap.h. */
#include "tests/lib/write_gap.h"

#include "raftgroup/base/alloc.h"

#include <stdlib.h>

struct written {
    int64_t group;
    int64_t time;
};

static int64_t op_group(const struct history *history, const struct history_op *op)
{
    const struct history_acts *acts = history_op_branch(op);

    if (op->shard >= 0) {
        return op->shard;
    }
    return acts->count != 0 ? -1 - (unsigned char)history->keys[acts->items[0].key][0] : 0;
}

static int by_group_and_time(const void *left, const void *right)
{
    const struct written *a = left;
    const struct written *b = right;

    if (a->group != b->group) {
        return a->group < b->group ? -1 : 1;
    }
    return (a->time > b->time) - (a->time < b->time);
}

static int64_t next_fault(const struct history *history, size_t fault)
{
    int64_t end = HISTORY_NEVER;

    for (size_t i = 0; i < history->fault_count; i++) {
        const struct history_fault *other = &history->faults[i];

        if (other->start && other->time > history->faults[fault].time && other->time < end) {
            end = other->time;
        }
    }
    return end;
}

/* A stretch that reaches into the next fault counts here only up to that fault. */
static void consider(struct write_gap *worst, int64_t group, int64_t from, int64_t to, int64_t end)
{
    int64_t length = (to < end ? to : end) - from;

    if (length > worst->length_ns) {
        *worst = (struct write_gap){length, group};
    }
}

struct write_gap write_gap_of(const struct history *history, size_t fault)
{
    struct written *writes = fl_xcalloc(history->op_count, sizeof(*writes));
    struct write_gap worst = {0, 0};
    int64_t start = history->faults[fault].time;
    int64_t end = next_fault(history, fault);
    int64_t last_seen = 0;
    size_t count = 0;

    for (size_t i = 0; i < history->op_count; i++) {
        const struct history_op *op = &history->ops[i];

        if (!history_op_writes(op)) {
            continue;
        }
        last_seen = op->call > last_seen ? op->call : last_seen;
        if (op->known) {
            last_seen = op->ret > last_seen ? op->ret : last_seen;
            writes[count++] = (struct written){op_group(history, op), op->ret};
        }
    }
    qsort(writes, count, sizeof(*writes), by_group_and_time);
    for (size_t i = 0; i < count; i++) {
        bool last = i + 1 == count || writes[i + 1].group != writes[i].group;
        int64_t to = last ? last_seen : writes[i + 1].time;

        if (to > start) {
            consider(&worst, writes[i].group, writes[i].time, to, end);
        }
    }
    free(writes);
    return worst;
}
