/* What a line of the vectors must look like, so that a slip is an error and never a row that passes
 * by chance.
 *
 * Owner, lifetime, threads: patterns are string literals, compiled once; one thread.
 *
 * A shape is a POSIX extended expression for the whole line, with these words in it:
 *     %n number   %a term/index   %i list of numbers, "-" or "empty"   %l <first>:<terms> or "-"
 *     %p pairs id:number or "-"   %v votes id:y or id:n, or "-"        %o members: v1,l2,r3,u4
 *     %k any number of key=value words */
#ifndef TESTS_RAFTGROUP_SHAPE_H
#define TESTS_RAFTGROUP_SHAPE_H

#include <stdbool.h>

bool shape_fits(const char *shape, const char *line);

#endif
