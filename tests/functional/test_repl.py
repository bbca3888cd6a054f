# `deepwell run` in a real terminal: the prompt and its habits, and the ways to ask one thing.
#
#   DEEPWELL_BIN, DEEPWELL_TEST_MODELS: as in conftest.py; what is not set is skipped.
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

LIMIT_S = 120
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r|\x1b\[?[0-9;?]*$")


def model_path():
    program, models = os.environ.get("DEEPWELL_BIN"), os.environ.get("DEEPWELL_TEST_MODELS")
    if not program or not models:
        pytest.skip("DEEPWELL_BIN and DEEPWELL_TEST_MODELS are not set")
    path = os.path.join(models, "smollm2-135m.gguf")
    if not os.path.exists(path):
        pytest.skip(f"{path} is not there")
    return program, path


def environment(home):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DEEPWELL_", "LC_", "LANG"))}
    return {**kept, "DEEPWELL_HOME": str(home), "TERM": "xterm", "LANG": "C.UTF-8"}


class Terminal:
    """The program on a pseudo-terminal of 100 columns."""

    def __init__(self, home, *flags):
        program, path = model_path()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(program, [program, "run", path, "--seed", "1", "--temperature", "0", *flags], environment(home))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.raw = ""
        self.n_seen = 0
        self.status = None

    def _read_some(self, timeout_s):
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return True
        try:
            piece = os.read(self.fd, 65536)
        except OSError:  # EIO: the program has left
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)

    def text(self):
        """All output so far without escape sequences, also without one that has not wholly arrived."""
        return ESCAPES.sub("", self.raw)

    def expect(self, wanted, limit_s=LIMIT_S):
        """Waits for `wanted` after what was last waited for; returns the text up to its end."""
        deadline = time.monotonic() + limit_s
        is_open = True
        while True:
            text = self.text()
            at = text.find(wanted, self.n_seen)
            if at >= 0:
                seen, self.n_seen = text[self.n_seen:at + len(wanted)], at + len(wanted)
                return seen
            assert is_open, f"left before {wanted!r}: {text[self.n_seen:]!r}"
            assert time.monotonic() < deadline, f"no {wanted!r} in {text[self.n_seen:]!r}"
            is_open = self._read_some(0.2)

    def send(self, text):
        os.write(self.fd, text.encode())

    def ask(self, line):
        """Types a line and waits for the next prompt; returns what stands between."""
        self.send(line + "\n")
        return self.expect(">>> ")

    def wait_left(self, limit_s=30):
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            self._read_some(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
        raise AssertionError(f"still there: {self.raw!r}")

    def close(self):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def open_terminal(tmp_path):
    opened = []

    def open_one(*flags):
        opened.append(Terminal(tmp_path, *flags))
        opened[-1].expect(">>> Send a message (/? for help)")
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


def test_answers_remembers_and_leaves_with_bye(open_terminal):
    terminal = open_terminal("--max-tokens", "24")
    answer = terminal.ask("What is gravity?")
    assert "ravity" in answer, answer
    terminal.send("/bye\n")
    assert terminal.wait_left() == 0


def test_slash_commands_set_show_and_suggest(open_terminal):
    terminal = open_terminal()
    assert "/set parameter" in terminal.ask("/?")
    assert "set temperature to 0.5" in terminal.ask("/set parameter temperature 0.5")
    assert re.search(r"temperature +0\.5", terminal.ask("/show parameters"))
    assert "system message set" in terminal.ask('/set system "You are a pirate."')
    assert "You are a pirate." in terminal.ask("/show system")
    assert re.search(r"architecture +llama", terminal.ask("/show info"))
    assert "did you mean '/clear'?" in terminal.ask("/claar")
    assert "must be between" in terminal.ask("/set parameter top_p 7")
    assert "new conversation" in terminal.ask("/clear")


def test_several_lines_between_quotes_are_one_message(open_terminal):
    terminal = open_terminal("--max-tokens", "8")
    terminal.send('"""first line\n')
    terminal.expect("... ")
    terminal.send("second line\n")
    terminal.expect("... ")
    terminal.send('third line"""\n')
    terminal.expect(">>> ")


def test_chinese_can_be_typed_and_erased(open_terminal):
    terminal = open_terminal("--max-tokens", "4")
    terminal.send("/set system 你好世界")
    terminal.expect("你好世界")
    terminal.send("\x7f\x7f\n")  # erases two characters, not two bytes
    terminal.expect("system message set")
    terminal.expect(">>> ")
    assert "你好\n" in terminal.ask("/show system")


def test_ctrl_c_stops_the_answer_and_not_the_program(open_terminal):
    terminal = open_terminal()
    terminal.send("Tell me a very long story about a river, with many details.\n")
    terminal.expect("river, with many details.")
    time.sleep(1.5)  # some of the answer
    started = time.monotonic()
    terminal.send("\x03")
    terminal.expect(">>> ", limit_s=10)
    assert time.monotonic() - started < 5
    terminal.expect("Send a message")  # the editor is at work: before that Ctrl-C belongs to the answer
    terminal.send("\x03")  # at the prompt it only says how to leave
    terminal.expect("/bye to leave")
    terminal.expect(">>> ")
    assert "new conversation" in terminal.ask("/clear")


def test_ctrl_d_leaves(open_terminal):
    terminal = open_terminal()
    terminal.send("\x04")
    assert terminal.wait_left() == 0


def test_verbose_ends_with_statistics(open_terminal):
    terminal = open_terminal("--verbose", "--max-tokens", "8")
    said = terminal.ask("Hello")
    for line in ("total duration:", "load duration:", "prompt eval count:", "prompt eval rate:", "eval rate"):
        assert line.replace(" ", "") in said.replace(" ", ""), said


def test_a_conversation_beyond_the_context_is_refused_with_a_way_out(open_terminal):
    terminal = open_terminal("--ctx-size", "64")
    said = terminal.ask("word " * 100)
    assert "error:" in said and "/clear starts a new conversation" in said, said
    assert "64" in said


def run_once(home, *arguments, text=None):
    program, path = model_path()
    return subprocess.run(
        [program, "run", path, "--seed", "1", "--temperature", "0", "--max-tokens", "16", *arguments], input=text,
        stdin=None if text is not None else subprocess.DEVNULL, env=environment(home), capture_output=True, text=True,
        timeout=LIMIT_S)


def test_one_question_gives_the_answer_alone_on_stdout(tmp_path):
    first = run_once(tmp_path, "What is gravity?")
    assert first.returncode == 0, first.stderr
    assert "ravity" in first.stdout
    assert "\x1b" not in first.stdout
    again = run_once(tmp_path, "What is gravity?")
    assert again.stdout == first.stdout


def test_stdin_is_the_question_or_belongs_to_it(tmp_path):
    piped = run_once(tmp_path, text="What is gravity?\n")
    assert piped.returncode == 0 and "ravity" in piped.stdout, piped
    nothing = run_once(tmp_path, text="")
    assert nothing.returncode == 2 and "nothing to ask" in nothing.stderr


def test_wrong_usage_is_told_before_anything_is_loaded(tmp_path):
    for arguments, message in [
        (["--temperaturr=1", "hi"], "unknown option '--temperaturr', did you mean '--temperature'?"),
        (["--temperature", "hot", "hi"], "--temperature: 'hot' is not a number"),
    ]:
        wrong = run_once(tmp_path, *arguments)
        assert wrong.returncode == 2 and message in wrong.stderr, wrong.stderr
