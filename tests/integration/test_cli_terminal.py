"""The command on a terminal: a pseudo-terminal with somebody typing."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pygit2
import pytest

from cavalcade.testing.whole_runs import a_repository, commit_all

FILES = {
    "prices.py": "def total(items):\n    return sum(items)\n",
    "test_prices.py": "from prices import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n",
    "README.md": "Call `total()`.\n",
}
MENU = "[a] approve  [i] inject feedback  [x] abort"
_PATIENCE_S = 60.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """A command on a pseudo-terminal of its own. `text` is all it wrote, one drawing below the other; `raw` with control sequences."""

    def __init__(self, argv: list[str], cwd: Path, environ: dict[str, str], columns: int) -> None:
        self.raw = ""
        self._read_to = 0
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)

    @property
    def text(self) -> str:
        return re.sub(r"\r+\n?", "\n", _CONTROL.sub("", self.raw))

    def expect(self, wanted: str) -> None:
        """Reads on until something stands behind what was expected before. Fails when the command ends without it."""
        ends = time.monotonic() + _PATIENCE_S
        while (found := self.text.find(wanted, self._read_to)) < 0:
            assert self._more(ends), f"{wanted!r} never came:\n{self.text}"
        self._read_to = found + len(wanted)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def status(self) -> int:
        """The exit status, after all output was read."""
        ends = time.monotonic() + _PATIENCE_S
        while self._more(ends):
            pass
        return self.process.wait(timeout=_PATIENCE_S)

    def _more(self, ends: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, ends - time.monotonic()))
        if not ready:
            return False
        try:
            chunk = os.read(self._master, 65536)
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            chunk = b""  # the other side is closed
        self.raw += chunk.decode("utf-8", "replace")
        return bool(chunk)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)


class Desk:
    """A person's terminal windows on one project."""

    def __init__(self, tmp: Path) -> None:
        self.folder = tmp / "shop"
        a_repository(self.folder, FILES)
        self.environ = {
            "CAVALCADE_HOME": str(tmp / "home"), "HOME": str(tmp), "PATH": os.environ["PATH"], "TERM": "xterm-256color",
        }  # fmt: skip
        self._open: list[Screen] = []

    def window(self, *arguments: str, columns: int = 100, **more: str) -> Screen:
        argv = [sys.executable, "-m", "cavalcade", *arguments]
        screen = Screen(argv, self.folder, self.environ | more, columns)
        self._open.append(screen)
        return screen

    def rename(self, *flags: str, columns: int = 100, **more: str) -> Screen:
        return self.window("run", "rename prices:total to sum_prices", "--no-tests", *flags, columns=columns, **more)

    def let_the_tests_hang(self) -> None:
        text = "import signal\n\nfrom prices import total\n\n\ndef test_total():\n    signal.pause()\n    total([])\n"
        commit_all(pygit2.Repository(str(self.folder)), {"test_prices.py": text}, message="Wait for ever")

    def phase(self) -> str:
        argv = [sys.executable, "-m", "cavalcade", "show", "last", "--json"]
        done = subprocess.run(argv, cwd=self.folder, env=self.environ, capture_output=True, check=True)
        return json.loads(done.stdout)["phase"]

    def branches(self) -> list[str]:
        return sorted(pygit2.Repository(str(self.folder)).branches.local)

    def clear(self) -> None:
        for screen in self._open:
            screen.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.clear()


def test_the_gate_shows_the_plan_and_an_approval_carries_it_out(desk: Desk) -> None:
    screen = desk.rename()
    for part in ("waits for your approval", "2 files, 3 changes", "prices.py", "README.md:1", "not run", "$0.00", MENU):
        screen.expect(part)
    screen.type("a\n")
    screen.expect("completed")
    screen.expect("git diff main...cavalcade/r")
    screen.expect("cavalcade restore r")
    assert screen.status() == 0
    assert len(desk.branches()) == 2


def test_feedback_at_the_gate_plans_again_and_what_is_not_understood_is_explained(desk: Desk) -> None:
    screen = desk.rename()
    screen.expect(MENU)
    screen.type("what?\n")
    screen.expect("type a, i or x")
    screen.expect(MENU)
    screen.type("i\n")
    screen.expect("what should be different?")
    screen.type("be nice\n")
    screen.expect("is neither an adjustment nor an objective")
    screen.expect(MENU)
    screen.type("i\n")
    screen.expect("what should be different?")
    screen.type("mentions docs\n")
    screen.expect("3 files, 4 changes")
    screen.expect(MENU)
    screen.type("x\n")
    screen.expect("aborted, nothing landed")
    assert screen.status() == 10
    assert desk.branches() == ["main"]


def test_the_end_of_input_leaves_the_run_waiting_and_says_what_to_type(desk: Desk) -> None:
    screen = desk.rename()
    screen.expect(MENU)
    screen.type("\x04")
    screen.expect("cavalcade approve r")
    assert screen.status() == 3
    assert desk.phase() == "awaiting_human"


def test_ctrl_c_at_the_gate_leaves_the_run_resumable_and_says_how(desk: Desk) -> None:
    screen = desk.rename()
    screen.expect(MENU)
    screen.type("\x03")
    screen.expect("go on with: cavalcade resume r")
    assert screen.status() == 130
    assert "Traceback" not in screen.text
    again = desk.window("resume", "last")
    again.expect(MENU)
    again.type("a\n")
    assert again.status() == 0
    assert desk.phase() == "completed"


def test_a_decision_made_in_another_window_ends_the_question(desk: Desk) -> None:
    screen = desk.rename()
    screen.expect(MENU)
    other = desk.window("approve", "last", "--no-wait")
    assert other.status() == 0
    screen.expect("decided on elsewhere")
    assert screen.status() == 0
    assert desk.phase() == "completed"


def test_an_abort_in_another_window_ends_the_question_too(desk: Desk) -> None:
    screen = desk.rename()
    screen.expect(MENU)
    assert desk.window("abort", "last").status() == 0
    screen.expect("aborted, nothing landed")
    assert screen.status() == 10


def test_ctrl_c_in_the_middle_of_the_tests_ends_at_once_and_the_run_goes_on_later(desk: Desk) -> None:
    """Bug class: a process that hangs on its sandbox, or one that leaves a run which can't go on."""
    desk.let_the_tests_hang()
    screen = desk.window("run", "rename prices:total to sum_prices", "--yes", "--python", sys.executable)
    screen.expect("gates over the whole tree, then tests")
    screen.type("\x03")
    screen.expect("go on with: cavalcade resume r")
    assert screen.status() == 130
    assert desk.phase() == "executing"
    again = desk.window("resume", "last")
    again.expect("gates over the whole tree, then tests")
    second = desk.window("resume", "last")
    second.expect("is being driven by process")
    second.expect("following it")
    assert desk.window("abort", "last", "--reason", "enough").status() == 0
    for window in (again, second):
        window.expect("aborted, nothing landed")
        assert window.status() == 10
    assert desk.branches() == ["main"]


def test_while_it_works_the_view_moves_and_leaves_nothing_behind_but_the_report(desk: Desk) -> None:
    screen = desk.rename("--yes")
    assert screen.status() == 0
    assert "waits for" in screen.text
    assert "\x1b[?25h" in screen.raw  # the cursor is shown again
    assert "completed" in screen.text


@pytest.mark.parametrize("columns", [60, 120])
def test_no_line_is_wider_than_the_window(desk: Desk, columns: int) -> None:
    screen = desk.rename("--yes", columns=columns, NO_COLOR="1")
    assert screen.status() == 0
    assert max(len(line) for line in screen.text.splitlines()) <= columns
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", screen.raw)


def test_colour_never_carries_the_meaning_and_can_be_switched_off(desk: Desk) -> None:
    assert desk.rename("--yes").status() == 0
    coloured, plain = desk.window("show", "last"), desk.window("show", "last", NO_COLOR="1")
    assert (coloured.status(), plain.status()) == (0, 0)
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", coloured.raw)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain.raw)
    assert [line.rstrip() for line in coloured.text.splitlines()] == [line.rstrip() for line in plain.text.splitlines()]


def test_a_terminal_that_can_do_nothing_gets_plain_lines_and_is_still_asked(desk: Desk) -> None:
    screen = desk.rename(TERM="dumb")
    screen.expect("asked: rename prices:total to sum_prices")
    screen.expect(MENU)
    screen.type("a\n")
    screen.expect("edit 1 applied")
    assert screen.status() == 0
    assert "\x1b" not in screen.raw


def test_with_json_nobody_is_asked(desk: Desk) -> None:
    screen = desk.rename("--json")
    assert screen.status() == 3
    assert MENU not in screen.text
    assert '"phase": "awaiting_human"' in screen.text


def test_flags_can_be_given_by_the_environment(desk: Desk) -> None:
    screen = desk.window("run", "rename prices:total to sum_prices", CAVALCADE_YES="1", CAVALCADE_NO_TESTS="1")
    assert screen.status() == 0
    assert desk.phase() == "completed"
