# Which files of the tree the checks look at, and how C++ text is blanked for them.
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def tree(*suffixes):
    """Paths relative to the root, of files that git tracks or would track, with one of the suffixes."""
    listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
                             cwd=ROOT, capture_output=True)
    if listing.returncode == 0:
        paths = listing.stdout.decode().split("\0")
    else:  # a source archive: no git
        paths = [os.path.relpath(os.path.join(d, f), ROOT) for d, _, files in os.walk(ROOT) for f in files
                 if not os.path.relpath(d, ROOT).startswith(("build", ".git"))]
    return sorted(p for p in set(paths) if p and p.endswith(suffixes or ("",)) and os.path.isfile(os.path.join(ROOT, p)))


def cpp_files():
    return tree(".hpp", ".cpp", ".inl", ".h", ".cu")


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


_TOKENS = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"([^(\s]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL)


def without_comments_and_strings(text):
    """The same text with comments and literals blanked; line numbers stay right."""
    return _TOKENS.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)
