/* What the transport needs of a loop beyond loop.h: libuv's handle of it.
 *
 * Owner: loop.c. Lifetime: of the loop. Threads: the loop's own, or any before it is started. */
#ifndef NODE_LOOP_INTERNAL_H
#define NODE_LOOP_INTERNAL_H

#include "node/loop.h"

#include <uv.h>

uv_loop_t *node__loop_uv(struct node_loop *loop);
/* Makes sure a turn follows without waiting. libuv runs timers and close callbacks after the turn
 * and before the wait; whoever calls out of one of those says so here. */
void node__loop_hurry(struct node_loop *loop);

#endif
