#!/usr/bin/env bash
# Goal: bad input gets a clear error, costs nothing and loses nothing.
# Method: (1) command lines and environments a node must refuse: exit code 2 for usage, 1 for a
# machine that does not fit, and one sentence that names what is wrong; (2) requests beyond a limit
# or malformed, sent raw: the code and text of etcd, every process still there, and everything
# written before still readable after each.
#
# KIND=etcd|flotilla (etcd: the second part only)
. "$(dirname "$0")/e2e.sh"

rawcall=$(cluster_find tests/e2e/rawcall)
loader=$(cluster_find tests/e2e/loader)

# flotillad ARGS must end by itself with CODE and a sentence that has PATTERN.
refuses() { # CODE PATTERN WHAT ARG...
    local code=0 expected=$1 pattern=$2 what=$3 out=$E2E_ROOT/refusal
    shift 3
    timeout 20 "${FLOTILLAD:-$(cluster_find api/flotillad)}" "$@" >"$out" 2>&1 </dev/null || code=$?
    ((code == expected)) || {
        cat "$out" >&2
        fail "$what: exit code $code instead of $expected"
    }
    grep -Eiq -- "$pattern" "$out" || {
        cat "$out" >&2
        fail "$what: nothing like /$pattern/ was said"
    }
    say "$what: $(grep -Ei -- "$pattern" "$out" | tail -n 1)"
}

single_node() { # DIR PORT: arguments of a cluster of one
    printf '%s\n' --data-dir "$1" --listen-client-urls "http://127.0.0.1:$2" \
        --listen-peer-urls "http://127.0.0.1:$(($2 + 1))" \
        --listen-metrics-urls "http://127.0.0.1:$(($2 + 2))"
}

if [[ $KIND == flotilla ]]; then
    port=$((BASE_PORT + 200))
    mapfile -t good < <(single_node "$E2E_ROOT/single" $port)
    refuses 0 'data-dir' 'help' --help
    refuses 2 'no-such-flag' 'unknown flag' "${good[@]}" --no-such-flag
    refuses 2 'unexpected|argument|extra' 'stray argument' "${good[@]}" stray
    refuses 2 'only ASCII' 'name of other characters' "${good[@]}" --name 'nöde'
    refuses 2 'flotillad: --locality: [^:]*$' 'bad locality' "${good[@]}" --locality 'dc=,rack'
    refuses 2 'initial-ranges' 'number out of bounds' "${good[@]}" --initial-ranges 0
    refuses 2 'initial-ranges' 'not a number' "${good[@]}" --initial-ranges many
    refuses 2 'listen-client-urls' 'bad URL' "${good[@]}" --listen-client-urls 'nonsense'
    refuses 2 'initial-cluster' 'bad initial cluster' "${good[@]}" --initial-cluster 'n1'
    : >"$E2E_ROOT/file"
    mapfile -t bad < <(single_node "$E2E_ROOT/file" $port)
    refuses 1 "$E2E_ROOT/file" 'data directory is a file' "${bad[@]}"
    mapfile -t bad < <(single_node "/proc/flotilla" $port)
    refuses 1 '/proc/flotilla' 'data directory cannot be made' "${bad[@]}"
    # Root may read everything: then somebody else tries, from a place that he can reach.
    closed=$(mktemp -d /tmp/flotilla-closed.XXXXXX)
    chmod 755 "$closed"
    mkdir -m 000 "$closed/data"
    cp "${FLOTILLAD:-$(cluster_find api/flotillad)}" "$closed/flotillad"
    as_nobody=()
    [[ $EUID -ne 0 ]] || as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    printf '#!/bin/sh\nexec %s %s "$@"\n' "${as_nobody[*]}" "$closed/flotillad" >"$closed/run"
    chmod 755 "$closed/run"
    mapfile -t bad < <(single_node "$closed/data" $port)
    FLOTILLAD=$closed/run refuses 1 "$closed/data .*ermission denied.*" \
        'data directory without permission' "${bad[@]}"
    rm -rf "$closed"
fi

cluster_start
for byte in '!' 0 9 F R a j w; do ctl put "$byte/before" "kept-$byte" >/dev/null; done
awk 'BEGIN { for (i = 0; i < 500; i++) printf "%c%d\tvalue %d\n", 33 + i % 94, i, i }' |
    "$loader" load --endpoints "$(cluster_endpoints)" --ledger "$E2E_ROOT/ledger" | tail -n 1

if [[ $KIND == flotilla ]]; then
    mapfile -t bad < <(single_node "$E2E_ROOT/single" "$(node_port 1)")
    refuses 1 "$(node_port 1)|in use" 'port in use' "${bad[@]}"
    rm -rf "$E2E_ROOT/single"
    mapfile -t bad < <(single_node "$(node_dir 1)" $((BASE_PORT + 200)))
    refuses 1 'lock|use|process' 'data directory in use' "${bad[@]}"
fi

# Nobody died, everything is there.
unharmed() { # WHAT
    local i
    for ((i = 1; i <= NODES; i++)); do node_alive "$i" || fail "$1: node $i is gone"; done
    "$loader" verify --endpoints "$(cluster_endpoints)" --ledger "$E2E_ROOT/ledger" >/dev/null ||
        fail "$1: something is lost"
}

# The answer to a raw call must begin with EXPECTED.
answers() { # EXPECTED WHAT ARG...
    local expected=$1 what=$2 got
    shift 2
    got=$("$rawcall" --endpoint "$(node_endpoint 2)" "$@") || fail "$what: no answer"
    [[ $got == "$expected"* ]] || fail "$what: \"$got\" instead of \"$expected\""
    say "$what: $got"
    unharmed "$what"
}

# Malformed messages: errors only, and an answer to every one.
malformed() { # WHAT ARG...
    local what=$1 got
    shift
    got=$("$rawcall" --endpoint "$(node_endpoint 2)" "$@") || fail "$what: a call was not answered"
    say "$what: ${got//$'\n'/, }"
    unharmed "$what"
}

answers 'INVALID_ARGUMENT: etcdserver: request is too large' 'value of 1.6 MiB' value 1677722
answers 'RESOURCE_EXHAUSTED: ' 'value of 3 MiB' value 3145728
answers 'OK' 'value of 1 MiB' value 1048576
answers 'INVALID_ARGUMENT: etcdserver: too many operations in txn request' 'txn of 129' ops 129
answers 'INVALID_ARGUMENT: etcdserver: key is not provided' 'empty key' empty-key
answers 'INVALID_ARGUMENT: ' 'txn nested 5000 deep' depth 5000
answers 'INVALID_ARGUMENT: ' 'txn nested 100000 deep' depth 100000
malformed 'random bytes' garbage 2000
malformed 'truncated txn' truncated
got=$(ctl get truncated-key)
[[ -z $got ]] || fail "a truncated txn was applied: $got"
say "bad_input: passed"
