/* A simulator of the core alone: no real machines, hence nothing but raftgroup below. */
#include "tests/sim/run.h"

const struct sim_machine_set *sim_machines(bool full)
{
    return full ? NULL : &sim_machine_tiny;
}
