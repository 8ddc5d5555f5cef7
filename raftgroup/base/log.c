/* Structured log lines. */
#include "raftgroup/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048

static const char *const level_names[] = {"debug", "info", "warn", "error", "fatal"};

/* Relaxed is enough: a level change needs no order with other data. */
static _Atomic int threshold = FL_LOG_INFO;
static fl_log_sink_fn *log_sink;
static void *log_sink_context;

static size_t append(char *line, size_t len, const char *format, va_list args)
{
    int n = vsnprintf(line + len, LINE_BYTES_MAX - len, format, args);

    if (n < 0) {
        return len;
    }
    return len + (size_t)n < LINE_BYTES_MAX ? len + (size_t)n : LINE_BYTES_MAX - 1;
}

static size_t append_prefix(char *line, enum fl_log_level level, const char *event)
{
    struct timespec now;
    struct tm utc;
    char stamp[32];
    int n;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    n = snprintf(line,
                 LINE_BYTES_MAX,
                 "ts=%s.%03ldZ level=%s event=%s ",
                 stamp,
                 now.tv_nsec / 1000000,
                 level_names[level],
                 event);
    return n > 0 ? (size_t)n : 0;
}

void fl_log(enum fl_log_level level, const char *event, const char *format, ...)
{
    char line[LINE_BYTES_MAX + 1];
    size_t len;
    va_list args;

    if ((int)level < atomic_load_explicit(&threshold, memory_order_relaxed)) {
        return;
    }
    len = append_prefix(line, level, event);
    va_start(args, format);
    len = append(line, len, format, args);
    va_end(args);
    if (log_sink != NULL) {
        line[len] = '\0';
        log_sink(log_sink_context, line);
        return;
    }
    line[len] = '\n';
    /* A log line that cannot be written has nowhere to be reported. */
    if (write(STDERR_FILENO, line, len + 1) < 0) {
        return;
    }
}

void fl_log_set_level(enum fl_log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool fl_log_parse_level(const char *text, enum fl_log_level *level)
{
    for (int i = FL_LOG_DEBUG; i <= FL_LOG_ERROR; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum fl_log_level)i;
            return true;
        }
    }
    return false;
}

void fl_log_set_sink(fl_log_sink_fn *sink, void *context)
{
    log_sink = sink;
    log_sink_context = context;
}
