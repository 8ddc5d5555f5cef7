/* Reading the recorded tables. */
#include "tests/raftgroup/table.h"

#include "tests/raftgroup/shape.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

bool table_read(struct table *t, struct table_row *row)
{
    do {
        size_t len;

        if (t->report->malformed || fgets(row->text, sizeof(row->text), t->file) == NULL) {
            return false;
        }
        len = strcspn(row->text, "\n");
        if (row->text[len] != '\n' && !feof(t->file)) {
            report_read(t->report, row->text, false);
            report_malformed(t->report, "a NUL byte, or more than %d bytes", TABLE_LINE_BYTES - 2);
            return false;
        }
        row->text[len] = '\0';
        report_read(t->report, row->text, true);
    } while (row->text[0] == '\0' || strncmp(row->text, "# ", 2) == 0);
    row->want = strstr(row->text, " => ");
    if (row->want != NULL) {
        *row->want = '\0';
        row->want += 4;
    }
    return true;
}

bool table_fits(struct table *t, const struct table_row *row, const char *shape, bool result)
{
    char value[256];

    if (!shape_fits(shape, row->text)) {
        report_malformed(t->report, "not a row of this kind: %s", row->text);
        return false;
    }
    if (result && row->want == NULL) {
        report_malformed(t->report, "no result (=>): %s", row->text);
        return false;
    }
    for (const char *p = strchr(row->text, '='); p != NULL; p = strchr(p + 1, '=')) {
        if (strcspn(p, " ") >= sizeof(value)) {
            report_malformed(t->report, "a value is longer than %zu bytes", sizeof(value) - 1);
            return false;
        }
    }
    return true;
}

void table_check(struct table *t, const struct table_row *row, const char *got)
{
    if (row->want != NULL && strcmp(row->want, got) == 0) {
        report_pass(t->report);
    } else {
        report_differ(t->report, 0, "another result", row->want != NULL ? row->want : "", got);
    }
}

const char *table_value(const struct table_row *row, const char *key, char out[256])
{
    char pattern[32];
    const char *p;
    size_t len;

    (void)snprintf(pattern, sizeof(pattern), " %s=", key);
    p = strstr(row->text, pattern);
    out[0] = '\0';
    if (p != NULL) {
        p += strlen(pattern);
        len = strcspn(p, " ");
        len = len < 255 ? len : 255;
        memcpy(out, p, len);
        out[len] = '\0';
    }
    return out;
}

uint64_t table_number(const struct table_row *row, const char *key)
{
    char text[256];

    return strtoull(table_value(row, key, text), NULL, 10);
}

struct table_numbers table_numbers(const char *text)
{
    struct table_numbers n = {.n = 0};

    while (*text != '\0' && n.n < TABLE_NUMBERS_MAX) {
        char *end;

        text += strcspn(text, "0123456789");
        if (*text != '\0') {
            n.at[n.n++] = strtoull(text, &end, 10);
            text = end;
        }
    }
    return n;
}

struct table_numbers table_list(const struct table_row *row, const char *key)
{
    char text[256];

    return table_numbers(table_value(row, key, text));
}
