/* Feeds files to one fuzz target: the committed corpus and regressions, in builds without a fuzzer.
 *
 * usage: replay FILE... */
#include "tests/fuzz/input.h"

enum { FILE_BYTES_MAX = 1 << 20 };

static bool replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(FILE_BYTES_MAX);
    uint8_t *exact;
    size_t size;

    if (file == NULL || data == NULL) {
        (void)fprintf(stderr, "%s cannot be read\n", path);
        free(data);
        return false;
    }
    size = fread(data, 1, FILE_BYTES_MAX, file);
    (void)fclose(file);
    exact = realloc(data, size > 0 ? size : 1); /* so that a sanitizer sees one byte too far */
    (void)LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return true;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        (void)fprintf(stderr, "%s\n", argv[i]); /* the last one named is the culprit */
        if (!replay(argv[i])) {
            return 1;
        }
    }
    printf("%d inputs\n", argc - 1);
    return argc > 1 ? 0 : 1;
}
