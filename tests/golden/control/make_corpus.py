#!/usr/bin/env python3
# Writes the seed corpus of the control channel's fuzz target: one line a file, good and bad.
import pathlib

SEEDS = {
    "tick": "tick",
    "loading": "loading progress=0.125",
    "kill": "kill-worker worker=1 epoch=7 text=no progress for 1000 ms",
    "died": "worker-died worker=0 epoch=3 signal=11 tags=5,9",
    "ready": "worker-ready worker=2 epoch=9 text=/run/x/worker-2-9.sock",
    "drain": "drain text=300",
    "tail": "worker-loading progress=1e-5 text=a=b =",
    "too_large": "tick worker=99999999999999999999",
    "wrong": "tick tags=1,,2 worker=1 worker=2",
}

if __name__ == "__main__":
    corpus = pathlib.Path(__file__).parent / "corpus"
    corpus.mkdir(exist_ok=True)
    for name, line in SEEDS.items():
        (corpus / name).write_text(line)
