#!/usr/bin/env bash
# Goal: no dead file. Every C file is named by the BUILD file of its package,
# so that it is compiled and checked.
# Method: the nearest BUILD file upwards must hold the file's path, quoted, or its stem where a list
# of names is made into targets with srcs = [name + ".c"].
#
# usage: orphans.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"
status=0

named() { # BUILD PATH
    grep -qF "\"$2\"" "$1" || { grep -qF 'name + ".c"' "$1" && grep -qF "\"${2%.c}\"" "$1"; }
}

while read -r file; do
    package=$(dirname "$file")
    while [[ $package != . && ! -e $package/BUILD ]]; do
        package=$(dirname "$package")
    done
    if [[ ! -e $package/BUILD ]] || ! named "$package/BUILD" "${file#"$package"/}"; then
        printf '%s:1: no BUILD file has a target with this file: add it or remove it\n' "$file"
        status=1
    fi
done < <(find api node placement raftgroup shard tests -name '*.[ch]' -type f 2>/dev/null | sort)

exit $status
