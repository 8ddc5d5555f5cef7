/* Threads that write through every node of a cluster. */
#include "tests/node/cluster_writers.h"

#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A node that stays open until writers_leave. */
static struct node *writers_enter(struct writers *all, unsigned *i)
{
    struct node *node = NULL;

    (void)pthread_mutex_lock(&all->lock);
    while (node == NULL) {
        *i = (*i + 1) % all->cluster->options.nodes;
        if (!all->closing[*i]) {
            node = all->cluster->nodes[*i].node;
        }
    }
    all->users[*i]++;
    (void)pthread_mutex_unlock(&all->lock);
    return node;
}

static void writers_leave(struct writers *all, unsigned i)
{
    (void)pthread_mutex_lock(&all->lock);
    all->users[i]--;
    (void)pthread_cond_broadcast(&all->changed);
    (void)pthread_mutex_unlock(&all->lock);
}

static void note(struct writer *writer, uint64_t value, const struct outcome *o)
{
    if (o->status == FL_OK) {
        writer->ok++;
        writer->acknowledged = value;
        writer->fell_back = writer->fell_back || o->revision <= atomic_load(&writer->revision);
        atomic_store(&writer->revision, o->revision);
    } else if (fl_status_is_unknown(o->status)) {
        writer->unknown++;
        writer->why = o->status;
    } else {
        writer->refused++;
    }
}

static void *write_on(void *argument)
{
    struct writer *writer = argument;
    struct writers *all = writer->all;
    unsigned at = writer->number;
    uint64_t number = 0;

    while (!atomic_load(&all->stop)) {
        struct node *node = writers_enter(all, &at);
        struct outcome o;
        char value[24];

        number++;
        (void)snprintf(value, sizeof(value), "%" PRIu64, number);
        o = put_within(node, writer->key, value, WRITER_WAIT_MS);
        note(writer, number, &o);
        atomic_store(&writer->attempted, number);
        writers_leave(all, at);
    }
    return NULL;
}

struct writers *writers_start(struct cluster *cluster)
{
    struct writers *all = fl_xcalloc(1, sizeof(*all));

    all->cluster = cluster;
    (void)pthread_mutex_init(&all->lock, NULL);
    (void)pthread_cond_init(&all->changed, NULL);
    for (unsigned i = 0; i < WRITERS; i++) {
        struct writer *writer = &all->writer[i];

        writer->all = all;
        writer->number = i;
        (void)snprintf(
            writer->key, sizeof(writer->key), "%.1sw%u", cluster_keys[i % CLUSTER_KEYS], i);
        assert_int_equal(pthread_create(&writer->thread, NULL, write_on, writer), 0);
    }
    return all;
}

/* A write with an unknown outcome may still come, after others: the key's revision tells if one
 * that was acknowledged is missing; its version is how many writes were applied. */
static void check(const struct writer *writer, struct node *node)
{
    struct outcome o = get(node, writer->key);
    uint64_t revision = atomic_load(&writer->revision);

    assert_int_equal(o.status, FL_OK);
    assert_true(o.mod >= revision);
    if (o.mod == revision) {
        assert_int_equal(strtoull(o.value, NULL, 10), writer->acknowledged);
    }
    assert_true(strtoull(o.value, NULL, 10) <= atomic_load(&writer->attempted));
    assert_true(o.version >= writer->ok);
    assert_true(o.version <= writer->ok + writer->unknown);
}

void writers_stop(struct writers *all)
{
    uint64_t unknown = 0;

    atomic_store(&all->stop, true);
    for (unsigned i = 0; i < WRITERS; i++) {
        (void)pthread_join(all->writer[i].thread, NULL);
    }
    cluster_wait_ready(all->cluster);
    for (unsigned i = 0; i < WRITERS; i++) {
        const struct writer *writer = &all->writer[i];

        for (unsigned n = 0; n < all->cluster->options.nodes; n++) {
            check(writer, all->cluster->nodes[n].node);
        }
        assert_false(writer->fell_back);
        assert_true(writer->ok > 10);
        unknown += writer->unknown;
    }
    print_message("    %" PRIu64 " of writer 0 acknowledged, %" PRIu64 " unknown in all\n",
                  all->writer[0].ok,
                  unknown);
}

void writers_destroy(struct writers *all)
{
    (void)pthread_cond_destroy(&all->changed);
    (void)pthread_mutex_destroy(&all->lock);
    free(all);
}

void writers_close_node(struct writers *all, unsigned i, bool wait)
{
    struct node *node;

    (void)pthread_mutex_lock(&all->lock);
    all->closing[i] = true;
    (void)pthread_mutex_unlock(&all->lock);
    node = all->cluster->nodes[i].node;
    if (wait) {
        (void)pthread_mutex_lock(&all->lock);
        while (all->users[i] != 0) {
            (void)pthread_cond_wait(&all->changed, &all->lock);
        }
        (void)pthread_mutex_unlock(&all->lock);
    }
    node_close(node);
    (void)pthread_mutex_lock(&all->lock);
    all->cluster->nodes[i].node = NULL;
    while (all->users[i] != 0) { /* answered, and about to leave */
        (void)pthread_cond_wait(&all->changed, &all->lock);
    }
    all->closing[i] = false;
    (void)pthread_mutex_unlock(&all->lock);
}

struct progress {
    struct writers *all;
    uint64_t beyond[WRITERS];
};

static bool all_went_on(void *context)
{
    struct progress *progress = context;

    for (unsigned i = 0; i < WRITERS; i++) {
        if (atomic_load(&progress->all->writer[i].attempted) < progress->beyond[i]) {
            return false;
        }
    }
    return true;
}

void writers_go_on(struct writers *all, uint64_t count)
{
    struct progress progress = {.all = all};

    for (unsigned i = 0; i < WRITERS; i++) {
        progress.beyond[i] = atomic_load(&all->writer[i].attempted) + count;
    }
    cluster_wait(all_went_on, &progress, "every writer goes on");
}

void writers_open_node(struct writers *all, unsigned i)
{
    (void)pthread_mutex_lock(&all->lock);
    all->closing[i] = true; /* nobody may look at it while it opens */
    (void)pthread_mutex_unlock(&all->lock);
    cluster_start(all->cluster, i);
    cluster_wait_ready(all->cluster);
    (void)pthread_mutex_lock(&all->lock);
    all->closing[i] = false;
    (void)pthread_mutex_unlock(&all->lock);
}
