#!/usr/bin/env python3
"""Finds braces inside co_await expressions: lambdas and braced temporaries, which g++ 12 destroys twice there.

usage: check_co_await.py [FILE or FOLDER ...]     (default: src)

Name the lambda or the struct first, then move it: `auto work = [&] {...}; co_await offload(pool, home, std::move(work));`
Prints FILE:LINE of each offender and exits with 1 if there is one. `--self-test` checks the checker.
"""
import pathlib
import re
import sys

# Comments, strings and characters are blanked so that their braces do not count; newlines stay for the line numbers.
NOT_CODE = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^()\\ ]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-zA-Z])\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL,
)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group())


def offenders(text):
    """Lines on which a co_await expression begins that holds a brace."""
    code = NOT_CODE.sub(blank, text)
    for match in re.finditer(r"(?<!operator )\bco_await\b", code):
        depth = 0
        for position in range(match.end(), len(code)):
            char = code[position]
            if char == "{":
                yield code.count("\n", 0, match.start()) + 1
                break
            if char in "([":
                depth += 1
            elif char in ")]":
                depth -= 1
                if depth < 0:
                    break
            elif depth == 0 and char in ";,?:":  # the expression has ended, or its awaited part has
                break


def self_test():
    bad = [
        "co_await f([&] { return 1; });",
        "co_await writer.send(Response{200});",
        "co_await writer.send({200, {}});",
        "auto x =\n  co_await g(1,\n    Options{.a = 2});",
        "co_await Wait{5};",
    ]
    good = [
        "if (!co_await writer.write(event)) { return; }",
        "while (co_await next()) {",
        "co_await f(std::move(work)); }",
        'co_await writer.write("{}");',
        "co_await f(a); // [&] { }",
        "co_await f('{');",
        "const auto n = co_await f(x); if (!n) { co_return; }",
    ]
    for text in bad:
        assert list(offenders(text)), f"should be found: {text}"
    for text in good:
        assert not list(offenders(text)), f"should be fine: {text}"
    print("check_co_await: self-test passed")


def main(arguments):
    if arguments == ["--self-test"]:
        self_test()
        return 0
    root = pathlib.Path(__file__).resolve().parent.parent
    paths = [pathlib.Path(argument) for argument in arguments] or [root / "src"]
    files = []
    for path in paths:
        files += [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in (".cpp", ".hpp"))
    n_found = 0
    for file in files:
        for line in offenders(file.read_text(encoding="utf-8")):
            print(f"{file}:{line}: a brace inside co_await: name the lambda or the struct first, then move it")
            n_found += 1
    return 1 if n_found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
