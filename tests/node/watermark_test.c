/* Goal: the watermark survives restarts and torn or rotten copies, never goes back, and is never
 * invented when it is gone (LS-7).
 * Method: a real file, damaged between closing and opening. */
#include "node/watermark.h"

#include "tests/node/temp_dir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char *directory;
static char path[4096];
static char why[256];

static int setup(void **state)
{
    (void)state;
    directory = temp_dir_create();
    (void)snprintf(path, sizeof(path), "%s/log.watermark", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_remove(directory);
    return 0;
}

static struct node_watermark *open_it(void)
{
    struct node_watermark *watermark;

    assert_int_equal(node_watermark_open(&watermark, path, true, why, sizeof(why)), FL_OK);
    return watermark;
}

static uint64_t reopen_value(void)
{
    struct node_watermark *watermark = open_it();
    uint64_t value = node_watermark_durable(watermark);

    node_watermark_close(watermark);
    return value;
}

/* Goal: noted values reach the file only by persist or close, and lower ones never. */
static void test_raise_and_persist(void **state)
{
    struct node_watermark *watermark = open_it();

    (void)state;
    assert_int_equal(node_watermark_durable(watermark), 0);
    node_watermark_raise(watermark, 7);
    assert_int_equal(node_watermark_durable(watermark), 0);
    node_watermark_persist(watermark);
    assert_int_equal(node_watermark_durable(watermark), 7);
    node_watermark_raise(watermark, 6);
    node_watermark_persist(watermark);
    assert_int_equal(node_watermark_durable(watermark), 7);
    node_watermark_raise(watermark, 9);
    node_watermark_close(watermark);
    assert_int_equal(reopen_value(), 9);
    assert_false(temp_exists(temp_path(directory, "log.watermark.new")));
}

/* Goal: one bad copy costs at most the newest persist, two are never taken for a value. Method:
 * each bit of one copy is flipped in turn, then one of each. */
static void test_rotten_copies(void **state)
{
    struct node_watermark *watermark = open_it();

    (void)state;
    node_watermark_raise(watermark, 10);
    node_watermark_persist(watermark);
    node_watermark_raise(watermark, 20);
    node_watermark_persist(watermark); /* the copies hold 10 and 20 */
    assert_int_equal(node_watermark_durable(watermark), 20);
    node_watermark_close(watermark);
    for (size_t bit = 0; bit < 28 * 8; bit++) {
        for (size_t copy = 0; copy < 2; copy++) {
            uint64_t value;

            temp_file_flip(path, copy * 4096 + bit / 8, bit % 8);
            value = reopen_value();
            assert_true(value == 10 || value == 20);
            temp_file_flip(path, copy * 4096 + bit / 8, bit % 8);
        }
    }
    assert_int_equal(reopen_value(), 20);
    temp_file_flip(path, 16, 0);
    temp_file_flip(path, 4096 + 16, 0);
    assert_int_equal(node_watermark_open(&watermark, path, true, why, sizeof(why)), FL_CORRUPT);
    assert_null(watermark);
    assert_non_null(strstr(why, "is unreadable: both copies fail their checksum"));
}

/* Goal: a torn write (the newest copy cut short) leaves the older value. */
static void test_torn_copy(void **state)
{
    struct node_watermark *watermark = open_it();

    (void)state;
    for (uint64_t value = 1; value <= 4; value++) {
        node_watermark_raise(watermark, value);
        node_watermark_persist(watermark);
    }
    node_watermark_close(watermark);
    temp_file_cut(path, 4096 + 20);
    assert_true(reopen_value() >= 3);
    temp_file_cut(path, 0);
    assert_int_equal(node_watermark_open(&watermark, path, true, why, sizeof(why)), FL_CORRUPT);
}

/* Goal: a missing file is told, and only created on request. */
static void test_missing(void **state)
{
    struct node_watermark *watermark;

    (void)state;
    assert_int_equal(node_watermark_open(&watermark, path, false, why, sizeof(why)), FL_NOT_FOUND);
    assert_false(temp_exists(path));
    assert_non_null(strstr(why, "log.watermark is missing"));
    node_watermark_close(open_it());
    assert_int_equal(node_watermark_open(&watermark, path, false, why, sizeof(why)), FL_OK);
    node_watermark_close(watermark);
}

/* Goal: the damaged mark lives across restarts, in both copies, until it is cleared. */
static void test_damaged_mark(void **state)
{
    struct node_watermark *watermark;

    (void)state;
    node_watermark_close(open_it());
    assert_int_equal(node_watermark_replace(&watermark, path, why, sizeof(why)), FL_OK);
    assert_true(node_watermark_is_damaged(watermark));
    node_watermark_close(watermark);
    watermark = open_it();
    assert_true(node_watermark_is_damaged(watermark));
    node_watermark_clear_damaged(watermark);
    node_watermark_close(watermark);
    watermark = open_it();
    assert_false(node_watermark_is_damaged(watermark));
    node_watermark_raise(watermark, 5);
    node_watermark_mark_damaged(watermark);
    node_watermark_close(watermark);
    for (size_t copy = 0; copy < 2; copy++) {
        temp_file_flip(path, copy * 4096 + 8, 1);
        watermark = open_it();
        assert_true(node_watermark_is_damaged(watermark));
        assert_int_equal(node_watermark_durable(watermark), 5);
        node_watermark_close(watermark);
        temp_file_flip(path, copy * 4096 + 8, 1);
    }
}

/* Goal: a directory that cannot be written gives a sentence, not a crash. */
static void test_cannot_create(void **state)
{
    struct node_watermark *watermark;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/missing/log.watermark", directory);
    assert_int_equal(node_watermark_open(&watermark, path, true, why, sizeof(why)), FL_IO);
    assert_null(watermark);
    assert_non_null(strstr(why, "cannot create "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_raise_and_persist, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rotten_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_copy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cannot_create, setup, teardown),
    };

    return cmocka_run_group_tests_name("watermark", tests, NULL, NULL);
}
