/* Temporary directories and rough handling of files for tests of what is on disk.
 *
 * Owner: the test. Lifetime: temp_dir_create to temp_dir_remove. Threads: one. */
#ifndef TESTS_NODE_TEMP_DIR_H
#define TESTS_NODE_TEMP_DIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A new directory below $TEST_TMPDIR or /tmp; free() the path. */
char *temp_dir_create(void);
/* Removes `path` and what is in it, and frees it. */
void temp_dir_remove(char *path);
/* DIR/NAME, one of a few static buffers. */
const char *temp_path(const char *directory, const char *name);
/* Copies one file over another. */
void temp_copy_file(const char *from, const char *to);
/* Copies a directory tree of plain files. */
void temp_copy(const char *from, const char *to);
/* Empties and removes a directory tree that may be there. */
void temp_erase(const char *path);

size_t temp_file_size(const char *path);
/* The bytes up to the last one that is not zero. */
size_t temp_file_used(const char *path);
/* Zeros from `from` to the end. */
void temp_file_blank(const char *path, size_t from);
/* Inverts one bit. */
void temp_file_flip(const char *path, size_t byte, unsigned bit);
void temp_file_cut(const char *path, size_t size);
void temp_file_write(const char *path, const void *data, size_t size);
bool temp_exists(const char *path);
/* The plain files in `directory` that end in `suffix`, ascending by name; free each and the array.
 */
char **temp_list(const char *directory, const char *suffix, size_t *count);
void temp_list_free(char **names, size_t count);

#endif
