/* The search for an order of the operations of one group of keys.
 *
 * What keeps it short, each without changing the verdict:
 *  1. An operation that changes nothing wherever it stands is placed as soon as it fits and never
 *     moved: any order that has it later stays valid with it here.
 *  2. A value written once must not be overwritten while an operation that saw it is unplaced.
 *  3. An unanswered write whose value was seen took effect before the first reader returned; it
 *     becomes an ordinary operation that returns then. One whose value nobody saw, on a key where
 *     nothing else could tell, is left out.
 *  4. Of interchangeable unanswered operations (blind, same key, a value nobody saw or compares
 *     with) the earliest goes first.
 *  5. An unanswered operation X is placed only if it changes something and only when nothing else
 *     leads on. Between X and the first operation that touches it (concerns a key it wrote, or
 *     writes a key it compared) nothing depends on X, so X can stand in a row of unanswered
 *     operations directly before that one; without any, X can be left out. So what follows the row
 *     must touch each of its members that no later member touches, and X is not tried when nothing
 *     that may come next touches it. If X writes one key, a blind write to that key next would make
 *     X useless: the key is marked UNNOTICED until somebody looks at it. If that key is also all
 *     that X compares, X is tried only when something that may come next needs it: fits what X
 *     wrote, and not what was there before.
 *  6. Where revisions are recorded, candidates are tried in their order: for a correct history the
 *     first descent succeeds. They are a hint only; a wrong one costs time, not truth.
 *     So where they are, a guided descent comes before the search: it takes the operations strictly
 *     in that order, and an unanswered one only when the next in order needs it. Its success is a
 *     proof like any other; its failure is none.
 *  7. Reads of several keys are first cut into reads of one key (a necessary condition, checked on
 *     small groups, which gives short answers for broken histories), then checked whole. */
#include "tests/lib/lincheck_search.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- frames --------------------------------------------------------------------------------------
 */

static void push_frame(struct search *search, size_t first)
{
    fl_grow(
        &search->frames, &search->frame_capacity, search->frame_count + 1, sizeof(*search->frames));
    search->frames[search->frame_count++] = (struct frame){
        .first = first,
        .last = search->candidate_count,
        .next = first,
        .undo_mark = search->undo_count,
        .placed = LIN_NONE,
    };
}

static void push_candidate(struct search *search, uint32_t op)
{
    fl_grow(&search->candidates,
            &search->candidate_capacity,
            search->candidate_count + 1,
            sizeof(*search->candidates));
    search->candidates[search->candidate_count++] = op;
}

/* Insertion sort by hint: candidates are few. */
static void sort_candidates(struct search *search, size_t first)
{
    for (size_t i = first + 1; i < search->candidate_count; i++) {
        uint32_t op = search->candidates[i];
        size_t j = i;

        while (j > first && search->ops[search->candidates[j - 1]].hint > search->ops[op].hint) {
            search->candidates[j] = search->candidates[j - 1];
            j--;
        }
        search->candidates[j] = op;
    }
}

static bool may_come_now(const struct search *search, uint32_t op)
{
    return search->ops[op].before == LIN_NONE || search->placed[search->ops[op].before];
}

/* True when the operation changes nothing wherever it is placed (rule 1): not just here. */
static bool is_pure(const struct lin_op *op)
{
    const struct history_acts *acts = op->succeeded == 0 ? &op->source->no : &op->source->yes;

    for (size_t i = 0; i < acts->count; i++) {
        const struct history_act *act = &acts->items[i];

        if (act->kind == HISTORY_PUT ||
            (act->kind == HISTORY_DELETE && (!op->source->known || act->deleted != 0))) {
            return false;
        }
    }
    return op->succeeded >= 0;
}

/* Candidates only when nothing else leads on: operations that may be left out and, in the guided
 * descent, those whose place in the order is not known exactly. */
static bool comes_in_late(const struct search *search, uint32_t op)
{
    return lincheck__is_open(search, op) || (search->guided && search->ops[op].rough);
}

/* Adds the unanswered operations to the candidates of the top frame. */
static void complete_frame(struct search *search)
{
    struct frame *frame = &search->frames[search->frame_count - 1];

    frame->complete = true;
    for (uint32_t at = search->entries[0].next; at != 0; at = search->entries[at].next) {
        const struct entry *entry = &search->entries[at];
        size_t mark = search->undo_count;
        bool changes;
        bool useful;

        if (entry->is_return) {
            break;
        }
        if (!comes_in_late(search, entry->op) || !may_come_now(search, entry->op) ||
            !lincheck__try_place(search, entry->op, &changes)) {
            continue;
        }
        useful = changes && lincheck__is_useful(search, entry->op, mark);
        lincheck__take_back(search, entry->op, mark);
        if (useful) {
            push_candidate(search, entry->op);
        }
    }
    frame->last = search->candidate_count;
}

/* Opens a frame with the answered operations that can come next; rule 1 leaves one only, so does
 * the guided descent. */
static void expand(struct search *search)
{
    size_t first = search->candidate_count;
    bool forced = false;

    for (uint32_t at = search->entries[0].next; at != 0 && !forced; at = search->entries[at].next) {
        const struct entry *entry = &search->entries[at];
        size_t mark = search->undo_count;
        bool changes;

        if (entry->is_return) {
            break;
        }
        if (lincheck__is_open(search, entry->op) ||
            !lincheck__may_follow_row(search, &search->ops[entry->op]) ||
            !lincheck__try_place(search, entry->op, &changes)) {
            continue;
        }
        lincheck__take_back(search, entry->op, mark);
        forced = is_pure(&search->ops[entry->op]);
        search->candidate_count = forced ? first : search->candidate_count;
        push_candidate(search, entry->op);
    }
    sort_candidates(search, first);
    if (search->guided && !forced && search->candidate_count > first) {
        forced = search->candidates[first] == lincheck__next_in_order(search);
        search->candidate_count = first + forced;
    }
    push_frame(search, first);
    search->frames[search->frame_count - 1].complete = forced;
}

void lincheck__append(struct lincheck_result *result, const char *format, ...)
{
    size_t used = strlen(result->detail);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(result->detail + used, sizeof(result->detail) - used, format, args);
    va_end(args);
}

struct saw {
    uint32_t version;
    bool found;
};

static void match_seen(void *context, uint32_t version, const struct lin_op *op)
{
    struct saw *saw = context;

    (void)op;
    saw->found = saw->found || saw->version == version;
}

/* Rule 2 kept `op` from overwriting something: blame the operation that saw it too late. */
static bool blame_reader(struct search *search, uint32_t op)
{
    const struct history *history = search->checker->history;
    const struct history_acts *acts = history_op_branch(search->ops[op].source);

    for (size_t i = 0; i < acts->count; i++) {
        struct saw saw = {lincheck__version_in(search->state[acts->items[i].key]), false};

        if (acts->items[i].kind == HISTORY_GET || search->unread[saw.version] == 0) {
            continue;
        }
        for (uint32_t reader = 0; reader < search->op_count; reader++) {
            if (search->placed[reader] || reader == op) {
                continue;
            }
            lincheck__for_each_seen(&search->ops[reader], match_seen, &saw);
            if (saw.found) {
                search->checker->result->stuck = search->ops[reader].source;
                lincheck__append(search->checker->result,
                                 "it saw %s=%s, which line %zu replaces",
                                 history->keys[acts->items[i].key],
                                 history_value(history, saw.version),
                                 search->ops[op].source->line);
                return true;
            }
        }
    }
    return false;
}

/* The keys of `op` as the state has them, for the message. */
static void describe_stuck(struct search *search, uint32_t op)
{
    const struct history *history = search->checker->history;
    struct lincheck_result *result = search->checker->result;
    const struct history_op *source = search->ops[op].source;
    const struct history_acts *acts = history_op_branch(source);

    result->stuck = source;
    result->detail[0] = '\0';
    if (blame_reader(search, op)) {
        return;
    }
    for (size_t i = 0; i < source->cmp_count + acts->count; i++) {
        uint32_t key =
            i < source->cmp_count ? source->cmps[i].key : acts->items[i - source->cmp_count].key;

        if (lincheck__concerns(&search->ops[op], key)) {
            lincheck__append(result,
                             "%s%s=%s",
                             result->detail[0] == '\0' ? "the closest order has " : ", ",
                             history->keys[key],
                             history_value(history, lincheck__version_in(search->state[key])));
        }
    }
}

/* A dead end: remember the operation whose return stood in the way farthest down. */
static void note_dead_end(struct search *search)
{
    if (search->mandatory_left >= search->least_left) {
        return;
    }
    search->least_left = search->mandatory_left;
    for (uint32_t at = search->entries[0].next; at != 0; at = search->entries[at].next) {
        if (search->entries[at].is_return) {
            describe_stuck(search, search->entries[at].op);
            return;
        }
    }
}

/* Tries the next candidate of the top frame. False when it has none left; the unanswered operations
 * come in only then. */
static bool advance(struct search *search)
{
    struct frame *frame = &search->frames[search->frame_count - 1];

    if (frame->placed != LIN_NONE) {
        lincheck__take_back(search, frame->placed, frame->undo_mark);
        frame->placed = LIN_NONE;
    }
    for (;;) {
        uint32_t op;
        bool changes;
        bool fits;

        if (frame->next == frame->last && !frame->complete) {
            complete_frame(search);
        }
        if (frame->next == frame->last) {
            return false;
        }
        op = search->candidates[frame->next++];
        fits = lincheck__try_place(search, op, &changes);
        fl_assert(fits);
        frame->placed = op;
        if (lincheck__visit(search)) {
            return true;
        }
        frame->placed = LIN_NONE;
        lincheck__take_back(search, op, frame->undo_mark);
    }
}

static enum lincheck_verdict descend(struct search *search)
{
    expand(search);
    while (search->frame_count != 0) {
        if (search->mandatory_left == 0) {
            return LINCHECK_OK;
        }
        if (search->visited_count > search->checker->max_states) {
            return LINCHECK_UNDECIDED;
        }
        if (advance(search)) {
            expand(search);
            continue;
        }
        if (search->frames[search->frame_count - 1].first ==
            search->frames[search->frame_count - 1].last) {
            note_dead_end(search);
        }
        search->candidate_count = search->frames[--search->frame_count].first;
    }
    return search->mandatory_left == 0 ? LINCHECK_OK : LINCHECK_BAD;
}

struct moment {
    int64_t time;
    uint32_t op;
    bool is_return;
};

/* Calls before returns of the same instant: touching operations count as concurrent. */
static int by_time(const void *left, const void *right)
{
    const struct moment *a = left;
    const struct moment *b = right;

    if (a->time != b->time) {
        return a->time < b->time ? -1 : 1;
    }
    return (int)a->is_return - (int)b->is_return;
}

static void build_entries(struct search *search)
{
    struct moment *moments = fl_xcalloc(2 * (size_t)search->op_count, sizeof(*moments));
    uint32_t count = 0;

    for (uint32_t i = 0; i < search->op_count; i++) {
        moments[count++] = (struct moment){search->ops[i].call, i, false};
        if (search->ops[i].ret != HISTORY_NEVER) {
            moments[count++] = (struct moment){search->ops[i].ret, i, true};
            search->mandatory_left++;
        }
    }
    qsort(moments, count, sizeof(*moments), by_time);
    search->entries = fl_xcalloc((size_t)count + 1, sizeof(*search->entries));
    for (uint32_t i = 0; i <= count; i++) {
        struct entry *entry = &search->entries[i];

        entry->next = i < count ? i + 1 : 0;
        entry->previous = i > 0 ? i - 1 : count;
        if (i > 0) {
            entry->op = moments[i - 1].op;
            entry->is_return = moments[i - 1].is_return;
            (entry->is_return ? search->return_entry : search->call_entry)[entry->op] = i;
        }
    }
    free(moments);
}

static enum lincheck_verdict
search_once(struct checker *checker, const struct lin_op *ops, uint32_t count, bool guided)
{
    const struct history *history = checker->history;
    struct search search = {.checker = checker, .ops = ops, .op_count = count, .guided = guided};
    enum lincheck_verdict verdict;

    search.call_entry = fl_xcalloc(count, sizeof(uint32_t));
    search.return_entry = fl_xcalloc(count, sizeof(uint32_t));
    search.placed = fl_xcalloc(count, sizeof(bool));
    search.state = fl_xcalloc(history->key_count, sizeof(uint64_t));
    search.unread = fl_xcalloc(history->version_count, sizeof(uint32_t));
    search.least_left = UINT32_MAX;
    build_entries(&search);
    for (uint32_t i = 0; i < count; i++) {
        lincheck__expect_seen(&search, &ops[i]);
    }
    verdict = descend(&search);
    checker->result->states += search.visited_count;
    free(search.call_entry);
    free(search.return_entry);
    free(search.placed);
    free(search.state);
    free(search.unread);
    free(search.entries);
    free(search.undos);
    free(search.candidates);
    free(search.frames);
    free(search.visited);
    return verdict;
}

enum lincheck_verdict
lincheck__search(struct checker *checker, const struct lin_op *ops, uint32_t count)
{
    if (checker->revisions && search_once(checker, ops, count, true) == LINCHECK_OK) {
        return LINCHECK_OK;
    }
    return search_once(checker, ops, count, false);
}
