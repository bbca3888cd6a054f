#!/usr/bin/env python3
# Measures the program on the accuracy goldens and holds it to the limits below.
#
#   check_accuracy.py DEEPWELL MODELS_DIR [--threads N]
#
# MODELS_DIR has qwen2.5-coder-0.5b.gguf and smollm2-135m.gguf. Prints a line a limit and `N passed, N failed`.
import argparse
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# name: (KL at most, top-1 agreement at margin at least, |perplexity ratio - 1| at most)
LIMITS = {"qwen2.5-coder-0.5b": (0.002, 0.99, 0.005), "smollm2-135m": (0.006, 0.99, 0.01)}


def measure(args, name):
    command = [args.deepwell, "perplexity", "-m", os.path.join(args.models, name + ".gguf"),
               "--kl", os.path.join(HERE, name + ".kl"), "-t", str(args.threads), "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed ({run.returncode}):\n{run.stderr}")
    return json.loads(run.stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("deepwell")
    parser.add_argument("models")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    results = []
    for name, (kl, top1, ratio) in LIMITS.items():
        f = measure(args, name)
        for what, value, is_good in [
                (f"KL {f['kl']:.6f} <= {kl}", f["kl"], f["kl"] <= kl),
                (f"top-1 at margin {100 * f['top1_at_margin']:.2f} % >= {100 * top1:.0f} %", f["top1_at_margin"],
                 f["top1_at_margin"] >= top1),
                (f"perplexity ratio {f['perplexity_ratio']:.5f} within {ratio}", f["perplexity_ratio"],
                 abs(f["perplexity_ratio"] - 1) <= ratio)]:
            is_good = is_good and value == value  # a NaN passes no limit
            print(f"{'ok' if is_good else 'FAILED'}: {name}: {what}")
            results.append(is_good)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
