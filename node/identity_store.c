/* The STORE file: encoding, decoding, and replacing it so that a crash leaves the old or the new.
 */
#include "node/identity_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/limits.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FORMAT = 2,
    FORMAT_WITHOUT_STARTS = 1,
    HEADER_BYTES = 46,
    SEED_BYTES_MIN = 8 + 1 + 1,
    PEER_BYTES_MIN = 8 + NODE_UUID_BYTES + 4,
    PEER_BYTES = PEER_BYTES_MIN + 8,
    FILE_BYTES_MAX = 16 * 1024 * 1024
};

static const uint8_t magic[8] = "FLstore";
static const char store_name[] = "STORE";
static const char new_name[] = "STORE.new";

static_assert(HEADER_BYTES == 8 + 1 + 1 + 8 + 8 + NODE_UUID_BYTES + 4, "byte table of STORE");
static_assert(FILE_BYTES_MAX > FL_NODES_MAX * (PEER_BYTES + SEED_BYTES_MIN + NODE_NAME_BYTES_MAX +
                                               NODE_URLS_BYTES_MAX + 8),
              "every node fits as seed and peer");

void node__identity_encode(struct fl_writer *out, const struct node__identity_row *row)
{
    size_t start = out->len;

    fl_write_raw(out, fl_bytes(magic, sizeof(magic)));
    fl_write_u8(out, FORMAT);
    fl_write_u8(out, row->joined ? 1 : 0);
    fl_write_u64le(out, row->cluster_id);
    fl_write_u64le(out, row->node_id);
    fl_write_raw(out, fl_bytes(row->uuid, sizeof(row->uuid)));
    fl_write_u32le(out, row->boot);
    fl_write_bytes(out, fl_bytes_of_string(row->name));
    fl_write_varint(out, row->seed_count);
    for (size_t i = 0; i < row->seed_count; i++) {
        fl_write_u64le(out, row->seeds[i].node_id);
        fl_write_bytes(out, fl_bytes_of_string(row->seeds[i].name));
        fl_write_bytes(out, fl_bytes_of_string(row->seeds[i].peer_urls));
    }
    fl_write_varint(out, row->peer_count);
    for (size_t i = 0; i < row->peer_count; i++) {
        fl_write_u64le(out, row->peers[i].node_id);
        fl_write_raw(out, fl_bytes(row->peers[i].uuid, NODE_UUID_BYTES));
        fl_write_u32le(out, row->peers[i].boot);
        fl_write_u64le(out, row->peers[i].start);
    }
    for (size_t i = 0; i < NODE_STARTS_MAX; i++) {
        fl_write_u64le(out, row->starts[i]);
    }
    fl_write_u32le(out, fl_crc32c(0, out->data + start, out->len - start));
}

static char *read_text(struct fl_reader *r, size_t len_max)
{
    struct fl_bytes text = fl_read_bytes(r);
    char *copy;

    if (text.len > len_max || (text.len != 0 && memchr(text.data, 0, text.len) != NULL)) {
        r->bad = true;
        text.len = 0;
    }
    copy = fl_xmalloc(text.len + 1);
    if (text.len != 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}

/* A count of elements of at least `size` bytes that the input can really hold. */
static size_t read_count(struct fl_reader *r, size_t size)
{
    uint64_t count = fl_read_varint(r);

    if (count > FL_NODES_MAX || count > fl_reader_left(r) / size) {
        r->bad = true;
        return 0;
    }
    return (size_t)count;
}

static void read_uuid(struct fl_reader *r, uint8_t uuid[NODE_UUID_BYTES])
{
    struct fl_bytes bytes = fl_read_raw(r, NODE_UUID_BYTES);

    if (!r->bad) {
        memcpy(uuid, bytes.data, NODE_UUID_BYTES);
    }
}

static void read_lists(struct fl_reader *r, struct node__identity_row *row, bool has_starts)
{
    row->name = read_text(r, NODE_NAME_BYTES_MAX);
    row->seed_count = read_count(r, SEED_BYTES_MIN);
    row->seeds = fl_xcalloc(row->seed_count, sizeof(*row->seeds));
    for (size_t i = 0; i < row->seed_count; i++) {
        row->seeds[i].node_id = fl_read_u64le(r);
        row->seeds[i].name = read_text(r, NODE_NAME_BYTES_MAX);
        row->seeds[i].peer_urls = read_text(r, NODE_URLS_BYTES_MAX);
    }
    row->peer_count = read_count(r, has_starts ? PEER_BYTES : PEER_BYTES_MIN);
    row->peer_capacity = row->peer_count;
    row->peers = fl_xcalloc(row->peer_count, sizeof(*row->peers));
    for (size_t i = 0; i < row->peer_count; i++) {
        row->peers[i].node_id = fl_read_u64le(r);
        read_uuid(r, row->peers[i].uuid);
        row->peers[i].boot = fl_read_u32le(r);
        row->peers[i].start = has_starts ? fl_read_u64le(r) : 0;
    }
    for (size_t i = 0; has_starts && i < NODE_STARTS_MAX; i++) {
        row->starts[i] = fl_read_u64le(r);
    }
}

enum fl_status node__identity_decode(struct fl_bytes file, struct node__identity_row *row)
{
    struct fl_reader r;
    uint8_t format;
    uint8_t joined;

    *row = (struct node__identity_row){0};
    if (file.len < HEADER_BYTES + 4 || memcmp(file.data, magic, sizeof(magic)) != 0 ||
        fl_get_u32le(file.data + file.len - 4) != fl_crc32c(0, file.data, file.len - 4)) {
        return FL_CORRUPT;
    }
    r = fl_reader(fl_bytes(file.data + sizeof(magic), file.len - sizeof(magic) - 4));
    format = fl_read_u8(&r);
    if (format > FORMAT || format < FORMAT_WITHOUT_STARTS) {
        return format > FORMAT ? FL_NEWER_FORMAT : FL_CORRUPT;
    }
    joined = fl_read_u8(&r);
    row->joined = joined == 1;
    row->cluster_id = fl_read_u64le(&r);
    row->node_id = fl_read_u64le(&r);
    read_uuid(&r, row->uuid);
    row->boot = fl_read_u32le(&r);
    read_lists(&r, row, format != FORMAT_WITHOUT_STARTS);
    return fl_reader_done(&r) && joined <= 1 && row->cluster_id != 0 && row->node_id != 0 &&
                   row->boot != 0
               ? FL_OK
               : FL_CORRUPT;
}

void node__identity_row_close(struct node__identity_row *row)
{
    for (size_t i = 0; i < row->seed_count; i++) {
        /* The public struct lends const strings; here is their owner. */
        free((void *)(uintptr_t)row->seeds[i].name);
        free((void *)(uintptr_t)row->seeds[i].peer_urls);
    }
    free(row->seeds);
    free(row->peers);
    free(row->name);
    *row = (struct node__identity_row){0};
}

static bool write_all(int fd, struct fl_bytes bytes)
{
    while (bytes.len != 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        bytes.data += n;
        bytes.len -= (size_t)n;
    }
    return true;
}

enum fl_status node__identity_save(int directory_fd, const struct node__identity_row *row)
{
    struct fl_writer file;
    enum fl_status status = FL_IO;
    int error;
    int fd =
        openat(directory_fd, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        return FL_IO;
    }
    fl_writer_init(&file);
    node__identity_encode(&file, row);
    if (write_all(fd, fl_writer_bytes(&file)) && fsync(fd) == 0 &&
        renameat(directory_fd, new_name, directory_fd, store_name) == 0 &&
        fsync(directory_fd) == 0) {
        status = FL_OK;
    }
    error = errno;
    (void)close(fd);
    fl_writer_close(&file);
    errno = error;
    return status;
}

static enum fl_status read_file(int fd, struct fl_writer *out)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return FL_IO;
    }
    if (st.st_size > FILE_BYTES_MAX) {
        return FL_CORRUPT;
    }
    for (;;) {
        size_t len = out->len;
        ssize_t n = read(fd, fl_write_space(out, 4096), 4096);

        out->len = len + (n > 0 ? (size_t)n : 0);
        if (n == 0) {
            return FL_OK;
        }
        if (n < 0 && errno != EINTR) {
            return FL_IO;
        }
    }
}

enum fl_status node__identity_load(int directory_fd, struct node__identity_row *row)
{
    struct fl_writer file;
    enum fl_status status;
    int fd = openat(directory_fd, store_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    *row = (struct node__identity_row){0};
    if (fd < 0) {
        return errno == ENOENT ? FL_NOT_FOUND : FL_IO;
    }
    fl_writer_init(&file);
    status = read_file(fd, &file);
    (void)close(fd);
    if (status == FL_OK) {
        status = node__identity_decode(fl_writer_bytes(&file), row);
    }
    fl_writer_close(&file);
    return status;
}
