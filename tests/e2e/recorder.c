/* History writer. See recorder.h. */
#include "tests/e2e/recorder.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct recorder {
    FILE *file;
    _Atomic int64_t next_client; /* a counter: no order with other memory is needed */
    struct {
        pthread_mutex_t lock;
        bool failed;
    } shared;
};

int64_t recorder_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void write_line(struct recorder *recorder, const char *line, size_t length)
{
    pthread_mutex_lock(&recorder->shared.lock);
    if (fwrite(line, 1, length, recorder->file) != length) {
        recorder->shared.failed = true;
    }
    pthread_mutex_unlock(&recorder->shared.lock);
}

struct recorder *recorder_open(const char *path, uint64_t seed, const char *system)
{
    struct recorder *recorder = fl_xcalloc(1, sizeof(*recorder));

    recorder->file = fopen(path, "w");
    if (recorder->file == NULL) {
        free(recorder);
        return NULL;
    }
    pthread_mutex_init(&recorder->shared.lock, NULL);
    (void)fprintf(recorder->file,
                  "{\"h\":1,\"clock\":\"CLOCK_MONOTONIC ns\",\"seed\":%" PRIu64
                  ",\"sys\":\"%s\"}\n",
                  seed,
                  system);
    return recorder;
}

int64_t recorder_new_client(struct recorder *recorder)
{
    return atomic_fetch_add_explicit(&recorder->next_client, 1, memory_order_relaxed);
}

static void write_quoted(FILE *out, const void *data, size_t length)
{
    const unsigned char *bytes = data;

    (void)fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\') {
            (void)fprintf(out, "\\%c", bytes[i]);
        } else if (bytes[i] < ' ' || bytes[i] > '~') {
            (void)fprintf(out, "\\u%04x", bytes[i]);
        } else {
            (void)fputc(bytes[i], out);
        }
    }
    (void)fputc('"', out);
}

void record_begin(struct record *record,
                  const char *op,
                  struct record_head head,
                  const struct etcd_reply *reply)
{
    static const char *const results[] = {"ok", "fail", "unknown"};

    *record = (struct record){0};
    record->text = open_memstream(&record->buffer, &record->size);
    fl_assert(record->text != NULL);
    (void)fprintf(record->text, "{\"c\":%" PRId64 ",\"call\":%" PRId64, head.client, head.call_ns);
    if (reply->outcome == ETCD_UNKNOWN) {
        (void)fputs(",\"ret\":null", record->text);
    } else {
        (void)fprintf(record->text, ",\"ret\":%" PRId64, head.ret_ns);
    }
    (void)fprintf(record->text,
                  ",\"op\":\"%s\",\"res\":\"%s\",\"node\":%d",
                  op,
                  results[reply->outcome],
                  head.node);
    if (reply->outcome == ETCD_OK) {
        record_int(record, "rev", reply->revision);
    } else {
        (void)fputs(",\"err\":", record->text);
        write_quoted(record->text, reply->text, strlen(reply->text));
    }
}

void record_text(struct record *record, const char *name, const char *text)
{
    (void)fprintf(record->text, ",\"%s\":", name);
    if (text == NULL) {
        (void)fputs("null", record->text);
    } else {
        write_quoted(record->text, text, strlen(text));
    }
}

void record_int(struct record *record, const char *name, int64_t value)
{
    (void)fprintf(record->text, ",\"%s\":%" PRId64, name, value);
}

void record_bool(struct record *record, const char *name, bool value)
{
    (void)fprintf(record->text, ",\"%s\":%s", name, value ? "true" : "false");
}

void record_kvs(struct record *record, const char *name, const struct etcd_kv *kvs, size_t count)
{
    (void)fprintf(record->text, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i == 0 ? "{\"key\":" : ",{\"key\":", record->text);
        write_quoted(record->text, kvs[i].key.data, kvs[i].key.len);
        (void)fputs(",\"val\":", record->text);
        write_quoted(record->text, kvs[i].value.data, kvs[i].value.len);
        (void)fprintf(record->text, ",\"mrev\":%" PRId64 "}", kvs[i].mod_revision);
    }
    (void)fputs("]", record->text);
}

void record_end(struct record *record, struct recorder *recorder)
{
    (void)fputs("}\n", record->text);
    (void)fclose(record->text);
    write_line(recorder, record->buffer, record->size);
    free(record->buffer);
}

void recorder_fault(struct recorder *recorder, int node, const char *phase, const char *what)
{
    struct record record = {0};

    record.text = open_memstream(&record.buffer, &record.size);
    fl_assert(record.text != NULL);
    (void)fprintf(
        record.text, "{\"ev\":\"fault\",\"t\":%" PRId64 ",\"node\":%d", recorder_now_ns(), node);
    record_text(&record, "phase", phase);
    record_text(&record, "what", what);
    record_end(&record, recorder);
}

void recorder_hash(struct recorder *recorder, int node, int64_t revision, uint32_t hash)
{
    struct record record = {0};

    record.text = open_memstream(&record.buffer, &record.size);
    fl_assert(record.text != NULL);
    (void)fprintf(record.text, "{\"ev\":\"hash\",\"node\":%d", node);
    record_int(&record, "rev", revision);
    record_int(&record, "hash", hash);
    record_end(&record, recorder);
}

bool recorder_close(struct recorder *recorder)
{
    bool good = !recorder->shared.failed;

    good = fclose(recorder->file) == 0 && good;
    pthread_mutex_destroy(&recorder->shared.lock);
    free(recorder);
    return good;
}
