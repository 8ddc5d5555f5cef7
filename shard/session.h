/* At-most-once: which numbered commands of which node have already had their turn.
 *
 * Owner: the machine of a group. Lifetime: init to close. Threads: the apply thread's only.
 *
 * Per origin node: {boot, finished_below, window of seq -> answer}. Which commands are let through
 * depends on nothing but the headers of the entries in log order (SE-1), so every replica decides
 * alike, also after a restart that lost the answers: a lost or oversized answer becomes FL_UNKNOWN.
 *
 * A command that was let through is recorded whatever came of it, FL_EPOCH_MISMATCH included. Its
 * origin therefore uses a NEW seq when it tries again after an answer, the same one when it got
 * none. */
#ifndef SHARD_SESSION_H
#define SHARD_SESSION_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"
#include "shard/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARD_SESSION_RESULT_BYTES_MAX 1024
#define SHARD_SESSION_RECORDS_MAX      8192 /* per origin; the oldest give way */
#define SHARD_SESSION_ORIGINS_MAX      FL_NODES_MAX

static_assert(SHARD_SESSION_RECORDS_MAX > FL_PENDING_REQUESTS_MAX,
              "a node's requests in flight must fit its window");

struct shard_session_origin;

struct shard_sessions {
    struct shard_session_origin *origins; /* ascending node id */
    size_t count;
    size_t capacity;
    uint64_t index; /* of the last entry let through or relearned */
};

/* What the turn of a command gave. */
struct shard_session_answer {
    enum fl_status status;
    uint64_t revision;
    uint8_t plain;         /* FL_OK: kind of a result without parts (shard_result_plain), or 0 */
    struct fl_buf *result; /* FL_OK: any other result; borrowed until the next call, NULL: none */
};

enum shard_session_verdict {
    SHARD_SESSION_FRESH,     /* apply it, then shard_sessions_record */
    SHARD_SESSION_DUPLICATE, /* had its turn: give the stored answer, apply nothing */
    SHARD_SESSION_STALE,     /* older than the window or the boot: answer FL_STALE, apply nothing */
};

void shard_sessions_init(struct shard_sessions *sessions);
void shard_sessions_close(struct shard_sessions *sessions);

/* Decides about a command with seq != 0 found at `index`, and notes it as having had its turn (with
 * the answer FL_UNKNOWN until recorded). Indexes must ascend. */
enum shard_session_verdict shard_sessions_enter(struct shard_sessions *sessions,
                                                const struct shard_command *command,
                                                uint64_t index,
                                                struct shard_session_answer *answer);
/* Stores the answer of a command that was let in; takes a reference of its own on the result. A
 * result over SHARD_SESSION_RESULT_BYTES_MAX is not kept: a repetition of the command is told
 * FL_UNKNOWN. */
void shard_sessions_record(struct shard_sessions *sessions,
                           const struct shard_command *command,
                           const struct shard_session_answer *answer);
/* Records held, for metrics and tests. */
size_t shard_sessions_records(const struct shard_sessions *sessions);

/* Appends everything to `w` (versioned, CRC32C; byte table in README.md). */
void shard_sessions_encode(const struct shard_sessions *sessions, struct fl_writer *w);
/* Replaces `sessions`. FL_BAD_MESSAGE, FL_NEWER_FORMAT: `sessions` is empty then. */
FL_MUST_USE enum fl_status shard_sessions_decode(struct shard_sessions *sessions,
                                                 struct fl_bytes input);

#endif
