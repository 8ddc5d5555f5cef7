/* Goal: the checkers accept every history a correct store can produce and reject every one it
 * cannot, so that "linearizable" at the end of a chaos run means something.
 * Method: (1) hand-written good and bad histories, one per way a store has been seen to lie;
 * (2) thousands of tiny random histories, honest or damaged, compared with a brute-force oracle
 * that shares nothing with the search; (3) long random histories with unanswered operations, which
 * must be decided within a small budget, honest and damaged. */
#include "raftgroup/base/alloc.h"
#include "tests/lib/history.h"
#include "tests/lib/lincheck.h"
#include "tests/lib/revcheck.h"
#include "tests/lib/write_gap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET 1000000

/* JSON with ' for ", so that cases stay readable. The result is freed by the caller. */
static char *quoted(const char *text)
{
    char *copy = fl_xstrdup(text);

    for (char *p = copy; *p != '\0'; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    return copy;
}

static struct history *parse(const char *text)
{
    char error[256] = "";
    char *json = quoted(text);
    struct history *history = history_read_text(json, strlen(json), error, sizeof(error));

    if (history == NULL) {
        print_error("%s\n", error);
    }
    free(json);
    assert_non_null(history);
    return history;
}

/* --- hand-written histories ------------------------------------------------------------------ */

struct sample {
    const char *name;
    enum lincheck_verdict expected;
    const char *text;
};

#define PUT(c, call, ret, key, val)                                                                \
    "{'c':" #c ",'call':" #call ",'ret':" #ret ",'op':'put','key':'" key "','val':'" val           \
    "','res':'ok'}\n"
#define PUT_OPEN(c, call, key, val)                                                                \
    "{'c':" #c ",'call':" #call ",'ret':null,'op':'put','key':'" key "','val':'" val               \
    "','res':'unknown'}\n"
#define PUT_FAILED(c, call, ret, key, val)                                                         \
    "{'c':" #c ",'call':" #call ",'ret':" #ret ",'op':'put','key':'" key "','val':'" val           \
    "','res':'fail'}\n"
#define GET(c, call, ret, key, out)                                                                \
    "{'c':" #c ",'call':" #call ",'ret':" #ret ",'op':'get','key':'" key "','out':" out            \
    ",'res':'ok'}\n"
#define DEL(c, call, ret, key, out)                                                                \
    "{'c':" #c ",'call':" #call ",'ret':" #ret ",'op':'delete','key':'" key "','out':" #out        \
    ",'res':'ok'}\n"
#define DEL_OPEN(c, call, key)                                                                     \
    "{'c':" #c ",'call':" #call ",'ret':null,'op':'delete','key':'" key "','res':'unknown'}\n"
#define CAS(c, call, ret, key, old, val, succ)                                                     \
    "{'c':" #c ",'call':" #call ",'ret':" #ret ",'op':'cas','key':'" key "','old':" old            \
    ",'val':'" val "','succ':" #succ ",'res':'ok'}\n"
#define RANGE(c, call, ret, out)                                                                   \
    "{'c':" #c ",'call':" #call ",'ret':" #ret ",'op':'range','key':'','out':[" out                \
    "],'res':'ok'}\n"
#define KV(key, val) "{'key':'" key "','val':'" val "'}"

static const struct sample samples[] = {
    {"nothing happened", LINCHECK_OK, "{'h':1,'clock':'ns','seed':1,'sys':'test'}\n"},
    {"read your write", LINCHECK_OK, PUT(1, 1, 2, "a", "x") GET(1, 3, 4, "a", "'x'")},
    {"absent before the first write", LINCHECK_OK, GET(1, 1, 2, "a", "null")},
    {"concurrent read sees either",
     LINCHECK_OK,
     PUT(1, 1, 9, "a", "x") GET(2, 2, 3, "a", "null") GET(2, 4, 5, "a", "'x'")},
    {"concurrent read goes back",
     LINCHECK_BAD,
     PUT(1, 1, 9, "a", "x") GET(2, 2, 3, "a", "'x'") GET(2, 4, 5, "a", "null")},
    {"two readers disagree on order",
     LINCHECK_BAD,
     PUT(1, 1, 20, "a", "x") PUT(2, 1, 20, "a", "y") GET(3, 2, 3, "a", "'x'")
         GET(4, 4, 5, "a", "'y'") GET(3, 6, 7, "a", "'x'")},
    {"stale read",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "a", "y") GET(2, 5, 6, "a", "'x'")},
    {"lost write", LINCHECK_BAD, PUT(1, 1, 2, "a", "x") GET(2, 3, 4, "a", "null")},
    {"touching operations are concurrent",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") GET(2, 2, 3, "a", "null")},
    {"phantom value", LINCHECK_BAD, PUT(1, 1, 2, "a", "x") GET(2, 3, 4, "a", "'z'")},
    {"value of another key",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "b", "y") GET(2, 5, 6, "a", "'y'")},
    {"read from the future", LINCHECK_BAD, GET(2, 1, 2, "a", "'x'") PUT(1, 3, 4, "a", "x")},
    {"failed write is seen", LINCHECK_BAD, PUT_FAILED(1, 1, 2, "a", "x") GET(2, 3, 4, "a", "'x'")},
    {"failed write is not seen",
     LINCHECK_OK,
     PUT_FAILED(1, 1, 2, "a", "x") GET(2, 3, 4, "a", "null")},
    {"open write never happens", LINCHECK_OK, PUT_OPEN(1, 1, "a", "x") GET(2, 3, 4, "a", "null")},
    {"open write happens late",
     LINCHECK_OK,
     PUT_OPEN(1, 1, "a", "x") GET(2, 3, 4, "a", "null") GET(2, 5, 6, "a", "'x'")},
    {"open write seen, then unseen",
     LINCHECK_BAD,
     PUT_OPEN(1, 1, "a", "x") GET(2, 3, 4, "a", "'x'") GET(2, 5, 6, "a", "null")},
    {"open write seen before it was called",
     LINCHECK_BAD,
     GET(2, 1, 2, "a", "'x'") PUT_OPEN(1, 3, "a", "x")},
    {"open write comes back after an overwrite",
     LINCHECK_BAD,
     PUT_OPEN(1, 1, "a", "x") GET(2, 3, 4, "a", "'x'") PUT(2, 5, 6, "a", "y")
         GET(2, 7, 8, "a", "'x'")},
    {"open delete explains absence",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") DEL_OPEN(2, 3, "a") GET(3, 5, 6, "a", "'x'") GET(3, 7, 8, "a", "null")},
    {"open delete used twice",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") DEL_OPEN(2, 3, "a") GET(3, 5, 6, "a", "null") PUT(3, 7, 8, "a", "y")
         GET(3, 9, 10, "a", "null")},
    {"unseen open write explains a delete",
     LINCHECK_OK,
     PUT_OPEN(1, 1, "a", "x") DEL(2, 3, 4, "a", 1)},
    {"one open write explains two deletes",
     LINCHECK_BAD,
     PUT_OPEN(1, 1, "a", "x") DEL(2, 3, 4, "a", 1) DEL(2, 5, 6, "a", 1)},
    {"two open writes explain two deletes",
     LINCHECK_OK,
     PUT_OPEN(1, 1, "a", "x") PUT_OPEN(5, 1, "a", "y") DEL(2, 3, 4, "a", 1) DEL(2, 5, 6, "a", 1)},
    {"delete of nothing counts one", LINCHECK_BAD, DEL(1, 1, 2, "a", 1)},
    {"delete misses a value", LINCHECK_BAD, PUT(1, 1, 2, "a", "x") DEL(1, 3, 4, "a", 0)},
    {"two deletes of one value",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") DEL(1, 3, 9, "a", 1) DEL(2, 3, 9, "a", 1)},
    {"cas chain",
     LINCHECK_OK,
     CAS(1, 1, 2, "a", "null", "x", true) CAS(2, 3, 4, "a", "'x'", "y", true)
         CAS(1, 5, 6, "a", "'x'", "z", false) GET(1, 7, 8, "a", "'y'")},
    {"lost update: two cas on one value",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") CAS(1, 3, 9, "a", "'x'", "y", true)
         CAS(2, 3, 9, "a", "'x'", "z", true)},
    {"cas fails without a reason",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") CAS(2, 3, 4, "a", "'x'", "y", false)},
    {"unseen open write explains a failed cas",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") PUT_OPEN(3, 1, "a", "w") CAS(2, 3, 4, "a", "'x'", "y", false)},
    {"failed cas took effect",
     LINCHECK_BAD,
     CAS(1, 1, 2, "a", "'q'", "x", false) GET(1, 3, 4, "a", "'x'")},
    {"open cas took effect",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") "{'c':2,'call':3,'ret':null,'op':'cas','key':'a','old':'x','val':'y','"
                            "res':'unknown'}\n" GET(1, 5, 6, "a", "'x'") GET(1, 7, 8, "a", "'y'")},
    {"open cas took effect on the wrong value",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "w") "{'c':2,'call':3,'ret':null,'op':'cas','key':'a','old':'x','val':'y','"
                            "res':'unknown'}\n" GET(1, 7, 8, "a", "'y'")},
    {"txn is atomic",
     LINCHECK_OK,
     "{'c':1,'call':1,'ret':9,'op':'txn','cmp':[{'key':'a','rel':'=','val':null}],"
     "'then':[{'op':'put','key':'a','val':'x'},{'op':'put','key':'b','val':'y'}],'else':[],"
     "'succ':true,'out':[],'res':'ok'}\n" GET(2, 2, 3, "a", "'x'") GET(2, 4, 5, "b", "'y'")},
    {"txn half applied",
     LINCHECK_BAD,
     "{'c':1,'call':1,'ret':9,'op':'txn','cmp':[],"
     "'then':[{'op':'put','key':'a','val':'x'},{'op':'put','key':'b','val':'y'}],'else':[],"
     "'succ':true,'out':[],'res':'ok'}\n" GET(2, 2, 3, "a", "'x'") GET(2, 4, 5, "b", "null")},
    {"open txn half applied",
     LINCHECK_BAD,
     "{'c':1,'call':1,'ret':null,'op':'txn','cmp':[],"
     "'then':[{'op':'put','key':'a','val':'x'},{'op':'put','key':'b','val':'y'}],'else':[],"
     "'res':'unknown'}\n" GET(2, 2, 3, "a", "'x'") GET(2, 4, 5, "b", "null")},
    {"open txn took its else branch",
     LINCHECK_OK,
     PUT(1,
         1,
         2,
         "a",
         "x") "{'c':9,'call':3,'ret':null,'op':'txn','cmp':[{'key':'a','rel':'=','val':null}],"
              "'then':[{'op':'put','key':'a','val':'y'}],'else':[{'op':'put','key':'b','val':'z'}],"
              "'res':'unknown'}\n" GET(2, 4, 5, "b", "'z'") GET(2, 6, 7, "a", "'x'")},
    {"open txn took the wrong branch",
     LINCHECK_BAD,
     PUT(1,
         1,
         2,
         "a",
         "x") "{'c':9,'call':3,'ret':null,'op':'txn','cmp':[{'key':'a','rel':'=','val':null}],"
              "'then':[{'op':'put','key':'b','val':'y'}],'else':[],'res':'unknown'}\n" GET(2,
                                                                                           4,
                                                                                           5,
                                                                                           "b",
                                                                                           "'y'")},
    {"txn reads its own write",
     LINCHECK_OK,
     "{'c':1,'call':1,'ret':2,'op':'txn','cmp':[],'then':[{'op':'put','key':'a','val':'x'},"
     "{'op':'get','key':'a'}],'else':[],'succ':true,'out':[{'key':'a','val':'x'}],'res':'ok'}\n"},
    {"txn misses its own write",
     LINCHECK_BAD,
     "{'c':1,'call':1,'ret':2,'op':'txn','cmp':[],'then':[{'op':'put','key':'a','val':'x'},"
     "{'op':'get','key':'a'}],'else':[],'succ':true,'out':[{'key':'a','val':null}],'res':'ok'}\n"},
    {"txn compare '!=' on a missing key fails",
     LINCHECK_OK,
     "{'c':1,'call':1,'ret':2,'op':'txn','cmp':[{'key':'a','rel':'!=','val':'x'}],"
     "'then':[{'op':'put','key':'a','val':'y'}],'else':[],'succ':false,'out':[],'res':'ok'}\n" GET(
         1,
         3,
         4,
         "a",
         "null")},
    {"write skew through two txns",
     LINCHECK_BAD,
     "{'c':1,'call':1,'ret':9,'op':'txn','cmp':[{'key':'b','rel':'=','val':null}],"
     "'then':[{'op':'put','key':'a','val':'x'}],'else':[],'succ':true,'out':[],'res':'ok'}\n"
     "{'c':2,'call':1,'ret':9,'op':'txn','cmp':[{'key':'a','rel':'=','val':null}],"
     "'then':[{'op':'put','key':'b','val':'y'}],'else':[],'succ':true,'out':[],'res':'ok'}\n"},
    {"txn deletes nothing and says one",
     LINCHECK_BAD,
     "{'c':1,'call':1,'ret':2,'op':'txn','cmp':[],'then':[{'op':'delete','key':'a'}],'else':[],"
     "'succ':true,'out':[],'del':[1],'res':'ok'}\n"},
    {"range is a snapshot",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "b", "y") RANGE(2, 1, 9, KV("a", "x"))},
    {"range sees the later write only",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "b", "y") RANGE(2, 1, 9, KV("b", "y"))},
    {"two ranges in opposite orders",
     LINCHECK_BAD,
     PUT(1, 1, 20, "a", "x") PUT(2, 1, 20, "b", "y") RANGE(3, 2, 9, KV("a", "x"))
         RANGE(4, 2, 9, KV("b", "y"))},
    {"range goes back",
     LINCHECK_BAD,
     PUT(1, 1, 20, "a", "x") PUT(2, 1, 20, "b", "y") RANGE(3, 2, 3, KV("a", "x") "," KV("b", "y"))
         RANGE(4, 4, 5, KV("a", "x"))},
    {"range with an end leaves out what lies beyond",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "b", "y") "{'c':2,'call':5,'ret':6,'op':'range','key':'a',"
                                                   "'end':'b','out':[{'key':'a','val':'x'}],"
                                                   "'res':'ok'}\n"},
    {"range with an end misses a key",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "b", "y") "{'c':2,'call':5,'ret':6,'op':'range','key':'a',"
                                                   "'end':'c','out':[{'key':'a','val':'x'}],"
                                                   "'res':'ok'}\n"},
    {"range mixes old and new",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "a1") PUT(1, 3, 4, "b", "b1") PUT(1, 5, 6, "a", "a2") PUT(1, 7, 8, "b", "b2")
         RANGE(2, 1, 20, KV("a", "a1") "," KV("b", "b2"))},
    {"serializable read may be stale",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") PUT(
         1,
         3,
         4,
         "a",
         "y") "{'c':2,'call':5,'ret':6,'op':'get','key':'a','out':'x','ser':true,'res':'ok'}\n"},
    {"serializable read invents",
     LINCHECK_BAD,
     PUT(1,
         1,
         2,
         "a",
         "x") "{'c':2,'call':5,'ret':6,'op':'get','key':'a','out':'z','ser':true,'res':'ok'}\n"},
    {"one value written twice",
     LINCHECK_OK,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "a", "y") PUT(1, 5, 6, "a", "x") GET(1, 7, 8, "a", "'x'")},
    {"independent keys, one bad",
     LINCHECK_BAD,
     PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "b", "y") GET(2, 5, 6, "a", "'x'")
         GET(2, 7, 8, "b", "null")},
};

static void test_samples(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct history *history = parse(samples[i].text);
        struct lincheck_result result;

        lincheck_run(history, BUDGET, &result);
        if (result.verdict != samples[i].expected) {
            fail_msg("%s: got %d, detail %s", samples[i].name, result.verdict, result.detail);
        }
        if (samples[i].expected == LINCHECK_BAD) {
            assert_non_null(result.stuck); /* a verdict without a witness helps nobody */
        }
        history_destroy(history);
    }
}

/* Goal: the named operation is the one that cannot be placed, with the state it met. */
static void test_names_the_operation(void **unused)
{
    struct history *history = parse(PUT(1, 1, 2, "a", "x") PUT(1, 3, 4, "a", "y")
                                        GET(2, 5, 6, "a", "'x'") GET(1, 7, 8, "a", "'y'"));
    struct lincheck_result result;

    (void)unused;
    assert_int_equal(lincheck_run(history, BUDGET, &result), LINCHECK_BAD);
    assert_int_equal(result.stuck->line, 3);
    assert_string_equal(result.detail, "it saw a=x, which line 2 replaces");
    history_destroy(history);
}

static void test_revision_samples(void **unused)
{
    /* Each is linearizable by values alone or nearly so; the revisions tell the lie. */
    static const struct sample cases[] = {
        {"agree",
         LINCHECK_OK,
         "{'c':1,'call':1,'ret':2,'op':'put','key':'a','val':'x','rev':2,'res':'ok'}\n"
         "{'c':1,'call':3,'ret':4,'op':'get','key':'a','out':'x','mrev':2,'rev':2,'res':'ok'}\n"},
        {"one revision twice",
         LINCHECK_BAD,
         "{'c':1,'call':1,'ret':9,'op':'put','key':'a','val':'x','rev':2,'res':'ok'}\n"
         "{'c':2,'call':1,'ret':9,'op':'put','key':'b','val':'x','rev':2,'res':'ok'}\n"},
        {"against real time",
         LINCHECK_BAD,
         "{'c':1,'call':1,'ret':2,'op':'put','key':'a','val':'x','rev':5,'res':'ok'}\n"
         "{'c':2,'call':3,'ret':4,'op':'put','key':'b','val':'x','rev':4,'res':'ok'}\n"},
        {"read header goes back",
         LINCHECK_BAD,
         "{'c':1,'call':1,'ret':2,'op':'put','key':'a','val':'x','rev':5,'res':'ok'}\n"
         "{'c':2,'call':3,'ret':4,'op':'get','key':'b','out':null,'rev':4,'res':'ok'}\n"},
        {"header does not name the snapshot",
         LINCHECK_BAD,
         "{'c':1,'call':1,'ret':9,'op':'put','key':'a','val':'x','rev':5,'res':'ok'}\n"
         "{'c':2,'call':1,'ret':9,'op':'get','key':'a','out':null,'rev':5,'res':'ok'}\n"},
        {"mod revision is wrong",
         LINCHECK_BAD,
         "{'c':1,'call':1,'ret':2,'op':'put','key':'a','val':'x','rev':5,'res':'ok'}\n"
         "{'c':2,'call':3,'ret':4,'op':'get','key':'a','out':'x','mrev':4,'rev':6,'res':'ok'}\n"},
        {"non-monotonic range snapshot",
         LINCHECK_BAD,
         "{'c':1,'call':1,'ret':9,'op':'put','key':'a','val':'x','rev':5,'res':'ok'}\n"
         "{'c':2,'call':1,'ret':9,'op':'put','key':'b','val':'y','rev':6,'res':'ok'}\n"
         "{'c':3,'call':1,'ret':9,'op':'range','key':'','out':[{'key':'b','val':'y'}],'rev':6,"
         "'res':'ok'}\n"},
        {"open write placed by its reader",
         LINCHECK_OK,
         "{'c':1,'call':1,'ret':null,'op':'put','key':'a','val':'x','res':'unknown'}\n"
         "{'c':2,'call':3,'ret':4,'op':'get','key':'a','out':null,'rev':3,'res':'ok'}\n"
         "{'c':2,'call':5,'ret':6,'op':'get','key':'a','out':'x','mrev':4,'rev':4,'res':'ok'}\n"},
        {"open write below what had completed before its call",
         LINCHECK_BAD,
         "{'c':3,'call':0,'ret':0,'op':'put','key':'b','val':'z','rev':9,'res':'ok'}\n"
         "{'c':1,'call':1,'ret':null,'op':'put','key':'a','val':'x','res':'unknown'}\n"
         "{'c':2,'call':5,'ret':6,'op':'get','key':'a','out':'x','mrev':4,'rev':9,'res':'ok'}\n"},
        {"no revisions", LINCHECK_UNDECIDED, PUT(1, 1, 2, "a", "x")},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct history *history = parse(cases[i].text);
        struct revcheck_result result;

        revcheck_run(history, REVCHECK_STRICT, &result);
        if (result.verdict != cases[i].expected) {
            fail_msg("%s: got %d, detail %s", cases[i].name, result.verdict, result.detail);
        }
        history_destroy(history);
    }
}

static void test_bad_input(void **unused)
{
    static const char *const cases[] = {
        "not json\n",
        "[1]\n",
        "{'h':2,'sys':'x'}\n",
        "{'c':1,'call':1,'ret':2,'op':'jump','key':'a','res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'put','key':'a','res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'put','key':'a','val':null,'res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'put','val':'x','res':'ok'}\n",
        "{'c':1,'call':3,'ret':2,'op':'put','key':'a','val':'x','res':'ok'}\n",
        "{'c':1,'call':1,'ret':null,'op':'put','key':'a','val':'x','res':'ok'}\n",
        "{'c':1,'ret':2,'op':'put','key':'a','val':'x','res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'put','key':'a','val':'x','res':'maybe'}\n",
        "{'c':1,'call':1,'ret':2,'op':'get','key':'a','res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'delete','key':'a','out':2,'res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'cas','key':'a','old':null,'val':'x','res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'range','key':'p','out':[{'key':'a','val':'x'}],'res':'ok'}"
        "\n",
        "{'c':1,'call':1,'ret':2,'op':'range','key':'a','end':'b','out':[{'key':'b','val':'x'}],"
        "'res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'range','key':'a','out':[{'key':'a','val':'x'},"
        "{'key':'a','val':'x'}],'res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'txn','cmp':[],'then':[{'op':'get','key':'a'}],'else':[],"
        "'succ':true,'out':[],'res':'ok'}\n",
        "{'c':1,'call':1,'ret':2,'op':'txn','cmp':[],'then':[{'op':'delete','key':'a'}],'else':[],"
        "'succ':true,'out':[],'del':[2],'res':'ok'}\n",
        /* one client, two operations at once */
        PUT(1, 1, 9, "a", "x") PUT(1, 2, 3, "a", "y"),
        PUT_OPEN(1, 1, "a", "x") PUT(1, 2, 3, "a", "y"),
    };

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char error[256] = "";
        char *json = quoted(cases[i]);

        if (history_read_text(json, strlen(json), error, sizeof(error)) != NULL) {
            fail_msg("accepted: %s", cases[i]);
        }
        assert_ptr_equal(strstr(error, "line "), error);
        free(json);
    }
}

/* Goal: the gap of the range that stood still is not hidden by ranges that went on. */
static void test_write_gap(void **unused)
{
    struct history *history = parse(PUT(1, 0, 1000000, "a", "1") PUT(2, 0, 1000000, "b", "1") PUT(
        2,
        1000000,
        2000000,
        "b",
        "2") PUT(1,
                 1500000,
                 9000000,
                 "a",
                 "2") PUT(2,
                          2000000,
                          9500000,
                          "b",
                          "3") PUT(2,
                                   9500000,
                                   9600000,
                                   "b",
                                   "4") "{'ev':'fault','t':1500000,'what':'kill','node':1,'phase':'"
                                        "start'}\n"
                                        "{'ev':'fault','t':9550000,'what':'kill','node':2,'phase':'"
                                        "start'}\n");
    struct write_gap gap = write_gap_of(history, 0);

    (void)unused;
    assert_int_equal(gap.length_ns, 8000000);
    assert_int_equal(gap.group, -1 - 'a');
    gap = write_gap_of(history, 1);
    assert_int_equal(gap.group, -1 - 'a');
    assert_int_equal(gap.length_ns, 600000); /* from its last write to the end of writing */
    history_destroy(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_names_the_operation),
        cmocka_unit_test(test_revision_samples),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_write_gap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
