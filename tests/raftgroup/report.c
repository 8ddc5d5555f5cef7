/* Results of one file of vectors: see report.h. */
#include "tests/raftgroup/report.h"

#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <string.h>

void report_read(struct report *r, const char *text, bool told)
{
    struct report_line *at = &r->recent[r->nrecent % (REPORT_CONTEXT + 1)];

    r->line++;
    if (told) {
        at->number = r->line;
        (void)snprintf(at->text, sizeof(at->text), "%.*s", REPORT_TEXT_BYTES - 1, text);
        r->nrecent++;
    }
}

void report_pass(struct report *r)
{
    r->passed++;
}

static void show_context(const struct report *r)
{
    unsigned first = r->nrecent > REPORT_CONTEXT + 1 ? r->nrecent - REPORT_CONTEXT - 1 : 0;

    for (unsigned i = first; i < r->nrecent; i++) {
        const struct report_line *l = &r->recent[i % (REPORT_CONTEXT + 1)];

        (void)fprintf(r->out, "    %6u | %s\n", l->number, l->text);
    }
}

void report_differ(struct report *r,
                   unsigned at,
                   const char *what,
                   const char *want,
                   const char *got)
{
    r->failed++;
    if (r->shown) {
        return;
    }
    r->shown = true;
    (void)fprintf(r->out, "%s:%u: %s\n", r->name, at != 0 ? at : r->line, what);
    show_context(r);
    (void)fprintf(r->out, "      want | %s\n      got  | %s\n", want, got);
}

void report_skip(struct report *r, const char *why)
{
    unsigned i = 0;

    r->skipped++;
    while (i < r->nskips && strcmp(r->skips[i].why, why) != 0) {
        i++;
    }
    if (i == r->nskips) {
        fl_assert(r->nskips < REPORT_SKIPS_MAX);
        (void)snprintf(r->skips[i].why, sizeof(r->skips[i].why), "%s", why);
        r->nskips++;
    }
    r->skips[i].count++;
}

void report_malformed(struct report *r, const char *format, ...)
{
    va_list args;

    if (r->malformed) {
        return;
    }
    r->malformed = true;
    r->failed++;
    (void)fprintf(r->out, "%s:%u: error: ", r->name, r->line);
    va_start(args, format);
    (void)vfprintf(r->out, format, args);
    va_end(args);
    (void)fprintf(r->out, "\n");
}
