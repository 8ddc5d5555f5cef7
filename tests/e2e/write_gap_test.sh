#!/usr/bin/env bash
# Goal: after kill -9 of a leader writing goes on within LEADER_GAP_MS; kill -9 of a follower is not
# noticed by clients of the others.
# Method: many clients write to every range; the node that leads most is killed and restarted, three
# times; the longest stretch without an acknowledged write to a range is the gap. Then one range
# only: a node that leads nothing is killed while clients use the other two; no operation may fail
# and the gap must stay below FOLLOWER_GAP_MS.
#
# KIND=etcd|flotilla
. "$(dirname "$0")/e2e.sh"

LEADER_GAP_MS=${LEADER_GAP_MS:-3000}
FOLLOWER_GAP_MS=${FOLLOWER_GAP_MS:-500}

# Largest gap that lincheck reports; the lines are shown.
largest_gap() { # HISTORY
    lincheck "$1" >"$E2E_ROOT/report" || {
        cat "$E2E_ROOT/report" >&2
        fail "the history is not what a correct store answers"
    }
    grep '^write gap' "$E2E_ROOT/report" >&2
    awk '/^write gap/ && $3 > most { most = $3 } END { print most + 0 }' "$E2E_ROOT/report"
}

cluster_start
chaos_begin "$E2E_ROOT/leader.jsonl" --clients 32 --pause-ms 10 --timeout-ms 1000
chaos wait-ok 1000 20000
for round in 1 2 3; do
    victim=$(cluster_busiest)
    chaos fault "$victim" start "kill -9 node $victim leading $(node_leads "$victim") groups ($round)"
    node_kill "$victim"
    chaos wait 5000
    node_start "$victim" existing
    node_wait_ready "$victim" || fail "node $victim does not come back"
    chaos wait-ok 1000 20000
done
chaos stop
chaos counts
chaos_end
gap=$(largest_gap "$E2E_ROOT/leader.jsonl")
say "leader killed: longest write gap $gap ms, at most $LEADER_GAP_MS wanted"
((gap <= LEADER_GAP_MS)) || fail "write gap of $gap ms after the kill of a leader"
cluster_stop || fail "a node does not stop"

# A cluster with one range, so that there is a node that leads nothing.
export RANGES=1 # read by cluster.sh
cluster_start
victim=$(cluster_busiest)
for ((i = 1; i <= NODES; i++)); do
    ((i == victim)) || (($(node_leads "$i") > 0)) || follower=$i
done
[[ -n ${follower:-} ]] || fail "every node leads something"
endpoints=''
for ((i = 1; i <= NODES; i++)); do
    ((i == follower)) || endpoints+=",$(node_endpoint "$i")"
done
chaos_begin "$E2E_ROOT/follower.jsonl" --endpoints "${endpoints#,}" --clients 32 --pause-ms 10
chaos wait-ok 1000 20000
chaos fault "$follower" start "kill -9 node $follower, a follower"
node_kill "$follower"
chaos wait 5000
chaos stop
counts=$(chaos counts)
chaos_end
gap=$(largest_gap "$E2E_ROOT/follower.jsonl")
say "follower killed: $counts; longest write gap $gap ms, at most $FOLLOWER_GAP_MS wanted"
[[ $counts == *"failed 0 unknown 0" ]] || fail "clients noticed the kill of a follower: $counts"
((gap <= FOLLOWER_GAP_MS)) || fail "write gap of $gap ms after the kill of a follower"
say "write_gap: passed"
