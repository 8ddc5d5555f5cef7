/* The state a search tries operations on: values of keys, the set placed, what has been visited.
 *
 * Everything done can be taken back in the opposite order: values by an undo list, the list of
 * calls and returns by relinking, the hash by toggling. */
#include "tests/lib/lincheck_search.h"

#include "raftgroup/base/alloc.h"

#include <stdlib.h>

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

void lincheck__expect_seen(struct search *search, const struct lin_op *op)
{
    lincheck__for_each_seen(op, unread_add, search);
}

static void unread_remove(void *context, uint32_t version, const struct lin_op *op)
{
    (void)op;
    ((struct search *)context)->unread[version]--;
}

/* --- applying one operation ----------------------------------------------------------------- */

bool lincheck__compare_holds(const struct history_cmp *cmp, uint32_t version)
{
    return cmp->equal ? version == cmp->version
                      : version != HISTORY_ABSENT && version != cmp->version;
}

static bool compares_hold(struct search *search, const struct history_op *source)
{
    bool all = true;

    for (size_t i = 0; i < source->cmp_count; i++) {
        const struct history_cmp *cmp = &source->cmps[i];
        uint32_t version = lincheck__version_in(search->state[cmp->key]);

        notice(search, cmp->key);
        all = lincheck__compare_holds(cmp, version) && all;
    }
    return all;
}

static bool write_key(struct search *search, uint32_t key, uint32_t version)
{
    uint64_t state = search->state[key];
    uint32_t old = lincheck__version_in(state);

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
    uint32_t version = lincheck__version_in(search->state[act->key]);

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
    if (lincheck__version_in(search->state[key]) != version_before) {
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
    before = lone != LIN_NONE ? lincheck__version_in(search->state[lone]) : HISTORY_ABSENT;
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

        if (lincheck__version_in(undo.old) != lincheck__version_in(search->state[undo.key])) {
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

bool lincheck__try_place(struct search *search, uint32_t op, bool *changes)
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

void lincheck__take_back(struct search *search, uint32_t op, size_t mark)
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

bool lincheck__visit(struct search *search)
{
    uint64_t hash[2] = {search->hash[0], search->hash[1]};

    for (size_t i = search->frame_count; i > 0; i--) {
        uint32_t member = search->frames[i - 1].placed;

        if (member == LIN_NONE || !lincheck__is_open(search, member)) {
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
