/* shard/engine.h in memory, with an explicit durable prefix: what a crash leaves (D3).
 *
 * Owner, lifetime, threads: as shard/engine.h, but one thread.
 *
 * Every commit has a number; a row keeps its versions back to the newest durable one. A flush makes
 * all numbers so far durable, a crash picks one between the last flush and now and forgets what
 * came after it. Linked before the real engine, it takes its place. */
#ifndef TESTS_SIM_ENGINE_MEMORY_H
#define TESTS_SIM_ENGINE_MEMORY_H

#include "raftgroup/base/prng.h"
#include "shard/engine.h"

/* The process died: a random prefix of what was committed since the last flush is kept. No batch
 * content, snapshot, iterator or value survives; files not ingested are gone. */
void sim_engine_crash(struct shard_engine *engine, struct fl_prng *prng);

#endif
