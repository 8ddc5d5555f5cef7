/* Writes a history (format v1, tests/lib/history.h) while clients run.
 *
 * Owner: the caller. Lifetime: until recorder_close. Threads: any; lines are written whole under
 * one lock. */
#ifndef TESTS_E2E_RECORDER_H
#define TESTS_E2E_RECORDER_H

#include "tests/lib/etcd_client.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

struct recorder;

/* One line under construction; `text` is closed and written by record_end. */
struct record {
    FILE *text;
    char *buffer;
    size_t size;
};

/* Opens `path` and writes the first line. NULL when it cannot be written. */
struct recorder *recorder_open(const char *path, uint64_t seed, const char *system);

/* A client number never given before. */
int64_t recorder_new_client(struct recorder *recorder);

/* Nanoseconds of the one clock of the history. */
int64_t recorder_now_ns(void);

/* Who called, when, and through which node (from 1). */
struct record_head {
    int64_t client;
    int64_t call_ns, ret_ns;
    int node;
};

/* Begins the line of an operation with its head and the result and revision of its reply. */
void record_begin(struct record *record,
                  const char *op,
                  struct record_head head,
                  const struct etcd_reply *reply);

/* Adds `"name":"text"`, or null for a NULL text. */
void record_text(struct record *record, const char *name, const char *text);

/* Adds `"name":value`. */
void record_int(struct record *record, const char *name, int64_t value);

/* Adds `"name":true` or false. */
void record_bool(struct record *record, const char *name, bool value);

/* Adds `"name":[{"key":..,"val":..,"mrev":..},...]`. */
void record_kvs(struct record *record, const char *name, const struct etcd_kv *kvs, size_t count);

/* Writes the line. */
void record_end(struct record *record, struct recorder *recorder);

/* Writes the line of a fault. `phase` is "start" or "end". */
void recorder_fault(struct recorder *recorder, int node, const char *phase, const char *what);

/* Writes the line of a replica's hash. */
void recorder_hash(struct recorder *recorder, int node, int64_t revision, uint32_t hash);

/* Closes the file; false when something could not be written. */
bool recorder_close(struct recorder *recorder);

#endif
