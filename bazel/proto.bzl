"""protobuf-c from .proto files.

    load("//bazel:proto.bzl", "protobuf_c_library")

    protobuf_c_library(
        name = "kv_proto",
        srcs = ["kv.proto", "rpc.proto"],
    )

A .proto imports another by its path from the root of the repository
(import "api/proto/kv.proto"), and C includes the result the same way
(#include "api/proto/kv.pb-c.h"). Files of another package go into `imports`, the library that
holds their C into `deps`. Generated C is compiled without warnings, in this target only.
"""

def _protoc_c_impl(ctx):
    inputs = ctx.files.srcs + ctx.files.imports
    for src in ctx.files.srcs:
        stem = src.basename[:-len(".proto")]
        ctx.actions.run(
            executable = "/usr/bin/protoc-c",
            arguments = [
                "--proto_path=.",
                "--c_out=" + ctx.bin_dir.path,
                src.path,
            ],
            inputs = inputs,
            outputs = [
                out
                for out in ctx.outputs.outs
                if out.basename in [stem + ".pb-c.c", stem + ".pb-c.h"]
            ],
            mnemonic = "ProtocC",
            progress_message = "Generating C of %s" % src.short_path,
        )

_protoc_c = rule(
    implementation = _protoc_c_impl,
    attrs = {
        "imports": attr.label_list(allow_files = [".proto"]),
        "outs": attr.output_list(mandatory = True),
        "srcs": attr.label_list(allow_files = [".proto"], mandatory = True),
    },
)

def protobuf_c_library(name, srcs, imports = [], deps = [], **kwargs):
    """A cc_library of the C that protoc-c makes of `srcs`.

    Args:
      name: name of the library.
      srcs: .proto files of this package.
      imports: .proto files of other packages that `srcs` import.
      deps: protobuf_c_library targets of those.
      **kwargs: visibility, testonly, tags.
    """
    stems = [src[:-len(".proto")] for src in srcs]
    _protoc_c(
        name = name + "_gen",
        srcs = srcs,
        imports = imports,
        outs = [stem + ".pb-c.c" for stem in stems] + [stem + ".pb-c.h" for stem in stems],
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = [stem + ".pb-c.c" for stem in stems],
        hdrs = [stem + ".pb-c.h" for stem in stems],
        copts = ["-std=c17", "-O2", "-g", "-w"],
        linkstatic = True,
        deps = deps + ["@system//:protobuf_c"],
        **kwargs
    )
