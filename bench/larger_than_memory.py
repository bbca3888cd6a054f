#!/usr/bin/env python3
"""Decodes with a model that is larger than its memory limit, beside raw reads of the same bytes.

    python bench/larger_than_memory.py DEEPWELL MODEL.gguf [--limit-mb 125] [--peer LLAMA_BENCH]

Needs root and a memory controller (cgroup v2, or v1). In each round, in turn: the image of packed weights is read once
past the page cache; `deepwell bench` decodes in a cgroup with the limit, with cold caches; the peer does the same. Prints
tokens a second, bytes read for each token, and what share of the raw speed that is. Also: whether anything was killed.
"""

import argparse
import json
import mmap
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from memory_group import MemoryGroup

PIECE = 4 << 20


def drop_from_cache(path: Path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def raw_read_mbps(path: Path, n_outstanding: int) -> float:
    """Reads the file once with O_DIRECT, so many pieces of 4 MiB at a time."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    n_bytes = os.fstat(fd).st_size // PIECE * PIECE
    offsets = iter(range(0, n_bytes, PIECE))
    lock = threading.Lock()

    def work():
        buffer = mmap.mmap(-1, PIECE)
        buffer.write(b"\0" * PIECE)
        while True:
            with lock:
                at = next(offsets, None)
            if at is None:
                return
            os.preadv(fd, [buffer], at)

    threads = [threading.Thread(target=work) for _ in range(n_outstanding)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - start
    os.close(fd)
    return n_bytes / 1e6 / took


def run_limited(command: list[str], group: MemoryGroup, env: dict) -> tuple[str, int]:
    """Standard output, and bytes that were read from the disk."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
    done = subprocess.run(command, env=env, preexec_fn=group.enter, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}: {done.stderr}")
    return done.stdout, (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - before) * 512


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("deepwell", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--limit-mb", type=int, help="MiB; default: a third of the packed image")
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer", type=Path, help="llama-bench of a peer")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as home:
        env = dict(os.environ, DEEPWELL_HOME=home)
        ours = [str(args.deepwell.resolve()), "bench", "-m", str(args.model), "-t", str(args.threads)]
        ours += ["--packed-image", "auto", "-p", "0", "-n", str(args.tokens), "-r", "2", "--json"]
        # Packs the image, without a limit, and decodes at the speed of memory.
        unlimited = json.loads(subprocess.run(ours, env=env, text=True, capture_output=True, check=True).stdout)
        image = next(Path(home, "images").iterdir())
        n_image = image.stat().st_size
        limit = (args.limit_mb << 20) if args.limit_mb else n_image // 3
        group = MemoryGroup(limit)
        print(f"image {n_image >> 20} MiB, limit {limit >> 20} MiB (cgroup v{group.version}); "
              f"without limit {unlimited['results'][0]['tokens_per_s']:.1f} tokens/s")
        try:
            compare(args, ours, env, image, group)
            print(f"killed: {group.n_killed()}")
        finally:
            group.remove()


def compare(args, ours: list[str], env: dict, image: Path, group: MemoryGroup):
    raws, rates, shares, peers = [], [], [], []
    for _ in range(args.rounds):
        raws.append(max(raw_read_mbps(image, n) for n in (1, 2)))
        drop_from_cache(image)
        out, n_read = run_limited(ours, group, env)
        rates.append(json.loads(out)["results"][0]["tokens_per_s"])
        per_token = n_read / (3 * args.tokens)  # a repetition to warm up, and two; with what loading reads
        shares.append(per_token * rates[-1] / 1e6 / raws[-1])
        print(f"raw {raws[-1]:.0f} MB/s; {rates[-1]:.2f} tokens/s, {per_token / 1e6:.0f} MB read for each: "
              f"{100 * shares[-1]:.0f} % of raw; the whole image for each token would be "
              f"{100 * rates[-1] * image.stat().st_size / 1e6 / raws[-1]:.0f} %", flush=True)
        if args.peer:
            drop_from_cache(args.model)
            out, n_read = run_limited(
                [str(args.peer), "-m", str(args.model), "-t", str(args.threads), "-p", "0", "-n", "4", "-r", "1",
                 "-o", "json"], group, env)
            peers.append(json.loads(out)[0]["avg_ts"])
            print(f"peer {peers[-1]:.2f} tokens/s", flush=True)
    print(f"medians: raw {statistics.median(raws):.0f} MB/s, {statistics.median(rates):.2f} tokens/s, "
          f"{100 * statistics.median(shares):.0f} % of raw"
          + (f", peer {statistics.median(peers):.2f} tokens/s" if peers else ""))


if __name__ == "__main__":
    main()
