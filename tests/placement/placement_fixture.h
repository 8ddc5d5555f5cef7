/* One replica of the placement group for tests: a real engine in a directory of its own, the
 * machine, and what it published.
 *
 * Owner: the test. Lifetime: replica_empty or replica_fresh to replica_destroy. Threads: one. */
#ifndef TESTS_PLACEMENT_PLACEMENT_FIXTURE_H
#define TESTS_PLACEMENT_PLACEMENT_FIXTURE_H

#include "placement/command.h"
#include "placement/placement.h"

#include <stddef.h>
#include <stdint.h>

struct replica {
    char path[256];
    struct shard_engine *engine;
    struct shard_batch *batch;
    struct placement *placement;
    struct shard_machine *machine;
    struct placement_map_view *published; /* the last one */
    size_t publications;
    uint64_t index;
};

/* An engine without rows; the machine is not open. Any failure here and below fails the test. */
struct replica *replica_empty(void);
/* A replica of a fresh group of three nodes (100, 200, 300), applied up to 5, open. */
struct replica *replica_fresh(void);
/* Opens and closes the machine alone; the engine and its batch stay. */
void replica_machine_open(struct replica *replica);
void replica_machine_close(struct replica *replica);
/* Closes machine and engine and opens them again. */
void replica_reopen(struct replica *replica);
/* The machine must be closed. Removes the directory. */
void replica_destroy(struct replica *replica);

/* Applies one entry as the next index and leaves the batch uncommitted. */
enum fl_status
replica_apply_pending(struct replica *replica, enum raft_ent_type type, struct fl_bytes payload);
/* Applies one command and commits; takes the reference. */
enum fl_status replica_apply(struct replica *replica, struct fl_buf *command);

/* A seed with a uuid that follows from its id, in datacentre id / 100. */
struct placement_node fixture_node(uint64_t id);
/* Commands, one reference each. */
struct fl_buf *fixture_bootstrap(uint64_t cluster_id, uint32_t ranges);
struct fl_buf *fixture_update(uint64_t id, const char *client_urls);
struct fl_buf *fixture_command(uint8_t kind, const char *body);

/* Fails unless the views encode alike. */
void fixture_same_view(const struct placement_map_view *a, const struct placement_map_view *b);

#endif
