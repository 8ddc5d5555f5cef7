/* Counters, gauges and log-linear histograms, and the registry that a metrics page walks.
 *
 * Owner: static storage of the module that declares a metric. Lifetime: the process.
 * Threads: updates from any thread (relaxed atomics: a metric orders nothing); registration before
 * the first walk, or at any time under the registry's lock.
 *
 * Names follow Prometheus: prefix flotilla_, base units, _total on counters. */
#ifndef RAFTGROUP_BASE_METRIC_H
#define RAFTGROUP_BASE_METRIC_H

#include <stdatomic.h>
#include <stdint.h>

enum fl_metric_kind { FL_METRIC_COUNTER, FL_METRIC_GAUGE, FL_METRIC_HISTOGRAM };

/* Histogram buckets: upper bounds 2^(i/2) steps from 1 to about 2^31 in the metric's raw unit. */
#define FL_METRIC_BUCKETS 64

struct fl_metric {
    const char *name;   /* family name, static */
    const char *help;   /* one sentence, static */
    const char *labels; /* "role=\"leader\"" or NULL, static */
    enum fl_metric_kind kind;
    double scale;              /* exported value = raw value * scale; 1e-9 for nanoseconds */
    _Atomic int64_t value;     /* counter or gauge; sum of a histogram */
    _Atomic uint64_t *buckets; /* FL_METRIC_BUCKETS + 1 cumulative-free counts, histograms only */
    struct fl_metric *next;    /* registry; set by fl_metric_register */
};

#define FL_COUNTER(name_, help_, labels_)                                                          \
    {                                                                                              \
        .name = (name_), .help = (help_), .labels = (labels_), .kind = FL_METRIC_COUNTER,          \
        .scale = 1                                                                                 \
    }
#define FL_GAUGE(name_, help_, labels_)                                                            \
    {                                                                                              \
        .name = (name_), .help = (help_), .labels = (labels_), .kind = FL_METRIC_GAUGE, .scale = 1 \
    }
/* `counts_` is a static array of FL_METRIC_BUCKETS + 1 atomics. */
#define FL_HISTOGRAM(name_, help_, labels_, scale_, counts_)                                       \
    {                                                                                              \
        .name = (name_), .help = (help_), .labels = (labels_), .kind = FL_METRIC_HISTOGRAM,        \
        .scale = (scale_), .buckets = (counts_)                                                    \
    }

/* Adds `metric` to the registry; families (same name) must be registered one after the other. */
void fl_metric_register(struct fl_metric *metric);
/* Calls `visit` for every metric in order of registration. */
void fl_metric_walk(void (*visit)(void *context, const struct fl_metric *metric), void *context);

static inline void fl_metric_add(struct fl_metric *metric, int64_t n)
{
    atomic_fetch_add_explicit(&metric->value, n, memory_order_relaxed);
}

static inline void fl_metric_set(struct fl_metric *metric, int64_t v)
{
    atomic_store_explicit(&metric->value, v, memory_order_relaxed);
}

static inline int64_t fl_metric_get(const struct fl_metric *metric)
{
    return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

/* Counts one observation of the raw value `v`. */
void fl_metric_observe(struct fl_metric *metric, uint64_t v);
/* Raw upper bound of bucket `i`; the last bucket (i == FL_METRIC_BUCKETS) has none. */
uint64_t fl_metric_bucket_bound(unsigned i);

#endif
