#!/usr/bin/env bash
# Goal: functions that fit a screen (under 70 lines), lines of at most 100 columns, files of at most
# 800 lines.
# Method: ctags gives the first and last line of each function; grep and wc do the rest.
#
# usage: length.sh [ROOT]
set -euo pipefail
export LC_ALL=C.UTF-8
cd "${1:-$(dirname "$0")/../..}"
status=0

mapfile -t files < <(find api node placement raftgroup shard tests -name '*.[ch]' -type f \
    2>/dev/null | sort)
[[ ${#files[@]} -gt 0 ]] || exit 0

ctags --languages=C --langmap=C:.c.h --kinds-C=f --fields=+ne -f - "${files[@]}" |
    awk -F '\t' '
        {
            line = end = 0
            for (i = 4; i <= NF; i++) {
                if ($i ~ /^line:/) line = substr($i, 6)
                if ($i ~ /^end:/) end = substr($i, 5)
            }
            if (end - line + 1 >= 70) {
                printf "%s:%d: %s has %d lines: split it, under 70\n", $2, line, $1, end - line + 1
                bad = 1
            }
        }
        END { exit bad }' || status=1

wide=$(grep -nHE '^.{101,}$' "${files[@]}") || true
if [[ -n $wide ]]; then
    sed -E 's|^([^:]*:[0-9]+):.*|\1: more than 100 columns: break it (./dev fmt)|' <<<"$wide"
    status=1
fi

wc -l "${files[@]}" | awk '
    $2 != "total" && $1 > 800 {
        print $2 ":801: " $1 " lines: split the file, at most 800"
        bad = 1
    }
    END { exit bad }' || status=1

exit $status
