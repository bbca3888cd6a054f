#!/usr/bin/env python3
# Runs CTest and counts single cases, not executables; closes with `N passed, N failed`. Exit code 0 only if all passed.
import argparse
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

GTEST_PASSED = re.compile(r"^\[  PASSED  \] (\d+) tests?\.", re.MULTILINE)
GTEST_FAILED = re.compile(r"^\s*(\d+) FAILED TESTS?$", re.MULTILINE)
GTEST_SKIPPED = re.compile(r"^\[  SKIPPED \] (\d+) tests?, listed below", re.MULTILINE)
PYTEST = {word: re.compile(rf"^=+ .*?\b(\d+) {word}\b.* =+$", re.MULTILINE) for word in ("passed", "failed", "error", "skipped")}
OWN = re.compile(r"^(\d+) passed, (\d+) failed$", re.MULTILINE)


def first_number(pattern, text):
    m = pattern.search(text)
    return int(m.group(1)) if m else 0


def count_cases(output, is_failed):
    """(passed, failed, skipped) single cases of one CTest test, from what it printed."""
    if GTEST_PASSED.search(output):
        passed, failed = first_number(GTEST_PASSED, output), first_number(GTEST_FAILED, output)
        skipped = first_number(GTEST_SKIPPED, output)
    elif PYTEST["passed"].search(output) or PYTEST["failed"].search(output):
        passed, skipped = first_number(PYTEST["passed"], output), first_number(PYTEST["skipped"], output)
        failed = first_number(PYTEST["failed"], output) + first_number(PYTEST["error"], output)
    elif OWN.search(output):
        passed, failed = map(int, OWN.search(output).groups())
        skipped = 0
    else:  # a test that does not count for itself, or died before it could
        passed, failed, skipped = (0, 1, 0) if is_failed else (1, 0, 0)
    if is_failed and failed == 0:  # a crash, a time-out or a leak after the last case
        failed = 1
    return passed, failed, skipped


def run_ctest(args):
    report = os.path.abspath(os.path.join(args.build, "tests.xml"))
    if os.path.exists(report):
        os.remove(report)
    limit = str(64 << 20)  # CTest cuts the output of each test to this many bytes in its report
    ctest = subprocess.run(
        ["ctest", "--test-dir", args.build, "-L", args.labels, "-R", args.tests, "--parallel", str(args.jobs), "--output-on-failure",
         "--no-tests=ignore", "--output-junit", report, "--test-output-size-passed", limit, "--test-output-size-failed", limit])
    if not os.path.exists(report):
        print("ctest wrote no report: it did not run", file=sys.stderr)
        return 0, 1, 0
    totals = [0, 0, 0]
    for case in ElementTree.parse(report).iter("testcase"):
        status = case.get("status")
        if status in ("notrun", "disabled"):
            why = case.find("skipped")
            chose_to = status == "disabled" or (why is not None and why.get("message", "").startswith("SKIP_"))
            counts = (0, 0, 1) if chose_to else (0, 1, 0)  # an executable that is not there is a failure
        else:
            counts = count_cases(case.findtext("system-out") or "", is_failed=status == "fail")
        print(f"  {case.get('name')}: {counts[0]} passed, {counts[1]} failed" + (f", {counts[2]} skipped" if counts[2] else ""))
        totals = [a + b for a, b in zip(totals, counts)]
    if ctest.returncode != 0 and totals[1] == 0:
        totals[1] = 1
    return totals


def run_also(name, command):
    """Runs a shell command, shows what it prints, and counts its cases like those of a CTest test."""
    process = subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE, text=True)
    output = []
    for line in process.stdout:
        print(line, end="", flush=True)
        output.append(line)
    counts = count_cases("".join(output), is_failed=process.wait() != 0)
    print(f"  {name}: {counts[0]} passed, {counts[1]} failed" + (f", {counts[2]} skipped" if counts[2] else ""))
    return counts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True, help="the build directory")
    parser.add_argument("--labels", required=True, help="regular expression of CTest labels")
    parser.add_argument("--tests", default=".", help="regular expression of CTest names")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--also", nargs=2, action="append", default=[], metavar=("NAME", "COMMAND"),
                        help="a shell command that closes with `N passed, N failed` or as pytest does")
    args = parser.parse_args()
    passed, failed, skipped = run_ctest(args)
    for name, command in args.also:
        counts = run_also(name, command)
        passed, failed, skipped = (a + b for a, b in zip((passed, failed, skipped), counts))
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
