/* The real machines: group 1 is placement, the others are shards; all of a node on one engine in
 * memory (D2). The part of the node that feeds machines (node/apply.c) is done here. */
#include "tests/sim/machine.h"

#include "placement/command.h"
#include "placement/placement.h"
#include "raftgroup/base/assert.h"
#include "shard/command.h"
#include "shard/membership.h"
#include "shard/result.h"
#include "shard/shard.h"
#include "tests/sim/engine_memory.h"
#include "tests/sim/world.h"

#include <stdio.h>

enum {
    EPOCH = 1,
    APPLY_MAX = 64,
    HASH_EVERY = 16, /* entries between two hashes of all rows of a shard */
    KEY_BYTES = 8
};

struct sim_machine {
    struct sim_store *store;
    unsigned group;
    struct shard_machine *machine;
    struct shard *shard;         /* NULL for placement */
    struct placement *placement; /* NULL for shards */
    raft_index durable;          /* checkpoint of the last flush */
};

struct sim_store {
    struct sim_world *world;
    unsigned node;
    struct shard_engine *engine;
    struct shard_gc gc;
    struct shard_batch *batch;
    struct sim_machine *machine[SIM_GROUPS_MAX + 1];
    uint64_t published; /* version of the last view */
    uint32_t started;   /* nodes seen started in it, bit per id */
};

/* ---- store ---- */

static struct sim_store *store_open(struct sim_world *world, unsigned node)
{
    struct sim_store *store = fl_xcalloc(1, sizeof(*store));
    struct shard_engine_options options;

    store->world = world;
    store->node = node;
    shard_engine_options_data(&options, &store->gc);
    fl_assert(shard_engine_open(&store->engine, &options, NULL, 0) == FL_OK);
    store->batch = shard_batch_create(store->engine, true);
    return store;
}

static void store_close(struct sim_store *store)
{
    shard_batch_destroy(store->batch);
    shard_engine_close(store->engine);
    free(store);
}

static void must(struct sim_store *store, enum fl_status status, const char *what)
{
    char why[128] = "";

    if (status != FL_OK || shard_engine_fault(store->engine, why, sizeof(why)) != FL_OK) {
        sim_violate(store->world, "machine", "%s: %s %s", what, fl_status_text(status), why);
    }
}

static void commit(struct sim_store *store)
{
    must(store, shard_batch_commit(store->batch, false), "commit");
}

static void forget_published(struct sim_store *store)
{
    store->published = 0;
    store->started = 0;
}

static void store_crash(struct sim_store *store, struct fl_prng *prng)
{
    shard_batch_clear(store->batch);
    sim_engine_crash(store->engine, prng);
    atomic_store(&store->gc.revision, 0);
    forget_published(store);
}

/* What the node does: checkpoint every machine, flush, then publish what garbage may go (SH-6). */
static void store_flush(struct sim_store *store)
{
    raft_index checkpoint[SIM_GROUPS_MAX + 1] = {0};
    uint64_t compact = UINT64_MAX;

    for (unsigned g = 1; g <= SIM_GROUPS_MAX; g++) {
        struct sim_machine *m = store->machine[g];
        struct shard_machine_status s;

        if (m == NULL) {
            continue;
        }
        m->machine->ops->checkpoint(m->machine, store->batch);
        m->machine->ops->status(m->machine, &s);
        checkpoint[g] = s.checkpoint_index;
        if (m->shard != NULL && s.compact_revision < compact) {
            compact = s.compact_revision;
        }
    }
    commit(store);
    must(store, shard_engine_flush(store->engine, true), "flush");
    for (unsigned g = 1; g <= SIM_GROUPS_MAX; g++) {
        if (store->machine[g] != NULL) {
            store->machine[g]->durable = checkpoint[g];
        }
    }
    if (compact != UINT64_MAX) {
        shard_gc_publish(&store->gc, compact);
    }
}

/* ---- descriptors and keys ---- */

/* Shards lie side by side: group g holds the keys that begin with its letter, the outer ones more.
 */
static struct fl_bytes make_key(unsigned group, uint8_t key, char text[KEY_BYTES])
{
    int n = snprintf(text, KEY_BYTES, "%ck%u", (char)('a' + group), key);

    return fl_bytes(text, (size_t)n);
}

static void describe(const struct sim_world *w,
                     unsigned group,
                     const struct raft_conf *conf,
                     struct shard_range *range)
{
    char low = (char)('a' + group);
    char high = (char)(low + 1);

    shard_range_init(range);
    range->group_id = group;
    range->version = EPOCH;
    range->conf_version = 1;
    range->generation = 1;
    range->next_replica_id = conf->n + 1U;
    range->replica_count = conf->n;
    for (unsigned i = 0; i < conf->n; i++) {
        range->replicas[i] = (struct shard_replica){.node_id = w->group[group].home[conf->id[i]],
                                                    .replica_id = conf->id[i],
                                                    .role = SHARD_REPLICA_VOTER};
    }
    if (group != PLACEMENT_GROUP_ID) {
        shard_range_set_interval(range,
                                 fl_bytes(&low, group > 2 ? 1 : 0),
                                 fl_bytes(&high, group < w->plan.groups ? 1 : 0));
    }
}

static void bootstrap(struct sim_store *store,
                      unsigned group,
                      const struct raft_conf *conf,
                      raft_index index,
                      raft_term term)
{
    struct shard_range range;

    describe(store->world, group, conf, &range);
    if (group == PLACEMENT_GROUP_ID) {
        placement_bootstrap(store->batch, &range, conf, index, term);
    } else {
        shard_bootstrap(store->batch, &range, conf, index, term, SHARD_REVISION_FIRST);
    }
    shard_range_close(&range);
    commit(store);
    must(store, shard_engine_flush(store->engine, true), "flush");
}

/* ---- life ---- */

/* Versions of views ascend (PL-4); a node that has started is never a mere seed again (PL-3), and
 * an id keeps the uuid it had (PL-7). */
static void published(void *context, struct placement_map_view *view)
{
    struct sim_store *store = context;
    const char *wrong = view->version < store->published ? "an older view is published" : NULL;

    for (size_t i = 0; i < placement_node_list_count(view->nodes); i++) {
        const struct placement_node *node = placement_node_list_at(view->nodes, i);

        if (node->uuid.bytes[1] != 0) {
            wrong = "a foreign disk has taken an id";
        } else if (node->state == PLACEMENT_NODE_STARTED) {
            store->started |= 1U << node->id;
        } else if ((store->started >> node->id & 1) != 0) {
            wrong = "the cluster is formed twice";
        }
    }
    if (wrong != NULL) {
        sim_violate(store->world, "placement", "node %u: %s", store->node, wrong);
    }
    store->published = view->version;
}

static struct sim_machine *open_machine(struct sim_store *store, unsigned group)
{
    struct sim_machine *m = fl_xcalloc(1, sizeof(*m));
    struct shard_machine_status s;

    m->store = store;
    m->group = group;
    if (group == PLACEMENT_GROUP_ID) {
        must(store, placement_open(store->engine, published, store, &m->placement), "open");
        m->machine = placement_machine(m->placement);
    } else {
        must(store, shard_open(store->engine, &store->gc, group, &m->shard), "open");
        m->machine = shard_machine(m->shard);
    }
    m->machine->ops->status(m->machine, &s);
    m->durable = s.checkpoint_index;
    store->machine[group] = m;
    return m;
}

static void close_machine(struct sim_machine *m)
{
    m->store->machine[m->group] = NULL;
    m->machine->ops->close(m->machine);
    free(m);
}

static void destroy(struct sim_machine *m)
{
    m->machine->ops->destroy(m->machine, m->store->batch);
    commit(m->store);
    must(m->store, shard_engine_flush(m->store->engine, true), "flush");
    if (m->placement != NULL) {
        forget_published(m->store);
    }
}

static void status(const struct sim_machine *m, struct sim_machine_status *out)
{
    struct shard_machine_status s;

    m->machine->ops->status(m->machine, &s);
    *out = (struct sim_machine_status){.applied = s.applied_index,
                                       .applied_term = s.applied_term,
                                       .checkpoint = s.checkpoint_index,
                                       .conf = s.conf};
}

static raft_index durable(const struct sim_machine *m)
{
    return m->durable;
}

static struct fl_bytes payload_bytes(const struct sim_payload *payload)
{
    return payload != NULL && payload->bytes != NULL ? fl_buf_bytes(payload->bytes)
                                                     : fl_bytes(NULL, 0);
}

static void relearn(struct sim_machine *m, const struct sim_apply *entry)
{
    struct shard_apply apply = {.index = entry->index,
                                .term = entry->term,
                                .type = entry->type,
                                .payload = payload_bytes(entry->payload)};

    m->machine->ops->relearn(m->machine, &apply);
}

/* ---- reading ---- */

static uint32_t value_of(struct fl_bytes bytes)
{
    uint32_t number = 0;

    for (size_t i = 0; i < bytes.len; i++) {
        number = number * 10 + (uint32_t)(bytes.data[i] - '0');
    }
    return number;
}

/* The value of the only key of a RANGE result; 0 without one. */
static uint32_t single_value(struct shard_result *range)
{
    struct shard_kv kv;

    return shard_result_next_kv(range, &kv) ? value_of(kv.value) : 0;
}

static void read_value(struct sim_machine *m, const struct sim_op *op, struct sim_outcome *out)
{
    char text[KEY_BYTES];
    struct shard_read read = {.key = make_key(m->group, op->command.key, text)};
    const struct shard_range *range;
    struct shard_read_at at;
    struct fl_buf *answer = NULL;
    struct shard_result result;

    *out = (struct sim_outcome){.status = FL_OK};
    if (m->placement != NULL) {
        out->value = (uint32_t)placement_view(m->placement)->version;
        return;
    }
    range = shard_descriptor(m->shard);
    at = (struct shard_read_at){.group_id = m->group, .start = range->start, .end = range->end};
    must(m->store, shard_read_execute(m->store->engine, &at, &read, &answer), "read");
    if (answer != NULL) {
        must(m->store, shard_result_decode(fl_buf_bytes(answer), &result), "read");
        out->value = single_value(&result);
    }
    fl_buf_release(answer);
}

/* ---- applying ---- */

static void
take_outcome(const struct sim_apply *entry, const struct shard_apply *from, struct sim_outcome *out)
{
    const struct sim_command *c = &entry->payload->command;
    struct shard_result result;
    struct shard_result part;

    *out = (struct sim_outcome){.status = from->status};
    if (c->kind == SIM_OP_MAP) {
        out->status = FL_OK; /* refused or not: it had its turn */
    }
    if (from->result == NULL || c->kind == SIM_OP_MAP ||
        shard_result_decode(fl_buf_bytes(from->result), &result) != FL_OK) {
        return;
    }
    out->succeeded = result.succeeded;
    out->deleted = (uint32_t)result.count;
    if (result.kind != SHARD_RESULT_TXN) {
        return;
    }
    if (result.succeeded) {
        (void)shard_result_next_response(&result, &part); /* the put */
    } else if (shard_result_next_response(&result, &part)) {
        out->value = single_value(&part);
    }
    if (c->kind == SIM_OP_TXN && shard_result_next_response(&result, &part)) {
        out->other = single_value(&part);
    }
}

/* What every replica must agree on. A repetition whose first answer is lost tells UNKNOWN on one
 * replica and the answer on another. */
static uint64_t digest_of(const struct shard_apply *from)
{
    uint64_t digest = sim_mix(from->index, from->status);

    if (from->status == FL_UNKNOWN) {
        return 0;
    }
    digest = sim_mix(digest, from->revision);
    return from->result != NULL ? sim_mix(digest, fl_bytes_hash(fl_buf_bytes(from->result)))
                                : digest;
}

static uint64_t hash_rows(struct sim_machine *m)
{
    struct shard_hash_result hash = {0};
    const struct shard_range *range;
    struct shard_read_at at;

    if (m->shard == NULL) {
        struct fl_writer w;
        uint64_t digest;

        fl_writer_init(&w);
        placement_map_view_encode(placement_view(m->placement), &w);
        digest = fl_bytes_hash(fl_writer_bytes(&w));
        fl_writer_close(&w);
        return digest;
    }
    range = shard_descriptor(m->shard);
    at = (struct shard_read_at){.group_id = m->group, .start = range->start, .end = range->end};
    must(m->store, shard_hash(m->store->engine, &at, 0, &hash), "hash");
    return sim_mix(sim_mix(hash.hash, hash.revision), hash.compact_revision);
}

/* Entries up to the next index at which all replicas hash their rows. */
static size_t until_hash(const struct sim_apply *entries, size_t n)
{
    size_t left = (HASH_EVERY - (size_t)(entries[0].index % HASH_EVERY)) % HASH_EVERY + 1;

    return n < left ? n : left;
}

static void apply_some(struct sim_machine *m, struct sim_apply *entries, size_t n)
{
    struct shard_apply shard[APPLY_MAX];

    for (size_t i = 0; i < n; i++) {
        shard[i] = (struct shard_apply){.index = entries[i].index,
                                        .term = entries[i].term,
                                        .type = entries[i].type,
                                        .want_result = true,
                                        .payload = payload_bytes(entries[i].payload)};
    }
    m->machine->ops->apply(m->machine, m->store->batch, shard, n);
    commit(m->store);
    for (size_t i = 0; i < n; i++) {
        entries[i].digest = digest_of(&shard[i]);
        entries[i].void_change = shard[i].type == RAFT_ENT_CONF && shard[i].status != FL_OK;
        if (shard[i].type == RAFT_ENT_NORMAL && entries[i].payload != NULL) {
            take_outcome(&entries[i], &shard[i], &entries[i].outcome);
        }
        fl_buf_release(shard[i].result);
    }
    if (entries[n - 1].index % HASH_EVERY == 0 && entries[n - 1].digest != 0) {
        entries[n - 1].digest = sim_mix(entries[n - 1].digest, hash_rows(m));
    }
}

static void apply(struct sim_machine *m, struct sim_apply *entries, size_t n)
{
    while (n != 0) {
        size_t some = until_hash(entries, n);

        fl_assert(some <= APPLY_MAX);
        apply_some(m, entries, some);
        entries += some;
        n -= some;
    }
}

/* ---- snapshots ---- */

/* Chunks as the machine cut them, each behind its length. */
static struct sim_image *image(struct sim_machine *m)
{
    struct shard_snapshot *snapshot = NULL;
    struct shard_snapshot_info info;
    struct sim_image *made;
    bool last = false;

    if (m->machine->ops->snapshot_open(m->machine, m->store->batch, &snapshot, &info) != FL_OK) {
        return NULL;
    }
    made = fl_xcalloc(1, sizeof(*made));
    made->refs = 1;
    made->index = info.index;
    made->term = info.term;
    made->conf = info.conf;
    while (!last && m->store->world->violation[0] == '\0') {
        struct fl_writer chunk;

        fl_writer_init(&chunk);
        must(m->store, m->machine->ops->snapshot_next(snapshot, &chunk, &last), "snapshot");
        fl_write_bytes(&made->bytes, fl_writer_bytes(&chunk));
        fl_writer_close(&chunk);
    }
    m->machine->ops->snapshot_close(snapshot);
    return made;
}

static void install(struct sim_machine *m, const struct sim_image *from)
{
    const struct shard_machine_ops *ops = m->machine->ops;
    struct fl_reader r = fl_reader(fl_writer_bytes(&from->bytes));
    struct shard_install *staging = NULL;
    struct shard_snapshot_info info;

    must(m->store, ops->install_begin(m->machine, "stage", &staging), "install");
    while (!fl_reader_done(&r) && m->store->world->violation[0] == '\0') {
        must(m->store, ops->install_chunk(staging, fl_read_bytes(&r)), "install");
    }
    must(m->store, ops->install_seal(staging, &info), "install");
    if (info.index != from->index || info.term != from->term) {
        must(m->store, FL_CORRUPT, "install");
    }
    must(m->store, ops->install_finish(m->machine, staging), "install");
    m->durable = from->index;
}

/* ---- commands ---- */

static struct fl_buf *put_command(unsigned group, const struct sim_command *c)
{
    char key[KEY_BYTES];
    char value[16];
    int n = snprintf(value, sizeof(value), "%u", c->value);
    struct shard_put put = {.key = make_key(group, c->key, key),
                            .value = fl_bytes(value, (size_t)n)};
    struct fl_buf *command = NULL;

    fl_assert(shard_command_put(&put, &command) == FL_OK);
    return command;
}

static struct fl_buf *delete_command(unsigned group, const struct sim_command *c)
{
    char key[KEY_BYTES];
    struct shard_delete del = {.key = make_key(group, c->key, key)};
    struct fl_buf *command = NULL;

    fl_assert(shard_command_delete(&del, &command) == FL_OK);
    return command;
}

/* CAS: if key == expect put it, else read it; TXN also reads the other key, either way. */
static struct fl_buf *txn_command(unsigned group, const struct sim_command *c)
{
    char key[KEY_BYTES];
    char other[KEY_BYTES];
    char value[16];
    char expect[16];
    int n = snprintf(value, sizeof(value), "%u", c->value);
    int e = snprintf(expect, sizeof(expect), "%u", c->expect);
    struct fl_bytes k = make_key(group, c->key, key);
    struct fl_bytes o = make_key(group, c->other, other);
    struct shard_compare compare = {.target = c->expect == 0 ? SHARD_COMPARE_VERSION
                                                             : SHARD_COMPARE_VALUE,
                                    .key = k,
                                    .value = fl_bytes(expect, (size_t)e)};
    struct shard_op then[] = {
        {.kind = SHARD_OP_PUT, .put = {.key = k, .value = fl_bytes(value, (size_t)n)}},
        {.kind = SHARD_OP_RANGE, .range = {.key = o}}};
    struct shard_op otherwise[] = {{.kind = SHARD_OP_RANGE, .range = {.key = k}},
                                   {.kind = SHARD_OP_RANGE, .range = {.key = o}}};
    size_t count = c->kind == SIM_OP_TXN ? 2 : 1;
    struct shard_txn txn = {.compares = &compare,
                            .compare_count = 1,
                            .then_ops = {then, count},
                            .else_ops = {otherwise, count}};
    struct fl_buf *command = NULL;

    fl_assert(shard_txn_validate(&txn) == FL_OK && shard_command_txn(&txn, &command) == FL_OK);
    return command;
}

/* ---- commands of placement ---- */

static void fill_node(unsigned id, uint32_t turn, char text[64], struct placement_node *node)
{
    int n = snprintf(text, 64, "http://10.0.0.%u:%u", id, turn % 7 + 2380);

    *node = (struct placement_node){.id = id,
                                    .uuid = {.bytes = {(uint8_t)id}},
                                    .name = fl_bytes("node", 4),
                                    .peer_urls = fl_bytes(text, (size_t)n),
                                    .client_urls = fl_bytes(text, (size_t)n),
                                    .state = PLACEMENT_NODE_STARTED};
}

static struct fl_buf *map_command(const struct sim_world *w, const struct sim_command *c)
{
    struct placement_node nodes[SIM_NODES_MAX];
    char text[SIM_NODES_MAX][64];
    struct fl_buf *command = NULL;
    struct placement_bootstrap form = {
        .cluster_id = 7, .nodes = nodes, .node_count = w->plan.nodes};

    for (unsigned i = 0; i < w->plan.nodes; i++) {
        fill_node(i + 1, c->value, text[i], &nodes[i]);
        nodes[i].state = PLACEMENT_NODE_SEED;
    }
    if (c->value % 16 < 2) {
        fl_assert(placement_command_bootstrap(&form, &command) == FL_OK);
    } else {
        struct placement_node *node = &nodes[c->value % w->plan.nodes];

        node->uuid.bytes[1] = c->value % 5 == 0 ? 1 : 0; /* sometimes a foreign disk (PL-7) */
        fl_assert(placement_command_node_update(node, &command) == FL_OK);
    }
    return command;
}

static void encode(struct sim_world *world, const struct sim_op *op, struct sim_payload *payload)
{
    const struct sim_command *c = &op->command;

    payload->command = *c;
    if (op->group == PLACEMENT_GROUP_ID) {
        payload->command.kind = SIM_OP_MAP;
        payload->bytes = map_command(world, c);
    } else {
        payload->bytes = c->kind == SIM_OP_PUT      ? put_command(op->group, c)
                         : c->kind == SIM_OP_DELETE ? delete_command(op->group, c)
                                                    : txn_command(op->group, c);
        /* A client is an origin of its own; it has at most one write at a time. */
        shard_command_set_origin(payload->bytes,
                                 (struct shard_origin){.node_id = op->client + 1, .boot = 1},
                                 op->serial,
                                 op->serial);
        shard_command_set_epoch(payload->bytes, EPOCH);
    }
    payload->len = payload->bytes->len;
}

static void encode_changes(struct sim_payload *payload, const uint64_t *node)
{
    struct shard_membership change = {.changes = *payload->changes};

    memcpy(change.node_id, node, sizeof(change.node_id));
    payload->bytes = shard_membership_encode(&change);
    payload->len = payload->bytes->len;
}

/* ---- in the end ---- */

static const char *compare(struct sim_machine *const *machines, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct shard_machine_status a;
        struct shard_machine_status b;

        machines[0]->machine->ops->status(machines[0]->machine, &a);
        machines[i]->machine->ops->status(machines[i]->machine, &b);
        if (hash_rows(machines[0]) != hash_rows(machines[i])) {
            return "rows differ";
        }
        if (a.revision != b.revision || a.compact_revision != b.compact_revision ||
            a.live_keys != b.live_keys || a.mark != b.mark) {
            return "applied states differ";
        }
    }
    return NULL;
}

const struct sim_machine_set sim_machine_real = {
    .name = "full",
    .dedupes = true,
    .store_open = store_open,
    .store_close = store_close,
    .store_crash = store_crash,
    .store_flush = store_flush,
    .bootstrap = bootstrap,
    .open = open_machine,
    .close = close_machine,
    .destroy = destroy,
    .status = status,
    .durable = durable,
    .relearn = relearn,
    .apply = apply,
    .read = read_value,
    .image = image,
    .install = install,
    .encode = encode,
    .encode_changes = encode_changes,
    .compare = compare,
};
