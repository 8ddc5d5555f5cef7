/* A simulator with both sets of machines. */
#include "tests/sim/run.h"

#include "raftgroup/base/log.h"

const struct sim_machine_set *sim_machines(bool full)
{
    fl_log_set_level(FL_LOG_ERROR); /* a thousand snapshots are installed in a run */
    return full ? &sim_machine_real : &sim_machine_tiny;
}
