#!/usr/bin/env python3
# The second turn of a chat with a model that thinks: how long until its first token, with the turn cache and without.
#
#   python bench/second_turn.py DEEPWELL MODEL.gguf [--rounds 3] [--prompt-words 2600] [--answer-tokens 1000]
#
# The model gets a template that opens a thought in each answer and drops those of earlier turns. The first turn's prompt
# and answer are the history that the second one begins with.
import argparse
import contextlib
import pathlib
import random
import statistics
import sys
import tempfile
import time

from live_system import live_systems

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "functional"))
from thinking_model import write_thinking_model  # noqa: E402

WORDS = "river boat quiet bridge stone market letter winter garden engine copper window harbour signal ladder orchard".split()


def ask(system, messages, n_tokens):
    """(the answer's text, usage, ms until the first token)."""
    text, usage, first, _ = system.answer(messages, max_tokens=n_tokens, temperature=0, ignore_eos=True, enable_thinking=False)
    return text, usage, first * 1000


def two_turns(system, args, number):
    source = random.Random(number)
    messages = [{"role": "user", "content": " ".join(source.choice(WORDS) for _ in range(args.prompt_words))}]
    text, _, first_ms = ask(system, messages, args.answer_tokens)
    time.sleep(args.pause)
    messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "Say that in one sentence."}]
    _, usage, second_ms = ask(system, messages, 8)
    return {"first_ms": first_ms, "second_ms": second_ms, "prompt": usage["prompt_tokens"],
            "cached": usage["prompt_tokens_details"]["cached_tokens"]}


def main():
    parser = argparse.ArgumentParser(description="second turns with and without the turn cache")
    parser.add_argument("deepwell")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompt-words", type=int, default=2600)
    parser.add_argument("--answer-tokens", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=6, help="seconds that the person reads")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="turns-"))
        model = pathlib.Path(folder) / "thinking.gguf"
        write_thinking_model(pathlib.Path(args.model), model)
        sides = {choice: ["-m", str(model), "-c", "8192", "--turn-cache", choice] for choice in ("auto", "off")}
        systems = stack.enter_context(live_systems(args.deepwell, folder, sides))
        runs = {choice: [] for choice in systems}
        for number in range(args.rounds):
            for choice, system in systems.items():
                runs[choice].append(two_turns(system, args, number))
        for choice, results in runs.items():
            first, second, prompt, cached = (statistics.median(r[key] for r in results) for key in ("first_ms", "second_ms", "prompt", "cached"))
            print(f"turn cache {choice:4}: first turn {first:7.0f} ms, second {second:6.0f} ms = {100 * second / first:.1f} %, "
                  f"{cached:.0f} of {prompt:.0f} prompt tokens cached")


if __name__ == "__main__":
    main()
