/* gRPC core, one call at a time. */
#include "tests/api/raw_call.h"

#include "raftgroup/base/assert.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <string.h>

const char *raw_call_metadata[2];

struct received {
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *body;
    grpc_status_code code;
    grpc_slice details;
};

static void
run(grpc_call *call, grpc_completion_queue *queue, grpc_byte_buffer *out, struct received *r)
{
    grpc_op ops[6];
    grpc_metadata sent;

    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (raw_call_metadata[0] != NULL) {
        memset(&sent, 0, sizeof sent);
        sent.key = grpc_slice_from_static_string(raw_call_metadata[0]);
        sent.value = grpc_slice_from_static_string(raw_call_metadata[1]);
        ops[0].data.send_initial_metadata.count = 1;
        ops[0].data.send_initial_metadata.metadata = &sent;
    }
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = out;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &r->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &r->body;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &r->trailing;
    ops[5].data.recv_status_on_client.status = &r->code;
    ops[5].data.recv_status_on_client.status_details = &r->details;
    fl_assert(grpc_call_start_batch(call, ops, 6, r, NULL) == GRPC_CALL_OK);
    (void)grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
}

static void answer_from(const struct received *r, struct raw_answer *answer)
{
    grpc_byte_buffer_reader reader;
    grpc_slice body;

    fl_writer_init(&answer->body);
    answer->code = (int)r->code;
    (void)snprintf(answer->text,
                   sizeof answer->text,
                   "%.*s",
                   (int)GRPC_SLICE_LENGTH(r->details),
                   (const char *)GRPC_SLICE_START_PTR(r->details));
    if (r->body != NULL && grpc_byte_buffer_reader_init(&reader, r->body) != 0) {
        body = grpc_byte_buffer_reader_readall(&reader);
        fl_write_raw(&answer->body, fl_bytes(GRPC_SLICE_START_PTR(body), GRPC_SLICE_LENGTH(body)));
        grpc_slice_unref(body);
        grpc_byte_buffer_reader_destroy(&reader);
    }
}

void raw_call(const char *address,
              const char *path,
              struct fl_bytes request,
              int timeout_ms,
              struct raw_answer *answer)
{
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(address, credentials, NULL);
    grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)request.data, request.len);
    grpc_byte_buffer *out = grpc_raw_byte_buffer_create(&slice, 1);
    struct received r = {.details = grpc_empty_slice()};
    grpc_call *call = grpc_channel_create_call(
        channel,
        NULL,
        GRPC_PROPAGATE_DEFAULTS,
        queue,
        grpc_slice_from_static_string(path),
        NULL,
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN)),
        NULL);

    grpc_metadata_array_init(&r.initial);
    grpc_metadata_array_init(&r.trailing);
    run(call, queue, out, &r);
    answer_from(&r, answer);
    grpc_metadata_array_destroy(&r.initial);
    grpc_metadata_array_destroy(&r.trailing);
    if (r.body != NULL) {
        grpc_byte_buffer_destroy(r.body);
    }
    grpc_slice_unref(r.details);
    grpc_call_unref(call);
    grpc_byte_buffer_destroy(out);
    grpc_slice_unref(slice);
    grpc_channel_destroy(channel);
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(queue);
    grpc_channel_credentials_release(credentials);
}
