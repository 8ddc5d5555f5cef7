/* Temporary directories and rough handling of files; whatever fails ends the test program. */
#include "tests/node/temp_dir.h"

#include "raftgroup/base/alloc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        abort();
    }
}

char *temp_dir_create(void)
{
    const char *root = getenv("TEST_TMPDIR");
    char *path;

    must(asprintf(&path, "%s/flotilla-XXXXXX", root != NULL ? root : "/tmp") > 0, "asprintf");
    must(mkdtemp(path) != NULL, path);
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void temp_erase(const char *path)
{
    if (temp_exists(path)) {
        must(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, path);
    }
}

void temp_dir_remove(char *path)
{
    temp_erase(path);
    free(path);
}

const char *temp_path(const char *directory, const char *name)
{
    static char paths[8][4096];
    static unsigned next;
    char *path = paths[next++ % 8];

    must(snprintf(path, sizeof(paths[0]), "%s/%s", directory, name) < (int)sizeof(paths[0]), name);
    return path;
}

void temp_copy_file(const char *from, const char *to)
{
    char buffer[65536];
    ssize_t n;
    int in = open(from, O_RDONLY);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    must(in >= 0 && out >= 0, from);
    while ((n = read(in, buffer, sizeof(buffer))) > 0) {
        must(write(out, buffer, (size_t)n) == n, to);
    }
    must(n == 0, from);
    close(in);
    close(out);
}

void temp_copy(const char *from, const char *to)
{
    DIR *dir = opendir(from);
    struct dirent *entry;

    must(dir != NULL && mkdir(to, 0700) == 0, to);
    while ((entry = readdir(dir)) != NULL) {
        char *source;
        char *target;
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        must(asprintf(&source, "%s/%s", from, entry->d_name) > 0, "asprintf");
        must(asprintf(&target, "%s/%s", to, entry->d_name) > 0, "asprintf");
        must(lstat(source, &st) == 0, source);
        if (S_ISDIR(st.st_mode)) {
            temp_copy(source, target);
        } else {
            temp_copy_file(source, target);
        }
        free(source);
        free(target);
    }
    closedir(dir);
}

size_t temp_file_size(const char *path)
{
    struct stat st;

    must(stat(path, &st) == 0, path);
    return (size_t)st.st_size;
}

size_t temp_file_used(const char *path)
{
    size_t size = temp_file_size(path);
    uint8_t *bytes = fl_xmalloc(size + 1);
    int fd = open(path, O_RDONLY);

    must(fd >= 0 && pread(fd, bytes, size, 0) == (ssize_t)size && close(fd) == 0, path);
    while (size > 0 && bytes[size - 1] == 0) {
        size--;
    }
    free(bytes);
    return size;
}

void temp_file_blank(const char *path, size_t from)
{
    size_t size = temp_file_size(path);

    temp_file_cut(path, from);
    temp_file_cut(path, size);
}

void temp_file_flip(const char *path, size_t byte, unsigned bit)
{
    uint8_t value = 0;
    int fd = open(path, O_RDWR);

    must(fd >= 0 && pread(fd, &value, 1, (off_t)byte) == 1, path);
    value = (uint8_t)(value ^ (1U << bit));
    must(pwrite(fd, &value, 1, (off_t)byte) == 1, path);
    close(fd);
}

void temp_file_cut(const char *path, size_t size)
{
    must(truncate(path, (off_t)size) == 0, path);
}

void temp_file_write(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    must(fd >= 0 && write(fd, data, size) == (ssize_t)size, path);
    close(fd);
}

bool temp_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **temp_list(const char *directory, const char *suffix, size_t *count)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    char **names = NULL;

    must(dir != NULL, directory);
    *count = 0;
    while ((entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);
        size_t end = strlen(suffix);

        if (len < end || strcmp(entry->d_name + len - end, suffix) != 0) {
            continue;
        }
        names = realloc(names, (*count + 1) * sizeof(*names));
        must(names != NULL && asprintf(&names[*count], "%s/%s", directory, entry->d_name) > 0,
             directory);
        (*count)++;
    }
    closedir(dir);
    if (*count != 0) {
        qsort(names, *count, sizeof(*names), compare_names);
    }
    return names;
}

void temp_list_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
}
