#!/usr/bin/env bash
# Goal: nothing acknowledged is lost and every answer is linearizable while nodes die; afterwards
# all replicas hold the same.
# Method: concurrent clients (put, get, cas, delete, txn inside a range, ranges over several ranges)
# against three processes. The node that leads most is killed with SIGKILL and restarted, then the
# others in turn, then one is stopped (SIGSTOP) long enough to lose its leaderships and woken again.
# After healing every key is read through every node and replica hashes are compared. The recorded
# history must pass lincheck: an order exists, revisions agree with it, hashes are equal.
#
# KIND=etcd|flotilla; ROUNDS kills (4); SEED of the clients (random, printed).
. "$(dirname "$0")/e2e.sh"

ROUNDS=${ROUNDS:-4}
SEED=${SEED:-$((RANDOM * 32768 + RANDOM))}
history=$E2E_ROOT/history.jsonl

say "seed $SEED"
cluster_start
chaos_begin "$history" --clients 16 --pause-ms 25 --seed "$SEED"
chaos wait-ok 300 20000

victim=$(cluster_busiest)
for ((round = 1; round <= ROUNDS; round++)); do
    chaos fault "$victim" start "kill -9 node $victim leading $(node_leads "$victim") groups"
    node_kill "$victim"
    chaos wait 3000
    node_start "$victim" existing
    chaos fault "$victim" end "node $victim started"
    node_wait_ready "$victim" || fail "node $victim does not come back"
    chaos wait-ok 300 20000
    victim=$((victim % NODES + 1))
done

victim=$(cluster_busiest)
chaos fault "$victim" start "SIGSTOP node $victim leading $(node_leads "$victim") groups"
kill -STOP "$(node_pid "$victim")"
chaos wait 4000
kill -CONT "$(node_pid "$victim")"
chaos fault "$victim" end "SIGCONT node $victim"
chaos wait-ok 300 20000

chaos stop
chaos counts
chaos settle 30
chaos_end
lincheck "$history" || fail "the history is not what a correct store answers (seed $SEED)"
say "chaos: passed"
