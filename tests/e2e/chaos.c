/* chaos: concurrent clients against a cluster, recorded, while a script breaks it.
 *
 * Reads commands from standard input, one per line, and answers each on standard output with "ok"
 * or "error REASON":
 *     fault NODE start|end TEXT     writes a fault into the history, now
 *     wait MILLISECONDS             lets the clients run
 *     wait-ok COUNT MILLISECONDS    until COUNT more operations have succeeded, at most so long
 *     stop                          stops the clients
 *     settle SECONDS                reads every key through every node, compares replica hashes
 *     counts                        prints "ok N failed N unknown N" first
 * Ends at the end of input. The faults themselves are the script's: it owns the processes. */
#include "raftgroup/base/alloc.h"
#include "tests/e2e/chaos_client.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS_MAX = 256 };

struct worker {
    struct chaos_client *client;
    const atomic_bool *stop;
    pthread_t thread;
};

struct chaos {
    struct chaos_config config;
    struct recorder *recorder;
    struct worker workers[CLIENTS_MAX];
    size_t worker_count;
    bool running;
    atomic_bool stop;
    const char *path;
    const char *system;
    char *endpoints;
};

static void *worker_main(void *context)
{
    struct worker *worker = context;

    chaos_client_run(worker->client, worker->stop);
    return NULL;
}

static bool start_clients(struct chaos *chaos)
{
    for (size_t i = 0; i < chaos->worker_count; i++) {
        struct worker *worker = &chaos->workers[i];

        worker->client =
            chaos_client_create(&chaos->config, chaos->recorder, chaos->config.seed * 1000 + i);
        worker->stop = &chaos->stop;
    }
    for (size_t i = 0; i < chaos->worker_count; i++) {
        if (pthread_create(&chaos->workers[i].thread, NULL, worker_main, &chaos->workers[i]) != 0) {
            return false;
        }
    }
    chaos->running = true;
    return true;
}

static void stop_clients(struct chaos *chaos)
{
    atomic_store_explicit(&chaos->stop, true, memory_order_relaxed);
    for (size_t i = 0; i < chaos->worker_count && chaos->running; i++) {
        pthread_join(chaos->workers[i].thread, NULL);
    }
    chaos->running = false;
}

/* Counts of running clients may lag by an operation. */
static struct chaos_counts sum_counts(const struct chaos *chaos)
{
    struct chaos_counts sum = {0};

    for (size_t i = 0; i < chaos->worker_count; i++) {
        struct chaos_counts one = chaos_client_counts(chaos->workers[i].client);

        sum.ok += one.ok;
        sum.failed += one.failed;
        sum.unknown += one.unknown;
    }
    return sum;
}

/* --- commands -------------------------------------------------------------------------------- */

static const char *command_fault(struct chaos *chaos, const char *rest)
{
    char *phase = NULL;
    long node = strtol(rest, &phase, 10);

    if (strncmp(phase, " start ", 7) == 0) {
        recorder_fault(chaos->recorder, (int)node, "start", phase + 7);
    } else if (strncmp(phase, " end ", 5) == 0) {
        recorder_fault(chaos->recorder, (int)node, "end", phase + 5);
    } else {
        return "usage: fault NODE start|end TEXT";
    }
    return NULL;
}

static const char *command_wait(struct chaos *chaos, const char *rest)
{
    (void)chaos;
    (void)poll(NULL, 0, (int)strtol(rest, NULL, 10));
    return NULL;
}

static const char *command_wait_ok(struct chaos *chaos, const char *rest)
{
    char *limit = NULL;
    uint64_t count = strtoull(rest, &limit, 10);
    int64_t end_ns = recorder_now_ns() + strtol(limit, NULL, 10) * INT64_C(1000000);
    uint64_t start = sum_counts(chaos).ok;

    while (sum_counts(chaos).ok < start + count) {
        if (recorder_now_ns() > end_ns) {
            return "too few operations succeeded";
        }
        (void)poll(NULL, 0, 10);
    }
    return NULL;
}

static const char *command_settle(struct chaos *chaos, const char *rest)
{
    int64_t until_ns = recorder_now_ns() + (int64_t)strtol(rest, NULL, 10) * 1000000000;
    struct chaos_client *client = chaos_client_create(&chaos->config, chaos->recorder, 0);
    const char *error = NULL;
    int64_t revision = 0;

    for (size_t node = 0; node < chaos->config.node_count && error == NULL; node++) {
        for (int key = 0; key < CHAOS_KEY_COUNT && error == NULL; key++) {
            if (!chaos_client_read_settled(client, key, node, until_ns)) {
                error = "a node does not answer linearizable reads";
            }
        }
    }
    for (size_t node = 0; node < chaos->config.node_count && error == NULL; node++) {
        if (!chaos_client_hash(client, node, &revision, until_ns)) {
            error = "a node does not answer HashKV";
        }
    }
    chaos_client_destroy(client);
    return error;
}

static const char *command_stop(struct chaos *chaos, const char *rest)
{
    (void)rest;
    stop_clients(chaos);
    return NULL;
}

static const char *command_counts(struct chaos *chaos, const char *rest)
{
    struct chaos_counts sum = sum_counts(chaos);

    (void)rest;
    printf(
        "ok %" PRIu64 " failed %" PRIu64 " unknown %" PRIu64 "\n", sum.ok, sum.failed, sum.unknown);
    return NULL;
}

static const char *run_command(struct chaos *chaos, char *line)
{
    static const struct {
        const char *name;
        const char *(*run)(struct chaos *chaos, const char *rest);
    } commands[] = {
        {"fault", command_fault},
        {"wait", command_wait},
        {"wait-ok", command_wait_ok},
        {"settle", command_settle},
        {"stop", command_stop},
        {"counts", command_counts},
    };
    size_t length = strcspn(line, " \n");
    char *rest = line + length + (line[length] != '\0');

    line[strcspn(line, "\n")] = '\0';
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strlen(commands[i].name) == length && strncmp(line, commands[i].name, length) == 0) {
            return commands[i].run(chaos, rest);
        }
    }
    return "unknown command";
}

/* --- main ------------------------------------------------------------------------------------ */

static void usage(FILE *out)
{
    (void)fputs(
        "usage: chaos --endpoints HOST:PORT,... --out FILE [--clients N] [--pause-ms N]\n"
        "             [--timeout-ms N] [--seed N] [--system NAME]\n"
        "Commands come from standard input; tests/e2e/chaos.c lists them.\n",
        out);
}

static bool parse_endpoints(struct chaos *chaos, const char *list)
{
    char *save = NULL;

    free(chaos->endpoints);
    chaos->endpoints = fl_xstrdup(list);
    chaos->config.node_count = 0;
    for (char *item = strtok_r(chaos->endpoints, ",", &save); item != NULL;
         item = strtok_r(NULL, ",", &save)) {
        if (chaos->config.node_count == CHAOS_NODES_MAX) {
            return false;
        }
        chaos->config.endpoints[chaos->config.node_count++] = item;
    }
    return chaos->config.node_count != 0;
}

static bool parse_options(struct chaos *chaos, int argc, char **argv)
{
    static const struct option names[] = {
        {"endpoints", required_argument, NULL, 'e'},
        {"out", required_argument, NULL, 'o'},
        {"clients", required_argument, NULL, 'c'},
        {"pause-ms", required_argument, NULL, 'p'},
        {"timeout-ms", required_argument, NULL, 't'},
        {"seed", required_argument, NULL, 's'},
        {"system", required_argument, NULL, 'y'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'e') {
            if (!parse_endpoints(chaos, optarg)) {
                return false;
            }
        } else if (c == 'o') {
            chaos->path = optarg;
        } else if (c == 'c') {
            chaos->worker_count = strtoull(optarg, NULL, 10);
        } else if (c == 'p') {
            chaos->config.pause_ms = (int)strtol(optarg, NULL, 10);
        } else if (c == 't') {
            chaos->config.timeout_ms = (int)strtol(optarg, NULL, 10);
        } else if (c == 's') {
            chaos->config.seed = strtoull(optarg, NULL, 10);
        } else if (c == 'y') {
            chaos->system = optarg;
        } else {
            return false;
        }
    }
    return optind == argc && chaos->config.node_count != 0 && chaos->path != NULL &&
           chaos->worker_count > 0 && chaos->worker_count <= CLIENTS_MAX &&
           chaos->config.timeout_ms > 0;
}

/* Runs commands until the end of input; false when the history could not be written. */
static bool run(struct chaos *chaos)
{
    char *line = NULL;
    size_t capacity = 0;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    while (getline(&line, &capacity, stdin) >= 0) {
        const char *error = run_command(chaos, line);

        printf("%s%s\n", error == NULL ? "ok" : "error ", error == NULL ? "" : error);
    }
    free(line);
    stop_clients(chaos);
    for (size_t i = 0; i < chaos->worker_count; i++) {
        chaos_client_destroy(chaos->workers[i].client);
    }
    return recorder_close(chaos->recorder);
}

int main(int argc, char **argv)
{
    struct chaos *chaos = fl_xcalloc(1, sizeof(*chaos));
    bool good;

    chaos->worker_count = 16;
    chaos->config.timeout_ms = 3000;
    chaos->config.pause_ms = 30;
    chaos->config.seed = 1;
    chaos->system = "unknown";
    if (!parse_options(chaos, argc, argv)) {
        usage(stderr);
        return 2;
    }
    chaos->recorder = recorder_open(chaos->path, chaos->config.seed, chaos->system);
    if (chaos->recorder == NULL) {
        (void)fprintf(stderr, "chaos: %s: %s\n", chaos->path, strerror(errno));
        return 1;
    }
    if (!start_clients(chaos)) {
        (void)fprintf(stderr, "chaos: cannot start %zu clients\n", chaos->worker_count);
        return 1;
    }
    good = run(chaos);
    free(chaos->endpoints);
    free(chaos);
    return good ? 0 : 1;
}
