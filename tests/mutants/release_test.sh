#!/usr/bin/env bash
# Goal: no bug can be switched on in what we ship.
# Method: the product's library does not know the switch; the header refuses to be compiled with
# switches outside testonly targets, and without them every question is the constant 0.
set -euo pipefail

ask() { # FLAG...: compiles a file that is in error unless RG_BUG(E26) is 0
    printf '#include "raftgroup/bugs.h"\n_Static_assert(RG_BUG(E26) == 0, "constant");\n' |
        gcc "$@" -I. -fsyntax-only -x c - 2>&1
}

readonly SYMBOLS=tests/mutants/symbols.txt
grep -q ' T raft_step$' "$SYMBOLS" || { echo "this is not the core"; exit 1; }
if grep 'raft__bug' "$SYMBOLS"; then
    echo "the product asks for bugs"
    exit 1
fi
ask || { echo "a normal build does not see a constant"; exit 1; }
if ask -DRG_MUTANTS >/dev/null; then
    echo "bugs can be switched on outside testonly targets"
    exit 1
fi
if ask -DRG_MUTANTS -DRG_TESTONLY >/dev/null; then
    echo "the testonly build does not ask"
    exit 1
fi
