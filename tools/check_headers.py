#!/usr/bin/env python3
# Checks that every header compiles alone, and twice (include guard), with the project's flags.
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile

import sources

FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-DDEEPWELL_VERSION=\"check\"", "-DDEEPWELL_SOURCE_DIR=\".\"", "-DBOOST_ASIO_SEPARATE_COMPILATION",
         "-DBOOST_BEAST_SEPARATE_COMPILATION", "-DBOOST_ASIO_NO_DEPRECATED"]


def generate_protocol(directory):
    """The code that the build makes of proto/, for the headers that include it."""
    plugin = f"--plugin=protoc-gen-grpc={shutil.which('grpc_cpp_plugin')}"
    command = ["protoc", "--proto_path=.", f"--cpp_out={directory}", f"--grpc_out={directory}", plugin, "proto/worker.proto"]
    subprocess.run(command, cwd=sources.ROOT, check=True)


def check(header, generated):
    name = header.removeprefix("src/")
    code = f'#include "{name}"\n#include "{name}"\n'
    command = [os.environ.get("CXX", "g++"), *FLAGS, "-Isrc", "-isystem", generated, "-x", "c++", "-"]
    run = subprocess.run(command, input=code, cwd=sources.ROOT, capture_output=True, text=True)
    return None if run.returncode == 0 else f"{header} does not compile alone:\n" + "\n".join(run.stderr.split("\n")[:8])


def main():
    headers = [h for h in sources.tree(".hpp") if h.startswith("src/")]
    with tempfile.TemporaryDirectory() as generated, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        generate_protocol(generated)
        complaints = [c for c in pool.map(lambda header: check(header, generated), headers) if c]
    print("\n".join(complaints))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
