/* Random honest histories. See random_history.h. */
#include "tests/lib/random_history.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct store {
    char value[RANDOM_HISTORY_KEYS_MAX][16]; /* "" absent */
    int64_t mod[RANDOM_HISTORY_KEYS_MAX];
    int64_t revision;
};

static int by_point(const void *left, const void *right)
{
    const struct random_plan *a = left;
    const struct random_plan *b = right;

    return (a->point > b->point) - (a->point < b->point);
}

static void key_name(char *out, size_t size, int key)
{
    (void)snprintf(out, size, "%c%d", 'a' + key % 4, key);
}

static void json_value(FILE *out, const char *value)
{
    if (value[0] == '\0') {
        (void)fputs("null", out);
    } else {
        (void)fprintf(out, "\"%s\"", value);
    }
}

static void store_put(struct store *store, int key, const char *value)
{
    (void)snprintf(store->value[key], sizeof(store->value[key]), "%s", value);
    store->mod[key] = store->revision;
}

/* Writes the beginning of a line and, for answered operations, the revision of the answer. */
static void begin_line(FILE *out, const struct random_plan *plan, const char *op, int64_t revision)
{
    (void)fprintf(
        out, "{\"c\":%d,\"call\":%lld,\"op\":\"%s\"", plan->client, (long long)plan->call, op);
    if (plan->open) {
        (void)fputs(",\"ret\":null,\"res\":\"unknown\"", out);
    } else {
        (void)fprintf(out, ",\"ret\":%lld,\"res\":\"ok\"", (long long)plan->ret);
        if (revision != 0) {
            (void)fprintf(out, ",\"rev\":%lld", (long long)revision);
        }
    }
}

static void run_range(FILE *out,
                      const struct random_plan *plan,
                      const struct store *store,
                      const struct random_shape *shape)
{
    static const char *const prefixes[] = {"a", "b", "c", "d"};
    bool wide = shape->wide_ranges && plan->key2 % 2 == 0;
    const char *prefix = prefixes[plan->key % 4];
    bool first = true;

    begin_line(out, plan, "range", shape->revisions ? store->revision : 0);
    (void)fprintf(out, ",\"key\":\"%s\",\"out\":[", wide ? "" : prefix);
    for (int key = 0; key < shape->keys && !plan->open; key++) {
        char name[16];

        if ((!wide && key % 4 != plan->key % 4) || store->value[key][0] == '\0') {
            continue;
        }
        key_name(name, sizeof(name), key);
        (void)fprintf(
            out, "%s{\"key\":\"%s\",\"val\":\"%s\"", first ? "" : ",", name, store->value[key]);
        if (shape->revisions) {
            (void)fprintf(out, ",\"mrev\":%lld", (long long)store->mod[key]);
        }
        (void)fputs("}", out);
        first = false;
    }
    (void)fputs("]}", out);
}

/* "if key = old then put key value, put key2 value2 else get key2, delete key2" */
static void run_txn(FILE *out,
                    const struct random_plan *plan,
                    struct store *store,
                    const struct random_shape *shape)
{
    bool holds = strcmp(store->value[plan->key], plan->old) == 0;
    char key[16];
    char key2[16];
    char found[16];

    key_name(key, sizeof(key), plan->key);
    key_name(key2, sizeof(key2), plan->key2);
    memcpy(found, store->value[plan->key2], sizeof(found));
    if (!holds && plan->effect && found[0] != '\0') {
        store->revision++;
        store_put(store, plan->key2, "");
    } else if (holds && plan->effect) {
        store->revision++;
        store_put(store, plan->key, plan->value);
        store_put(store, plan->key2, plan->value2);
    }
    begin_line(out, plan, "txn", shape->revisions ? store->revision : 0);
    (void)fprintf(out, ",\"cmp\":[{\"key\":\"%s\",\"rel\":\"=\",\"val\":", key);
    json_value(out, plan->old);
    (void)fprintf(
        out,
        "}],\"then\":[{\"op\":\"put\",\"key\":\"%s\",\"val\":\"%s\"},{\"op\":\"put\",\"key\":"
        "\"%s\",\"val\":\"%s\"}],\"else\":[{\"op\":\"get\",\"key\":\"%s\"},{\"op\":"
        "\"delete\",\"key\":\"%s\"}]",
        key,
        plan->value,
        key2,
        plan->value2,
        key2,
        key2);
    if (!plan->open) {
        (void)fprintf(out, ",\"succ\":%s,\"out\":[", holds ? "true" : "false");
        if (!holds) {
            (void)fprintf(out, "{\"key\":\"%s\",\"val\":", key2);
            json_value(out, found);
            (void)fputs("}", out);
        }
        (void)fprintf(out, "]%s", holds ? "" : found[0] != '\0' ? ",\"del\":[1]" : ",\"del\":[0]");
    }
    (void)fputs("}", out);
}

static void run_single(FILE *out,
                       const struct random_plan *plan,
                       struct store *store,
                       const struct random_shape *shape)
{
    static const char *const names[] = {"put", "get", "delete", "cas"};
    bool exists = store->value[plan->key][0] != '\0';
    bool holds = strcmp(store->value[plan->key], plan->old) == 0;
    bool writes = plan->kind == RANDOM_PUT || (plan->kind == RANDOM_DELETE && exists) ||
                  (plan->kind == RANDOM_CAS && holds);
    char key[16];

    key_name(key, sizeof(key), plan->key);
    if (writes && plan->effect) {
        store->revision++;
        store_put(store, plan->key, plan->kind == RANDOM_DELETE ? "" : plan->value);
    }
    begin_line(out, plan, names[plan->kind], shape->revisions ? store->revision : 0);
    (void)fprintf(out, ",\"key\":\"%s\"", key);
    if (plan->kind == RANDOM_PUT || plan->kind == RANDOM_CAS) {
        (void)fprintf(out, ",\"val\":\"%s\"", plan->value);
    }
    if (plan->kind == RANDOM_CAS) {
        (void)fputs(",\"old\":", out);
        json_value(out, plan->old);
        (void)fprintf(out, ",\"succ\":%s", holds ? "true" : "false");
    }
    if (plan->kind == RANDOM_DELETE) {
        (void)fprintf(out, ",\"out\":%d", exists);
    }
    if (plan->kind == RANDOM_GET) {
        (void)fputs(",\"out\":", out);
        json_value(out, store->value[plan->key]);
        if (shape->revisions && exists) {
            (void)fprintf(out, ",\"mrev\":%lld", (long long)store->mod[plan->key]);
        }
    }
    (void)fputs("}", out);
}

static void pick_values(struct random_plan *plan,
                        struct fl_prng *prng,
                        const struct random_shape *shape,
                        size_t id)
{
    unsigned unique = (unsigned)(shape->repeat_values ? fl_prng_below(prng, 3) : id);

    (void)snprintf(plan->value, sizeof(plan->value), "v%u", unique);
    (void)snprintf(plan->value2, sizeof(plan->value2), "w%u", unique);
    if (fl_prng_below(prng, 2) != 0) {
        /* an old value that has a chance to be there */
        uint64_t back = fl_prng_below(prng, (uint64_t)shape->clients * 2) + 1;

        (void)snprintf(plan->old,
                       sizeof(plan->old),
                       "v%u",
                       (unsigned)(shape->repeat_values ? fl_prng_below(prng, 3)
                                                       : (id > back ? id - back : 0)));
    }
}

/* Plans every client's operations; ids are unique, points lie between call and return. */
static struct random_plan *
plan_all(struct fl_prng *prng, const struct random_shape *shape, size_t *count)
{
    struct random_plan *plans =
        fl_xcalloc((size_t)shape->clients * (size_t)shape->per_client, sizeof(*plans));
    int next_client = shape->clients;

    *count = 0;
    for (int c = 0; c < shape->clients; c++) {
        int64_t now = 1 + (int64_t)fl_prng_below(prng, 5);
        int client = c;

        for (int i = 0; i < shape->per_client; i++) {
            struct random_plan *plan = &plans[*count];

            plan->client = client;
            plan->call = now;
            plan->point = plan->call + 1 + (int64_t)fl_prng_below(prng, 10);
            plan->ret = plan->point + 1 + (int64_t)fl_prng_below(prng, 10);
            plan->kind = (enum random_op)fl_prng_below(prng, RANDOM_RANGE);
            if ((int)fl_prng_below(prng, 100) < shape->range_percent) {
                plan->kind = RANDOM_RANGE;
            }
            plan->key = (int)fl_prng_below(prng, (uint64_t)shape->keys);
            plan->key2 = (plan->key + 4) % shape->keys;
            plan->effect = true;
            if ((int)fl_prng_below(prng, 100) < shape->open_percent) {
                plan->open = true;
                plan->effect = fl_prng_below(prng, 2) == 0;
                plan->point += (int64_t)fl_prng_below(prng, 40);
                client = next_client++;
            }
            pick_values(plan, prng, shape, (size_t)i * (size_t)shape->clients + (size_t)c);
            now = plan->ret + 1 + (int64_t)fl_prng_below(prng, 8);
            (*count)++;
        }
    }
    return plans;
}

struct random_plan *
random_history(struct fl_prng *prng, const struct random_shape *shape, size_t *count)
{
    struct random_plan *plans = plan_all(prng, shape, count);
    struct store *store = fl_xcalloc(1, sizeof(*store));

    store->revision = 1;
    qsort(plans, *count, sizeof(*plans), by_point);
    for (size_t i = 0; i < *count; i++) {
        FILE *out = fmemopen(plans[i].text, sizeof(plans[i].text), "w");

        fl_assert(out != NULL);
        if (plans[i].kind == RANDOM_RANGE) {
            run_range(out, &plans[i], store, shape);
        } else if (plans[i].kind == RANDOM_TXN) {
            run_txn(out, &plans[i], store, shape);
        } else {
            run_single(out, &plans[i], store, shape);
        }
        (void)fclose(out);
    }
    free(store);
    return plans;
}

struct history *
random_history_parse(const struct random_plan *plans, size_t count, char *error, size_t error_size)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct history *history;

    fl_assert(out != NULL);
    for (size_t i = 0; i < count; i++) {
        (void)fprintf(out, "%s\n", plans[i].text);
    }
    (void)fclose(out);
    history = history_read_text(text, size, error, error_size);
    free(text);
    return history;
}
