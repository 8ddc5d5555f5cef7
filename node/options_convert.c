/* From the text of one option to its field: URLs, seeds, numbers with units, keys, words. */
#include "node/options_internal.h"

#include "raftgroup/base/limits.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static_assert(NODE_SPLIT_KEYS_MAX < FL_RANGES_MAX, "the first cut must fit a cluster");

/* Adds one URL, refusing a second copy and too many. */
static bool url_list_add(struct node_reading *p,
                         struct node_url_list *list,
                         struct fl_bytes text,
                         const char *flag)
{
    struct node_url url;
    char problem[512];

    if (!node_url_parse(&url, text, problem, sizeof problem)) {
        return node__refuse(p, "--%s: %s", flag, problem);
    }
    if (node_url_list_has(list, url.text)) {
        (void)node__refuse(p, "--%s: %s is given twice; remove one", flag, url.text);
        node_url_close(&url);
        return false;
    }
    node_url_list_append(list, url);
    if (list->count > NODE_URLS_MAX) {
        return node__refuse(p, "--%s: more than %d URLs; give fewer", flag, NODE_URLS_MAX);
    }
    return true;
}

static bool
urls_parse(struct node_reading *p, const char *flag, const char *text, struct node_url_list *list)
{
    struct fl_bytes rest = fl_bytes_of_string(text);

    do {
        if (!url_list_add(p, list, node__cut(&rest, ','), flag)) {
            return false;
        }
    } while (rest.len > 0);
    return true;
}

struct node_seed *node__seed_find(struct node_options *o, struct fl_bytes name)
{
    for (size_t i = 0; i < o->seed_count; i++) {
        if (fl_bytes_equal(fl_bytes_of_string(o->seeds[i].name), name)) {
            return &o->seeds[i];
        }
    }
    return NULL;
}

struct node_seed *node__seed_add(struct node_options *o, struct fl_bytes name)
{
    struct node_seed *seed = node__seed_find(o, name);

    if (seed == NULL) {
        o->seeds = fl_xrealloc(o->seeds, o->seed_count + 1, sizeof *o->seeds);
        seed = &o->seeds[o->seed_count++];
        *seed = (struct node_seed){.name = node__copy_text(name)};
    }
    return seed;
}

static bool seeds_parse_one(struct node_reading *p, struct fl_bytes item)
{
    struct node_options *o = p->options;
    struct fl_bytes rest = item;
    struct fl_bytes name = node__cut(&rest, '=');

    if (name.len == 0 || name.len > NODE_NAME_BYTES_MAX || name.len == item.len) {
        return node__refuse(p,
                            "--initial-cluster: '%.*s' is not NAME=URL; write it as "
                            "n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380",
                            (int)(item.len < 200 ? item.len : 200),
                            item.len == 0 ? "" : (const char *)item.data);
    }
    for (size_t i = 0; i < o->seed_count; i++) {
        struct node_url url;
        char ignored[8];
        bool twice = node_url_parse(&url, rest, ignored, sizeof ignored) &&
                     node_url_list_has(&o->seeds[i].peer_urls, url.text);

        node_url_close(&url);
        if (twice) {
            return node__refuse(
                p,
                "--initial-cluster: %.*s is given twice; every node needs its own URL",
                (int)rest.len,
                (const char *)rest.data);
        }
    }
    return url_list_add(p, &node__seed_add(o, name)->peer_urls, rest, "initial-cluster");
}

static bool seeds_parse(struct node_reading *p, const char *text)
{
    struct fl_bytes rest = fl_bytes_of_string(text);

    do {
        if (!seeds_parse_one(p, node__cut(&rest, ','))) {
            return false;
        }
    } while (rest.len > 0);
    if (p->options->seed_count > FL_REPLICAS_MAX) {
        return node__refuse(
            p,
            "--initial-cluster: %zu nodes; at most %d can form a cluster, others join "
            "later",
            p->options->seed_count,
            FL_REPLICAS_MAX);
    }
    return true;
}

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit time_units[] = {{"", 1},
                                         {"ms", 1},
                                         {"s", 1000},
                                         {"m", 60000},
                                         {"h", 3600000}};
static const struct unit byte_units[] = {{"", 1},
                                         {"B", 1},
                                         {"KiB", KIB},
                                         {"MiB", MIB},
                                         {"GiB", GIB},
                                         {"TiB", TIB},
                                         {"K", KIB},
                                         {"M", MIB},
                                         {"G", GIB},
                                         {"T", TIB}};
static const struct unit no_units[] = {{"", 1}};

static bool
number_parse(const char *text, const struct unit *units, size_t unit_count, uint64_t *value)
{
    char *end;
    unsigned long long n;

    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    n = strtoull(text, &end, 10);
    for (size_t i = 0; i < unit_count; i++) {
        if (errno == 0 && strcasecmp(end, units[i].name) == 0) {
            return !__builtin_mul_overflow((uint64_t)n, units[i].factor, value);
        }
    }
    return false;
}

static bool
number_refuse(struct node_reading *p, const struct node_option_row *row, const char *text)
{
    const char *what = row->kind == NODE_OPTION_MS      ? "a time such as 200ms or 30s"
                       : row->kind == NODE_OPTION_BYTES ? "a size such as 64MiB"
                                                        : "a number";
    const char *unit = row->kind == NODE_OPTION_MS      ? "ms"
                       : row->kind == NODE_OPTION_BYTES ? " bytes"
                                                        : "";

    return node__refuse(p,
                        "--%s: '%.200s' is not %s from %" PRIu64 "%s to %" PRIu64 "%s",
                        row->flag,
                        text,
                        what,
                        row->min,
                        unit,
                        row->max,
                        unit);
}

static bool number_option(struct node_reading *p,
                          const struct node_option_row *row,
                          const char *text,
                          uint64_t *value)
{
    const struct unit *units = no_units;
    size_t count = 1;

    if (row->kind == NODE_OPTION_MS) {
        units = time_units;
        count = sizeof time_units / sizeof time_units[0];
    } else if (row->kind == NODE_OPTION_BYTES) {
        units = byte_units;
        count = sizeof byte_units / sizeof byte_units[0];
    }
    return (number_parse(text, units, count, value) && *value >= row->min && *value <= row->max) ||
           number_refuse(p, row, text);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads one escape behind a backslash; returns the bytes it took, 0 when it is none. */
static size_t escape_parse(const char *text, uint8_t *byte)
{
    if (text[0] == ',' || text[0] == '\\') {
        *byte = (uint8_t)text[0];
        return 1;
    }
    if (text[0] == 'x' && hex_digit(text[1]) >= 0 && hex_digit(text[2]) >= 0) {
        *byte = (uint8_t)(hex_digit(text[1]) * 16 + hex_digit(text[2]));
        return 3;
    }
    return 0;
}

static bool split_key_add(struct node_reading *p, struct fl_bytes key)
{
    struct node_options *o = p->options;

    if (key.len == 0 || key.len > (size_t)FL_KEY_BYTES_MAX) {
        return node__refuse(
            p, "--initial-split-keys: a key is empty or longer than %d bytes", FL_KEY_BYTES_MAX);
    }
    if (o->split_key_count > 0 &&
        fl_bytes_compare(o->split_keys[o->split_key_count - 1], key) >= 0) {
        return node__refuse(
            p,
            "--initial-split-keys: '%.*s' is not above the key before it; list them in "
            "ascending order",
            (int)(key.len < 100 ? key.len : 100),
            (const char *)key.data);
    }
    if (o->split_key_count == NODE_SPLIT_KEYS_MAX) {
        return node__refuse(
            p, "--initial-split-keys: more than %d keys; give fewer", NODE_SPLIT_KEYS_MAX);
    }
    o->split_keys = fl_xrealloc(o->split_keys, o->split_key_count + 1, sizeof *o->split_keys);
    o->split_keys[o->split_key_count++] = fl_bytes(fl_xmemdup(key.data, key.len), key.len);
    return true;
}

static bool split_keys_parse(struct node_reading *p, const char *text)
{
    bool none = *text == '\0';
    struct fl_writer key;
    bool good = true;

    fl_writer_init(&key);
    while (good && *text != '\0') {
        uint8_t byte = (uint8_t)*text++;

        if (byte == ',') {
            good = split_key_add(p, fl_writer_bytes(&key));
            fl_writer_reset(&key);
            continue;
        }
        if (byte == '\\') {
            size_t used = escape_parse(text, &byte);

            if (used == 0) {
                good = node__refuse(
                    p,
                    "--initial-split-keys: '\\%.3s' is not an escape; use \\xNN, \\, or "
                    "\\\\",
                    text);
            }
            text += used;
        }
        fl_write_u8(&key, byte);
    }
    good = good && (none || split_key_add(p, fl_writer_bytes(&key)));
    fl_writer_close(&key);
    return good;
}

static bool text_option(struct node_reading *p,
                        const struct node_option_row *row,
                        const char *text,
                        char **field)
{
    size_t len = strlen(text);

    if (len < row->min || len > row->max) {
        return node__refuse(p,
                            "--%s: give a text of %" PRIu64 " to %" PRIu64 " bytes",
                            row->flag,
                            row->min,
                            row->max);
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return node__refuse(p, "--%s: control characters are not allowed", row->flag);
        }
    }
    *field = fl_xstrdup(text);
    return true;
}

static bool state_option(struct node_reading *p, const char *text, enum node_cluster_state *state)
{
    *state = strcmp(text, "existing") == 0 ? NODE_CLUSTER_EXISTING : NODE_CLUSTER_NEW;
    return *state == NODE_CLUSTER_EXISTING || strcmp(text, "new") == 0 ||
           node__refuse(
               p, "--initial-cluster-state: '%.100s' is neither 'new' nor 'existing'", text);
}

static bool level_option(struct node_reading *p, const char *text, enum fl_log_level *level)
{
    return fl_log_parse_level(text, level) ||
           node__refuse(p, "--log-level: '%.100s' is not debug, info, warn or error", text);
}

bool node__option_convert(struct node_reading *p,
                          const struct node_option_row *row,
                          const char *text)
{
    void *field = (char *)p->options + row->offset;
    uint64_t value = 0;

    switch (row->kind) {
    case NODE_OPTION_TEXT:
        return text_option(p, row, text, field);
    case NODE_OPTION_URLS:
        return urls_parse(p, row->flag, text, field);
    case NODE_OPTION_SEEDS:
        return seeds_parse(p, text);
    case NODE_OPTION_STATE:
        return state_option(p, text, field);
    case NODE_OPTION_KEYS:
        return split_keys_parse(p, text);
    case NODE_OPTION_LEVEL:
        return level_option(p, text, field);
    case NODE_OPTION_U32:
    case NODE_OPTION_MS:
        if (!number_option(p, row, text, &value)) {
            return false;
        }
        *(uint32_t *)field = (uint32_t)value;
        return true;
    case NODE_OPTION_BYTES:
    case NODE_OPTION_U64:
    default:
        return number_option(p, row, text, field);
    }
}
