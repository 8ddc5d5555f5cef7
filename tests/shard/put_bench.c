/* Cost of applying puts of 256-byte values: new keys in order, then overwrites of random keys in
 * batches of several sizes.
 *
 *     bazel run //tests/shard:put_bench [keys [puts [batch..]]]
 *
 * Prints microseconds of this thread per put (the number that bounds an apply thread) and of the
 * whole process (flushes and compactions included). */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/prng.h"
#include "tests/shard/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
run(struct fixture *f, const char *name, size_t keys, size_t puts, size_t batch, bool ascending)
{
    static char value[256];
    struct shard_machine *machine = fixture_machine(f);
    struct fl_prng prng;
    struct shard_apply *entries = calloc(batch, sizeof(*entries));
    struct fl_buf **commands = calloc(batch, sizeof(*commands));
    double thread = 0;
    double process = seconds(CLOCK_PROCESS_CPUTIME_ID);
    double wall = seconds(CLOCK_MONOTONIC);
    double building = 0;

    memset(value, 'v', sizeof(value) - 1);
    fl_prng_seed(&prng, batch);
    for (size_t done = 0; done < puts; done += batch) {
        double before = seconds(CLOCK_THREAD_CPUTIME_ID);
        double mid;

        for (size_t i = 0; i < batch; i++) {
            char key[32];

            snprintf(key,
                     sizeof(key),
                     "foo%013zu",
                     ascending ? (done + i) : (size_t)fl_prng_below(&prng, keys));
            commands[i] = command_put(key, value);
            shard_command_set_epoch(commands[i], FIXTURE_EPOCH);
            entries[i] = (struct shard_apply){.index = ++f->index,
                                              .term = 1,
                                              .type = RAFT_ENT_NORMAL,
                                              .want_result = true,
                                              .payload = fl_buf_bytes(commands[i])};
        }
        mid = seconds(CLOCK_THREAD_CPUTIME_ID);
        building += mid - before;
        machine->ops->apply(machine, f->batch, entries, batch);
        fixture_commit(f);
        thread += seconds(CLOCK_THREAD_CPUTIME_ID) - mid;
        for (size_t i = 0; i < batch; i++) {
            fl_buf_release(entries[i].result);
            fl_buf_release(commands[i]);
        }
        if (shard_engine_memtable_bytes(f->engine) > SHARD_FLUSH_BYTES) {
            machine->ops->checkpoint(machine, f->batch);
            fixture_commit(f);
            fl_assert(shard_engine_flush(f->engine, false) == FL_OK);
        }
    }
    printf("%-10s %8zu puts, batch %4zu: %6.2f us thread, %6.2f us process, %6.2f us wall\n",
           name,
           puts,
           batch,
           thread / (double)puts * 1e6,
           (seconds(CLOCK_PROCESS_CPUTIME_ID) - process - building) / (double)puts * 1e6,
           (seconds(CLOCK_MONOTONIC) - wall) / (double)puts * 1e6);
    free(commands);
    free(entries);
}

static void run_gets(struct fixture *f, size_t keys, size_t gets)
{
    const struct shard_read_at at = {.group_id = FIXTURE_GROUP, .known = 2};
    struct fl_prng prng;
    double before = seconds(CLOCK_THREAD_CPUTIME_ID);

    fl_prng_seed(&prng, 2);
    for (size_t i = 0; i < gets; i++) {
        struct shard_read read = {0};
        struct fl_buf *result;
        char key[32];

        snprintf(key, sizeof(key), "foo%013zu", (size_t)fl_prng_below(&prng, keys));
        read.key = str(key);
        fl_assert(shard_read_execute(f->engine, &at, &read, &result) == FL_OK);
        fl_buf_release(result);
    }
    printf("get        %8zu point reads: %6.2f us thread\n",
           gets,
           (seconds(CLOCK_THREAD_CPUTIME_ID) - before) / (double)gets * 1e6);
}

int main(int argc, char **argv)
{
    static const size_t batches[] = {1, 8, 32, 256};
    size_t keys = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    size_t puts = argc > 2 ? strtoul(argv[2], NULL, 10) : 400000;
    struct fixture f;

    fixture_open(&f);
    run(&f, "new", keys, keys, 32, true);
    for (int i = 3; i < argc; i++) {
        run(&f, "overwrite", keys, puts, strtoul(argv[i], NULL, 10), false);
    }
    for (size_t i = 0; argc <= 3 && i < sizeof(batches) / sizeof(batches[0]); i++) {
        run(&f, "overwrite", keys, puts, batches[i], false);
    }
    run_gets(&f, keys, 200000);
    fixture_close(&f);
    return 0;
}
