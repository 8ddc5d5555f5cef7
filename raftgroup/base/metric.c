/* The metric registry and histogram buckets. */
#include "raftgroup/base/metric.h"

#include "raftgroup/base/assert.h"

#include <pthread.h>
#include <stddef.h>

static struct {
    pthread_mutex_t lock;
    struct fl_metric *first;
    struct fl_metric **last;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER, .first = NULL, .last = &registry.first};

void fl_metric_register(struct fl_metric *metric)
{
    fl_assert(metric->kind != FL_METRIC_HISTOGRAM || metric->buckets != NULL);
    (void)pthread_mutex_lock(&registry.lock);
    metric->next = NULL;
    *registry.last = metric;
    registry.last = &metric->next;
    (void)pthread_mutex_unlock(&registry.lock);
}

void fl_metric_walk(void (*visit)(void *context, const struct fl_metric *metric), void *context)
{
    (void)pthread_mutex_lock(&registry.lock);
    for (const struct fl_metric *m = registry.first; m != NULL; m = m->next) {
        visit(context, m);
    }
    (void)pthread_mutex_unlock(&registry.lock);
}

uint64_t fl_metric_bucket_bound(unsigned i)
{
    uint64_t power = UINT64_C(1) << (i / 2);

    return i % 2 == 0 ? power : power + power / 2;
}

void fl_metric_observe(struct fl_metric *metric, uint64_t v)
{
    unsigned i = 0;

    if (v > 1) {
        unsigned log2 = 63u - (unsigned)__builtin_clzll(v);

        i = 2 * log2;
        while (i < FL_METRIC_BUCKETS && v > fl_metric_bucket_bound(i)) {
            i++;
        }
    }
    if (i > FL_METRIC_BUCKETS) {
        i = FL_METRIC_BUCKETS;
    }
    atomic_fetch_add_explicit(&metric->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->value, (int64_t)v, memory_order_relaxed);
}
