/* One client of a chaos run: random operations on a small set of keys, each recorded.
 *
 * Owner: the thread that runs it. Lifetime: until chaos_client_destroy. Threads: one per client;
 * `stop` and the recorder are shared.
 *
 * Keys are a first byte and a number. The first bytes lie in different ranges of a keyspace cut
 * evenly over the printable bytes; a txn stays with one first byte, a range spans several. */
#ifndef TESTS_E2E_CHAOS_CLIENT_H
#define TESTS_E2E_CHAOS_CLIENT_H

#include "raftgroup/base/prng.h"
#include "tests/e2e/recorder.h"

enum {
    CHAOS_FIRST_COUNT = 8,
    CHAOS_PER_FIRST = 3,
    CHAOS_KEY_COUNT = CHAOS_FIRST_COUNT * CHAOS_PER_FIRST,
    CHAOS_NODES_MAX = 9,
    CHAOS_KEY_SIZE = 8,
};

struct chaos_config {
    const char *endpoints[CHAOS_NODES_MAX];
    size_t node_count;
    int timeout_ms; /* of one call */
    int pause_ms;   /* between two operations of a client, on average */
    uint64_t seed;
};

struct chaos_counts {
    uint64_t ok, failed, unknown;
};

struct chaos_client;

/* A client of its own number, connected (when it first calls) to every node. */
struct chaos_client *
chaos_client_create(const struct chaos_config *config, struct recorder *recorder, uint64_t seed);

/* Runs random operations until `*stop` is set. */
void chaos_client_run(struct chaos_client *client, const atomic_bool *stop);

/* Reads `key` linearizably through node `node` (from 0), again until it succeeds, at most until
 * `until_ns`. The successful read is recorded. */
bool chaos_client_read_settled(struct chaos_client *client, int key, size_t node, int64_t until_ns);

/* Asks node `node` for its hash at `revision`, again until it answers, at most until `until_ns`; 0
 * takes the current revision of a read. Records it and gives the revision back in `revision`. */
bool chaos_client_hash(struct chaos_client *client,
                       size_t node,
                       int64_t *revision,
                       int64_t until_ns);

/* What its operations came to. */
struct chaos_counts chaos_client_counts(const struct chaos_client *client);

/* Name of key `key`, into `out` of CHAOS_KEY_SIZE bytes. */
void chaos_key_name(int key, char *out);

void chaos_client_destroy(struct chaos_client *client);

#endif
