#!/usr/bin/env bash
# Goal: each lint script refuses what it is there to refuse, at the right file and line, and lets
# good code pass.
# Method: a small good tree in a temporary folder passes; then one bad sample at a time is added,
# the script must fail and name it, and the sample is taken away again.
set -euo pipefail
lint=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cases=0

fail() {
    printf 'lint_test: %s\n' "$*" >&2
    exit 1
}

put() { # PATH: standard input becomes the file
    mkdir -p "$tree/$(dirname "$1")"
    cat >"$tree/$1"
}

passes() { # SCRIPT [ARG...]
    local script=$1 out
    shift
    cases=$((cases + 1))
    out=$("$lint/$script" "$@" 2>&1) || fail "$script refuses good code: $out"
}

# The sample of standard input is put at PATH; SCRIPT must fail with a line that starts with EXPECT.
refuses() { # SCRIPT PATH EXPECT
    local out saved=''
    cases=$((cases + 1))
    if [[ -e $tree/$2 ]]; then
        saved=$(mktemp -p "$tree" saved.XXXXXX)
        cp "$tree/$2" "$saved"
    fi
    put "$2"
    if out=$("$lint/$1" "$tree" 2>&1); then
        fail "$1 lets pass: $3"
    fi
    [[ $'\n'$out == *$'\n'"$3"* ]] || fail "$1 says \"$out\", expected \"$3\""
    if [[ -n $saved ]]; then
        mv "$saved" "$tree/$2"
    else
        rm "$tree/$2"
    fi
}

repeated() { # COUNT TEXT
    local i
    for ((i = 0; i < $1; i++)); do printf '%b' "$2"; done
}

# --- a good tree ---------------------------------------------------------------------------------

put raftgroup/base/bytes.h <<<'struct fl_bytes { int len; };'
put raftgroup/raft_internal.h <<<'struct raft { int term; };'
put raftgroup/step.c <<'EOF'
#include "raftgroup/raft_internal.h"
#include "raftgroup/base/bytes.h"
#include <string.h>
/* sprintf(a, b) in a comment, sleep(1) too, is no call. */
static const char *text = "system(\"ls\") in a string";
const char *raft_text(void) { return text; }
EOF
put shard/engine_rocksdb.c <<'EOF'
#include "raftgroup/base/bytes.h"
#include <rocksdb/c.h>
#include <uthash.h>
int shard_engine_open(void) { return snprintf_like.system(1) + port->sleep(2) + my_atoi("3"); }
EOF
put node/loop.c <<<'#include <uv.h>'
put node/loop_internal.h <<<'#include <uv.h>'
put api/kv_service.c <<<$'#include "api/proto/kv.pb-c.h"\n#include <grpc/grpc.h>'
put tests/shard/engine_test.c <<<$'#include "shard/shard_internal.h"\n#include <cmocka.h>'
put raftgroup/base/BUILD <<<'"bytes.h"'
put raftgroup/BUILD <<<'"step.c", "raft_internal.h"'
put shard/BUILD <<<'"engine_rocksdb.c"'
put node/BUILD <<<'"loop.c", "loop_internal.h"'
put api/BUILD <<<'"kv_service.c"'
put tests/shard/BUILD <<<'"engine_test.c"'

for script in floors length banned orphans; do
    passes "$script.sh" "$tree"
done

# --- floors --------------------------------------------------------------------------------------

refuses floors.sh raftgroup/up.c 'raftgroup/up.c:2: "shard/range.h" is on a higher floor' <<'EOF'

#include "shard/range.h"
EOF
refuses floors.sh raftgroup/base/up.c 'raftgroup/base/up.c:1: "raftgroup/raft.h" is on a higher' \
    <<<'#include "raftgroup/raft.h"'
refuses floors.sh api/fake.c 'api/fake.c:1: "tests/lib/fake.h" is on a higher floor' \
    <<<'#include "tests/lib/fake.h"'
refuses floors.sh shard/short.c 'shard/short.c:1: "range.h": write the path' \
    <<<'#include "range.h"'
refuses floors.sh node/peek.c 'node/peek.c:1: "shard/shard_internal.h" is private' \
    <<<'#include "shard/shard_internal.h"'
refuses floors.sh node/log_store.c 'node/log_store.c:1: <rocksdb/c.h> belongs to' \
    <<<'#include <rocksdb/c.h>'
refuses floors.sh node/router.c 'node/router.c:1: <uv.h> belongs to' <<<'#  include <uv.h>'
refuses floors.sh node/loop.h 'node/loop.h:1: <uv.h> belongs to' <<<'#include <uv.h>'
refuses floors.sh node/rpc.c 'node/rpc.c:1: <grpc/grpc.h> belongs to' <<<'#include <grpc/grpc.h>'
refuses floors.sh shard/cmd.c 'shard/cmd.c:1: <protobuf-c/protobuf-c.h> belongs to' \
    <<<'#include <protobuf-c/protobuf-c.h>'
refuses floors.sh api/server.c 'api/server.c:1: <microhttpd.h> belongs to' \
    <<<'#include <microhttpd.h>'
refuses floors.sh tests/node/pb_test.c 'tests/node/pb_test.c:1: generated protobuf code' \
    <<<'#include "api/proto/kv.pb-c.h"'
refuses floors.sh shard/zip.c 'shard/zip.c:1: <zlib.h> has no home' <<<'#include <zlib.h>'

# --- length --------------------------------------------------------------------------------------

body() { # LINES: a function of so many lines
    printf 'int shard_long(int a)\n{\n'
    repeated $(($1 - 4)) '    a++;\n'
    printf '    return a;\n}\n'
}
put shard/long.c < <(body 69)
passes length.sh "$tree"
refuses length.sh shard/long.c 'shard/long.c:1: shard_long has 70 lines' < <(body 70)
refuses length.sh shard/wide.c 'shard/wide.c:2: more than 100 columns' \
    < <(printf '\n// %s\n' "$(repeated 98 x)")
put shard/wide.c < <(printf '// %s\n' "$(repeated 97 'ü')")
passes length.sh "$tree"
refuses length.sh shard/tall.c 'shard/tall.c:801: 801 lines' < <(repeated 801 '\n')
put shard/tall.c < <(repeated 800 '\n')
passes length.sh "$tree"
rm "$tree"/shard/{long,wide,tall}.c

# --- banned --------------------------------------------------------------------------------------

for call in strcpy strcat sprintf gets strtok atoi system sleep usleep; do
    refuses banned.sh node/bad.c "node/bad.c:13: $call() " <<EOF
/* a comment
 * of two lines */









#define HERE 1
int node_bad(char *a) { return $call (a); }
EOF
done
refuses banned.sh node/late.c 'node/late.c:2: unfinished work' <<<$'int a;\n// TO''DO: the rest'
refuses banned.sh tests/node/x.sh 'tests/node/x.sh:1: unfinished work' <<<'# FIX''ME'
put tests/node/wait.c <<<'int main(void) { return usleep(1); } // mkstemp: "/tmp/a.XXXXXX"'
passes banned.sh "$tree"
rm "$tree/tests/node/wait.c"

# --- orphans -------------------------------------------------------------------------------------

refuses orphans.sh shard/dead.c 'shard/dead.c:1: no BUILD file has' <<<'int shard_dead;'
refuses orphans.sh tests/shard/dead_test.c 'tests/shard/dead_test.c:1: no BUILD file has' <<<'int a;'

# --- scenarios -----------------------------------------------------------------------------------

put tests/raftgroup/testdata/scenario_ids.txt <<<$'E1\nE2'
put tests/raftgroup/testdata/votes.txt <<<$'### twice\n# E1: a vote\n### other\n# nothing'
put tests/raftgroup/BUILD <<<'"vote_test.c"'
put tests/raftgroup/vote_test.c <<'EOF'
/* E2: a grant. */
static void test_grant(void **state)
{
}

static void test_refusal(void **state)
{
}
EOF
scenario_rows() { # ROW..: the table with the good rows and these
    printf '%s\n' '| E1 | `raftgroup/testdata/votes.txt:twice` | |' "$@"
}
good_row='| E2 | `raftgroup/vote_test.c:test_grant` | |'
put raftgroup/SCENARIOS.md < <(scenario_rows "$good_row")
passes scenarios.sh "$tree"
put raftgroup/SCENARIOS.md < <(scenario_rows '| E2 | - | waits: issue 9 |')
passes scenarios.sh "$tree"
refuse_row() { # EXPECT ROW..
    local expect=$1
    shift
    refuses scenarios.sh raftgroup/SCENARIOS.md "raftgroup/SCENARIOS.md:$expect" \
        < <(scenario_rows "$@")
}
refuse_row '1: E2: no row'
refuse_row '3: E2: has a row already' "$good_row" "$good_row"
refuse_row '3: E3: no scenario of' "$good_row" '| E3 | - | waits: issue 9 |'
refuse_row '2: E2: neither a test nor what it waits for' '| E2 | - | later |'
refuse_row '2: E2: there is no tests/raftgroup/gone_test.c' '| E2 | `raftgroup/gone_test.c:test_a` | |'
refuse_row '2: E2: tests/raftgroup/vote_test.c has no case test_gone' \
    '| E2 | `raftgroup/vote_test.c:test_gone` | |'
refuse_row '2: E2: test_refusal of tests/raftgroup/vote_test.c does not name it' \
    '| E2 | `raftgroup/vote_test.c:test_refusal` | |'
refuse_row '2: E2: twice of tests/raftgroup/testdata/votes.txt does not name it' \
    '| E2 | `raftgroup/testdata/votes.txt:twice` | |'
rm -r "$tree/tests/raftgroup" "$tree/raftgroup/SCENARIOS.md"
passes scenarios.sh "$tree"

# --- names ---------------------------------------------------------------------------------------

archive() { # FOLDER CODE: compiled into bin/FOLDER/libx.a
    mkdir -p "$tree/bin/$1"
    rm -f "$tree/bin/$1/libx.a"
    printf '%s\n' "$2" | gcc -x c -c -o "$tree/x.o" -
    ar rc "$tree/bin/$1/libx.a" "$tree/x.o" 2>/dev/null
}
bad_symbol() { # FOLDER CODE SYMBOL
    local out
    cases=$((cases + 1))
    archive "$1" "$2"
    if out=$("$lint/names.sh" --root "$tree" "bin/$1/libx.a" 2>&1); then
        fail "names.sh lets pass $3 in $1"
    fi
    [[ $out == "bin/$1/libx.a(x.o: $3: begins not with"* ]] ||
        fail "names.sh says \"$out\""
}
good_symbol() { # FOLDER CODE
    archive "$1" "$2"
    passes names.sh --root "$tree" "bin/$1/libx.a"
}
good_symbol raftgroup/base 'int fl_a; static int helper(void) { return fl_a; }
    int fl__b(void) { return helper(); }'
good_symbol raftgroup 'int raft__log; int raft_step(void) { return 1; }'
good_symbol api 'int main(void) { return 0; } int accept4(void) { return 1; }'
good_symbol api/proto 'int etcdserverpb__a;'
bad_symbol raftgroup/base 'int raft_a;' raft_a
bad_symbol raftgroup 'int fl_a;' fl_a
bad_symbol shard 'int helper(void) { return 1; }' helper
bad_symbol placement 'int shard_a;' shard_a
bad_symbol node 'int nodes;' nodes
bad_symbol api 'int flotilla;' flotilla
cases=$((cases + 1))
put shard/tag.h <<<$'struct shard_a {\n    struct { int x; } shared;\n};\nstruct entry { int a; };'
if out=$("$lint/names.sh" --root "$tree" 2>&1); then
    fail 'names.sh lets pass a struct tag without prefix'
fi
[[ $out == 'shard/tag.h:4: tag entry begins not with shard_'* ]] || fail "names.sh says \"$out\""

printf 'lint_test: %d samples judged rightly\n' "$cases"
