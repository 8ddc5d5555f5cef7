#!/usr/bin/env bash
# Goal: no scenario of the Raft core is silently missing. raftgroup/SCENARIOS.md has one row for each id
# of tests/raftgroup/testdata/scenario_ids.txt, and every test a row names exists; one of tests/raftgroup
# also names the id.
# Method: rows are "| id | `file:case`, .. | note |", files below tests/. A case is a function of a C
# file, or a heading (###) of a transcript. A row without a test says what it waits for, or the policy.
#
# usage: scenarios.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
table=raftgroup/SCENARIOS.md
ids=tests/raftgroup/testdata/scenario_ids.txt
status=0

complain() { # LINE TEXT
    printf '%s:%s: %s\n' "$table" "$1" "$2"
    status=1
}

# The case with the comment above it; nothing when it does not exist.
text_of() { # FILE CASE
    case $1 in
    *.txt)
        awk -v name="$2" '/^### /{ on = ($2 == name) } on' "$1"
        ;;
    *)
        awk -v start="static void $2(" '
            { text = text $0 "\n" }
            index($0, start) == 1 { found = 1 }
            /^}/ { if (found) { printf "%s", text; exit } text = "" }' "$1"
        ;;
    esac
}

check_test() { # LINE ID REFERENCE
    local file=tests/${3%%:*} name='' text
    [[ $3 != *:* ]] || name=${3##*:}
    if [[ ! -e $file ]]; then
        complain "$1" "$2: there is no $file"
        return
    fi
    [[ $file != *.sh ]] || return 0
    text=$(text_of "$file" "$name")
    if [[ -z $name || -z $text ]]; then
        complain "$1" "$2: $file has no case ${name:-(none is named)}"
    elif [[ $file == tests/raftgroup/* ]] &&
        ! grep -qiE "(^|[^a-z0-9])$2([^0-9]|\$)" <<<"$text"; then
        complain "$1" "$2: $name of $file does not name it"
    fi
}

if [[ ! -e $table && ! -e $ids ]]; then
    exit 0
fi
declare -A wanted=() seen=()
while read -r id; do
    wanted[$id]=1
done <"$ids"
number=0
while IFS= read -r row; do
    number=$((number + 1))
    [[ $row =~ ^\|\ ([A-Z][0-9]+)\ \|(.*)\|(.*)\|$ ]] || continue
    id=${BASH_REMATCH[1]} tests=${BASH_REMATCH[2]} note=${BASH_REMATCH[3]}
    [[ -n ${wanted[$id]:-} ]] || complain "$number" "$id: no scenario of $ids"
    [[ -z ${seen[$id]:-} ]] || complain "$number" "$id: has a row already"
    seen[$id]=1
    found=''
    while read -r reference; do
        [[ -n $reference ]] || continue
        found=yes
        check_test "$number" "$id" "$reference"
    done < <(grep -oE '`[^`]+`' <<<"$tests" | tr -d '`')
    [[ -n $found || $note =~ ^\ (waits|policy): ]] ||
        complain "$number" "$id: neither a test nor what it waits for"
done <"$table"
for id in "${!wanted[@]}"; do
    [[ -n ${seen[$id]:-} ]] || complain 1 "$id: no row"
done

exit $status
