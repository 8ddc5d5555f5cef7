/* rawcall: requests no well-behaved client sends, and what the server says to them.
 *
 *   rawcall --endpoint HOST:PORT garbage COUNT      random bytes to every method
 *   rawcall --endpoint HOST:PORT truncated          every prefix of a valid txn
 *   rawcall --endpoint HOST:PORT value BYTES        a put with a value of that size
 *   rawcall --endpoint HOST:PORT ops COUNT          a txn with that many puts
 *   rawcall --endpoint HOST:PORT depth LEVELS       a txn nested that deeply
 *   rawcall --endpoint HOST:PORT empty-key          a put without a key
 *
 * Prints "CODE: text" of the answer, or for the first two how often each code came. Exit code 0
 * when every call was answered by the server, 1 when one was not (no connection, no answer). */
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"
#include "tests/lib/etcd_client.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_MS = 10000, CODES = 17 };

struct rawcall {
    struct etcd_loop *loop;
    struct etcd_channel *channel;
    uint64_t codes[CODES];
    bool lost; /* a call got no answer from the server */
};

/* UNAVAILABLE and DEADLINE_EXCEEDED mean that the server is gone or stuck: bad input must not do
 * that. */
static void note(struct rawcall *raw, const struct etcd_reply *reply)
{
    static const int unavailable = 14;
    static const int deadline_exceeded = 4;

    if (reply->code >= 0 && reply->code < CODES) {
        raw->codes[reply->code]++;
    }
    if (reply->code == unavailable || reply->code == deadline_exceeded) {
        raw->lost = true;
        (void)fprintf(stderr, "rawcall: %s: %s\n", etcd_code_name(reply->code), reply->text);
    }
}

static void print_codes(const struct rawcall *raw)
{
    for (int i = 0; i < CODES; i++) {
        if (raw->codes[i] != 0) {
            printf("%s: %" PRIu64 "\n", etcd_code_name(i), raw->codes[i]);
        }
    }
}

static void send_raw(struct rawcall *raw, enum etcd_method method, struct fl_bytes message)
{
    struct etcd_reply reply;

    (void)etcd_raw_sync(raw->channel, method, message, TIMEOUT_MS, &reply);
    note(raw, &reply);
    etcd_reply_close(&reply);
}

static void print_reply(struct rawcall *raw, struct etcd_reply *reply)
{
    note(raw, reply);
    printf("%s: %s\n", etcd_code_name(reply->code), reply->text);
    etcd_reply_close(reply);
}

/* Random bytes are nearly always malformed; a seed makes a finding repeatable. */
static void send_garbage(struct rawcall *raw, uint64_t count)
{
    uint8_t bytes[512];
    struct fl_prng prng;

    fl_prng_seed(&prng, count);
    for (uint64_t i = 0; i < count; i++) {
        size_t size = fl_prng_below(&prng, sizeof(bytes)) + 1;

        for (size_t j = 0; j < size; j++) {
            bytes[j] = (uint8_t)fl_prng_next(&prng);
        }
        send_raw(raw, (enum etcd_method)(i % ETCD_METHOD_COUNT), fl_bytes(bytes, size));
    }
    print_codes(raw);
}

/* --- messages by hand: what the typed client cannot say --------------------------------------- */

static void write_field(struct fl_writer *out, unsigned field, struct fl_bytes content)
{
    fl_write_varint(out, field << 3 | 2);
    fl_write_bytes(out, content);
}

static size_t varint_bytes(size_t value)
{
    size_t n = 1;

    while (value >= 128) {
        value /= 128;
        n++;
    }
    return n;
}

static size_t field_bytes(size_t content)
{
    return 1 + varint_bytes(content) + content;
}

/* TxnRequest{success: [RequestOp{request_txn: inner}]} around nothing, `levels` times. Every
 * message ends with the one inside it, so heads follow heads once all lengths are known. */
static void nest(struct fl_writer *message, uint64_t levels)
{
    enum { TXN_SUCCESS = 2, OP_TXN = 4 };
    size_t *lens = fl_xcalloc(levels + 1, sizeof(*lens));

    for (uint64_t i = 1; i <= levels; i++) {
        lens[i] = field_bytes(field_bytes(lens[i - 1]));
    }
    for (uint64_t i = levels; i > 0; i--) {
        fl_write_varint(message, TXN_SUCCESS << 3 | 2);
        fl_write_varint(message, field_bytes(lens[i - 1]));
        fl_write_varint(message, OP_TXN << 3 | 2);
        fl_write_varint(message, lens[i - 1]);
    }
    free(lens);
}

static void send_depth(struct rawcall *raw, uint64_t levels)
{
    struct etcd_reply reply;
    struct fl_writer message;

    fl_writer_init(&message);
    nest(&message, levels);
    (void)etcd_raw_sync(
        raw->channel, ETCD_METHOD_TXN, fl_writer_bytes(&message), TIMEOUT_MS, &reply);
    fl_writer_close(&message);
    print_reply(raw, &reply);
}

/* A put inside a txn, cut off after each byte. */
static void send_truncated(struct rawcall *raw)
{
    enum { PUT_KEY = 1, PUT_VALUE = 2, OP_PUT = 2, TXN_SUCCESS = 2 };
    struct fl_writer put;
    struct fl_writer op;
    struct fl_writer txn;

    fl_writer_init(&put);
    fl_writer_init(&op);
    fl_writer_init(&txn);
    write_field(&put, PUT_KEY, fl_bytes_of_string("truncated-key"));
    write_field(&put, PUT_VALUE, fl_bytes_of_string("truncated-value"));
    write_field(&op, OP_PUT, fl_writer_bytes(&put));
    write_field(&txn, TXN_SUCCESS, fl_writer_bytes(&op));
    for (size_t size = 1; size < txn.len; size++) {
        send_raw(raw, ETCD_METHOD_TXN, fl_bytes(txn.data, size));
    }
    fl_writer_close(&put);
    fl_writer_close(&op);
    fl_writer_close(&txn);
    print_codes(raw);
}

/* --- well-formed but beyond a limit ------------------------------------------------------------
 */

static void send_value(struct rawcall *raw, uint64_t size)
{
    uint8_t *value = fl_xcalloc(size, 1);
    struct etcd_reply reply;

    (void)etcd_put_sync(
        raw->channel, fl_bytes_of_string("big"), fl_bytes(value, size), TIMEOUT_MS, &reply);
    free(value);
    print_reply(raw, &reply);
}

static void send_ops(struct rawcall *raw, uint64_t count)
{
    struct etcd_op *ops = fl_xcalloc(count, sizeof(*ops));
    char(*keys)[32] = fl_xcalloc(count, sizeof(*keys));
    struct etcd_txn txn = {.success = ops, .success_count = count};
    struct etcd_reply reply;

    for (uint64_t i = 0; i < count; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "ops%" PRIu64, i);
        ops[i] = (struct etcd_op){.kind = ETCD_OP_PUT,
                                  .key = fl_bytes_of_string(keys[i]),
                                  .value = fl_bytes_of_string("v")};
    }
    (void)etcd_txn_sync(raw->channel, &txn, TIMEOUT_MS, &reply);
    free(ops);
    free(keys);
    print_reply(raw, &reply);
}

static void send_empty_key(struct rawcall *raw)
{
    struct etcd_reply reply;

    (void)etcd_put_sync(
        raw->channel, fl_bytes(NULL, 0), fl_bytes_of_string("v"), TIMEOUT_MS, &reply);
    print_reply(raw, &reply);
}

static bool run(struct rawcall *raw, const char *command, const char *argument)
{
    uint64_t number = argument != NULL ? strtoull(argument, NULL, 10) : 0;

    if (strcmp(command, "garbage") == 0) {
        send_garbage(raw, number);
    } else if (strcmp(command, "truncated") == 0) {
        send_truncated(raw);
    } else if (strcmp(command, "value") == 0) {
        send_value(raw, number);
    } else if (strcmp(command, "ops") == 0) {
        send_ops(raw, number);
    } else if (strcmp(command, "depth") == 0) {
        send_depth(raw, number);
    } else if (strcmp(command, "empty-key") == 0) {
        send_empty_key(raw);
    } else {
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"endpoint", required_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    struct rawcall raw = {0};
    const char *endpoint = NULL;
    bool known;
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) == 'e') {
        endpoint = optarg;
    }
    if (c != -1 || endpoint == NULL || optind >= argc) {
        (void)fputs("usage: rawcall --endpoint HOST:PORT COMMAND [NUMBER]\n", stderr);
        return 2;
    }
    raw.loop = etcd_loop_create();
    raw.channel = etcd_channel_create(raw.loop, endpoint);
    known = run(&raw, argv[optind], argv[optind + 1]);
    etcd_channel_destroy(raw.channel);
    etcd_loop_destroy(raw.loop);
    return !known ? 2 : raw.lost ? 1 : 0;
}
