/* loadgen: a closed loop of clients against an etcd v3 endpoint, cheap enough to share a machine
 * with what it measures.
 *
 * One thread, one completion queue, every client one call in flight. Keys are spread over the
 * printable first bytes, so that a keyspace cut into ranges is loaded evenly. Latencies count from
 * submit to completion in the measured window only; server CPU is read from /proc at its edges. */
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"
#include "tests/lib/etcd_client.h"
#include "tests/lib/histogram.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    KEY_SIZE_MAX = 1024,
    VALUE_SIZE_MAX = 4 << 20,
    ERROR_KINDS_MAX = 16,
    PIDS_MAX = 16,
    ENDPOINTS_MAX = 16,
    TIMEOUT_MS = 10000,
    FIRST_PRINTABLE = '!',
    PRINTABLE_COUNT = '~' - '!' + 1,
};

struct options {
    char *endpoints[ENDPOINTS_MAX];
    size_t endpoint_count;
    long clients, conns, keys, key_size, value_size, reads_percent, total;
    double duration, warmup;
    bool serializable, json;
    long pids[PIDS_MAX];
    size_t pid_count;
    uint64_t seed;
};

struct error_kind {
    char text[128];
    uint64_t count;
};

enum phase {
    PHASE_WARMUP,
    PHASE_MEASURE,
    PHASE_DRAIN,
};

struct loadgen {
    struct options options;
    struct etcd_loop *loop;
    struct etcd_channel **channels;
    struct client *clients;
    struct client *parked; /* failed; tried again a little later on another connection */
    uint8_t *values;       /* random bytes, values start anywhere in the first half */
    enum phase phase;
    uint64_t measured_ops;
    struct histogram puts, gets;
    struct error_kind errors[ERROR_KINDS_MAX];
    size_t error_count;
};

struct client {
    struct loadgen *gen;
    struct client *next_parked;
    struct fl_prng prng;
    size_t conn;
    bool reading;
    uint64_t submitted_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* --- one client ------------------------------------------------------------------------------ */

/* First byte spreads over the ranges, the rest is the number. */
static struct fl_bytes make_key(char *buffer, const struct options *options, uint64_t id)
{
    uint64_t number = id / PRINTABLE_COUNT;

    buffer[0] = (char)(FIRST_PRINTABLE + (int)(id % PRINTABLE_COUNT));
    for (size_t i = (size_t)options->key_size - 1; i > 0; i--) {
        buffer[i] = (char)('0' + number % 10);
        number /= 10;
    }
    return fl_bytes(buffer, (size_t)options->key_size);
}

static void completed(void *context, const struct etcd_answer *answer);

static void submit(struct client *client)
{
    struct loadgen *gen = client->gen;
    const struct options *options = &gen->options;
    struct etcd_channel *channel = gen->channels[client->conn];
    char buffer[KEY_SIZE_MAX];
    struct fl_bytes key =
        make_key(buffer, options, fl_prng_below(&client->prng, (uint64_t)options->keys));

    client->reading = (long)fl_prng_below(&client->prng, 100) < options->reads_percent;
    client->submitted_ns = now_ns();
    if (client->reading) {
        struct etcd_range range = {.key = key, .serializable = options->serializable};

        etcd_range(channel, &range, TIMEOUT_MS, completed, client);
    } else {
        size_t size = (size_t)options->value_size;
        const uint8_t *value = gen->values + fl_prng_below(&client->prng, size + 1);

        etcd_put(channel, key, fl_bytes(value, size), TIMEOUT_MS, completed, client);
    }
}

static void count_error(struct loadgen *gen, const struct etcd_answer *answer)
{
    char text[sizeof(gen->errors[0].text)];
    size_t i = 0;

    (void)snprintf(text, sizeof(text), "%s: %.96s", etcd_code_name(answer->code), answer->text);
    while (i < gen->error_count && strcmp(gen->errors[i].text, text) != 0) {
        i++;
    }
    if (i == ERROR_KINDS_MAX) {
        i--;
        (void)snprintf(gen->errors[i].text, sizeof(gen->errors[i].text), "other");
    } else if (i == gen->error_count) {
        memcpy(gen->errors[i].text, text, sizeof(text));
        gen->error_count++;
    }
    gen->errors[i].count++;
}

static void completed(void *context, const struct etcd_answer *answer)
{
    struct client *client = context;
    struct loadgen *gen = client->gen;
    uint64_t now = now_ns();

    if (answer->outcome != ETCD_OK) {
        count_error(gen, answer);
        client->conn = (client->conn + 1) % (size_t)gen->options.conns;
        client->next_parked = gen->parked;
        gen->parked = client;
        return;
    }
    if (gen->phase == PHASE_MEASURE) {
        gen->measured_ops++;
        histogram_add(client->reading ? &gen->gets : &gen->puts, now - client->submitted_ns);
    }
    if (gen->phase != PHASE_DRAIN) {
        submit(client);
    }
}

static void unpark(struct loadgen *gen)
{
    struct client *client = gen->parked;

    gen->parked = NULL;
    while (client != NULL) {
        struct client *next = client->next_parked;

        submit(client);
        client = next;
    }
}

/* --- the run --------------------------------------------------------------------------------- */

static uint64_t own_cpu_us(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* User and system time of a process, fields 14 and 15 of /proc/PID/stat. The name, field 2, stands
 * in parentheses and may hold spaces. */
static uint64_t process_cpu_us(long pid)
{
    char path[64];
    char line[1024] = "";
    char *rest;
    uint64_t ticks;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
    file = fopen(path, "r");
    if (file == NULL) {
        return 0;
    }
    rest = fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
    (void)fclose(file);
    for (int field = 2; rest != NULL && field < 14; field++) {
        rest = strchr(rest + 1, ' ');
    }
    if (rest == NULL) {
        return 0;
    }
    ticks = strtoull(rest, &rest, 10);
    ticks += strtoull(rest, NULL, 10);
    return ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

static uint64_t servers_cpu_us(const struct options *options)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < options->pid_count; i++) {
        sum += process_cpu_us(options->pids[i]);
    }
    return sum;
}

/* Runs completions until `end_ns` or, if `total` is not 0, until so many operations are measured.
 */
static void run_until(struct loadgen *gen, uint64_t end_ns, uint64_t total)
{
    uint64_t parked_ns = 0;

    while (now_ns() < end_ns && (total == 0 || gen->measured_ops < total)) {
        (void)etcd_loop_poll(gen->loop, 10);
        if (gen->parked != NULL && now_ns() - parked_ns > 10000000) {
            parked_ns = now_ns();
            unpark(gen);
        }
    }
}

/* One successful call per connection, so that connecting is not measured. */
static bool connect_all(struct loadgen *gen)
{
    for (long i = 0; i < gen->options.conns; i++) {
        struct etcd_channel *channel = gen->channels[i];
        uint64_t give_up_ns = now_ns() + UINT64_C(5000000000);
        struct etcd_reply reply = {0};

        while (etcd_status_sync(channel, 1000, &reply) != ETCD_OK && now_ns() < give_up_ns) {
            etcd_reply_close(&reply);
            (void)etcd_loop_poll(gen->loop, 20);
        }
        if (reply.outcome != ETCD_OK || !reply.done) {
            (void)fprintf(stderr,
                          "loadgen: cannot reach %s: %s\n",
                          etcd_channel_endpoint(channel),
                          reply.text);
            return false;
        }
        etcd_reply_close(&reply);
    }
    return true;
}

static void print_latency(const char *name, const struct histogram *histogram, bool json)
{
    double p50 = (double)histogram_quantile(histogram, 0.5) / 1e3;
    double p99 = (double)histogram_quantile(histogram, 0.99) / 1e3;
    double p999 = (double)histogram_quantile(histogram, 0.999) / 1e3;

    if (json) {
        printf("\"%s\":{\"count\":%" PRIu64
               ",\"mean_us\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
               "\"max_us\":%.1f},",
               name,
               histogram->count,
               histogram_mean(histogram) / 1e3,
               p50,
               p99,
               p999,
               (double)histogram->max / 1e3);
    } else if (histogram->count != 0) {
        printf("%s: %" PRIu64 " operations, p50 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, max %.3f ms\n",
               name,
               histogram->count,
               p50 / 1e3,
               p99 / 1e3,
               p999 / 1e3,
               (double)histogram->max / 1e6);
    }
}

static void print_errors(const struct loadgen *gen)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < gen->error_count; i++) {
        sum += gen->errors[i].count;
    }
    if (!gen->options.json) {
        for (size_t i = 0; i < gen->error_count; i++) {
            printf("error: %" PRIu64 " x %s\n", gen->errors[i].count, gen->errors[i].text);
        }
        return;
    }
    printf("\"errors\":%" PRIu64 ",\"error_kinds\":{", sum);
    for (size_t i = 0; i < gen->error_count; i++) {
        printf("%s\"", i == 0 ? "" : ",");
        for (const char *p = gen->errors[i].text; *p != '\0'; p++) {
            putchar(*p == '"' || *p == '\\' || (unsigned char)*p < ' ' ? '\'' : *p);
        }
        printf("\":%" PRIu64, gen->errors[i].count);
    }
    printf("}}\n");
}

static void
print_report(const struct loadgen *gen, double seconds, uint64_t own_us, uint64_t servers_us)
{
    double ops = gen->measured_ops != 0 ? (double)gen->measured_ops : 1.0;

    if (gen->options.json) {
        printf("{\"clients\":%ld,\"conns\":%ld,\"ops\":%" PRIu64
               ",\"seconds\":%.3f,\"ops_per_s\":%.1f,\"client_us_per_op\":%.2f,"
               "\"server_us_per_op\":%.2f,",
               gen->options.clients,
               gen->options.conns,
               gen->measured_ops,
               seconds,
               (double)gen->measured_ops / seconds,
               (double)own_us / ops,
               (double)servers_us / ops);
    } else {
        printf("%.1f operations/s over %.2f s, %ld clients on %ld connections\n",
               (double)gen->measured_ops / seconds,
               seconds,
               gen->options.clients,
               gen->options.conns);
        printf("CPU: client %.1f us/op", (double)own_us / ops);
        if (gen->options.pid_count != 0) {
            printf(", servers together %.1f us/op", (double)servers_us / ops);
        }
        printf("\n");
    }
    print_latency("put", &gen->puts, gen->options.json);
    print_latency("get", &gen->gets, gen->options.json);
    print_errors(gen);
}

static void prepare(struct loadgen *gen)
{
    const struct options *options = &gen->options;
    size_t bytes = 2 * (size_t)options->value_size + 1;
    struct fl_prng prng;

    gen->loop = etcd_loop_create();
    gen->channels = fl_xcalloc((size_t)options->conns, sizeof(struct etcd_channel *));
    for (long i = 0; i < options->conns; i++) {
        gen->channels[i] =
            etcd_channel_create(gen->loop, options->endpoints[(size_t)i % options->endpoint_count]);
    }
    gen->values = fl_xmalloc(bytes);
    fl_prng_seed(&prng, options->seed);
    for (size_t i = 0; i < bytes; i++) {
        gen->values[i] = (uint8_t)fl_prng_next(&prng);
    }
    gen->clients = fl_xcalloc((size_t)options->clients, sizeof(*gen->clients));
    for (long i = 0; i < options->clients; i++) {
        gen->clients[i].gen = gen;
        gen->clients[i].conn = (size_t)(i % options->conns);
        fl_prng_seed(&gen->clients[i].prng, fl_prng_next(&prng));
    }
}

static void release(struct loadgen *gen)
{
    while (etcd_loop_in_flight(gen->loop) != 0) {
        (void)etcd_loop_poll(gen->loop, 1000);
    }
    for (long i = 0; i < gen->options.conns; i++) {
        etcd_channel_destroy(gen->channels[i]);
    }
    etcd_loop_destroy(gen->loop);
    free(gen->channels);
    free(gen->clients);
    free(gen->values);
    free(gen);
}

/* Warm up, measure, drain. False when nothing was measured. */
static bool run(struct loadgen *gen)
{
    const struct options *options = &gen->options;
    uint64_t start;
    uint64_t own_us;
    uint64_t servers_us;
    double seconds;

    for (long i = 0; i < options->clients; i++) {
        submit(&gen->clients[i]);
    }
    run_until(gen, now_ns() + (uint64_t)(options->warmup * 1e9), 0);
    gen->phase = PHASE_MEASURE;
    start = now_ns();
    own_us = own_cpu_us();
    servers_us = servers_cpu_us(options);
    run_until(gen,
              options->total != 0 ? UINT64_MAX : start + (uint64_t)(options->duration * 1e9),
              (uint64_t)options->total);
    gen->phase = PHASE_DRAIN;
    seconds = (double)(now_ns() - start) / 1e9;
    own_us = own_cpu_us() - own_us;
    servers_us = servers_cpu_us(options) - servers_us;
    print_report(gen, seconds, own_us, servers_us);
    return gen->measured_ops != 0;
}

/* --- options --------------------------------------------------------------------------------- */

static void usage(FILE *out)
{
    (void)fputs(
        "usage: loadgen --endpoints HOST:PORT[,...] [options]\n"
        "  --clients N       clients, each with one call in flight (64)\n"
        "  --conns N         connections, dealt over the endpoints (clients, at most 64)\n"
        "  --keys N          size of the key space (100000)\n"
        "  --key-size B      bytes of a key (16)\n"
        "  --value-size B    bytes of a value (256)\n"
        "  --reads PERCENT   share of gets (0)\n"
        "  --serializable    gets may be answered locally\n"
        "  --warmup S        seconds before measuring (1)\n"
        "  --duration S      seconds to measure (5)\n"
        "  --total N         measure so many operations instead\n"
        "  --pids P[,...]    server processes whose CPU is counted\n"
        "  --seed N          of keys and values (1)\n"
        "  --json            one JSON object\n"
        "exit codes: 0 measured, 1 nothing was measured, 2 usage\n",
        out);
}

static bool parse_long(const char *text, long low, long high, long *out)
{
    char *end;

    errno = 0;
    *out = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out >= low && *out <= high;
}

static bool parse_seconds(const char *text, double *out)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0.0 && *out < 1e6;
}

static bool parse_endpoints(struct options *options, char *list)
{
    char *save = NULL;

    for (char *item = strtok_r(list, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        if (options->endpoint_count == ENDPOINTS_MAX) {
            return false;
        }
        options->endpoints[options->endpoint_count++] = item;
    }
    return options->endpoint_count != 0;
}

static bool parse_pids(struct options *options, char *list)
{
    char *save = NULL;

    for (char *item = strtok_r(list, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        if (options->pid_count == PIDS_MAX ||
            !parse_long(item, 1, INT_MAX, &options->pids[options->pid_count++])) {
            return false;
        }
    }
    return true;
}

static bool parse_option(struct options *options, int name, char *value)
{
    long seed;

    switch (name) {
    case 'e':
        return parse_endpoints(options, value);
    case 'c':
        return parse_long(value, 1, 100000, &options->clients);
    case 'n':
        return parse_long(value, 1, 10000, &options->conns);
    case 'k':
        return parse_long(value, 1, LONG_MAX, &options->keys);
    case 'K':
        return parse_long(value, 8, KEY_SIZE_MAX, &options->key_size);
    case 'V':
        return parse_long(value, 0, VALUE_SIZE_MAX, &options->value_size);
    case 'r':
        return parse_long(value, 0, 100, &options->reads_percent);
    case 's':
        options->serializable = true;
        return true;
    case 'w':
        return parse_seconds(value, &options->warmup);
    case 'd':
        return parse_seconds(value, &options->duration);
    case 't':
        return parse_long(value, 1, LONG_MAX, &options->total);
    case 'p':
        return parse_pids(options, value);
    case 'S':
        if (!parse_long(value, 0, LONG_MAX, &seed)) {
            return false;
        }
        options->seed = (uint64_t)seed;
        return true;
    case 'j':
        options->json = true;
        return true;
    default:
        return false;
    }
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"endpoints", required_argument, NULL, 'e'},
        {"clients", required_argument, NULL, 'c'},
        {"conns", required_argument, NULL, 'n'},
        {"keys", required_argument, NULL, 'k'},
        {"key-size", required_argument, NULL, 'K'},
        {"value-size", required_argument, NULL, 'V'},
        {"reads", required_argument, NULL, 'r'},
        {"serializable", no_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},
        {"duration", required_argument, NULL, 'd'},
        {"total", required_argument, NULL, 't'},
        {"pids", required_argument, NULL, 'p'},
        {"seed", required_argument, NULL, 'S'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    *options = (struct options){.clients = 64,
                                .keys = 100000,
                                .key_size = 16,
                                .value_size = 256,
                                .duration = 5.0,
                                .warmup = 1.0,
                                .seed = 1};
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'h') {
            usage(stdout);
            exit(0);
        }
        if (!parse_option(options, c, optarg)) {
            return false;
        }
    }
    if (options->conns == 0) {
        options->conns = options->clients < 64 ? options->clients : 64;
    }
    return optind == argc && options->endpoint_count != 0;
}

int main(int argc, char **argv)
{
    struct loadgen *gen = fl_xcalloc(1, sizeof(*gen));
    bool measured;

    if (!parse_options(argc, argv, &gen->options)) {
        usage(stderr);
        free(gen);
        return 2;
    }
    prepare(gen);
    measured = connect_all(gen) && run(gen);
    release(gen);
    return measured ? 0 : 1;
}
