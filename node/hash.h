/* Hash tables inside structs: uthash with a hash function of ours.
 *
 * Owner, lifetime, threads: the table's. Keys are numbers of our own making, never a client's.
 *
 * The function that comes with uthash falls through its switch, which clang refuses under our
 * warnings, and costs more than the look-up. */
#ifndef NODE_HASH_H
#define NODE_HASH_H

#include "raftgroup/base/bytes.h"

#define HASH_FUNCTION(key, key_bytes, value)                                                       \
    ((value) = (unsigned)fl_bytes_hash(fl_bytes((key), (key_bytes))))

#include <uthash.h>

#endif
