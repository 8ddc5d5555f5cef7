#!/usr/bin/env bash
# Goal: Debian's etcdctl 3.4, without special flags, behaves against flotilla as against etcd, also
# across ranges.
# Method: one list of commands runs against a three-node flotilla with eight ranges and, where etcd
# is installed, against a three-node etcd; what they print and their exit codes are compared line by
# line. Ids, ports, times and sizes are replaced by names; revisions by their rank, since flotilla's
# are increasing but not dense. What must only have a form (status, member list) is checked by itself.
#
# KIND=etcd|flotilla (etcd: etcd against itself, which tests this test)
. "$(dirname "$0")/e2e.sh"

for tool in etcdctl jq; do command -v "$tool" >/dev/null || fail "$tool is not installed"; done

# One command: its line, output and exit code go into the transcript. etcdctl's own log lines (JSON
# on standard error) are left out.
run() { # ARG...
    local code=0
    printf '$ etcdctl %s\n' "$*"
    ctl "$@" >"$E2E_ROOT/out" 2>"$E2E_ROOT/err" || code=$?
    cat "$E2E_ROOT/out"
    grep -v '^{"level"' "$E2E_ROOT/err" || true
    printf 'exit code %d\n' "$code"
}

# The same without the command line, which holds revisions.
run_quiet() { # ARG...
    run "$@" | tail -n +2
}

# Revision of the newest write, from the header of a put.
current_revision() { ctl put "$1" marker -w json | jq .header.revision; }

# Key-values of a JSON answer with revisions still as numbers; the header is left out.
run_json() { # ARG...
    printf '$ etcdctl %s (json)\n' "$*"
    ctl "$@" -w json | jq -c 'del(.header) | if .responses then .responses |=
        map(map_values(del(.header) | map_values(if type == "object" then del(.header) else . end)))
        else . end'
}

basic_commands() {
    local key
    run put foo bar
    run get foo
    run get foo --print-value-only
    run get missing
    run put foo baz --prev-kv
    run del foo --prev-kv
    run del foo
    for key in '!1' 01 91 F1 R1 a1 j1 w1 '~1'; do run put "$key" "value of $key"; done
    run get '' --prefix
    run get '' --prefix --keys-only
    run get '' --from-key --limit 3
    run get '' --prefix --order=DESCEND
    run get '' --prefix --sort-by=MODIFY --order=DESCEND --limit 4
    run get '' --prefix --sort-by=VERSION
    run get 9 k
    run get R1 --from-key
    run_json get '' --prefix
    run_json get '' --prefix --limit 2
    run_json get '' --prefix --keys-only --limit 1
    run put F1 again
    run put F1 'and again'
    run_json get F1
    run put lonely -- '-dash'
    run put many 'a
multi-line value'
    run get many
    run put F1 --ignore-value
    run put nobody --ignore-value
    run put '' empty
    run get foo --rev 999999999
}

txn_commands() {
    printf '$ etcdctl txn (succeeds)\n'
    ctl txn <<'END'
value("F1") = "and again"
mod("F9") = "0"
version("F1") > "1"

put F1 swapped
get F1
del F2

get F1

END
    printf '$ etcdctl txn (takes the other branch)\n'
    ctl txn <<'END'
value("F1") = "something else"

put F1 wrong

put F2 created
get F1
get F2

END
    printf '$ etcdctl txn (duplicate key)\n'
    ctl txn <<'END' 2>&1 | grep -v '^{"level"' || true

put F3 once
put F3 twice


END
    run get F --prefix
}

# Reads at old revisions around a compaction. Revisions are asked for, so their values may differ.
compaction_commands() {
    local first second last
    first=$(current_revision F5)
    ctl put F5 one >/dev/null
    ctl put a5 one >/dev/null
    second=$(current_revision F6)
    ctl put F5 two >/dev/null
    ctl put a5 two >/dev/null
    ctl del a1 >/dev/null
    last=$(current_revision F6)
    printf 'first<second<last: %s\n' "$((first < second && second < last))"
    printf '# at the first of three revisions\n'
    ctl get F5 a6 --rev "$first"
    printf '# at the second\n'
    ctl get F5 a6 --rev "$second"
    printf '# compaction at the second\n'
    ctl compaction "$second" | sed "s/$second/SECOND/"
    printf '# at the second, kept\n'
    ctl get F5 --rev "$second"
    printf '# at the first, gone\n'
    run_quiet get F5 --rev "$first"
    run_quiet get '' --prefix --rev "$first"
    printf '# compaction again, and in the future\n'
    run_quiet compaction "$second"
    run_quiet compaction $((last + 1000000))
    printf '# now\n'
    ctl get '' --prefix
}

delete_commands() {
    run del R --prefix
    run del 0 a --prev-kv
    run get '' --prefix --keys-only
    run del '' --from-key
    run get '' --prefix
    run_json get '' --prefix
}

member_commands() {
    run member list
    run endpoint health
    printf '$ etcdctl endpoint status\n'
    ctl endpoint status -w json | jq -c '.[] | [.Endpoint,
        (.Status.version | test("^[0-9]+[.][0-9]+[.][0-9]+")), .Status.header.member_id != 0,
        .Status.header.cluster_id != 0, .Status.leader != 0, .Status.raftTerm > 0,
        .Status.raftIndex > 0, (.Status.dbSize > 0)]'
    printf 'leaders agreed on: %s\n' \
        "$(ctl endpoint status -w json | jq '[.[].Status.leader] | unique | length')"
    printf 'clusters: %s\n' \
        "$(ctl endpoint status -w json | jq '[.[].Status.header.cluster_id] | unique | length')"
}

# Every distinct revision becomes R1, R2, ... in order.
rank_revisions() {
    local file=$1 revision rank=0 script=''
    while read -r revision; do
        rank=$((rank + 1))
        script+="s/_revision\":$revision([,}])/_revision\":\"R$rank\"\\1/g;"
    done < <(grep -oE '_revision":[0-9]+' "$file" | grep -oE '[0-9]+' | sort -nu)
    sed -Ei "$script" "$file"
}

normalise() { # FILE
    local i
    for ((i = 1; i <= NODES; i++)); do
        sed -i -e "s/127.0.0.1:$(node_port "$i")/CLIENT$i/g" \
            -e "s/127.0.0.1:$(($(node_port "$i") + 1))/PEER$i/g" "$1"
    done
    sed -Ei -e 's/^[0-9a-f]{1,16}, started/ID, started/' \
        -e 's/took = .*/took = TIME/' "$1"
    rank_revisions "$1"
    # members and endpoints come in no particular order
    awk '/^ID, started|^CLIENT.*healthy|^http:\/\/CLIENT.*healthy/ { print | "sort"; next }
         { close("sort"); print }' "$1" >"$1.sorted"
    mv "$1.sorted" "$1"
}

transcript() { # FILE
    ctl del '~ready' >/dev/null
    {
        basic_commands
        txn_commands
        compaction_commands
        delete_commands
        member_commands
    } >"$1"
    normalise "$1"
}

cluster_start
transcript "$E2E_ROOT/subject.txt"
if [[ $KIND == flotilla ]]; then
    if ctl txn >"$E2E_ROOT/two" 2>&1 <<'END'; then

put !a 1
put wa 2


END
        fail 'a txn over two ranges was accepted'
    fi
    grep -q '^Error: .*range' "$E2E_ROOT/two" ||
        fail "no clear error for a txn over two ranges: $(cat "$E2E_ROOT/two")"
fi
cluster_stop || fail 'a node does not stop'
say "$KIND: $(grep -c '^\$' "$E2E_ROOT/subject.txt") commands"
if grep -q '^exit code [^01]' "$E2E_ROOT/subject.txt"; then
    fail 'an exit code etcdctl does not know'
fi

if ! command -v etcd >/dev/null; then
    say 'comparison with etcd: skipped, etcd-server is not installed'
else
    subject=$KIND
    KIND=etcd
    cluster_start
    transcript "$E2E_ROOT/etcd.txt"
    cluster_stop || true
    diff -u "$E2E_ROOT/etcd.txt" "$E2E_ROOT/subject.txt" || fail "$subject does not answer as etcd does"
    say "$subject answers as etcd does"
fi
say "etcdctl: passed"
