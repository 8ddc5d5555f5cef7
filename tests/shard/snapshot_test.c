/* Goal: a snapshot carries a shard whole, to a fresh replica and over an old one, in one durable
 * step (D5), and a damaged or hostile stream is refused without harm.
 *
 * Method: shards on two engines; chunks go from one to the other through memory, intact, damaged at
 * every byte, cut, repeated. A child process (this program again) dies right after installing. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/prng.h"
#include "shard/shard_format.h"
#include "tests/shard/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CHUNKS_MAX 64

struct stream {
    struct fl_writer chunk[CHUNKS_MAX];
    size_t count;
    struct shard_snapshot_info info;
};

static void stream_close(struct stream *stream)
{
    for (size_t i = 0; i < stream->count; i++) {
        fl_writer_close(&stream->chunk[i]);
    }
}

static struct shard_snapshot *open_snapshot(struct fixture *f, struct stream *stream)
{
    struct shard_snapshot *snapshot;

    *stream = (struct stream){0};
    assert_int_equal(fixture_machine(f)->ops->snapshot_open(
                         fixture_machine(f), f->batch, &snapshot, &stream->info),
                     FL_OK);
    return snapshot;
}

static void read_chunks(struct fixture *f, struct shard_snapshot *snapshot, struct stream *stream)
{
    bool last = false;

    while (!last) {
        struct fl_writer *chunk = &stream->chunk[stream->count++];

        assert_true(stream->count < CHUNKS_MAX);
        assert_int_equal(fixture_machine(f)->ops->snapshot_next(snapshot, chunk, &last), FL_OK);
        assert_true(chunk->len <= SHARD_CHUNK_BYTES_MAX);
    }
    fixture_machine(f)->ops->snapshot_close(snapshot);
}

static void take_snapshot(struct fixture *f, struct stream *stream)
{
    read_chunks(f, open_snapshot(f, stream), stream);
}

static void staging_dir(const struct fixture *f, char *dir, size_t dir_bytes)
{
    fl_assert(snprintf(dir, dir_bytes, "%s-staging", f->dir) > 0);
    fixture_remove_dir(dir);
    fl_assert(mkdir(dir, 0700) == 0);
}

/* Stages all chunks; the status of the first that is refused, or of sealing. */
static enum fl_status
stage(struct fixture *f, const struct stream *stream, struct shard_install **install)
{
    const struct shard_machine_ops *ops = fixture_machine(f)->ops;
    struct shard_snapshot_info info;
    char dir[300];
    enum fl_status status = FL_OK;

    staging_dir(f, dir, sizeof(dir));
    fl_assert(ops->install_begin(fixture_machine(f), dir, install) == FL_OK);
    for (size_t i = 0; i < stream->count && status == FL_OK; i++) {
        status = ops->install_chunk(*install, fl_writer_bytes(&stream->chunk[i]));
    }
    if (status == FL_OK) {
        status = ops->install_seal(*install, &info);
    }
    return status;
}

static void install(struct fixture *f, const struct stream *stream)
{
    struct shard_snapshot_info info;
    struct shard_install *in;

    fl_assert(stage(f, stream, &in) == FL_OK);
    fl_assert(fixture_machine(f)->ops->install_seal(in, &info) == FL_OK);
    fl_assert(info.index == stream->info.index && info.term == stream->info.term);
    fl_assert(raft_conf_equal(&info.conf, &stream->info.conf));
    fl_assert(fixture_machine(f)->ops->install_finish(fixture_machine(f), in) == FL_OK);
    f->index = fixture_status(f).applied_index;
}

static void remove_staging(const struct fixture *f)
{
    char dir[300];

    staging_dir(f, dir, sizeof(dir));
    fixture_remove_dir(dir);
}

static void close_both(struct fixture *a, struct fixture *b)
{
    remove_staging(b);
    fixture_close(a);
    fixture_close(b);
}

/* An engine with a shard that holds nothing, as a new replica has it. */
static void open_fresh(struct fixture *f)
{
    *f = (struct fixture){0};
    fixture_make_dir(f->dir, sizeof(f->dir));
    fixture_attach(f);
}

static struct fl_buf *numbered_put(const char *key, const char *value, uint64_t seq)
{
    struct fl_buf *command = command_put(key, value);

    shard_command_set_origin(command, (struct shard_origin){3, 1}, seq, 0);
    return command;
}

static void fill(struct fixture *f, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        char key[16];
        char value[600];

        snprintf(key, sizeof(key), "key%03u", i % 100);
        memset(value, 'a' + (int)(i % 26), sizeof(value));
        value[sizeof(value) - 1 - i % 50] = '\0';
        value[sizeof(value) - 1] = '\0';
        (void)apply_put(f, key, value);
    }
}

static void assert_same(struct fixture *a, struct fixture *b)
{
    struct shard_machine_status x = fixture_status(a);
    struct shard_machine_status y = fixture_status(b);

    assert_int_equal(x.applied_index, y.applied_index);
    assert_int_equal(x.applied_term, y.applied_term);
    assert_int_equal(x.revision, y.revision);
    assert_int_equal(x.compact_revision, y.compact_revision);
    assert_int_equal(x.mark, y.mark);
    assert_int_equal(x.live_keys, y.live_keys);
    assert_true(raft_conf_equal(x.conf, y.conf));
    assert_true(shard_range_equal(shard_descriptor(a->shard), shard_descriptor(b->shard)));
    for (uint64_t r = x.compact_revision != 0 ? x.compact_revision : 1; r <= x.revision; r += 37) {
        assert_int_equal(fixture_hash(a, r), fixture_hash(b, r));
    }
    assert_int_equal(fixture_hash(a, 0), fixture_hash(b, 0));
}

static void test_fresh_replica_gets_everything(void **state)
{
    struct fixture a;
    struct fixture b;
    struct stream stream;
    struct shard_apply entry;

    (void)state;
    fixture_open(&a);
    open_fresh(&b);
    fill(&a, 0, 700);
    (void)apply_compact(&a, 250);
    fl_buf_release(fixture_apply(&a, shard_command_mark(9000)).result);
    fl_buf_release(fixture_apply(&a, numbered_put("once", "1", 4)).result);
    take_snapshot(&a, &stream);
    assert_true(stream.count > 1);
    install(&b, &stream);
    assert_same(&a, &b);
    /* Session records travelled: the same command is not applied twice there. */
    entry = fixture_apply(&b, numbered_put("once", "2", 4));
    assert_int_equal(entry.status, FL_OK);
    fl_buf_release(entry.result);
    assert_value(&b, "once", 0, "1");
    stream_close(&stream);
    close_both(&a, &b);
}

/* History that ended before the compact revision stays at home. */
static void test_dead_history_does_not_travel(void **state)
{
    struct fixture a;
    struct stream before;
    struct stream after;
    size_t bytes[2] = {0, 0};

    (void)state;
    fixture_open(&a);
    fill(&a, 0, 1000);
    take_snapshot(&a, &before);
    (void)apply_compact(&a, fixture_status(&a).revision);
    take_snapshot(&a, &after);
    for (size_t i = 0; i < before.count; i++) {
        bytes[0] += before.chunk[i].len;
    }
    for (size_t i = 0; i < after.count; i++) {
        bytes[1] += after.chunk[i].len;
    }
    assert_true(bytes[1] * 5 < bytes[0]);
    stream_close(&before);
    stream_close(&after);
    fixture_close(&a);
}

static void test_later_writes_are_not_in_it(void **state)
{
    struct fixture a;
    struct fixture b;
    struct stream stream;
    struct shard_snapshot *snapshot;

    (void)state;
    fixture_open(&a);
    open_fresh(&b);
    (void)apply_put(&a, "k", "before");
    snapshot = open_snapshot(&a, &stream);
    (void)apply_put(&a, "k", "after");
    (void)apply_put(&a, "new", "after");
    fixture_flush(&a);
    shard_engine_compact(a.engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    read_chunks(&a, snapshot, &stream);
    assert_int_equal(stream.info.index, 1);
    install(&b, &stream);
    assert_value(&b, "k", 0, "before");
    assert_value(&b, "new", 0, NULL);
    stream_close(&stream);
    close_both(&a, &b);
}

/* A value larger than a chunk, and one that ends exactly with it. */
static void test_rows_larger_than_a_chunk(void **state)
{
    struct fixture a;
    struct fixture b;
    struct stream stream;
    char *value = malloc(1500 * 1024);

    (void)state;
    fixture_open(&a);
    open_fresh(&b);
    memset(value, 'x', 1500 * 1024);
    for (size_t len = 1400 * 1024; len > 1000; len = len * 3 / 4 - 7) {
        struct shard_put put = {.value = fl_bytes(value, len)};
        struct fl_buf *command;
        char key[32];

        snprintf(key, sizeof(key), "k%zu", len);
        put.key = str(key);
        assert_int_equal(shard_command_put(&put, &command), FL_OK);
        fl_buf_release(fixture_apply(&a, command).result);
    }
    take_snapshot(&a, &stream);
    install(&b, &stream);
    assert_same(&a, &b);
    free(value);
    stream_close(&stream);
    close_both(&a, &b);
}

/* Over an old replica that once held more: its old rows go, the neighbours' stay. */
static void test_old_replica_is_replaced(void **state)
{
    struct fixture a = {0};
    struct fixture b = {0};
    struct stream stream;
    struct fl_writer outside[2] = {{0}};
    struct shard_value row;

    (void)state;
    fixture_open_range(&a, "key01", "key07");
    fixture_open_range(&b, "key00", "key09");
    for (unsigned i = 10; i < 70; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%03u", i);
        (void)apply_put(&a, key, "new");
        (void)apply_put(&a, key, "newer");
    }
    (void)apply_put(&b, "key005", "old");
    (void)apply_put(&b, "key015", "old");
    (void)apply_put(&b, "key015", "older");
    (void)apply_put(&b, "key0155", "only there");
    (void)apply_put(&b, "key080", "old");
    shard_current_key(&outside[0], str("key09"));
    shard_history_key(&outside[1], str("key"), 3);
    shard_batch_put(b.batch, fl_writer_bytes(&outside[0]), str("neighbour"));
    shard_batch_put(b.batch, fl_writer_bytes(&outside[1]), str("neighbour"));
    fixture_commit(&b);
    take_snapshot(&a, &stream);
    install(&b, &stream);
    assert_same(&a, &b);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(shard_engine_get(b.engine, NULL, fl_writer_bytes(&outside[i]), &row),
                         FL_OK);
        shard_value_release(&row);
        fl_writer_close(&outside[i]);
    }
    fl_writer_init(&outside[0]);
    shard_current_key(&outside[0], str("key080"));
    assert_int_equal(shard_engine_get(b.engine, NULL, fl_writer_bytes(&outside[0]), &row),
                     FL_NOT_FOUND);
    fl_writer_close(&outside[0]);
    stream_close(&stream);
    close_both(&a, &b);
}

/* D5 and D6 together: the deletions of a destroyed replica are not flushed when the next one comes.
 */
static void test_install_after_a_destroy_that_is_not_flushed(void **state)
{
    struct fixture a;
    struct fixture b;
    struct stream stream;

    (void)state;
    fixture_open(&a);
    fixture_open(&b);
    fill(&a, 0, 200);
    fill(&b, 50, 120);
    fixture_machine(&b)->ops->destroy(fixture_machine(&b), b.batch);
    fixture_commit(&b);
    take_snapshot(&a, &stream);
    install(&b, &stream);
    assert_same(&a, &b);
    fixture_flush(&b);
    shard_engine_compact(b.engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    assert_same(&a, &b);
    stream_close(&stream);
    close_both(&a, &b);
}

/* Rows that come in may be older than what this node has published for collection. */
static void test_install_lowers_the_published_compaction(void **state)
{
    struct fixture a;
    struct fixture b;
    struct stream stream;

    (void)state;
    fixture_open(&a);
    open_fresh(&b);
    fill(&a, 0, 300);
    (void)apply_compact(&a, 20);
    shard_gc_publish(&b.gc, 200);
    take_snapshot(&a, &stream);
    install(&b, &stream);
    shard_engine_compact(b.engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    assert_same(&a, &b);
    stream_close(&stream);
    close_both(&a, &b);
}

/* ---- damage ---- */

static void test_every_damaged_byte_is_noticed(void **state)
{
    struct fixture a;
    struct fixture b;
    struct stream stream;
    struct shard_install *in;
    struct fl_writer *chunk;

    (void)state;
    fixture_open(&a);
    open_fresh(&b);
    fl_buf_release(fixture_apply(&a, numbered_put("k", "v", 1)).result);
    (void)apply_put(&a, "k", "w");
    take_snapshot(&a, &stream);
    assert_int_equal(stream.count, 1);
    chunk = &stream.chunk[0];
    for (size_t i = 0; i < chunk->len; i++) {
        for (unsigned bit = 0; bit < 8; bit += 3) {
            chunk->data[i] ^= (uint8_t)(1u << bit);
            assert_int_not_equal(stage(&b, &stream, &in), FL_OK);
            fixture_machine(&b)->ops->install_abort(in);
            chunk->data[i] ^= (uint8_t)(1u << bit);
        }
    }
    for (size_t len = 0; len < chunk->len; len += 3) {
        size_t whole = chunk->len;

        chunk->len = len;
        assert_int_not_equal(stage(&b, &stream, &in), FL_OK);
        fixture_machine(&b)->ops->install_abort(in);
        chunk->len = whole;
    }
    install(&b, &stream);
    assert_same(&a, &b);
    stream_close(&stream);
    close_both(&a, &b);
}

/* Recomputes the checksum, so that what is inside must be judged by itself. */
static void sign(struct fl_writer *chunk)
{
    uint32_t crc = fl_crc32c(0, chunk->data, 12);

    fl_put_u32le(chunk->data + 12, fl_crc32c(crc, chunk->data + 16, chunk->len - 16));
}

/* .. and the checksum of the stream in its end record, for a stream of one chunk. */
static void sign_all(struct fl_writer *chunk)
{
    const size_t end = chunk->len - 29; /* the end record: header 9, rows 8, bytes 8, CRC 4 */

    fl_put_u32le(chunk->data + chunk->len - 4, fl_crc32c(0, chunk->data + 16, end - 16));
    sign(chunk);
}

/* With all checksums right, every byte of the content is changed: refused, or harmless. */
static void test_hostile_content_is_refused(void **state)
{
    struct fixture a = {0};
    struct fixture b;
    struct stream stream;
    struct shard_install *in;
    struct fl_writer *chunk;
    struct fl_prng prng;
    unsigned outside = 0;

    (void)state;
    fixture_open_range(&a, "k", "l");
    open_fresh(&b);
    for (unsigned i = 0; i < 5; i++) {
        char key[8];

        snprintf(key, sizeof(key), "k%u", i);
        (void)apply_put(&a, key, "v");
        (void)apply_put(&a, key, "w");
    }
    take_snapshot(&a, &stream);
    chunk = &stream.chunk[0];
    fl_prng_seed(&prng, 5);
    for (size_t i = 16; i < chunk->len; i++) {
        uint8_t before = chunk->data[i];

        chunk->data[i] ^= (uint8_t)(1 + fl_prng_below(&prng, 255));
        sign(chunk);
        assert_int_not_equal(stage(&b, &stream, &in), FL_OK);
        fixture_machine(&b)->ops->install_abort(in);
        if (i < chunk->len - 4) {
            sign_all(chunk);
            (void)!stage(&b, &stream, &in);
            fixture_machine(&b)->ops->install_abort(in);
        }
        chunk->data[i] = before;
        sign_all(chunk);
    }
    /* Rows outside the range would overwrite a neighbour's. */
    for (size_t i = 16; i + 1 < chunk->len; i++) {
        if ((chunk->data[i] == 'c' || chunk->data[i] == 'h') && chunk->data[i + 1] == 'k') {
            chunk->data[i + 1] = chunk->data[i] == 'c' ? 'j' : 'l';
            sign_all(chunk);
            assert_int_equal(stage(&b, &stream, &in), FL_BAD_MESSAGE);
            fixture_machine(&b)->ops->install_abort(in);
            chunk->data[i + 1] = 'k';
            outside++;
        }
    }
    assert_int_equal(outside, 10);
    sign_all(chunk);
    install(&b, &stream);
    assert_same(&a, &b);
    stream_close(&stream);
    close_both(&a, &b);
}

static void test_order_and_completeness(void **state)
{
    struct fixture a;
    struct fixture b;
    struct stream stream;
    struct shard_install *in;
    struct fl_writer swap;
    struct shard *other;
    struct shard_snapshot_info info;
    char dir[300];

    (void)state;
    fixture_open(&a);
    open_fresh(&b);
    fill(&a, 0, 1200);
    take_snapshot(&a, &stream);
    assert_true(stream.count >= 3);
    stream.count--; /* the last one is missing */
    assert_int_equal(stage(&b, &stream, &in), FL_TRUNCATED);
    fixture_machine(&b)->ops->install_abort(in);
    stream.count++;
    swap = stream.chunk[0]; /* out of order */
    stream.chunk[0] = stream.chunk[1];
    stream.chunk[1] = swap;
    assert_int_equal(stage(&b, &stream, &in), FL_BAD_MESSAGE);
    fixture_machine(&b)->ops->install_abort(in);
    swap = stream.chunk[0];
    stream.chunk[0] = stream.chunk[1];
    stream.chunk[1] = swap;
    assert_int_equal(stage(&b, &stream, &in), FL_OK); /* one too many */
    assert_int_equal(fixture_machine(&b)->ops->install_chunk(in, fl_writer_bytes(&stream.chunk[0])),
                     FL_BAD_MESSAGE);
    fixture_machine(&b)->ops->install_abort(in);
    /* Another group's snapshot. */
    staging_dir(&b, dir, sizeof(dir));
    assert_int_equal(shard_open(b.engine, &b.gc, FIXTURE_GROUP + 1, &other), FL_OK);
    assert_int_equal(shard_machine(other)->ops->install_begin(shard_machine(other), dir, &in),
                     FL_OK);
    assert_int_equal(
        shard_machine(other)->ops->install_chunk(in, fl_writer_bytes(&stream.chunk[0])),
        FL_BAD_MESSAGE);
    assert_int_equal(shard_machine(other)->ops->install_seal(in, &info), FL_TRUNCATED);
    shard_machine(other)->ops->install_abort(in);
    shard_machine(other)->ops->close(shard_machine(other));
    stream_close(&stream);
    close_both(&a, &b);
}

static void test_nothing_to_send_yet(void **state)
{
    struct fixture b;
    struct shard_snapshot *snapshot;
    struct shard_snapshot_info info;

    (void)state;
    open_fresh(&b);
    assert_int_equal(
        fixture_machine(&b)->ops->snapshot_open(fixture_machine(&b), b.batch, &snapshot, &info),
        FL_NOT_READY);
    fixture_close(&b);
}

/* ---- crash ---- */

/* Applies what is never flushed, installs (or only stages) a snapshot of the shard in `from`, dies.
 */
static _Noreturn void child(bool finish, const char *dir, const char *from)
{
    struct fixture a = {0};
    struct fixture b = {0};
    struct stream stream;
    struct shard_install *in;

    (void)snprintf(a.dir, sizeof(a.dir), "%s", from);
    (void)snprintf(b.dir, sizeof(b.dir), "%s", dir);
    fixture_attach(&a);
    fixture_attach(&b);
    if (b.index != 0) {
        (void)apply_put(&b, "unflushed", "1");
    }
    shard_batch_put(b.batch, str("pother"), str("of another group, not durable"));
    fixture_commit(&b);
    take_snapshot(&a, &stream);
    fl_assert(stage(&b, &stream, &in) == FL_OK);
    if (finish) {
        fl_assert(fixture_machine(&b)->ops->install_finish(fixture_machine(&b), in) == FL_OK);
    }
    _exit(0);
}

static void crash_while_installing(bool finish, bool fresh)
{
    struct fixture a;
    struct fixture b;
    int status;
    pid_t pid;

    fixture_open(&a);
    fill(&a, 0, 300);
    fixture_flush(&a);
    fixture_detach(&a);
    fixture_open(&b);
    (void)apply_put(&b, "old", "1");
    fixture_flush(&b);
    if (fresh) {
        fixture_machine(&b)->ops->destroy(fixture_machine(&b), b.batch);
        fixture_commit(&b);
        fl_assert(shard_engine_flush(b.engine, true) == FL_OK);
    }
    fixture_detach(&b);
    pid = fork();
    if (pid == 0) {
        (void)execl("/proc/self/exe",
                    "snapshot_test",
                    finish ? "finish" : "stage",
                    b.dir,
                    a.dir,
                    (char *)NULL);
        _exit(99);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fixture_attach(&a);
    fixture_attach(&b);
    if (finish) {
        assert_same(&a, &b);
        assert_value(&b, "old", 0, NULL);
    } else {
        assert_int_equal(b.index, fresh ? 0 : 1);
        if (!fresh) {
            assert_value(&b, "old", 0, "1");
        }
    }
    close_both(&a, &b);
}

static void test_crash_after_install_finds_the_new_replica(void **state)
{
    (void)state;
    crash_while_installing(true, false);
    crash_while_installing(true, true);
}

static void test_crash_before_install_finds_the_old_replica(void **state)
{
    (void)state;
    crash_while_installing(false, false);
    crash_while_installing(false, true);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh_replica_gets_everything),
        cmocka_unit_test(test_dead_history_does_not_travel),
        cmocka_unit_test(test_later_writes_are_not_in_it),
        cmocka_unit_test(test_rows_larger_than_a_chunk),
        cmocka_unit_test(test_old_replica_is_replaced),
        cmocka_unit_test(test_install_after_a_destroy_that_is_not_flushed),
        cmocka_unit_test(test_install_lowers_the_published_compaction),
        cmocka_unit_test(test_every_damaged_byte_is_noticed),
        cmocka_unit_test(test_hostile_content_is_refused),
        cmocka_unit_test(test_order_and_completeness),
        cmocka_unit_test(test_nothing_to_send_yet),
        cmocka_unit_test(test_crash_after_install_finds_the_new_replica),
        cmocka_unit_test(test_crash_before_install_finds_the_old_replica),
    };

    if (argc == 4) {
        child(strcmp(argv[1], "finish") == 0, argv[2], argv[3]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
