# Soak: plain `deepwell serve` systems under a checked load, and every 20 s one of them loses something.
#
#   python bench/soak.py DEEPWELL [--model MODEL.gguf] [--minutes 30] [--seed 1] [--json FILE]
#
# One synthetic system with 4 workers and, with --model, a real one with 2. `deepwell load --verify --reattach` asks
# them and compares every answer with the undisturbed one. Reported: requests, failures, answers that differ, faults
# and how long each took to mend, the memory of every process (slope in KiB a minute) and the size of the journals.
# Exit status 1: an answer failed or differed, or a system did not become whole again.
#
# The journals lie on tmpfs mounts of their own, so that they can be filled up: only for root; else without that fault.
import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from live_system import LiveSystem, memory_kib, slope

FAULT_EVERY_S = 20
SAMPLE_EVERY_S = 10
WARM_UP_S = 30        # of a process's life; before it memory may grow
MEND_LIMIT_S = 30
DISK_FULL_S = 5
JOURNAL_DISK_MB = 512


class Soaked:
    """A system, its load, and what was seen of it."""

    def __init__(self, program, folder, name, flags, n_workers, load_flags, has_disk):
        self.program, self.name, self.n_workers, self.has_disk = program, name, n_workers, has_disk
        self.folder = os.path.join(folder, name)
        os.makedirs(os.path.join(self.folder, "journal"))
        if has_disk:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={JOURNAL_DISK_MB}m", "deepwell-soak",
                            os.path.join(self.folder, "journal")], check=True)
        self.load_flags = load_flags
        self.system = self.load = None
        self.flags = flags
        self.memory = {}   # (kind, epoch) -> [(seconds, age, rss, anonymous)]
        self.journal = []  # (seconds, bytes)

    def start(self):
        self.system = LiveSystem(self.program, self.folder, self.flags, self.name)

    def start_load(self, seconds):
        self.load = subprocess.Popen(
            [self.program, "load", "--url", self.system.url, "--verify", "--reattach", "--json", "--seconds",
             str(seconds), *self.load_flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.notes, has_begun = [], threading.Event()

        def read():
            for line in self.load.stderr:
                self.notes.append(line)
                if "the load begins" in line:
                    has_begun.set()
            has_begun.set()

        threading.Thread(target=read, daemon=True).start()
        has_begun.wait()
        if self.load.poll() is not None:
            raise SystemExit(f"{self.name}: the load did not begin: {''.join(self.notes)}")

    def sample(self, now):
        for row in self.system.processes():
            found = memory_kib(row["pid"])
            if found:
                key = row["kind"], row.get("epoch", "0")
                self.memory.setdefault(key, []).append((now, float(row.get("uptime_s", now)), *found))
        folder = os.path.dirname(self.system.journal)
        self.journal.append((now, sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder)
                                      if file.startswith("answers.db"))))

    def result(self):
        out = self.load.communicate(timeout=180)[0]
        return json.loads(out) if out.strip() else {"failed": -1, "problems": self.notes}

    def stop(self):
        if self.load and self.load.poll() is None:
            self.load.kill()
            self.load.wait()
        if self.system:
            self.system.stop()
        if self.has_disk:
            subprocess.run(["umount", "-l", os.path.join(self.folder, "journal")])


# Each fault returns when what lasts of it is over.
def strike(kind, number):
    def deed(soaked, rng):
        row = rng.choice(soaked.system.processes(kind))
        os.kill(int(row["pid"]), number)
        LiveSystem.wait(lambda: row["epoch"] not in {other["epoch"] for other in soaked.system.processes(kind)},
                        MEND_LIMIT_S, f"replaced: {kind} {row['epoch']}")
    return deed


def reload(soaked, _):
    done = subprocess.run([soaked.program, "reload", "--run-dir", soaked.system.run_dir], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the reload failed: {done.stdout}{done.stderr}")


def fill_disk(soaked, _):
    path = os.path.join(os.path.dirname(soaked.system.journal), "filler")
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass
        time.sleep(DISK_FULL_S)
    os.unlink(path)
    LiveSystem.wait(lambda: soaked.system.health().get("status") == "ok", MEND_LIMIT_S, "well after the disk was full")


FAULTS = {
    "kill worker": strike("worker", signal.SIGKILL),
    "stop worker": strike("worker", signal.SIGSTOP),
    "kill front": strike("front", signal.SIGKILL),
    "stop front": strike("front", signal.SIGSTOP),
    "reload": reload,
    "disk full": fill_disk,
}


def faults_in_turn(kinds, rng):
    """Each kind once in every round, in random order."""
    while True:
        yield from rng.sample(kinds, len(kinds))


def soak(systems, minutes, rng, log):
    kinds = [kind for kind in FAULTS if kind != "disk full" or systems[0].has_disk]
    counts, mended_s, problems = {kind: 0 for kind in kinds}, {kind: [] for kind in kinds}, []
    begin, is_over = time.monotonic(), threading.Event()

    def watch():
        while not is_over.wait(SAMPLE_EVERY_S):
            for soaked in systems:
                try:
                    soaked.sample(time.monotonic() - begin)
                except OSError as error:
                    log(f"no sample: {error}")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    turns = {soaked.name: faults_in_turn(kinds, rng) for soaked in systems}
    n = 0
    while time.monotonic() - begin < minutes * 60 - FAULT_EVERY_S:
        n += 1
        time.sleep(max(0, begin + n * FAULT_EVERY_S - time.monotonic()))
        soaked = systems[n % len(systems)]
        kind = next(turns[soaked.name])
        struck = time.monotonic()
        try:
            FAULTS[kind](soaked, rng)
            soaked.system.wait(lambda: soaked.system.is_whole(soaked.n_workers), MEND_LIMIT_S, "whole")
        except (TimeoutError, RuntimeError, OSError) as error:
            problems.append(f"{struck - begin:.0f} s, {soaked.name}, {kind}: {error}")
            log(problems[-1])
        counts[kind] += 1
        mended_s[kind].append(time.monotonic() - struck)
        log(f"{struck - begin:7.1f} s  {soaked.name:9}  {kind:12}  whole after {mended_s[kind][-1]:.1f} s")
    results = {soaked.name: soaked.result() for soaked in systems}
    is_over.set()
    watcher.join()
    return {"seconds": time.monotonic() - begin, "faults": counts, "problems": problems, "load": results,
            "mended_s": {kind: {"median": statistics.median(times), "max": max(times)}
                         for kind, times in mended_s.items() if times},
            "memory": {soaked.name: memory_of(soaked) for soaked in systems},
            "journal_bytes": {soaked.name: [size for _, size in soaked.journal] for soaked in systems}}


def memory_of(soaked):
    """By kind of process. `within`: growth inside lives; `across`: of all samples over the whole run, so that a
    successor that begins with more shows too."""
    report = {}
    for kind in ("supervisor", "front", "worker"):
        lives = [[sample for sample in life if sample[1] >= WARM_UP_S]
                 for key, life in soaked.memory.items() if key[0] == kind]
        samples = [sample for life in lives for sample in life]
        if not samples:
            continue
        report[kind] = {"lives": len(lives), "samples": len(samples), "min_kib": min(s[2] for s in samples),
                        "max_kib": max(s[2] for s in samples)}
        for name, column in (("rss", 2), ("anonymous", 3)):
            within = slope([[(s[0] / 60, s[column]) for s in life] for life in lives])
            across = slope([[(s[0] / 60, s[column]) for s in samples]])
            report[kind][f"{name}_kib_per_min"] = {"within": within, "across": across}
    return report


def show(report):
    print(f"{report['seconds'] / 60:.1f} min; faults: " + ", ".join(f"{n} {kind}" for kind, n in report["faults"].items()))
    for kind, times in report["mended_s"].items():
        print(f"  {kind}: whole after {times['median']:.1f} s (median), {times['max']:.1f} s (longest)")
    for name, load in report["load"].items():
        print(f"{name}: {load.get('requests')} answers, {load['failed']} failed, {load.get('different')} different, "
              f"{load.get('lost_tokens')} tokens lost, {load.get('duplicated_events')} events twice, "
              f"{load.get('reattached')} re-attached, {load.get('continued')} continued inexactly, "
              f"{load.get('unresumable')} not resumable; pause p99 {load.get('pause_ms', {}).get('p99')} ms")
        for problem in load.get("problems", []):
            print("  " + problem)
        for kind, memory in report["memory"][name].items():
            rates = {key: memory[f"{key}_kib_per_min"] for key in ("rss", "anonymous")}
            print(f"  {kind}: {memory['lives']} lives, {memory['min_kib']} to {memory['max_kib']} KiB; slope KiB/min "
                  + ", ".join(f"{key} {way} {'-' if value is None else format(value, '+.1f')}"
                              for key, rate in rates.items() for way, value in rate.items()))
        sizes = report["journal_bytes"][name]
        if sizes:
            print(f"  journal: {sizes[0]} bytes at first, {sizes[-1]} at last, {max(sizes)} at most")
    for problem in report["problems"]:
        print("problem: " + problem)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("deepwell")
    parser.add_argument("--model")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json")
    parser.add_argument("--rate", type=float, default=25, help="requests a second to the synthetic system")
    parser.add_argument("--model-rate", type=float, default=0.5, help="to the real one")
    args = parser.parse_args()
    if args.minutes * 60 < 2 * FAULT_EVERY_S:
        parser.error("--minutes: too short for a fault")
    folder = tempfile.mkdtemp(prefix="soak-")
    has_disk = os.geteuid() == 0
    # A copy: a reload takes what lies at the path then.
    program = shutil.copy(args.deepwell, os.path.join(folder, "deepwell"))
    systems = [Soaked(program, folder, "synthetic",
                      ["--synthetic", "--synthetic-pace-us", "10000", "--workers", "4", "--parallel", "64"], 4,
                      ["--streams", "200", "--rate", str(args.rate), "--prompt-tokens", "300", "--max-tokens",
                       "80", "--pace-ms", "10"], has_disk)]
    if args.model:
        systems.append(Soaked(program, folder, "real", ["-m", args.model, "--workers", "2", "--threads", "1"], 2,
                              ["--streams", "32", "--rate", str(args.model_rate), "--max-tokens", "48", "--distinct",
                               "20"], has_disk))
    is_kept = True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        for soaked in systems:
            soaked.start()
        for soaked in systems:
            soaked.start_load(int(args.minutes * 60))
        report = soak(systems, args.minutes, random.Random(args.seed), lambda line: print(line, file=sys.stderr, flush=True))
        show(report)
        if args.json:
            with open(args.json, "w") as file:
                json.dump(report, file, indent=1)
        is_kept = bool(report["problems"]) or any(
            load["failed"] != 0 or load["different"] or load["lost_tokens"] or load["duplicated_events"]
            for load in report["load"].values())
        return 1 if is_kept else 0
    finally:
        for soaked in systems:
            soaked.stop()
        if is_kept:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
