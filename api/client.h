/* A gRPC client for command lines: one call at a time, over the first endpoint that answers.
 *
 * Owner: the caller. Lifetime: api_client_create to api_client_destroy. Threads: one. */
#ifndef API_CLIENT_H
#define API_CLIENT_H

#include "api/arena.h"

#include <grpc/status.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define API_ENDPOINTS_MAX 64

struct api_client;

/* How a call ended. */
struct api_call_result {
    grpc_status_code code; /* GRPC_STATUS_OK: `message` is set */
    char text[256];        /* what the server or gRPC said */
    const void *message;   /* unpacked reply; valid until the next call */
};

/* `endpoints`: comma separated, each host:port or http://host:port. NULL with a sentence in `why`
 * when one is not an address. Does not connect yet. */
struct api_client *
api_client_create(const char *endpoints, uint64_t timeout_ms, char *why, size_t why_bytes);
void api_client_destroy(struct api_client *client);

/* Calls `path` and waits. Endpoints that cannot be reached are passed over; once a request has been
 * sent it is sent to another one only if `repeatable`: a write must not happen twice. */
bool api_client_call(struct api_client *client,
                     const char *path,
                     const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *reply,
                     bool repeatable,
                     struct api_call_result *result);

/* host:port of endpoint `at`, counted around: for connections of the caller's own. */
const char *api_client_address(const struct api_client *client, size_t at);

#endif
