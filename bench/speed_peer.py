# Compares the speed of `deepwell bench` and llama.cpp on one file, one after the other in the same run, on the same cores.
#
#   python bench/speed_peer.py DEEPWELL MODEL.gguf [--threads 1] [--rounds 5] [-p 512] [-n 64] [--json]
#
# Needs llama-cpp-python. Each round starts deepwell, then llama.cpp, then (next round) the other way round, so that a
# machine that slows down with time slows both. Each side warms up before it measures. Reported: medians and their ratio.
import argparse
import ctypes
import json
import platform
import statistics
import subprocess
import sys
import time


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def run_deepwell(args):
    command = [args.deepwell, "bench", "-m", args.model, "-t", str(args.threads), "-p", str(args.n_prompt),
               "-n", str(args.n_generate), "-r", "1", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{run.stderr}")
    return {r["test"]: r["tokens_per_s"] for r in json.loads(run.stdout)["results"]}


def run_peer(args):
    command = [sys.executable, __file__, args.deepwell, args.model, "--threads", str(args.threads), "-p", str(args.n_prompt),
               "-n", str(args.n_generate), "--peer-worker"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"llama.cpp failed ({run.returncode}):\n{run.stderr[-2000:]}")
    return json.loads(run.stdout.splitlines()[-1])


def peer_worker(args):
    """One measurement of llama.cpp in a process of its own, as llama-bench takes it: logits of the last token only."""
    import llama_cpp as c
    quiet = c.llama_log_callback(lambda *_: None)
    c.llama_log_set(quiet, ctypes.c_void_p(0))
    c.llama_backend_init()
    model = c.llama_model_load_from_file(args.model.encode(), c.llama_model_default_params())
    p = c.llama_context_default_params()
    p.n_ctx = args.n_prompt + args.n_generate
    p.n_batch = p.n_ubatch = 512
    p.n_threads = p.n_threads_batch = args.threads
    ctx = c.llama_init_from_model(model, p)
    memory = c.llama_get_memory(ctx)
    n_vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))

    def decode(tokens):
        array = (c.llama_token * len(tokens))(*tokens)
        start = time.perf_counter()
        if c.llama_decode(ctx, c.llama_batch_get_one(array, len(tokens))) != 0:
            raise SystemExit("llama_decode failed")
        c.llama_synchronize(ctx)
        return time.perf_counter() - start

    def tokens_of(n, seed):
        return [(seed + 7919 * i) % min(n_vocab, 30000) for i in range(n)]

    decode(tokens_of(min(args.n_prompt, 512), 1))  # warm-up: pages, repacked weights, clocks
    result = {}
    if args.n_prompt:
        c.llama_memory_clear(memory, True)
        seconds = sum(decode(tokens_of(min(512, args.n_prompt - i), 3)) for i in range(0, args.n_prompt, 512))
        result[f"pp{args.n_prompt}"] = args.n_prompt / seconds
    if args.n_generate:
        c.llama_memory_clear(memory, True)
        decode([1])
        c.llama_memory_clear(memory, True)
        seconds = sum(decode([token]) for token in tokens_of(args.n_generate, 5))
        result[f"tg{args.n_generate}"] = args.n_generate / seconds
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description="deepwell bench against llama.cpp")
    parser.add_argument("deepwell")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-p", dest="n_prompt", type=int, default=512)
    parser.add_argument("-n", dest="n_generate", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peer-worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer_worker:
        peer_worker(args)
        return
    ours, peers = [], []
    for number in range(args.rounds):
        sides = [(ours, run_deepwell), (peers, run_peer)]
        for side, run in sides if number % 2 == 0 else reversed(sides):
            side.append(run(args))
    report = {"cpu": cpu_name(), "model": args.model.rsplit("/", 1)[-1], "threads": args.threads, "rounds": args.rounds, "tests": []}
    for test in peers[0]:
        a, b = [r[test] for r in ours], [r[test] for r in peers]
        report["tests"].append({
            "test": test, "deepwell": statistics.median(a), "llama_cpp": statistics.median(b),
            "ratio": statistics.median(a) / statistics.median(b), "deepwell_all": a, "llama_cpp_all": b})
    if args.json:
        print(json.dumps(report))
        return
    print(f"{report['cpu']}, {args.threads} thread(s), {args.rounds} rounds, {report['model']}")
    for t in report["tests"]:
        print(f"{t['test']:>8}: deepwell {t['deepwell']:8.2f} tokens/s, llama.cpp {t['llama_cpp']:8.2f} tokens/s, ratio {t['ratio']:.2f}"
              f"   (spread {min(t['deepwell_all']):.2f}-{max(t['deepwell_all']):.2f}, {min(t['llama_cpp_all']):.2f}-{max(t['llama_cpp_all']):.2f})")


if __name__ == "__main__":
    main()
