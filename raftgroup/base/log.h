/* Structured log lines (logfmt): event first, then fields.
 *
 * Owner: the process. Lifetime: its. Threads: any; one line is one write.
 *
 *   ts=2026-11-20T12:00:00.123Z level=info event=leader_elected group=7 term=3
 *
 * Format strings hold "name=value" pairs; values with spaces are quoted by the caller. Keys and
 * values of users never enter a log line. */
#ifndef RAFTGROUP_BASE_LOG_H
#define RAFTGROUP_BASE_LOG_H

#include <stdbool.h>

enum fl_log_level { FL_LOG_DEBUG, FL_LOG_INFO, FL_LOG_WARN, FL_LOG_ERROR, FL_LOG_FATAL };

/* Receives one line without newline; for tests. */
typedef void fl_log_sink_fn(void *context, const char *line);

/* Writes one line when `level` is at or above the threshold. Lines over 2 KiB are cut. */
void fl_log(enum fl_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Lines below `level` are dropped; the default is FL_LOG_INFO. */
void fl_log_set_level(enum fl_log_level level);
/* Parses debug|info|warn|error; false if it is none of these. */
bool fl_log_parse_level(const char *text, enum fl_log_level *level);
/* Sends lines to `sink` instead of standard error; NULL restores. Not while other threads log. */
void fl_log_set_sink(fl_log_sink_fn *sink, void *context);

#endif
