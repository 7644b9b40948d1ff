"""On a terminal a recorded program has one of its own: size, keys, Ctrl-C, signals and output are as if nobody stood between."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import Project, a_project, wait_until

SIZE = (33, 101)


class Screen:
    """`cavalcade record` on a pseudo-terminal, and somebody who types and reads."""

    def __init__(self, shop: Project, *command: str) -> None:
        self.master, slave = pty.openpty()
        self.slave = slave
        self.resize(*SIZE)
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cavalcade", "record", "--repo", str(shop.folder), "--", *command],
            env=shop.all_environ({"TERM": "xterm"}),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        )
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def read_until(self, text: str, timeout_s: float = 30) -> None:
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], timeout_s)
            assert ready, f"{text!r} did not come; seen: {self.seen!r}"
            try:
                data = os.read(self.master, 65536)
            except OSError:  # EIO: nobody has it open any more
                data = b""
            assert data, f"{text!r} never came; seen: {self.seen!r}"
            self.seen += data.decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def status(self) -> int:
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    return a_project(tmp_path)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        screen.close()


def open_screen(screens: list[Screen], shop: Project, script: str) -> Screen:
    """The script lies in a file, so that what is announced doesn't hold what is waited for."""
    file = shop.home.parent / "script.sh"
    file.write_text(script)
    screens.append(Screen(shop, "bash", str(file)))
    return screens[-1]


def test_the_program_has_a_terminal_of_the_same_size_which_follows_ours(shop: Project, screens: list[Screen]) -> None:
    script = "trap 'stty size' WINCH; test -t 0 && test -t 1 && test -t 2 && stty size; while ! read -t 0.05; do :; done; exit 4"
    screen = open_screen(screens, shop, script)
    screen.read_until("33 101")
    screen.resize(20, 60)
    screen.read_until("20 60")
    screen.type(b"\r")
    assert screen.status() == 4


def test_keys_and_ctrl_c_are_the_programs(shop: Project, screens: list[Screen]) -> None:
    script = "trap 'echo caught; exit 5' INT; read -p 'name? ' n; echo hello $n; echo $n >> prices.py; while :; do read -t 1; done"
    screen = open_screen(screens, shop, script)
    screen.read_until("name? ")
    screen.type(b"ada\r")
    screen.read_until("hello ada")
    screen.type(b"\x03")
    screen.read_until("caught")
    assert screen.status() == 5
    screen.read_until("ended: exit status 5")
    assert termios.tcgetattr(screen.slave) == screen.before
    written = "".join(
        json.loads(line)["event"]["data"].get("text", "") for line in shop("log", "last", "--json").out.splitlines()
    )
    assert "hello ada\r\n" in written
    assert "+ada\n" in shop("diff", "last").out


def test_raw_keys_reach_a_program_that_wants_them_raw(shop: Project, screens: list[Screen]) -> None:
    script = 'stty raw -echo; printf ready; k=$(head -c 3 | od -An -tx1); stty sane; echo "keys:$k"'
    screen = open_screen(screens, shop, script)
    screen.read_until("ready")
    screen.type(b"\x03\x1a\x04")
    screen.read_until("keys: 03 1a 04")
    assert screen.status() == 0


def test_a_signal_to_the_recorder_is_the_programs_and_the_recording_ends_well(
    shop: Project, screens: list[Screen]
) -> None:
    screen = open_screen(
        screens, shop, "trap 'echo bye > bye.txt; exit 6' TERM; echo ready; while :; do read -t 1; done"
    )
    screen.read_until("ready")
    screen.process.send_signal(signal.SIGTERM)
    assert screen.status() == 6
    assert "bye.txt" in shop("diff", "last", "--stat").out


def test_a_program_that_stops_stops_the_recorder_until_it_is_continued(shop: Project, screens: list[Screen]) -> None:
    screen = open_screen(screens, shop, "echo ready; kill -STOP $$; echo again")
    screen.read_until("ready")

    def state() -> str:
        return Path(f"/proc/{screen.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    wait_until(lambda: state() == "T", "stopping")
    screen.process.send_signal(signal.SIGCONT)
    screen.read_until("again")
    assert screen.status() == 0


def test_without_a_terminal_ctrl_c_style_signals_are_passed_on(shop: Project) -> None:
    process = shop.start(
        "record",
        "--repo",
        str(shop.folder),
        "--",
        "sh",
        "-c",
        "trap 'exit 9' INT; echo up; while :; do sleep 0.05; done",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 9
