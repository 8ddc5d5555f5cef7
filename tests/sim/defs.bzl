"""A simulator linked against any build of the core.

    load("//tests/sim:defs.bzl", "sim_program")

    sim_program(
        name = "sim_without_pre_vote",
        raftgroup = "//raftgroup:without_pre_vote",     # has the functions of raftgroup/raft.h
    )
"""

load("//bazel:defs.bzl", "flotilla_binary")

def sim_program(name, raftgroup, **kwargs):
    """A program with the flags of tests/sim/README.md, profile core only."""
    flotilla_binary(
        name = name,
        testonly = True,
        srcs = [
            "//tests/sim:machines_core.c",
            "//tests/sim:main.c",
        ],
        deps = [
            "//tests/sim:world",
            raftgroup,
            "//raftgroup/base",
        ],
        **kwargs
    )
