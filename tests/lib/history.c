/* Reading histories: JSON lines to operations in one form. See history.h for the format. */
#include "tests/lib/history.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/bytes.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Open addressing from (owner, text) to id: keys have owner UINT32_MAX, values their key's id. */
struct history_slot {
    uint64_t hash;
    uint32_t owner;
    uint32_t id;
    const char *text; /* NULL: free slot */
};

struct history_index {
    struct history_slot *slots;
    size_t count;
    size_t capacity; /* a power of two */
};

/* What one line is parsed with: the history it goes to and the first mistake found. */
struct reader {
    struct history *history;
    size_t line;
    char *error;
    size_t error_size;
    bool bad;
};

#define KEY_OWNER UINT32_MAX

static void complain(struct reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(struct reader *reader, const char *format, ...)
{
    va_list args;
    int used;

    if (reader->bad) {
        return;
    }
    reader->bad = true;
    used = snprintf(reader->error, reader->error_size, "line %zu: ", reader->line);
    if (used > 0 && (size_t)used < reader->error_size) {
        va_start(args, format);
        (void)vsnprintf(reader->error + used, reader->error_size - (size_t)used, format, args);
        va_end(args);
    }
}

/* --- names to ids --------------------------------------------------------------------------- */

static uint64_t name_hash(uint32_t owner, const char *text)
{
    return fl_bytes_hash(fl_bytes_of_string(text)) * UINT64_C(0x9e3779b97f4a7c15) ^
           owner * UINT64_C(0xff51afd7ed558ccd);
}

static struct history_slot *
slot_of(struct history_index *index, uint64_t hash, uint32_t owner, const char *text)
{
    size_t mask = index->capacity - 1;

    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct history_slot *slot = &index->slots[i];

        if (slot->text == NULL ||
            (slot->hash == hash && slot->owner == owner && strcmp(slot->text, text) == 0)) {
            return slot;
        }
    }
}

static void index_grow(struct history_index *index)
{
    struct history_index old = *index;

    if (index->capacity != 0 && index->count * 2 < index->capacity) {
        return;
    }
    index->capacity = old.capacity != 0 ? old.capacity * 2 : 1024;
    index->slots = fl_xcalloc(index->capacity, sizeof(*index->slots));
    for (size_t i = 0; i < old.capacity; i++) {
        struct history_slot *slot = &old.slots[i];

        if (slot->text != NULL) {
            *slot_of(index, slot->hash, slot->owner, slot->text) = *slot;
        }
    }
    free(old.slots);
}

static uint32_t key_id(struct history *history, const char *text)
{
    uint64_t hash = name_hash(KEY_OWNER, text);
    struct history_slot *slot;

    index_grow(history->index);
    slot = slot_of(history->index, hash, KEY_OWNER, text);
    if (slot->text == NULL) {
        fl_grow(
            &history->keys, &history->key_capacity, history->key_count + 1, sizeof(*history->keys));
        history->keys[history->key_count] = fl_xstrdup(text);
        *slot = (struct history_slot){
            hash, KEY_OWNER, (uint32_t)history->key_count, history->keys[history->key_count]};
        history->key_count++;
        history->index->count++;
    }
    return slot->id;
}

static uint32_t version_id(struct history *history, uint32_t key, const char *text)
{
    uint64_t hash = name_hash(key, text);
    struct history_slot *slot;

    index_grow(history->index);
    slot = slot_of(history->index, hash, key, text);
    if (slot->text == NULL) {
        struct history_version *version;

        fl_grow(&history->versions,
                &history->version_capacity,
                history->version_count + 1,
                sizeof(*history->versions));
        version = &history->versions[history->version_count];
        *version = (struct history_version){key, fl_xstrdup(text)};
        *slot = (struct history_slot){hash, key, (uint32_t)history->version_count, version->value};
        history->version_count++;
        history->index->count++;
    }
    return slot->id;
}

/* --- fields --------------------------------------------------------------------------------- */

static const char *text_field(struct reader *reader, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    if (text == NULL) {
        complain(reader, "\"%s\" must be a string", name);
        return "";
    }
    return text;
}

static int64_t
int_field(struct reader *reader, const json_t *object, const char *name, int64_t missing)
{
    const json_t *value = json_object_get(object, name);

    if (value == NULL) {
        return missing;
    }
    if (!json_is_integer(value)) {
        complain(reader, "\"%s\" must be an integer", name);
        return missing;
    }
    return json_integer_value(value);
}

static uint32_t key_field(struct reader *reader, const json_t *object)
{
    return key_id(reader->history, text_field(reader, object, "key"));
}

/* A value or null of `key`; the field must be there. */
static uint32_t
version_field(struct reader *reader, const json_t *object, const char *name, uint32_t key)
{
    const json_t *value = json_object_get(object, name);

    if (json_is_null(value)) {
        return HISTORY_ABSENT;
    }
    if (!json_is_string(value)) {
        complain(reader, "\"%s\" must be a string or null", name);
        return HISTORY_ABSENT;
    }
    return version_id(reader->history, key, json_string_value(value));
}

static uint32_t value_field(struct reader *reader, const json_t *object, uint32_t key)
{
    uint32_t version = version_field(reader, object, "val", key);

    if (version == HISTORY_ABSENT) {
        complain(reader, "a put needs a value");
    }
    return version;
}

static struct history_act *add_act(struct history_acts *acts, enum history_kind kind, uint32_t key)
{
    fl_grow(&acts->items, &acts->capacity, acts->count + 1, sizeof(*acts->items));
    acts->items[acts->count] = (struct history_act){.kind = kind, .key = key};
    return &acts->items[acts->count++];
}

static void add_cmp(struct history_op *op, struct history_cmp cmp)
{
    op->cmps = fl_xrealloc(op->cmps, op->cmp_count + 1, sizeof(*op->cmps));
    op->cmps[op->cmp_count++] = cmp;
}

/* --- operations ----------------------------------------------------------------------------- */

static void parse_get(struct reader *reader, const json_t *object, struct history_op *op)
{
    struct history_act *act = add_act(&op->yes, HISTORY_GET, key_field(reader, object));

    if (op->known) {
        act->version = version_field(reader, object, "out", act->key);
        act->mrev = int_field(reader, object, "mrev", 0);
    }
}

static void parse_put(struct reader *reader, const json_t *object, struct history_op *op)
{
    struct history_act *act = add_act(&op->yes, HISTORY_PUT, key_field(reader, object));

    act->version = value_field(reader, object, act->key);
}

static void parse_delete(struct reader *reader, const json_t *object, struct history_op *op)
{
    struct history_act *act = add_act(&op->yes, HISTORY_DELETE, key_field(reader, object));

    act->deleted = (int)int_field(reader, object, "out", -1);
    if (op->known && act->deleted != 0 && act->deleted != 1) {
        complain(reader, "\"out\" of a delete must be 0 or 1");
    }
}

static void parse_succeeded(struct reader *reader, const json_t *object, struct history_op *op)
{
    const json_t *value = json_object_get(object, "succ");

    op->succeeded = json_is_true(value) ? 1 : 0;
    if (!op->known) {
        op->succeeded = -1;
    } else if (!json_is_boolean(value)) {
        complain(reader, "\"succ\" must be true or false");
    }
}

static void parse_cas(struct reader *reader, const json_t *object, struct history_op *op)
{
    uint32_t key = key_field(reader, object);
    uint32_t old = version_field(reader, object, "old", key);

    add_cmp(op, (struct history_cmp){.key = key, .version = old, .equal = true});
    add_act(&op->yes, HISTORY_PUT, key)->version = value_field(reader, object, key);
    parse_succeeded(reader, object, op);
}

static void parse_txn_cmps(struct reader *reader, const json_t *object, struct history_op *op)
{
    const json_t *cmps = json_object_get(object, "cmp");
    const json_t *item;
    size_t i;

    json_array_foreach(cmps, i, item)
    {
        const char *relation = text_field(reader, item, "rel");
        struct history_cmp cmp = {.key = key_field(reader, item)};

        cmp.version = version_field(reader, item, "val", cmp.key);
        cmp.equal = strcmp(relation, "=") == 0;
        if (!cmp.equal && strcmp(relation, "!=") != 0) {
            complain(reader, "\"rel\" must be = or !=");
        }
        add_cmp(op, cmp);
    }
}

static void parse_txn_acts(struct reader *reader, const json_t *list, struct history_acts *acts)
{
    const json_t *item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        const char *name = text_field(reader, item, "op");
        uint32_t key = key_field(reader, item);

        if (strcmp(name, "put") == 0) {
            uint32_t version = value_field(reader, item, key);

            add_act(acts, HISTORY_PUT, key)->version = version;
        } else if (strcmp(name, "delete") == 0) {
            add_act(acts, HISTORY_DELETE, key)->deleted = -1;
        } else if (strcmp(name, "get") == 0) {
            add_act(acts, HISTORY_GET, key);
        } else {
            complain(reader, "unknown operation \"%s\" in a txn", name);
        }
    }
}

/* Gives each delete of the branch that ran its count, where the history has them. */
static void parse_txn_deleted(struct reader *reader, const json_t *object, struct history_op *op)
{
    struct history_acts *branch = op->succeeded == 1 ? &op->yes : &op->no;
    const json_t *deleted = json_object_get(object, "del");
    size_t used = 0;

    for (size_t i = 0; i < branch->count && deleted != NULL; i++) {
        struct history_act *act = &branch->items[i];

        if (act->kind == HISTORY_DELETE) {
            const json_t *count = json_array_get(deleted, used++);

            act->deleted = (int)json_integer_value(count);
            if (!json_is_integer(count) || act->deleted < 0 || act->deleted > 1) {
                complain(reader, "\"del\" of a txn must give 0 or 1 for each of its deletes");
            }
        }
    }
    if (used != json_array_size(deleted)) {
        complain(reader, "\"del\" of a txn has more items than its deletes");
    }
}

/* Gives each get of the branch that ran what it saw. */
static void parse_txn_out(struct reader *reader, const json_t *object, struct history_op *op)
{
    struct history_acts *branch = op->succeeded == 1 ? &op->yes : &op->no;
    const json_t *out = json_object_get(object, "out");
    size_t used = 0;

    for (size_t i = 0; i < branch->count; i++) {
        struct history_act *act = &branch->items[i];
        const json_t *seen;

        if (act->kind != HISTORY_GET) {
            continue;
        }
        seen = json_array_get(out, used++);
        if (seen == NULL || key_field(reader, seen) != act->key) {
            complain(reader, "\"out\" of a txn must name the keys its gets read, in order");
            return;
        }
        act->version = version_field(reader, seen, "val", act->key);
        act->mrev = int_field(reader, seen, "mrev", 0);
    }
    if (used != json_array_size(out)) {
        complain(reader, "\"out\" of a txn has more items than its gets");
    }
}

static void parse_txn(struct reader *reader, const json_t *object, struct history_op *op)
{
    parse_txn_cmps(reader, object, op);
    parse_txn_acts(reader, json_object_get(object, "then"), &op->yes);
    parse_txn_acts(reader, json_object_get(object, "else"), &op->no);
    parse_succeeded(reader, object, op);
    if (op->known) {
        parse_txn_out(reader, object, op);
        parse_txn_deleted(reader, object, op);
    }
}

/* Is the key under the prefix, or with "end" in [key, end)? */
static bool in_range(const char *key, const json_t *object)
{
    const char *start = json_string_value(json_object_get(object, "key"));
    const char *end = json_string_value(json_object_get(object, "end"));

    if (start == NULL) {
        return false;
    }
    return end != NULL ? strcmp(key, start) >= 0 && strcmp(key, end) < 0
                       : strncmp(key, start, strlen(start)) == 0;
}

/* Only what was returned; finish_ranges adds what was not, when all keys are known. */
static void parse_range(struct reader *reader, const json_t *object, struct history_op *op)
{
    const char *first = text_field(reader, object, "key");
    const json_t *out = json_object_get(object, "out");
    const json_t *item;
    size_t i;

    if (op->known && !json_is_array(out)) {
        complain(reader, "\"out\" of a range must be an array");
        return;
    }
    json_array_foreach(out, i, item)
    {
        const char *key = text_field(reader, item, "key");
        struct history_act *act = add_act(&op->yes, HISTORY_GET, key_field(reader, item));

        act->version = value_field(reader, item, act->key);
        act->mrev = int_field(reader, item, "mrev", 0);
        if (!in_range(key, object)) {
            complain(reader, "range \"%s\" returned key \"%s\"", first, key);
        }
    }
}

static void parse_result(struct reader *reader, const json_t *object, struct history_op *op)
{
    const char *result = text_field(reader, object, "res");
    const json_t *ret = json_object_get(object, "ret");

    op->known = strcmp(result, "ok") == 0;
    op->failed = strcmp(result, "fail") == 0;
    if (!op->known && !op->failed && strcmp(result, "unknown") != 0) {
        complain(reader, "\"res\" must be ok, fail or unknown");
    }
    if (!json_is_integer(json_object_get(object, "call"))) {
        complain(reader, "\"call\" must be an integer");
    }
    op->call = int_field(reader, object, "call", 0);
    op->ret = json_is_integer(ret) ? json_integer_value(ret) : HISTORY_NEVER;
    if (op->known && op->ret == HISTORY_NEVER) {
        complain(reader, "an operation with a known result needs \"ret\"");
    }
    if (op->ret < op->call) {
        complain(reader, "\"ret\" is before \"call\"");
    }
    if (!op->known && !op->failed) {
        op->ret = HISTORY_NEVER;
    }
}

static void parse_op(struct reader *reader, const json_t *object, const char *line)
{
    static const struct {
        const char *name;
        enum history_kind kind;
        void (*parse)(struct reader *reader, const json_t *object, struct history_op *op);
    } kinds[] = {
        {"put", HISTORY_PUT, parse_put},
        {"get", HISTORY_GET, parse_get},
        {"delete", HISTORY_DELETE, parse_delete},
        {"cas", HISTORY_CAS, parse_cas},
        {"txn", HISTORY_TXN, parse_txn},
        {"range", HISTORY_RANGE, parse_range},
    };
    struct history *history = reader->history;
    const char *name = text_field(reader, object, "op");
    struct history_op *op;

    fl_grow(&history->ops, &history->op_capacity, history->op_count + 1, sizeof(*history->ops));
    op = &history->ops[history->op_count++];
    *op = (struct history_op){.line = reader->line, .succeeded = 1, .text = fl_xstrdup(line)};
    op->client = int_field(reader, object, "c", -1);
    op->revision = int_field(reader, object, "rev", 0);
    op->shard = int_field(reader, object, "shard", -1);
    op->serializable = json_is_true(json_object_get(object, "ser"));
    parse_result(reader, object, op);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            op->kind = kinds[i].kind;
            kinds[i].parse(reader, object, op);
            return;
        }
    }
    complain(reader, "unknown operation \"%s\"", name);
}

/* --- lines ---------------------------------------------------------------------------------- */

static void parse_event(struct reader *reader, const json_t *object)
{
    struct history *history = reader->history;
    const char *kind = text_field(reader, object, "ev");

    if (strcmp(kind, "fault") == 0) {
        const char *phase = text_field(reader, object, "phase");

        fl_grow(&history->faults,
                &history->fault_capacity,
                history->fault_count + 1,
                sizeof(*history->faults));
        history->faults[history->fault_count++] = (struct history_fault){
            .time = int_field(reader, object, "t", 0),
            .node = int_field(reader, object, "node", -1),
            .start = strcmp(phase, "start") == 0,
            .what = fl_xstrdup(text_field(reader, object, "what")),
        };
    } else if (strcmp(kind, "hash") == 0) {
        fl_grow(&history->hashes,
                &history->hash_capacity,
                history->hash_count + 1,
                sizeof(*history->hashes));
        history->hashes[history->hash_count++] = (struct history_hash){
            .node = int_field(reader, object, "node", -1),
            .revision = int_field(reader, object, "rev", -1),
            .hash = int_field(reader, object, "hash", -1),
            .line = reader->line,
        };
    }
}

static void parse_header(struct reader *reader, const json_t *object)
{
    if (int_field(reader, object, "h", 0) != 1) {
        complain(reader, "only format 1 is known");
    }
    reader->history->seed = int_field(reader, object, "seed", 0);
    free(reader->history->system);
    reader->history->system = fl_xstrdup(text_field(reader, object, "sys"));
}

static void parse_line(struct reader *reader, const char *line)
{
    json_error_t why;
    json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &why);

    if (!json_is_object(object)) {
        complain(reader, "not a JSON object: %s", object == NULL ? why.text : "other type");
    } else if (json_object_get(object, "h") != NULL) {
        parse_header(reader, object);
    } else if (json_object_get(object, "ev") != NULL) {
        parse_event(reader, object);
    } else {
        parse_op(reader, object, line);
    }
    json_decref(object);
}

/* --- whole file ----------------------------------------------------------------------------- */

/* Adds a get of "absent" for every key inside that a range did not return. */
static void finish_range(struct reader *reader, struct history_op *op, const json_t *object)
{
    struct history *history = reader->history;
    bool *seen = fl_xcalloc(history->key_count, sizeof(*seen));
    size_t returned = op->yes.count;

    for (size_t i = 0; i < returned; i++) {
        if (seen[op->yes.items[i].key]) {
            complain(
                reader, "range returned key \"%s\" twice", history->keys[op->yes.items[i].key]);
        }
        seen[op->yes.items[i].key] = true;
    }
    for (uint32_t key = 0; key < history->key_count; key++) {
        if (!seen[key] && in_range(history->keys[key], object)) {
            add_act(&op->yes, HISTORY_GET, key);
        }
    }
    free(seen);
}

static void finish_ranges(struct reader *reader)
{
    for (size_t i = 0; i < reader->history->op_count && !reader->bad; i++) {
        struct history_op *op = &reader->history->ops[i];

        if (op->kind == HISTORY_RANGE) {
            json_t *object = json_loads(op->text, 0, NULL);

            reader->line = op->line;
            finish_range(reader, op, object);
            json_decref(object);
        }
    }
}

static int by_client_and_call(const void *left, const void *right)
{
    const struct history_op *a = *(const struct history_op *const *)left;
    const struct history_op *b = *(const struct history_op *const *)right;

    if (a->client != b->client) {
        return a->client < b->client ? -1 : 1;
    }
    return (a->call > b->call) - (a->call < b->call);
}

/* A client has one operation at a time; after an unknown one it goes on under a new number. */
static void check_clients(struct reader *reader)
{
    size_t count = reader->history->op_count;
    struct history_op **order = fl_xcalloc(count, sizeof(struct history_op *));

    for (size_t i = 0; i < count; i++) {
        order[i] = &reader->history->ops[i];
    }
    qsort(order, count, sizeof(struct history_op *), by_client_and_call);
    for (size_t i = 1; i < count; i++) {
        if (order[i]->client >= 0 && order[i]->client == order[i - 1]->client &&
            order[i]->call < order[i - 1]->ret) {
            reader->line = order[i]->line;
            complain(reader,
                     "client %lld calls before its operation of line %zu has returned",
                     (long long)order[i]->client,
                     order[i - 1]->line);
        }
    }
    free(order);
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\r\n")] == '\0';
}

struct history *history_read(FILE *input, char *error, size_t error_size)
{
    struct history *history = fl_xcalloc(1, sizeof(*history));
    struct reader reader = {.history = history, .error_size = error_size};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;

    reader.error = error;
    history->index = fl_xcalloc(1, sizeof(*history->index));
    fl_grow(&history->versions, &history->version_capacity, 1, sizeof(*history->versions));
    history->versions[history->version_count++] = (struct history_version){0, NULL};
    while (!reader.bad && (length = getline(&line, &capacity, input)) >= 0) {
        reader.line++;
        if (length > 0 && line[length - 1] == '\n') {
            line[length - 1] = '\0';
        }
        if (!is_blank(line)) {
            parse_line(&reader, line);
        }
    }
    free(line);
    if (!reader.bad) {
        finish_ranges(&reader);
        check_clients(&reader);
    }
    if (reader.bad) {
        history_destroy(history);
        return NULL;
    }
    return history;
}

struct history *history_read_text(const char *text, size_t size, char *error, size_t error_size)
{
    char *copy = fl_xmemdup(text, size);
    FILE *input = fmemopen(copy, size, "r");
    struct history *history;

    fl_assert(input != NULL);
    history = history_read(input, error, error_size);
    (void)fclose(input);
    free(copy);
    return history;
}

static bool acts_write(const struct history_acts *acts)
{
    for (size_t i = 0; i < acts->count; i++) {
        if (acts->items[i].kind != HISTORY_GET) {
            return true;
        }
    }
    return false;
}

bool history_op_writes(const struct history_op *op)
{
    return (op->succeeded != 0 && acts_write(&op->yes)) ||
           (op->succeeded != 1 && acts_write(&op->no));
}

const struct history_acts *history_op_branch(const struct history_op *op)
{
    return op->succeeded == 0 ? &op->no : &op->yes;
}

const char *history_value(const struct history *history, uint32_t version)
{
    return version == HISTORY_ABSENT ? "null" : history->versions[version].value;
}

void history_destroy(struct history *history)
{
    if (history == NULL) {
        return;
    }
    for (size_t i = 0; i < history->op_count; i++) {
        free(history->ops[i].cmps);
        free(history->ops[i].yes.items);
        free(history->ops[i].no.items);
        free(history->ops[i].text);
    }
    for (size_t i = 0; i < history->key_count; i++) {
        free(history->keys[i]);
    }
    for (size_t i = 1; i < history->version_count; i++) {
        free(history->versions[i].value);
    }
    for (size_t i = 0; i < history->fault_count; i++) {
        free(history->faults[i].what);
    }
    free(history->index->slots);
    free(history->index);
    free(history->ops);
    free(history->keys);
    free(history->versions);
    free(history->faults);
    free(history->hashes);
    free(history->system);
    free(history);
}
