/* The bug a simulator has put back. Part of the testonly target :mutants and of nothing else. */
#include "raftgroup/bugs.h"

#ifdef RG_MUTANTS
enum raft_bug raft__bug = RG_BUG_NONE;
#endif
