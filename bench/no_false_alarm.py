# No false alarm: a machine whose cores are taken by others, long prompts, and not one worker may be suspected or moved.
#
#   python bench/no_false_alarm.py DEEPWELL MODEL.gguf [--minutes 10] [--prefills 20] [--hogs 4] [--json]
#
# `stress-ng --cpu N` runs all the time beside a plain server with 2 workers. The prompts are as long as the model's
# context allows (--prompt-tokens, 8k less what the template and the answer need), each different, and are asked for one
# after the other over the whole time; short answers run in between. Counted from the log of the server and its incident
# files: suspicions, replacements, restarts. Exit status 1: there was one, or an answer failed.
import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from live_system import LiveSystem

ALARMS = {"suspected": r"is silent since", "replaced": r"is replaced:", "restarted": r"died (by signal|with exit code)"}


def ask(system, model, text, max_tokens):
    body = {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(system.url + "/v1/chat/completions", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=1800) as reply:
        return json.load(reply)["usage"]["prompt_tokens"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("deepwell")
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--prefills", type=int, default=20)
    parser.add_argument("--prompt-tokens", type=int, default=8000)
    parser.add_argument("--hogs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not shutil.which("stress-ng"):
        parser.error("stress-ng is not installed")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rng = random.Random(1)
    folder = tempfile.mkdtemp(prefix="alarm-")
    system = LiveSystem(args.deepwell, folder, ["-m", args.model, "--workers", str(args.workers), "--threads", "1",
                                                "--request-timeout", "3600"])
    hogs, is_kept = None, True
    try:
        model = json.loads(system.get("/v1/models")[1])["data"][0]["id"]
        # How many tokens a word is: asked, not assumed.
        n_probe = 100
        words = lambda n: " ".join(str(rng.randrange(10**5, 10**6)) for _ in range(n))
        per_word = (ask(system, model, words(2 * n_probe), 1) - ask(system, model, words(n_probe), 1)) / n_probe
        n_words = int((args.prompt_tokens - 100) / per_word)
        hogs = subprocess.Popen(["stress-ng", "--cpu", str(args.hogs), "--timeout", "0"], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        end = time.monotonic() + args.minutes * 60
        done, failed, n_short = [], [], [0]

        def long_ones():
            for _ in range(args.prefills):
                begin = time.monotonic()
                try:
                    done.append((ask(system, model, words(n_words), 8), time.monotonic() - begin))
                except OSError as error:
                    failed.append(str(error))

        def short_ones():
            while time.monotonic() < end:
                try:
                    ask(system, model, "Tell me about the sea.", 16)
                    n_short[0] += 1
                except OSError as error:
                    failed.append(str(error))
                time.sleep(1)

        askers = [threading.Thread(target=work, daemon=True) for work in (long_ones, short_ones)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        seconds = time.monotonic() - end + args.minutes * 60
        text = open(system.log_path, errors="replace").read()
        incidents = os.path.join(system.run_dir, "incidents")
        report = {"seconds": seconds, "prefills": len(done), "prompt_tokens": [n for n, _ in done],
                  "prefill_seconds": [round(t, 1) for _, t in done], "short_answers": n_short[0], "failed": failed,
                  "incidents": len(os.listdir(incidents)) if os.path.isdir(incidents) else 0,
                  **{name: len(re.findall(pattern, text)) for name, pattern in ALARMS.items()}}
        is_kept = bool(failed or report["incidents"] or any(report[name] for name in ALARMS))
        if args.json:
            print(json.dumps(report, indent=1))
        else:
            print(f"{seconds / 60:.1f} min, {len(done)} prefills of {min(report['prompt_tokens'])} to "
                  f"{max(report['prompt_tokens'])} tokens in {min(report['prefill_seconds'])} to "
                  f"{max(report['prefill_seconds'])} s, {n_short[0]} short answers, {len(failed)} failed: "
                  f"{report['suspected']} suspicions, {report['replaced']} replacements, {report['restarted']} restarts, "
                  f"{report['incidents']} incidents")
        return 1 if is_kept else 0
    finally:
        if hogs:
            hogs.send_signal(signal.SIGINT)
            hogs.wait()
        system.stop()
        if is_kept:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
