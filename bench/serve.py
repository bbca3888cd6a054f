# Puts two servers under the same load by the same client, in turn, on the same cores, and prints medians and ratios.
#
#   python bench/serve.py DEEPWELL --ours URL_OR_COMMAND --peer URL_OR_COMMAND [--clients 1,4,16,64] [--each 4]
#                         [--prompt-tokens 240] [--max-tokens 64] [--shared-prefix 0] [--long-share 0.1 --long-tokens 2048]
#                         [--rounds 3] [--cores 0,1] [--busy-core 0] [--json]
#   python bench/serve.py DEEPWELL --ours ... --scenario amid|shared|fair [--peer ...]
#
# DEEPWELL is the program whose `deepwell load` is the client. A side is the URL of a server that runs, or the command
# that starts one; a command has {port} where its port goes, for example
#   --ours "deepwell serve -m MODEL.gguf -np 16 -c 1024 --port {port}"
#   --peer "llama-server -m MODEL.gguf -rtr --jinja -np 16 -c 16384 -t 2 --port {port}"
# Both servers are up all the time, and one is idle while the other is measured. Each round begins with the other side
# than the one before. No prompt is ever asked twice, every answer has --max-tokens tokens, temperature is 0 unless told.
#
# Scenarios: `load` (default) is closed-loop clients, or with --rate open loop. `amid`: a prompt of --long-tokens comes
# amid --clients streams; the pace of these before and meanwhile, and its first token beside that of the same prompt
# alone. `shared`: three requests in a row with one system message of --shared-prefix tokens. `fair` (ours only): two
# keys, --api-keys QUIET,BUSY; the quiet one's first token beside a busy one with the same load, and with 50 times it.
import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request

from busy_core import busy_core
from live_system import free_port

READY_S = 120


class Server:
    """A side: the URL that was given, or a process that this one starts and ends."""

    def __init__(self, name, source, cores):
        self.name = name
        self.process = None
        self.url = source
        if not source.startswith("http://"):
            port = free_port()
            self.url = f"http://127.0.0.1:{port}"
            pin = ["taskset", "-c", cores] if cores else []
            self.process = subprocess.Popen([*pin, *shlex.split(source.replace("{port}", str(port)))],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def wait_until_ready(self):
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            if self.process and self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode} before it was ready")
            for path in ("/readyz", "/health"):
                try:
                    with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                        if answer.status == 200:
                            return
                except (urllib.error.URLError, ConnectionError, TimeoutError):
                    pass
            time.sleep(0.2)
        raise SystemExit(f"{self.name} at {self.url} is not ready after {READY_S} s")

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)


class Bench:
    def __init__(self, args, sides):
        self.args = args
        self.sides = sides
        self.next_question = args.first

    def load_command(self, side, *options, key=""):
        # A block of numbers of its own for each load: no prompt comes twice.
        self.next_question += 1_000_000
        pin = ["taskset", "-c", self.args.cores] if self.args.cores else []
        key = ["--api-key", key] if key else []
        return [*pin, self.args.deepwell, "load", "--url", side.url, "--json", "--ignore-eos", "--temperature", str(self.args.temperature), "--distinct", "0",
                "--first", str(self.next_question), "--max-tokens", str(self.args.max_tokens),
                "--answer-limit", str(self.args.answer_limit), *key, *map(str, options)]

    def load(self, side, *options, key=""):
        command = self.load_command(side, *options, key=key)
        run = subprocess.run(command, capture_output=True, text=True)
        return self.report_of(command, run.stdout, run.stderr)

    @staticmethod
    def report_of(command, out, err):
        try:
            report = json.loads(out)
        except ValueError:
            raise SystemExit(f"{shlex.join(command)} failed:\n{err[-2000:]}") from None
        for entry in report.get("series", [report]):
            if entry["failed"]:
                print(f"warning: {entry['failed']} of {entry['requests']} answers failed: {entry['problems'][:2]}", file=sys.stderr)
        return report

    def in_turn(self, measure):
        """Rounds of measure(side) for each side; {name: [result of each round]}."""
        results = {side.name: [] for side in self.sides}
        for number in range(self.args.rounds):
            for side in self.sides if number % 2 == 0 else reversed(self.sides):
                results[side.name].append(measure(side))
        return results

    def run_load(self):
        options = ["--prompt-tokens", self.args.prompt_tokens]
        if self.args.shared_prefix:
            options += ["--shared-prefix", self.args.shared_prefix]
        if self.args.long_share:
            options += ["--long-share", self.args.long_share, "--long-tokens", self.args.long_tokens]
        if self.args.rate:
            options += ["--rate", self.args.rate]
        rows = []
        for n_clients in self.args.clients.split(","):
            def measure(side, n=n_clients):
                return self.load(side, "--clients", n, "--each", self.args.each, *options)["series"][0]
            rows.append({"clients": int(n_clients), **{name: summary(runs) for name, runs in self.in_turn(measure).items()}})
        return rows

    def run_amid(self):
        n = int(self.args.clients.split(",")[0])

        def measure(side):
            alone = self.load(side, "--streams", 1, "--total", 1, "--prompt-tokens", self.args.long_tokens)
            beside = self.load(side, "--streams", n, "--total", n, "--prompt-tokens", self.args.prompt_tokens, "--amid-tokens",
                               self.args.long_tokens, "--amid-after", self.args.amid_after)
            amid = beside.get("amid")
            if amid is None:
                raise SystemExit(f"{side.name}: the long prompt was not answered: {beside['problems'][:2]}")
            return {"alone_ttft_ms": alone["ttft_ms"]["p50"], "amid_ttft_ms": amid["ttft_ms"],
                    "before_p50_ms": amid["before_ms"]["p50"], "before_p99_ms": amid["before_ms"]["p99"], "meanwhile_p50_ms": amid["during_ms"]["p50"],
                    "meanwhile_p99_ms": amid["during_ms"]["p99"], "meanwhile_max_ms": amid["during_ms"]["max"]}
        return [{"clients": n, **{name: medians(runs) for name, runs in self.in_turn(measure).items()}}]

    def run_shared(self):
        def measure(side):
            self.next_question += 1_000_000
            first = ["--first", self.next_question, "--prompt-tokens", self.args.prompt_tokens, "--shared-prefix",
                     self.args.shared_prefix or 2048]
            # --first comes again behind: the last one counts, and what shares it shares its system message.
            cold = self.load(side, "--streams", 1, "--total", 1, *first)
            warm = self.load(side, "--streams", 1, "--total", 3, *first)
            return {"prompt_tokens": cold["prompt_tokens"], "cold_ttft_ms": cold["ttft_ms"]["p50"],
                    "warm_ttft_ms": warm["ttft_ms"]["p50"], "warm_cached_tokens": warm["cached_tokens"] / warm["requests"]}
        return [{name: medians(runs) for name, runs in self.in_turn(measure).items()}]

    def run_fair(self):
        quiet_key, busy_key = self.args.api_keys.split(",")
        quiet = ["--rate", self.args.rate or 0.5, "--streams", 64, "--total", self.args.each, "--prompt-tokens", self.args.prompt_tokens]

        def measure(side):
            result = {}
            for name, factor in (("equal", 1), ("fifty", 50)):
                command = self.load_command(side, "--rate", (self.args.rate or 0.5) * factor, "--streams", 16 * factor, "--total", 10**6,
                                            "--prompt-tokens", self.args.prompt_tokens, key=busy_key)
                other = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    time.sleep(5)
                    report = self.load(side, *quiet, key=quiet_key)
                finally:
                    other.send_signal(signal.SIGINT)
                    other.wait()
                result[f"{name}_ttft_p50_ms"] = report["ttft_ms"]["p50"]
                result[f"{name}_ttft_p99_ms"] = report["ttft_ms"]["p99"]
                time.sleep(5)
            return result
        return [{name: medians(runs) for name, runs in self.in_turn(measure).items()}]


def medians(runs):
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def summary(runs):
    """Medians of what `deepwell load --json` says of one number of clients."""
    flat = [{"tokens_per_s": run["tokens_per_s"], "ttft_p50_ms": run["ttft_ms"]["p50"], "ttft_p99_ms": run["ttft_ms"]["p99"],
             "inter_token_p50_ms": run["inter_token_ms"]["p50"], "inter_token_p99_ms": run["inter_token_ms"]["p99"],
             "client_median_ms": run["client_ms"]["median"], "client_worst_ms": run["client_ms"]["worst"],
             "prompt_tokens": run["prompt_tokens"] / run["requests"], "cached_tokens": run["cached_tokens"] / run["requests"],
             "failed": run["failed"]} for run in runs]
    return {**medians(flat), "tokens_per_s_all": [run["tokens_per_s"] for run in runs]}


def show(rows):
    names = [name for name in rows[0] if name != "clients"]
    for row in rows:
        print(f"{row['clients']} clients" if "clients" in row else "")
        for key in row[names[0]]:
            values = [row[name][key] for name in names]
            if isinstance(values[0], list):
                print(f"  {key:22}" + "   ".join(f"{name} " + " ".join(f"{v:.1f}" for v in value) for name, value in zip(names, values)))
                continue
            ratio = f"   ratio {values[0] / values[1]:.2f}" if len(values) == 2 and values[1] else ""
            print(f"  {key:22}" + "   ".join(f"{name} {value:10.1f}" for name, value in zip(names, values)) + ratio)


def main():
    parser = argparse.ArgumentParser(description="two servers under the same load")
    parser.add_argument("deepwell")
    parser.add_argument("--ours")
    parser.add_argument("--peer")
    parser.add_argument("--scenario", choices=["load", "amid", "shared", "fair"], default="load")
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=240)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--shared-prefix", type=int, default=0)
    parser.add_argument("--long-share", type=float, default=0)
    parser.add_argument("--long-tokens", type=int, default=2048)
    parser.add_argument("--temperature", type=float, default=0, help="at 0 long answers come to an end early, past which tokens have no text and look like pauses")
    parser.add_argument("--amid-after", type=float, default=5)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--api-keys", default="quiet,busy")
    parser.add_argument("--answer-limit", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", type=int, default=int(time.time()) % 1_000_000 * 1_000)
    parser.add_argument("--cores", default="")
    parser.add_argument("--busy-core", type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    sources = [(name, source) for name, source in (("ours", args.ours), ("peer", args.peer)) if source]
    if not sources:
        parser.error("--ours or --peer says what to measure")
    sides = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a `timeout` must leave no servers behind
    try:
        for name, source in sources:
            sides.append(Server(name, source, args.cores))
        bench = Bench(args, sides)
        if args.scenario != "fair":
            for side in sides:  # what a first request alone costs
                bench.load(side, "--streams", 1, "--total", 1)
        with busy_core(args.busy_core):
            rows = getattr(bench, f"run_{args.scenario}")()
    finally:
        for side in sides:
            side.stop()
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        show(rows)


if __name__ == "__main__":
    main()
