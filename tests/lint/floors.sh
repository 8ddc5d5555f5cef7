#!/usr/bin/env bash
# Goal: the borders hold that no compiler sees. Quoted includes point down the floors or stay in
# the folder, nobody includes tests/, and each third-party header has its home (the table below).
# Method: every #include line of every C file is compared with two tables.
#
# usage: floors.sh [ROOT]
set -euo pipefail
cd "${1:-$(dirname "$0")/../..}"

files=$(find api node placement raftgroup shard tests -name '*.[ch]' -type f 2>/dev/null |
    sort) || true

# shellcheck disable=SC2016
xargs -r awk '
    # Third-party headers: the start of the name, the files that may include it, the exact name
    # where the start is not enough.
    function third_party() {
        home("rocksdb/",    "^shard/engine_(rocksdb\\.c|internal\\.h)$")
        home("uv.h",        "^node/(loop|transport_tcp)\\.c$|^node/[a-z_]*_internal\\.h$")
        home("uv/",         "^node/(loop|transport_tcp)\\.c$|^node/[a-z_]*_internal\\.h$")
        home("urcu/",       "^node/mailbox\\.[ch]$|^node/[a-z_]*_internal\\.h$")
        home("openssl/",    "^node/(tls|transport_tls)\\.c$")
        home("isa-l",       "^raftgroup/base/crc32c\\.c$")
        home("grpc/",       "^api/|^tests/(bench|lib|api)/")
        home("protobuf-c/", "^api/|^tests/(bench|lib|api)/")
        home("microhttpd.h", "^api/http\\.c$")
        home("jansson.h",   "^api/|^tests/")
        home("cmocka.h",    "^tests/")
        home("ut",          "", "^ut(hash|list|array)\\.h$")
    }
    function home(start, files, exact) {
        n++; start_of[n] = start; home_of[n] = files; exact_of[n] = exact
    }
    function floor_of(path) {
        if (path ~ /^raftgroup\/base\//) return 0
        if (path ~ /^raftgroup\//) return 1
        if (path ~ /^shard\//) return 2
        if (path ~ /^placement\//) return 3
        if (path ~ /^node\//) return 4
        if (path ~ /^api\//) return 5
        if (path ~ /^tests\//) return 6
        return -1
    }
    function refuse(what) { print FILENAME ":" FNR ": " what; bad = 1 }
    BEGIN { third_party() }
    /^[ \t]*#[ \t]*include[ \t]*"/ {
        split($0, part, "\""); target = part[2]
        to = floor_of(target)
        if (to < 0)
            refuse("\"" target "\": write the path from the root of the repository")
        else if (to > floor_of(FILENAME))
            refuse("\"" target "\" is on a higher floor: declare a port here, implement it there")
        else if (target ~ /_internal\.h$/ && floor_of(FILENAME) < 6) {
            own = FILENAME; sub(/[^\/]*$/, "", own)
            if (index(target, own) != 1 || substr(target, length(own) + 1) ~ /\//)
                refuse("\"" target "\" is private to its folder: use its public header")
        }
        if (target ~ /\.pb-c\.h$/ && FILENAME !~ /^api\/|^tests\/(bench|lib|api)\//)
            refuse("generated protobuf code stays in api/: convert there")
    }
    /^[ \t]*#[ \t]*include[ \t]*</ {
        split($0, part, /[<>]/); target = part[2]
        for (i = 1; i <= n; i++)
            if (index(target, start_of[i]) == 1 && (exact_of[i] == "" || target ~ exact_of[i])) {
                if (FILENAME !~ home_of[i])
                    refuse("<" target "> belongs to " home_of[i] ": go through the header there")
                break
            }
        if (i > n && !system_header(target))
            refuse("<" target "> has no home: give it one in tests/lint/floors.sh")
    }
    function system_header(name) {
        return name ~ /^(sys|netinet|arpa|net|linux|asm|sanitizer)\// || index(LIBC, " " name " ")
    }
    BEGIN {
        LIBC = " assert.h complex.h ctype.h dirent.h dlfcn.h endian.h errno.h execinfo.h fcntl.h" \
               " fenv.h float.h fnmatch.h ftw.h getopt.h glob.h ifaddrs.h inttypes.h libgen.h" \
               " limits.h locale.h malloc.h math.h netdb.h poll.h pthread.h pwd.h regex.h" \
               " sched.h semaphore.h setjmp.h signal.h spawn.h stdalign.h stdarg.h stdatomic.h" \
               " stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h" \
               " sysexits.h syslog.h termios.h threads.h time.h ucontext.h unistd.h wchar.h" \
               " x86intrin.h immintrin.h nmmintrin.h "
    }
    END { exit bad }' <<<"$files"
