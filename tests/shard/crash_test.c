/* Goal: D1..D5 and D9: after a crash at any moment the engine holds a prefix of what was applied,
 * never less than what a flush had confirmed; replaying the rest gives the same rows, hashes and
 * decisions about repeated commands as if nothing had happened.
 *
 * Method: a child process (this program again: the engine's threads do not survive a fork) applies
 * a fixed pseudo-random log and dies by _exit in the middle, without closing anything; it tells
 * what it had flushed through a pipe. The parent opens what is left, compares it with a shard that
 * applied exactly that prefix, relearns, replays the rest and compares again. Memtables are small,
 * so the engine also flushes by itself at moments nobody chose. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/prng.h"
#include "tests/shard/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LOG_ENTRIES    600
#define BATCH_MAX      9
#define MEMTABLE_BYTES (64 * 1024)

/* The log, the same in every process: puts, deletes, transactions, compactions; every third command
 * repeats an earlier seq. */
struct script {
    struct fl_buf *payload[LOG_ENTRIES + 1]; /* by index, from 1 */
};

static struct fl_buf *scripted(struct fl_prng *prng, uint64_t index)
{
    char key[16];
    char value[400];
    char end[16];
    struct shard_op ops[2] = {{.kind = SHARD_OP_PUT}, {.kind = SHARD_OP_DELETE_RANGE}};
    const struct shard_txn txn = {.then_ops = {ops, 2}};

    snprintf(key, sizeof(key), "k%02u", (unsigned)fl_prng_below(prng, 40));
    snprintf(end, sizeof(end), "k%02u", (unsigned)fl_prng_below(prng, 40));
    memset(value, 'a' + (int)(index % 26), sizeof(value));
    value[fl_prng_below(prng, sizeof(value) - 1)] = '\0';
    value[sizeof(value) - 1] = '\0';
    switch (fl_prng_below(prng, 10)) {
    case 0:
        return command_delete(key, end);
    case 1:
        return command_delete(key, NULL);
    case 2:
        ops[0].put = (struct shard_put){.key = str(key), .value = str(value)};
        ops[1].del = (struct shard_delete){.key = str("z"), .end = fl_bytes("\0", 1)};
        return command_txn(&txn);
    case 3:
        return index > 60 && index % 7 == 0 ? shard_command_compact(index / 3, false)
                                            : command_put("zz", value);
    default:
        return command_put(key, value);
    }
}

static void script_init(struct script *script)
{
    struct fl_prng prng;

    fl_prng_seed(&prng, 77);
    for (uint64_t i = 1; i <= LOG_ENTRIES; i++) {
        uint64_t seq = i % 3 == 0 && i > 30 ? i - 1 - fl_prng_below(&prng, 20) : i;

        script->payload[i] = scripted(&prng, i);
        shard_command_set_epoch(script->payload[i], FIXTURE_EPOCH);
        shard_command_set_origin(
            script->payload[i], (struct shard_origin){21 + i % 2, 1}, seq, i > 200 ? i - 200 : 0);
    }
}

static void script_close(struct script *script)
{
    for (uint64_t i = 1; i <= LOG_ENTRIES; i++) {
        fl_buf_release(script->payload[i]);
    }
}

static struct shard_apply entry_of(const struct script *script, uint64_t index)
{
    return (struct shard_apply){.index = index,
                                .term = 1,
                                .type = RAFT_ENT_NORMAL,
                                .payload = fl_buf_bytes(script->payload[index])};
}

static void apply_upto(struct fixture *f, const struct script *script, uint64_t upto, size_t batch)
{
    while (f->index < upto) {
        struct shard_apply entries[BATCH_MAX];
        size_t n = 0;

        while (n < batch && f->index < upto) {
            entries[n++] = entry_of(script, ++f->index);
        }
        fixture_machine(f)->ops->apply(fixture_machine(f), f->batch, entries, n);
        fixture_commit(f);
    }
}

/* Dies somewhere; writes every index that a flush confirmed into `report`. */
static _Noreturn void child(const struct script *script, const char *dir, uint64_t seed, int report)
{
    struct fixture f = {.memtable_bytes = MEMTABLE_BYTES};
    struct fl_prng prng;
    uint64_t last;

    (void)snprintf(f.dir, sizeof(f.dir), "%s", dir);
    fixture_attach(&f);
    fl_prng_seed(&prng, seed);
    last = f.index + 1 + fl_prng_below(&prng, LOG_ENTRIES - f.index);
    while (f.index < last) {
        uint64_t step = 1 + fl_prng_below(&prng, BATCH_MAX);

        apply_upto(&f, script, f.index + step < last ? f.index + step : last, (size_t)step);
        if (fl_prng_below(&prng, 12) == 0) {
            if (fl_prng_below(&prng, 4) != 0) {
                fixture_machine(&f)->ops->checkpoint(fixture_machine(&f), f.batch);
                fixture_commit(&f);
            }
            fl_assert(shard_engine_flush(f.engine, true) == FL_OK);
            fl_assert(write(report, &f.index, sizeof(f.index)) == sizeof(f.index));
        }
    }
    _exit(0);
}

/* Runs this program as `mode dir seed pipe` and returns the last number it wrote. */
static uint64_t run_child(const char *mode, const char *dir, uint64_t seed)
{
    uint64_t durable = 0;
    uint64_t index;
    int pipes[2];
    int status;
    pid_t pid;

    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        char number[32];
        char fd[16];

        close(pipes[0]);
        (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)seed);
        (void)snprintf(fd, sizeof(fd), "%d", pipes[1]);
        (void)execl("/proc/self/exe", "crash_test", mode, dir, number, fd, (char *)NULL);
        _exit(99);
    }
    close(pipes[1]);
    while (read(pipes[0], &index, sizeof(index)) == sizeof(index)) {
        durable = index;
    }
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return durable;
}

static void relearn(struct fixture *f, const struct script *script)
{
    struct shard_machine_status status = fixture_status(f);

    for (uint64_t i = status.checkpoint_index + 1; i <= status.applied_index; i++) {
        struct shard_apply entry = entry_of(script, i);

        fixture_machine(f)->ops->relearn(fixture_machine(f), &entry);
    }
}

static void assert_same(struct fixture *a, struct fixture *b)
{
    assert_int_equal(fixture_status(a).revision, fixture_status(b).revision);
    assert_int_equal(fixture_status(a).compact_revision, fixture_status(b).compact_revision);
    assert_int_equal(fixture_status(a).live_keys, fixture_status(b).live_keys);
    assert_int_equal(fixture_hash(a, 0), fixture_hash(b, 0));
}

static void crash_and_replay(const struct script *script, uint64_t seed)
{
    struct fixture whole;     /* applies everything, never crashes */
    struct fixture reference; /* applies exactly what survived */
    struct fixture f;
    unsigned crashes = 0;

    fixture_open(&whole);
    apply_upto(&whole, script, LOG_ENTRIES, 4);
    fixture_open(&reference);
    fixture_open(&f);
    fixture_flush(&f);
    fixture_detach(&f);
    for (;;) {
        uint64_t durable = run_child("replay", f.dir, seed + crashes);

        crashes++;
        fixture_attach(&f);
        assert_true(f.index >= durable); /* D4 */
        apply_upto(&reference, script, f.index, 3);
        assert_same(&f, &reference); /* D1, D3 */
        relearn(&f, script);
        if (crashes == 3) {
            break;
        }
        fixture_flush(&f); /* what was relearned is kept by the next checkpoint */
        fixture_detach(&f);
        if (fixture_status(&reference).applied_index == LOG_ENTRIES) {
            fixture_attach(&f);
            break;
        }
    }
    apply_upto(&f, script, LOG_ENTRIES, 5);
    assert_same(&f, &whole);
    fixture_close(&f);
    fixture_close(&reference);
    fixture_close(&whole);
}

static void test_crash_leaves_a_prefix_and_replay_completes_it(void **state)
{
    struct script script;

    (void)state;
    script_init(&script);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        crash_and_replay(&script, seed * 100);
    }
    script_close(&script);
}

/* What was never flushed and what was flushed last: the two ends of D4. */
static _Noreturn void child_unflushed(const char *dir)
{
    struct fixture f = {0};

    (void)snprintf(f.dir, sizeof(f.dir), "%s", dir);
    fixture_attach(&f);
    (void)apply_put(&f, "durable", "2");
    (void)apply_put(&f, "lost", "1");
    _exit(0);
}

static void test_unflushed_writes_vanish_whole(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    (void)apply_put(&f, "durable", "1");
    fixture_flush(&f);
    fixture_detach(&f);
    (void)run_child("unflushed", f.dir, 0);
    fixture_attach(&f);
    assert_int_equal(f.index, 1);
    assert_value(&f, "durable", 0, "1");
    assert_value(&f, "lost", 0, NULL);
    fixture_close(&f);
}

static int run_as_child(char **argv)
{
    struct script script;

    if (strcmp(argv[1], "unflushed") == 0) {
        child_unflushed(argv[2]);
    }
    script_init(&script);
    child(&script, argv[2], strtoull(argv[3], NULL, 10), atoi(argv[4]));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_leaves_a_prefix_and_replay_completes_it),
        cmocka_unit_test(test_unflushed_writes_vanish_whole),
    };

    return argc == 5 ? run_as_child(argv) : cmocka_run_group_tests(tests, NULL, NULL);
}
