/* lincheck: checks a recorded history and says in one line each what it found.
 *
 * Exit codes: 0 linearizable (and revisions and replica hashes agree), 1 not, 2 undecided within
 * the budget, 3 bad input or usage. */
#include "raftgroup/base/alloc.h"
#include "tests/lib/history.h"
#include "tests/lib/lincheck.h"
#include "tests/lib/revcheck.h"
#include "tests/lib/write_gap.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum exit_code {
    EXIT_GOOD = 0,
    EXIT_BAD = 1,
    EXIT_UNDECIDED = 2,
    EXIT_INPUT = 3,
};

struct options {
    uint64_t max_states;
    bool revisions;
    enum revcheck_mode mode;
    const char *path;
};

static void usage(FILE *out)
{
    (void)fputs(
        "usage: lincheck [--max-states N] [--revisions strict|values|off] FILE|-\n"
        "Checks a history (format v1, tests/lib/history.h) for linearizability, the agreement of\n"
        "its revisions and replica hashes, and prints the write gap of every fault.\n"
        "exit codes: 0 good, 1 bad, 2 undecided, 3 bad input\n",
        out);
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"max-states", required_argument, NULL, 'm'},
        {"revisions", required_argument, NULL, 'r'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int c;

    *options = (struct options){.max_states = 4000000, .revisions = true};
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'h') {
            usage(stdout);
            exit(EXIT_GOOD);
        }
        if (c == 'm') {
            options->max_states = strtoull(optarg, NULL, 10);
        } else if (c == 'r' && strcmp(optarg, "strict") == 0) {
            options->mode = REVCHECK_STRICT;
        } else if (c == 'r' && strcmp(optarg, "values") == 0) {
            options->mode = REVCHECK_VALUES;
        } else if (c == 'r' && strcmp(optarg, "off") == 0) {
            options->revisions = false;
        } else {
            return false;
        }
    }
    if (optind + 1 != argc || options->max_states == 0) {
        return false;
    }
    options->path = argv[optind];
    return true;
}

static struct history *load(const char *path)
{
    char error[512] = "";
    FILE *input = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    struct history *history;

    if (input == NULL) {
        (void)fprintf(stderr, "lincheck: %s: %s\n", path, strerror(errno));
        return NULL;
    }
    history = history_read(input, error, sizeof(error));
    if (history == NULL) {
        (void)fprintf(stderr, "lincheck: %s: %s\n", path, error);
    }
    if (input != stdin) {
        (void)fclose(input);
    }
    return history;
}

static void print_op(const struct history_op *op)
{
    if (op != NULL) {
        printf("  line %zu: %s\n", op->line, op->text);
    }
}

static enum exit_code worse(enum exit_code a, enum exit_code b)
{
    if (a == EXIT_BAD || b == EXIT_BAD) {
        return EXIT_BAD;
    }
    return a > b ? a : b;
}

static enum exit_code check_order(const struct history *history, const struct options *options)
{
    static const char *const words[] = {"linearizable", "NOT linearizable", "undecided"};
    struct lincheck_result result;
    enum lincheck_verdict verdict = lincheck_run(history, options->max_states, &result);

    printf("order: %s: %zu operations, %zu open, %zu invisible, %zu key groups, %llu states\n",
           words[verdict],
           result.checked,
           result.unknown,
           result.dropped,
           result.groups,
           (unsigned long long)result.states);
    if (verdict != LINCHECK_OK) {
        printf("  could not place this operation%s%s\n",
               result.detail[0] != '\0' ? ": " : "",
               result.detail);
        print_op(result.stuck);
    }
    return verdict == LINCHECK_OK ? EXIT_GOOD : verdict == LINCHECK_BAD ? EXIT_BAD : EXIT_UNDECIDED;
}

static enum exit_code check_revisions(const struct history *history, const struct options *options)
{
    struct revcheck_result result;
    enum lincheck_verdict verdict = revcheck_run(history, options->mode, &result);

    if (verdict == LINCHECK_UNDECIDED) {
        printf("revisions: not checked: %s\n", result.detail);
        return EXIT_GOOD;
    }
    printf("revisions: %s: %zu writes in one order, %zu answers compared, %zu values skipped\n",
           verdict == LINCHECK_OK ? "agree" : "DISAGREE",
           result.writes,
           result.reads,
           result.skipped);
    if (verdict == LINCHECK_BAD) {
        printf("  %s\n", result.detail);
        print_op(result.op);
        return EXIT_BAD;
    }
    return EXIT_GOOD;
}

static enum exit_code check_hashes(const struct history *history)
{
    size_t compared = 0;

    for (size_t i = 0; i < history->hash_count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct history_hash *a = &history->hashes[j];
            const struct history_hash *b = &history->hashes[i];

            if (a->revision != b->revision) {
                continue;
            }
            compared++;
            if (a->hash != b->hash) {
                printf("hashes: DIFFER at revision %lld: node %lld has %lld, node %lld has %lld\n",
                       (long long)a->revision,
                       (long long)a->node,
                       (long long)a->hash,
                       (long long)b->node,
                       (long long)b->hash);
                return EXIT_BAD;
            }
        }
    }
    if (history->hash_count != 0) {
        printf("hashes: equal: %zu replicas, %zu pairs\n", history->hash_count, compared);
    }
    return EXIT_GOOD;
}

static void print_gaps(const struct history *history)
{
    for (size_t i = 0; i < history->fault_count; i++) {
        struct write_gap gap;

        if (!history->faults[i].start) {
            continue;
        }
        gap = write_gap_of(history, i);
        printf("write gap: %lld ms: %s",
               (long long)(gap.length_ns / 1000000),
               history->faults[i].what);
        if (gap.group < 0) {
            printf(" (worst: keys beginning with '%c')\n", (int)(-1 - gap.group));
        } else {
            printf(" (worst: shard %lld)\n", (long long)gap.group);
        }
    }
}

int main(int argc, char **argv)
{
    struct options options;
    struct history *history;
    enum exit_code code;

    if (!parse_options(argc, argv, &options)) {
        usage(stderr);
        return EXIT_INPUT;
    }
    history = load(options.path);
    if (history == NULL) {
        return EXIT_INPUT;
    }
    code = check_order(history, &options);
    if (options.revisions) {
        code = worse(code, check_revisions(history, &options));
    }
    code = worse(code, check_hashes(history));
    print_gaps(history);
    history_destroy(history);
    return (int)code;
}
