/* Flags, errors and tables of flotillactl. */
#include "api/ctl.h"

#include "api/text.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- flags ---------------------------------------------------------------------------------- */

int api_ctl_misuse(const struct api_command *command, const char *format, ...)
{
    va_list args;

    (void)fprintf(stderr, "flotillactl %s: ", command->name);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fprintf(stderr, "\nflotillactl %s --help shows how it is used\n", command->name);
    return API_CTL_USAGE;
}

/* The flag that `arg` names, and the text behind '=', if any. */
static const struct api_flag *
flag_find(const struct api_flag *flags, size_t count, const char *arg, const char **value)
{
    const char *name = arg[1] == '-' ? arg + 2 : arg + 1;
    size_t len = strcspn(name, "=");

    *value = name[len] == '=' ? name + len + 1 : NULL;
    for (size_t i = 0; i < count; i++) {
        bool is_long = strlen(flags[i].name) == len && strncmp(flags[i].name, name, len) == 0;
        bool is_short = arg[1] != '-' && len == 1 && flags[i].letter == name[0];

        if ((arg[1] == '-' && is_long) || is_short) {
            return &flags[i];
        }
    }
    return NULL;
}

static bool number_parse(const struct api_flag *flag, const char *text)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    *flag->number = value;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && value >= flag->min &&
           value <= flag->max;
}

/* Takes one flag; returns how many arguments it used, 0 after a mistake. */
static int flag_take(const struct api_command *command,
                     const struct api_flag *flags,
                     size_t count,
                     char **args,
                     int left)
{
    const char *value;
    const struct api_flag *flag = flag_find(flags, count, args[0], &value);
    int used = 1;

    if (flag == NULL) {
        (void)api_ctl_misuse(command, "unknown flag %s", args[0]);
        return 0;
    }
    if (flag->on != NULL) {
        *flag->on = true;
        if (value != NULL) {
            (void)api_ctl_misuse(command, "--%s takes no value", flag->name);
            return 0;
        }
        return used;
    }
    if (value == NULL) {
        if (left < 2) {
            (void)api_ctl_misuse(command, "--%s needs a value", flag->name);
            return 0;
        }
        value = args[1];
        used = 2;
    }
    if (flag->text != NULL) {
        *flag->text = value;
    } else if (!number_parse(flag, value)) {
        (void)api_ctl_misuse(command,
                             "--%s: '%.100s' is not a number from %" PRIu64 " to %" PRIu64,
                             flag->name,
                             value,
                             flag->min,
                             flag->max);
        return 0;
    }
    return used;
}

bool api_ctl_parse(struct api_ctl *ctl,
                   const struct api_command *command,
                   const struct api_flag *flags,
                   size_t flag_count,
                   struct api_words *words)
{
    const char *output = ctl->json ? "json" : "table";
    const struct api_flag globals[] = {
        {.name = "endpoints", .text = &ctl->endpoints},
        {.name = "timeout-ms", .number = &ctl->timeout_ms, .min = 1, .max = 600000},
        {.name = "output", .letter = 'o', .text = &output},
    };
    struct api_flag all[16];
    size_t count = sizeof globals / sizeof globals[0];
    bool words_only = false;

    memcpy(all, globals, sizeof globals);
    for (size_t i = 0; i < flag_count; i++) {
        all[count++] = flags[i];
    }
    words->count = 0;
    for (int i = 1; i < words->argc;) {
        int used;

        if (!words_only && strcmp(words->argv[i], "--") == 0) {
            words_only = true;
            i++;
        } else if (words_only || words->argv[i][0] != '-' || words->argv[i][1] == '\0') {
            if (words->count == API_WORDS_MAX) {
                (void)api_ctl_misuse(command, "too many arguments");
                return false;
            }
            words->list[words->count++] = words->argv[i++];
        } else {
            used = flag_take(command, all, count, words->argv + i, words->argc - i);
            if (used == 0) {
                return false;
            }
            i += used;
        }
    }
    ctl->json = strcmp(output, "json") == 0;
    if (!ctl->json && strcmp(output, "table") != 0) {
        (void)api_ctl_misuse(command, "-o takes 'table' or 'json'");
        return false;
    }
    return true;
}

/* --- calls ---------------------------------------------------------------------------------- */

bool api_ctl_connect(struct api_ctl *ctl)
{
    char why[512];

    ctl->client = api_client_create(ctl->endpoints, ctl->timeout_ms, why, sizeof why);
    if (ctl->client == NULL) {
        (void)fprintf(stderr, "flotillactl: --endpoints: %s\n", why);
    }
    return ctl->client != NULL;
}

const void *api_ctl_call(struct api_ctl *ctl,
                         const char *path,
                         const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *reply,
                         bool repeatable)
{
    struct api_call_result result;

    if (api_client_call(ctl->client, path, request, reply, repeatable, &result)) {
        return result.message;
    }
    if (result.code == GRPC_STATUS_UNAVAILABLE &&
        strncmp(result.text, "failed to connect", 17) == 0) {
        (void)fprintf(stderr,
                      "flotillactl: nobody answers at %s; is flotillad running there? "
                      "--endpoints names others\n",
                      ctl->endpoints);
    } else if (result.code == GRPC_STATUS_DEADLINE_EXCEEDED) {
        (void)fprintf(stderr,
                      "flotillactl: no answer from %s within %" PRIu64 " ms\n",
                      ctl->endpoints,
                      ctl->timeout_ms);
    } else {
        (void)fprintf(stderr, "flotillactl: %s\n", result.text);
    }
    return NULL;
}

void api_ctl_print(struct fl_writer *w)
{
    (void)fwrite(w->data, 1, w->len, stdout);
    fl_writer_close(w);
}

/* --- tables --------------------------------------------------------------------------------- */

static void cell_add(struct api_table *table, char *text)
{
    fl_grow(&table->cells, &table->capacity, table->count + 1, sizeof(char *));
    table->cells[table->count++] = text;
}

void api_table_init(struct api_table *table, const char *const *titles, size_t columns)
{
    *table = (struct api_table){.columns = columns};
    for (size_t i = 0; i < columns; i++) {
        cell_add(table, fl_xstrdup(titles[i]));
    }
}

void api_table_cell(struct api_table *table, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cell_add(table, fl_xstrdup(text));
}

void api_table_key(struct api_table *table, struct fl_bytes key)
{
    struct fl_writer w;

    fl_writer_init(&w);
    api_text_key(&w, key);
    fl_write_u8(&w, '\0');
    cell_add(table, fl_xstrdup((const char *)w.data));
    fl_writer_close(&w);
}

static size_t column_width(const struct api_table *table, size_t column)
{
    size_t width = 0;

    for (size_t i = column; i < table->count; i += table->columns) {
        size_t len = strlen(table->cells[i]);

        width = len > width ? len : width;
    }
    return width;
}

void api_table_print(struct api_table *table)
{
    size_t *widths = fl_xcalloc(table->columns, sizeof *widths);

    fl_assert(table->columns > 0);
    for (size_t c = 0; c < table->columns; c++) {
        widths[c] = column_width(table, c);
    }
    for (size_t i = 0; i < table->count; i++) {
        bool last = (i + 1) % table->columns == 0;

        (void)printf("%s", table->cells[i]);
        if (last) {
            (void)putchar('\n');
        } else {
            (void)printf(
                "%*s", (int)(widths[i % table->columns] - strlen(table->cells[i]) + 2), "");
        }
        free(table->cells[i]);
    }
    free(widths);
    free(table->cells);
}
