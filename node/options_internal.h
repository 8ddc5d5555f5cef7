/* Shared inside the parsing of options: one row of the table, one parse, its steps.
 *
 * Owner: node_options_parse, on its stack. Lifetime: of that call. Threads: its own. */
#ifndef NODE_OPTIONS_INTERNAL_H
#define NODE_OPTIONS_INTERNAL_H

#include "node/options.h"

#define NODE_NAME_BYTES_MAX 128
#define NODE_SPLIT_KEYS_MAX 4095

enum node_option_kind {
    NODE_OPTION_TEXT,
    NODE_OPTION_URLS,
    NODE_OPTION_SEEDS,
    NODE_OPTION_STATE,
    NODE_OPTION_KEYS,
    NODE_OPTION_LEVEL,
    NODE_OPTION_U32,
    NODE_OPTION_MS,
    NODE_OPTION_BYTES,
    NODE_OPTION_U64
};

struct node_option_row {
    const char *flag;
    enum node_option_kind kind;
    size_t offset; /* of the field in struct node_options */
    const char *fallback;
    uint64_t min; /* of the value, or of the length of a text */
    uint64_t max;
    const char *value_name;
    const char *help;
};

/* One parse: what it fills, and where the sentence goes. */
struct node_reading {
    struct node_options *options;
    char *why;
    size_t why_bytes;
};

/* Writes the sentence. Always false: the value of every check that failed. */
bool node__refuse(struct node_reading *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The text before the next `separator`; `*rest` moves behind it. */
struct fl_bytes node__cut(struct fl_bytes *rest, char separator);
/* A C string of `text`; the caller frees it. */
char *node__copy_text(struct fl_bytes text);

/* Converts `text` into the field of `row`; false with a sentence when it is not valid. */
bool node__option_convert(struct node_reading *p,
                          const struct node_option_row *row,
                          const char *text);

/* Fills what follows from other options and checks what they say about each other. */
bool node__options_check(struct node_reading *p);

/* The seed of this name, or NULL. */
struct node_seed *node__seed_find(struct node_options *o, struct fl_bytes name);
/* The seed of this name, added without URLs if it is new. */
struct node_seed *node__seed_add(struct node_options *o, struct fl_bytes name);

#endif
