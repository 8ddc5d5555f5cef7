/* A few registers per group: the machine for speed. Its state is one small struct, so durability is
 * a list of the states written since the last flush. */
#include "tests/sim/machine.h"

#include "raftgroup/base/alloc.h"
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

enum { KEYS = 8 };

struct state {
    raft_index applied;
    raft_term term;
    uint64_t digest;
    struct raft_conf conf;
    uint32_t value[KEYS];
};

struct written { /* one write to the store */
    unsigned group;
    struct state state;
};

struct sim_store {
    struct sim_world *world;
    struct state durable[SIM_GROUPS_MAX + 1];
    struct state now[SIM_GROUPS_MAX + 1];
    struct written *written; /* since the last flush */
    size_t nwritten;
    size_t capacity;
};

struct sim_machine {
    struct sim_store *store;
    unsigned group;
};

static struct sim_store *store_open(struct sim_world *world, unsigned node)
{
    struct sim_store *store = fl_xcalloc(1, sizeof(*store));

    (void)node;
    store->world = world;
    return store;
}

static void store_close(struct sim_store *store)
{
    free(store->written);
    free(store);
}

static void store_flush(struct sim_store *store)
{
    memcpy(store->durable, store->now, sizeof(store->durable));
    store->nwritten = 0;
}

static void store_crash(struct sim_store *store, struct fl_prng *prng)
{
    size_t kept = (size_t)fl_prng_below(prng, store->nwritten + 1);

    memcpy(store->now, store->durable, sizeof(store->now));
    for (size_t i = 0; i < kept; i++) {
        store->now[store->written[i].group] = store->written[i].state;
    }
    store_flush(store);
}

static void note(struct sim_store *store, unsigned group)
{
    fl_grow(&store->written, &store->capacity, store->nwritten + 1, sizeof(*store->written));
    store->written[store->nwritten++] =
        (struct written){.group = group, .state = store->now[group]};
}

static void bootstrap(struct sim_store *store,
                      unsigned group,
                      const struct raft_conf *conf,
                      raft_index index,
                      raft_term term)
{
    store->now[group] = (struct state){.applied = index, .term = term, .digest = 1};
    store->now[group].conf = *conf;
    note(store, group);
    store_flush(store);
}

static struct sim_machine *open_machine(struct sim_store *store, unsigned group)
{
    struct sim_machine *machine = fl_xcalloc(1, sizeof(*machine));

    machine->store = store;
    machine->group = group;
    return machine;
}

static void close_machine(struct sim_machine *machine)
{
    free(machine);
}

static struct state *state_of(const struct sim_machine *machine)
{
    return &machine->store->now[machine->group];
}

static void destroy(struct sim_machine *machine)
{
    *state_of(machine) = (struct state){0};
    note(machine->store, machine->group);
    store_flush(machine->store);
}

static void status(const struct sim_machine *machine, struct sim_machine_status *out)
{
    const struct state *s = state_of(machine);

    *out = (struct sim_machine_status){.applied = s->applied,
                                       .applied_term = s->term,
                                       .checkpoint = s->applied,
                                       .conf = &s->conf,
                                       .digest = s->digest};
}

static raft_index durable(const struct sim_machine *machine)
{
    return machine->store->durable[machine->group].applied;
}

static void relearn(struct sim_machine *machine, const struct sim_apply *entry)
{
    (void)machine;
    (void)entry;
}

static void apply_command(struct state *s, const struct sim_command *c, struct sim_outcome *out)
{
    uint32_t *value = &s->value[c->key % KEYS];

    *out = (struct sim_outcome){.status = FL_OK, .succeeded = true};
    switch ((enum sim_op_kind)c->kind) {
    case SIM_OP_PUT:
        *value = c->value;
        break;
    case SIM_OP_DELETE:
        out->deleted = *value != 0 ? 1 : 0;
        *value = 0;
        break;
    case SIM_OP_CAS:
    case SIM_OP_TXN:
        out->succeeded = *value == c->expect;
        out->value = *value;
        out->other = s->value[c->other % KEYS];
        *value = out->succeeded ? c->value : *value;
        break;
    case SIM_OP_GET:
    case SIM_OP_MAP:
        break;
    }
}

static void apply_one(struct state *s, struct sim_apply *entry)
{
    static const struct raft_changes leave = {.transition = RAFT_CONF_AUTO};

    s->applied = entry->index;
    s->term = entry->term;
    s->digest = sim_mix(s->digest, entry->index << 8 | entry->type);
    if (entry->type == RAFT_ENT_CONF) {
        entry->void_change =
            raft_conf_change(&s->conf, entry->payload != NULL ? entry->payload->changes : &leave) !=
            FL_OK;
        s->digest = sim_mix(
            s->digest, (uint64_t)s->conf.in << 32 | (uint64_t)s->conf.out << 16 | s->conf.learners);
    } else if (entry->payload != NULL) {
        apply_command(s, &entry->payload->command, &entry->outcome);
        s->digest = sim_mix(s->digest, s->value[entry->payload->command.key % KEYS]);
    }
    entry->digest = s->digest;
}

static void apply(struct sim_machine *machine, struct sim_apply *entries, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        apply_one(state_of(machine), &entries[i]);
    }
    note(machine->store, machine->group);
}

static void
read_value(struct sim_machine *machine, const struct sim_op *op, struct sim_outcome *out)
{
    *out = (struct sim_outcome){.status = FL_OK,
                                .value = state_of(machine)->value[op->command.key % KEYS]};
}

static struct sim_image *image(struct sim_machine *machine)
{
    const struct state *s = state_of(machine);
    struct sim_image *made;

    if (s->applied == 0) {
        return NULL;
    }
    made = fl_xcalloc(1, sizeof(*made));
    made->refs = 1;
    made->index = s->applied;
    made->term = s->term;
    made->conf = s->conf;
    fl_write_raw(&made->bytes, fl_bytes(s, sizeof(*s)));
    return made;
}

static void install(struct sim_machine *machine, const struct sim_image *from)
{
    memcpy(state_of(machine), from->bytes.data, sizeof(struct state));
    note(machine->store, machine->group);
    store_flush(machine->store);
}

static void encode(struct sim_world *world, const struct sim_op *op, struct sim_payload *payload)
{
    payload->command = op->command;
    payload->len = (uint32_t)sim_between(&world->client_prng, 10, 200);
}

static void encode_changes(struct sim_payload *payload, const uint64_t *node)
{
    (void)node;
    payload->len = 12;
}

static const char *compare(struct sim_machine *const *machines, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const struct state *a = state_of(machines[0]);
        const struct state *b = state_of(machines[i]);

        if (memcmp(a->value, b->value, sizeof(a->value)) != 0 || a->digest != b->digest) {
            return "registers differ";
        }
    }
    return NULL;
}

const struct sim_machine_set sim_machine_tiny = {
    .name = "core",
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
