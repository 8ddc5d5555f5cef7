/* A stranger's side of the handshake. */
#include "tests/node/greeting.h"

#include "node/frame.h"
#include "node/transport.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cmocka.h>

int greeting_socket(void)
{
    struct timeval limit = {.tv_sec = GREETING_WAIT_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    return fd;
}

void greeting_connect(int fd, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

int greeting_dial(uint16_t port)
{
    int fd = greeting_socket();

    greeting_connect(fd, port);
    return fd;
}

void greeting_send(int fd, const void *data, size_t len)
{
    assert_int_equal(send(fd, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

void greeting_say(int fd, const struct node_hello *hello)
{
    struct fl_writer body;
    struct fl_writer out;

    fl_writer_init(&body);
    fl_writer_init(&out);
    node_hello_encode(&body, hello);
    node_frame_write(&out, NODE_FRAME_HELLO, fl_writer_bytes(&body));
    greeting_send(fd, out.data, out.len);
    fl_writer_close(&out);
    fl_writer_close(&body);
}

void greeting_hear(int fd, struct node_answer *answer)
{
    struct node_frame_reader reader;
    struct node_frame frame;
    enum fl_status status;

    node_frame_reader_init(&reader, NODE_HANDSHAKE_BYTES_MAX);
    while ((status = node_frame_next(&reader, &frame)) == FL_NOT_READY) {
        size_t space;
        uint8_t *room = node_frame_reader_space(&reader, &space);
        ssize_t n = recv(fd, room, space, 0);

        assert_true(n > 0);
        node_frame_reader_fill(&reader, (size_t)n);
    }
    assert_int_equal(status, FL_OK);
    assert_int_equal(frame.type, NODE_FRAME_ANSWER);
    assert_int_equal(node_answer_decode(frame.body, answer), FL_OK);
    node_frame_reader_close(&reader);
}
