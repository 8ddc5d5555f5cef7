/* Majority arithmetic. */
#include "raftgroup/quorum.h"

#include "raftgroup/bugs.h"

static unsigned count(raft_mask mask)
{
    return (unsigned)__builtin_popcount(mask);
}

/* Value number n/2+1 from above among the voters of one half: an insertion sort of at most 15
 * values on the stack, nothing incremental that could go stale (C16). */
static uint64_t half_value(raft_mask voters, const uint64_t value[RAFT_MEMBERS_MAX])
{
    uint64_t sorted[RAFT_MEMBERS_MAX];
    unsigned n = 0;

    if (voters == 0) {
        return UINT64_MAX;
    }
    for (unsigned slot = 0; slot < RAFT_MEMBERS_MAX; slot++) {
        unsigned at = n;

        if ((voters >> slot & 1) == 0) {
            continue;
        }
        for (; at > 0 && sorted[at - 1] < value[slot]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = value[slot];
        n++;
    }
    return sorted[RG_BUG(C16) ? (n - 1) / 2 : n / 2];
}

uint64_t raft__quorum_value(const struct raft_conf *conf, const uint64_t value[RAFT_MEMBERS_MAX])
{
    raft_mask learners = RG_BUG(C17) ? conf->learners : 0;
    uint64_t in = half_value(conf->in | learners, value);
    uint64_t out = half_value(RG_BUG(M10) ? 0 : conf->out, value);

    return in < out ? in : out;
}

static enum raft_vote_result half_vote(raft_mask voters, raft_mask yes, raft_mask no)
{
    unsigned need = (count(voters) - RG_BUG(C16_VOTE)) / 2 + 1;

    if (voters == 0 || count(voters & yes) >= need) {
        return RAFT_VOTE_WON;
    }
    return count(voters) - count(voters & no) < need ? RAFT_VOTE_LOST : RAFT_VOTE_PENDING;
}

enum raft_vote_result raft__quorum_vote(const struct raft_conf *conf, raft_mask yes, raft_mask no)
{
    enum raft_vote_result in = half_vote(conf->in, yes, no);
    enum raft_vote_result out = half_vote(RG_BUG(M10_VOTE) ? 0 : conf->out, yes, no);

    if (in == RAFT_VOTE_LOST || out == RAFT_VOTE_LOST) {
        return RAFT_VOTE_LOST;
    }
    return in == RAFT_VOTE_WON && out == RAFT_VOTE_WON ? RAFT_VOTE_WON : RAFT_VOTE_PENDING;
}

bool raft__quorum_has(const struct raft_conf *conf, raft_mask set)
{
    return raft__quorum_vote(conf, set, (raft_mask)~set) == RAFT_VOTE_WON;
}
