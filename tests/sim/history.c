/* What the clients saw, in the format of the checkers (tests/lib/history.h), and their verdict. */
#include "tests/sim/world.h"

#include "tests/lib/lincheck.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { STATES_MAX = 300000 };

static void text(struct fl_writer *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void text(struct fl_writer *out, const char *format, ...)
{
    char line[192];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    fl_write_raw(out, fl_bytes(line, (size_t)n));
}

static void value(struct fl_writer *out, const char *name, uint32_t number)
{
    if (number == 0) {
        text(out, ",\"%s\":null", name);
    } else {
        text(out, ",\"%s\":\"%" PRIu32 "\"", name, number);
    }
}

static void seen(struct fl_writer *out, const struct sim_op *op, uint8_t key, uint32_t number)
{
    text(out, "{\"key\":\"g%uk%u\"", op->group, key);
    value(out, "val", number);
    text(out, "}");
}

static void write_txn(struct fl_writer *out, const struct sim_op *op)
{
    const struct sim_command *c = &op->command;

    text(out, "\"op\":\"txn\",\"cmp\":[{\"key\":\"g%uk%u\",\"rel\":\"=\"", op->group, c->key);
    value(out, "val", c->expect);
    text(out, "}],\"then\":[{\"op\":\"put\",\"key\":\"g%uk%u\"", op->group, c->key);
    value(out, "val", c->value);
    text(out, "},{\"op\":\"get\",\"key\":\"g%uk%u\"}],", op->group, c->other);
    text(out, "\"else\":[{\"op\":\"get\",\"key\":\"g%uk%u\"},", op->group, c->key);
    text(out, "{\"op\":\"get\",\"key\":\"g%uk%u\"}]", op->group, c->other);
    if (op->state == SIM_OP_OK) {
        text(out, ",\"succ\":%s,\"out\":[", op->outcome.succeeded ? "true" : "false");
        if (!op->outcome.succeeded) {
            seen(out, op, c->key, op->outcome.value);
            text(out, ",");
        }
        seen(out, op, c->other, op->outcome.other);
        text(out, "]");
    }
}

static void write_op(struct fl_writer *out, const struct sim_op *op)
{
    const struct sim_command *c = &op->command;

    switch ((enum sim_op_kind)c->kind) {
    case SIM_OP_GET:
        text(out, "\"op\":\"get\",\"key\":\"g%uk%u\"", op->group, c->key);
        value(out, "out", op->outcome.value);
        break;
    case SIM_OP_PUT:
        text(out, "\"op\":\"put\",\"key\":\"g%uk%u\"", op->group, c->key);
        value(out, "val", c->value);
        break;
    case SIM_OP_DELETE:
        text(out, "\"op\":\"delete\",\"key\":\"g%uk%u\"", op->group, c->key);
        if (op->state == SIM_OP_OK) {
            text(out, ",\"out\":%" PRIu32, op->outcome.deleted);
        }
        break;
    case SIM_OP_CAS:
        text(out, "\"op\":\"cas\",\"key\":\"g%uk%u\"", op->group, c->key);
        value(out, "old", c->expect);
        value(out, "val", c->value);
        if (op->state == SIM_OP_OK) {
            text(out, ",\"succ\":%s", op->outcome.succeeded ? "true" : "false");
        }
        break;
    case SIM_OP_TXN:
        write_txn(out, op);
        break;
    case SIM_OP_MAP:
        break;
    }
}

/* Failed operations that nobody ever took into a log cannot be seen by anyone. */
static bool belongs(const struct sim_world *w, const struct sim_op *op)
{
    if (w->options.full && op->group == 1) {
        return false; /* the map is no register */
    }
    return op->state == SIM_OP_OK || (op->command.kind != SIM_OP_GET && op->proposed);
}

void sim_history_check(struct sim_world *w)
{
    static const char *const results[] = {"unknown", "ok", "fail", "unknown"};
    struct fl_writer out;
    struct history *history;
    struct lincheck_result result;
    char error[256];

    fl_writer_init(&out);
    text(&out,
         "{\"h\":1,\"clock\":\"virtual\",\"seed\":%" PRIu64 ",\"sys\":\"sim\"}\n",
         w->options.seed);
    for (size_t i = 1; i <= w->nops; i++) {
        const struct sim_op *op = &w->ops[i];
        bool known = op->state == SIM_OP_OK || op->state == SIM_OP_FAILED;

        if (!belongs(w, op)) {
            continue;
        }
        text(&out, "{\"c\":%u,\"call\":%" PRIu64 ",", op->history_client, op->call * 1000);
        if (known) {
            text(&out, "\"ret\":%" PRIu64 ",", op->ret * 1000 + 1);
        } else {
            text(&out, "\"ret\":null,");
        }
        write_op(&out, op);
        text(&out, ",\"res\":\"%s\"}\n", results[op->state]);
    }
    history = history_read_text((const char *)out.data, out.len, error, sizeof(error));
    if (history == NULL) {
        sim_violate(w, "history", "%s", error);
    } else if (lincheck_run(history, STATES_MAX, &result) == LINCHECK_BAD) {
        sim_violate(w, "linearizability", "%.250s", result.detail);
    } else if (result.verdict == LINCHECK_UNDECIDED) {
        w->counts.undecided++;
    }
    history_destroy(history);
    fl_writer_close(&out);
}
