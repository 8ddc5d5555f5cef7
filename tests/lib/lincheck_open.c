/* Which unanswered operations are worth trying: rule 5 of lincheck_search.c. */
#include "tests/lib/lincheck_search.h"

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
bool lincheck__may_follow_row(const struct search *search, const struct lin_op *next)
{
    const struct frame *frames = search->frames;

    for (size_t i = search->frame_count; i > 0; i--) {
        uint32_t member = frames[i - 1].placed;
        bool touched;

        if (member == LIN_NONE || !lincheck__is_open(search, member)) {
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
        if (op->source->cmps[i].key == key &&
            !lincheck__compare_holds(&op->source->cmps[i], version)) {
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

/* What an unanswered operation wrote as the only key: rule 5 marked it. */
struct marked {
    uint32_t key; /* LIN_NONE: it wrote several */
    uint32_t before, after;
};

/* Does a compare of the operation turn out otherwise because of what was written? */
static bool is_swayed(const struct lin_op *op, const struct marked *marked)
{
    for (size_t i = 0; i < op->source->cmp_count; i++) {
        const struct history_cmp *cmp = &op->source->cmps[i];

        if (cmp->key == marked->key && lincheck__compare_holds(cmp, marked->before) !=
                                           lincheck__compare_holds(cmp, marked->after)) {
            return true;
        }
    }
    return false;
}

/* Rule 5, with `open` placed: can `next` make use of it? What touches it may also be a write to
 * another key that it compared. */
static bool uses(const struct search *search,
                 const struct lin_op *open,
                 const struct marked *marked,
                 uint32_t op)
{
    const struct lin_op *next = &search->ops[op];

    if (marked->key == LIN_NONE || compares_others(open, marked->key)) {
        return touches(open, next);
    }
    if (lincheck__is_open(search, op)) {
        return is_swayed(next, marked);
    }
    return may_find(next, marked->key, marked->after) &&
           (is_swayed(next, marked) || !may_find(next, marked->key, marked->before));
}

/* The answered operation that is next in the order of hints among those that may come now. */
uint32_t lincheck__next_in_order(const struct search *search)
{
    uint32_t first = LIN_NONE;

    for (uint32_t at = search->entries[0].next; at != 0; at = search->entries[at].next) {
        uint32_t op = search->entries[at].op;

        if (search->entries[at].is_return) {
            break;
        }
        if (!lincheck__is_open(search, op) &&
            (first == LIN_NONE || search->ops[op].hint < search->ops[first].hint)) {
            first = op;
        }
    }
    return first;
}

/* Can something that may come next make use of the unanswered operation just placed? */
static bool
is_useful(const struct search *search, const struct lin_op *open, const struct marked *marked)
{
    if (search->guided) {
        uint32_t next = lincheck__next_in_order(search);

        return next != LIN_NONE && uses(search, open, marked, next);
    }
    for (uint32_t at = search->entries[0].next; at != 0; at = search->entries[at].next) {
        const struct entry *entry = &search->entries[at];

        if (entry->is_return) {
            return false;
        }
        if (uses(search, open, marked, entry->op)) {
            return true;
        }
    }
    return false;
}

static struct marked marked_since(const struct search *search, size_t mark)
{
    for (size_t i = mark; i < search->undo_count; i++) {
        struct undo undo = search->undos[i];
        uint64_t now = search->state[undo.key];

        if ((now & UNNOTICED) != 0) {
            return (struct marked){
                undo.key, lincheck__version_in(undo.old), lincheck__version_in(now)};
        }
    }
    return (struct marked){.key = LIN_NONE};
}

bool lincheck__is_useful(const struct search *search, uint32_t op, size_t mark)
{
    struct marked marked = marked_since(search, mark);

    return is_useful(search, &search->ops[op], &marked);
}
