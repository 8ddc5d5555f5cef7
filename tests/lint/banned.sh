#!/usr/bin/env bash
# Goal: calls that cannot be used safely, or that wait instead of synchronising, stay out of the
# product; notes of unfinished work stay out of the whole tree.
# Method: comments and strings are removed, then the names are looked for as calls.
#
# usage: banned.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
status=0

# gcc drops the comments and keeps the line numbers, by its line marks where it skips blank lines.
calls() { # FILE
    gcc -fpreprocessed -E -x c "$1" 2>/dev/null | awk -v file="$1" '
        BEGIN {
            why["strcpy"] = why["strcat"] = why["sprintf"] = why["vsprintf"] = why["gets"] = \
                "has no bound: use snprintf or the writers of raftgroup/base/bytes.h"
            why["strtok"] = "keeps hidden state: use strtok_r or an fl_reader"
            why["atoi"] = why["atol"] = why["atoll"] = why["atof"] = \
                "hides errors: use strtoll and check it"
            why["system"] = why["popen"] = "runs a shell: use posix_spawn, or do it here"
            why["sleep"] = why["usleep"] = "waits blindly: use a timer or a condition"
            why["rand"] = why["srand"] = "is neither seeded nor repeatable: use fl_prng"
            why["tmpnam"] = why["mktemp"] = "can be raced: use mkstemp"
        }
        /^# [0-9]+ "/ { line = $2 - 1; next }
        {
            line++
            gsub(/"([^"\\]|\\.)*"/, "\"\"")
            rest = $0
            while (match(rest, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(/)) {
                before = substr(rest, 1, RSTART - 1)
                name = substr(rest, RSTART, RLENGTH - 1)
                rest = substr(rest, RSTART + RLENGTH)
                sub(/[ \t]+$/, "", name)
                if ((name in why) && before !~ /(\.|->)[ \t]*$/) {
                    print file ":" line ": " name "() " why[name]
                    bad = 1
                }
            }
        }
        END { exit bad }'
}

while read -r file; do
    calls "$file" || status=1
done < <(find api node placement raftgroup shard -name '*.[ch]' -type f 2>/dev/null | sort)

# The words are written so that this file does not find itself.
words='TO''DO|FIX''ME|X''XX|HA''CK'
found=$(find api bazel dev node placement raftgroup shard tests .ci BUILD WORKSPACE README.md \
    -type f -print0 2>/dev/null | sort -z | xargs -0 -r grep -InwE "$words") || true
if [[ -n $found ]]; then
    sed -E 's/^([^:]*:[0-9]+):.*/\1: unfinished work: do it now or leave it out/' <<<"$found"
    status=1
fi

exit $status
