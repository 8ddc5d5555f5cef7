/* Random recorded operations. See chaos_client.h. */
#include "tests/e2e/chaos_client.h"

#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_SIZE = 64 };

/* One in each eighth of the printable bytes. */
static const char first_bytes[CHAOS_FIRST_COUNT + 1] = "!09FRajw";

struct chaos_client {
    const struct chaos_config *config;
    struct recorder *recorder;
    struct etcd_loop *loop;
    struct etcd_channel *channels[CHAOS_NODES_MAX];
    size_t node;                            /* the one in use */
    int64_t number;                         /* "c" in the history */
    uint64_t written;                       /* makes values unique, with `number` */
    char seen[CHAOS_KEY_COUNT][VALUE_SIZE]; /* last value known of each key, "" absent */
    struct fl_prng prng;
    struct {
        _Atomic uint64_t ok, failed,
            unknown; /* counters read by another thread: relaxed is enough */
    } shared;
};

/* An operation between its call and its line. */
struct attempt {
    struct etcd_reply reply;
    int64_t call_ns, ret_ns;
};

void chaos_key_name(int key, char *out)
{
    (void)snprintf(
        out, CHAOS_KEY_SIZE, "%cx%d", first_bytes[key / CHAOS_PER_FIRST], key % CHAOS_PER_FIRST);
}

struct chaos_client *
chaos_client_create(const struct chaos_config *config, struct recorder *recorder, uint64_t seed)
{
    struct chaos_client *client = fl_xcalloc(1, sizeof(*client));

    client->config = config;
    client->recorder = recorder;
    client->loop = etcd_loop_create();
    for (size_t i = 0; i < config->node_count; i++) {
        client->channels[i] = etcd_channel_create(client->loop, config->endpoints[i]);
    }
    client->number = recorder_new_client(recorder);
    fl_prng_seed(&client->prng, seed);
    client->node = fl_prng_below(&client->prng, config->node_count);
    return client;
}

void chaos_client_destroy(struct chaos_client *client)
{
    for (size_t i = 0; i < client->config->node_count; i++) {
        etcd_channel_destroy(client->channels[i]);
    }
    etcd_loop_destroy(client->loop);
    free(client);
}

struct chaos_counts chaos_client_counts(const struct chaos_client *client)
{
    return (struct chaos_counts){
        .ok = atomic_load_explicit(&client->shared.ok, memory_order_relaxed),
        .failed = atomic_load_explicit(&client->shared.failed, memory_order_relaxed),
        .unknown = atomic_load_explicit(&client->shared.unknown, memory_order_relaxed),
    };
}

static struct fl_bytes text_bytes(const char *text)
{
    return fl_bytes_of_string(text);
}

static void new_value(struct chaos_client *client, char *out)
{
    (void)snprintf(out, VALUE_SIZE, "%" PRId64 "-%" PRIu64, client->number, client->written++);
}

static struct etcd_channel *channel_of(struct chaos_client *client)
{
    return client->channels[client->node];
}

/* --- recording ------------------------------------------------------------------------------- */

static void begin(struct chaos_client *client,
                  struct record *record,
                  const char *op,
                  const struct attempt *attempt)
{
    struct record_head head = {.client = client->number,
                               .call_ns = attempt->call_ns,
                               .ret_ns = attempt->ret_ns,
                               .node = (int)client->node + 1};

    record_begin(record, op, head, &attempt->reply);
}

/* Counts the outcome; after anything but success another node is tried, after an unknown outcome
 * the client goes on under a new number (the old operation may still be running). */
static void settle(struct chaos_client *client, struct attempt *attempt)
{
    switch (attempt->reply.outcome) {
    case ETCD_OK:
        atomic_fetch_add_explicit(&client->shared.ok, 1, memory_order_relaxed);
        break;
    case ETCD_FAILED:
        atomic_fetch_add_explicit(&client->shared.failed, 1, memory_order_relaxed);
        break;
    case ETCD_UNKNOWN:
        atomic_fetch_add_explicit(&client->shared.unknown, 1, memory_order_relaxed);
        client->number = recorder_new_client(client->recorder);
        client->written = 0;
        break;
    }
    if (attempt->reply.outcome != ETCD_OK) {
        client->node = (client->node + 1) % client->config->node_count;
    }
    etcd_reply_close(&attempt->reply);
}

static const char *remember(struct chaos_client *client, int key, const struct etcd_kv *kv)
{
    if (kv == NULL) {
        client->seen[key][0] = '\0';
        return NULL;
    }
    (void)snprintf(client->seen[key],
                   VALUE_SIZE,
                   "%.*s",
                   (int)(kv->value.len < VALUE_SIZE ? kv->value.len : VALUE_SIZE - 1),
                   (const char *)kv->value.data);
    return client->seen[key];
}

/* --- operations ------------------------------------------------------------------------------ */

static void do_put(struct chaos_client *client, int key)
{
    struct attempt attempt;
    struct record record;
    char name[CHAOS_KEY_SIZE];
    char value[VALUE_SIZE];

    chaos_key_name(key, name);
    new_value(client, value);
    attempt.call_ns = recorder_now_ns();
    (void)etcd_put_sync(channel_of(client),
                        text_bytes(name),
                        text_bytes(value),
                        client->config->timeout_ms,
                        &attempt.reply);
    attempt.ret_ns = recorder_now_ns();
    begin(client, &record, "put", &attempt);
    record_text(&record, "key", name);
    record_text(&record, "val", value);
    record_end(&record, client->recorder);
    memcpy(client->seen[key], value, VALUE_SIZE);
    settle(client, &attempt);
}

/* Returns the outcome, so that a settled read can be repeated. */
static enum etcd_outcome
do_get(struct chaos_client *client, int key, bool serializable, bool record_failures)
{
    struct attempt attempt;
    struct record record;
    char name[CHAOS_KEY_SIZE];
    struct etcd_range range = {.serializable = serializable};
    enum etcd_outcome outcome;

    chaos_key_name(key, name);
    range.key = text_bytes(name);
    attempt.call_ns = recorder_now_ns();
    outcome =
        etcd_range_sync(channel_of(client), &range, client->config->timeout_ms, &attempt.reply);
    attempt.ret_ns = recorder_now_ns();
    if (outcome == ETCD_OK || record_failures) {
        begin(client, &record, "get", &attempt);
        record_text(&record, "key", name);
        if (outcome == ETCD_OK) {
            const struct etcd_kv *kv = attempt.reply.kv_count != 0 ? attempt.reply.kvs : NULL;

            record_text(&record, "out", remember(client, key, kv));
            if (kv != NULL) {
                record_int(&record, "mrev", kv->mod_revision);
            }
        }
        if (serializable) {
            record_bool(&record, "ser", true);
        }
        record_end(&record, client->recorder);
    }
    settle(client, &attempt);
    return outcome;
}

static void do_delete(struct chaos_client *client, int key)
{
    struct attempt attempt;
    struct record record;
    char name[CHAOS_KEY_SIZE];

    chaos_key_name(key, name);
    attempt.call_ns = recorder_now_ns();
    (void)etcd_delete_sync(channel_of(client),
                           text_bytes(name),
                           fl_bytes(NULL, 0),
                           client->config->timeout_ms,
                           &attempt.reply);
    attempt.ret_ns = recorder_now_ns();
    begin(client, &record, "delete", &attempt);
    record_text(&record, "key", name);
    if (attempt.reply.outcome == ETCD_OK) {
        record_int(&record, "out", attempt.reply.deleted);
    }
    record_end(&record, client->recorder);
    client->seen[key][0] = '\0';
    settle(client, &attempt);
}

static struct etcd_compare
compare_seen(const struct chaos_client *client, int key, const char *name)
{
    return (struct etcd_compare){
        .kind = client->seen[key][0] == '\0' ? ETCD_ABSENT : ETCD_VALUE_EQUAL,
        .key = text_bytes(name),
        .value = text_bytes(client->seen[key]),
    };
}

static const char *seen_or_null(const struct chaos_client *client, int key)
{
    return client->seen[key][0] == '\0' ? NULL : client->seen[key];
}

static void do_cas(struct chaos_client *client, int key)
{
    struct attempt attempt;
    struct record record;
    char name[CHAOS_KEY_SIZE];
    char value[VALUE_SIZE];
    struct etcd_compare compare;
    struct etcd_op put = {.kind = ETCD_OP_PUT};
    struct etcd_txn txn = {
        .compares = &compare, .compare_count = 1, .success = &put, .success_count = 1};

    chaos_key_name(key, name);
    new_value(client, value);
    compare = compare_seen(client, key, name);
    put.key = text_bytes(name);
    put.value = text_bytes(value);
    attempt.call_ns = recorder_now_ns();
    (void)etcd_txn_sync(channel_of(client), &txn, client->config->timeout_ms, &attempt.reply);
    attempt.ret_ns = recorder_now_ns();
    begin(client, &record, "cas", &attempt);
    record_text(&record, "key", name);
    record_text(&record, "old", seen_or_null(client, key));
    record_text(&record, "val", value);
    if (attempt.reply.outcome == ETCD_OK) {
        record_bool(&record, "succ", attempt.reply.succeeded);
    }
    record_end(&record, client->recorder);
    if (attempt.reply.outcome == ETCD_OK && attempt.reply.succeeded) {
        memcpy(client->seen[key], value, VALUE_SIZE);
    }
    settle(client, &attempt);
}

/* Writes what the gets of a txn saw and how much its deletes removed, in their order. */
static void record_txn_out(struct chaos_client *client,
                           struct record *record,
                           const struct etcd_reply *reply,
                           const struct etcd_op *ops,
                           const int *keys,
                           size_t count)
{
    bool first = true;

    (void)fputs(",\"out\":[", record->text);
    for (size_t i = 0; i < count && i < reply->op_count; i++) {
        const struct etcd_kv *kv = reply->ops[i].kv_count != 0 ? reply->ops[i].kvs : NULL;
        const char *value;

        if (ops[i].kind != ETCD_OP_GET) {
            continue;
        }
        value = remember(client, keys[i], kv);
        (void)fprintf(record->text,
                      "%s{\"key\":\"%.*s\"",
                      first ? "" : ",",
                      (int)ops[i].key.len,
                      (const char *)ops[i].key.data);
        record_text(record, "val", value);
        if (kv != NULL) {
            record_int(record, "mrev", kv->mod_revision);
        }
        (void)fputs("}", record->text);
        first = false;
    }
    (void)fputs("],\"del\":[", record->text);
    for (size_t i = 0, deletes = 0; i < count && i < reply->op_count; i++) {
        if (ops[i].kind == ETCD_OP_DELETE) {
            (void)fprintf(
                record->text, "%s%" PRId64, deletes++ == 0 ? "" : ",", reply->ops[i].deleted);
        }
    }
    (void)fputs("]", record->text);
}

/* The request of do_txn as the history has it. */
static void record_txn_request(struct record *record,
                               char names[3][CHAOS_KEY_SIZE],
                               char values[2][VALUE_SIZE],
                               const char *seen)
{
    (void)fprintf(record->text, ",\"cmp\":[{\"key\":\"%s\",\"rel\":\"=\"", names[0]);
    record_text(record, "val", seen);
    (void)fprintf(record->text,
                  "}],\"then\":[{\"op\":\"put\",\"key\":\"%s\",\"val\":\"%s\"},"
                  "{\"op\":\"put\",\"key\":\"%s\",\"val\":\"%s\"},{\"op\":\"get\",\"key\":\"%s\"}],"
                  "\"else\":[{\"op\":\"get\",\"key\":\"%s\"},{\"op\":\"delete\",\"key\":\"%s\"}]",
                  names[0],
                  values[0],
                  names[1],
                  values[1],
                  names[2],
                  names[0],
                  names[1]);
}

/* "if a = seen then put a, put b, get c else get a, delete b" inside one first byte, so inside one
 * range. */
static void do_txn(struct chaos_client *client, int a)
{
    int group = a / CHAOS_PER_FIRST * CHAOS_PER_FIRST;
    int keys[] = {a, group + (a + 1) % CHAOS_PER_FIRST, group + (a + 2) % CHAOS_PER_FIRST};
    char names[3][CHAOS_KEY_SIZE];
    char values[2][VALUE_SIZE];
    struct etcd_op yes[] = {{.kind = ETCD_OP_PUT}, {.kind = ETCD_OP_PUT}, {.kind = ETCD_OP_GET}};
    struct etcd_op no[] = {{.kind = ETCD_OP_GET}, {.kind = ETCD_OP_DELETE}};
    struct etcd_compare compare;
    struct etcd_txn txn = {&compare, 1, yes, 3, no, 2};
    struct attempt attempt;
    struct record record;

    for (size_t i = 0; i < 3; i++) {
        chaos_key_name(keys[i], names[i]);
        yes[i].key = text_bytes(names[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        new_value(client, values[i]);
        yes[i].value = text_bytes(values[i]);
        no[i].key = text_bytes(names[i]);
    }
    compare = compare_seen(client, a, names[0]);
    attempt.call_ns = recorder_now_ns();
    (void)etcd_txn_sync(channel_of(client), &txn, client->config->timeout_ms, &attempt.reply);
    attempt.ret_ns = recorder_now_ns();
    begin(client, &record, "txn", &attempt);
    record_txn_request(&record, names, values, seen_or_null(client, a));
    if (attempt.reply.outcome == ETCD_OK) {
        bool succeeded = attempt.reply.succeeded;

        record_bool(&record, "succ", succeeded);
        record_txn_out(
            client, &record, &attempt.reply, succeeded ? yes : no, keys, succeeded ? 3 : 2);
    }
    record_end(&record, client->recorder);
    settle(client, &attempt);
}

/* From one first byte to another: one range or many. */
static void do_range(struct chaos_client *client)
{
    size_t from = fl_prng_below(&client->prng, CHAOS_FIRST_COUNT);
    size_t to = from + fl_prng_below(&client->prng, CHAOS_FIRST_COUNT - from);
    char first[2] = {first_bytes[from], '\0'};
    char end[2] = {(char)(first_bytes[to] + 1), '\0'};
    struct etcd_range range = {.key = text_bytes(first), .range_end = text_bytes(end)};
    struct attempt attempt;
    struct record record;

    attempt.call_ns = recorder_now_ns();
    (void)etcd_range_sync(channel_of(client), &range, client->config->timeout_ms, &attempt.reply);
    attempt.ret_ns = recorder_now_ns();
    begin(client, &record, "range", &attempt);
    record_text(&record, "key", first);
    record_text(&record, "end", end);
    if (attempt.reply.outcome == ETCD_OK) {
        record_kvs(&record, "out", attempt.reply.kvs, attempt.reply.kv_count);
    }
    record_end(&record, client->recorder);
    settle(client, &attempt);
}

static void one_operation(struct chaos_client *client)
{
    int key = (int)fl_prng_below(&client->prng, CHAOS_KEY_COUNT);
    uint64_t dice = fl_prng_below(&client->prng, 100);

    if (dice < 35) {
        do_put(client, key);
    } else if (dice < 55) {
        (void)do_get(client, key, false, true);
    } else if (dice < 60) {
        (void)do_get(client, key, true, true);
    } else if (dice < 68) {
        do_delete(client, key);
    } else if (dice < 80) {
        do_cas(client, key);
    } else if (dice < 90) {
        do_txn(client, key);
    } else {
        do_range(client);
    }
}

void chaos_client_run(struct chaos_client *client, const atomic_bool *stop)
{
    while (!atomic_load_explicit(stop, memory_order_relaxed)) { /* only ends the loop */
        one_operation(client);
        if (client->config->pause_ms > 0) {
            /* nothing is in flight: the poll is a pause, spread so that clients do not march */
            (void)etcd_loop_poll(
                client->loop,
                (int)fl_prng_below(&client->prng, 2 * (uint64_t)client->config->pause_ms));
        }
    }
}

bool chaos_client_read_settled(struct chaos_client *client, int key, size_t node, int64_t until_ns)
{
    while (recorder_now_ns() < until_ns) {
        client->node = node;
        if (do_get(client, key, false, false) == ETCD_OK) {
            return true;
        }
        (void)etcd_loop_poll(client->loop, 50);
    }
    return false;
}

bool chaos_client_hash(struct chaos_client *client,
                       size_t node,
                       int64_t *revision,
                       int64_t until_ns)
{
    struct etcd_range any = {.key = text_bytes("!"), .count_only = true};

    while (recorder_now_ns() < until_ns) {
        struct etcd_reply reply;

        if (*revision == 0) {
            (void)etcd_range_sync(client->channels[node], &any, client->config->timeout_ms, &reply);
            *revision = reply.revision;
            etcd_reply_close(&reply);
        }
        if (*revision != 0 &&
            etcd_hash_kv_sync(
                client->channels[node], *revision, client->config->timeout_ms, &reply) == ETCD_OK) {
            recorder_hash(client->recorder, (int)node + 1, *revision, reply.hash);
            etcd_reply_close(&reply);
            return true;
        }
        etcd_reply_close(&reply);
        (void)etcd_loop_poll(client->loop, 50);
    }
    return false;
}
