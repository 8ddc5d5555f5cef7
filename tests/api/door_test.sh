#!/usr/bin/env bash
# Goal: flotillad and flotillactl as an operator meets them: flags, refusals, signals, ports, pages,
# and the real etcdctl and promtool at the doors.
# Method: the real programs, over a node in memory, on free ports of loopback.
#
# usage: door_test.sh FLOTILLAD FLOTILLACTL
set -uo pipefail
flotillad=$1 flotillactl=$2
work=$(mktemp -d)
server=
failures=0

finish() {
    [[ -n $server ]] && kill -KILL "$server" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT

failed() { # SENTENCE
    echo "FAILED: $1"
    failures=$((failures + 1))
}

# Runs a command; its exit code must be the first argument, and its whole output (both streams) must
# hold the second one.
expect() { # CODE TEXT COMMAND...
    local want=$1 text=$2 out code
    shift 2
    out=$("$@" 2>&1)
    code=$?
    [[ $code == "$want" ]] || failed "exit code $code, not $want: $*: $out"
    [[ $out == *"$text"* ]] || failed "'$text' is missing: $*: $out"
}

# A port that nobody listens on now, below those that the kernel gives to whoever dials.
port() {
    local p
    while :; do
        p=$((RANDOM % 12000 + 20000))
        (: <>/dev/tcp/127.0.0.1/$p) 2>/dev/null || { echo "$p" && return; }
    done
}

http() { # PATH
    exec 3<>"/dev/tcp/127.0.0.1/$metrics" || return 1
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$1" >&3
    cat <&3
    exec 3<&-
}

body() { # PATH
    http "$1" | sed '1,/^\r$/d'
}

clients=$(port) peers=$(port) metrics=$(port)
export FLOTILLACTL_ENDPOINTS=127.0.0.1:$clients ETCDCTL_API=3 ETCDCTL_ENDPOINTS=127.0.0.1:$clients
flags=(--listen-client-urls "http://127.0.0.1:$clients"
    --listen-peer-urls "http://127.0.0.1:$peers"
    --listen-metrics-urls "http://127.0.0.1:$metrics")

# Starts the server and returns when it says that it is ready.
start() { # COMMAND-PREFIX...
    : >"$work/log"
    "$@" "$flotillad" "${flags[@]}" 2>"$work/log" &
    server=$!
    for _ in {1..300}; do
        grep -q event=ready "$work/log" && return
        kill -0 "$server" 2>/dev/null || break
        read -rt 0.1 <> <(:)
    done
    failed "the server did not start: $(cat "$work/log")"
    exit 1
}

stop() { # SIGNAL
    kill -"$1" "$server"
    wait "$server"
    code=$?
    server=
    [[ $code == 0 ]] || failed "SIG$1 ended the server with $code: $(cat "$work/log")"
    grep -q event=stopped "$work/log" || failed "SIG$1: no line about the end"
}

usage() {
    expect 0 "usage: flotillad" "$flotillad" --help
    expect 0 "flotillad " "$flotillad" --version
    expect 2 "did you mean --initial-cluster?" "$flotillad" --initial-clutser=x
    expect 2 "--locality: " "$flotillad" --locality rack
    expect 2 "does not start with http://" "$flotillad" --listen-client-urls localhost:1
    expect 0 "usage: flotillactl COMMAND" "$flotillactl" help
    expect 0 "examples:" "$flotillactl" bench --help
    expect 0 "flotillactl " "$flotillactl" version
    expect 2 "usage: flotillactl COMMAND" "$flotillactl"
    expect 2 "there is no command 'frob'" "$flotillactl" frob
    expect 2 "unknown flag --prefx" "$flotillactl" get --prefx a
    expect 2 "give KEY and VALUE" "$flotillactl" put a
    expect 2 "is not a number from 1 to 10000" "$flotillactl" bench put --clients 0
    expect 2 "-o takes 'table' or 'json'" "$flotillactl" status -o yaml
    expect 2 "--endpoints:" "$flotillactl" status --endpoints http://nowhere
    expect 1 "nobody answers at 127.0.0.1:1" "$flotillactl" --endpoints 127.0.0.1:1 get a
}

keys_with_flotillactl() {
    expect 0 "OK, revision" "$flotillactl" put color blue
    expect 0 "blue" "$flotillactl" get color
    expect 0 '"value":"Ymx1ZQ=="' "$flotillactl" get color -o json
    expect 0 "OK" bash -c "printf 'from a pipe' | '$flotillactl' put piped -"
    expect 0 "from a pipe" "$flotillactl" get --endpoints "127.0.0.1:1,127.0.0.1:$clients" piped
    expect 0 "2 deleted" "$flotillactl" del --prefix ''
    expect 1 "etcdserver: key is not provided" "$flotillactl" get ''
    expect 0 '"operations_per_second"' "$flotillactl" bench put --duration 1 --keys 10 -o json
    expect 0 "throughput" "$flotillactl" bench get --duration 1 --keys 10
}

cluster_with_flotillactl() {
    expect 0 "LEADERS" "$flotillactl" status
    expect 0 '"leaders":3' "$flotillactl" status -o json
    expect 0 '"groups_without_leader":0' "$flotillactl" status -o json
    expect 0 "dc=d3" "$flotillactl" nodes
    expect 0 '"peer_urls":["http://127.0.0.1:32380"]' "$flotillactl" nodes -o json
    expect 0 "(placement)" "$flotillactl" ranges
    expect 0 '"role":"leader"' "$flotillactl" ranges -o json
    if command -v python3 >/dev/null; then
        for what in status nodes ranges; do
            "$flotillactl" "$what" -o json | python3 -c 'import json,sys; json.load(sys.stdin)' ||
                failed "$what -o json is no JSON"
        done
    fi
}

# The client every etcd user has.
keys_with_etcdctl() {
    command -v etcdctl >/dev/null || return 0
    expect 0 "OK" etcdctl put foo bar
    expect 0 "bar" etcdctl get foo
    expect 0 '"version":1' etcdctl get foo -w json
    expect 0 "bar" etcdctl put --prev-kv foo baz
    expect 0 "foo" etcdctl get --prefix --keys-only f
    expect 0 "SUCCESS" bash -c "printf 'value(\"foo\") = \"baz\"\n\nput foo 1\nget foo\n\ndel foo\n\n' |
        etcdctl txn"
    expect 0 "1" etcdctl del foo
    expect 0 "compacted revision 3" etcdctl compaction 3
    expect 1 "required revision has been compacted" etcdctl compaction 3
    expect 0 "3.5" etcdctl endpoint status
    expect 0 "is healthy" etcdctl endpoint health
    expect 0 "n2" etcdctl member list
    expect 0 "" etcdctl alarm list
    expect 0 "127.0.0.1:$clients, " etcdctl endpoint hashkv
    expect 1 "key is not provided" etcdctl put '' x
    expect 1 "request is too large" bash -c "head -c 1600000 /dev/zero | etcdctl put big"
}

pages() {
    [[ $(http /health) == "HTTP/1.1 200 OK"*'{"health":"true","reason":""}'* ]] ||
        failed "/health: $(http /health)"
    [[ $(body '/readyz?verbose') == *'[+]leader ok'* ]] || failed "/readyz: $(body /readyz)"
    [[ $(body /livez) == ok ]] || failed "/livez"
    [[ $(body /version) == *etcdserver* ]] || failed "/version"
    [[ $(http /nothing) == "HTTP/1.1 404 "* ]] || failed "/nothing is there"
    exec 3<>"/dev/tcp/127.0.0.1/$metrics"
    printf 'POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc' >&3
    [[ $(cat <&3) == "HTTP/1.1 405 "* ]] || failed "POST is served"
    exec 3<&-
    [[ $(body /metrics) == *'grpc_server_handled_total{'*'grpc_method="Put",grpc_code="OK"'* ]] ||
        failed "no Put was counted"
    [[ $(body /metrics) == *'flotilla_request_seconds_bucket{method="Put",le="'* ]] ||
        failed "no latency of a Put"
    if command -v promtool >/dev/null; then
        body /metrics | promtool check metrics || failed "promtool dislikes /metrics"
        body '/metrics/groups?top=5' | promtool check metrics || failed "and /metrics/groups"
    fi
}

# A second server on the same ports says which one and what to do.
ports_in_use() {
    expect 1 "port $clients on 127.0.0.1 is in use" "$flotillad" "${flags[@]}"
    expect 1 "with --listen-metrics-urls" "$flotillad" "${flags[@]}" \
        --listen-client-urls "http://127.0.0.1:$(port)"
    expect 0 "OK" "$flotillactl" put still here
}

# Out of file descriptors: connections are turned away, and taken again when there are some.
descriptors_run_out() {
    local fd fds=()
    start prlimit --nofile=48
    for _ in {1..60}; do
        { exec {fd}<>"/dev/tcp/127.0.0.1/$clients"; } 2>/dev/null && fds+=("$fd")
    done
    # The last one is turned away: it ends without a byte. Until then the server is still accepting.
    IFS= read -r -t 30 -u "${fds[-1]}" || true
    for fd in "${fds[@]}"; do
        exec {fd}<&-
    done
    expect 0 "OK" "$flotillactl" put after "the flood"
    [[ $(body /metrics) == *"flotilla_connections_refused_total "[1-9]* ]] ||
        failed "no connection was turned away"
    stop TERM
}

usage
start env
keys_with_flotillactl
cluster_with_flotillactl
keys_with_etcdctl
pages
ports_in_use
stop TERM
start env
stop INT
descriptors_run_out
[[ $failures == 0 ]]
