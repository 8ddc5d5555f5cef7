/* flotillactl: looks at a cluster and works with its keys.
 *
 * Exit codes: 0 done, 1 failed, 2 wrong usage. */
#include "api/ctl.h"
#include "node/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct api_command *const commands[] = {
    &api_ctl_status,
    &api_ctl_nodes,
    &api_ctl_ranges,
    &api_ctl_get,
    &api_ctl_put,
    &api_ctl_del,
    &api_ctl_bench,
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static const char global_flags[] =
    "flags of every command:\n"
    "  --endpoints LIST    host:port, comma separated (FLOTILLACTL_ENDPOINTS, or "
    "localhost:2379)\n"
    "  --timeout-ms N      how long to wait for an answer (5000)\n"
    "  -o table|json       how to print\n";

static void print_help(FILE *out)
{
    (void)fprintf(out,
                  "flotillactl %s: look at a flotilla cluster and work with its keys\n\n"
                  "usage: flotillactl COMMAND [arguments] [flags]\n\n",
                  NODE_VERSION);
    for (size_t i = 0; i < COMMANDS; i++) {
        (void)fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    }
    (void)fprintf(out,
                  "  %-9s %s\n  %-9s %s\n\n%s\n"
                  "flotillactl COMMAND --help has examples.\n"
                  "exit codes: 0 done, 1 failed, 2 wrong usage\n",
                  "version",
                  "print the version",
                  "help",
                  "this text, or the help of a command",
                  global_flags);
}

static const struct api_command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static bool is_help(const char *text)
{
    return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (is_help(argv[i])) {
            return true;
        }
    }
    return false;
}

static int help(const char *name)
{
    const struct api_command *command = name == NULL ? NULL : find(name);

    if (name == NULL) {
        print_help(stdout);
        return API_CTL_OK;
    }
    if (command == NULL) {
        (void)fprintf(
            stderr, "flotillactl: there is no command '%s'; see flotillactl help\n", name);
        return API_CTL_USAGE;
    }
    (void)printf("%s\n%s", command->help, global_flags);
    return API_CTL_OK;
}

/* Runs the command argv[0]. */
static int run(int argc, char **argv)
{
    const char *endpoints = getenv("FLOTILLACTL_ENDPOINTS");
    struct api_ctl ctl = {
        .endpoints = endpoints == NULL || endpoints[0] == '\0' ? "localhost:2379" : endpoints,
        .timeout_ms = 5000,
    };
    const struct api_command *command = find(argv[0]);
    int code;

    if (command == NULL || asks_for_help(argc, argv)) {
        return help(argv[0]);
    }
    code = command->run(&ctl, argc, argv);
    if (ctl.client != NULL) {
        api_client_destroy(ctl.client);
    }
    if (fflush(stdout) != 0) {
        (void)fprintf(stderr, "flotillactl: the output could not be written\n");
        return API_CTL_FAILED;
    }
    return code;
}

/* Global flags may come before the command too: moves argv past them, to the end of the list. */
static int first_word(int argc, char **argv)
{
    int i = 1;

    while (i < argc && argv[i][0] == '-' && !is_help(argv[i]) &&
           strcmp(argv[i], "--version") != 0) {
        i += strchr(argv[i], '=') == NULL ? 2 : 1; /* every global flag has a value */
    }
    return i < argc ? i : argc;
}

int main(int argc, char **argv)
{
    int at = first_word(argc, argv);
    char **rotated;
    int code;

    if (at >= argc) {
        print_help(stderr);
        return API_CTL_USAGE;
    }
    if (is_help(argv[at]) || strcmp(argv[at], "help") == 0) {
        return help(at + 1 < argc && argv[at][0] != '-' ? argv[at + 1] : NULL);
    }
    if (strcmp(argv[at], "version") == 0 || strcmp(argv[at], "--version") == 0) {
        (void)printf("flotillactl %s\n", NODE_VERSION);
        return API_CTL_OK;
    }
    /* COMMAND, the global flags that stood before it, its own arguments. */
    rotated = calloc((size_t)argc, sizeof(char *));
    if (rotated == NULL) {
        return API_CTL_FAILED;
    }
    rotated[0] = argv[at];
    memcpy(rotated + 1, argv + 1, (size_t)(at - 1) * sizeof(char *));
    memcpy(rotated + at, argv + at + 1, (size_t)(argc - at - 1) * sizeof(char *));
    code = run(argc - 1, rotated);
    free(rotated);
    return code;
}
