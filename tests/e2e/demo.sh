#!/usr/bin/env bash
# The demo: three nodes in three datacentres (on loopback) hold the machine's package index in eight
# ranges; the node that leads most of them is killed while writing goes on; every acknowledged record
# is verified; the cluster is left running for you to try.
#
# KIND=etcd runs the same against etcd, which tests this script.
# shellcheck disable=SC2034  # the variables in capitals are read by cluster.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

KIND=${KIND:-flotilla}
RANGES=''
BASE_PORT=${DEMO_PORT:-23780}
HOME_DIR=${XDG_STATE_HOME:-$HOME/.local/state}/flotilla-demo
ROOT=$HOME_DIR/cluster
TOKEN=flotilla-demo
LAUNCHER=(setsid)
# shellcheck source=tests/lib/cluster.sh
. "$here/tests/lib/cluster.sh"

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m' LIVE=yes
else
    BOLD='' DIM='' GREEN='' RED='' PLAIN='' LIVE=''
fi

step() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
say() { printf '  %s\n' "$*"; }
good() { printf '  %sok%s  %s\n' "$GREEN" "$PLAIN" "$*"; }
die() {
    printf '%sdemo: %s%s\n' "$RED" "$*" "$PLAIN" >&2
    exit 1
}

usage() {
    cat <<END
usage: ./dev demo [--stop]

Starts a three-node cluster, loads the package index, kills the busiest leader while writing goes on,
verifies every acknowledged record, and leaves the cluster running. A new run replaces the last one.

  --stop   stop the cluster of the last run; its data stay until the next run

Data and logs: $HOME_DIR
END
}

# Process ids of the last run that are still its nodes: they have our data directory on their command
# line.
last_pids() {
    local pid
    [[ -f $HOME_DIR/pids ]] || return 0
    while read -r pid; do
        if tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$ROOT/node"; then
            printf '%s\n' "$pid"
        fi
    done <"$HOME_DIR/pids"
}

stop_last() {
    local pid
    local -a pids
    mapfile -t pids < <(last_pids)
    for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        timeout 20 tail -s 0.1 --pid="$pid" -f /dev/null || kill -KILL "$pid" 2>/dev/null || true
    done
    rm -f "$HOME_DIR/pids"
    printf '%s\n' "${#pids[@]}"
}

remember_pids() { cluster_pids | tr ',' '\n' >"$HOME_DIR/pids"; }

case ${1:-} in
'') ;;
--stop)
    printf 'stopped %s nodes\n' "$(stop_last)"
    exit 0
    ;;
--help | -h)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac

DONE=''
at_end() {
    local status=$?
    trap - EXIT
    if [[ -z $DONE ]]; then
        cluster_kill
        rm -f "$HOME_DIR/pids"
        ((status == 0)) || printf '%sThe demo failed; logs are in %s%s\n' "$RED" "$ROOT" "$PLAIN" >&2
    fi
    exit "$status"
}

# --- records -------------------------------------------------------------------------------------

# 30 000 stanzas of the package index; without one, the files of this machine.
write_records() { # FILE
    { apt-cache dumpavail 2>/dev/null || true; } |
        awk 'BEGIN { RS = ""; ORS = "\n\n" } NR <= 30000' >"$1"
    SOURCE='packages known to apt'
    PREFIX=pkg/
    (($(grep -c '^Package: ' "$1") < 20000)) || return 0
    find /usr /etc /var/lib -xdev -printf '%p\t%s bytes, mode %m, changed %TY-%Tm-%Td %TH:%TM\n' \
        2>/dev/null | head -n 30000 >"$1" || true
    SOURCE='files of this machine (apt knows no packages)'
    PREFIX='file'
}

# --- loading, with a kill in the middle ------------------------------------------------------------

show_progress() { # DONE TOTAL
    local width=40 filled
    [[ -n $LIVE ]] || return 0
    filled=$(($1 * width / $2))
    printf '\r  [%-*s] %d of %d' "$width" "$(printf '%*s' "$filled" '' | tr ' ' '=')" "$1" "$2"
}

kill_busiest() { # DONE
    local i leads=''
    victim=$(cluster_busiest)
    for ((i = 1; i <= NODES; i++)); do leads+=", node $i leads $(node_leads "$i")"; done
    [[ -z $LIVE ]] || printf '\r\e[K'
    say "at $1 records: ${leads#, }"
    node_kill "$victim"
    say "${RED}kill -9 node $victim${PLAIN}; writing goes on"
}

load() {
    local done_count word total line=''
    exec {progress}< <("$loader" load --endpoints "$(cluster_endpoints)" --prefix "$PREFIX" \
        --ledger "$HOME_DIR/ledger" <"$HOME_DIR/records" 2>&1)
    while read -r done_count word total rest <&"$progress"; do
        if [[ $word != of ]]; then
            line="$done_count $word $total $rest"
            break
        fi
        show_progress "$done_count" "$total"
        if [[ -z $victim ]] && ((done_count > total * 2 / 5)); then kill_busiest "$done_count"; fi
    done
    exec {progress}<&-
    [[ -z $LIVE ]] || printf '\r\e[K'
    [[ $line == loaded* ]] || die "loading failed: $line"
    [[ -n $victim ]] || kill_busiest "all"
    good "$line"
}

verify() {
    local line
    line=$("$loader" verify --endpoints "$(cluster_endpoints)" --ledger "$HOME_DIR/ledger" | tail -n 1) ||
        die "acknowledged records are lost: $line"
    good "$line"
}

# --- the run ---------------------------------------------------------------------------------------

cluster_build //tests/e2e:loader
loader=${LOADER:-$(cluster_find tests/e2e/loader)}
started=$SECONDS
stop_last >/dev/null
trap at_end EXIT
trap 'exit 130' INT TERM
rm -rf "$HOME_DIR"
mkdir -p "$HOME_DIR"

step 'Records'
write_records "$HOME_DIR/records"
split_keys=$("$loader" keys --prefix "$PREFIX" --cuts 8 <"$HOME_DIR/records" | paste -sd,)
say "$SOURCE, cut into 8 ranges at ${DIM}${split_keys//,/ }${PLAIN}"

step 'Three nodes in three datacentres'
[[ $KIND == etcd ]] || EXTRA_ARGS=(--initial-split-keys "$split_keys")
cluster_start || die 'the cluster does not start'
remember_pids
for ((i = 1; i <= NODES; i++)); do
    good "node n$i in dc$i  clients $(node_endpoint "$i")  console $(node_http "$i")"
done

step 'Loading, and killing the busiest leader half way'
victim=''
load

step 'Is everything there?'
verify

step "Node $victim comes back"
node_start "$victim" existing
remember_pids
node_wait_ready "$victim" || die "node $victim does not come back"
good "node $victim answers again"
verify
DONE=yes

endpoints=$(cluster_endpoints)
step "Running. Try (after $((SECONDS - started)) s):"
if [[ $KIND == flotilla ]]; then
    ctl_path=${FLOTILLACTL:-$(cluster_find api/flotillactl)}
    cat <<END
  export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=$endpoints
  etcdctl get pkg/bash
  etcdctl put hello world && etcdctl get hello
  etcdctl get pkg/lib --prefix --keys-only --limit 5
  etcdctl endpoint status -w table
  ${ctl_path#"$PWD/"} --endpoints $endpoints status
  ${ctl_path#"$PWD/"} --endpoints $endpoints ranges
  ${ctl_path#"$PWD/"} --endpoints $endpoints nodes
  curl -s $(node_http 1)/metrics | grep flotilla_groups
  kill -9 $(node_pid 1)      # or any other: ${NODE_PID[*]}
  ./dev demo --stop
END
else
    printf '  etcdctl --endpoints %s get pkg/bash\n' "$endpoints"
fi
