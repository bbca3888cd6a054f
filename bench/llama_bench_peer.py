# Runs `deepwell bench` and a peer's llama-bench on one file, in turn, on the same cores, and prints medians, their ratio
# and what the memory could give.
#
#   python bench/llama_bench_peer.py DEEPWELL LLAMA_BENCH MODEL.gguf [--threads 1 2] [--tests pp512 pp4096 tg64 tg64@4096]
#                                    [--rounds 3] [--peer-args="-rtr 1"] [--busy-core 0] [--json]
#
# LLAMA_BENCH is the llama-bench of llama.cpp or of ik_llama.cpp, built elsewhere; the latter reads `-rtr 1` (repack at
# load) and knows `-gp` (decoding behind a prompt). Each round begins with the other side than the one before, so that a
# machine that slows down with time slows both. --busy-core pins a loop that never sleeps to a core meanwhile.
import argparse
import json
import re
import shlex
import statistics
import subprocess

from busy_core import busy_core

TEST = re.compile(r"(pp|tg)(\d+)(?:@(\d+))?$")


def parse(test):
    match = TEST.match(test)
    if not match:
        raise SystemExit(f"a test is pp512, tg64 or tg64@4096, not {test}")
    return match[1], int(match[2]), int(match[3] or 0)


def output_of(command):
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{shlex.join(command)} failed:\n{run.stderr[-2000:]}")
    return run.stdout


def run_deepwell(args, threads, test):
    kind, n, depth = parse(test)
    command = [args.deepwell, "bench", "-m", args.model, "-t", str(threads), "-r", "1", "--json", "-d", str(depth),
               *(["-p", str(n), "-n", "0"] if kind == "pp" else ["-p", "0", "-n", str(n)])]
    report = json.loads(output_of(command))
    result = report["results"][0]
    return {"rate": result["tokens_per_s"], "percent_of_peak": result.get("percent_of_peak"), "peak_gbps": report["read_peak_gbps"]}


def run_peer(args, threads, test):
    kind, n, depth = parse(test)
    wanted = ["-p", str(n), "-n", "0"] if kind == "pp" else ["-p", "0", "-n", str(n)]
    if depth:
        wanted = ["-p", "0", "-n", "0", "-gp", f"{depth},{n}"]
    text = output_of([args.llama_bench, "-m", args.model, "-t", str(threads), "-r", "1", "-o", "json", *wanted,
                      *shlex.split(args.peer_args)])
    results = json.loads(text[text.index("["):])
    return {"rate": results[-1]["avg_ts"]}


def main():
    parser = argparse.ArgumentParser(description="deepwell bench against a llama-bench")
    parser.add_argument("deepwell")
    parser.add_argument("llama_bench")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--tests", nargs="+", default=["pp512", "tg64"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-args", default="")
    parser.add_argument("--busy-core", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    with busy_core(args.busy_core):
        for threads in args.threads:
            for test in args.tests:
                ours, peers = [], []
                for number in range(args.rounds):
                    sides = [(ours, run_deepwell), (peers, run_peer)]
                    for side, run in sides if number % 2 == 0 else reversed(sides):
                        side.append(run(args, threads, test))
                a, b = [r["rate"] for r in ours], [r["rate"] for r in peers]
                row = {"threads": threads, "test": test, "deepwell": statistics.median(a), "peer": statistics.median(b),
                       "ratio": statistics.median(a) / statistics.median(b), "deepwell_all": a, "peer_all": b,
                       "peak_gbps": max(r["peak_gbps"] for r in ours)}
                if ours[0]["percent_of_peak"]:
                    row["percent_of_peak"] = statistics.median(r["percent_of_peak"] for r in ours)
                rows.append(row)
                if not args.json:
                    share = f"   {row['percent_of_peak']:.0f} % of {row['peak_gbps']:.1f} GB/s" if "percent_of_peak" in row else ""
                    print(f"{threads} thread(s) {test:>10}: deepwell {row['deepwell']:8.1f}, peer {row['peer']:8.1f} tokens/s, ratio "
                          f"{row['ratio']:.2f}   ({min(a):.1f}-{max(a):.1f}, {min(b):.1f}-{max(b):.1f}){share}", flush=True)
    if args.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
