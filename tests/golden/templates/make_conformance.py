#!/usr/bin/env python3
"""Runs a table of small templates through jinja2 and writes what they print to conformance.json.

The templates of each group that print something also make one seed of the fuzz corpus, followed by a NUL and variables.

Each entry of GROUPS is a template, or a template and its variables. Run it here: python3 make_conformance.py
"""
import json
import pathlib
import platform

import jinja2

from conformance_cases import GROUPS
from oracle import FROZEN_TIME, render


def main():
    cases = []
    for group, entries in GROUPS.items():
        for entry in entries:
            source, context = entry if isinstance(entry, tuple) else (entry, {})
            case = {"group": group, "source": source, **({"context": context} if context else {}), **render(source, context)}
            if " at 0x" not in case.get("text", ""):  # an address is different each time
                cases.append(case)
    document = {
        "made_with": {"jinja2": jinja2.__version__, "python": platform.python_version()},
        "now": FROZEN_TIME.isoformat(),
        "cases": cases,
    }
    here = pathlib.Path(__file__).parent
    for group in GROUPS:
        printed = [case for case in cases if case["group"] == group and "text" in case]
        context = {name: value for case in printed for name, value in case.get("context", {}).items()}
        seed = "\n".join(case["source"] for case in printed) + "\0" + json.dumps(context, ensure_ascii=False)
        (here / "corpus" / group.replace(" ", "_")).write_bytes(seed.encode("utf-8"))
    path = here / "conformance.json"
    path.write_text(json.dumps(document, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    n_failed = sum("failed" in case for case in cases)
    print(f"{len(cases)} cases, {n_failed} of them errors")


main()
