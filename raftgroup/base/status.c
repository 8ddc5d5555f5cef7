/* Names, texts and outcome classes of the status codes. */
#include "raftgroup/base/status.h"

#include <stddef.h>

enum outcome { CERTAIN, UNKNOWN };

static const struct {
    const char *name;
    const char *text;
    enum outcome outcome;
} statuses[FL_STATUS_COUNT] = {
#define X(name, outcome, text) {#name, text, outcome},
    FL_STATUS_MAP(X)
#undef X
};

static bool known(enum fl_status status)
{
    return (size_t)status < (size_t)FL_STATUS_COUNT;
}

const char *fl_status_name(enum fl_status status)
{
    return known(status) ? statuses[status].name : "?";
}

const char *fl_status_text(enum fl_status status)
{
    return known(status) ? statuses[status].text : "unknown status";
}

bool fl_status_is_unknown(enum fl_status status)
{
    return !known(status) || statuses[status].outcome == UNKNOWN;
}
