# What a draft model brings: the same requests to a server with one and to a server without, in turn.
#
#   python bench/draft_model.py DEEPWELL MODEL DRAFT [--rounds 3] [--tokens 192] [--clients 1] [--temperature 0]
#          [--draft-args="--draft-max 4"] [--serve-args="-t 2"]
#
# One seed for all, so both must answer alike, and that is checked. Prints tokens a second of decoding (after the first
# token, all clients together) and the share of guesses that were right.
import argparse
import concurrent.futures
import shlex
import statistics
import tempfile
import time

from live_system import live_systems
from prompt_lookup import COPY, FREE

CODE = [
    "Write a C function that reverses a singly linked list, and explain each line.",
    "Write a Python class for a priority queue with push, pop and a test.",
    "Write an SQL query that finds the three best customers of each month, step by step.",
]


def ask_all(system, prompts, n_tokens, temperature):
    """(the texts, tokens a second of all together)."""
    def ask(prompt):
        begin = time.monotonic()
        text, usage, first, last = system.answer([{"role": "user", "content": prompt}], max_tokens=n_tokens, temperature=temperature, seed=1)
        return text, usage["completion_tokens"] - 1, begin + first, begin + last

    with concurrent.futures.ThreadPoolExecutor(len(prompts)) as pool:
        answers = list(pool.map(ask, prompts))
    texts, n_tok, first, last = zip(*answers)
    return texts, sum(n_tok) / (max(last) - min(first))


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
    sides = {"with": [*flags, "--draft-model", args.draft, *shlex.split(args.draft_args)], "without": flags}
    with tempfile.TemporaryDirectory(prefix="draft-") as folder, live_systems(args.deepwell, folder, sides) as servers:
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


if __name__ == "__main__":
    main()
