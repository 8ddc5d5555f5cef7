/* The history of one run: what every client asked, when, and what it was told.
 *
 * Owner: the caller of history_read. Lifetime: until history_destroy; everything handed out points
 * into it. Threads: one at a time.
 *
 * Format v1, one JSON object per line, one line per finished operation (tests/lib/README.md):
 *   {"h":1,"clock":"...","seed":42,"sys":"..."}                       first line
 *   {"c":3,"call":N,"ret":N|null,"op":"put","key":"a","val":"3-17",
 *        "res":"ok|fail|unknown","rev":R?}
 *   {... "op":"get","key":"a","out":"3-17"|null,"mrev":R?,"ser":true?}
 *   {... "op":"delete","key":"a","out":1}
 *   {... "op":"cas","key":"a","old":"x"|null,"val":"y","succ":true}
 *   {... "op":"txn","cmp":[{"key":"b","rel":"=|!=","val":"x"|null}],
 *        "then":[{"op":"put|get|delete","key":..,"val":..}],"else":[..],"succ":true,
 *        "out":[{"key":"c","val":null}],"del":[1]?}    per get and per delete that ran, in order
 *   {... "op":"range","key":"prefix","out":[{"key":..,"val":..,"mrev":R?}]}
 *   {... "op":"range","key":"first","end":"beyond the last","out":[..]}
 *   {"ev":"fault","t":N,"what":"...","node":2,"phase":"start|end"}
 *   {"ev":"hash","node":1,"rev":R,"hash":H}                            equal per revision
 * `rel` "!=" with a value means "exists and differs", as etcd compares.
 *
 * Every operation is brought to one form: compares, acts if they hold, acts if not. A range becomes
 * one get per key of the run inside it, so what it did not return counts as seen absent. */
#ifndef TESTS_LIB_HISTORY_H
#define TESTS_LIB_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HISTORY_NEVER INT64_MAX

enum history_kind {
    HISTORY_PUT,
    HISTORY_GET,
    HISTORY_DELETE,
    HISTORY_CAS,
    HISTORY_TXN,
    HISTORY_RANGE,
};

struct history_cmp {
    uint32_t key;
    uint32_t version; /* HISTORY_ABSENT or a version of `key` */
    bool equal;       /* false: "exists and differs", for HISTORY_ABSENT "exists" */
};

/* kind is PUT (writes `version`), GET (saw `version`, mod revision `mrev` or 0) or DELETE (removed
 * `deleted` keys). What was seen is believed only when the operation's result is known. */
struct history_act {
    enum history_kind kind;
    uint32_t key;
    uint32_t version;
    int deleted;
    int64_t mrev;
};

struct history_acts {
    struct history_act *items;
    size_t count;
    size_t capacity;
};

struct history_op {
    size_t line;      /* in the file, for messages */
    int64_t client;   /* "c" */
    int64_t call;     /* ns */
    int64_t ret;      /* ns, HISTORY_NEVER when no answer settled it */
    int64_t revision; /* header revision of the answer, 0 when not recorded */
    int64_t shard;    /* -1 when not recorded */
    enum history_kind kind;
    int succeeded;     /* 1 `yes` ran, 0 `no` ran, -1 not known */
    bool known;        /* the answer arrived: outputs are facts */
    bool failed;       /* certainly not applied */
    bool serializable; /* a local read: may be stale */
    struct history_cmp *cmps;
    size_t cmp_count;
    struct history_acts yes; /* run when all compares hold */
    struct history_acts no;  /* run otherwise */
    char *text;              /* the line itself */
};

#define HISTORY_ABSENT 0U

/* One (key, value) pair ever named; id 0 stands for "no value" of every key. */
struct history_version {
    uint32_t key;
    char *value;
};

struct history_fault {
    int64_t time; /* ns */
    int64_t node; /* -1 when not recorded */
    bool start;   /* phase "start" */
    char *what;
};

struct history_hash {
    int64_t node;
    int64_t revision;
    int64_t hash;
    size_t line;
};

struct history {
    struct history_op *ops;
    size_t op_count, op_capacity;
    char **keys;
    size_t key_count, key_capacity;
    struct history_version *versions; /* [0] is unused: HISTORY_ABSENT */
    size_t version_count, version_capacity;
    struct history_fault *faults;
    size_t fault_count, fault_capacity;
    struct history_hash *hashes;
    size_t hash_count, hash_capacity;
    struct history_index *index; /* names to ids */
    int64_t seed;
    char *system;
};

/* Reads a history. On bad input returns NULL and writes one sentence with the line number to
 * `error` (of `error_size` bytes). The caller destroys the result. */
struct history *history_read(FILE *input, char *error, size_t error_size);

/* The same from `size` bytes of memory. */
struct history *history_read_text(const char *text, size_t size, char *error, size_t error_size);

/* True when the operation can change a key. */
bool history_op_writes(const struct history_op *op);

/* Acts of the branch that ran; `yes` when that is not known. */
const struct history_acts *history_op_branch(const struct history_op *op);

/* The value of a version for messages: "null" for HISTORY_ABSENT. */
const char *history_value(const struct history *history, uint32_t version);

/* Frees a history; NULL is allowed. */
void history_destroy(struct history *history);

#endif
