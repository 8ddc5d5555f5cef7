#!/usr/bin/env bash
# Goal: /metrics is what Prometheus expects, /health, /livez and /readyz tell the truth, a question
# about anything else is a 404, and every follower gets what was written though nobody writes on.
# Method: curl against every node; promtool checks the text; readiness is watched while the cluster
# loses its quorum and gets it back; the worst lag of every node is watched until it is 0.
#
# KIND=etcd|flotilla (etcd 3.4 has no /livez and /readyz: those parts are left out, visibly)
. "$(dirname "$0")/e2e.sh"

# HTTP status of a page of node I; 000 when nobody answers.
status_of() { # I PATH
    curl -s -o "$E2E_ROOT/page" -w '%{http_code}' --max-time 5 "$(node_http "$1")$2" || true
}

expect_status() { # I PATH STATUS
    local got
    got=$(status_of "$1" "$2")
    [[ $got == "$3" ]] || fail "node $1 $2: status $got instead of $3: $(head -c 200 "$E2E_ROOT/page")"
}

# Polls for up to 20 s.
wait_status() { # I PATH STATUS
    local end=$((SECONDS + 20))
    while [[ $(status_of "$1" "$2") != "$3" ]]; do
        ((SECONDS < end)) || fail "node $1 $2: never became $3"
        node_pause
    done
}

# Every range and the placement group have exactly one leader. Pictures of different nodes are of
# different moments: while a leadership moves, the sum may be off.
wait_leaderships() {
    local end=$((SECONDS + 20)) i leads
    while :; do
        leads=0
        for ((i = 1; i <= NODES; i++)); do leads=$((leads + $(node_leads "$i"))); done
        ((leads != RANGES + 1)) || return 0
        ((SECONDS < end)) || fail "$leads leaderships of $((RANGES + 1)) groups"
        node_pause
    done
}

# Followers that no quorum waits for get their entries a little later, and nothing but that makes
# them: the lag of every group comes to 0 without another write.
wait_no_lag() {
    local end=$((SECONDS + 20)) i lag
    for ((i = 1; i <= NODES; i++)); do
        while :; do
            expect_status "$i" /metrics 200
            lag=$(awk '/^flotilla_raft_log_lag_entries_worst\{/ {n++; sum += $2}
                       END {print (n > 0 ? sum : "none")}' "$E2E_ROOT/page")
            [[ $lag != 0 ]] || break
            ((SECONDS < end)) || fail "node $i: its groups stay behind, $lag entries"
            node_pause
        done
    done
}

cluster_start
for key in '!a' 0a 9a Fa Ra aa ja wa; do ctl put "$key" v >/dev/null; done
ctl get '' --prefix >/dev/null

# A node hears of the leaders of ranges it did not ask a little later than those that elected them.
if [[ $KIND == flotilla ]]; then
    for ((i = 1; i <= NODES; i++)); do wait_status "$i" /readyz 200; done
fi

for ((i = 1; i <= NODES; i++)); do
    expect_status "$i" /metrics 200
    page=$(cat "$E2E_ROOT/page")
    if command -v promtool >/dev/null; then
        promtool check metrics <<<"$page" >"$E2E_ROOT/promtool" 2>&1 || {
            [[ $KIND == etcd ]] || fail "node $i: promtool refuses: $(cat "$E2E_ROOT/promtool")"
        }
    else
        say 'promtool: skipped, not installed'
    fi
    say "node $i: $(grep -vc '^#' <<<"$page") series in $(grep -c '^# TYPE' <<<"$page") families"
    expect_status "$i" /health 200
    grep -q '"health": *"true"' "$E2E_ROOT/page" || fail "node $i /health: $(cat "$E2E_ROOT/page")"
    expect_status "$i" /no-such-page 404
done

if [[ $KIND == flotilla ]]; then
    for ((i = 1; i <= NODES; i++)); do expect_status "$i" /livez 200; done
    wait_leaderships
    wait_no_lag
else
    say 'livez, readyz: skipped, etcd 3.4 has none'
fi

# Without a quorum the last node lives but is neither healthy nor ready.
node_kill 2
node_kill 3
wait_status 1 /health 503
if [[ $KIND == flotilla ]]; then
    wait_status 1 /readyz 503
    expect_status 1 /livez 200
fi
node_start 2 existing
node_start 3 existing
wait_status 1 /health 200
[[ $KIND != flotilla ]] || wait_status 1 /readyz 200
say "metrics: passed"
