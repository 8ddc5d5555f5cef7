/* A node's networking alone, for tests: loops, transports and a listener on loopback, whose hooks
 * write down what happens.
 *
 * Owner: the test. Lifetime: net_open to net_close.
 * Threads: the test's; `seen` is shared with the loops under its lock (NET_WAIT takes it).
 *
 * A message of the tests is its number on its lane (u64) followed by bytes that depend on it. */
#ifndef TESTS_NODE_NET_NODE_H
#define TESTS_NODE_NET_NODE_H

#include "node/transport.h"

#include <pthread.h>

#define NET_LANES   3
#define NET_WAIT_S  20 /* for what must happen; nothing waits this long unless a test fails */
#define NET_CLUSTER UINT64_C(0xc1)

struct net_options {
    uint64_t id;
    uint32_t boot;
    uint16_t port;          /* 0: the kernel's */
    unsigned loops;         /* 2: lane 1 lives on a loop of its own; 0 means 1 */
    size_t queue_bytes_max; /* 0: defaults, as below */
    uint64_t handshake_timeout_ms;
    uint64_t backoff_max_ms;
    unsigned handshakes_max;
    uint64_t cluster_id;    /* 0: NET_CLUSTER */
    enum fl_status verdict; /* what the check of dialers answers at first */
    const char *sentence;
};

struct net_node {
    struct net_options options;
    struct node_loop *loops[2];
    struct node_transport *transports[2];
    struct node_listener *listener;
    uint16_t port;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        enum fl_status verdict; /* what the check of dialers answers */
        bool hold;              /* the message hook waits while this is set */
        bool holding;           /* .. and it does */
        bool close_in_message;  /* the message hook closes its transport */
        bool remove_in_down;    /* the down hook removes the peer */
        unsigned up[2];         /* by direction */
        unsigned down[2];
        const char *reason[2]; /* of the last down */
        bool down_before_up;   /* directions are announced alternately */
        uint32_t boot;         /* of the last up */
        uint64_t up_peer;
        uint64_t messages[NET_LANES];
        uint64_t bytes;
        bool wrong; /* content or order */
        unsigned unreachable;
        unsigned drained;
        unsigned refused;
        enum fl_status refused_status;
        char refused_sentence[NODE_SENTENCE_BYTES_MAX + 1];
        bool turned;     /* a turn followed the last up or down */
        unsigned closed; /* transports and listener */
    } seen;
};

/* Waits until the condition over node->seen holds; fails the test after NET_WAIT_S. */
#define NET_WAIT(node, condition)                                                                  \
    do {                                                                                           \
        net_lock(node);                                                                            \
        while (!(condition)) {                                                                     \
            net_wait_change(node, #condition);                                                     \
        }                                                                                          \
        net_unlock(node);                                                                          \
    } while (0)

/* Fails the test unless the condition over node->seen holds now. */
#define NET_SEES(node, condition)                                                                  \
    do {                                                                                           \
        bool net_holds_;                                                                           \
        net_lock(node);                                                                            \
        net_holds_ = (condition);                                                                  \
        net_unlock(node);                                                                          \
        assert_true(net_holds_);                                                                   \
    } while (0)

void net_lock(struct net_node *node);
void net_unlock(struct net_node *node);
void net_wait_change(struct net_node *node, const char *what);

void net_open(struct net_node *node, const struct net_options *options);
void net_close(struct net_node *node);

/* The hello of a node like this. */
void net_hello(const struct net_options *options, uint32_t lane, struct node_hello *hello);
/* Makes `peer` known to `node` under http://127.0.0.1:port, on all loops. */
void net_peer(struct net_node *node, uint64_t peer, uint16_t port);
void net_peer_url(struct net_node *node, uint64_t peer, const char *urls);
void net_forget(struct net_node *node, uint64_t peer);
void net_reset(struct net_node *node, uint64_t peer);
/* Both nodes know each other and all lanes are up in both directions. */
void net_connect(struct net_node *a, struct net_node *b);

/* Sends messages number first .. first + count - 1 of `size` bytes in one turn; stops at the first
 * that is dropped. Returns how many were taken. `size` 0 means: random by the number. */
unsigned net_send(struct net_node *node,
                  uint64_t peer,
                  uint32_t lane,
                  uint64_t first,
                  unsigned count,
                  size_t size);
bool net_is_up(struct net_node *node, uint64_t peer, uint32_t lane);
size_t net_queued(struct net_node *node, uint64_t peer, uint32_t lane);

/* How often `up` was called. */
unsigned net_ups(struct net_node *node, enum node_direction direction);

/* Runs `run(arg)` on the loop of `lane` and waits for it. */
void net_call(struct net_node *node, uint32_t lane, void (*run)(void *arg), void *arg);

#endif
