# shellcheck shell=bash
# Common ground of the end-to-end tests. Source it first; it sources tests/lib/cluster.sh.
#
# KIND=flotilla unless the environment says etcd. Data and logs live in $ROOT, which is removed at
# the end; when the test fails the ends of the logs are printed first.
set -euo pipefail

E2E_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
KIND=${KIND:-flotilla}
E2E_ROOT=$(mktemp -d "${TEST_TMPDIR:-${TMPDIR:-/tmp}}/e2e.XXXXXX")
ROOT=$E2E_ROOT/cluster
mkdir -p "$ROOT"
# shellcheck source=tests/lib/cluster.sh
. "$E2E_HERE/tests/lib/cluster.sh"

say() { printf '%s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

e2e_end() {
    local status=$? log
    trap - EXIT
    cluster_kill
    if ((status != 0)); then
        for log in "$E2E_ROOT"/*/*.log; do
            [[ -s $log ]] || continue
            printf '%s\n' "--- end of $log" >&2
            tail -n 20 "$log" >&2
        done
        if [[ -n ${TEST_UNDECLARED_OUTPUTS_DIR:-} ]]; then
            cp "$E2E_ROOT"/*/*.log "$E2E_ROOT"/*.jsonl "$TEST_UNDECLARED_OUTPUTS_DIR" 2>/dev/null || true
        fi
    fi
    rm -rf "$E2E_ROOT"
    exit "$status"
}
trap e2e_end EXIT
trap 'exit 130' INT TERM

# --- a chaos run: clients in a co-process, commands by name --------------------------------------

chaos_begin() { # HISTORY [ARG...]
    local history=$1
    shift
    coproc CHAOS { exec "$(cluster_find tests/e2e/chaos)" --endpoints "$(cluster_endpoints)" \
        --out "$history" --system "$KIND" "$@"; }
    # shellcheck disable=SC2153
    CHAOS_CHILD=$CHAOS_PID
}

chaos() { # COMMAND [ARG...]
    local line
    printf '%s\n' "$*" >&"${CHAOS[1]}" || fail "the chaos clients are gone"
    while IFS= read -r line <&"${CHAOS[0]}"; do
        case $line in
        ok) return 0 ;;
        error*) fail "chaos $*: ${line#error }" ;;
        *) say "$line" ;;
        esac
    done
    fail "the chaos clients ended during: $*"
}

chaos_end() {
    local input=${CHAOS[1]}
    exec {input}>&-
    wait "$CHAOS_CHILD" || fail "the history could not be written"
}

lincheck() { "$(cluster_find tests/lib/lincheck)" "$@"; }
