/* accept4 for this process: an exhausted table of file descriptors must not end a listener.
 *
 * gRPC 1.51 never accepts again after one EMFILE. The program's own definition is the one that
 * shared libraries call, so on EMFILE a descriptor kept in reserve is given up, the connection is
 * accepted with it and closed at once, the reserve is taken back, and the caller is told to try
 * again later. The client sees a closed connection and retries (DR-6). */
#include "api/accept_guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* As in <sys/socket.h>, which glibc declares with a union that ISO C cannot define again. */
struct sockaddr;
int accept4(int socket, struct sockaddr *address, socklen_t *length, int flags);

typedef int accept4_fn(int socket, struct sockaddr *address, socklen_t *length, int flags);

static struct {
    pthread_once_t once;
    accept4_fn *real;
    struct {
        pthread_mutex_t lock;
        int reserve; /* -1: given away and not got back yet */
    } shared;
    _Atomic uint64_t refused;
} guard = {.once = PTHREAD_ONCE_INIT, .shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .reserve = -1}};

static void take_reserve(void)
{
    guard.shared.reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void start(void)
{
    void *symbol = dlsym(RTLD_NEXT, "accept4");

    /* POSIX gives function and object pointers one size; ISO C has no cast between them. */
    memcpy(&guard.real, &symbol, sizeof guard.real);
    take_reserve();
}

/* Accepts one connection by means of the reserve, and closes it. Returns accept4's error or 0. */
static int turn_away(int socket, int flags)
{
    int fd;
    int error = 0;

    (void)pthread_mutex_lock(&guard.shared.lock);
    if (guard.shared.reserve >= 0) {
        (void)close(guard.shared.reserve);
    }
    fd = guard.real(socket, NULL, NULL, flags);
    if (fd >= 0) {
        (void)close(fd);
        atomic_fetch_add_explicit(&guard.refused, 1, memory_order_relaxed);
    } else {
        error = errno;
    }
    take_reserve();
    (void)pthread_mutex_unlock(&guard.shared.lock);
    return error;
}

int accept4(int socket, struct sockaddr *address, socklen_t *length, int flags)
{
    (void)pthread_once(&guard.once, start);
    for (;;) {
        int fd = guard.real(socket, address, length, flags);
        int error;

        if (fd >= 0 || (errno != EMFILE && errno != ENFILE)) {
            return fd;
        }
        error = turn_away(socket, flags);
        if (error != 0) {
            errno = error == EMFILE || error == ENFILE ? EAGAIN : error;
            return -1;
        }
    }
}

uint64_t api_accept_guard_refused(void)
{
    return atomic_load_explicit(&guard.refused, memory_order_relaxed);
}
