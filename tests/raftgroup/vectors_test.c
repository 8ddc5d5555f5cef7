/* Goal: the core reaches the same facts as the recorded library, and the driver that says so would
 * say it if it did not.
 *
 * Method: the sets of ../shared/vectors/raft (or $FLOTILLA_VECTORS) run through the driver; where
 * they are absent these cases say skipped. Small files with a wrong fact, or that are no vectors at
 * all, must fail with the line they fail at. */
#include "tests/raftgroup/vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { TEXT_BYTES = 8192 };

static void run_set(const char *set)
{
    const char *folder = getenv("FLOTILLA_VECTORS");
    struct vectors_options options = {.out = stdout};
    struct vectors_sum sum;
    char path[512];

    (void)snprintf(
        path, sizeof(path), "%s/%s", folder != NULL ? folder : "../shared/vectors/raft", set);
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s is absent\n", path);
        skip();
    }
    assert_true(vectors_run(path, &options, &sum));
    assert_int_equal(sum.failed, 0);
    assert_true(sum.passed > 0);
}

static void test_tables(void **state)
{
    (void)state;
    run_set("tables");
}

static void test_calm(void **state)
{
    (void)state;
    run_set("calm");
}

static void test_interaction(void **state)
{
    (void)state;
    run_set("interaction");
}

static void test_random(void **state)
{
    (void)state;
    run_set("random");
}

static void test_regress(void **state)
{
    (void)state;
    run_set("regress");
}

/* ---- the driver itself ---- */

static const char *folder_for_files(void)
{
    static char folder[256];

    if (folder[0] == '\0') {
        const char *base = getenv("TEST_TMPDIR");

        (void)snprintf(folder, sizeof(folder), "%s/vectors.XXXXXX", base != NULL ? base : "/tmp");
        assert_non_null(mkdtemp(folder));
    }
    return folder;
}

/* Runs one file of this text; what was printed goes to `out`. */
static struct vectors_sum run_text(const char *text, char out[TEXT_BYTES])
{
    struct vectors_options options = {.out = tmpfile()};
    struct vectors_sum sum;
    char path[512];
    FILE *file;
    size_t len;

    (void)snprintf(path, sizeof(path), "%s/x.txt", folder_for_files());
    file = fopen(path, "w");
    assert_non_null(file);
    assert_non_null(options.out);
    (void)fputs(text, file);
    (void)fclose(file);
    assert_true(vectors_run(path, &options, &sum));
    rewind(options.out);
    len = fread(out, 1, TEXT_BYTES - 1, options.out);
    out[len] = '\0';
    (void)fclose(options.out);
    (void)unlink(path);
    return sum;
}

#define ONE_NODE     "@ add-nodes 1 voters=(1) index=10\n"
#define STATE_OF_ONE "S 1 F t=0 v=0 l=0 c=10 a=10 f=11 n=10 xfer=0 conf=v(1)\n"

/* A fact that is not ours: the line it stands at, what it wants, what came, and the commands
 * before. */
static void test_differences_are_found(void **state)
{
    static const struct {
        const char *text;
        const char *said[4];
    } cases[] = {
        {ONE_NODE "S 1 F t=1 v=0 l=0 c=10 a=10 f=11 n=10 xfer=0 conf=v(1)\n",
         {"x.txt:2: script 0: another state",
          "| S 1 F t=1 v=0",
          "| S 1 F t=0 v=0",
          "1 | @ add-nodes"}},
        {"### seed 7\n" ONE_NODE STATE_OF_ONE "L 1 1/11\n",
         {"x.txt:4: script 7: another log", "want | 1/11", "got  | \n", "2 | @ add-nodes"}},
        {ONE_NODE STATE_OF_ONE "A 1 10 xyz\n",
         {"x.txt:3: script 0: another applied state", "want | A 1 10 xyz", "got  | A 1 10 \n"}},
        {ONE_NODE STATE_OF_ONE "A 1 10\nR 1 q1=10\n",
         {"a recorded read is not answered", "want | R 1 q1=10"}},
        {ONE_NODE STATE_OF_ONE "A 1 10\n@ propose 1 p\n",
         {"x.txt:4: script 0: proposals", "E dropped"}},
        {"commit in=1,2,3 out=- acks=1:3,2:2 => 3\n",
         {"x.txt:1: another result", "want | 3", "got  | 2"}},
        {"## a\nsimple [v1] => v=1 o=- l=- n=- auto=0 pr=1:P:m0:n1\nleave-joint [] => ERR X\n",
         {"x.txt:3: another result", "want | ERR X", "got  | ERR NOT_JOINT", "2 | simple [v1]"}},
        {"uptodate log=1:1,2,3 cand=4/2 => 0\n",
         {"x.txt:1: another result", "want | 0", "got  | 1"}},
    };
    char out[TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_true(run_text(cases[i].text, out).failed > 0);
        for (size_t k = 0; k < 4 && cases[i].said[k] != NULL; k++) {
            if (strstr(out, cases[i].said[k]) == NULL) {
                fail_msg("case %zu does not say \"%s\":\n%s", i, cases[i].said[k], out);
            }
        }
    }
}

/* What is no vector, or no command, or not possible, is an error with its line; nothing of it
 * passes.
 */
static void test_malformed_files(void **state)
{
    static const struct {
        const char *text;
        const char *said;
    } cases[] = {
        {"", "x.txt:0: error: neither a script nor a table"},
        {"# only a comment\n", "x.txt:0: error: neither"},
        {"hello\n", "x.txt:1: error: neither a script nor a table we know: \"hello\""},
        {"@ fly 1\n", "x.txt:1: error: unknown command fly"},
        {ONE_NODE "@ \n", "x.txt:2: error: no command"},
        {ONE_NODE "@ tick\n", "x.txt:2: error: tick needs a node"},
        {ONE_NODE "@ tick 2\n", "x.txt:2: error: no node 2"},
        {ONE_NODE "@ tick 1 2 3\n", "x.txt:2: error: not how tick is used"},
        {ONE_NODE "@ tick 1 -1\n", "x.txt:2: error: not how tick is used"},
        {ONE_NODE "@ transfer-leadership 9 1\n", "x.txt:2: error: no node 9"},
        {ONE_NODE "@ cut 1 99\n", "x.txt:2: error: no node 99"},
        {ONE_NODE "@ propose 1 0123456789012345678901234567890123456789x\n", "not how propose is"},
        {ONE_NODE "@ propose-conf-change 1 [x9]\n", "not how propose-conf-change is used"},
        {ONE_NODE "@ compact 1 11\n", "x.txt:2: error: node 1 has not applied 11"},
        {"@ add-nodes 13 voters=(1)\n", "x.txt:1: error: more than 12 nodes"},
        {"@ add-nodes 1 voters=(1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16)\n",
         "x.txt:1: error: no configuration"},
        {"@ add-nodes 1 voters=1,2\n", "x.txt:1: error: voters=1,2"},
        {"@ add-nodes 1 prevote=maybe\n", "x.txt:1: error: prevote=maybe"},
        {"@ add-nodes 1 inflight=0\n", "x.txt:1: error: inflight=0"},
        {ONE_NODE "S 2 F\n", "x.txt:2: error: neither a command nor a fact"},
        {ONE_NODE "L 2 1/11\n", "x.txt:2: error: a fact about a node that is not there"},
        {ONE_NODE "Z 1\n", "x.txt:2: error: neither a command nor a fact"},
        {ONE_NODE "Q 2\n", "x.txt:2: error: neither a command nor a fact"},
        {"commit in=1,2 out=- acks=1:x => 3\n", "x.txt:1: error: not a row of this kind"},
        {"commit in=1,2 out=- acks=1:3\n", "x.txt:1: error: no result"},
        {"vote in=1 out=- votes=- => pending\nvote in=1 => won\n", "x.txt:2: error: not a row"},
        {"commit in=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 out=- acks=- => 0\n", "more than 15"},
        {"simple v1 => v=1\n", "x.txt:1: error: not a row of this kind"},
        {"progress inflight=1 bytes=0\nsend\n", "x.txt:2: error: not a row of a progress table"},
        {"log base=0/0 terms=1\nfcbt at=1 => 1/1\n", "x.txt:2: error: not a row of a log table"},
        {"log base=0/0 terms=2,1\n", "x.txt:1: error: not a row of a log table"},
        {"log base=0/5 terms=1\n", "x.txt:1: error: not a row of a log table"},
        {"findconflict log=1:1,2,3 => 0\n", "x.txt:1: error: not a row of this kind"},
        {"findconflict log=1:3,2 ents=- => 0\n", "x.txt:1: error: not a row of a core table"},
        {"votereq ents=- => term=2 last=1/1\n", "x.txt:1: error: not a row of this kind"},
        {"inflight size=1 bytes=0 => 1\n", "x.txt:1: error: not a row of this kind"},
        {"decr state=X m=5 n=10 rejected=5 hint=5 => 0 n=10\n", "not a row of this kind"},
        {"findconflict log=1:1,2,3 ents=- => 0\nfly => 1\n", "x.txt:2: error: not a row of a core"},
    };
    char out[TEXT_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vectors_sum sum = run_text(cases[i].text, out);

        if (sum.failed != 1 || strstr(out, cases[i].said) == NULL) {
            fail_msg("case %zu: %u failed, wanted \"%s\":\n%s", i, sum.failed, cases[i].said, out);
        }
    }
}

/* A core that stops the process fails its file, with the line, and not the run. */
static void test_crashes_are_failures(void **state)
{
    char out[TEXT_BYTES];
    struct vectors_sum sum = run_text(
        "uptodate log=1:1 cand=4/2 => 1\n"
        "elect1 size=1 votes=- => L term=1\n"
        "precede log=1:9 => 9/1\n",
        out);

    (void)state;
    assert_int_equal(sum.passed, 2);
    assert_int_equal(sum.failed, 1);
    assert_non_null(strstr(out, "x.txt:3: stopped here (Aborted)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_calm),
        cmocka_unit_test(test_interaction),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_regress),
        cmocka_unit_test(test_differences_are_found),
        cmocka_unit_test(test_malformed_files),
        cmocka_unit_test(test_crashes_are_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
