/* A node in memory behind node/node.h, for tests of the doors: one range, one thread, no disk.
 *
 * Owner: the test. Lifetime: node_open to node_close. Threads: as node/node.h; the controls below
 * from any thread.
 *
 * It keeps the newest version of every key (no history), applies commands as the shard's rules say
 * and answers from its own thread, never from node_submit. */
#ifndef TESTS_API_FAKE_NODE_H
#define TESTS_API_FAKE_NODE_H

#include "node/node.h"

#define FAKE_CLUSTER_ID UINT64_C(0xf107)
#define FAKE_NODE_ID    UINT64_C(0x11)
#define FAKE_TERM       UINT64_C(7)

/* The next `count` requests are answered with `status` and change nothing. */
void fake_node_fail(struct node *node, enum fl_status status, unsigned count);
/* Requests wait (true) until they are let go (false) or the node is closed. */
void fake_node_hold(struct node *node, bool hold);
/* Requests submitted so far. */
uint64_t fake_node_submitted(struct node *node);
/* Publishes a view with this many nodes and ranges; ranges are led in turn by the nodes. */
void fake_node_publish(struct node *node, size_t nodes, size_t ranges, bool ready);
/* What node_wait returns: the node was refused by its cluster. */
void fake_node_refuse(struct node *node, const char *sentence);

#endif
