/* Runs recorded vectors of a Raft core from the command line: see vectors.h.
 *
 * Exit code: 0 all passed, 1 something failed or nothing was run, 2 wrong usage. */
#include "tests/raftgroup/vectors.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: driver [--trace SEED] PATH\n"
    "\n"
    "Runs the file, or every file below the folder, prints the first difference of each file, a "
    "row\n"
    "per set, and the sums.\n"
    "\n"
    "  --trace SEED    also show every command and message of the scripts of this seed\n";

int main(int argc, char **argv)
{
    struct vectors_options options = {.out = stdout};
    struct vectors_sum sum;
    const char *path = NULL;
    char *end = NULL;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--trace") == 0 && i + 1 < argc) {
            options.trace_seed = (unsigned)strtoul(argv[++i], &end, 10);
        } else if (argv[i][0] != '-' && path == NULL) {
            path = argv[i];
        } else {
            path = NULL;
            break;
        }
    }
    if (path == NULL || (end != NULL && *end != '\0')) {
        (void)fputs(usage, stderr);
        return 2;
    }
    if (!vectors_run(path, &options, &sum)) {
        return 1;
    }
    if (sum.passed + sum.failed + sum.skipped == 0) {
        (void)fprintf(stderr, "%s: error: no vectors below it\n", path);
        return 1;
    }
    (void)printf("%u passed, %u failed, %u skipped\n", sum.passed, sum.failed, sum.skipped);
    return sum.failed == 0 ? 0 : 1;
}
