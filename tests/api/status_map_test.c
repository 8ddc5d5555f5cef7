/* Goal: every status has a code and a text; the texts that etcd's clients compare are etcd's.
 * Method: the whole list is walked; the expected rows are etcd's error table, written out here. */
#include "api/status_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void every_status_has_a_row(void **state)
{
    const char *internal = api_status_of(FL_OK).text;

    (void)state;
    for (unsigned i = 1; i < FL_STATUS_COUNT; i++) {
        struct api_status answer = api_status_of((enum fl_status)i);

        if (answer.text == NULL || answer.text == internal || answer.code == GRPC_STATUS_OK) {
            fail_msg("%s has no answer of its own", fl_status_name((enum fl_status)i));
        }
        if (strncmp(answer.text, "etcdserver: ", 12) != 0 &&
            strncmp(answer.text, "flotilla: ", 10) != 0 && strncmp(answer.text, "grpc: ", 6) != 0) {
            fail_msg(
                "%s: '%s' does not say who speaks", fl_status_name((enum fl_status)i), answer.text);
        }
    }
}

static void the_texts_are_etcds(void **state)
{
    static const struct {
        enum fl_status status;
        grpc_status_code code;
        const char *text;
    } rows[] = {
        {FL_EMPTY_KEY, GRPC_STATUS_INVALID_ARGUMENT, "etcdserver: key is not provided"},
        {FL_KEY_NOT_FOUND, GRPC_STATUS_INVALID_ARGUMENT, "etcdserver: key not found"},
        {FL_VALUE_PROVIDED, GRPC_STATUS_INVALID_ARGUMENT, "etcdserver: value is provided"},
        {FL_LEASE_PROVIDED, GRPC_STATUS_INVALID_ARGUMENT, "etcdserver: lease is provided"},
        {FL_TOO_MANY_OPS,
         GRPC_STATUS_INVALID_ARGUMENT,
         "etcdserver: too many operations in txn request"},
        {FL_DUPLICATE_KEY,
         GRPC_STATUS_INVALID_ARGUMENT,
         "etcdserver: duplicate key given in txn request"},
        {FL_INVALID_SORT, GRPC_STATUS_INVALID_ARGUMENT, "etcdserver: invalid sort option"},
        {FL_COMPACTED,
         GRPC_STATUS_OUT_OF_RANGE,
         "etcdserver: mvcc: required revision has been compacted"},
        {FL_FUTURE_REVISION,
         GRPC_STATUS_OUT_OF_RANGE,
         "etcdserver: mvcc: required revision is a future revision"},
        {FL_NO_SPACE, GRPC_STATUS_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded"},
        {FL_LEASE_NOT_FOUND, GRPC_STATUS_NOT_FOUND, "etcdserver: requested lease not found"},
        {FL_TOO_LARGE, GRPC_STATUS_INVALID_ARGUMENT, "etcdserver: request is too large"},
        {FL_TOO_MANY, GRPC_STATUS_RESOURCE_EXHAUSTED, "etcdserver: too many requests"},
        {FL_NO_LEADER, GRPC_STATUS_UNAVAILABLE, "etcdserver: no leader"},
        {FL_NOT_LEADER, GRPC_STATUS_UNAVAILABLE, "etcdserver: leader changed"},
        {FL_SHUTDOWN, GRPC_STATUS_UNAVAILABLE, "etcdserver: server stopped"},
        {FL_TIMEOUT, GRPC_STATUS_UNAVAILABLE, "etcdserver: request timed out"},
        {FL_UNKNOWN, GRPC_STATUS_UNAVAILABLE, "etcdserver: request timed out"},
        {FL_LEADER_FAILED,
         GRPC_STATUS_UNAVAILABLE,
         "etcdserver: request timed out, possibly due to previous leader failure"},
        {FL_CORRUPT, GRPC_STATUS_DATA_LOSS, "etcdserver: corrupt cluster"},
        {FL_CANCELED, GRPC_STATUS_CANCELLED, "etcdserver: request canceled"},
        {FL_BAD_MESSAGE, GRPC_STATUS_INTERNAL, "grpc: error unmarshalling request"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct api_status answer = api_status_of(rows[i].status);

        assert_int_equal(answer.code, rows[i].code);
        assert_string_equal(answer.text, rows[i].text);
    }
    assert_int_equal(api_status_of(FL_CROSS_RANGE).code, GRPC_STATUS_FAILED_PRECONDITION);
    assert_non_null(strstr(api_status_of(FL_CROSS_RANGE).text, "different ranges"));
}

/* A client that may repeat a failed write must never be told so of one that may have happened:
 * FAILED_PRECONDITION, INVALID_ARGUMENT and the like say "certainly not". */
static void unknown_outcomes_stay_unknown(void **state)
{
    (void)state;
    for (unsigned i = 1; i < FL_STATUS_COUNT; i++) {
        grpc_status_code code = api_status_of((enum fl_status)i).code;

        if (fl_status_is_unknown((enum fl_status)i)) {
            assert_true(code == GRPC_STATUS_UNAVAILABLE || code == GRPC_STATUS_CANCELLED ||
                        code == GRPC_STATUS_DATA_LOSS);
        }
    }
}

static void codes_have_names(void **state)
{
    (void)state;
    assert_string_equal(api_code_name(GRPC_STATUS_OK), "OK");
    assert_string_equal(api_code_name(GRPC_STATUS_UNAUTHENTICATED), "Unauthenticated");
    assert_string_equal(api_code_name((grpc_status_code)99), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_a_row),
        cmocka_unit_test(the_texts_are_etcds),
        cmocka_unit_test(unknown_outcomes_stay_unknown),
        cmocka_unit_test(codes_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
