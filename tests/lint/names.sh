#!/usr/bin/env bash
# Goal: a symbol tells its folder. What a folder exports to the linker begins with the folder's
# prefix, so do the tags of structs, unions and enums in its headers.
# Method: nm on the archives given, ctags on the headers.
#
# usage: names.sh [--root ROOT] ARCHIVE...     archives as .../<folder>/lib<name>.a
set -euo pipefail
if [[ ${1:-} == --root ]]; then
    cd "$2"
    shift 2
else
    cd "$(dirname "$0")/../.."
fi
status=0

# Symbols that must have a foreign name: `main`, and accept4, which api defines to guard gRPC's
# listener against running out of file descriptors.
readonly ALLOWED=' main accept4 '

for archive in "$@"; do
    [[ $archive != *api/proto/* && -e $archive ]] || continue # generated code; headers only
    nm --defined-only --extern-only "$archive" | awk -v archive="$archive" -v allowed="$ALLOWED" '
        function prefix(path) {
            if (path ~ /(^|\/)raftgroup\/base\/[^\/]*$/) return "fl_"
            if (path ~ /(^|\/)raftgroup\/[^\/]*$/) return "raft_"
            if (match(path, /(^|\/)(shard|placement|node|api)\//)) {
                path = substr(path, RSTART, RLENGTH)
                gsub(/\//, "", path)
                return path "_"
            }
            return ""
        }
        BEGIN { want = prefix(archive) }
        /:$/ { object = $1; next }
        NF == 3 && want != "" && index($3, want) != 1 && !index(allowed, " " $3 " ") {
            print archive "(" object " " $3 ": begins not with " want ": rename it or hide it (static)"
            bad = 1
        }
        END { exit bad }' || status=1
done

mapfile -t headers < <(find api node placement raftgroup shard -name '*.h' -type f \
    2>/dev/null | sort)
if [[ ${#headers[@]} -gt 0 ]]; then
    ctags --languages=C --langmap=C:.c.h --kinds-C=sug --fields=+n -f - "${headers[@]}" |
        awk -F '\t' '
        {
            want = $2
            if (want ~ /^raftgroup\/base\//) want = "fl"
            else if (want ~ /^raftgroup\//) want = "raft"
            else sub(/\/.*/, "", want)
            if ($1 == want || index($1, want "_") == 1 || $1 ~ /^__anon/) next
            # Inside another type the outer name already tells.
            for (i = 4; i <= NF; i++) if ($i ~ /^(struct|union):/) next
            for (i = 4; i <= NF; i++) if ($i ~ /^line:/) line = substr($i, 6)
            print $2 ":" line ": tag " $1 " begins not with " want "_: rename it"
            bad = 1
        }
        END { exit bad }' || status=1
fi

exit $status
