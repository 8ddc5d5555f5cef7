"""The rules of this repository: one home for compiler options, warnings and hardening.

    load("//bazel:defs.bzl", "flotilla_library", "flotilla_test")

    package(default_visibility = ["//bazel:floor_shard_up"])    # who may look down on this folder

    flotilla_library(
        name = "engine",
        srcs = ["engine_rocksdb.c", "engine_internal.h"],       # private headers go into srcs
        hdrs = ["engine.h"],                                    # public headers
        deps = ["//raftgroup/base", "@system//:rocksdb"],       # names: bazel/system.bzl
    )

    flotilla_binary(
        name = "flotillad",
        srcs = ["flotillad.c"],
        deps = [":server"],
    )

    # In tests/shard/BUILD. cmocka is linked, testonly is set, -Wconversion is off.
    flotilla_test(
        name = "engine_test",
        srcs = ["engine_test.c"],
        deps = ["//shard:engine"],
        data = ["testdata/rows.txt"],       # read as "tests/shard/testdata/rows.txt"
        args = ["..."],
        size = "small",                     # small 60 s (default), medium 300 s, large 900 s
        tags = ["threads"],
    )

    # A bash script as a test; counts as one case. Exit 0 passes.
    flotilla_script_test(
        name = "split_e2e_test",
        script = "split_e2e.sh",
        data = ["//api:flotillad"],
    )

    # A library only tests may use (fakes, fixtures).
    flotilla_library(name = "fake_clock", testonly = True, ...)

Includes are written from the root of the repository: #include "shard/engine.h".

Tags `./dev test` knows:
    threads     also run under ThreadSanitizer
    plain       only run in the plain build: too slow or pointless under sanitizers
    slow        left out by `./dev test --quick`
    manual      never run by a pattern (Bazel's own)
A test that opens fixed ports or needs the whole machine adds Bazel's tag `exclusive`.
"""

_DIALECT = [
    "-std=c17",
    "-D_GNU_SOURCE",
]

_WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wshadow",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
    "-Wmissing-declarations",
    "-Wold-style-definition",
    "-Wredundant-decls",
    "-Wnested-externs",
    "-Wpointer-arith",
    "-Wcast-qual",
    "-Wcast-align",
    "-Wwrite-strings",
    "-Wundef",
    "-Wformat=2",
    "-Wswitch-enum",
    "-Wimplicit-fallthrough",
    "-Wvla",
    "-Wdouble-promotion",
    "-Wfloat-equal",
    "-Wnull-dereference",
    "-Wunused-macros",
    "-Wdate-time",
    "-Werror",
]

_WARNINGS_GCC = [
    "-Wlogical-op",
    "-Wduplicated-cond",
    "-Wduplicated-branches",
    "-Wrestrict",
    "-Walloca",
    "-Wformat-overflow=2",
    "-Wformat-truncation=2",
    "-Wformat-signedness",
    "-Wstringop-overflow",
    "-Wunused-const-variable=2",
]

# clang also refuses a format handed on to a v*printf; gcc judges the callers.
_WARNINGS_CLANG = [
    "-Wno-format-nonliteral",
    "-Wcomma",
    "-Wunreachable-code",
    "-Wassign-enum",
]

# Product code only: cmocka's cast macros and literals in tests make these two noise.
_WARNINGS_PRODUCT = [
    "-Wconversion",
]

_WARNINGS_PRODUCT_CLANG = [
    "-Wimplicit-int-conversion",
]

_CODE = [
    "-O2",
    "-g",
    "-fno-omit-frame-pointer",
    "-fstack-protector-strong",
    "-fPIE",
]

# fl_assert and the checks of the C library stay on in every build we ship. Sanitizers replace
# the fortified calls and are disturbed by them.
_FORTIFY = [
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=2",
]

_LINK = [
    "-pie",
    "-Wl,-z,relro",
    "-Wl,-z,now",
    "-Wl,-z,noexecstack",
]

def _copts(product):
    warnings = _WARNINGS + (_WARNINGS_PRODUCT if product else [])
    clang = _WARNINGS_CLANG + (_WARNINGS_PRODUCT_CLANG if product else [])
    return _DIALECT + _CODE + warnings + select({
        "//bazel:clang": clang,
        "//conditions:default": _WARNINGS_GCC,
    }) + select({
        "//bazel:sanitized": [],
        "//conditions:default": _FORTIFY,
    })

def flotilla_library(name, copts = [], **kwargs):
    """A library: public headers in hdrs, sources and private headers in srcs."""
    native.cc_library(
        name = name,
        copts = _copts(product = not kwargs.get("testonly", False)) + copts,
        linkstatic = True,
        **kwargs
    )

def flotilla_binary(name, copts = [], linkopts = [], **kwargs):
    """A program, position independent, with read-only relocations bound at start."""
    native.cc_binary(
        name = name,
        copts = _copts(product = not kwargs.get("testonly", False)) + copts,
        linkopts = _LINK + linkopts,
        linkstatic = True,
        **kwargs
    )

# Named by TSAN_OPTIONS in .bazelrc, so every test can see it.
_TEST_DATA = ["//bazel:tsan.supp"]

def flotilla_test(name, deps = [], copts = [], linkopts = [], data = [], size = "small", **kwargs):
    """A cmocka test program."""
    native.cc_test(
        name = name,
        copts = _copts(product = False) + copts,
        linkopts = _LINK + linkopts,
        linkstatic = True,
        size = size,
        deps = deps + ["@system//:cmocka"],
        data = data + _TEST_DATA,
        **kwargs
    )

def flotilla_script_test(name, script, data = [], size = "medium", **kwargs):
    """A bash script that exits 0 when what it shows holds; one test case."""
    native.sh_test(
        name = name,
        srcs = [script],
        data = data + _TEST_DATA,
        size = size,
        **kwargs
    )
