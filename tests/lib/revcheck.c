/* The linear check by revisions. See revcheck.h.
 *
 * An unanswered write whose value was read gets the mod revision its readers reported. One that
 * nobody can place is only ever used to excuse an observation, never to reject one: those cases
 * belong to lincheck. */
#include "tests/lib/revcheck.h"

#include "raftgroup/base/alloc.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* A key's value from `revision` on. */
struct chain_link {
    int64_t revision;
    uint32_t version;
};

struct chain {
    struct chain_link *links; /* by revision */
    size_t count, capacity;
    int64_t may_write;  /* earliest call of an unplaced unanswered write, or HISTORY_NEVER */
    int64_t may_delete; /* the same for deletes */
};

struct version_place {
    int64_t revision; /* 0: not known */
    uint32_t writers;
};

struct revcheck {
    const struct history *history;
    struct revcheck_result *result;
    struct chain *chains;         /* per key */
    struct version_place *places; /* per version */
    int64_t *revisions;           /* per operation: where it stands, 0: nowhere */
    const struct history_op **order;
};

static void reject(struct revcheck *check, const struct history_op *op, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void reject(struct revcheck *check, const struct history_op *op, const char *format, ...)
{
    va_list args;

    if (check->result->verdict == LINCHECK_BAD) {
        return;
    }
    check->result->verdict = LINCHECK_BAD;
    check->result->op = op;
    va_start(args, format);
    (void)vsnprintf(check->result->detail, sizeof(check->result->detail), format, args);
    va_end(args);
}

/* True when the answer proves that the operation got a revision of its own. */
static bool surely_wrote(const struct history_op *op)
{
    const struct history_acts *acts = history_op_branch(op);

    for (size_t i = 0; op->succeeded >= 0 && i < acts->count; i++) {
        if (acts->items[i].kind == HISTORY_PUT ||
            (acts->items[i].kind == HISTORY_DELETE && acts->items[i].deleted == 1)) {
            return true;
        }
    }
    return false;
}

/* --- where every write stands ---------------------------------------------------------------- */

static void note_mod_revisions(struct revcheck *check, const struct history_op *op)
{
    const struct history_acts *acts = history_op_branch(op);

    for (size_t i = 0; i < acts->count; i++) {
        const struct history_act *act = &acts->items[i];
        struct version_place *place = &check->places[act->version];

        if (act->kind != HISTORY_GET || act->version == HISTORY_ABSENT || act->mrev == 0) {
            continue;
        }
        if (place->revision != 0 && place->revision != act->mrev && place->writers == 1) {
            reject(check,
                   op,
                   "%s=%s has mod revision %lld here and %lld elsewhere",
                   check->history->keys[act->key],
                   history_value(check->history, act->version),
                   (long long)act->mrev,
                   (long long)place->revision);
        }
        place->revision = act->mrev;
    }
}

static void count_writers(struct revcheck *check, const struct history_acts *acts)
{
    for (size_t i = 0; i < acts->count; i++) {
        if (acts->items[i].kind == HISTORY_PUT) {
            check->places[acts->items[i].version].writers++;
        }
    }
}

static void place_known(struct revcheck *check)
{
    for (size_t i = 0; i < check->history->op_count; i++) {
        const struct history_op *op = &check->history->ops[i];

        if (op->failed) {
            continue;
        }
        count_writers(check, &op->yes);
        count_writers(check, &op->no);
        if (op->known) {
            const struct history_acts *acts = history_op_branch(op);

            check->revisions[i] = op->revision;
            for (size_t j = 0; j < acts->count; j++) {
                if (acts->items[j].kind == HISTORY_PUT) {
                    check->places[acts->items[j].version].revision = op->revision;
                }
            }
        }
    }
}

static void excuse(struct revcheck *check, const struct history_op *op)
{
    for (size_t i = 0; i < op->yes.count + op->no.count; i++) {
        const struct history_act *act =
            i < op->yes.count ? &op->yes.items[i] : &op->no.items[i - op->yes.count];
        struct chain *chain = &check->chains[act->key];

        if (act->kind == HISTORY_DELETE && op->call < chain->may_delete) {
            chain->may_delete = op->call;
        } else if (act->kind == HISTORY_PUT && op->call < chain->may_write) {
            chain->may_write = op->call;
        }
    }
}

/* The branch of an unanswered operation that a reported revision proves, or NULL. */
static const struct history_acts *
proved_branch(const struct revcheck *check, const struct history_op *op, int64_t *revision)
{
    const struct history_acts *branches[] = {&op->yes, &op->no};

    for (size_t b = 0; b < 2; b++) {
        for (size_t i = 0; i < branches[b]->count; i++) {
            const struct history_act *act = &branches[b]->items[i];
            const struct version_place *place = &check->places[act->version];

            if (act->kind == HISTORY_PUT && place->writers == 1 && place->revision != 0) {
                *revision = place->revision;
                return branches[b];
            }
        }
    }
    return NULL;
}

static void chain_add(struct revcheck *check, const struct history_acts *acts, int64_t revision)
{
    for (size_t i = 0; i < acts->count; i++) {
        const struct history_act *act = &acts->items[i];
        struct chain *chain = &check->chains[act->key];

        if (act->kind == HISTORY_GET || (act->kind == HISTORY_DELETE && act->deleted == 0)) {
            continue;
        }
        fl_grow(&chain->links, &chain->capacity, chain->count + 1, sizeof(*chain->links));
        chain->links[chain->count++] =
            (struct chain_link){revision, act->kind == HISTORY_PUT ? act->version : HISTORY_ABSENT};
    }
}

static void place_unanswered(struct revcheck *check)
{
    for (size_t i = 0; i < check->history->op_count; i++) {
        const struct history_op *op = &check->history->ops[i];
        const struct history_acts *branch;

        if (op->known || op->failed || !history_op_writes(op)) {
            continue;
        }
        branch = proved_branch(check, op, &check->revisions[i]);
        if (branch != NULL) {
            chain_add(check, branch, check->revisions[i]);
            check->result->writes++;
        } else {
            excuse(check, op);
        }
    }
}

static int by_revision(const void *left, const void *right)
{
    const struct chain_link *a = left;
    const struct chain_link *b = right;

    return (a->revision > b->revision) - (a->revision < b->revision);
}

static void build_chains(struct revcheck *check)
{
    for (size_t key = 0; key < check->history->key_count; key++) {
        check->chains[key].may_write = check->chains[key].may_delete = HISTORY_NEVER;
    }
    place_known(check);
    for (size_t i = 0; i < check->history->op_count; i++) {
        const struct history_op *op = &check->history->ops[i];

        if (op->known) {
            note_mod_revisions(check, op);
            chain_add(check, history_op_branch(op), op->revision);
            check->result->writes += surely_wrote(op);
        }
    }
    place_unanswered(check);
    for (size_t key = 0; key < check->history->key_count; key++) {
        struct chain *chain = &check->chains[key];

        if (chain->count != 0) {
            qsort(chain->links, chain->count, sizeof(*chain->links), by_revision);
        }
    }
}

/* --- real time ------------------------------------------------------------------------------- */

static int by_call(const void *left, const void *right)
{
    const struct history_op *a = *(const struct history_op *const *)left;
    const struct history_op *b = *(const struct history_op *const *)right;

    return (a->call > b->call) - (a->call < b->call);
}

static int by_ret(const void *left, const void *right)
{
    const struct history_op *a = *(const struct history_op *const *)left;
    const struct history_op *b = *(const struct history_op *const *)right;

    return (a->ret > b->ret) - (a->ret < b->ret);
}

static int64_t placed_at(const struct revcheck *check, const struct history_op *op)
{
    return check->revisions[op - check->history->ops];
}

static bool has_own_revision(const struct revcheck *check, const struct history_op *op)
{
    return op->known ? surely_wrote(op) : placed_at(check, op) != 0;
}

/* Whatever completed before a call bounds its revision from below; `floors` gets the bound. */
static void check_real_time(struct revcheck *check, enum revcheck_mode mode, int64_t *floors)
{
    size_t count = check->history->op_count;
    const struct history_op **returns = fl_xcalloc(count, sizeof(struct history_op *));
    const struct history_op *latest = NULL;
    size_t returned = 0;

    for (size_t i = 0; i < count; i++) {
        check->order[i] = returns[i] = &check->history->ops[i];
    }
    qsort(check->order, count, sizeof(struct history_op *), by_call);
    qsort(returns, count, sizeof(struct history_op *), by_ret);
    for (size_t i = 0; i < count; i++) {
        const struct history_op *op = check->order[i];
        bool writes = has_own_revision(check, op);
        int64_t at = placed_at(check, op);

        for (; returned < count && returns[returned]->ret < op->call; returned++) {
            const struct history_op *done = returns[returned];

            if (done->known && !done->serializable &&
                (mode == REVCHECK_STRICT || surely_wrote(done)) &&
                (latest == NULL || done->revision > latest->revision)) {
                latest = done;
            }
        }
        floors[op - check->history->ops] = latest != NULL ? latest->revision : 0;
        if (latest == NULL || at == 0 || op->serializable || (!writes && mode == REVCHECK_VALUES)) {
            continue;
        }
        if (at < latest->revision || (writes && at == latest->revision)) {
            reject(check,
                   op,
                   "it got revision %lld after line %zu had returned with revision %lld",
                   (long long)at,
                   latest->line,
                   (long long)latest->revision);
        }
    }
    free(returns);
}

static int by_place(const void *left, const void *right, void *context)
{
    const struct revcheck *check = context;
    int64_t a = placed_at(check, *(const struct history_op *const *)left);
    int64_t b = placed_at(check, *(const struct history_op *const *)right);

    return (a > b) - (a < b);
}

static void check_unique(struct revcheck *check)
{
    size_t used = 0;

    for (size_t i = 0; i < check->history->op_count; i++) {
        if (has_own_revision(check, &check->history->ops[i])) {
            check->order[used++] = &check->history->ops[i];
        }
    }
    qsort_r(check->order, used, sizeof(struct history_op *), by_place, check);
    for (size_t i = 1; i < used; i++) {
        if (placed_at(check, check->order[i]) == placed_at(check, check->order[i - 1])) {
            reject(check,
                   check->order[i],
                   "its revision %lld was also given to line %zu",
                   (long long)placed_at(check, check->order[i]),
                   check->order[i - 1]->line);
        }
    }
}

/* --- values ----------------------------------------------------------------------------------- */

static uint32_t version_at(const struct chain *chain, int64_t revision)
{
    size_t low = 0;
    size_t high = chain->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (chain->links[middle].revision <= revision) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low != 0 ? chain->links[low - 1].version : HISTORY_ABSENT;
}

/* Could the key have shown `version` at `revision`? */
static bool shows(struct revcheck *check,
                  const struct history_op *op,
                  uint32_t key,
                  uint32_t version,
                  int64_t revision)
{
    const struct chain *chain = &check->chains[key];

    if (version_at(chain, revision) == version) {
        return true;
    }
    if (version == HISTORY_ABSENT) {
        return chain->may_delete <= op->ret;
    }
    if ((check->places[version].revision == 0 && chain->may_write <= op->ret) ||
        check->places[version].writers > 1) {
        check->result->skipped++;
        return true;
    }
    return false;
}

static bool existed(struct revcheck *check, const struct history_op *op, uint32_t key, int64_t at)
{
    return version_at(&check->chains[key], at) != HISTORY_ABSENT ||
           check->chains[key].may_write <= op->ret;
}

static bool compare_holds(struct revcheck *check,
                          const struct history_op *op,
                          const struct history_cmp *cmp,
                          int64_t at)
{
    if (cmp->equal) {
        return shows(check, op, cmp->key, cmp->version, at);
    }
    return existed(check, op, cmp->key, at) &&
           (cmp->version == HISTORY_ABSENT ||
            version_at(&check->chains[cmp->key], at) != cmp->version ||
            check->chains[cmp->key].may_write <= op->ret);
}

/* The compares of an operation that took its "else" branch: one must fail. An unplaced write on a
 * compared key may be the reason. */
static bool compares_fail(const struct revcheck *check, const struct history_op *op, int64_t at)
{
    for (size_t i = 0; i < op->cmp_count; i++) {
        const struct history_cmp *cmp = &op->cmps[i];
        const struct chain *chain = &check->chains[cmp->key];
        uint32_t now = version_at(chain, at);
        bool equal = now == cmp->version;

        if (chain->may_write <= op->ret || chain->may_delete <= op->ret ||
            (cmp->equal ? !equal : equal || now == HISTORY_ABSENT)) {
            return true;
        }
    }
    return false;
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

/* Does everything the operation was told agree with the state at revision `at`? On disagreement
 * `key` gets a key to blame, UINT32_MAX for the compares. */
static bool agrees(struct revcheck *check, const struct history_op *op, int64_t at, uint32_t *key)
{
    const struct history_acts *acts = history_op_branch(op);

    *key = UINT32_MAX;
    for (size_t i = 0; op->succeeded == 1 && i < op->cmp_count; i++) {
        if (!compare_holds(check, op, &op->cmps[i], at)) {
            *key = op->cmps[i].key;
            return false;
        }
    }
    if (op->succeeded == 0 && !compares_fail(check, op, at)) {
        return false;
    }
    for (size_t i = 0; i < acts->count; i++) {
        const struct history_act *act = &acts->items[i];
        bool fits = true;

        if (written_before(acts, i)) {
            continue;
        }
        if (act->kind == HISTORY_GET) {
            fits = shows(check, op, act->key, act->version, at);
        } else if (act->kind == HISTORY_DELETE && act->deleted == 1) {
            fits = existed(check, op, act->key, at);
        } else if (act->kind == HISTORY_DELETE && act->deleted == 0) {
            fits = shows(check, op, act->key, HISTORY_ABSENT, at);
        }
        if (!fits) {
            *key = act->key;
            return false;
        }
    }
    return true;
}

/* Values mode: is there any revision in [low, high] that agrees? The state changes only at links.
 */
static bool
agrees_somewhere(struct revcheck *check, const struct history_op *op, int64_t low, int64_t high)
{
    const struct history_acts *acts = history_op_branch(op);
    uint32_t key;

    if (agrees(check, op, low, &key)) {
        return true;
    }
    for (size_t i = 0; i < acts->count + op->cmp_count; i++) {
        const struct chain *chain =
            &check->chains[i < acts->count ? acts->items[i].key : op->cmps[i - acts->count].key];

        for (size_t j = 0; j < chain->count; j++) {
            int64_t at = chain->links[j].revision;

            if (at > low && at <= high && agrees(check, op, at, &key)) {
                return true;
            }
        }
    }
    return false;
}

/* `highs` gets, for each operation, the last revision it could have seen: below every write that
 * was called after it returned. */
static void find_highs(struct revcheck *check, int64_t *highs)
{
    size_t count = check->history->op_count;
    const struct history_op **returns = fl_xcalloc(count, sizeof(struct history_op *));
    int64_t lowest = HISTORY_NEVER;
    size_t called = count;

    for (size_t i = 0; i < count; i++) {
        check->order[i] = returns[i] = &check->history->ops[i];
    }
    qsort(check->order, count, sizeof(struct history_op *), by_call);
    qsort(returns, count, sizeof(struct history_op *), by_ret);
    for (size_t i = count; i > 0; i--) {
        const struct history_op *op = returns[i - 1];

        for (; called > 0 && check->order[called - 1]->call > op->ret; called--) {
            const struct history_op *later = check->order[called - 1];

            if (has_own_revision(check, later) && placed_at(check, later) < lowest) {
                lowest = placed_at(check, later);
            }
        }
        highs[op - check->history->ops] = lowest - 1;
    }
    free(returns);
}

/* A txn whose only writes are deletes that may have found nothing: it has a revision of its own or
 * shares the one of the last write before it. */
static bool perhaps_wrote(const struct history_op *op)
{
    return !surely_wrote(op) && history_op_writes(op) && op->kind == HISTORY_TXN;
}

/* Compares one answer with the state at its place. */
static void check_answer(struct revcheck *check, const struct history_op *op)
{
    bool writes = surely_wrote(op);
    int64_t at = writes ? op->revision - 1 : op->revision;
    uint32_t key;

    if (agrees(check, op, at, &key) ||
        (perhaps_wrote(op) && agrees(check, op, op->revision - 1, &key))) {
        return;
    }
    if (key == UINT32_MAX) {
        reject(check, op, "at revision %lld all its compares hold", (long long)at);
    } else {
        reject(check,
               op,
               "at revision %lld %s=%s",
               (long long)at,
               check->history->keys[key],
               history_value(check->history, version_at(&check->chains[key], at)));
    }
}

static void check_values(struct revcheck *check, enum revcheck_mode mode, const int64_t *floors)
{
    int64_t *highs = fl_xcalloc(check->history->op_count, sizeof(*highs));

    find_highs(check, highs);
    for (size_t i = 0; i < check->history->op_count; i++) {
        const struct history_op *op = &check->history->ops[i];

        if (!op->known) {
            continue;
        }
        check->result->reads++;
        if (mode == REVCHECK_STRICT || surely_wrote(op) || perhaps_wrote(op) || op->serializable) {
            check_answer(check, op);
        } else if (!agrees_somewhere(check, op, floors[i], highs[i])) {
            reject(check,
                   op,
                   "no revision from %lld to %lld shows what it was told",
                   (long long)floors[i],
                   (long long)highs[i]);
        }
    }
    free(highs);
}

static bool has_revisions(const struct history *history)
{
    for (size_t i = 0; i < history->op_count; i++) {
        if (history->ops[i].known && history->ops[i].revision <= 0) {
            return false;
        }
    }
    return true;
}

enum lincheck_verdict
revcheck_run(const struct history *history, enum revcheck_mode mode, struct revcheck_result *result)
{
    struct revcheck check = {.history = history, .result = result};
    int64_t *floors;

    memset(result, 0, sizeof(*result));
    if (!has_revisions(history)) {
        result->verdict = LINCHECK_UNDECIDED;
        (void)snprintf(result->detail, sizeof(result->detail), "some answers have no revision");
        return result->verdict;
    }
    check.chains = fl_xcalloc(history->key_count, sizeof(*check.chains));
    check.places = fl_xcalloc(history->version_count, sizeof(*check.places));
    check.revisions = fl_xcalloc(history->op_count, sizeof(*check.revisions));
    check.order = fl_xcalloc(history->op_count, sizeof(struct history_op *));
    floors = fl_xcalloc(history->op_count, sizeof(*floors));
    build_chains(&check);
    check_real_time(&check, mode, floors);
    check_unique(&check);
    check_values(&check, mode, floors);
    for (size_t key = 0; key < history->key_count; key++) {
        free(check.chains[key].links);
    }
    free(check.chains);
    free(check.places);
    free(check.revisions);
    free(check.order);
    free(floors);
    return result->verdict;
}
