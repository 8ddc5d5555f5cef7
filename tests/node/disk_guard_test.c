/* Goal: writes are refused below the floor and taken again above it with a margin, the reserve file
 * is given back in need and taken again in plenty, and a check does not ask the disk each time.
 * Method: a disk in memory whose free bytes the test sets; the reserve file is real. */
#include "node/disk_guard.h"

#include "tests/node/temp_dir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024, FLOOR = 80 * MIB, RESERVE = 16 * MIB };

struct disk {
    uint64_t free_bytes;
    unsigned looks;
    bool broken;
};

static bool probe(void *context, uint64_t *free_bytes)
{
    struct disk *disk = context;

    disk->looks++;
    *free_bytes = disk->free_bytes;
    return !disk->broken;
}

static struct node_disk_guard *open_guard(const char *directory, struct disk *disk)
{
    struct node_disk_guard_options options = {
        .directory = directory,
        .floor_bytes = FLOOR,
        .reserve_bytes = RESERVE,
        .probe = probe,
        .probe_context = disk,
    };
    struct node_disk_guard *guard;
    char why[256] = "";

    assert_int_equal(node_disk_guard_open(&guard, &options, why, sizeof(why)), FL_OK);
    return guard;
}

/* Blocks the reserve file really holds. */
static uint64_t reserve_bytes(const char *directory)
{
    struct stat st;

    return stat(temp_path(directory, "RESERVE"), &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* Goal: the transitions drawn in the header, in order. */
static void test_transitions(void **state)
{
    char *directory = temp_dir_create();
    struct disk disk = {.free_bytes = 1000 * (uint64_t)MIB};
    struct node_disk_guard *guard = open_guard(directory, &disk);
    uint64_t now = 1000;

    (void)state;
    assert_true(node_disk_guard_has_reserve(guard));
    assert_true(reserve_bytes(directory) >= RESERVE);
    assert_int_equal(node_disk_guard_check(guard, now), FL_OK);
    disk.free_bytes = FLOOR; /* exactly the floor is enough */
    assert_int_equal(node_disk_guard_check(guard, now += 250), FL_OK);
    disk.free_bytes = FLOOR - 1;
    assert_int_equal(node_disk_guard_check(guard, now += 250), FL_NO_SPACE);
    assert_true(node_disk_guard_has_reserve(guard));
    disk.free_bytes = FLOOR / 2 - 1; /* what must go on needs the reserve */
    assert_int_equal(node_disk_guard_check(guard, now += 250), FL_NO_SPACE);
    assert_false(node_disk_guard_has_reserve(guard));
    assert_int_equal(reserve_bytes(directory), 0);
    disk.free_bytes = FLOOR + FLOOR / 8 - 1; /* margin: no flapping around the floor */
    assert_int_equal(node_disk_guard_check(guard, now += 250), FL_NO_SPACE);
    disk.free_bytes = FLOOR + FLOOR / 8;
    assert_int_equal(node_disk_guard_check(guard, now += 250), FL_OK);
    assert_false(node_disk_guard_has_reserve(guard));
    disk.free_bytes = FLOOR + FLOOR / 8 + RESERVE;
    assert_int_equal(node_disk_guard_check(guard, now += 250), FL_OK);
    assert_true(node_disk_guard_has_reserve(guard));
    assert_true(reserve_bytes(directory) >= RESERVE);
    node_disk_guard_close(guard);
    temp_dir_remove(directory);
}

/* Goal: one look serves NODE_DISK_GUARD_PERIOD_MS, whoever asks. */
static void test_looks_are_rare(void **state)
{
    char *directory = temp_dir_create();
    struct disk disk = {.free_bytes = 1000 * (uint64_t)MIB};
    struct node_disk_guard *guard = open_guard(directory, &disk);
    unsigned before;

    (void)state;
    assert_int_equal(node_disk_guard_check(guard, 5000), FL_OK);
    before = disk.looks;
    disk.free_bytes = 0;
    for (uint64_t now = 5000; now < 5000 + NODE_DISK_GUARD_PERIOD_MS; now++) {
        assert_int_equal(node_disk_guard_check(guard, now), FL_OK);
    }
    assert_int_equal(disk.looks, before);
    assert_int_equal(node_disk_guard_check(guard, 5000 + NODE_DISK_GUARD_PERIOD_MS), FL_NO_SPACE);
    assert_int_equal(disk.looks, before + 1);
    assert_int_equal(node_disk_guard_free_bytes(guard), 0);
    node_disk_guard_close(guard);
    temp_dir_remove(directory);
}

/* Goal: a node starts on a full disk and refuses at once; no reserve is taken there; a reserve from
 * the last start is used as it is; one of a wrong size is made anew. */
static void test_start(void **state)
{
    char *directory = temp_dir_create();
    struct disk disk = {.free_bytes = FLOOR - 1};
    struct node_disk_guard *guard = open_guard(directory, &disk);

    (void)state;
    assert_int_equal(node_disk_guard_check(guard, 1), FL_NO_SPACE);
    assert_false(node_disk_guard_has_reserve(guard));
    node_disk_guard_close(guard);
    disk.free_bytes = 1000 * (uint64_t)MIB;
    node_disk_guard_close(open_guard(directory, &disk));
    assert_true(reserve_bytes(directory) >= RESERVE);
    disk.free_bytes = FLOOR; /* no room to make one, but it is there */
    guard = open_guard(directory, &disk);
    assert_true(node_disk_guard_has_reserve(guard));
    node_disk_guard_close(guard);
    temp_file_cut(temp_path(directory, "RESERVE"), 4096);
    disk.free_bytes = 1000 * (uint64_t)MIB;
    guard = open_guard(directory, &disk);
    assert_true(node_disk_guard_has_reserve(guard));
    assert_true(reserve_bytes(directory) >= RESERVE);
    node_disk_guard_close(guard);
    temp_dir_remove(directory);
}

/* Goal: a disk that cannot be asked refuses to open, with the path in the sentence; later it
 * changes nothing (its writes will fail by themselves). The real disk answers too. */
static void test_probe_failure(void **state)
{
    char *directory = temp_dir_create();
    struct disk disk = {.free_bytes = 1000 * (uint64_t)MIB};
    struct node_disk_guard_options options = {
        .directory = "/nonexistent-directory",
        .floor_bytes = 1,
    };
    struct node_disk_guard *guard;
    char why[256] = "";

    (void)state;
    assert_int_equal(node_disk_guard_open(&guard, &options, why, sizeof(why)), FL_IO);
    assert_null(guard);
    assert_string_equal(why,
                        "cannot read the free space of /nonexistent-directory: "
                        "No such file or directory");
    guard = open_guard(directory, &disk);
    disk.broken = true;
    assert_int_equal(node_disk_guard_check(guard, 1000), FL_OK);
    node_disk_guard_close(guard);
    options.directory = directory;
    assert_int_equal(node_disk_guard_open(&guard, &options, why, sizeof(why)), FL_OK);
    assert_int_equal(node_disk_guard_check(guard, 1000), FL_OK);
    assert_true(node_disk_guard_free_bytes(guard) > 0);
    node_disk_guard_close(guard);
    temp_dir_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_looks_are_rare),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_probe_failure),
    };

    return cmocka_run_group_tests_name("disk_guard", tests, NULL, NULL);
}
