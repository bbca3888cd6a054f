# What guessing from the prompt brings: the same requests to a server that guesses and to one that does not, in turn.
#
#   python bench/prompt_lookup.py DEEPWELL MODEL [--rounds 3] [--tokens 192] [--serve-args="-t 2"]
#
# Copy-heavy tasks quote a text, or ask for a JSON document with one change; free ones ask for prose. Temperature 0, so
# both servers must answer alike, and that is checked. Prints the tokens a second of decoding (after the first token).
import argparse
import json
import shlex
import statistics
import tempfile

from live_system import live_systems

ITEMS = [{"id": i, "name": f"valve-{i:02d}", "state": "closed" if i % 3 else "open", "pressure_kpa": 200 + 17 * i} for i in range(12)]
STORY = ("The committee met on Tuesday in the old library. Mrs. Keller opened the meeting at nine and read the minutes of the last one. "
         "Mr. Osei asked why the roof of the reading room had not been repaired. The treasurer answered that the money had gone to the "
         "heating, which had failed twice in January. After a long silence somebody proposed a concert to raise what was missing.")
COPY = [
    "Repeat the following text word for word, and nothing else:\n" + STORY,
    "Here is a JSON document:\n" + json.dumps(ITEMS, indent=1) + "\nGive the whole document again with the state of valve-03 set to open. Only the JSON.",
    "Quote the text below three times, unchanged:\n" + STORY[:300],
]
FREE = [
    "Write a short story about a lighthouse keeper who is afraid of the dark.",
    "Explain to a child why the sky is blue and sunsets are red.",
    "Give advice to somebody who moves to a foreign city for the first time.",
]


def ask(system, prompt, n_tokens):
    """(the answer's text, tokens a second after the first)."""
    text, usage, first, last = system.answer([{"role": "user", "content": prompt}], max_tokens=n_tokens, temperature=0)
    return text, (usage["completion_tokens"] - 1) / (last - first)


def main():
    parser = argparse.ArgumentParser(description="prompt look-up, with and without")
    parser.add_argument("deepwell")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--serve-args", default="")
    args = parser.parse_args()
    flags = ["-m", args.model, "-c", "2048", "--workers", "0", *shlex.split(args.serve_args)]
    sides = {name: [*flags, "--draft-max", n_draft] for name, n_draft in (("with", "8"), ("without", "0"))}
    with tempfile.TemporaryDirectory(prefix="lookup-") as folder, live_systems(args.deepwell, folder, sides) as servers:
        for kind, prompts in (("copy", COPY), ("free", FREE)):
            ratios = []
            for prompt in prompts:
                rates = {"with": [], "without": []}
                texts = set()
                for number in range(args.rounds + 1):  # the first one warms the cache of the prompt
                    for side in ("with", "without") if number % 2 else ("without", "with"):
                        text, rate = ask(servers[side], prompt, args.tokens)
                        texts.add(text)
                        if number:
                            rates[side].append(rate)
                if len(texts) != 1:
                    raise SystemExit(f"different answers to: {prompt[:60]}")
                a, b = statistics.median(rates["with"]), statistics.median(rates["without"])
                ratios.append(a / b)
                print(f"{kind}: {a:7.1f} with, {b:7.1f} tokens/s without, ratio {a / b:.2f}   {prompt[:40]!r}", flush=True)
            print(f"{kind}: median ratio {statistics.median(ratios):.2f}, lowest {min(ratios):.2f}")


if __name__ == "__main__":
    main()
