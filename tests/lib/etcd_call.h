/* Unary gRPC calls by method name and message bytes, many in flight on one completion queue.
 *
 * Owner: the caller owns loops and channels. Lifetime: channels are destroyed before their loop, a
 * loop only when no call is in flight. Threads: a loop, its channels and calls belong to one
 * thread; several threads use several loops.
 *
 * Built for load generators: call objects are reused, a call is one batch and one completion. */
#ifndef TESTS_LIB_ETCD_CALL_H
#define TESTS_LIB_ETCD_CALL_H

#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What an answer proves about a write. */
enum etcd_outcome {
    ETCD_OK,      /* applied */
    ETCD_FAILED,  /* certainly not applied */
    ETCD_UNKNOWN, /* may have been applied, may still be */
};

enum etcd_method {
    ETCD_METHOD_RANGE,
    ETCD_METHOD_PUT,
    ETCD_METHOD_DELETE_RANGE,
    ETCD_METHOD_TXN,
    ETCD_METHOD_COMPACT,
    ETCD_METHOD_STATUS,
    ETCD_METHOD_HASH_KV,
    ETCD_METHOD_COUNT,
};

struct etcd_loop;
struct etcd_channel;

/* Borrowed for the time of the callback. */
struct etcd_answer {
    enum etcd_outcome outcome;
    int code;             /* gRPC status code */
    const char *text;     /* status text, "" when there is none */
    struct fl_bytes body; /* response message, empty unless the code is 0 */
};

/* Called exactly once per call, from etcd_loop_poll, never from the submitting function. May submit
 * further calls. */
typedef void (*etcd_answer_fn)(void *context, const struct etcd_answer *answer);

/* A completion queue. Initialises gRPC; counted, so any number of loops is fine. */
struct etcd_loop *etcd_loop_create(void);

/* One connection of its own to `endpoint` ("host:port", with or without "http://"). Connects when
 * first used and again whenever needed; while it cannot, calls fail at once. */
struct etcd_channel *etcd_channel_create(struct etcd_loop *loop, const char *endpoint);

/* "host:port" as given, without scheme. */
const char *etcd_channel_endpoint(const struct etcd_channel *channel);

/* Starts a call with the message `request` (copied). `timeout_ms` bounds it. */
void etcd_call_submit(struct etcd_channel *channel,
                      enum etcd_method method,
                      struct fl_bytes request,
                      int timeout_ms,
                      etcd_answer_fn done,
                      void *context);

/* Waits up to `timeout_ms` for one completion and runs its callback. False when none came. */
bool etcd_loop_poll(struct etcd_loop *loop, int timeout_ms);

/* The loop of a channel. */
struct etcd_loop *etcd_channel_loop(const struct etcd_channel *channel);

/* Calls submitted and not yet answered. */
size_t etcd_loop_in_flight(const struct etcd_loop *loop);

/* What a status proves: see etcd_call.c for the texts that are believed. */
enum etcd_outcome etcd_outcome_of(int code, const char *text);

/* Name of a gRPC status code, as in its documentation. */
const char *etcd_code_name(int code);

/* Closes the connection. The channel must have no call in flight. */
void etcd_channel_destroy(struct etcd_channel *channel);

/* Waits for calls in flight, then frees the loop. */
void etcd_loop_destroy(struct etcd_loop *loop);

#endif
