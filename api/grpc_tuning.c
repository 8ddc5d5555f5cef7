/* What gRPC's C interface has no argument for. */
#include "api/grpc_tuning.h"

#include "raftgroup/base/log.h"

#include <dlfcn.h>
#include <grpc/support/log.h>
#include <string.h>

/* gRPC's own lines, as ours; it has a lot to say at its lower levels. */
static void log_line(gpr_log_func_args *args)
{
    char text[512];
    size_t n = 0;

    for (const char *c = args->message; *c != '\0' && n + 1 < sizeof text; c++) {
        char shown = *c;

        if (shown == '"' || shown == '\\' || (unsigned char)shown < 0x20) {
            shown = '\'';
        }
        text[n++] = shown;
    }
    text[n] = '\0';
    fl_log(args->severity == GPR_LOG_SEVERITY_ERROR ? FL_LOG_WARN : FL_LOG_DEBUG,
           "grpc",
           "message=\"%s\"",
           text);
}

/* Debian builds Abseil with assertions on, and with them the deadlock detector of its mutexes: a
 * graph of all locks held, updated under one global lock. It took a fifth of the instructions of a
 * Put here. absl::SetMutexDeadlockDetectionMode(kIgnore) is the documented way to turn it off;
 * from C it can only be found by its mangled name, and where that differs nothing happens. */
static void silence_deadlock_detector(void)
{
    static const char *const names[] = {
        "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE",
        "_ZN4absl29SetMutexDeadlockDetectionModeENS_15OnDeadlockCycleE",
    };
    enum { IGNORE = 0 };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *symbol = dlsym(RTLD_DEFAULT, names[i]);
        void (*set_mode)(int);

        if (symbol != NULL) {
            memcpy(&set_mode, &symbol, sizeof set_mode); /* POSIX: pointers of one size */
            set_mode(IGNORE);
            return;
        }
    }
}

void api_grpc_tune(void)
{
    gpr_set_log_function(log_line);
    silence_deadlock_detector();
}
