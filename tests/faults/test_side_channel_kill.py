"""Bug class this catches: a killed command leaves lines that its successor or a reader can't make sense of, or a socket nobody can use."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cavalcade.telemetry.backlog import LEAST_LIMIT, Backlog
from cavalcade.telemetry.lines import DROPPED
from cavalcade.testing.crashing import CRASHED

pytestmark = pytest.mark.faults

CHILD = Path(__file__).with_name("backlog_child.py")
SERVING = CHILD.with_name("socket_child.py")
LINES = 9


def appended(path: Path, first: int, fuse: int) -> tuple[int, int]:
    """Exit status of a child, and the last line that it said is in."""
    command = [sys.executable, str(CHILD), str(path), str(first), str(LINES), str(fuse)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, int((done.stdout.split() or [first - 1])[-1])


def test_killed_at_each_write_every_line_that_was_in_is_there_or_marked_as_dropped(tmp_path: Path) -> None:
    fuse, died = 0, True
    while died:
        fuse += 1
        path = tmp_path / f"{fuse}.wal"
        status, last = appended(path, 1, fuse)
        died = status == CRASHED
        assert appended(path, last + 1, 0)[0] == 0
        assert positions(path) == list(range(1, last + LINES + 1))
    assert fuse > LINES


def positions(path: Path) -> list[int]:
    """All that a reader from the beginning hears of, lines and marks."""
    backlog = Backlog(path, limit_bytes=LEAST_LIMIT)
    _, text = backlog.read(0, 1 << 20)
    backlog.close()
    found: list[int] = []
    for line in map(json.loads, text.splitlines()):
        if line.get("type") == DROPPED:
            found += range(line["data"]["first"], line["data"]["last"] + 1)
        else:
            found.append(line["position"])
    return found


def test_after_a_killed_command_the_next_one_serves_what_nobody_has_read(tmp_path: Path) -> None:
    path = tmp_path / "s"

    def command(note: str) -> subprocess.Popen[str]:
        started = subprocess.Popen([sys.executable, str(SERVING), str(path), note], stdout=subprocess.PIPE, text=True)
        assert started.stdout is not None
        assert started.stdout.readline() == "in\n"
        return started

    def kill(process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    kill(command("first"))
    second = command("second")
    try:
        with socket.socket(socket.AF_UNIX) as reader:
            pause = threading.Event()
            while reader.connect_ex(str(path)):
                pause.wait(0.01)
            with reader.makefile("r") as lines:
                notes = [json.loads(lines.readline())["data"]["note"] for _ in range(2)]
        assert notes == ["first", "second"]
    finally:
        kill(second)
