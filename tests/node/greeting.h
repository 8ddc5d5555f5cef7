/* Handshakes by hand at a real peer port, for tests that play a stranger.
 *
 * Owner: the test owns the socket. Lifetime: of the socket. Threads: any; calls block, a read for
 * at most GREETING_WAIT_S. */
#ifndef TESTS_NODE_GREETING_H
#define TESTS_NODE_GREETING_H

#include "node/hello.h"

#include <stdint.h>

#define GREETING_WAIT_S 20

/* A socket with the limit set, and one that is connected to 127.0.0.1:port. */
int greeting_socket(void);
void greeting_connect(int fd, uint16_t port);
int greeting_dial(uint16_t port);
/* Sends bytes as they are. */
void greeting_send(int fd, const void *data, size_t len);
void greeting_say(int fd, const struct node_hello *hello);
/* Waits for the answer. */
void greeting_hear(int fd, struct node_answer *answer);

#endif
