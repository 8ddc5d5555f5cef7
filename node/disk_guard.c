/* A floor under the free space and a file that holds some of it back. */
#include "node/disk_guard.h"

#include "node/why.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct node_disk_guard {
    int directory_fd;
    uint64_t floor_bytes;
    uint64_t reserve_bytes;
    bool (*probe)(void *context, uint64_t *free_bytes);
    void *probe_context;
    /* Relaxed loads everywhere: a check that runs a moment before or after a look is as good. */
    atomic_bool full;
    atomic_bool has_reserve;
    _Atomic uint64_t free_bytes;
    _Atomic uint64_t next_look_ms;
    struct {
        pthread_mutex_t lock; /* one look at a time */
    } shared;
};

static const char reserve_name[] = "RESERVE";

static bool probe_disk(struct node_disk_guard *guard, uint64_t *free_bytes)
{
    struct statvfs fs;

    if (guard->probe != NULL) {
        return guard->probe(guard->probe_context, free_bytes);
    }
    if (fstatvfs(guard->directory_fd, &fs) != 0) {
        return false;
    }
    *free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return true;
}

/* Allocates the reserve in real blocks. Failure leaves no file: the floor alone then guards. */
static void take_reserve(struct node_disk_guard *guard)
{
    int fd =
        openat(guard->directory_fd, reserve_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int error = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)guard->reserve_bytes);

    if (fd >= 0) {
        (void)close(fd);
    }
    if (error != 0) {
        (void)unlinkat(guard->directory_fd, reserve_name, 0);
        fl_log(FL_LOG_WARN, "disk_reserve_failed", "error=\"%s\"", strerror(error));
    }
    atomic_store(&guard->has_reserve, error == 0);
}

static void give_reserve(struct node_disk_guard *guard, uint64_t free_bytes)
{
    (void)unlinkat(guard->directory_fd, reserve_name, 0);
    atomic_store(&guard->has_reserve, false);
    fl_log(FL_LOG_WARN, "disk_reserve_released", "free_bytes=%" PRIu64, free_bytes);
}

/* The transitions drawn in the header. The lock is held. */
static void look(struct node_disk_guard *guard)
{
    uint64_t free_bytes;
    bool full = atomic_load(&guard->full);

    if (!probe_disk(guard, &free_bytes)) {
        fl_log(FL_LOG_ERROR, "disk_probe_failed", "error=\"%s\"", strerror(errno));
        return; /* a disk that cannot be asked fails its writes soon enough */
    }
    if (free_bytes < guard->floor_bytes / 2 && atomic_load(&guard->has_reserve)) {
        give_reserve(guard, free_bytes);
    } else if (guard->reserve_bytes != 0 && !atomic_load(&guard->has_reserve) &&
               free_bytes >= guard->floor_bytes + guard->reserve_bytes + guard->floor_bytes / 8) {
        take_reserve(guard);
    }
    if (full ? free_bytes >= guard->floor_bytes + guard->floor_bytes / 8
             : free_bytes < guard->floor_bytes) {
        full = !full;
        fl_log(full ? FL_LOG_ERROR : FL_LOG_INFO,
               full ? "disk_full" : "disk_has_space",
               "free_bytes=%" PRIu64 " floor_bytes=%" PRIu64,
               free_bytes,
               guard->floor_bytes);
    }
    atomic_store(&guard->full, full);
    atomic_store(&guard->free_bytes, free_bytes);
}

/* A reserve from the last run counts when it still has its size. */
static bool reserve_is_there(const struct node_disk_guard *guard)
{
    struct stat st;

    return fstatat(guard->directory_fd, reserve_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && (uint64_t)st.st_size == guard->reserve_bytes &&
           (uint64_t)st.st_blocks * 512 >= guard->reserve_bytes;
}

enum fl_status node_disk_guard_open(struct node_disk_guard **out,
                                    const struct node_disk_guard_options *options,
                                    char *why,
                                    size_t why_bytes)
{
    struct node_disk_guard *guard = fl_xcalloc(1, sizeof(*guard));
    uint64_t free_bytes;

    *out = NULL;
    guard->floor_bytes = options->floor_bytes;
    guard->reserve_bytes = options->reserve_bytes;
    guard->probe = options->probe;
    guard->probe_context = options->probe_context;
    guard->directory_fd = open(options->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (guard->directory_fd < 0 || !probe_disk(guard, &free_bytes)) {
        enum fl_status status = node_why(FL_IO,
                                         why,
                                         why_bytes,
                                         "cannot read the free space of %s: %s",
                                         options->directory,
                                         strerror(errno));

        if (guard->directory_fd >= 0) {
            (void)close(guard->directory_fd);
        }
        free(guard);
        return status;
    }
    (void)pthread_mutex_init(&guard->shared.lock, NULL);
    atomic_init(&guard->has_reserve, guard->reserve_bytes != 0 && reserve_is_there(guard));
    look(guard);
    *out = guard;
    return FL_OK;
}

enum fl_status node_disk_guard_check(struct node_disk_guard *guard, uint64_t now_ms)
{
    uint64_t due = atomic_load_explicit(&guard->next_look_ms, memory_order_relaxed);

    /* Whoever moves the due time looks; the others go on with what was seen last. */
    if (now_ms >= due && atomic_compare_exchange_strong(
                             &guard->next_look_ms, &due, now_ms + NODE_DISK_GUARD_PERIOD_MS)) {
        pthread_mutex_lock(&guard->shared.lock);
        look(guard);
        pthread_mutex_unlock(&guard->shared.lock);
    }
    return atomic_load_explicit(&guard->full, memory_order_relaxed) ? FL_NO_SPACE : FL_OK;
}

uint64_t node_disk_guard_free_bytes(const struct node_disk_guard *guard)
{
    return atomic_load_explicit(&guard->free_bytes, memory_order_relaxed);
}

bool node_disk_guard_has_reserve(const struct node_disk_guard *guard)
{
    return atomic_load_explicit(&guard->has_reserve, memory_order_relaxed);
}

void node_disk_guard_close(struct node_disk_guard *guard)
{
    if (guard == NULL) {
        return;
    }
    (void)pthread_mutex_destroy(&guard->shared.lock);
    (void)close(guard->directory_fd);
    free(guard);
}
