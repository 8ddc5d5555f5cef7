/* From a history to groups of operations to search. See lincheck.h; the rules that comments cite
 * are listed in lincheck_search.c. */
#include "tests/lib/lincheck.h"

#include "raftgroup/base/alloc.h"
#include "tests/lib/lincheck_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- from the history to groups ------------------------------------------------------------- */

static void note_seen(void *context, uint32_t version, const struct lin_op *op)
{
    struct version_facts *facts = &((struct checker *)context)->versions[version];

    if (op->ret < facts->seen) {
        facts->seen = op->ret;
    }
    if (op->source->revision > 0 && op->source->revision < facts->seen_revision) {
        facts->seen_revision = op->source->revision;
    }
}

static void note_writers(struct checker *checker,
                         const struct history_op *source,
                         const struct history_acts *acts)
{
    for (size_t i = 0; i < acts->count; i++) {
        if (acts->items[i].kind == HISTORY_PUT) {
            struct version_facts *facts = &checker->versions[acts->items[i].version];

            facts->writers++;
            facts->writer = source;
        } else if (acts->items[i].kind == HISTORY_DELETE && source->known) {
            checker->indirect[acts->items[i].key] = true;
        }
    }
}

static void note_reported(struct checker *checker, const struct history_acts *acts)
{
    for (size_t i = 0; i < acts->count; i++) {
        if (acts->items[i].kind == HISTORY_GET && acts->items[i].mrev > 0) {
            checker->versions[acts->items[i].version].revision = acts->items[i].mrev;
        }
    }
}

static struct lin_op plain_op(const struct history_op *source)
{
    return (struct lin_op){.source = source,
                           .call = source->call,
                           .ret = source->ret,
                           .only_key = LIN_ALL_KEYS,
                           .before = LIN_NONE,
                           .lone_write = LIN_NONE,
                           .succeeded = source->succeeded};
}

/* Who wrote and who saw each version, over the whole history. */
static void gather_facts(struct checker *checker)
{
    const struct history *history = checker->history;

    for (size_t i = 0; i < history->version_count; i++) {
        checker->versions[i].seen = HISTORY_NEVER;
        checker->versions[i].seen_revision = HISTORY_NEVER;
    }
    checker->revisions = true;
    for (size_t i = 0; i < history->op_count; i++) {
        const struct history_op *source = &history->ops[i];
        struct lin_op op = plain_op(source);

        if (source->failed) {
            continue;
        }
        if (source->succeeded != 0) {
            note_writers(checker, source, &source->yes);
        }
        if (source->succeeded != 1) {
            note_writers(checker, source, &source->no);
        }
        for (size_t j = 0; j < source->cmp_count; j++) {
            checker->indirect[source->cmps[j].key] = true;
            checker->versions[source->cmps[j].version].compared = true;
        }
        if (source->known) {
            lincheck__for_each_seen(&op, note_seen, checker);
            note_reported(checker, history_op_branch(source));
            checker->revisions = checker->revisions && source->revision > 0;
        }
    }
}

struct impossible {
    struct checker *checker;
    bool found;
};

/* A value nobody wrote, or written only after it was seen, or by an operation that failed. */
static void check_seen(void *context, uint32_t version, const struct lin_op *op)
{
    struct impossible *impossible = context;
    struct checker *checker = impossible->checker;
    const struct history_version *named = &checker->history->versions[version];
    const struct version_facts *facts = &checker->versions[version];
    const char *why = NULL;

    if (facts->writers == 0) {
        why = "which no operation wrote that may have taken effect";
    } else if (facts->writers == 1 && facts->writer->call > op->ret) {
        why = "before the operation that wrote it was called";
    }
    if (why == NULL || impossible->found) {
        return;
    }
    impossible->found = true;
    checker->result->stuck = op->source;
    lincheck__append(
        checker->result, "it saw %s=%s, %s", checker->history->keys[named->key], named->value, why);
}

static bool check_all_seen(struct checker *checker)
{
    struct impossible impossible = {checker, false};

    for (size_t i = 0; i < checker->history->op_count && !impossible.found; i++) {
        struct lin_op op = plain_op(&checker->history->ops[i]);

        if (op.source->known) {
            lincheck__for_each_seen(&op, check_seen, &impossible);
        }
    }
    return !impossible.found;
}

/* Rule 3: does a seen version prove that this branch of an unanswered operation ran? Returns when
 * it was first seen. */
static int64_t branch_seen(const struct checker *checker, const struct history_acts *acts)
{
    int64_t seen = HISTORY_NEVER;

    for (size_t i = 0; i < acts->count; i++) {
        const struct version_facts *facts = &checker->versions[acts->items[i].version];

        if (acts->items[i].kind == HISTORY_PUT && facts->writers == 1 && facts->seen < seen) {
            seen = facts->seen;
        }
    }
    return seen;
}

/* The only act of a blind operation without an answer on one key, else NULL. */
static const struct history_act *lone_act(const struct history_op *source)
{
    return source->cmp_count == 0 && source->yes.count == 1 ? &source->yes.items[0] : NULL;
}

static void resolve_unanswered(struct checker *checker, struct lin_op *op)
{
    const struct history_op *source = op->source;
    int64_t yes = branch_seen(checker, &source->yes);
    int64_t no = branch_seen(checker, &source->no);

    if (source->cmp_count == 0) {
        op->succeeded = 1;
        no = HISTORY_NEVER;
    }
    if (yes != HISTORY_NEVER) {
        op->ret = yes;
        op->succeeded = 1;
    } else if (no != HISTORY_NEVER) {
        op->ret = no;
        op->succeeded = 0;
    } else if (source->yes.count == 1 && source->no.count == 0 &&
               source->yes.items[0].kind != HISTORY_GET) {
        op->lone_write = source->yes.items[0].key;
    }
    if (op->ret != HISTORY_NEVER && op->ret < op->call) {
        op->ret = op->call; /* check_seen reports that one */
    }
}

/* Rule 3, second half: a put that nothing could have told from one that never happened. */
static bool is_invisible(const struct checker *checker, const struct lin_op *op)
{
    const struct history_act *act = lone_act(op->source);

    return op->ret == HISTORY_NEVER && act != NULL && act->kind == HISTORY_PUT &&
           checker->versions[act->version].writers == 1 &&
           checker->versions[act->version].seen == HISTORY_NEVER && !checker->indirect[act->key];
}

/* Where an unanswered operation stands by what its readers say: at the mod revision they reported,
 * else just before the first of them. */
static int64_t
reported_hint(const struct checker *checker, const struct history_acts *acts, bool *rough)
{
    int64_t hint = HISTORY_NEVER - 1;

    *rough = false;
    for (size_t i = 0; i < acts->count; i++) {
        const struct version_facts *facts = &checker->versions[acts->items[i].version];

        if (acts->items[i].kind == HISTORY_PUT && facts->revision > 0) {
            return 2 * facts->revision;
        }
        if (acts->items[i].kind == HISTORY_PUT && facts->seen_revision != HISTORY_NEVER) {
            hint = 2 * facts->seen_revision - 1;
        }
    }
    *rough = true;
    return hint;
}

/* Rule 6. Operations at one revision: the write, then those that saw it. */
static int64_t hint_of(const struct checker *checker, struct lin_op *op)
{
    const struct history_acts *acts = op->succeeded == 0 ? &op->source->no : &op->source->yes;

    if (op->ret == HISTORY_NEVER || !checker->revisions) {
        return op->ret;
    }
    if (op->source->revision == 0) {
        return reported_hint(checker, acts, &op->rough);
    }
    for (size_t i = 0; i < acts->count; i++) {
        const struct history_act *act = &acts->items[i];

        if (act->kind == HISTORY_PUT || (act->kind == HISTORY_DELETE && act->deleted != 0)) {
            return 2 * op->source->revision;
        }
    }
    return 2 * op->source->revision + 1;
}

static bool reads_many(const struct history_op *source)
{
    return source->cmp_count == 0 && source->yes.count > 1 && !history_op_writes(source);
}

static void add_op(struct checker *checker, struct lin_op op)
{
    fl_grow(&checker->ops, &checker->op_capacity, checker->op_count + 1, sizeof(*checker->ops));
    checker->ops[checker->op_count++] = op;
}

/* Lists the operations to place; `cut` applies rule 7. */
static void list_ops(struct checker *checker, bool cut)
{
    struct lincheck_result *result = checker->result;

    checker->op_count = 0;
    result->checked = result->unknown = result->dropped = 0;
    for (size_t i = 0; i < checker->history->op_count; i++) {
        const struct history_op *source = &checker->history->ops[i];
        struct lin_op op = plain_op(source);

        if (source->failed || source->serializable ||
            (!source->known && !history_op_writes(source))) {
            continue;
        }
        if (!source->known) {
            resolve_unanswered(checker, &op);
            if (is_invisible(checker, &op)) {
                result->dropped++;
                continue;
            }
            result->unknown += op.ret == HISTORY_NEVER;
        }
        result->checked++;
        op.hint = hint_of(checker, &op);
        if (!cut || !reads_many(source)) {
            add_op(checker, op);
            continue;
        }
        for (size_t j = 0; j < source->yes.count; j++) {
            op.only_key = source->yes.items[j].key;
            add_op(checker, op);
        }
    }
}

/* --- groups of connected keys --------------------------------------------------------------- */

static uint32_t group_of(const struct checker *checker, uint32_t key)
{
    while (checker->group[key] != key) {
        checker->group[key] = checker->group[checker->group[key]];
        key = checker->group[key];
    }
    return key;
}

/* Some key of the operation, LIN_NONE when it has none. Joins all its keys into one group. */
static uint32_t join_keys(struct checker *checker, const struct lin_op *op)
{
    const struct history_op *source = op->source;
    size_t total = source->cmp_count + source->yes.count + source->no.count;
    uint32_t first = LIN_NONE;

    for (size_t i = 0; i < total; i++) {
        size_t yes = i - source->cmp_count;
        uint32_t key = i < source->cmp_count     ? source->cmps[i].key
                       : yes < source->yes.count ? source->yes.items[yes].key
                                                 : source->no.items[yes - source->yes.count].key;

        if (!lincheck__concerns(op, key)) {
            continue;
        }
        if (first == LIN_NONE) {
            first = key;
        }
        checker->group[group_of(checker, key)] = group_of(checker, first);
    }
    return first;
}

struct grouped {
    uint32_t group;
    uint32_t index; /* keeps the order stable */
    struct lin_op op;
};

static int by_group(const void *left, const void *right)
{
    const struct grouped *a = left;
    const struct grouped *b = right;

    if (a->group != b->group) {
        return a->group < b->group ? -1 : 1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

static int by_class(const void *left, const void *right)
{
    const struct lin_op *a = *(const struct lin_op *const *)left;
    const struct lin_op *b = *(const struct lin_op *const *)right;

    if (a->lone_write != b->lone_write) {
        return a->lone_write < b->lone_write ? -1 : 1;
    }
    if (a->source->yes.items[0].kind != b->source->yes.items[0].kind) {
        return a->source->yes.items[0].kind < b->source->yes.items[0].kind ? -1 : 1;
    }
    return (a->call > b->call) - (a->call < b->call);
}

static bool is_interchangeable(const struct checker *checker, const struct lin_op *op)
{
    const struct history_act *act = lone_act(op->source);

    return op->ret == HISTORY_NEVER && act != NULL &&
           (act->kind == HISTORY_DELETE ||
            (act->kind == HISTORY_PUT && checker->versions[act->version].writers == 1 &&
             !checker->versions[act->version].compared));
}

/* Rule 4: chains interchangeable operations of one group by their calls. */
static void chain_classes(const struct checker *checker, struct lin_op *ops, uint32_t count)
{
    struct lin_op **order = fl_xcalloc(count, sizeof(struct lin_op *));
    size_t used = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (is_interchangeable(checker, &ops[i])) {
            order[used++] = &ops[i];
        }
    }
    qsort(order, used, sizeof(struct lin_op *), by_class);
    for (size_t i = 1; i < used; i++) {
        if (order[i]->lone_write == order[i - 1]->lone_write &&
            order[i]->source->yes.items[0].kind == order[i - 1]->source->yes.items[0].kind) {
            order[i]->before = (uint32_t)(order[i - 1] - ops);
        }
    }
    free(order);
}

/* Sorts the listed operations so that each group is contiguous; `groups` gets one group per op. */
static void sort_by_group(struct checker *checker, uint32_t *groups)
{
    struct grouped *order = fl_xcalloc(checker->op_count, sizeof(*order));
    size_t kept = 0;

    for (uint32_t key = 0; key < checker->history->key_count; key++) {
        checker->group[key] = key;
    }
    for (size_t i = 0; i < checker->op_count; i++) {
        (void)join_keys(checker, &checker->ops[i]);
    }
    for (size_t i = 0; i < checker->op_count; i++) {
        uint32_t key = join_keys(checker, &checker->ops[i]);

        if (key != LIN_NONE) {
            order[kept] = (struct grouped){group_of(checker, key), (uint32_t)i, checker->ops[i]};
            kept++;
        }
    }
    qsort(order, kept, sizeof(*order), by_group);
    checker->op_count = kept;
    for (size_t i = 0; i < kept; i++) {
        checker->ops[i] = order[i].op;
        groups[i] = order[i].group;
    }
    free(order);
}

/* Checks every group; stops at the first that cannot be explained. */
static enum lincheck_verdict check_groups(struct checker *checker, bool cut)
{
    enum lincheck_verdict verdict = LINCHECK_OK;
    uint32_t *groups;

    list_ops(checker, cut);
    groups = fl_xcalloc(checker->op_count, sizeof(*groups));
    sort_by_group(checker, groups);
    checker->result->groups = 0;
    for (size_t first = 0; first < checker->op_count;) {
        size_t last = first;
        enum lincheck_verdict one;

        while (last < checker->op_count && groups[last] == groups[first]) {
            last++;
        }
        checker->result->groups++;
        chain_classes(checker, &checker->ops[first], (uint32_t)(last - first));
        one = lincheck__search(checker, &checker->ops[first], (uint32_t)(last - first));
        if (one != LINCHECK_OK) {
            verdict = one;
        }
        if (one == LINCHECK_BAD) {
            break;
        }
        first = last;
    }
    free(groups);
    return verdict;
}

static bool any_reads_many(const struct history *history)
{
    for (size_t i = 0; i < history->op_count; i++) {
        if (reads_many(&history->ops[i])) {
            return true;
        }
    }
    return false;
}

enum lincheck_verdict
lincheck_run(const struct history *history, uint64_t max_states, struct lincheck_result *result)
{
    struct checker checker = {.history = history, .result = result, .max_states = max_states};

    memset(result, 0, sizeof(*result));
    checker.versions = fl_xcalloc(history->version_count, sizeof(*checker.versions));
    checker.indirect = fl_xcalloc(history->key_count, sizeof(bool));
    checker.group = fl_xcalloc(history->key_count, sizeof(uint32_t));
    gather_facts(&checker);
    if (!check_all_seen(&checker)) {
        result->verdict = LINCHECK_BAD;
    } else {
        result->verdict = check_groups(&checker, true);
        if (result->verdict == LINCHECK_OK && any_reads_many(history)) {
            result->verdict = check_groups(&checker, false);
        }
    }
    if (result->verdict == LINCHECK_OK) {
        result->stuck = NULL;
        result->detail[0] = '\0';
    }
    free(checker.versions);
    free(checker.indirect);
    free(checker.group);
    free(checker.ops);
    return result->verdict;
}
