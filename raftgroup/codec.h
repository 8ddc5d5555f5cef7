/* Bytes of messages, membership changes and configurations, for frames, log entries and snapshots.
 *
 * Owner:    nobody; caller's buffers.
 * Lifetime: the call.
 * Threads:  any.
 *
 * Pure, no allocation, every bound checked before it is believed. Byte tables are in README.md.
 * Each encoding ends by itself, so several may follow each other; integrity (CRC) belongs to the
 * frame or record around it. */
#ifndef RAFTGROUP_CODEC_H
#define RAFTGROUP_CODEC_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/raft.h"

enum {
    RAFT_MSG_BYTES_MAX = 5 + 11 * 10 + 5,
    RAFT_CHANGES_BYTES_MAX = 3 + RAFT_CHANGES_MAX * 11,
    RAFT_CONF_BYTES_MAX = 3 + RAFT_MEMBERS_MAX * 11
};

/* Each writes at most *_BYTES_MAX bytes and returns how many. */
size_t raft_msg_encode(const struct raft_msg *m, uint8_t out[RAFT_MSG_BYTES_MAX]);
size_t raft_changes_encode(const struct raft_changes *c, uint8_t out[RAFT_CHANGES_BYTES_MAX]);
size_t raft_conf_encode(const struct raft_conf *c, uint8_t out[RAFT_CONF_BYTES_MAX]);

/* Each reads one value from the front of the reader and leaves it behind that value.
 * FL_BAD_MESSAGE: too short, out of range, unknown type or flag; *out is undefined then.
 * FL_NEWER_FORMAT: a version this program does not know. */
FL_MUST_USE enum fl_status raft_msg_decode(struct fl_reader *in, struct raft_msg *out);
FL_MUST_USE enum fl_status raft_changes_decode(struct fl_reader *in, struct raft_changes *out);
FL_MUST_USE enum fl_status raft_conf_decode(struct fl_reader *in, struct raft_conf *out);

#endif
