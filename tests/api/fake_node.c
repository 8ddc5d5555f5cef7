/* The fake: a sorted array of pairs, a queue, a thread. */
#include "tests/api/fake_node.h"

#include "node/view_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"
#include "shard/command.h"
#include "shard/result.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    struct shard_kv kv; /* key and value are owned */
};

struct queued {
    struct node_request *request;
    struct queued *next;
};

struct node {
    pthread_t thread;
    struct node_view_slot view;
    const char *client_url; /* of its own member */
    _Atomic uint64_t revision;
    _Atomic uint64_t submitted;
    _Atomic uint64_t compact_revision;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct queued *first;
        struct queued **last;
        bool hold;
        bool closing;
        bool waiting_over;
        const char *refusal;
        enum fl_status failure;
        unsigned failures;
    } shared;
    /* the thread's own */
    struct pair *pairs; /* in key order */
    size_t pair_count;
    size_t pair_capacity;
};

/* --- the data ------------------------------------------------------------------------------- */

/* Position of the first pair whose key is >= `key`. */
static size_t lower(const struct node *node, struct fl_bytes key)
{
    size_t low = 0;
    size_t high = node->pair_count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (fl_bytes_compare(node->pairs[middle].kv.key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct shard_kv *find(struct node *node, struct fl_bytes key)
{
    size_t at = lower(node, key);

    return at < node->pair_count && fl_bytes_equal(node->pairs[at].kv.key, key)
               ? &node->pairs[at].kv
               : NULL;
}

/* The positions [*from, to) that a request for [key, end) means. */
static size_t
interval(const struct node *node, struct fl_bytes key, struct fl_bytes end, size_t *from)
{
    size_t to;

    *from = lower(node, key);
    if (end.len == 0) {
        bool hit = *from < node->pair_count && fl_bytes_equal(node->pairs[*from].kv.key, key);

        return *from + hit;
    }
    to = shard_end_is_open(end) ? node->pair_count : lower(node, end);
    return to > *from ? to : *from;
}

static struct fl_bytes own(struct fl_bytes bytes)
{
    return fl_bytes(fl_xmemdup(bytes.data == NULL ? (const void *)"" : bytes.data, bytes.len),
                    bytes.len);
}

static void disown(struct fl_bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

static void insert_at(struct node *node, size_t at, struct fl_bytes key)
{
    fl_grow(&node->pairs, &node->pair_capacity, node->pair_count + 1, sizeof *node->pairs);
    memmove(&node->pairs[at + 1], &node->pairs[at], (node->pair_count - at) * sizeof *node->pairs);
    node->pairs[at] = (struct pair){.kv = {.key = own(key)}};
    node->pair_count++;
}

static void remove_between(struct node *node, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        disown(node->pairs[i].kv.key);
        disown(node->pairs[i].kv.value);
    }
    if (to == from) {
        return;
    }
    memmove(&node->pairs[from], &node->pairs[to], (node->pair_count - to) * sizeof *node->pairs);
    node->pair_count -= to - from;
}

/* --- operations; `revision` is the one a write gets, *wrote tells whether it was used ----------
 */

static enum fl_status
put(struct node *node, const struct shard_put *p, uint64_t revision, struct shard_result_writer *w)
{
    struct shard_kv *kv = find(node, p->key);
    struct fl_bytes value = p->value;

    if ((p->ignore_value || p->ignore_lease) && kv == NULL) {
        return FL_KEY_NOT_FOUND;
    }
    shard_result_begin(w, SHARD_RESULT_PUT, revision);
    if (p->prev_kv && kv != NULL) {
        shard_result_set_flags(w, false, false, true);
        shard_result_add_kv(w, kv);
    }
    shard_result_end(w);
    if (kv == NULL) {
        insert_at(node, lower(node, p->key), p->key);
        kv = find(node, p->key);
        kv->create_revision = revision;
        kv->value = own(fl_bytes(NULL, 0));
    }
    if (!p->ignore_value) {
        disown(kv->value);
        kv->value = own(value);
    }
    kv->mod_revision = revision;
    kv->version++;
    return FL_OK;
}

static void delete_range(struct node *node,
                         const struct shard_delete *d,
                         uint64_t revision,
                         struct shard_result_writer *w,
                         bool *wrote)
{
    size_t from;
    size_t to = interval(node, d->key, d->end, &from);

    *wrote = *wrote || to > from;
    shard_result_begin(w, SHARD_RESULT_DELETE_RANGE, *wrote ? revision : revision - 1);
    shard_result_set_count(w, to - from);
    for (size_t i = from; d->prev_kv && i < to; i++) {
        shard_result_add_kv(w, &node->pairs[i].kv);
    }
    shard_result_end(w);
    remove_between(node, from, to);
}

static bool passes(const struct shard_read *r, const struct shard_kv *kv)
{
    int64_t mod = (int64_t)kv->mod_revision;
    int64_t create = (int64_t)kv->create_revision;

    return (r->min_mod_revision == 0 || mod >= r->min_mod_revision) &&
           (r->max_mod_revision == 0 || mod <= r->max_mod_revision) &&
           (r->min_create_revision == 0 || create >= r->min_create_revision) &&
           (r->max_create_revision == 0 || create <= r->max_create_revision);
}

/* Key order only, either way: sorting is the shard's business and tested there. */
static enum fl_status range(struct node *node,
                            const struct shard_read *r,
                            uint64_t revision,
                            struct shard_result_writer *w)
{
    size_t from;
    size_t to = interval(node, r->key, r->end, &from);
    bool down = r->sort_order == SHARD_SORT_DESCEND;
    uint64_t given = 0;
    bool more = false;

    if (r->revision > atomic_load(&node->revision)) {
        return FL_FUTURE_REVISION;
    }
    if (r->revision != 0 && r->revision < atomic_load(&node->compact_revision)) {
        return FL_COMPACTED;
    }
    shard_result_begin(w, SHARD_RESULT_RANGE, revision);
    shard_result_set_count(w, to - from);
    for (size_t i = 0; i < to - from && !r->count_only; i++) {
        struct shard_kv kv = node->pairs[down ? to - 1 - i : from + i].kv;

        if (!passes(r, &kv)) {
            continue;
        }
        if (r->limit != 0 && given == r->limit) {
            more = true;
            break;
        }
        kv.value = r->keys_only ? fl_bytes(NULL, 0) : kv.value;
        shard_result_add_kv(w, &kv);
        given++;
    }
    shard_result_set_flags(w, more, false, false);
    shard_result_end(w);
    return FL_OK;
}

static bool compare_one(const struct shard_compare *c, const struct shard_kv *kv)
{
    int64_t number = kv == NULL                           ? 0
                     : c->target == SHARD_COMPARE_VERSION ? (int64_t)kv->version
                     : c->target == SHARD_COMPARE_CREATE  ? (int64_t)kv->create_revision
                     : c->target == SHARD_COMPARE_MOD     ? (int64_t)kv->mod_revision
                                                          : kv->lease;
    int order = (number > c->number) - (number < c->number);

    if (c->target == SHARD_COMPARE_VALUE) {
        if (kv == NULL) {
            return false;
        }
        order = fl_bytes_compare(kv->value, c->value);
    }
    switch (c->result) {
    case SHARD_COMPARE_EQUAL:
        return order == 0;
    case SHARD_COMPARE_GREATER:
        return order > 0;
    case SHARD_COMPARE_LESS:
        return order < 0;
    default:
        return order != 0;
    }
}

static bool compare_all(struct node *node, const struct shard_txn *txn)
{
    for (size_t i = 0; i < txn->compare_count; i++) {
        const struct shard_compare *c = &txn->compares[i];
        size_t from;
        size_t to = interval(node, c->key, c->end, &from);

        if (from == to && !compare_one(c, NULL)) {
            return false;
        }
        for (size_t k = from; k < to; k++) {
            if (!compare_one(c, &node->pairs[k].kv)) {
                return false;
            }
        }
    }
    return true;
}

static enum fl_status txn_apply(struct node *node,
                                const struct shard_txn *txn,
                                uint64_t revision,
                                struct shard_result_writer *w,
                                bool *wrote)
{
    bool holds = compare_all(node, txn);
    const struct shard_ops *ops = holds ? &txn->then_ops : &txn->else_ops;
    enum fl_status status = FL_OK;

    shard_result_begin(w, SHARD_RESULT_TXN, revision);
    shard_result_set_flags(w, false, holds, false);
    for (size_t i = 0; status == FL_OK && i < ops->count; i++) {
        const struct shard_op *op = &ops->ops[i];

        if (op->kind == SHARD_OP_RANGE) {
            status = range(node, &op->range, *wrote ? revision : revision - 1, w);
        } else if (op->kind == SHARD_OP_PUT) {
            *wrote = true;
            status = put(node, &op->put, revision, w);
        } else if (op->kind == SHARD_OP_DELETE_RANGE) {
            delete_range(node, &op->del, revision, w, wrote);
        } else {
            status = txn_apply(node, &op->txn, revision, w, wrote);
        }
    }
    shard_result_end(w);
    return status;
}

static enum fl_status txn_whole(struct node *node,
                                struct fl_bytes body,
                                uint64_t revision,
                                struct shard_result_writer *w,
                                bool *wrote)
{
    void *memory = NULL;
    size_t memory_bytes = 0;
    struct shard_txn txn;
    enum fl_status status = shard_txn_decode(body, &txn, &memory, &memory_bytes);

    if (status == FL_OK) {
        status = txn_apply(node, &txn, revision, w, wrote);
    }
    free(memory);
    return status;
}

/* --- requests ------------------------------------------------------------------------------- */

static enum fl_status
write_apply(struct node *node, struct fl_bytes payload, struct shard_result_writer *w)
{
    uint64_t revision = atomic_load(&node->revision) + 1;
    struct shard_command command;
    struct shard_put p;
    struct shard_delete d;
    bool wrote = false;
    enum fl_status status;

    FL_TRY(shard_command_decode(payload, &command));
    switch (command.kind) {
    case SHARD_COMMAND_PUT:
        FL_TRY(shard_put_decode(command.body, &p));
        wrote = true;
        status = put(node, &p, revision, w);
        break;
    case SHARD_COMMAND_DELETE_RANGE:
        FL_TRY(shard_delete_decode(command.body, &d));
        delete_range(node, &d, revision, w, &wrote);
        status = FL_OK;
        break;
    case SHARD_COMMAND_TXN:
        status = txn_whole(node, command.body, revision, w, &wrote);
        break;
    default:
        status = FL_NOT_SUPPORTED;
        break;
    }
    if (status == FL_OK && wrote) {
        atomic_store(&node->revision, revision);
    }
    return status;
}

static enum fl_status compact(struct node *node, uint64_t revision)
{
    if (revision > atomic_load(&node->revision)) {
        return FL_FUTURE_REVISION;
    }
    if (revision <= atomic_load(&node->compact_revision)) {
        return FL_COMPACTED;
    }
    atomic_store(&node->compact_revision, revision);
    return FL_OK;
}

static uint32_t hash(const struct node *node)
{
    uint32_t crc = 0;

    for (size_t i = 0; i < node->pair_count; i++) {
        crc = fl_crc32c(crc, node->pairs[i].kv.key.data, node->pairs[i].kv.key.len);
        crc = fl_crc32c(crc, node->pairs[i].kv.value.data, node->pairs[i].kv.value.len);
    }
    return crc;
}

static void serve(struct node *node, struct node_request *request, enum fl_status failure)
{
    struct node_reply reply = {.status = failure, .term = FAKE_TERM};
    struct fl_buf *command = request->kind == NODE_REQUEST_WRITE ? request->command : NULL;
    struct shard_result_writer w;

    shard_result_writer_init(&w);
    if (failure == FL_OK) {
        switch (request->kind) {
        case NODE_REQUEST_WRITE:
            reply.status = write_apply(node, fl_buf_bytes(command), &w);
            break;
        case NODE_REQUEST_READ:
            reply.status = range(node, &request->read, atomic_load(&node->revision), &w);
            break;
        case NODE_REQUEST_COMPACT:
            reply.status = compact(node, request->revision);
            break;
        case NODE_REQUEST_HASH:
        default:
            reply.hash = hash(node);
            reply.compact_revision = atomic_load(&node->compact_revision);
            break;
        }
    }
    if (reply.status == FL_OK && request->kind <= NODE_REQUEST_READ) {
        reply.status = shard_result_take(&w, &reply.result);
    }
    reply.revision = atomic_load(&node->revision);
    shard_result_writer_close(&w);
    request->done(request, &reply);
    fl_buf_release(command);
}

static void *run(void *context)
{
    struct node *node = context;

    (void)pthread_mutex_lock(&node->shared.lock);
    for (;;) {
        struct queued *queued = node->shared.first;
        enum fl_status failure = FL_OK;

        if (queued == NULL ? node->shared.closing : !node->shared.hold || node->shared.closing) {
            if (queued == NULL) {
                break;
            }
            node->shared.first = queued->next;
            if (node->shared.first == NULL) {
                node->shared.last = &node->shared.first;
            }
            if (node->shared.failures > 0) {
                node->shared.failures--;
                failure = node->shared.failure;
            }
            (void)pthread_mutex_unlock(&node->shared.lock);
            serve(node, queued->request, failure);
            free(queued);
            (void)pthread_mutex_lock(&node->shared.lock);
        } else {
            (void)pthread_cond_wait(&node->shared.changed, &node->shared.lock);
        }
    }
    (void)pthread_mutex_unlock(&node->shared.lock);
    return NULL;
}

/* --- node.h --------------------------------------------------------------------------------- */

enum fl_status
node_open(struct node **node, const struct node_options *options, char *why, size_t why_bytes)
{
    struct node *n = fl_xcalloc(1, sizeof *n);

    (void)why;
    (void)why_bytes;
    n->client_url =
        options == NULL ? "http://127.0.0.1:32379" : options->advertise_client_urls.urls[0].text;
    atomic_store(&n->revision, 1);
    (void)pthread_mutex_init(&n->shared.lock, NULL);
    (void)pthread_cond_init(&n->shared.changed, NULL);
    n->shared.last = &n->shared.first;
    node__view_slot_init(&n->view);
    fake_node_publish(n, 3, 8, true);
    fl_assert(pthread_create(&n->thread, NULL, run, n) == 0);
    *node = n;
    return FL_OK;
}

void node_submit(struct node *node, struct node_request *request)
{
    struct queued *queued = fl_xmalloc(sizeof *queued);
    bool wake;

    *queued = (struct queued){.request = request};
    atomic_fetch_add(&node->submitted, 1);
    (void)pthread_mutex_lock(&node->shared.lock);
    wake = node->shared.first == NULL;
    *node->shared.last = queued;
    node->shared.last = &queued->next;
    (void)pthread_mutex_unlock(&node->shared.lock);
    if (wake) {
        (void)pthread_cond_broadcast(&node->shared.changed);
    }
}

struct node_view *node_view_acquire(struct node *node)
{
    return node__view_slot_acquire(&node->view);
}

uint64_t node_revision(const struct node *node)
{
    return atomic_load(&((struct node *)(uintptr_t)node)->revision);
}

const char *node_wait(struct node *node)
{
    const char *refusal;

    (void)pthread_mutex_lock(&node->shared.lock);
    while (!node->shared.waiting_over) {
        (void)pthread_cond_wait(&node->shared.changed, &node->shared.lock);
    }
    refusal = node->shared.refusal;
    (void)pthread_mutex_unlock(&node->shared.lock);
    return refusal;
}

static void end_waiting(struct node *node, const char *sentence)
{
    (void)pthread_mutex_lock(&node->shared.lock);
    node->shared.waiting_over = true;
    if (sentence != NULL) {
        node->shared.refusal = sentence;
    }
    (void)pthread_cond_broadcast(&node->shared.changed);
    (void)pthread_mutex_unlock(&node->shared.lock);
}

void node_stop_waiting(struct node *node)
{
    end_waiting(node, NULL);
}

void node_drain(struct node *node, uint64_t timeout_ms)
{
    (void)timeout_ms;
    fake_node_hold(node, false);
}

void node_close(struct node *node)
{
    (void)pthread_mutex_lock(&node->shared.lock);
    node->shared.closing = true;
    (void)pthread_cond_broadcast(&node->shared.changed);
    (void)pthread_mutex_unlock(&node->shared.lock);
    (void)pthread_join(node->thread, NULL);
    remove_between(node, 0, node->pair_count);
    free(node->pairs);
    node__view_slot_close(&node->view);
    (void)pthread_mutex_destroy(&node->shared.lock);
    (void)pthread_cond_destroy(&node->shared.changed);
    free(node);
}

/* --- controls ------------------------------------------------------------------------------- */

void fake_node_fail(struct node *node, enum fl_status status, unsigned count)
{
    (void)pthread_mutex_lock(&node->shared.lock);
    node->shared.failure = status;
    node->shared.failures = count;
    (void)pthread_mutex_unlock(&node->shared.lock);
}

void fake_node_hold(struct node *node, bool hold)
{
    (void)pthread_mutex_lock(&node->shared.lock);
    node->shared.hold = hold;
    (void)pthread_cond_broadcast(&node->shared.changed);
    (void)pthread_mutex_unlock(&node->shared.lock);
}

uint64_t fake_node_submitted(struct node *node)
{
    return atomic_load(&node->submitted);
}

void fake_node_refuse(struct node *node, const char *sentence)
{
    end_waiting(node, sentence);
}

static char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));

static char *format(const char *pattern, ...)
{
    char text[128];
    va_list args;

    va_start(args, pattern);
    (void)vsnprintf(text, sizeof text, pattern, args);
    va_end(args);
    return fl_xstrdup(text);
}

static void fill_group(struct node_group_view *g, size_t i, size_t nodes, size_t ranges)
{
    char key[32];

    *g = (struct node_group_view){
        .group_id = i + 1,
        .version = 1,
        .replica_id = 1,
        .leader = FAKE_NODE_ID + i % nodes,
        .role = i % nodes == 0 ? NODE_ROLE_LEADER : NODE_ROLE_FOLLOWER,
        .term = FAKE_TERM,
        .commit_index = 100 + i,
        .applied_index = 100 + i,
        .last_index = 103 + i,
        .lag_entries = i % nodes == 0 ? i : 0,
        .replica_count = (uint32_t)(nodes < 3 ? nodes : 3),
    };
    for (size_t k = 0; k < g->replica_count; k++) {
        g->replica_nodes[k] = FAKE_NODE_ID + k;
    }
    if (i >= 2) {
        (void)snprintf(key, sizeof key, "k%05zu", i - 1);
        g->start = own(fl_bytes_of_string(key));
    }
    if (i >= 1 && i < ranges) {
        (void)snprintf(key, sizeof key, "k%05zu", i);
        g->end = own(fl_bytes_of_string(key));
    }
}

void fake_node_publish(struct node *node, size_t nodes, size_t ranges, bool ready)
{
    struct node_view *view = node__view_create();

    view->cluster_id = FAKE_CLUSTER_ID;
    view->node_id = FAKE_NODE_ID;
    view->leader = ready ? FAKE_NODE_ID : 0;
    view->revision = atomic_load(&node->revision);
    view->data_bytes = 4096;
    view->log_bytes = 8192;
    view->ready = ready;
    view->member_count = nodes;
    view->members = fl_xcalloc(nodes, sizeof *view->members);
    for (size_t i = 0; i < nodes; i++) {
        view->members[i] = (struct node_member_view){
            .id = FAKE_NODE_ID + i,
            .name = format("n%zu", i + 1),
            .peer_urls = format("http://127.0.0.1:%zu", 32380 + i),
            .client_urls =
                i == 0 ? fl_xstrdup(node->client_url) : format("http://127.0.0.1:%zu", 32379 + i),
            .locality = format("dc=d%zu", i + 1),
            .alive = true,
            .leaders = (uint32_t)(ranges / nodes),
            .replicas = (uint32_t)ranges,
        };
    }
    view->group_count = ranges + 1;
    view->groups = fl_xcalloc(view->group_count, sizeof *view->groups);
    for (size_t i = 0; i < view->group_count; i++) {
        fill_group(&view->groups[i], i, nodes, ranges);
    }
    node__view_slot_publish(&node->view, view);
}
