"""System libraries as @system//:<name>.

One repository holds all of them. It is refused, with the packages to install, when one is
missing. Headers are found in the compiler's own include path; a small header with the package's
version is an input of every user, so an upgrade of a library rebuilds what includes it.

    deps = ["@system//:uv"]
"""

# name -> header that proves it is there, Debian package, linker options.
_LIBRARIES = {
    "cmocka": ("cmocka.h", "libcmocka-dev", ["-lcmocka"]),
    "dl": ("dlfcn.h", "libc6-dev", ["-ldl"]),
    "grpc": ("grpc/grpc.h", "libgrpc-dev", ["-lgrpc", "-lgpr"]),
    "isal": ("isa-l.h", "libisal-dev", ["-lisal"]),
    "jansson": ("jansson.h", "libjansson-dev", ["-ljansson"]),
    "m": ("math.h", "libc6-dev", ["-lm"]),
    "microhttpd": ("microhttpd.h", "libmicrohttpd-dev", ["-lmicrohttpd"]),
    # It takes malloc's place in what links it: kept although no object names it.
    "mimalloc": ("mimalloc.h", "libmimalloc-dev", [
        "-Wl,--push-state,--no-as-needed",
        "-lmimalloc",
        "-Wl,--pop-state",
    ]),
    "openssl": ("openssl/ssl.h", "libssl-dev", ["-lssl", "-lcrypto"]),
    "protobuf_c": ("protobuf-c/protobuf-c.h", "libprotobuf-c-dev", ["-lprotobuf-c"]),
    "pthread": ("pthread.h", "libc6-dev", ["-pthread"]),
    "rocksdb": ("rocksdb/c.h", "librocksdb-dev", ["-lrocksdb"]),
    "urcu": ("urcu/wfcqueue.h", "liburcu-dev", ["-lurcu-common"]),
    "uthash": ("uthash.h", "uthash-dev", []),
    "uv": ("uv.h", "libuv1-dev", ["-luv"]),
}

# Programs that rules run by their path.
_PROGRAMS = {
    "/usr/bin/protoc-c": "protobuf-c-compiler",
}

_TARGET = """
cc_library(
    name = "{name}",
    hdrs = ["{name}_version.h"],
    linkopts = {linkopts},
)
"""

def _has_header(ctx, header):
    roots = ["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/include/aarch64-linux-gnu"]
    for root in roots:
        if ctx.path(root + "/" + header).exists:
            return True
    return False

def _missing_packages(ctx):
    missing = {}
    for header, package, _ in _LIBRARIES.values():
        if not _has_header(ctx, header):
            missing[package] = True
    for program, package in _PROGRAMS.items():
        if not ctx.path(program).exists:
            missing[package] = True
    return sorted(missing.keys())

def _versions(ctx):
    packages = {package: True for _, package, _ in _LIBRARIES.values()}.keys()
    found = ctx.execute(["dpkg-query", "-W", "-f=${Package} ${Version}\n"] + packages)
    versions = {}
    for line in found.stdout.splitlines():
        package, _, version = line.partition(" ")
        versions[package] = version
    return versions

def _system_libraries_impl(ctx):
    missing = _missing_packages(ctx)
    if missing:
        fail("system libraries are missing; run ./dev setup, or: apt-get install " +
             " ".join(missing))
    versions = _versions(ctx)
    build = ["package(default_visibility = [\"//visibility:public\"])\n"]
    for name, (_, package, linkopts) in _LIBRARIES.items():
        ctx.file(
            name + "_version.h",
            "/* {} {} */\n".format(package, versions.get(package, "of unknown version")),
            executable = False,
        )
        build.append(_TARGET.format(name = name, linkopts = linkopts))
    ctx.file("BUILD", "".join(build), executable = False)

system_libraries = repository_rule(
    implementation = _system_libraries_impl,
    configure = True,
    local = True,
)
