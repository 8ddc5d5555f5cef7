/* Private to the identity: its state, and the codec of the STORE file.
 *
 * Owner, lifetime and threads: as node/identity.h says. */
#ifndef NODE_IDENTITY_INTERNAL_H
#define NODE_IDENTITY_INTERNAL_H

#include "node/identity.h"
#include "raftgroup/base/bytes.h"

#include <pthread.h>

struct node__identity_peer {
    uint64_t node_id;
    uint8_t uuid[NODE_UUID_BYTES];
    uint32_t boot;  /* highest seen */
    uint64_t start; /* its mark; 0: not known, written by format 1 */
};

/* What STORE holds. */
struct node__identity_row {
    bool joined;
    uint64_t cluster_id;
    uint64_t node_id;
    uint8_t uuid[NODE_UUID_BYTES];
    uint32_t boot;
    uint64_t starts[NODE_STARTS_MAX];
    char *name;
    struct node_identity_seed *seeds; /* strings owned */
    size_t seed_count;
    struct node__identity_peer *peers;
    size_t peer_count;
    size_t peer_capacity;
};

struct node_identity {
    int directory_fd;
    int lock_fd;
    char *directory;
    char *log_path;
    char *data_path;
    char *snap_path;
    bool is_new;
    struct {
        pthread_mutex_t lock;
        struct node__identity_row row; /* only `peers` changes after open */
    } shared;
};

/* --- identity_store.c ------------------------------------------------------------------------- */
void node__identity_encode(struct fl_writer *out, const struct node__identity_row *row);
/* FL_CORRUPT, FL_NEWER_FORMAT; with any status `row` must be closed. */
FL_MUST_USE enum fl_status node__identity_decode(struct fl_bytes file,
                                                 struct node__identity_row *row);
void node__identity_row_close(struct node__identity_row *row);
/* Replaces DIR/STORE, durably, by `row`. FL_IO. */
FL_MUST_USE enum fl_status node__identity_save(int directory_fd,
                                               const struct node__identity_row *row);
/* Reads DIR/STORE. FL_NOT_FOUND, FL_CORRUPT, FL_NEWER_FORMAT, FL_IO (errno is set); with any status
 * `row` must be closed. */
FL_MUST_USE enum fl_status node__identity_load(int directory_fd, struct node__identity_row *row);

#endif
