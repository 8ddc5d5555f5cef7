/* The guard in front of accept4; linking it in is enough.
 *
 * Owner: the process. Lifetime: its. Threads: any. */
#ifndef API_ACCEPT_GUARD_H
#define API_ACCEPT_GUARD_H

#include <stdatomic.h>
#include <stdint.h>

/* Connections closed at once for want of file descriptors. */
uint64_t api_accept_guard_refused(void);

#endif
