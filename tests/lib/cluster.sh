# shellcheck shell=bash
# Clusters of real processes on loopback, for tests, benchmarks and the demo. Source it.
#
# A cluster is described by variables; every function works on the current ones:
#   KIND         etcd | flotilla
#   ROOT         directory of its data and logs (created)
#   NODES        number of nodes (3)
#   BASE_PORT    node i listens on BASE_PORT+10*i: clients +0, peers +1, HTTP +2
#   RANGES       flotilla: ranges at the start (8); empty: EXTRA_ARGS says how to cut
#   EXTRA_ARGS   array of further arguments for every node
#   LAUNCHER     array of a command that starts each node (setsid: it outlives the script)
# Binaries: $FLOTILLAD and $FLOTILLACTL, else those of the build; etcd and etcdctl from PATH.
#
#   cluster_start            all nodes, then waits until a write succeeds
#   cluster_stop             SIGTERM to all, waits for their end
#   node_start I [STATE]     node I (1..NODES); STATE new|existing
#   node_stop I              SIGTERM, waits
#   node_kill I              SIGKILL, waits
#   node_wait_ready I        until node I answers a linearizable read
#   node_wait_exit I SECONDS its exit code; fails when it has not ended by then
#   node_pid I / node_alive I / node_endpoint I / node_http I / node_log I / node_dir I
#   cluster_busiest          number of the node that leads most groups
#   node_leads I             groups that node I leads
#   cluster_endpoints        comma list
#   cluster_pids             comma list
#   ctl ARGS...              etcdctl on all endpoints; ctl_at I ARGS... on one
#
# Every wait polls a real answer and has a limit; nothing sleeps blindly.

# Ports below the ephemeral ones, different for scripts that run at the same time.
RANGES=${RANGES-8}
: "${NODES:=3}" "${BASE_PORT:=$((10000 + $$ % 500 * 40))}" "${READY_SECONDS:=30}"
declare -p EXTRA_ARGS >/dev/null 2>&1 || EXTRA_ARGS=()
declare -p LAUNCHER >/dev/null 2>&1 || LAUNCHER=()
declare -A NODE_PID=()
declare -A NODE_EXIT=()
export ETCDCTL_API=3

cluster_die() {
    printf 'cluster: %s\n' "$*" >&2
    exit 1
}

# A program of the build, in Bazel's runfiles or in a checkout.
cluster_find() { # PATH
    local here path
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    for path in "$here/$1" "$here/bazel-bin/$1"; do
        if [[ -f $path && -x $path ]]; then
            printf '%s\n' "$path"
            return
        fi
    done
    cluster_die "$1 is not built"
}

# Builds targets when called in a checkout; inside Bazel's runfiles they are there already.
cluster_build() { # TARGET...
    local here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
    [[ -f $here/WORKSPACE ]] || return 0
    (cd "$here" && bazel build --ui_event_filters=-info,-debug "$@") || cluster_die 'the build failed'
}

flotillactl() { "${FLOTILLACTL:-$(cluster_find api/flotillactl)}" "$@"; }

node_port() { printf '%s\n' $((BASE_PORT + 10 * $1)); }
node_endpoint() { printf '127.0.0.1:%s\n' "$(node_port "$1")"; }
node_peer_url() { printf 'http://127.0.0.1:%s\n' $(($(node_port "$1") + 1)); }
node_http() { printf 'http://127.0.0.1:%s\n' $(($(node_port "$1") + 2)); }
node_dir() { printf '%s/node%s\n' "$ROOT" "$1"; }
node_log() { printf '%s/node%s.log\n' "$ROOT" "$1"; }
node_pid() { printf '%s\n' "${NODE_PID[$1]:-}"; }
node_alive() { [[ -n ${NODE_PID[$1]:-} ]] && kill -0 "${NODE_PID[$1]}" 2>/dev/null; }

cluster_endpoints() {
    local i list=''
    for ((i = 1; i <= NODES; i++)); do list+=",$(node_endpoint "$i")"; done
    printf '%s\n' "${list#,}"
}

cluster_pids() {
    local i list=''
    for ((i = 1; i <= NODES; i++)); do list+=",${NODE_PID[$i]}"; done
    printf '%s\n' "${list#,}"
}

cluster_initial() {
    local i list=''
    for ((i = 1; i <= NODES; i++)); do list+=",n$i=$(node_peer_url "$i")"; done
    printf '%s\n' "${list#,}"
}

# The command line of node I as the array NODE_COMMAND.
node_command() { # I [STATE]
    local client
    client="http://$(node_endpoint "$1")"
    NODE_COMMAND=(--name "n$1" --data-dir "$(node_dir "$1")"
        --listen-client-urls "$client" --advertise-client-urls "$client"
        --listen-peer-urls "$(node_peer_url "$1")"
        --initial-advertise-peer-urls "$(node_peer_url "$1")"
        --initial-cluster "$(cluster_initial)" --initial-cluster-token "${TOKEN:-flotilla-test}"
        --initial-cluster-state "${2:-new}" --listen-metrics-urls "$(node_http "$1")")
    case $KIND in
    etcd)
        NODE_COMMAND=(etcd "${NODE_COMMAND[@]}" --logger zap --log-level "${LOG_LEVEL:-error}"
            --quota-backend-bytes 8589934592)
        ;;
    flotilla)
        # three datacentres, then around again
        NODE_COMMAND=("${FLOTILLAD:-$(cluster_find api/flotillad)}" "${NODE_COMMAND[@]}"
            --locality "dc=dc$(((${1} - 1) % 3 + 1)),rack=r1,host=h$1")
        [[ -z $RANGES ]] || NODE_COMMAND+=(--initial-ranges "$RANGES")
        ;;
    *) cluster_die "KIND must be etcd or flotilla, not \"$KIND\"" ;;
    esac
    NODE_COMMAND+=("${EXTRA_ARGS[@]}")
}

node_start() { # I [STATE]
    mkdir -p "$ROOT"
    node_command "$@"
    "${LAUNCHER[@]}" "${NODE_COMMAND[@]}" >>"$(node_log "$1")" 2>&1 </dev/null &
    NODE_PID[$1]=$!
    unset "NODE_EXIT[$1]"
}

# Waits for the end of a child and keeps its exit code.
node_reap() { # I
    local code=0
    [[ -n ${NODE_PID[$1]:-} ]] || return 0
    wait "${NODE_PID[$1]}" 2>/dev/null || code=$?
    NODE_EXIT[$1]=$code
    unset "NODE_PID[$1]"
}

node_kill() { # I
    [[ -n ${NODE_PID[$1]:-} ]] || return 0
    kill -KILL "${NODE_PID[$1]}" 2>/dev/null || true
    node_reap "$1"
}

# SIGTERM; one that has not ended after 20 s is killed and the stop fails.
node_stop() { # I
    local status=0
    [[ -n ${NODE_PID[$1]:-} ]] || return 0
    kill -TERM "${NODE_PID[$1]}" 2>/dev/null || true
    if ! timeout 20 tail -s 0.1 --pid="${NODE_PID[$1]}" -f /dev/null; then
        printf 'cluster: node %s ignored SIGTERM for 20 s\n' "$1" >&2
        kill -KILL "${NODE_PID[$1]}" 2>/dev/null || true
        status=1
    fi
    node_reap "$1"
    return $status
}

node_wait_exit() { # I SECONDS
    timeout "$2" tail -s 0.1 --pid="${NODE_PID[$1]}" -f /dev/null || return 124
    node_reap "$1"
    return "${NODE_EXIT[$1]}"
}

ctl_at() { # I ARG...
    local endpoint
    endpoint=$(node_endpoint "$1")
    shift
    etcdctl --endpoints "$endpoint" --dial-timeout 2s --command-timeout "${CTL_TIMEOUT:-5s}" "$@"
}

ctl() {
    etcdctl --endpoints "$(cluster_endpoints)" --dial-timeout 2s \
        --command-timeout "${CTL_TIMEOUT:-5s}" "$@"
}

node_fail() { # I WHAT
    printf 'cluster: node %s %s; the end of its log:\n' "$1" "$2" >&2
    tail -n 15 "$(node_log "$1")" >&2 || true
    return 1
}

# Every attempt is a linearizable read with its own time limit, so this does not spin.
node_wait_ready() { # I
    local end=$((SECONDS + READY_SECONDS))
    while ((SECONDS < end)); do
        node_alive "$1" || {
            node_reap "$1"
            node_fail "$1" "has ended with exit code ${NODE_EXIT[$1]:-?}"
            return 1
        }
        CTL_TIMEOUT=1s ctl_at "$1" get ~ready >/dev/null 2>&1 && return 0
        node_pause
    done
    node_fail "$1" "is not ready after $READY_SECONDS s"
}

# A tenth of a second between two attempts of a bounded poll.
node_pause() { read -rt 0.1 <> <(:) || true; }

# Groups a node leads; 0 when it does not answer.
node_leads() { # I
    local count
    case $KIND in
    etcd)
        count=$(ctl_at "$1" endpoint status -w json 2>/dev/null |
            jq '[.[] | select(.Status.leader == .Status.header.member_id)] | length') || count=0
        ;;
    *)
        count=$(curl -sf --max-time 2 "$(node_http "$1")/metrics" |
            awk '/^flotilla_groups\{.*role="leader"/ { sum += $2 } END { print sum + 0 }') || count=0
        ;;
    esac
    printf '%s\n' "${count:-0}"
}

cluster_busiest() {
    local i leads most=-1 busiest=1
    for ((i = 1; i <= NODES; i++)); do
        leads=$(node_leads "$i")
        if ((leads > most)); then
            most=$leads
            busiest=$i
        fi
    done
    printf '%s\n' "$busiest"
}

cluster_wait_ready() {
    local i
    for ((i = 1; i <= NODES; i++)); do node_wait_ready "$i" || return 1; done
    CTL_TIMEOUT=${READY_SECONDS}s ctl put ~ready yes >/dev/null
}

cluster_start() {
    local i
    rm -rf "$ROOT"
    mkdir -p "$ROOT"
    for ((i = 1; i <= NODES; i++)); do node_start "$i" new; done
    cluster_wait_ready
}

cluster_restart_all() {
    local i
    for ((i = 1; i <= NODES; i++)); do node_start "$i" existing; done
    cluster_wait_ready
}

cluster_kill() {
    local i
    for i in "${!NODE_PID[@]}"; do kill -KILL "${NODE_PID[$i]}" 2>/dev/null || true; done
    for i in "${!NODE_PID[@]}"; do node_reap "$i"; done
}

cluster_stop() {
    local i status=0
    for i in "${!NODE_PID[@]}"; do kill -TERM "${NODE_PID[$i]}" 2>/dev/null || true; done
    for i in "${!NODE_PID[@]}"; do node_stop "$i" || status=1; done
    return $status
}
