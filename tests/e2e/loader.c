/* loader: writes real records into a cluster, remembers what was acknowledged, and checks it later.
 *
 *   loader load   --endpoints E,... --ledger FILE [--in-flight N] [--prefix TEXT] < RECORDS
 *   loader verify --endpoints E,... --ledger FILE [--in-flight N]
 *   loader keys   [--prefix TEXT] [--cuts N] < RECORDS
 *
 * RECORDS are stanzas as the package index has them: blocks of lines between blank lines, the first
 * naming the record ("Package: NAME"); lines of another shape are records of their own, key first.
 * load writes them in a shuffled order and adds "key TAB hash" to the ledger after each
 * acknowledgement. A write without an answer is repeated: the same value, so no harm is done.
 * verify reads every key of the ledger linearizably and compares hashes. keys prints N-1 keys that
 * cut the records into N even parts. */
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"
#include "tests/lib/etcd_client.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    ENDPOINTS_MAX = 9,
    KEY_MAX = 1024,
    TIMEOUT_MS = 2000,
    GIVE_UP_MS = 60000,
    PROGRESS_MS = 200,
    RETRY_MS = 20,
};

struct item {
    struct fl_bytes key;
    struct fl_bytes value; /* load */
    uint64_t hash;
};

struct slot {
    struct loader *loader;
    struct slot *next_parked;
    size_t item;
    size_t endpoint;
};

struct loader {
    const char *command;
    char *endpoint_list;
    const char *endpoints[ENDPOINTS_MAX];
    size_t endpoint_count;
    const char *ledger_path;
    const char *prefix;
    size_t in_flight, cuts;
    struct item *items;
    size_t item_count, item_capacity;
    struct etcd_loop *loop;
    struct etcd_channel *channels[ENDPOINTS_MAX];
    struct slot *slots;
    struct slot *parked; /* to be sent again to another endpoint */
    FILE *ledger;
    size_t next, done, retries, missing, different;
    int64_t start_ns, last_ack_ns, longest_gap_ns;
    bool gave_up;
};

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- records --------------------------------------------------------------------------------- */

static char *read_all(FILE *input, size_t *size)
{
    size_t capacity = 0;
    char *text = NULL;
    size_t got;

    *size = 0;
    do {
        fl_grow(&text, &capacity, *size + 65536, 1);
        got = fread(text + *size, 1, capacity - *size, input);
        *size += got;
    } while (got > 0);
    return text;
}

static void add_item(struct loader *loader, struct fl_bytes name, struct fl_bytes value)
{
    size_t prefix = strlen(loader->prefix);
    size_t length = prefix + name.len;
    char *key;

    if (name.len == 0 || length > KEY_MAX) {
        return;
    }
    key = fl_xmalloc(length);
    memcpy(key, loader->prefix, prefix);
    memcpy(key + prefix, name.data, name.len);
    fl_grow(&loader->items, &loader->item_capacity, loader->item_count + 1, sizeof(*loader->items));
    loader->items[loader->item_count++] =
        (struct item){.key = fl_bytes(key, length), .value = value, .hash = fl_bytes_hash(value)};
}

/* A stanza: its name is what follows "Package: "; without that, the first word names the record. */
static void add_stanza(struct loader *loader, const char *text, size_t size)
{
    static const char tag[] = "Package: ";
    const char *name = text;
    size_t length = 0;

    if (size > sizeof(tag) - 1 && memcmp(text, tag, sizeof(tag) - 1) == 0) {
        name += sizeof(tag) - 1;
    }
    while (name + length < text + size && name[length] != '\n' && name[length] != '\t') {
        length++;
    }
    add_item(loader, fl_bytes(name, length), fl_bytes(text, size));
}

/* Stanzas end with a blank line; a text without any is one record per line. */
static void parse_records(struct loader *loader, const char *text, size_t size)
{
    bool stanzas = size > 9 && memcmp(text, "Package: ", 9) == 0;
    size_t start = 0;

    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n' && (!stanzas || i + 1 == size || text[i + 1] == '\n')) {
            add_stanza(loader, text + start, i - start);
            start = i + 1 + (size_t)stanzas;
        }
    }
}

static int by_key(const void *left, const void *right)
{
    return fl_bytes_compare(((const struct item *)left)->key, ((const struct item *)right)->key);
}

/* A key may occur twice (a package in two versions): the first one stays. */
static void drop_repeated(struct loader *loader)
{
    size_t kept = 0;

    if (loader->item_count == 0) {
        return;
    }
    qsort(loader->items, loader->item_count, sizeof(*loader->items), by_key);
    for (size_t i = 0; i < loader->item_count; i++) {
        if (kept == 0 || !fl_bytes_equal(loader->items[kept - 1].key, loader->items[i].key)) {
            loader->items[kept++] = loader->items[i];
        }
    }
    loader->item_count = kept;
}

static void shuffle(struct loader *loader)
{
    struct fl_prng prng;

    fl_prng_seed(&prng, 1);
    for (size_t i = loader->item_count; i > 1; i--) {
        size_t j = fl_prng_below(&prng, i);
        struct item swap = loader->items[i - 1];

        loader->items[i - 1] = loader->items[j];
        loader->items[j] = swap;
    }
}

static bool read_ledger(struct loader *loader)
{
    FILE *file = fopen(loader->ledger_path, "r");
    char *line = NULL;
    size_t capacity = 0;
    bool good = true;

    if (file == NULL) {
        return false;
    }
    while (good && getline(&line, &capacity, file) >= 0) {
        char *tab = strrchr(line, '\t');
        char *end = NULL;

        if (tab == NULL) {
            good = false;
            break;
        }
        *tab = '\0';
        add_item(loader, fl_bytes_of_string(line), fl_bytes(NULL, 0));
        if (loader->item_count == 0) {
            good = false; /* an empty key */
            break;
        }
        loader->items[loader->item_count - 1].hash = strtoull(tab + 1, &end, 16);
        good = *end == '\n';
    }
    free(line);
    (void)fclose(file);
    return good;
}

/* --- calls ----------------------------------------------------------------------------------- */

static void answered(void *context, const struct etcd_answer *answer);

static void send_item(struct slot *slot)
{
    struct loader *loader = slot->loader;
    const struct item *item = &loader->items[slot->item];
    struct etcd_channel *channel = loader->channels[slot->endpoint];

    if (loader->ledger != NULL) {
        etcd_put(channel, item->key, item->value, TIMEOUT_MS, answered, slot);
    } else {
        struct etcd_range range = {.key = item->key};

        etcd_range(channel, &range, TIMEOUT_MS, answered, slot);
    }
}

static void note_ack(struct loader *loader)
{
    int64_t now = now_ns();

    if (now - loader->last_ack_ns > loader->longest_gap_ns) {
        loader->longest_gap_ns = now - loader->last_ack_ns;
    }
    loader->last_ack_ns = now;
    loader->done++;
}

static void
check_value(struct loader *loader, const struct item *item, const struct etcd_answer *answer)
{
    struct etcd_reply reply;

    etcd_reply_parse(&reply, ETCD_METHOD_RANGE, answer);
    if (reply.kv_count != 1) {
        loader->missing++;
        (void)fprintf(stderr, "missing: %.*s\n", (int)item->key.len, (const char *)item->key.data);
    } else if (fl_bytes_hash(reply.kvs[0].value) != item->hash) {
        loader->different++;
        (void)fprintf(
            stderr, "different: %.*s\n", (int)item->key.len, (const char *)item->key.data);
    }
    etcd_reply_close(&reply);
}

static void answered(void *context, const struct etcd_answer *answer)
{
    struct slot *slot = context;
    struct loader *loader = slot->loader;
    const struct item *item = &loader->items[slot->item];

    if (answer->outcome != ETCD_OK) {
        loader->retries++;
        slot->endpoint = slot->endpoint + 1 < loader->endpoint_count ? slot->endpoint + 1 : 0;
        slot->next_parked = loader->parked;
        loader->parked = slot;
        return;
    }
    if (loader->ledger != NULL) {
        (void)fprintf(loader->ledger,
                      "%.*s\t%016" PRIx64 "\n",
                      (int)item->key.len,
                      (const char *)item->key.data,
                      item->hash);
    } else {
        check_value(loader, item, answer);
    }
    note_ack(loader);
    if (loader->next < loader->item_count && !loader->gave_up) {
        slot->item = loader->next++;
        send_item(slot);
    }
}

static void unpark(struct loader *loader)
{
    struct slot *slot = loader->parked;

    loader->parked = NULL;
    while (slot != NULL) {
        struct slot *next = slot->next_parked;

        send_item(slot);
        slot = next;
    }
}

/* One line per PROGRESS_MS: how many are done. A script may wait for it; a person may watch it. */
static void print_progress(const struct loader *loader)
{
    printf("%zu of %zu\n", loader->done, loader->item_count);
    (void)fflush(stdout);
}

static void run_calls(struct loader *loader)
{
    int64_t shown_ns = 0;
    int64_t retried_ns = 0;

    while (etcd_loop_in_flight(loader->loop) != 0 || loader->parked != NULL) {
        int64_t now;

        (void)etcd_loop_poll(loader->loop, RETRY_MS);
        now = now_ns();
        if (loader->parked != NULL && now - retried_ns > RETRY_MS * INT64_C(1000000)) {
            retried_ns = now;
            unpark(loader);
        }
        if (now - shown_ns > PROGRESS_MS * INT64_C(1000000)) {
            shown_ns = now;
            print_progress(loader);
        }
        if (now - loader->last_ack_ns > GIVE_UP_MS * INT64_C(1000000)) {
            loader->gave_up = true;
            loader->parked = NULL;
        }
    }
    print_progress(loader);
}

static void start_calls(struct loader *loader)
{
    loader->loop = etcd_loop_create();
    for (size_t i = 0; i < loader->endpoint_count; i++) {
        loader->channels[i] = etcd_channel_create(loader->loop, loader->endpoints[i]);
    }
    loader->slots = fl_xcalloc(loader->in_flight, sizeof(*loader->slots));
    loader->start_ns = loader->last_ack_ns = now_ns();
    for (size_t i = 0; i < loader->in_flight && loader->next < loader->item_count; i++) {
        loader->slots[i] =
            (struct slot){.loader = loader,
                          .item = loader->next++,
                          .endpoint = loader->endpoint_count > 1 ? i % loader->endpoint_count : 0};
        send_item(&loader->slots[i]);
    }
}

static void stop_calls(struct loader *loader)
{
    for (size_t i = 0; i < loader->endpoint_count; i++) {
        etcd_channel_destroy(loader->channels[i]);
    }
    etcd_loop_destroy(loader->loop);
    free(loader->slots);
}

/* --- commands -------------------------------------------------------------------------------- */

static int fail_no_answer(const struct loader *loader)
{
    (void)fprintf(stderr, "loader: no answer for %d s, gave up\n", GIVE_UP_MS / 1000);
    return loader->done == 0 ? 2 : 1;
}

static int command_load(struct loader *loader)
{
    double seconds;

    drop_repeated(loader);
    shuffle(loader);
    loader->ledger = fopen(loader->ledger_path, "w");
    if (loader->ledger == NULL) {
        (void)fprintf(stderr, "loader: %s: %s\n", loader->ledger_path, strerror(errno));
        return 2;
    }
    start_calls(loader);
    run_calls(loader);
    stop_calls(loader);
    if (fclose(loader->ledger) != 0 || loader->gave_up) {
        return fail_no_answer(loader);
    }
    seconds = (double)(now_ns() - loader->start_ns) / 1e9;
    printf(
        "loaded %zu records in %.1f s (%.0f/s), %zu repeated, longest wait between two "
        "acknowledgements %" PRId64 " ms\n",
        loader->done,
        seconds,
        (double)loader->done / seconds,
        loader->retries,
        loader->longest_gap_ns / 1000000);
    return 0;
}

static int command_verify(struct loader *loader)
{
    if (!read_ledger(loader)) {
        (void)fprintf(stderr, "loader: %s: not a ledger\n", loader->ledger_path);
        return 2;
    }
    start_calls(loader);
    run_calls(loader);
    stop_calls(loader);
    if (loader->gave_up) {
        return fail_no_answer(loader);
    }
    printf("verified %zu acknowledged records: %zu missing, %zu different\n",
           loader->done,
           loader->missing,
           loader->different);
    return loader->missing + loader->different == 0 ? 0 : 1;
}

static int command_keys(struct loader *loader)
{
    drop_repeated(loader);
    for (size_t i = 1; i < loader->cuts && loader->item_count >= loader->cuts; i++) {
        struct fl_bytes key = loader->items[i * loader->item_count / loader->cuts].key;

        printf("%.*s\n", (int)key.len, (const char *)key.data);
    }
    return loader->item_count >= loader->cuts ? 0 : 1;
}

static void usage(FILE *out)
{
    (void)fputs(
        "usage: loader load|verify --endpoints HOST:PORT,... --ledger FILE [--in-flight N]\n"
        "       loader keys [--cuts N]\n"
        "              [--prefix TEXT], records from standard input\n"
        "exit codes: 0 good, 1 something is missing or different, 2 usage\n",
        out);
}

static bool parse_endpoints(struct loader *loader, const char *list)
{
    char *save = NULL;

    free(loader->endpoint_list);
    loader->endpoint_list = fl_xstrdup(list);
    loader->endpoint_count = 0;
    for (char *item = strtok_r(loader->endpoint_list, ",", &save); item != NULL;
         item = strtok_r(NULL, ",", &save)) {
        if (loader->endpoint_count == ENDPOINTS_MAX) {
            return false;
        }
        loader->endpoints[loader->endpoint_count++] = item;
    }
    return loader->endpoint_count != 0;
}

static bool parse_options(struct loader *loader, int argc, char **argv)
{
    static const struct option names[] = {
        {"endpoints", required_argument, NULL, 'e'},
        {"ledger", required_argument, NULL, 'l'},
        {"in-flight", required_argument, NULL, 'f'},
        {"prefix", required_argument, NULL, 'p'},
        {"cuts", required_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'e') {
            if (!parse_endpoints(loader, optarg)) {
                return false;
            }
        } else if (c == 'l') {
            loader->ledger_path = optarg;
        } else if (c == 'f') {
            loader->in_flight = strtoull(optarg, NULL, 10);
        } else if (c == 'p') {
            loader->prefix = optarg;
        } else if (c == 'c') {
            loader->cuts = strtoull(optarg, NULL, 10);
        } else {
            return false;
        }
    }
    if (optind + 1 != argc || loader->in_flight == 0 || loader->cuts == 0) {
        return false;
    }
    loader->command = argv[optind];
    return strcmp(loader->command, "keys") == 0 ||
           (loader->endpoint_count != 0 && loader->ledger_path != NULL);
}

int main(int argc, char **argv)
{
    struct loader loader = {.prefix = "", .in_flight = 64, .cuts = 8};
    size_t size = 0;
    char *text = NULL;
    int code = 2;

    if (!parse_options(&loader, argc, argv)) {
        usage(stderr);
        return 2;
    }
    if (strcmp(loader.command, "verify") != 0) {
        text = read_all(stdin, &size);
        parse_records(&loader, text, size);
    }
    if (strcmp(loader.command, "load") == 0) {
        code = command_load(&loader);
    } else if (strcmp(loader.command, "verify") == 0) {
        code = command_verify(&loader);
    } else if (strcmp(loader.command, "keys") == 0) {
        code = command_keys(&loader);
    } else {
        usage(stderr);
    }
    for (size_t i = 0; i < loader.item_count; i++) {
        free((void *)(uintptr_t)loader.items[i].key.data);
    }
    free(loader.items);
    free(loader.endpoint_list);
    free(text);
    return code;
}
