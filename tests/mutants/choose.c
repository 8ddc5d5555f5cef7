/* Switches on the bug named by RG_BUG in the environment, for programs that know nothing of bugs.
 */
#include "raftgroup/bugs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct name {
    const char *id;
    enum raft_bug bug;
};

#define BUG_NAME(id, text) {#id, RG_BUG_##id},
static const struct name names[] = {{"none", RG_BUG_NONE}, RG_BUGS(BUG_NAME)};
#undef BUG_NAME

__attribute__((constructor)) static void choose(void)
{
    const char *wanted = getenv("RG_BUG");

    for (size_t i = 0; wanted != NULL && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].id, wanted) == 0) {
            raft__bug = names[i].bug;
            return;
        }
    }
    (void)fprintf(stderr, "RG_BUG must name a bug of raftgroup/bugs.h, or none\n");
    exit(2);
}
