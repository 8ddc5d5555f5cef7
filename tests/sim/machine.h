/* The port between the simulated world and the machines its entries drive.
 *
 * Owner: a node owns its store, a replica its machine; images are counted.
 * Lifetime: store_open .. store_close, open .. close. Threads: one.
 *
 * Two sets exist: the tiny machine (machine_tiny.c: a few registers, for speed) and the real ones
 * (machine_real.c: shards and placement on an engine in memory). A store is what a node's disk
 * holds of all machines; a crash keeps a random prefix of what was written since the last flush
 * (D3). */
#ifndef TESTS_SIM_MACHINE_H
#define TESTS_SIM_MACHINE_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/prng.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"
#include "tests/sim/op.h"

#include <stdbool.h>
#include <stdint.h>

struct sim_world;
struct sim_store;
struct sim_machine;

/* What an entry carries. */
struct sim_payload {
    struct sim_command command;   /* tiny machine */
    struct raft_changes *changes; /* CONF entries; NULL: leave joint */
    struct fl_buf *bytes;         /* real machines */
    uint32_t len;                 /* as the core counts it */
};

struct sim_apply {
    raft_index index;
    raft_term term;
    uint8_t type;
    const struct sim_payload *payload; /* NULL: empty */
    struct sim_outcome outcome;
    uint64_t digest;  /* out: equal on every replica; 0: nothing to compare */
    bool void_change; /* out: a CONF entry that turned out to change nothing */
};

struct sim_machine_status {
    raft_index applied;
    raft_term applied_term;
    raft_index checkpoint; /* entries behind it are told again to `relearn` */
    const struct raft_conf *conf;
    uint64_t digest; /* equal on replicas that applied the same entries; 0: not known */
};

/* A snapshot on its way; immutable. */
struct sim_image {
    unsigned refs;
    raft_index index;
    raft_term term;
    uint64_t chain; /* of the log at `index`; the world's */
    struct raft_conf conf;
    struct fl_writer bytes; /* the machine's */
};

struct sim_machine_set {
    const char *name;
    bool dedupes; /* a write may be proposed again while an earlier proposal is in doubt */
    struct sim_store *(*store_open)(struct sim_world *world, unsigned node);
    void (*store_close)(struct sim_store *store);
    /* All machines are closed; some suffix of what was never flushed is lost. */
    void (*store_crash)(struct sim_store *store, struct fl_prng *prng);
    /* Everything written so far is durable; checkpoints every open machine first. */
    void (*store_flush)(struct sim_store *store);

    /* Writes the state of a new replica: nothing applied beyond (index, term). */
    void (*bootstrap)(struct sim_store *store,
                      unsigned group,
                      const struct raft_conf *conf,
                      raft_index index,
                      raft_term term);
    /* A machine without state waits for a snapshot: applied == 0. */
    struct sim_machine *(*open)(struct sim_store *store, unsigned group);
    void (*close)(struct sim_machine *machine);
    /* Deletes the replica's state, durably (D6). Then close. */
    void (*destroy)(struct sim_machine *machine);
    void (*status)(const struct sim_machine *machine, struct sim_machine_status *status);
    /* What a crash now would leave at least. */
    raft_index (*durable)(const struct sim_machine *machine);
    void (*relearn)(struct sim_machine *machine, const struct sim_apply *entry);
    void (*apply)(struct sim_machine *machine, struct sim_apply *entries, size_t n);
    /* A GET at what is applied. */
    void (*read)(struct sim_machine *machine, const struct sim_op *op, struct sim_outcome *out);

    /* One reference; NULL when the machine holds nothing. */
    struct sim_image *(*image)(struct sim_machine *machine);
    /* Replaces the state, durable on return (D5). */
    void (*install)(struct sim_machine *machine, const struct sim_image *image);

    /* Makes the payload of a write. */
    void (*encode)(struct sim_world *world, const struct sim_op *op, struct sim_payload *payload);
    /* Makes the payload of a membership change; node[i] is the home of changes->op[i].id. */
    void (*encode_changes)(struct sim_payload *payload, const uint64_t *node);
    /* Looks at all replicas of a group when the run is over: NULL, or what is wrong. */
    const char *(*compare)(struct sim_machine *const *machines, size_t count);
};

extern const struct sim_machine_set sim_machine_tiny;
extern const struct sim_machine_set sim_machine_real;

struct sim_image *sim_image_acquire(struct sim_image *image);
void sim_image_release(struct sim_image *image);

#endif
