/* A network between nodes that can be cut: one loopback port before each node's own.
 *
 * Owner: the cluster fixture. Lifetime: cluster_proxy_create to cluster_proxy_destroy.
 * Threads: one of its own carries the bytes; the calls come from the test's.
 *
 * Nodes send on connections they dial themselves, so what goes through the port of node i is what
 * node i hears: a blocked node is deaf, but the others still hear it. */
#ifndef TESTS_NODE_CLUSTER_PROXY_H
#define TESTS_NODE_CLUSTER_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#define CLUSTER_PROXY_MAX 3

struct cluster_proxy;

/* Ports 0 .. count - 1 lead to 127.0.0.1:targets[i]. */
struct cluster_proxy *cluster_proxy_create(const uint16_t *targets, unsigned count);
void cluster_proxy_destroy(struct cluster_proxy *proxy);
uint16_t cluster_proxy_port(const struct cluster_proxy *proxy, unsigned i);
/* Closes every connection there is; new ones are carried. Returns when it is done. */
void cluster_proxy_cut(struct cluster_proxy *proxy);
/* Closes the connections to node i and takes no new ones, until unblocked. */
void cluster_proxy_block(struct cluster_proxy *proxy, unsigned i, bool blocked);

#endif
