/* Two checksummed copies, written in turn: a torn write can only spoil the older one. */
#include "node/watermark.h"

#include "node/why.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/crc32c.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FORMAT = 1,
    FLAG_DAMAGED = 1,
    COPY_BYTES = 28,
    COPY_DISTANCE = 4096 /* a page of its own, so one torn page leaves the other copy whole */
};

static const uint8_t magic[4] = {'F', 'L', 'w', 'm'};
static_assert(COPY_BYTES < 512, "a copy must fit one sector, the unit a disk writes whole");

struct node_watermark {
    int fd;
    char *path;
    _Atomic uint64_t noted;   /* newest batch known synced */
    _Atomic uint64_t durable; /* what the file holds; durable <= noted */
    atomic_bool damaged;
    struct {
        pthread_mutex_t lock; /* one writer of the file at a time */
        uint64_t generation;  /* of the newest copy in the file */
    } shared;
};

struct copy {
    uint64_t generation;
    uint64_t value;
    bool damaged;
};

static void copy_encode(uint8_t *p, const struct copy *copy)
{
    memset(p, 0, COPY_BYTES);
    memcpy(p, magic, sizeof(magic));
    p[4] = FORMAT;
    p[5] = copy->damaged ? FLAG_DAMAGED : 0;
    fl_put_u64le(p + 8, copy->generation);
    fl_put_u64le(p + 16, copy->value);
    fl_put_u32le(p + 24, fl_crc32c(0, p, 24));
}

static enum fl_status copy_decode(const uint8_t *p, struct copy *copy)
{
    if (memcmp(p, magic, sizeof(magic)) != 0 || fl_get_u32le(p + 24) != fl_crc32c(0, p, 24)) {
        return FL_CORRUPT;
    }
    if (p[4] != FORMAT) {
        return p[4] > FORMAT ? FL_NEWER_FORMAT : FL_CORRUPT;
    }
    copy->damaged = (p[5] & FLAG_DAMAGED) != 0;
    copy->generation = fl_get_u64le(p + 8);
    copy->value = fl_get_u64le(p + 16);
    return copy->generation != 0 ? FL_OK : FL_CORRUPT;
}

/* Writes the next generation into the older copy's place and syncs it. The lock is held. */
static bool try_write_copy(struct node_watermark *watermark)
{
    struct copy copy = {
        .generation = ++watermark->shared.generation,
        .value = atomic_load(&watermark->noted),
        .damaged = atomic_load(&watermark->damaged),
    };
    uint8_t bytes[COPY_BYTES];
    off_t at = (off_t)(copy.generation % 2 * COPY_DISTANCE);

    copy_encode(bytes, &copy);
    if (pwrite(watermark->fd, bytes, sizeof(bytes), at) != (ssize_t)sizeof(bytes) ||
        fdatasync(watermark->fd) != 0) {
        return false;
    }
    atomic_store(&watermark->durable, copy.value);
    return true;
}

static void write_copy(struct node_watermark *watermark)
{
    if (!try_write_copy(watermark)) {
        fl_fatal("%s: write or fsync failed: %s", watermark->path, strerror(errno));
    }
}

static struct node_watermark *allocate(int fd, const char *path, const struct copy *copy)
{
    struct node_watermark *watermark = fl_xcalloc(1, sizeof(*watermark));

    watermark->fd = fd;
    watermark->path = fl_xstrdup(path);
    atomic_init(&watermark->noted, copy->value);
    atomic_init(&watermark->durable, copy->value);
    atomic_init(&watermark->damaged, copy->damaged);
    watermark->shared.generation = copy->generation;
    (void)pthread_mutex_init(&watermark->shared.lock, NULL);
    return watermark;
}

static void destroy(struct node_watermark *watermark)
{
    if (watermark != NULL) {
        (void)pthread_mutex_destroy(&watermark->shared.lock);
        (void)close(watermark->fd);
        free(watermark->path);
        free(watermark);
    }
}

/* A file's name is durable only after its directory is synced. */
static int sync_directory_of(const char *path)
{
    char *copy = fl_xstrdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd >= 0 ? fsync(fd) : -1;

    if (fd >= 0) {
        (void)close(fd);
    }
    free(copy);
    return result;
}

/* Written under another name first: a crash leaves no file or a whole one. */
static enum fl_status create_file(struct node_watermark **watermark,
                                  const char *path,
                                  bool damaged,
                                  char *why,
                                  size_t why_bytes)
{
    struct copy empty = {.generation = 0, .value = 0, .damaged = damaged};
    struct fl_writer name;
    const char *new_path;
    enum fl_status status = FL_OK;
    int fd;

    fl_writer_init(&name);
    fl_write_raw(&name, fl_bytes_of_string(path));
    fl_write_raw(&name, fl_bytes(".new", sizeof(".new")));
    new_path = (const char *)name.data;
    fd = open(new_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        *watermark = allocate(fd, path, &empty);
    }
    if (fd < 0 || !try_write_copy(*watermark) || !try_write_copy(*watermark) ||
        rename(new_path, path) != 0 || sync_directory_of(path) != 0) {
        status = node_why(FL_IO, why, why_bytes, "cannot create %s: %s", path, strerror(errno));
        destroy(*watermark);
        *watermark = NULL;
    }
    fl_writer_close(&name);
    return status;
}

/* Reads both copies; *best is the newest readable one. */
static enum fl_status read_copies(int fd, struct copy *best)
{
    enum fl_status result = FL_CORRUPT;

    for (int i = 0; i < 2; i++) {
        uint8_t bytes[COPY_BYTES];
        struct copy copy;
        enum fl_status status;

        if (pread(fd, bytes, sizeof(bytes), (off_t)i * COPY_DISTANCE) != (ssize_t)sizeof(bytes)) {
            continue; /* too short: the copy does not exist */
        }
        status = copy_decode(bytes, &copy);
        if (status == FL_NEWER_FORMAT) {
            return status;
        }
        if (status == FL_OK && (result != FL_OK || copy.generation > best->generation)) {
            *best = copy;
            result = FL_OK;
        }
    }
    return result;
}

enum fl_status node_watermark_open(struct node_watermark **watermark,
                                   const char *path,
                                   bool create,
                                   char *why,
                                   size_t why_bytes)
{
    struct copy best = {0};
    enum fl_status status;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    *watermark = NULL;
    if (fd < 0 && errno == ENOENT) {
        return create ? create_file(watermark, path, false, why, why_bytes)
                      : node_why(FL_NOT_FOUND, why, why_bytes, "%s is missing", path);
    }
    if (fd < 0) {
        return node_why(FL_IO, why, why_bytes, "cannot open %s: %s", path, strerror(errno));
    }
    status = read_copies(fd, &best);
    if (status == FL_OK) {
        *watermark = allocate(fd, path, &best);
        return FL_OK;
    }
    (void)close(fd);
    if (status == FL_NEWER_FORMAT) {
        return node_why(status,
                        why,
                        why_bytes,
                        "%s was written by a newer version of flotilla: start that version",
                        path);
    }
    return node_why(
        status, why, why_bytes, "%s is unreadable: both copies fail their checksum", path);
}

enum fl_status node_watermark_replace(struct node_watermark **watermark,
                                      const char *path,
                                      char *why,
                                      size_t why_bytes)
{
    *watermark = NULL;
    return create_file(watermark, path, true, why, why_bytes);
}

uint64_t node_watermark_durable(const struct node_watermark *watermark)
{
    return atomic_load(&watermark->durable);
}

bool node_watermark_is_damaged(const struct node_watermark *watermark)
{
    return atomic_load(&watermark->damaged);
}

void node_watermark_raise(struct node_watermark *watermark, uint64_t value)
{
    /* One thread syncs at a time, so load and store need not be one step. */
    if (value > atomic_load(&watermark->noted)) {
        atomic_store(&watermark->noted, value);
    }
}

void node_watermark_persist(struct node_watermark *watermark)
{
    pthread_mutex_lock(&watermark->shared.lock);
    if (atomic_load(&watermark->noted) != atomic_load(&watermark->durable)) {
        write_copy(watermark);
    }
    pthread_mutex_unlock(&watermark->shared.lock);
}

static void set_damaged(struct node_watermark *watermark, bool damaged)
{
    pthread_mutex_lock(&watermark->shared.lock);
    atomic_store(&watermark->damaged, damaged);
    /* Both copies: losing one of them must not lose the mark. */
    write_copy(watermark);
    write_copy(watermark);
    pthread_mutex_unlock(&watermark->shared.lock);
}

void node_watermark_mark_damaged(struct node_watermark *watermark)
{
    set_damaged(watermark, true);
}

void node_watermark_clear_damaged(struct node_watermark *watermark)
{
    set_damaged(watermark, false);
}

void node_watermark_close(struct node_watermark *watermark)
{
    if (watermark == NULL) {
        return;
    }
    pthread_mutex_lock(&watermark->shared.lock);
    if (atomic_load(&watermark->noted) != atomic_load(&watermark->durable)) {
        write_copy(watermark);
        write_copy(watermark);
    }
    pthread_mutex_unlock(&watermark->shared.lock);
    destroy(watermark);
}
