/* Goal: whole stories of the scenario list, readable from the first command to the last fact, stay
 * as they were reviewed.
 *
 * Method: testdata/NAME.txt is run again and must come out the same, byte for byte; the safety
 * checks of cluster.h run at every step and are never rewritten. After a wanted change
 *
 *     bazel run //tests/raftgroup:transcript_test -- --rewrite
 *
 * puts today's facts into the files: read the difference before it is committed. */
#include "tests/raftgroup/transcript.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const names[] = {"elections", "replication", "snapshots", "membership", "reads"};

static void path_of(const char *root, const char *name, char out[512])
{
    (void)snprintf(out, 512, "%s/tests/raftgroup/testdata/%s.txt", root, name);
}

/* The whole text of a stream; the caller frees. */
static char *read_all(FILE *file, size_t *len)
{
    char *text;

    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *len = (size_t)ftell(file);
    rewind(file);
    text = malloc(*len + 1);
    assert_non_null(text);
    *len = fread(text, 1, *len, file);
    text[*len] = '\0';
    return text;
}

static void show_difference(const char *name, const char *want, const char *got)
{
    unsigned line = 1;

    for (; *want != '\0' && *want == *got; want++, got++) {
        line += *want == '\n';
    }
    while (line > 1 && want[-1] != '\n') {
        want--;
        got--;
    }
    fail_msg("%s.txt:%u\n  want %.*s\n  got  %.*s",
             name,
             line,
             (int)strcspn(want, "\n"),
             want,
             (int)strcspn(got, "\n"),
             got);
}

static void check(const char *name)
{
    char path[512];
    FILE *file;
    FILE *out = tmpfile();
    char *want;
    char *got;
    size_t len;
    int scenarios;

    path_of(".", name, path);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(out);
    scenarios = transcript_run(file, out);
    want = read_all(file, &len);
    got = read_all(out, &len);
    if (strcmp(want, got) != 0 || scenarios <= 0) {
        show_difference(name, want, got);
    }
    print_message("%s: %d scenarios\n", name, scenarios);
    free(want);
    free(got);
    (void)fclose(file);
    (void)fclose(out);
}

static void test_elections(void **state)
{
    (void)state;
    check("elections");
}

static void test_replication(void **state)
{
    (void)state;
    check("replication");
}

static void test_snapshots(void **state)
{
    (void)state;
    check("snapshots");
}

static void test_membership(void **state)
{
    (void)state;
    check("membership");
}

static void test_reads(void **state)
{
    (void)state;
    check("reads");
}

static int rewrite(void)
{
    const char *root = getenv("BUILD_WORKSPACE_DIRECTORY");
    int failed = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[512];
        FILE *file;
        FILE *out = tmpfile();
        char *text;
        size_t len;

        path_of(root != NULL ? root : ".", names[i], path);
        file = fopen(path, "r+");
        if (file == NULL || out == NULL) {
            (void)fprintf(stderr, "%s: cannot be opened\n", path);
            return 1;
        }
        if (transcript_run(file, out) < 0) {
            (void)fprintf(stderr, "%s: not rewritten:\n", path);
            failed = 1;
            text = read_all(out, &len);
            (void)fputs(len > 400 ? text + len - 400 : text, stderr);
        } else {
            text = read_all(out, &len);
            file = freopen(path, "w", file);
            failed |= file == NULL || fwrite(text, 1, len, file) != len;
        }
        free(text);
        failed |= file == NULL || fclose(file) != 0;
        (void)fclose(out);
    }
    return failed;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elections),
        cmocka_unit_test(test_replication),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_membership),
        cmocka_unit_test(test_reads),
    };

    if (argc > 1 && strcmp(argv[1], "--rewrite") == 0) {
        return rewrite();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
