/* Operations of clients, and what became of them.
 *
 * Owner: the world. Lifetime: of the run. Threads: one. */
#ifndef TESTS_SIM_OP_H
#define TESTS_SIM_OP_H

#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum sim_op_kind {
    SIM_OP_GET,
    SIM_OP_PUT,
    SIM_OP_DELETE,
    SIM_OP_CAS, /* key == expect: put value, else get key */
    SIM_OP_TXN, /* key == expect: put value and get other, else get both */
    SIM_OP_MAP, /* a write to the placement group; not in the history */
};

/* What a write asks of the tiny machine. Values are numbers unique in a run; 0: absent. */
struct sim_command {
    uint8_t kind; /* enum sim_op_kind */
    uint8_t key;
    uint8_t other;
    uint32_t value;
    uint32_t expect;
};

enum sim_op_state {
    SIM_OP_OPEN,
    SIM_OP_OK,
    SIM_OP_FAILED,  /* certainly not applied */
    SIM_OP_UNKNOWN, /* timed out, or told so */
};

struct sim_outcome {
    enum fl_status status;
    bool succeeded; /* CAS, TXN */
    uint32_t value; /* GET: seen; CAS, TXN: of `key` in the else branch; 0: absent */
    uint32_t other; /* TXN: of `other` */
    uint32_t deleted;
};

struct sim_op {
    struct sim_command command;
    struct sim_outcome outcome;
    uint64_t call; /* virtual time */
    uint64_t ret;
    uint64_t serial; /* 1, 2 .. in the run */
    unsigned client;
    unsigned history_client; /* a new one after an unknown outcome */
    uint8_t group;
    uint8_t final;     /* number of the last operations, + 1; 0: an ordinary one */
    uint8_t state;     /* enum sim_op_state */
    bool late;         /* an answer came after the timeout */
    bool proposed;     /* some replica took it into its log */
    bool repeated;     /* .. more than once */
    uint8_t proposals; /* that nobody has settled yet */
};

#endif
