#!/usr/bin/env bash
# Goal: a node that lost its disk is not believed to be the old one: it might vote twice. It is
# refused with one clear sentence, and the others go on.
# Method: one of three nodes is killed, its data directory removed, and the node started under its
# old name, as "existing" and as "new". It must exit with code 1 and name the reason; reads and
# writes must work on the others throughout. A copied data directory and another cluster's token are
# refused in the same way.
. "$(dirname "$0")/e2e.sh"

# Node I must end by itself with code 1 and a log whose end has a line with PATTERN.
expect_refused() { # I PATTERN WHAT
    local code=0
    node_wait_exit "$1" 20 || code=$?
    ((code != 124)) || fail "$3: still running after 20 s"
    ((code == 1)) || fail "$3: exit code $code instead of 1"
    tail -n 5 "$(node_log "$1")" | grep -Eiq "$2" || fail "$3: no reason (/$2/) in the end of the log"
    say "$3: $(tail -n 5 "$(node_log "$1")" | grep -Ei "$2" | tail -n 1)"
}

expect_serving() {
    CTL_TIMEOUT=15s ctl_at 1 put "k$RANDOM" v >/dev/null || fail "node 1 does not take writes"
    CTL_TIMEOUT=15s ctl_at 2 get kept | grep -qx value || fail "node 2 lost a value"
}

cluster_start
ctl put kept value >/dev/null

node_kill 3
rm -rf "$(node_dir 3)"
for state in existing new; do
    : >"$(node_log 3)"
    node_start 3 "$state"
    expect_refused 3 'refuse|wiped|empty|lost|already|known' "wiped disk, started as $state"
    expect_serving
    rm -rf "$(node_dir 3)"
done

# The data of node 2 under the name of node 3.
node_stop 2
cp -r "$(node_dir 2)" "$(node_dir 3)"
node_start 2 existing
node_wait_ready 2 || fail "node 2 does not come back"
: >"$(node_log 3)"
node_start 3 existing
expect_refused 3 'name|belongs|node|copied' "copied data directory"
expect_serving

# Another cluster's node at our peers' doors.
rm -rf "$(node_dir 3)"
: >"$(node_log 3)"
TOKEN=another-cluster node_start 3 new
if node_wait_exit 3 20; then
    fail "another cluster's node: ended as if all were well"
elif ((NODE_EXIT[3] != 1)); then
    fail "another cluster's node: exit code ${NODE_EXIT[3]} instead of 1"
fi
tail -n 5 "$(node_log 3)" | grep -Eiq 'cluster' || fail "another cluster's node: no reason given"
say "another cluster's node: $(tail -n 5 "$(node_log 3)" | grep -Ei cluster | tail -n 1)"
expect_serving
say "wiped_disk: passed"
