# What takes a process away without ending it: network namespaces behind veth links, and frozen cgroups. Linux, root.
import itertools
import os
import pathlib
import shutil
import subprocess
import time

import pytest

_numbers = itertools.count(os.getpid() % 100 * 2)


def run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


class Island:
    """A network namespace of its own, reached over one veth link that can be cut."""

    def __init__(self):
        n = next(_numbers) % 250
        self.name, self.link = f"dw-{os.getpid()}-{n}", f"dw{os.getpid() % 100000}v{n}"
        self.here, self.there = f"10.213.{n}.1", f"10.213.{n}.2"
        try:
            run("ip", "netns", "add", self.name)
            run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "there", "netns", self.name)
            run("ip", "addr", "add", f"{self.here}/24", "dev", self.link)
            run("ip", "link", "set", self.link, "up")
            for words in (("addr", "add", f"{self.there}/24", "dev", "there"), ("link", "set", "there", "up"),
                          ("link", "set", "lo", "up")):
                run("ip", "-n", self.name, *words)
        except subprocess.CalledProcessError as error:
            self.remove()
            pytest.skip(f"no network namespaces here: {error.stderr.strip()}")

    def cut(self):
        run("ip", "link", "set", self.link, "down")

    def mend(self):
        run("ip", "link", "set", self.link, "up")

    def remove(self):
        subprocess.run(["ip", "link", "del", self.link], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


def need_root_and(*programs):
    if os.geteuid() != 0:
        pytest.skip("only root may cut links and freeze processes")
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


def make_certificates(folder, addresses):
    """One authority, and one certificate that all ends show. Returns the options."""
    folder = pathlib.Path(folder)
    names = ",".join(f"IP:{address}" for address in addresses)
    (folder / "names").write_text(f"subjectAltName={names}\n")
    for words in (
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test-authority -days 2 "
            "-keyout ca.key -out ca.pem",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test-worker -keyout end.key -out end.csr",
            "x509 -req -in end.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out end.pem"):
        subprocess.run(["openssl", *words.split()], check=True, capture_output=True, cwd=folder)
    return ["--worker-ca", str(folder / "ca.pem"), "--worker-cert", str(folder / "end.pem"), "--worker-key",
            str(folder / "end.key")]


class Freezer:
    """A group of cgroup v2; what is in it can be frozen."""

    def __init__(self):
        roots = [root for root in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
                 if os.path.exists(os.path.join(root, "cgroup.procs")) and os.path.exists(os.path.join(root, "cgroup.controllers"))]
        if not roots:
            pytest.skip("cgroup v2 is not mounted")
        self.root = roots[0]
        self.path = os.path.join(self.root, f"deepwell-test-{os.getpid()}-{next(_numbers)}")
        try:
            os.mkdir(self.path)
        except OSError as error:
            pytest.skip(f"no group of cgroup v2 can be made: {error}")

    def _write(self, path, text):
        with open(path, "w") as file:
            file.write(text)

    def take(self, pid):
        self._write(os.path.join(self.path, "cgroup.procs"), str(pid))

    def freeze(self, pid):
        self.take(pid)
        self._write(os.path.join(self.path, "cgroup.freeze"), "1")

    def thaw(self):
        self._write(os.path.join(self.path, "cgroup.freeze"), "0")

    def remove(self):
        self.thaw()
        for pid in open(os.path.join(self.path, "cgroup.procs")).read().split():
            self._write(os.path.join(self.root, "cgroup.procs"), pid)
        for _ in range(100):
            try:
                return os.rmdir(self.path)
            except OSError:
                time.sleep(0.05)
