/* Shapes of lines: see shape.h. */
#include "tests/raftgroup/shape.h"

#include "raftgroup/base/assert.h"

#include <regex.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { SHAPES_MAX = 128, EXPRESSION_BYTES = 2048 };

#define NUMBER "[0-9]{1,9}"
#define TERM   "[1-9][0-9]{0,8}"

static const struct {
    char word;
    const char *expression;
} words[] = {
    {'n', NUMBER},
    {'a', NUMBER "/" NUMBER},
    {'i', "(-|empty|" NUMBER "(," NUMBER ")*)"},
    {'l', "(-|" TERM ":" TERM "(," TERM ")*)"},
    {'p', "(-|" NUMBER ":" NUMBER "(," NUMBER ":" NUMBER ")*)"},
    {'v', "(-|" NUMBER ":[yn](," NUMBER ":[yn])*)"},
    {'o', "([vlru]" NUMBER "([, ][vlru]" NUMBER ")*)?"},
    {'k', "( [a-z-]+=[^ ]*)*"},
};

static const char *meaning(char word)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].word == word) {
            return words[i].expression;
        }
    }
    fl_assert(!"a word no shape has");
    return "";
}

static void compile(const char *shape, regex_t *out)
{
    char expression[EXPRESSION_BYTES];
    size_t len = (size_t)snprintf(expression, sizeof(expression), "^");

    for (const char *p = shape; *p != '\0'; p++) {
        if (*p == '%') {
            const char *text = meaning(*++p);

            len += (size_t)snprintf(expression + len, sizeof(expression) - len, "%s", text);
        } else {
            len += (size_t)snprintf(expression + len, sizeof(expression) - len, "%c", *p);
        }
        fl_assert(len + 2 < sizeof(expression));
    }
    (void)snprintf(expression + len, sizeof(expression) - len, "$");
    fl_assert(regcomp(out, expression, REG_EXTENDED | REG_NOSUB) == 0);
}

bool shape_fits(const char *shape, const char *line)
{
    static struct {
        const char *shape;
        regex_t compiled;
    } known[SHAPES_MAX];
    size_t i = 0;

    while (i < SHAPES_MAX && known[i].shape != NULL && known[i].shape != shape) {
        i++;
    }
    fl_assert(i < SHAPES_MAX);
    if (known[i].shape == NULL) {
        compile(shape, &known[i].compiled);
        known[i].shape = shape;
    }
    return regexec(&known[i].compiled, line, 0, NULL, 0) == 0;
}
