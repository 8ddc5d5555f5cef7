/* Readable scenarios: commands of script.h, and under each of them what it changed.
 *
 * Owner, lifetime, threads: the caller's.
 *
 *     ### name                    a new cluster; comments (#) say what it shows and cite the
 * scenario
 *     @ command                   then, written by the program:
 *     E dropped | E idle          the command was refused, or had nothing to do
 *     S, L, A                     state, log and machine of a node, where they changed (as in
 * facts.h) R node ctx=index | failed   a read was answered M from>to TYPE ..           all messages
 * under way, where they changed
 *
 * The cores run as the product does, but for election timeouts, which are exactly the configured
 * ones. */
#ifndef TESTS_RAFTGROUP_TRANSCRIPT_H
#define TESTS_RAFTGROUP_TRANSCRIPT_H

#include <stdio.h>

/* Writes the transcript `in` to `out` with the facts of now in place of those it has. Returns the
 * number of scenarios, or -1 when a command is malformed or safety is broken, which `out` says
 * last. */
int transcript_run(FILE *in, FILE *out);

#endif
