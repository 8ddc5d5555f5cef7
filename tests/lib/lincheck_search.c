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
 *     X useless: the key is marked UNNOTICED until somebody looks at it, and who looks must not be
 *     contradicted by what X wrote.
 *  6. Where revisions are recorded, candidates are tried in their order: for a correct history the
 *     first descent succeeds. They are a hint only; a wrong one costs time, not truth.
 *  7. Reads of several keys are first cut into reads of one key (a necessary condition, checked on
 *     small groups, which gives short answers for broken histories), then checked whole. */
#include "tests/lib/lincheck_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNNOTICED (UINT64_C(1) << 32) /* rule 5: bit beside the version in a key's state */

/* --- one search over one group -------------------------------------------------------------- */

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

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void hash_toggle(struct search *search, uint64_t what, uint64_t value)
{
    uint64_t h = mix(what * UINT64_C(0x9e3779b97f4a7c15) + mix(value + 1));

    search->hash[0] ^= h;
    search->hash[1] ^= mix(h + UINT64_C(0xd1b54a32d192ed03));
}

static void state_set(struct search *search, uint32_t key, uint64_t value)
{
    uint64_t old = search->state[key];

    if (old == value) {
        return;
    }
    fl_grow(&search->undos, &search->undo_capacity, search->undo_count + 1, sizeof(*search->undos));
    search->undos[search->undo_count++] = (struct undo){key, old};
    hash_toggle(search, key, old);
    hash_toggle(search, key, value);
    search->state[key] = value;
}

static void state_undo(struct search *search, size_t mark)
{
    while (search->undo_count > mark) {
        struct undo undo = search->undos[--search->undo_count];

        hash_toggle(search, undo.key, search->state[undo.key]);
        hash_toggle(search, undo.key, undo.old);
        search->state[undo.key] = undo.old;
    }
}

static uint32_t version_in(uint64_t state)
{
    return (uint32_t)state;
}

static void notice(struct search *search, uint32_t key)
{
    state_set(search, key, search->state[key] & ~UNNOTICED);
}

/* --- what an operation saw ------------------------------------------------------------------ */

bool lincheck__concerns(const struct lin_op *op, uint32_t key)
{
    return op->only_key == LIN_ALL_KEYS || op->only_key == key;
}

static bool written_before(const struct history_acts *acts, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (acts->items[i].key == acts->items[at].key && acts->items[i].kind != HISTORY_GET) {
            return true;
        }
    }
    return false;
}

void lincheck__for_each_seen(const struct lin_op *op, lin_seen_fn visit, void *context)
{
    const struct history_op *source = op->source;
    const struct history_acts *acts = op->succeeded == 0 ? &source->no : &source->yes;

    for (size_t i = 0; op->succeeded == 1 && i < source->cmp_count; i++) {
        if (source->cmps[i].equal && source->cmps[i].version != HISTORY_ABSENT) {
            visit(context, source->cmps[i].version, op);
        }
    }
    for (size_t i = 0; source->known && i < acts->count; i++) {
        const struct history_act *act = &acts->items[i];

        if (act->kind == HISTORY_GET && act->version != HISTORY_ABSENT &&
            lincheck__concerns(op, act->key) && !written_before(acts, i)) {
            visit(context, act->version, op);
        }
    }
}

static void unread_add(void *context, uint32_t version, const struct lin_op *op)
{
    (void)op;
    ((struct search *)context)->unread[version]++;
}

static void unread_remove(void *context, uint32_t version, const struct lin_op *op)
{
    (void)op;
    ((struct search *)context)->unread[version]--;
}

/* --- applying one operation ----------------------------------------------------------------- */

static bool compares_hold(struct search *search, const struct history_op *source)
{
    bool all = true;

    for (size_t i = 0; i < source->cmp_count; i++) {
        const struct history_cmp *cmp = &source->cmps[i];
        uint32_t version = version_in(search->state[cmp->key]);

        notice(search, cmp->key);
        if (cmp->equal) {
            all = all && version == cmp->version;
        } else {
            all = all && version != HISTORY_ABSENT && version != cmp->version;
        }
    }
    return all;
}

static bool write_key(struct search *search, uint32_t key, uint32_t version)
{
    uint64_t state = search->state[key];
    uint32_t old = version_in(state);

    if ((state & UNNOTICED) != 0) {
        return false; /* rule 5 */
    }
    if (old != HISTORY_ABSENT && old != version && search->unread[old] != 0 &&
        search->checker->versions[old].writers == 1) {
        return false; /* rule 2 */
    }
    state_set(search, key, version);
    return true;
}

static bool act_once(struct search *search, const struct lin_op *op, const struct history_act *act)
{
    uint32_t version = version_in(search->state[act->key]);

    if (!lincheck__concerns(op, act->key)) {
        return true;
    }
    if (act->kind == HISTORY_PUT) {
        return write_key(search, act->key, act->version);
    }
    if (act->kind == HISTORY_GET) {
        if (!op->source->known) {
            return true;
        }
        notice(search, act->key);
        return version == act->version;
    }
    if (op->source->known && act->deleted >= 0) {
        notice(search, act->key);
        if ((version != HISTORY_ABSENT) != (act->deleted == 1)) {
            return false;
        }
    }
    return write_key(search, act->key, HISTORY_ABSENT);
}

/* The only key these acts write, or LIN_NONE when they write none or several. */
static uint32_t only_written_key(const struct history_acts *acts)
{
    uint32_t key = LIN_NONE;

    for (size_t i = 0; i < acts->count; i++) {
        if (acts->items[i].kind == HISTORY_GET) {
            continue;
        }
        if (key != LIN_NONE && key != acts->items[i].key) {
            return LIN_NONE;
        }
        key = acts->items[i].key;
    }
    return key;
}

/* Rule 5: what an unanswered operation wrote alone has to be looked at. */
static void mark_unnoticed(struct search *search, uint32_t key, uint32_t version_before)
{
    if (version_in(search->state[key]) != version_before) {
        state_set(search, key, search->state[key] | UNNOTICED);
    }
}

/* Executes the operation on the state; the caller undoes to its mark if it does not fit. */
static bool apply(struct search *search, const struct lin_op *op)
{
    const struct history_op *source = op->source;
    const struct history_acts *acts;
    bool holds = compares_hold(search, source);
    uint32_t lone;
    uint32_t before;

    if (op->succeeded >= 0 && holds != (op->succeeded == 1)) {
        return false;
    }
    acts = holds ? &source->yes : &source->no;
    lone = op->ret == HISTORY_NEVER ? only_written_key(acts) : LIN_NONE;
    before = lone != LIN_NONE ? version_in(search->state[lone]) : HISTORY_ABSENT;
    for (size_t i = 0; i < acts->count; i++) {
        if (!act_once(search, op, &acts->items[i])) {
            return false;
        }
    }
    if (lone != LIN_NONE) {
        mark_unnoticed(search, lone, before);
    }
    return true;
}

static bool changed_since(const struct search *search, size_t mark)
{
    for (size_t i = mark; i < search->undo_count; i++) {
        struct undo undo = search->undos[i];

        if (version_in(undo.old) != version_in(search->state[undo.key])) {
            return true;
        }
    }
    return false;
}

/* --- the list of open calls and returns ----------------------------------------------------- */

static void unlink_entry(struct search *search, uint32_t at)
{
    struct entry *entry = &search->entries[at];

    search->entries[entry->previous].next = entry->next;
    search->entries[entry->next].previous = entry->previous;
}

static void relink_entry(struct search *search, uint32_t at)
{
    struct entry *entry = &search->entries[at];

    search->entries[entry->previous].next = at;
    search->entries[entry->next].previous = at;
}

static void place(struct search *search, uint32_t op)
{
    search->placed[op] = true;
    hash_toggle(search, UINT64_C(1) << 40 | op, 0);
    unlink_entry(search, search->call_entry[op]);
    if (search->return_entry[op] != 0) {
        unlink_entry(search, search->return_entry[op]);
        search->mandatory_left--;
    }
}

static void unplace(struct search *search, uint32_t op)
{
    if (search->return_entry[op] != 0) {
        relink_entry(search, search->return_entry[op]);
        search->mandatory_left++;
    }
    relink_entry(search, search->call_entry[op]);
    hash_toggle(search, UINT64_C(1) << 40 | op, 0);
    search->placed[op] = false;
}

/* Applies and places; false (nothing changed) when the operation does not fit here. */
static bool try_place(struct search *search, uint32_t op, bool *changes)
{
    const struct lin_op *lin = &search->ops[op];
    size_t mark = search->undo_count;

    lincheck__for_each_seen(lin, unread_remove, search);
    if (!apply(search, lin)) {
        state_undo(search, mark);
        lincheck__for_each_seen(lin, unread_add, search);
        return false;
    }
    *changes = changed_since(search, mark);
    place(search, op);
    return true;
}

static void take_back(struct search *search, uint32_t op, size_t mark)
{
    unplace(search, op);
    state_undo(search, mark);
    lincheck__for_each_seen(&search->ops[op], unread_add, search);
}

/* --- memory of visited states --------------------------------------------------------------- */

static bool visited_insert(uint64_t (*table)[2], size_t capacity, const uint64_t hash[2])
{
    for (size_t i = hash[0] & (capacity - 1);; i = (i + 1) & (capacity - 1)) {
        if (table[i][0] == hash[0] && table[i][1] == hash[1]) {
            return false;
        }
        if (table[i][0] == 0 && table[i][1] == 0) {
            table[i][0] = hash[0];
            table[i][1] = hash[1];
            return true;
        }
    }
}

static bool is_open(const struct search *search, uint32_t op)
{
    return search->return_entry[op] == 0;
}

/* True when this (set, state, row) is new. The row of unanswered operations placed last belongs to
 * it: it restricts what may follow (rule 5), so failing with it proves nothing without it. */
static bool visit(struct search *search)
{
    uint64_t hash[2] = {search->hash[0], search->hash[1]};

    for (size_t i = search->frame_count; i > 0; i--) {
        uint32_t member = search->frames[i - 1].placed;

        if (member == LIN_NONE || !is_open(search, member)) {
            break;
        }
        hash[0] += mix(member + 1);
        hash[1] += mix((uint64_t)member + UINT64_C(0x5851f42d4c957f2d));
    }
    if ((search->visited_count + 1) * 2 > search->visited_capacity) {
        size_t capacity = search->visited_capacity != 0 ? search->visited_capacity * 2 : 1024;
        uint64_t(*table)[2] = fl_xcalloc(capacity, sizeof(*table));

        for (size_t i = 0; i < search->visited_capacity; i++) {
            if (search->visited[i][0] != 0 || search->visited[i][1] != 0) {
                (void)visited_insert(table, capacity, search->visited[i]);
            }
        }
        free(search->visited);
        search->visited = table;
        search->visited_capacity = capacity;
    }
    if (!visited_insert(search->visited, search->visited_capacity, hash)) {
        return false;
    }
    search->visited_count++;
    return true;
}

/* --- the descent ---------------------------------------------------------------------------- */

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

static bool acts_concern(const struct lin_op *op,
                         const struct history_acts *acts,
                         uint32_t key,
                         bool writes_only)
{
    for (size_t i = 0; i < acts->count; i++) {
        if (acts->items[i].key == key && lincheck__concerns(op, key) &&
            !(writes_only && acts->items[i].kind == HISTORY_GET)) {
            return true;
        }
    }
    return false;
}

/* Does the operation name the key, or with `writes_only`, perhaps write it? */
static bool op_concerns(const struct lin_op *op, uint32_t key, bool writes_only)
{
    const struct history_op *source = op->source;

    for (size_t i = 0; !writes_only && i < source->cmp_count; i++) {
        if (source->cmps[i].key == key) {
            return true;
        }
    }
    return (op->succeeded != 0 && acts_concern(op, &source->yes, key, writes_only)) ||
           (op->succeeded != 1 && acts_concern(op, &source->no, key, writes_only));
}

static bool concerns_written(const struct lin_op *next, const struct history_acts *acts)
{
    for (size_t i = 0; i < acts->count; i++) {
        if (acts->items[i].kind != HISTORY_GET && op_concerns(next, acts->items[i].key, false)) {
            return true;
        }
    }
    return false;
}

/* Rule 5: may `next` follow `open`, an operation without an answer? */
static bool touches(const struct lin_op *open, const struct lin_op *next)
{
    const struct history_op *source = open->source;

    if ((open->succeeded != 0 && concerns_written(next, &source->yes)) ||
        (open->succeeded != 1 && concerns_written(next, &source->no))) {
        return true;
    }
    for (size_t i = 0; i < source->cmp_count; i++) {
        if (op_concerns(next, source->cmps[i].key, true)) {
            return true;
        }
    }
    return false;
}

/* Rule 5: does `next` touch every member of the row of unanswered operations placed last that no
 * later member touches? */
static bool may_follow_row(const struct search *search, const struct lin_op *next)
{
    const struct frame *frames = search->frames;

    for (size_t i = search->frame_count; i > 0; i--) {
        uint32_t member = frames[i - 1].placed;
        bool touched;

        if (member == LIN_NONE || !is_open(search, member)) {
            return true;
        }
        touched = touches(&search->ops[member], next);
        for (size_t j = i; !touched && j < search->frame_count; j++) {
            touched = touches(&search->ops[member], &search->ops[frames[j].placed]);
        }
        if (!touched) {
            return false;
        }
    }
    return true;
}

static bool compares_key(const struct lin_op *op, uint32_t key)
{
    for (size_t i = 0; i < op->source->cmp_count; i++) {
        if (op->source->cmps[i].key == key) {
            return true;
        }
    }
    return false;
}

/* Do the compares that `op` is known to have passed exclude that the key holds `version`? */
static bool compares_contradict(const struct lin_op *op, uint32_t key, uint32_t version)
{
    for (size_t i = 0; op->succeeded == 1 && i < op->source->cmp_count; i++) {
        const struct history_cmp *cmp = &op->source->cmps[i];

        if (cmp->key == key &&
            (cmp->equal ? cmp->version != version
                        : version == HISTORY_ABSENT || cmp->version == version)) {
            return true;
        }
    }
    return false;
}

/* Can `op` look at the key and find `version`? */
static bool may_find(const struct lin_op *op, uint32_t key, uint32_t version)
{
    const struct history_acts *acts = op->succeeded == 0 ? &op->source->no : &op->source->yes;

    if (compares_contradict(op, key, version)) {
        return false;
    }
    for (size_t i = 0; i < acts->count && op->source->known; i++) {
        const struct history_act *act = &acts->items[i];

        if (act->key != key || !lincheck__concerns(op, key)) {
            continue;
        }
        if (act->kind == HISTORY_GET) {
            return act->version == version;
        }
        if (act->kind == HISTORY_DELETE && act->deleted >= 0) {
            return (version != HISTORY_ABSENT) == (act->deleted == 1);
        }
        break;
    }
    return compares_key(op, key);
}

/* Does the operation compare keys other than `key`? */
static bool compares_others(const struct lin_op *op, uint32_t key)
{
    for (size_t i = 0; i < op->source->cmp_count; i++) {
        if (op->source->cmps[i].key != key) {
            return true;
        }
    }
    return false;
}

/* Rule 5, with `open` placed: can something that may come next make use of it? `marked` is the key
 * it has marked UNNOTICED, or LIN_NONE. What touches it may also be a write to another key that it
 * compared. */
static bool is_useful(const struct search *search, const struct lin_op *open, uint32_t marked)
{
    bool must_look = marked != LIN_NONE && !compares_others(open, marked);

    for (uint32_t at = search->entries[0].next; at != 0; at = search->entries[at].next) {
        const struct entry *entry = &search->entries[at];
        const struct lin_op *next = &search->ops[entry->op];
        bool uses;

        if (entry->is_return) {
            return false;
        }
        if (must_look && !is_open(search, entry->op)) {
            uses = may_find(next, marked, version_in(search->state[marked]));
        } else {
            uses = touches(open, next);
        }
        if (uses) {
            return true;
        }
    }
    return false;
}

/* The key marked UNNOTICED since `mark`, or LIN_NONE. */
static uint32_t marked_since(const struct search *search, size_t mark)
{
    for (size_t i = mark; i < search->undo_count; i++) {
        if ((search->state[search->undos[i].key] & UNNOTICED) != 0) {
            return search->undos[i].key;
        }
    }
    return LIN_NONE;
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
        if (!is_open(search, entry->op) || !may_come_now(search, entry->op) ||
            !try_place(search, entry->op, &changes)) {
            continue;
        }
        useful = changes && is_useful(search, &search->ops[entry->op], marked_since(search, mark));
        take_back(search, entry->op, mark);
        if (useful) {
            push_candidate(search, entry->op);
        }
    }
    frame->last = search->candidate_count;
}

/* Opens a frame with the answered operations that can come next; rule 1 leaves one only. */
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
        if (is_open(search, entry->op) || !may_follow_row(search, &search->ops[entry->op]) ||
            !try_place(search, entry->op, &changes)) {
            continue;
        }
        take_back(search, entry->op, mark);
        forced = is_pure(&search->ops[entry->op]);
        search->candidate_count = forced ? first : search->candidate_count;
        push_candidate(search, entry->op);
    }
    sort_candidates(search, first);
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
        struct saw saw = {version_in(search->state[acts->items[i].key]), false};

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
                             history_value(history, version_in(search->state[key])));
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
        take_back(search, frame->placed, frame->undo_mark);
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
        fits = try_place(search, op, &changes);
        fl_assert(fits);
        frame->placed = op;
        if (visit(search)) {
            return true;
        }
        frame->placed = LIN_NONE;
        take_back(search, op, frame->undo_mark);
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

enum lincheck_verdict
lincheck__search(struct checker *checker, const struct lin_op *ops, uint32_t count)
{
    const struct history *history = checker->history;
    struct search search = {.checker = checker, .ops = ops, .op_count = count};
    enum lincheck_verdict verdict;

    search.call_entry = fl_xcalloc(count, sizeof(uint32_t));
    search.return_entry = fl_xcalloc(count, sizeof(uint32_t));
    search.placed = fl_xcalloc(count, sizeof(bool));
    search.state = fl_xcalloc(history->key_count, sizeof(uint64_t));
    search.unread = fl_xcalloc(history->version_count, sizeof(uint32_t));
    search.least_left = UINT32_MAX;
    build_entries(&search);
    for (uint32_t i = 0; i < count; i++) {
        lincheck__for_each_seen(&ops[i], unread_add, &search);
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
