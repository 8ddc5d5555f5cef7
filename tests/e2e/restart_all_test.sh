#!/usr/bin/env bash
# Goal: power can go on all nodes at once and every acknowledged write is there afterwards.
# Method: records are written from 64 clients; in the middle of it all three processes are killed
# with SIGKILL at once and started again, twice. Writes without an answer are repeated, so all end
# up acknowledged. Then every acknowledged record is read back and compared; once more after a last
# kill of all nodes at rest.
#
# KIND=etcd|flotilla; RECORDS (20000).
. "$(dirname "$0")/e2e.sh"

RECORDS=${RECORDS:-20000}
loader=$(cluster_find tests/e2e/loader)
ledger=$E2E_ROOT/ledger

# First bytes spread over all ranges; the value is as long as a small object.
records() {
    awk -v n="$RECORDS" 'BEGIN {
        bytes = "!+5AKUalv~"
        for (i = 0; i < n; i++)
            printf "%s/record%d\tvalue-%d-%0200d\n", substr(bytes, i % 10 + 1, 1), i, i, i
    }'
}

# Waits until the loader has so many acknowledgements.
wait_loaded() { # COUNT
    local done_count rest
    while read -r done_count rest <&"$progress"; do
        [[ $rest == of* ]] || say "$done_count $rest"
        ((done_count < $1)) || return 0
    done
    fail "the loader ended before $1 records were acknowledged"
}

cluster_start
exec {progress}< <(records | "$loader" load --endpoints "$(cluster_endpoints)" --ledger "$ledger" 2>&1)
for share in 3 2; do
    wait_loaded $((RECORDS / share))
    say "all nodes killed at $(wc -l <"$ledger") acknowledged records"
    cluster_kill
    cluster_restart_all || fail "the cluster does not come back"
done
while read -r line <&"$progress"; do last=$line; done
say "$last"
[[ $last == loaded* ]] || fail "loading did not end well"

"$loader" verify --endpoints "$(cluster_endpoints)" --ledger "$ledger" | tail -n 1
cluster_kill
cluster_restart_all || fail "the cluster does not come back"
"$loader" verify --endpoints "$(cluster_endpoints)" --ledger "$ledger" | tail -n 1
count=$(ctl get "" --prefix --limit 1 --write-out=fields | awk -F' : ' '/Count/ { print $2 }')
((count == RECORDS + 1)) || fail "$count keys instead of $((RECORDS + 1))"
say "restart_all: passed"
