/* Threads that write through every node of a cluster, one key each, and know what they were told.
 *
 * Owner: the test. Lifetime: writers_start to writers_destroy. Threads: the test's, but for the
 * atomics of a writer, which any may read. */
#ifndef TESTS_NODE_CLUSTER_WRITERS_H
#define TESTS_NODE_CLUSTER_WRITERS_H

#include "tests/node/cluster_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WRITERS        6
#define WRITER_WAIT_MS 2000 /* deadline of one write */

/* Writes 1, 2, 3 .. to a key of its own, one after the other, through the nodes in turn. */
struct writer {
    pthread_t thread;
    struct writers *all;
    unsigned number;
    char key[16];
    _Atomic uint64_t attempted;
    _Atomic uint64_t revision; /* of the newest write answered with FL_OK */
    uint64_t acknowledged;     /* its value */
    uint64_t ok;               /* answers, by what they say */
    uint64_t unknown;
    uint64_t refused;
    enum fl_status why; /* the newest unknown one */
    bool fell_back;     /* a revision was not above the one before */
};

struct writers {
    struct cluster *cluster;
    struct writer writer[WRITERS];
    atomic_bool stop;
    pthread_mutex_t lock; /* of cluster->nodes[].node, and who uses it */
    pthread_cond_t changed;
    unsigned users[CLUSTER_NODES_MAX];
    bool closing[CLUSTER_NODES_MAX];
};

/* Starts them. A test that fails leaves them as they are. */
struct writers *writers_start(struct cluster *cluster);
/* Every writer has been answered `count` times more. */
void writers_go_on(struct writers *all, uint64_t count);
/* Closes a node under them: with requests of its own under way, or (`wait`) after they have left.
 */
void writers_close_node(struct writers *all, unsigned i, bool wait);
/* Opens it again; returns when every node is ready. */
void writers_open_node(struct writers *all, unsigned i);
/* Ends them and judges: nothing acknowledged is lost, nothing that was certainly refused is
 * applied, nothing is applied twice, revisions follow real time. */
void writers_stop(struct writers *all);
void writers_destroy(struct writers *all);

#endif
