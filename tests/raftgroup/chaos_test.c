/* Goal: no schedule of loss, duplication, reordering, slow disks, crashes with lost unsynced
 * records, partitions and membership changes breaks safety; and when the faults stop, the group
 * recovers.
 *
 * Method: seeded random events on a simulated cluster (cluster.h lists what is checked at every
 * step, chaos.h what recovery means); each seed switches a random subset of faults and options on.
 * CHAOS_FROM and CHAOS_SEEDS choose the seeds; a failing seed is printed and reproduces. */
#include "tests/raftgroup/chaos.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEEDS = 300 };

static unsigned from_env(const char *name, unsigned otherwise)
{
    const char *value = getenv(name);

    return value != NULL ? (unsigned)strtoul(value, NULL, 10) : otherwise;
}

/* M18: membership churn under partitions and crashes loses no update. P4: a new leader holds all
 * that was ever applied anywhere. E1, E19: crashes at any record, one-way links. */
static void test_chaos(void **state)
{
    unsigned from = from_env("CHAOS_FROM", 1);
    unsigned seeds = from_env("CHAOS_SEEDS", SEEDS);
    struct raft_stats total = {0};
    unsigned failed = 0;
    uint64_t events = 0;
    uint64_t committed = 0;

    (void)state;
    for (unsigned seed = from; seed < from + seeds; seed++) {
        struct chaos_result result;

        chaos_run(seed, &result, &total);
        events += result.events;
        committed += result.committed;
        if (!result.ok) {
            print_message("seed %u: %s\n", seed, result.why);
            failed++;
        }
    }
    print_message("%u seeds, %lu inputs, %lu entries committed, %u failed\n",
                  seeds,
                  (unsigned long)events,
                  (unsigned long)committed,
                  failed);
    print_message(
        "%lu campaigns, %lu won, %lu step-downs, %lu transfers, %lu snapshots installed, "
        "%lu appends refused, %lu entries overwritten, %lu reads failed\n",
        (unsigned long)total.campaigns,
        (unsigned long)total.elections_won,
        (unsigned long)total.step_downs,
        (unsigned long)total.transfers_begun,
        (unsigned long)total.snapshots_installed,
        (unsigned long)total.append_rejects,
        (unsigned long)total.proposals_lost,
        (unsigned long)total.reads_failed);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chaos),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
