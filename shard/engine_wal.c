/* Zeros ahead of the log, and the end of a log. */
#include "shard/engine_wal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DESCRIPTORS "/proc/self/fd"

static const uint8_t zeros[64 * 1024];

/* ---- runway ---- */

void shard_runway_init(struct shard_runway *runway, const char *directory, size_t bytes)
{
    *runway = (struct shard_runway){
        .directory = bytes != 0 ? realpath(directory, NULL) : NULL,
        .bytes = bytes,
        .file = -1,
    };
}

static void leave(struct shard_runway *runway)
{
    if (runway->file >= 0) {
        (void)close(runway->file);
        runway->file = -1;
    }
}

void shard_runway_close(struct shard_runway *runway)
{
    leave(runway);
    free(runway->directory);
    runway->directory = NULL;
}

/* The number of the log that this process has open as descriptor `name`; 0: it is none of ours. */
static uint64_t log_number(const struct shard_runway *runway, const char *name)
{
    char link[64];
    char target[PATH_MAX];
    size_t directory = strlen(runway->directory);
    ssize_t n;
    char *end;
    uint64_t number;

    (void)snprintf(link, sizeof(link), DESCRIPTORS "/%s", name);
    n = readlink(link, target, sizeof(target) - 1);
    if (n <= 0 || (size_t)n <= directory || strncmp(target, runway->directory, directory) != 0) {
        return 0;
    }
    target[n] = '\0';
    if (target[directory] != '/') {
        return 0;
    }
    number = strtoull(target + directory + 1, &end, 10);
    return strcmp(end, ".log") == 0 ? number : 0;
}

/* Shares the library's open file of the newest log, and with it the place it will write at. */
static void enter_newest(struct shard_runway *runway)
{
    DIR *descriptors = opendir(DESCRIPTORS);
    uint64_t newest = 0;
    const struct dirent *entry;

    while (descriptors != NULL && (entry = readdir(descriptors)) != NULL) {
        uint64_t number = log_number(runway, entry->d_name);

        if (number > newest) {
            int file = fcntl((int)strtol(entry->d_name, NULL, 10), F_DUPFD_CLOEXEC, 0);
            char copy[16];

            (void)snprintf(copy, sizeof(copy), "%d", file);
            if (file >= 0 && log_number(runway, copy) == number) {
                leave(runway);
                runway->file = file;
                newest = number;
            } else if (file >= 0) {
                (void)close(file);
            }
        }
    }
    if (descriptors != NULL) {
        (void)closedir(descriptors);
    }
}

/* Writes zeros on [from, to) of the file; returns where they end. */
static off_t fill(int file, off_t from, off_t to)
{
    while (from < to) {
        size_t n = (size_t)(to - from) < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
        ssize_t written = pwrite(file, zeros, n, from);

        if (written <= 0) {
            break; /* the log's own next write will meet the reason, and tell it */
        }
        from += written;
    }
    return from;
}

void shard_runway_begin(struct shard_runway *runway)
{
    fl_assert(runway->bytes == 0 ||
              !atomic_exchange_explicit(&runway->busy, true, memory_order_acquire));
}

static void extend(struct shard_runway *runway)
{
    off_t half = (off_t)runway->bytes / 2;
    off_t at;

    if (runway->directory == NULL) {
        return;
    }
    at = runway->file >= 0 ? lseek(runway->file, 0, SEEK_CUR) : runway->at;
    if (at == runway->at) { /* a batch was written, but not here: the library has begun a new log */
        leave(runway);
        enter_newest(runway);
        at = runway->file >= 0 ? lseek(runway->file, 0, SEEK_CUR) : -1;
        runway->end = at;
    }
    if (at < 0) {
        fl_log(FL_LOG_WARN, "wal_runway_off", "path=\"%s\"", runway->directory);
        shard_runway_close(runway);
        return;
    }
    runway->at = at;
    if (runway->end < at + half) {
        runway->end =
            fill(runway->file, runway->end > at ? runway->end : at, at + (off_t)runway->bytes);
    }
}

void shard_runway_extend(struct shard_runway *runway)
{
    extend(runway);
    atomic_store_explicit(&runway->busy, false, memory_order_release);
}

/* ---- the end of a log ----
 *
 * The library's format: blocks of 32 KiB, in them records {masked CRC-32C of what follows the
 * length, u32; length, u16; type, u8; bytes}. A batch is one FULL record, or FIRST, MIDDLE .. LAST
 * over several blocks. Fewer than 7 bytes at the end of a block are zero. */

enum { BLOCK = 32768, HEADER = 7, SECTOR = 512 };
enum { FULL = 1, FIRST, MIDDLE, LAST };

static size_t length_at(struct fl_bytes log, size_t at)
{
    return (size_t)log.data[at + 4] | (size_t)log.data[at + 5] << 8;
}

static size_t block_end(struct fl_bytes log, size_t at)
{
    size_t end = at - at % BLOCK + BLOCK;

    return end < log.len ? end : log.len;
}

/* Where a record may begin at or behind `at`. */
static size_t place(size_t at)
{
    return BLOCK - at % BLOCK < HEADER ? at - at % BLOCK + BLOCK : at;
}

/* As the library stores a CRC-32C. */
static uint32_t mask(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + UINT32_C(0xa282ead8);
}

/* The end of the whole record at `at`; 0: there is none. */
static size_t record_end(struct fl_bytes log, size_t at)
{
    size_t end;

    if (at + HEADER > log.len || log.data[at + 6] < FULL || log.data[at + 6] > LAST) {
        return 0;
    }
    end = at + HEADER + length_at(log, at);
    if (end > block_end(log, at)) {
        return 0;
    }
    return mask(fl_crc32c(0, log.data + at + 6, end - at - 6)) == fl_get_u32le(log.data + at) ? end
                                                                                              : 0;
}

/* Whether a batch begins between `at` and the end of its block. */
static bool batch_begins(struct fl_bytes log, size_t at)
{
    size_t block = at / BLOCK;
    size_t end;

    while (at / BLOCK == block && (end = record_end(log, at)) != 0) {
        if (log.data[at + 6] == FULL || log.data[at + 6] == FIRST) {
            return true;
        }
        at = place(end);
    }
    return false;
}

/* Whether a batch begins behind the broken record at `at`: in its block where its length says, or
 * from the start of a later block on. */
static bool batch_follows(struct fl_bytes log, size_t at)
{
    if (at + HEADER <= log.len && batch_begins(log, place(at + HEADER + length_at(log, at)))) {
        return true;
    }
    for (at = at - at % BLOCK + BLOCK; at < log.len; at += BLOCK) {
        if (batch_begins(log, at)) {
            return true;
        }
    }
    return false;
}

static bool is_zero(struct fl_bytes log, size_t at, size_t end)
{
    while (at < end && log.data[at] == 0) {
        at++;
    }
    return at == end;
}

/* Whether the broken record at `at` is whole but for its length, which no checksum covers: then its
 * bytes up to some other place have the checksum it names. */
static bool only_length_is_wrong(struct fl_bytes log, size_t at)
{
    size_t end = block_end(log, at);
    uint32_t crc;

    if (at + HEADER > end) {
        return false;
    }
    crc = fl_crc32c(0, log.data + at + 6, 1);
    for (size_t next = at + HEADER; mask(crc) != fl_get_u32le(log.data + at); next++) {
        if (next == end) {
            return false;
        }
        crc = fl_crc32c(crc, log.data + next, 1);
    }
    return true;
}

/* Whether the file ends before the broken record at `at` does. */
static bool passes_end(struct fl_bytes log, size_t at)
{
    return at + HEADER > log.len || at + HEADER + length_at(log, at) > log.len;
}

/* Whether a part of the broken record at `at` was never written. Disks write whole sectors, the
 * library whole headers. */
static bool lacks_part(struct fl_bytes log, size_t at)
{
    size_t end = block_end(log, at);

    if (at + HEADER <= end && !is_zero(log, at, at + HEADER)) {
        if (at + HEADER + length_at(log, at) < end) {
            end = at + HEADER + length_at(log, at);
        }
        at += HEADER;
    }
    while (at < end) {
        size_t next = at - at % SECTOR + SECTOR;

        next = next < end ? next : end;
        if (is_zero(log, at, next)) {
            return true;
        }
        at = next;
    }
    return false;
}

/* Finds where the last whole batch ends, `*keep`. */
static enum fl_status find_end(struct fl_bytes log, bool torn, size_t *keep)
{
    size_t at = 0;
    size_t end;

    *keep = 0;
    while ((end = record_end(log, at)) != 0) {
        if (log.data[at + 6] == FULL || log.data[at + 6] == LAST) {
            *keep = end;
        }
        at = place(end);
    }
    if (is_zero(log, *keep, log.len)) {
        return FL_OK;
    }
    if (!torn || batch_follows(log, at) || only_length_is_wrong(log, at)) {
        return FL_CORRUPT;
    }
    return passes_end(log, at) || lacks_part(log, at) ? FL_OK : FL_CORRUPT;
}

static enum fl_status settle_log(int file, bool torn, const char *path)
{
    struct stat status;
    struct fl_bytes log;
    void *map;
    size_t keep;
    enum fl_status result;

    if (fstat(file, &status) != 0) {
        return FL_IO;
    }
    if (status.st_size == 0) {
        return FL_OK;
    }
    map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (map == MAP_FAILED) {
        return FL_IO;
    }
    log = fl_bytes(map, (size_t)status.st_size);
    result = find_end(log, torn, &keep);
    if (result == FL_OK && keep < log.len) {
        if (!is_zero(log, keep, log.len)) {
            fl_log(FL_LOG_WARN, "wal_torn", "path=\"%s\" end=%zu", path, keep);
        }
        result = ftruncate(file, (off_t)keep) == 0 && fsync(file) == 0 ? FL_OK : FL_IO;
    }
    (void)munmap(map, log.len);
    return result;
}

/* The library's lock, to be closed again before the library takes it itself; -1: there is no engine
 * yet, or somebody has it open. While it is held nobody can begin to write what is cut here. */
static int lock_engine(const char *directory)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[PATH_MAX];
    int file;

    (void)snprintf(path, sizeof(path), "%s/LOCK", directory);
    file = open(path, O_RDWR | O_CLOEXEC);
    if (file >= 0 && fcntl(file, F_OFD_SETLK, &lock) != 0) {
        (void)close(file);
        file = -1;
    }
    return file;
}

static bool is_log(const char *name)
{
    size_t digits = strspn(name, "0123456789");

    return digits != 0 && strcmp(name + digits, ".log") == 0;
}

enum fl_status shard_wal_settle(const char *directory, bool torn, char *why, size_t why_bytes)
{
    enum fl_status result = FL_OK;
    const struct dirent *entry;
    int lock = lock_engine(directory);
    DIR *list = lock >= 0 ? opendir(directory) : NULL;

    while (list != NULL && result == FL_OK && (entry = readdir(list)) != NULL) {
        char path[PATH_MAX];
        int file;

        if (!is_log(entry->d_name)) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        file = open(path, O_RDWR | O_CLOEXEC);
        result = file >= 0 ? settle_log(file, torn, path) : FL_IO;
        if (result == FL_CORRUPT) {
            (void)snprintf(why, why_bytes, "%s: the log is damaged", path);
        } else if (result != FL_OK) {
            (void)snprintf(why, why_bytes, "%s: cannot be read or cut: %s", path, strerror(errno));
        }
        if (file >= 0) {
            (void)close(file);
        }
    }
    if (list != NULL) {
        (void)closedir(list);
    }
    if (lock >= 0) {
        (void)close(lock);
    }
    return result; /* what is not there, or not ours, the library tells */
}
