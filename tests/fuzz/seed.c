/* Writes the first inputs of every fuzz target, made by the encoders themselves.
 *
 * usage: seed DIR: DIR/TARGET/NAME; the folders exist. */
#include "node/log_format.h"
#include "node/message.h"
#include "node/oracle.h"
#include "placement/command.h"
#include "raftgroup/codec.h"
#include "shard/command.h"
#include "shard/membership.h"
#include "shard/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *dir;

/* `first` chooses the decoder; `second`, if not negative, follows it. */
static void put(const char *name, uint8_t first, int second, struct fl_bytes bytes)
{
    char path[512];
    FILE *file;
    bool ok;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "wb");
    if (file == NULL) {
        (void)fprintf(stderr, "%s cannot be written\n", path);
        exit(1);
    }
    ok = fputc(first, file) != EOF && (second < 0 || fputc(second, file) != EOF);
    ok = fwrite(bytes.data, 1, bytes.len, file) == bytes.len && ok;
    if (fclose(file) != 0 || !ok) {
        exit(1);
    }
}

static void raft_codec(void)
{
    const struct raft_msg m = {.group = 7,
                               .from = 1,
                               .to = 2,
                               .term = 9,
                               .log_term = 8,
                               .index = 300,
                               .commit = 299,
                               .commit_term = 8,
                               .x = 5,
                               .stamp = 123456,
                               .bytes = 70000,
                               .nents = 3,
                               .type = RAFT_M_APP};
    const struct raft_changes c = {
        .transition = RAFT_CONF_IMPLICIT, .n = 2, .op = {{'v', 4}, {'r', 300}}};
    const struct raft_conf conf = {.n = 4, .in = 3, .out = 5, .learners = 8, .id = {1, 2, 3, 400}};
    uint8_t out[RAFT_CHANGES_BYTES_MAX];

    put("raft_codec/message", 0, -1, fl_bytes(out, raft_msg_encode(&m, out)));
    put("raft_codec/changes", 1, -1, fl_bytes(out, raft_changes_encode(&c, out)));
    put("raft_codec/conf", 2, -1, fl_bytes(out, raft_conf_encode(&conf, out)));
}

static void node_codec(void)
{
    struct fl_writer w;
    const struct node_forward forward = {
        .kind = NODE_FORWARD_WRITE, .boot = 3, .seq = 9, .group = 7, .version = 2};
    const struct node_snapshot_ack ack = {.group = 7, .stream = 4, .boot = 3, .next = 2};
    const struct node_oracle_message ask = {
        .type = NODE_ORACLE_ASK, .boot = 2, .seq = 5, .term = 3, .count = 10};
    uint8_t out[NODE_ORACLE_MESSAGE_BYTES];

    fl_writer_init(&w);
    node_message_write_entry(&w, RAFT_ENT_NORMAL, 5, 3);
    fl_write_raw(&w, fl_bytes_of_string("abc"));
    put("node_codec/entry", 2, -1, fl_writer_bytes(&w));
    fl_writer_reset(&w);
    node_forward_encode(&w, &forward);
    put("node_codec/forward", 3, -1, fl_writer_bytes(&w));
    fl_writer_reset(&w);
    node_snapshot_ack_encode(&w, &ack);
    put("node_codec/snapshot_ack", 7, -1, fl_writer_bytes(&w));
    put("node_codec/oracle", 10, -1, fl_bytes(out, node_oracle_message_encode(&ask, out)));
    fl_writer_close(&w);
}

static void log_format(void)
{
    const struct node_log_state state = {.replica_id = 2,
                                         .incarnation = 1,
                                         .term = 5,
                                         .vote = 2,
                                         .commit = 20,
                                         .last = 22,
                                         .last_term = 5,
                                         .truncated = 10,
                                         .truncated_term = 4};
    const struct node_log_record_entry e = {
        .index = 10, .term = 5, .type = RAFT_ENT_CONF, .payload = fl_bytes_of_string("payload")};
    struct node_log_key key = node_log_key_entries(7, 1, 10);
    struct fl_writer w;

    fl_writer_init(&w);
    node_log_state_encode(&w, 7, &state);
    put("log_format/state", 0, -1, fl_writer_bytes(&w));
    put("log_format/state_body", 1, -1, fl_bytes(w.data + 1, w.len - NODE_LOG_SEAL_BYTES));
    fl_writer_reset(&w);
    fl_write_raw(&w, node_log_key_bytes(&key));
    node_log_record_begin(&w, 7, 1, 10, 1);
    node_log_record_add(&w, 7, &e);
    put("log_format/record", 3, (int)key.len, fl_writer_bytes(&w));
    put("log_format/made_record",
        2,
        1,
        fl_bytes_of_string("\x05\x01\x03"
                           "abcdef"));
    fl_writer_close(&w);
}

static void put_command(const char *name, enum fl_status status, struct fl_buf *command)
{
    if (status != FL_OK) {
        exit(1);
    }
    put(name, 0, 0, fl_buf_bytes(command));
    fl_buf_release(command);
}

static void command(void)
{
    const struct shard_put one = {.key = fl_bytes_of_string("key"),
                                  .value = fl_bytes_of_string("value")};
    const struct shard_delete del = {
        .key = fl_bytes_of_string("a"), .end = fl_bytes_of_string("b"), .prev_kv = true};
    struct shard_op ops[] = {{.kind = SHARD_OP_PUT, .put = one},
                             {.kind = SHARD_OP_DELETE_RANGE, .del = del}};
    struct shard_compare compare = {.key = fl_bytes_of_string("key"), .number = 3};
    const struct shard_txn txn = {
        .compares = &compare, .compare_count = 1, .then_ops = {ops, 2}, .else_ops = {ops, 1}};
    const struct shard_read read = {.key = fl_bytes_of_string("k"), .end = fl_bytes_of_string("l")};
    struct fl_buf *buf = NULL;
    enum fl_status status;
    struct fl_writer w;

    status = shard_command_put(&one, &buf);
    put_command("command/put", status, buf);
    status = shard_command_delete(&del, &buf);
    put_command("command/delete", status, buf);
    status = shard_command_txn(&txn, &buf);
    put_command("command/txn", status, buf);
    put_command("command/compact", FL_OK, shard_command_compact(9, true));
    put_command("command/mark", FL_OK, shard_command_mark(77));
    fl_writer_init(&w);
    shard_read_encode(&read, &w);
    put("command/read", 2, 0, fl_writer_bytes(&w));
    fl_writer_close(&w);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: seed DIR\n");
        return 2;
    }
    dir = argv[1];
    raft_codec();
    node_codec();
    log_format();
    command();
    return 0;
}
