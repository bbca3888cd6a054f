#!/usr/bin/env python3
# Runs every check that needs no build: `make check`. Prints one line a check and closes with `N passed, N failed`.
import glob
import os
import shutil
import subprocess
import sys

import sources

PYTHON = sys.executable
CLANG_FORMAT = os.environ.get("CLANG_FORMAT", "clang-format")


def checks():
    """(name, command); each command exits with 0 when all is well."""
    cpp = [p for p in sources.cpp_files() if p.startswith(("src/", "fuzz/"))]
    shell = sources.tree(".sh", ".ci/run")
    prose = [p for p in sources.tree(".hpp", ".cpp", ".inl", ".py", ".sh", ".md", ".txt", ".toml")
             if not p.startswith("tests/") and "_corpus/" not in p and not p.endswith("_test.cpp")]  # they misspell on purpose
    listed = [
        ("layers", [PYTHON, "tools/check_layers.py"]),
        ("style", [PYTHON, "tools/check_style.py"]),
        ("format", [CLANG_FORMAT, "--dry-run", "--Werror", *cpp]),
        ("spelling", ["codespell", *prose]),
        ("shell", ["shellcheck", *shell]),
        ("headers", [PYTHON, "tools/check_headers.py"]),
    ]
    # Checks of one wing's own habits: tools/check_*.py beyond the three above.
    for script in sorted(glob.glob(os.path.join(sources.ROOT, "tools", "check_*.py"))):
        name = os.path.basename(script).removeprefix("check_").removesuffix(".py")
        if name not in ("layers", "style", "headers"):
            listed.append((name, [PYTHON, f"tools/check_{name}.py"]))
    return listed


def run_check(name, command):
    if shutil.which(command[0]) is None:
        print(f"check {name}: FAILED: {command[0]} is not installed (tools/bootstrap.sh test installs it)", flush=True)
        return False
    run = subprocess.run(command, cwd=sources.ROOT, capture_output=True, text=True)
    is_good = run.returncode == 0
    print(f"check {name}: {'ok' if is_good else 'FAILED'}", flush=True)
    if not is_good:
        print("\n".join((run.stdout + run.stderr).strip().split("\n")[:60]), flush=True)
    return is_good


def main():
    wanted = sys.argv[1:]
    results = [run_check(name, command) for name, command in checks() if not wanted or name in wanted]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) and results else 1


if __name__ == "__main__":
    sys.exit(main())
