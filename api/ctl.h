/* What the commands of flotillactl share: global flags, parsing, tables, errors.
 *
 * Owner: main(). Lifetime: of the process. Threads: one. */
#ifndef API_CTL_H
#define API_CTL_H

#include "api/client.h"
#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { API_CTL_OK = 0, API_CTL_FAILED = 1, API_CTL_USAGE = 2 };

struct api_ctl {
    const char *endpoints;
    uint64_t timeout_ms;
    bool json;
    struct api_client *client; /* made by api_ctl_connect */
};

/* One flag of a command; exactly one of the three targets is set. */
struct api_flag {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    bool *on;         /* a flag without value */
    const char **text;
    uint64_t *number; /* within min..max */
    uint64_t min;
    uint64_t max;
};

struct api_command {
    const char *name;
    const char *summary;                                    /* one line for the list of commands */
    const char *help;                                       /* usage, flags, examples */
    int (*run)(struct api_ctl *ctl, int argc, char **argv); /* argv[0] is the command's name */
};

extern const struct api_command api_ctl_status;
extern const struct api_command api_ctl_nodes;
extern const struct api_command api_ctl_ranges;
extern const struct api_command api_ctl_get;
extern const struct api_command api_ctl_put;
extern const struct api_command api_ctl_del;
extern const struct api_command api_ctl_bench;

#define API_WORDS_MAX 8 /* arguments that are no flags */

/* The arguments of a command, and the words among them. */
struct api_words {
    int argc;
    char **argv;
    const char *list[API_WORDS_MAX];
    size_t count;
};

/* Reads flags (the command's and the global ones) and words from `words->argv`. On a mistake prints
 * a sentence and returns false: the command ends with API_CTL_USAGE. */
bool api_ctl_parse(struct api_ctl *ctl,
                   const struct api_command *command,
                   const struct api_flag *flags,
                   size_t flag_count,
                   struct api_words *words);
/* Prints "flotillactl COMMAND: sentence" and where to read on; returns API_CTL_USAGE. */
int api_ctl_misuse(const struct api_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Makes ctl->client; false with a sentence printed when an endpoint is no address. */
bool api_ctl_connect(struct api_ctl *ctl);
/* Calls and returns the reply; NULL with a sentence printed. */
const void *api_ctl_call(struct api_ctl *ctl,
                         const char *path,
                         const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *reply,
                         bool repeatable);

/* Prints what was written and frees it. */
void api_ctl_print(struct fl_writer *w);

/* A table: cells row by row, printed with aligned columns. */
struct api_table {
    char **cells;
    size_t count;
    size_t capacity;
    size_t columns;
};

/* `titles` are the first row. */
void api_table_init(struct api_table *table, const char *const *titles, size_t columns);
void api_table_cell(struct api_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A cell with a key as text. */
void api_table_key(struct api_table *table, struct fl_bytes key);
/* Prints and frees. */
void api_table_print(struct api_table *table);

#endif
