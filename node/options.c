/* Options in one table: a row is the flag, its variable, its default, its bounds and its help.
 *
 * Parsing has three steps, so that order never matters: collect the text of every option (default,
 * then environment, then flags), convert each text by the kind of its row, then check what rows
 * say about each other. The first thing that is wrong ends it with one sentence. */
#include "node/options.h"

#include "node/options_internal.h"
#include "raftgroup/base/limits.h"

#include <stdarg.h>
#include <string.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

#define TEXT_BYTES_MAX 4096
#define THREADS_MAX    64

/* clang-format off */
/* id, flag, kind, field; default (NULL: worked out from others), min, max, value name; help */
#define OPTION_TABLE(X)                                                                            \
    X(NAME, "name", TEXT, name,                                                                    \
      "default", 1, NODE_NAME_BYTES_MAX, "NAME",                                                   \
      "name of this node, unique in the cluster")                                                  \
    X(DATA_DIR, "data-dir", TEXT, data_dir,                                                        \
      NULL, 1, TEXT_BYTES_MAX, "DIR",                                                              \
      "where everything durable lives (default NAME.flotilla)")                                    \
    X(LISTEN_CLIENT, "listen-client-urls", URLS, listen_client_urls,                               \
      "http://localhost:2379", 0, 0, "URLS",                                                       \
      "where etcd clients are served")                                                             \
    X(ADVERTISE_CLIENT, "advertise-client-urls", URLS, advertise_client_urls,                      \
      NULL, 0, 0, "URLS",                                                                          \
      "client URLs told to others (default: the listen URLs)")                                     \
    X(LISTEN_PEER, "listen-peer-urls", URLS, listen_peer_urls,                                     \
      "http://localhost:2380", 0, 0, "URLS",                                                       \
      "where other nodes are served")                                                              \
    X(ADVERTISE_PEER, "initial-advertise-peer-urls", URLS, advertise_peer_urls,                    \
      NULL, 0, 0, "URLS",                                                                          \
      "peer URLs told to others (default: as in --initial-cluster)")                               \
    X(LISTEN_METRICS, "listen-metrics-urls", URLS, listen_metrics_urls,                            \
      "http://localhost:2381", 0, 0, "URLS",                                                       \
      "where /metrics and /health are served")                                                     \
    X(CLUSTER, "initial-cluster", SEEDS, seeds,                                                    \
      NULL, 0, 0, "NAME=URL,..",                                                                   \
      "the nodes that form the cluster (default: this node alone)")                                \
    X(TOKEN, "initial-cluster-token", TEXT, cluster_token,                                         \
      "flotilla-cluster", 1, NODE_NAME_BYTES_MAX, "TEXT",                                          \
      "keeps clusters with the same URLs apart")                                                   \
    X(STATE, "initial-cluster-state", STATE, cluster_state,                                        \
      "new", 0, 0, "new|existing",                                                                 \
      "form a cluster, or join one that runs")                                                     \
    X(LOCALITY, "locality", TEXT, locality,                                                        \
      "", 0, TEXT_BYTES_MAX, "dc=..,rack=..",                                                      \
      "where this node stands; replicas are spread over it")                                       \
    X(RANGES, "initial-ranges", U32, initial_ranges,                                               \
      "1", 1, NODE_SPLIT_KEYS_MAX + 1, "N",                                                        \
      "ranges of a new cluster, cut evenly over printable keys")                                   \
    X(SPLIT_KEYS, "initial-split-keys", KEYS, split_keys,                                          \
      "", 0, 0, "KEY,..",                                                                          \
      "ranges of a new cluster, cut at these keys (\\xNN, \\, and \\\\ are understood)")           \
    X(HEARTBEAT, "heartbeat-interval", MS, heartbeat_ms,                                           \
      "200ms", 10, 10000, "MS",                                                                    \
      "time between two beats of a node")                                                          \
    X(ELECTION, "election-timeout", MS, election_ms,                                               \
      "1000ms", 50, 50000, "MS",                                                                   \
      "silence after which a leader is replaced")                                                  \
    X(LOG_LEVEL, "log-level", LEVEL, log_level,                                                    \
      "info", 0, 0, "LEVEL",                                                                       \
      "debug, info, warn or error")                                                                \
    X(RAFT_LOOPS, "raft-loops", U32, raft_loops,                                                   \
      NULL, 1, NODE_RAFT_LOOPS_MAX, "N",                                                           \
      "threads that run Raft (default: 1, more from 8 cores up)")                                  \
    X(APPLY_THREADS, "apply-threads", U32, apply_threads,                                          \
      NULL, 1, THREADS_MAX, "N",                                                                   \
      "threads that apply entries (default: as --raft-loops)")                                     \
    X(READ_THREADS, "read-threads", U32, read_threads,                                             \
      NULL, 1, THREADS_MAX, "N",                                                                   \
      "threads that answer range reads (default: as --raft-loops)")                                \
    X(CLIENT_THREADS, "client-threads", U32, client_threads,                                       \
      NULL, 1, 16, "N",                                                                            \
      "threads that serve gRPC clients (default: as --raft-loops)")                                \
    X(MEMTABLE, "memtable-size", BYTES, memtable_bytes,                                            \
      "64MiB", MIB, 4 * GIB, "SIZE",                                                               \
      "unflushed data that makes the data engine flush")                                           \
    X(FLUSH_INTERVAL, "flush-interval", MS, flush_interval_ms,                                     \
      "30s", 100, 3600000, "TIME",                                                                 \
      "age of unflushed data that makes the data engine flush")                                    \
    X(CACHE, "cache-size", BYTES, cache_bytes,                                                     \
      "128MiB", MIB, TIB, "SIZE",                                                                  \
      "block cache of the data engine")                                                            \
    X(LOG_MEMTABLE, "log-memtable-size", BYTES, log_memtable_bytes,                                \
      "64MiB", MIB, 4 * GIB, "SIZE",                                                               \
      "memtable of the log store")                                                                 \
    X(LOG_KEEP_BYTES, "log-keep-size", BYTES, log_keep_bytes,                                      \
      "64MiB", 64 * KIB, TIB, "SIZE",                                                              \
      "log kept per group for followers")                                                          \
    X(LOG_KEEP_ENTRIES, "log-keep-entries", U64, log_keep_entries,                                 \
      "10000", 10, 1000000000, "N",                                                                \
      "entries kept per group for followers")                                                      \
    X(LOG_LAGGARD, "log-laggard-size", BYTES, log_laggard_bytes,                                   \
      "256MiB", 64 * KIB, TIB, "SIZE",                                                             \
      "log kept per group for a live follower that is behind")                                     \
    X(DISK_RESERVE, "disk-reserve", BYTES, disk_reserve_bytes,                                     \
      "256MiB", 0, TIB, "SIZE",                                                                    \
      "writes are refused when the file system has less left")                                     \
    X(SNAPSHOT_RATE, "snapshot-rate", BYTES, snapshot_rate_bytes,                                  \
      "64MiB", 64 * KIB, TIB, "SIZE",                                                              \
      "snapshot bytes sent per second")
/* clang-format on */

enum option_id {
#define X(id, ...) OPTION_##id,
    OPTION_TABLE(X)
#undef X
        OPTION_COUNT
};

static const struct node_option_row rows[OPTION_COUNT] = {
#define X(id, flag, kind, field, fallback, min, max, value_name, help)                             \
    {flag,                                                                                         \
     NODE_OPTION_##kind,                                                                           \
     offsetof(struct node_options, field),                                                         \
     fallback,                                                                                     \
     min,                                                                                          \
     max,                                                                                          \
     value_name,                                                                                   \
     help},
    OPTION_TABLE(X)
#undef X
};

/* The texts as collected. */
struct collection {
    struct node_reading reading;
    const char *texts[OPTION_COUNT];
    bool given[OPTION_COUNT]; /* by the environment or a flag */
};

bool node__refuse(struct node_reading *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(p->why, p->why_bytes, format, args);
    va_end(args);
    return false;
}

struct fl_bytes node__cut(struct fl_bytes *rest, char separator)
{
    const uint8_t *at = rest->len == 0 ? NULL : memchr(rest->data, separator, rest->len);
    struct fl_bytes head = fl_bytes(rest->data, at == NULL ? rest->len : (size_t)(at - rest->data));
    size_t used = at == NULL ? rest->len : head.len + 1;

    *rest = fl_bytes(rest->data + used, rest->len - used);
    return head;
}

/* "initial-cluster" matches the variable FLOTILLA_INITIAL_CLUSTER. */
static bool variable_is(struct fl_bytes variable, const char *flag)
{
    static const char prefix[] = "FLOTILLA_";
    size_t prefix_bytes = sizeof prefix - 1;

    if (variable.len != prefix_bytes + strlen(flag) ||
        memcmp(variable.data, prefix, prefix_bytes) != 0) {
        return false;
    }
    for (size_t i = 0; flag[i] != '\0'; i++) {
        char c = flag[i];
        char upper = (char)(c == '-' ? '_' : c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c);

        if (variable.data[prefix_bytes + i] != (uint8_t)upper) {
            return false;
        }
    }
    return true;
}

static void collect_environment(struct collection *c, char *const *environment)
{
    for (; environment != NULL && *environment != NULL; environment++) {
        struct fl_bytes value = fl_bytes_of_string(*environment);
        struct fl_bytes variable = node__cut(&value, '=');

        for (size_t i = 0; i < OPTION_COUNT; i++) {
            if (variable_is(variable, rows[i].flag)) {
                c->texts[i] = *environment + variable.len + 1;
                c->given[i] = true;
            }
        }
    }
}

/* Levenshtein distance; names longer than the table are simply far away. */
static size_t distance(struct fl_bytes a, const char *b)
{
    size_t row[64];
    size_t n = strlen(b);

    if (n >= 64 || a.len >= 64) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t replace = diagonal + (a.data[i - 1] != (uint8_t)b[j - 1]);
            size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

            diagonal = row[j];
            row[j] = replace < best ? replace : best;
        }
    }
    return row[n];
}

static bool refuse_unknown_flag(struct node_reading *p, struct fl_bytes name)
{
    size_t best = SIZE_MAX;
    const char *nearest = NULL;
    int shown = (int)(name.len < 100 ? name.len : 100);
    const char *text = name.len == 0 ? "" : (const char *)name.data;

    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t d = distance(name, rows[i].flag);

        if (d < best) {
            best = d;
            nearest = rows[i].flag;
        }
    }
    if (nearest != NULL && best <= 3 && best < name.len) {
        return node__refuse(p, "unknown flag --%.*s; did you mean --%s?", shown, text, nearest);
    }
    return node__refuse(p, "unknown flag --%.*s; --help lists them all", shown, text);
}

static bool collect_flag(struct collection *c, struct fl_bytes name, const char *value)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (fl_bytes_equal(name, fl_bytes_of_string(rows[i].flag))) {
            if (value == NULL) {
                return node__refuse(&c->reading,
                                    "--%s needs a value: --%s %s",
                                    rows[i].flag,
                                    rows[i].flag,
                                    rows[i].value_name);
            }
            c->texts[i] = value;
            c->given[i] = true;
            return true;
        }
    }
    return refuse_unknown_flag(&c->reading, name);
}

static bool is_flag(const char *text, const char *name)
{
    return text[0] == '-' &&
           (strcmp(text + 1, name) == 0 || (text[1] == '-' && strcmp(text + 2, name) == 0));
}

static enum node_options_outcome collect_flags(struct collection *c, int argc, char *const *argv)
{
    for (int i = 1; i < argc; i++) {
        const char *text = argv[i];
        struct fl_bytes rest;
        struct fl_bytes name;
        const char *value = NULL;

        if (is_flag(text, "help") || strcmp(text, "-h") == 0) {
            return NODE_OPTIONS_HELP;
        }
        if (is_flag(text, "version")) {
            return NODE_OPTIONS_VERSION;
        }
        if (text[0] != '-' || text[1] == '\0') {
            (void)node__refuse(
                &c->reading, "unexpected argument '%.100s'; everything is given by flags", text);
            return NODE_OPTIONS_BAD;
        }
        rest = fl_bytes_of_string(text + (text[1] == '-' ? 2 : 1));
        name = node__cut(&rest, '=');
        if (name.len > 0 && name.data[name.len] == '=') {
            value = (const char *)name.data + name.len + 1;
        } else if (i + 1 < argc) {
            value = argv[++i];
        }
        if (!collect_flag(c, name, value)) {
            return NODE_OPTIONS_BAD;
        }
    }
    return NODE_OPTIONS_RUN;
}

enum node_options_outcome node_options_parse(struct node_options *options,
                                             int argc,
                                             char *const *argv,
                                             char *const *environment,
                                             char *why,
                                             size_t why_bytes)
{
    struct collection c = {.reading = {.options = options, .why_bytes = why_bytes}};
    enum node_options_outcome outcome;

    c.reading.why = why;
    *options = (struct node_options){.name = NULL};
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        c.texts[i] = rows[i].fallback;
    }
    collect_environment(&c, environment);
    outcome = collect_flags(&c, argc, argv);
    if (outcome != NODE_OPTIONS_RUN) {
        return outcome;
    }
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (c.texts[i] != NULL && !node__option_convert(&c.reading, &rows[i], c.texts[i])) {
            return NODE_OPTIONS_BAD;
        }
    }
    if (c.given[OPTION_RANGES] && options->split_key_count > 0) {
        (void)node__refuse(&c.reading, "give --initial-ranges or --initial-split-keys, not both");
        return NODE_OPTIONS_BAD;
    }
    return node__options_check(&c.reading) ? NODE_OPTIONS_RUN : NODE_OPTIONS_BAD;
}

void node_options_close(struct node_options *options)
{
    free(options->name);
    free(options->data_dir);
    free(options->cluster_token);
    free(options->locality);
    node_url_list_close(&options->listen_client_urls);
    node_url_list_close(&options->advertise_client_urls);
    node_url_list_close(&options->listen_peer_urls);
    node_url_list_close(&options->advertise_peer_urls);
    node_url_list_close(&options->listen_metrics_urls);
    for (size_t i = 0; i < options->seed_count; i++) {
        free(options->seeds[i].name);
        node_url_list_close(&options->seeds[i].peer_urls);
    }
    free(options->seeds);
    for (size_t i = 0; i < options->split_key_count; i++) {
        free((void *)(uintptr_t)options->split_keys[i].data);
    }
    free(options->split_keys);
    *options = (struct node_options){.name = NULL};
}

void node_options_print_help(FILE *out)
{
    (void)fprintf(
        out,
        "flotillad %s: a node of a sharded key-value store that speaks etcd's v3 API\n\n"
        "usage: flotillad [--flag value]...\n\n"
        "With no flag at all one node forms a cluster of its own. Every flag can also be\n"
        "given as FLOTILLA_<FLAG> in the environment, with _ for -; flags win.\n\n",
        NODE_VERSION);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        (void)fprintf(out, "  --%s %s\n        %s", rows[i].flag, rows[i].value_name, rows[i].help);
        if (rows[i].fallback != NULL && rows[i].fallback[0] != '\0') {
            (void)fprintf(out, " (default %s)", rows[i].fallback);
        }
        (void)fputc('\n', out);
    }
    (void)fprintf(out, "  --help, --version\n");
}
