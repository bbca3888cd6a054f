# What a draft model brings: the same requests to a server with one and to a server without, in turn.
#
#   python bench/draft_model.py DEEPWELL MODEL DRAFT [--rounds 3] [--tokens 192] [--clients 1] [--temperature 0]
#          [--draft-args="--draft-max 4"] [--serve-args="-t 2"]
#
# One seed for all, so both must answer alike, and that is checked. Prints tokens a second of decoding (after the first
# token, all clients together) and the share of guesses that were right.
import argparse
import concurrent.futures
import pathlib
import shlex
import shutil
import statistics
import tempfile
import time

from live_system import LiveSystem
from prompt_lookup import COPY, FREE

CODE = [
    "Write a C function that reverses a singly linked list, and explain each line.",
    "Write a Python class for a priority queue with push, pop and a test.",
    "Write an SQL query that finds the three best customers of each month, step by step.",
]


def ask(system, prompt, n_tokens, temperature):
    """(text, tokens after the first, when the first came, when the last came)."""
    text, first, last, n = "", None, None, 0
    for chunk in system.chat([{"role": "user", "content": prompt}], max_tokens=n_tokens, temperature=temperature, seed=1):
        if chunk.get("usage"):
            n = chunk["usage"]["completion_tokens"]
        for choice in chunk["choices"]:
            if choice["delta"].get("content"):
                text += choice["delta"]["content"]
                last = time.monotonic()
                first = first or last
    return text, n - 1, first, last


def ask_all(system, prompts, n_tokens, temperature):
    """(the texts, tokens a second of all together)."""
    with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
        answers = list(pool.map(lambda prompt: ask(system, prompt, n_tokens, temperature), prompts))
    seconds = max(a[3] for a in answers) - min(a[2] for a in answers)
    return tuple(a[0] for a in answers), sum(a[1] for a in answers) / seconds


def guesses(system):
    """(guessed, right) since the server's start."""
    metrics = system.metrics()
    return [metrics[f"deepwell:spec_decode_num_{what}_tokens_total"] for what in ("draft", "accepted")]


def main():
    parser = argparse.ArgumentParser(description="a draft model, with and without")
    parser.add_argument("deepwell")
    parser.add_argument("model")
    parser.add_argument("draft")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0)
    parser.add_argument("--kinds", default="code,free,copy")
    parser.add_argument("--draft-args", default="")
    parser.add_argument("--serve-args", default="")
    args = parser.parse_args()
    flags = ["-m", args.model, "-c", "2048", "--workers", "0", *shlex.split(args.serve_args)]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="draft-"))
    sides = {"with": ["--draft-model", args.draft, *shlex.split(args.draft_args)], "without": []}
    servers = {}
    try:
        for side, more in sides.items():
            servers[side] = LiveSystem(args.deepwell, folder / side, [*flags, *more], side)
        for kind in args.kinds.split(","):
            ratios = []
            before = {side: guesses(servers[side]) for side in sides}
            for i, prompt in enumerate({"code": CODE, "free": FREE, "copy": COPY}[kind]):
                prompts = [f"{prompt} ({c})" if c else prompt for c in range(args.clients)]
                rates, texts = {"with": [], "without": []}, set()
                for number in range(args.rounds):
                    for side in ("with", "without") if (number + i) % 2 else ("without", "with"):
                        answer, rate = ask_all(servers[side], prompts, args.tokens, args.temperature)
                        texts.add(answer)
                        rates[side].append(rate)
                if len(texts) != 1:
                    raise SystemExit(f"different answers to: {prompt[:60]}")
                a, b = statistics.median(rates["with"]), statistics.median(rates["without"])
                ratios.append(a / b)
                print(f"{kind}: {a:7.1f} with, {b:7.1f} tokens/s without, ratio {a / b:.2f}   {prompt[:40]!r}", flush=True)
            shares = []
            for side in sides:
                n_guessed, n_right = (now - then for now, then in zip(guesses(servers[side]), before[side]))
                shares.append(f"{side} {n_right:.0f} of {n_guessed:.0f} guesses right")
            print(f"{kind}: median ratio {statistics.median(ratios):.2f}, lowest {min(ratios):.2f}; {', '.join(shares)}", flush=True)
    finally:
        for server in servers.values():
            server.stop()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
