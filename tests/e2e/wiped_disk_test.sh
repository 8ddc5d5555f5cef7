#!/usr/bin/env bash
# Goal: a node that lost its disk is not believed to be the old one: it might vote twice. It is
# refused with one clear sentence, and the others go on.
# Method: one of three nodes is killed, its data directory removed, and the node started under its
# old name, as "existing" and as "new". It must exit with code 1 and name the reason; reads and
# writes must work on the others throughout. A copied data directory, an old copy of the node's own
# one, and another cluster's token are refused in the same way.
. "$(dirname "$0")/e2e.sh"

# Node I must end by itself with code 1, and the sentence it says to the operator (not just a log
# event) must have PATTERN.
expect_refused() { # I PATTERN WHAT
    local code=0 sentence
    node_wait_exit "$1" 20 || code=$?
    ((code != 124)) || fail "$3: still running after 20 s"
    ((code == 1)) || fail "$3: exit code $code instead of 1"
    sentence=$(grep '^flotillad: ' "$(node_log "$1")" || true)
    [[ $(grep -c . <<<"$sentence") == 1 ]] || fail "$3: not one sentence but: \"$sentence\""
    grep -Eiq "$2" <<<"$sentence" || fail "$3: the sentence has no /$2/: $sentence"
    say "$3: $sentence"
}

expect_serving() {
    CTL_TIMEOUT=15s ctl_at 1 put "k$RANDOM" v >/dev/null || fail "node 1 does not take writes"
    CTL_TIMEOUT=15s ctl_at 2 get kept | grep -qx value || fail "node 2 lost a value"
}

cluster_start
ctl put kept value >/dev/null

# A backup of node 3 is put back: it knows nothing of the start after it was made.
node_stop 3
cp -r "$(node_dir 3)" "$E2E_ROOT/backup"
node_start 3 existing
node_wait_ready 3 || fail "node 3 does not come back"
node_kill 3
mv "$(node_dir 3)" "$E2E_ROOT/newest"
mv "$E2E_ROOT/backup" "$(node_dir 3)"
for start in first second third; do
    : >"$(node_log 3)"
    node_start 3 existing
    expect_refused 3 'copy of its data directory' "old copy, $start start"
    expect_serving
done
rm -rf "$(node_dir 3)"
mv "$E2E_ROOT/newest" "$(node_dir 3)"
node_start 3 existing
node_wait_ready 3 || fail "node 3 does not come back with its own directory"

node_kill 3
rm -rf "$(node_dir 3)"
for state in existing new; do
    : >"$(node_log 3)"
    node_start 3 "$state"
    expect_refused 3 'disk|data|wiped|empty|another node|already' "wiped disk, started as $state"
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
expect_refused 3 'belongs' "copied data directory"
expect_serving

# Another cluster's node at our peers' doors.
rm -rf "$(node_dir 3)"
: >"$(node_log 3)"
TOKEN=another-cluster node_start 3 new
expect_refused 3 'cluster' "another cluster's node"
expect_serving
say "wiped_disk: passed"
