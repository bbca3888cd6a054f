#!/usr/bin/env python3
# Checks who includes whom: wings and engine folders in the order of ARCHITECTURE.md, third parties where they may be.
import os
import re
import sys

import sources

WINGS = ["base", "engine", "net", "cluster", "service", "edge", "apps"]
ENGINE = ["numerics", "quant", "gguf", "device", "tokenizer", "model", "sampling", "runtime"]
C_AND_POSIX = re.compile(r"(cpuid|dirent|immintrin|arm_neon|dlfcn|errno|fcntl|malloc|poll|pthread|sched|signal|spawn|termios|time|unistd"
                         r"|(sys|linux|asm|net|netinet|arpa)/\w+)\.h")
THIRD_PARTY_IN_HEADERS = re.compile(r"(boost|nlohmann|grpc|grpcpp|proto|google/protobuf|openssl|spdlog|fmt|toml\+\+)(/|\.|$)")
BOOST = re.compile(r"(boost|grpc|grpcpp|proto)/")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(<[^>]+>|"[^"]+")', re.MULTILINE)


def includes(path):
    return [(m.group(1)[1:-1], m.group(1)[0] == "<") for m in INCLUDE.finditer(sources.read(path))]


def is_test(path):
    return bool(re.search(r"_(test|bench|fuzz|check|golden)\.(cpp|hpp)$", path)) or "/testing/" in path


def check_order(path, target):
    """A complaint if `path` (under src/) may not include `target` (a path under src/)."""
    wing, other = path.split("/")[1], target.split("/")[0]
    if other not in WINGS:
        return f'"{target}" names no wing; includes are full paths from src/'
    if WINGS.index(other) > WINGS.index(wing):
        return f"{wing} may not include {other} ({target})"
    if wing == other == "engine":
        folder, other_folder = path.split("/")[2], target.split("/")[1]
        for name in (folder, other_folder):
            if name not in ENGINE:
                return f"engine folder {name} has no place in the order; add it to {os.path.basename(__file__)}"
        if ENGINE.index(other_folder) > ENGINE.index(folder):
            return f"engine/{folder} may not include engine/{other_folder} ({target})"
    return None


def check_third_party(path, target):
    wing = path.split("/")[1]
    if wing in ("base", "engine") and not is_test(path):
        if not re.fullmatch(r"[a-z_0-9]+", target) and not C_AND_POSIX.fullmatch(target):
            return f"{wing} uses the standard library alone, not <{target}>"
    if wing in ("engine", "service") and path.endswith(".hpp") and THIRD_PARTY_IN_HEADERS.match(target):
        return f"headers of {wing} show no third-party type (<{target}>)"
    return None


def reaches_boost(path, seen):
    """The chain of headers by which a header of net shows Boost, or nothing."""
    for target, is_system in includes(path):
        if is_system and BOOST.match(target):
            return [path]
        inner = "src/" + target
        if not is_system and inner not in seen and os.path.isfile(os.path.join(sources.ROOT, inner)):
            seen.add(inner)
            chain = reaches_boost(inner, seen)
            if chain:
                return [path] + chain
    return None


def main():
    complaints = []
    for path in [p for p in sources.cpp_files() if p.startswith("src/")]:
        for target, is_system in includes(path):
            if is_system:
                complaint = check_third_party(path, target)
            else:
                complaint = check_order(path, target)
                if complaint is None and not os.path.isfile(os.path.join(sources.ROOT, "src", target)):
                    complaint = f'"{target}" does not exist'
                if complaint is None and target.split("/")[0] in ("net", "cluster") and path.split("/")[1] != target.split("/")[0]:
                    chain = reaches_boost("src/" + target, set())
                    if chain:
                        complaint = f"{target} shows Boost or gRPC outside its wing: " + " -> ".join(chain)
            if complaint:
                complaints.append(f"{path}: {complaint}")
    print("\n".join(sorted(set(complaints))))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
