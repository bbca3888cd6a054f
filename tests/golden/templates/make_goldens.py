#!/usr/bin/env python3
"""Renders every template in templates/ with every conversation, as transformers does, into expected.json.

Needs Python 3.9 or later and jinja2 (requirements.txt). Run it here: python3 make_goldens.py
The conformance table conformance.json comes from make_conformance.py.
"""
import json
import pathlib
import platform

import jinja2

from conversations import CONVERSATIONS
from oracle import FROZEN_TIME, render

HERE = pathlib.Path(__file__).parent

# Special tokens as each model's tokenizer_config.json names them.
TOKENS = {
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "llama": ("<|begin_of_text|>", "<|eot_id|>"),
    "qwen": ("", "<|im_end|>"),
    "qwq": ("", "<|im_end|>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
}


def main():
    cases = []
    for path in sorted((HERE / "templates").glob("*.jinja")):
        family = next(name for name in TOKENS if path.stem.startswith(name))
        bos, eos = TOKENS[family]
        for conversation in CONVERSATIONS:
            context = {
                "bos_token": bos,
                "eos_token": eos,
                "documents": None,
                "tools": None,
                **{key: value for key, value in conversation.items() if key != "title"},
            }
            cases.append({"template": path.name, "title": conversation["title"], "context": context,
                          **render(path.read_text(encoding="utf-8"), context)})
    # Contexts repeat for each template: they are stored once.
    contexts = []
    for case in cases:
        if case["context"] not in contexts:
            contexts.append(case["context"])
        case["context"] = contexts.index(case["context"])
    document = {
        "made_with": {"jinja2": jinja2.__version__, "python": platform.python_version()},
        "now": FROZEN_TIME.isoformat(),
        "contexts": contexts,
        "cases": cases,
    }
    lines = json.dumps(document, ensure_ascii=False, indent=0)
    (HERE / "expected.json").write_text(lines + "\n", encoding="utf-8")
    n_refused = sum("refused" in case for case in cases)
    n_failed = sum("failed" in case for case in cases)
    print(f"{len(cases)} cases, {n_refused} refused, {n_failed} failed")


main()
