/* Known bugs of Raft implementations that can be put back, to prove that the simulators find them.
 *
 * Owner:    the target :mutants; raft__bug is the one bug switched on.
 * Lifetime: set once before the first group is opened.
 * Threads:  set before there are any.
 *
 * RG_BUG(E26) stands in the line of the rule that E26 of the scenarios broke elsewhere. It is the
 * constant 0, so the compiled core is the same with and without it; only the testonly target
 * :mutants, which simulators alone may use, makes it a question. A name after the id tells two bugs
 * under one id apart. */
#ifndef RAFTGROUP_BUGS_H
#define RAFTGROUP_BUGS_H

/* X(id, what is broken) */
#define RG_BUGS(X)                                                                                 \
    X(E2, "a vote leaves before the record it rests on is durable")                                \
    X(E2_ACK, "an acknowledgement leaves before its entries are durable")                          \
    X(E3, "a vote of an older term counts")                                                        \
    X(E6, "logs are compared by length before term")                                               \
    X(E6_EQUAL, "a candidate must have a longer log, not an equal one")                            \
    X(E7, "behind a snapshot the empty log has last term 0")                                       \
    X(E9, "a second candidate of a term gets a vote, too")                                         \
    X(E13, "a pre-candidate goes on believing in its leader")                                      \
    X(E14, "a refused pre-vote does not teach its higher term")                                    \
    X(E16, "a late pre-vote counts as a vote")                                                     \
    X(E17, "an old leader is not told the newer term")                                             \
    X(E21, "the vote is forgotten when the role changes")                                          \
    X(E24, "a vote is given although a leader is alive (leases)")                                  \
    X(E26, "vote requests leave before term, vote and log tail are durable")                       \
    X(E26_SELF, "the own vote counts before it is durable")                                        \
    X(C1, "entries of older terms commit by counting")                                             \
    X(C3, "a follower commits entries this leader has not verified")                               \
    X(C3_BEAT, "commit in a beat or vote is believed without its term")                            \
    X(C4, "commit goes back")                                                                      \
    X(C5, "a follower acknowledges its own tail")                                                  \
    X(C6, "a late answer lowers match")                                                            \
    X(C7, "a refusal lowers next to match or below")                                               \
    X(C8, "a refusal advances match")                                                              \
    X(C9, "entries are deleted without a conflict")                                                \
    X(C10, "an append that begins in the compacted part is refused")                               \
    X(C12, "an append is sent whose previous entry is compacted")                                  \
    X(C16, "half of an even number of members is a quorum")                                        \
    X(C16_VOTE, "half of an even number of votes wins")                                            \
    X(C17, "learners count for commit")                                                            \
    X(C18, "the leader's own copy counts before it is durable")                                    \
    X(C18_APPLY, "entries are applied before they are durable here")                               \
    X(C19, "a full window never opens when its messages are lost")                                 \
    X(C20, "the window is emptied, its byte counter is not")                                       \
    X(C21, "the quota of uncommitted bytes is never given back")                                   \
    X(C29, "what waits for its turn begins to wait anew each time")                                \
    X(C29_DEADLINE, "something waits for its turn and no deadline names it")                       \
    X(C29_SLOTS, "who is sent to at once is not chosen anew when members change")                  \
    X(D1, "a record in flight vouches for what replaced its entries (ABA)")                        \
    X(D2, "truncation leaves the durable mark where it was")                                       \
    X(D5, "commit after a crash during an install is below the snapshot")                          \
    X(D7, "truncated entries stay on disk")                                                        \
    X(D9, "a machine ahead of the stored commit is refused at open")                               \
    X(D10, "a new leader appends no entry of its own")                                             \
    X(N1, "the configuration in a snapshot is ignored")                                            \
    X(N3, "membership entries covered by a snapshot stay listed")                                  \
    X(N4, "a snapshot older than commit is installed")                                             \
    X(N4_TAIL, "a snapshot that matches the log takes its tail away")                              \
    X(N9, "a receiver that went away stays in SNAPSHOT for ever")                                  \
    X(M2_CAMPAIGN, "campaign with a committed change not applied")                                 \
    X(M2_PENDING, "a change is appended before the last one is applied")                           \
    X(M2_LEADER, "a new leader forgets that a change may be pending")                              \
    X(M4, "who does not know its promotion yet does not vote")                                     \
    X(M5, "votes do not carry commit")                                                             \
    X(M6, "a truncated membership entry stays listed")                                             \
    X(M10, "commit and reads ask the new half only")                                               \
    X(M10_VOTE, "votes ask the new half only")                                                     \
    X(M11, "joint is left at once or never")                                                       \
    X(M19, "a change to no voters is taken")                                                       \
    X(R1, "a leader answers reads before it commits in its own term")                              \
    X(R2, "a read is confirmed by a round begun before it")                                        \
    X(R3, "a read waits for what is applied, not committed")                                       \
    X(R4, "reads waiting at a step-down are answered ok")                                          \
    X(R4_SILENT, "reads waiting at a step-down are forgotten")                                     \
    X(R5, "leases and reads go on during a transfer")                                              \
    X(R6, "a lease counts from the answer, not from the beat")                                     \
    X(R7, "a restarted voter forgets the lease it granted")                                        \
    X(T1, "a transfer that fails never ends")                                                      \
    X(T3, "losing leadership leaves the transfer running")                                         \
    X(P3, "entries taken back count as lost at once")                                              \
    X(P5, "the leader stays known when the role changes")                                          \
    X(Q1, "a proposal does not wake a sleeping leader")

#ifdef RG_MUTANTS
#    ifndef RG_TESTONLY
#        error "bugs can be switched on in testonly targets only"
#    endif

#    define RG_BUG_ID(id, text) RG_BUG_##id,
enum raft_bug { RG_BUG_NONE, RG_BUGS(RG_BUG_ID) RG_BUG_COUNT };
#    undef RG_BUG_ID

extern enum raft_bug raft__bug;
#    define RG_BUG(id) (raft__bug == RG_BUG_##id)

#else
#    define RG_BUG(id) 0
#endif

#endif
