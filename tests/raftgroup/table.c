/* Reading the recorded tables. */
#include "tests/raftgroup/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

FILE *table_open(const char *name)
{
    const char *folder = getenv("FLOTILLA_VECTORS");
    char path[512];
    FILE *file;

    (void)snprintf(path,
                   sizeof(path),
                   "%s/tables/%s",
                   folder != NULL ? folder : "../shared/vectors/raft",
                   name);
    file = fopen(path, "r");
    if (file == NULL) {
        print_message("skipped: %s is absent\n", path);
        skip();
    }
    return file;
}

bool table_read(FILE *file, struct table_row *row)
{
    if (fgets(row->text, sizeof(row->text), file) == NULL) {
        return false;
    }
    row->text[strcspn(row->text, "\n")] = '\0';
    row->want = strstr(row->text, " => ");
    if (row->want != NULL) {
        *row->want = '\0';
        row->want += 4;
    }
    return true;
}

void table_check(struct table_tally *t, const struct table_row *row, const char *got)
{
    t->rows++;
    if (row->want == NULL || strcmp(row->want, got) != 0) {
        t->differ++;
        print_message("%s\n  want %s\n  got  %s\n", row->text, row->want, got);
    }
}

void table_report(const char *name, const struct table_tally *t)
{
    print_message(
        "%s: %u rows, %u without meaning here, %u differ\n", name, t->rows, t->skipped, t->differ);
    assert_int_equal(t->differ, 0);
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
