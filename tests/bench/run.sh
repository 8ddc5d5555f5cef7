#!/usr/bin/env bash
# Measures flotilla beside etcd: the same load, alternating, on the same disk.
#
# Every repetition starts each system in turn with empty data (three nodes on loopback, fsync on,
# data under one directory), runs the load with each number of clients, and stops it. The medians
# over the repetitions are printed: puts/s, latency, CPU of all three server processes together per
# put (from /proc/PID/stat at the edges of the measured window), and the ratios to etcd. Nothing here
# fails because something is slow.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/lib/cluster.sh
. "$here/tests/lib/cluster.sh"

usage() {
    cat <<'END'
usage: ./dev bench [options]

  --quick            one repetition, 2 s, 8 ranges, no check perf
  --reps N           repetitions (3)
  --seconds S        measured time of one run (5), after 1 s of warming up
  --clients LIST     numbers of clients (1,64,512)
  --ranges LIST      numbers of ranges flotilla is measured with (1,8,64)
  --reads PERCENT    share of linearizable gets (0)
  --value-size B     bytes of a value (256)
  --keys N           size of the key space (100000)
  --no-etcd          flotilla alone
  --no-check-perf    without `etcdctl check perf` (2 minutes)
  --dir DIR          where data directories are made (/var/tmp)
  --json FILE        every run, one JSON object per line
END
}

REPS=3 SECONDS_EACH=5 CLIENTS=1,64,512 RANGE_LIST=1,8,64 READS=0 VALUE_SIZE=256 KEYS=100000
WITH_ETCD=yes CHECK_PERF=yes DIR=/var/tmp JSON=''
while (($#)); do
    case $1 in
    --quick) REPS=1 SECONDS_EACH=2 RANGE_LIST=8 CHECK_PERF='' ;;
    --no-etcd) WITH_ETCD='' ;;
    --no-check-perf) CHECK_PERF='' ;;
    --help | -h)
        usage
        exit 0
        ;;
    --reps | --seconds | --clients | --ranges | --reads | --value-size | --keys | --dir | --json)
        (($# > 1)) || {
            usage >&2
            exit 2
        }
        case $1 in
        --reps) REPS=$2 ;;
        --seconds) SECONDS_EACH=$2 ;;
        --clients) CLIENTS=$2 ;;
        --ranges) RANGE_LIST=$2 ;;
        --reads) READS=$2 ;;
        --value-size) VALUE_SIZE=$2 ;;
        --keys) KEYS=$2 ;;
        --dir) DIR=$2 ;;
        --json) JSON=$2 ;;
        esac
        shift
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
    shift
done

WORK=$(mktemp -d "$DIR/flotilla-bench.XXXXXX")
ROOT=$WORK/data
RUNS=${JSON:-$WORK/runs.jsonl}
: >"$RUNS"

finish() {
    local status=$?
    trap - EXIT
    cluster_kill
    rm -rf "$WORK"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

note() { printf '%s\n' "$*" >&2; }

# --- measuring -----------------------------------------------------------------------------------

IFS=, read -ra client_numbers <<<"$CLIENTS"
IFS=, read -ra range_numbers <<<"$RANGE_LIST"
systems=()
if [[ -n $WITH_ETCD ]]; then
    if command -v etcd >/dev/null; then
        systems+=(etcd)
    else
        note 'etcd: left out, etcd-server is not installed'
    fi
fi
for ranges in "${range_numbers[@]}"; do systems+=("flotilla/$ranges"); done

select_system() { # etcd|flotilla/RANGES
    KIND=${1%%/*}
    RANGES=${1##*/}
}

# One run becomes one line of $RUNS with the system and the repetition added.
measure() { # SYSTEM REPETITION CLIENTS
    local out
    out=$("$loadgen" --endpoints "$(cluster_endpoints)" --clients "$3" --duration "$SECONDS_EACH" \
        --warmup 1 --reads "$READS" --value-size "$VALUE_SIZE" --keys "$KEYS" --seed "$2" \
        --pids "$(cluster_pids)" --json) || {
        note "  $1, $3 clients: no answer"
        return 0
    }
    jq -c --arg system "$1" --argjson rep "$2" '{system: $system, rep: $rep} + .' <<<"$out" >>"$RUNS"
    note "  $(jq -r '"\(.clients) clients: \(.ops_per_s | round)/s, \(.server_us_per_op) us of " +
        "server CPU per operation" + (if .errors > 0 then ", \(.errors) errors" else "" end)' <<<"$out")"
}

cluster_build //tests/bench:loadgen
loadgen=${LOADGEN:-$(cluster_find tests/bench/loadgen)}
note "$(nproc) cores, $(awk -F': ' '/model name/ { print $2; exit }' /proc/cpuinfo), data on $DIR ($(stat -f -c %T "$DIR"))"
for ((rep = 1; rep <= REPS; rep++)); do
    for system in "${systems[@]}"; do
        note "repetition $rep of $REPS: $system"
        select_system "$system"
        if ! cluster_start; then
            note "  does not start"
            cluster_kill
            continue
        fi
        for clients in "${client_numbers[@]}"; do measure "$system" "$rep" "$clients"; done
        cluster_stop || true
    done
done

# --- the table -----------------------------------------------------------------------------------

medians() {
    jq -sr '
        def median: sort | if length == 0 then 0 elif length % 2 == 1 then .[length / 2 | floor]
            else (.[length / 2 - 1] + .[length / 2]) / 2 end;
        def part: if .put.count > 0 then .put else .get end;
        group_by([.clients, (.system | split("/")[0]), (.system | split("/")[1] // 0 | tonumber)])[] | [
            (.[0].clients), .[0].system,
            (map(.ops_per_s) | median), (map(.ops_per_s) | min), (map(.ops_per_s) | max),
            (map(part.p50_us) | median) / 1000, (map(part.p99_us) | median) / 1000,
            (map(.server_us_per_op) | median), (map(.client_us_per_op) | median),
            (map(.errors) | add)
        ] | @tsv' "$RUNS"
}

what=puts
((READS == 0)) || what="operations ($READS % gets)"
printf '\n%s, values of %s bytes, median of %s run(s) of %s s\n\n' "$what" "$VALUE_SIZE" "$REPS" "$SECONDS_EACH"
medians | awk -F'\t' '
    BEGIN {
        printf "%7s  %-12s %9s  %-15s %9s %9s %10s %10s %8s %8s\n", "clients", "system", "ops/s",
            "min-max", "p50 ms", "p99 ms", "server us", "client us", "ops/s", "CPU"
        printf "%7s  %-12s %9s  %-15s %9s %9s %10s %10s %17s\n", "", "(/ranges)", "", "", "", "",
            "per op", "per op", "ratio to etcd"
    }
    { row[NR] = $0; if ($2 == "etcd") { ops[$1] = $3; cpu[$1] = $8 } }
    END {
        for (i = 1; i <= NR; i++) {
            split(row[i], f, "\t")
            speed = (ops[f[1]] > 0) ? sprintf("%.2f", f[3] / ops[f[1]]) : "-"
            cost = cpu[f[1]] > 0 ? sprintf("%.2f", f[8] / cpu[f[1]]) : "-"
            if (i > 1 && f[1] != last) print ""
            last = f[1]
            printf "%7d  %-12s %9.0f  %-15s %9.2f %9.2f %10.1f %10.1f %8s %8s%s\n", f[1], f[2], f[3],
                sprintf("%.0f-%.0f", f[4], f[5]), f[6], f[7], f[8], f[9], speed, cost,
                (f[10] > 0 ? sprintf("  %d errors", f[10]) : "")
        }
    }'

# --- etcdctl check perf --------------------------------------------------------------------------

if [[ -n $CHECK_PERF ]]; then
    printf '\netcdctl check perf, flotilla with 8 ranges\n'
    for load in m l; do
        select_system flotilla/8
        note "etcdctl check perf --load=$load: one minute"
        if cluster_start; then
            printf '  --load=%s\n' "$load"
            { etcdctl --endpoints "$(cluster_endpoints)" check perf --load="$load" 2>&1 || true; } |
                tr '\r' '\n' | grep -E 'PASS|FAIL|Slowest|Error' | sed 's/^/    /' || true
        fi
        cluster_stop || true
    done
fi
