"""`record`: any program in a workspace, everything it does there on record."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TextIO

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.failures import error_text
from cavalcade.cli.find import top_folder
from cavalcade.cli.report import Whole
from cavalcade.cli.terminal import Terminal
from cavalcade.kernel.ids import RunId
from cavalcade.recorder.backlog import Channel
from cavalcade.recorder.program import Running, Streams
from cavalcade.recorder.recording import Order, Outcome
from cavalcade.supervisor.timeline import count, duration, ending

_RESOLUTION_S = 0.05
"""States that last longer are on record (docs/record.md), unless a look takes longer than that."""


class Asked(NamedTuple):
    command: tuple[str, ...]
    repo: Path
    in_place: bool


class Recorded(Whole, frozen=True):
    """`exit_status` is that of the program, negative for the signal that ended it. `said` entries of its conversation are on record."""

    run: str
    command: tuple[str, ...]
    exit_status: int
    looks: int
    commit: str
    tree: str
    branch: str
    in_place: bool
    longest_look_ms: float
    """From something touched to the end of its look, at most: states that lasted shorter may be missing."""
    unreadable: tuple[str, ...]
    lost_looks: int
    lost_output_bytes: int
    trouble: str
    program: str
    said: int
    left_out: int


async def record(system: System, terminal: Terminal, asked: Asked) -> int:
    """The program's exit status, 128 + n when signal n ended it."""
    here = asked.repo.expanduser().resolve()
    repository = top_folder(here)
    run = system.runs.new_id()
    order = Order(
        run=run,
        command=asked.command,
        project=await system.projects.at(repository),
        repository=repository,
        inside=here.relative_to(repository),
        workspace=None if asked.in_place else system.folder.workspace(run),
        environ=terminal.environ,
        home=Path(terminal.environ.get("HOME") or Path.home()),
    )
    terminal.say(Text(f"recording {shlex.join(asked.command)} as run {run} ({_where(order)})"))
    outcome = await system.record(order, _streams(terminal), _Signals(asyncio.get_running_loop()).forward)
    await _tell(system, terminal, order, outcome)
    return outcome.exit_status if outcome.exit_status >= 0 else 128 - outcome.exit_status


def _where(order: Order) -> str:
    return f"in place: {order.repository}" if order.workspace is None else f"in a copy: {order.workspace}"


async def _tell(system: System, terminal: Terminal, order: Order, outcome: Outcome) -> None:
    run = order.run
    state = await system.runs.load(run)
    states = count(outcome.looks, "state")
    terminal.say(Text(f"run {run} recorded: {states}; {order.command[0]} ended: {ending(outcome.exit_status)}"))
    if outcome.said:
        words = f"{outcome.said:,} {'entry' if outcome.said == 1 else 'entries'}"
        terminal.say(Text(f"  conversation: {words} of {outcome.program}; ask: cavalcade why FILE:LINE"))
    if outcome.left_out:
        records = f"{count(outcome.left_out, 'record')} of {outcome.program}'s session files"
        terminal.say(Text(f"  not recorded: {records}, not understood by this version", "yellow"))
    if outcome.branch:
        terminal.say(Text(f"  result: git merge {outcome.branch}"))
    if outcome.looks:
        terminal.say(Text(f"  events: cavalcade log {run}; rewind: cavalcade restore {run} --at EVENT --into DIR"))
    for name in outcome.unreadable:
        terminal.say(Text(f"  not recorded: {name}", "yellow"))
    if outcome.longest_s > _RESOLUTION_S:
        longest = duration(outcome.longest_s)
        terminal.say(Text(f"  a look took {longest}: of states that lasted shorter one may be missing", "yellow"))
    if outcome.blind:
        terminal.say(
            Text("  not every folder could be watched: states may be missing (fs.inotify.max_user_watches)", "yellow")
        )
    if outcome.lost_looks or outcome.lost_output_bytes:
        lost = f"{count(outcome.lost_looks, 'state')} and {count(outcome.lost_output_bytes, 'byte')} of output"
        terminal.say(Text(f"  not recorded: {lost}", "red"))
    if outcome.trouble is not None:
        terminal.say(error_text(outcome.trouble))
    if not state.closed:
        terminal.say(f"  the recording lacks its end; put it on record with: cavalcade resume {run}")
    terminal.document(
        Recorded(
            run=run,
            command=order.command,
            exit_status=outcome.exit_status,
            looks=outcome.looks,
            commit=state.head,
            tree=state.head_tree,
            branch=outcome.branch,
            in_place=order.workspace is None,
            longest_look_ms=round(outcome.longest_s * 1000, 1),
            unreadable=outcome.unreadable,
            lost_looks=outcome.lost_looks,
            lost_output_bytes=outcome.lost_output_bytes,
            trouble=str(outcome.trouble or ""),
            program=outcome.program,
            said=outcome.said,
            left_out=outcome.left_out,
        )
    )


def _streams(terminal: Terminal) -> Streams:
    """With `--json` standard output is for the document: what the program writes goes to standard error."""
    stdin = _descriptor(terminal.stdin)
    stdout = _descriptor(terminal.stderr if terminal.json else terminal.stdout)
    on_terminal = not terminal.json and terminal.stdin.isatty() and terminal.stdout.isatty()
    writers: dict[Channel, Callable[[bytes], None]] = {
        "terminal": _writer(terminal.stdout, stdout),
        "stdout": _writer(terminal.stderr if terminal.json else terminal.stdout, stdout),
        "stderr": _writer(terminal.stderr, _descriptor(terminal.stderr)),
    }

    def pass_on(channel: Channel, data: bytes) -> None:
        writers[channel](data)

    return Streams(stdin, pass_on, stdin if on_terminal else None)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # held in memory
        return None


def _writer(stream: TextIO, descriptor: int | None) -> Callable[[bytes], None]:
    def write_text(data: bytes) -> None:
        stream.write(data.decode("utf-8", "replace"))

    def write(data: bytes) -> None:
        assert descriptor is not None
        while data:
            data = data[os.write(descriptor, data) :]

    return write_text if descriptor is None else write


class _Signals:
    """What is sent to us while a program is recorded is the program's; the terminal's size follows."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def forward(self, running: Running) -> None:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(number, self._pass_on, running, number)
        self._loop.add_signal_handler(signal.SIGWINCH, running.resize)

    def _pass_on(self, running: Running, number: signal.Signals) -> None:
        """Keys that the terminal turns into signals reach a program of our own process group without us."""
        if number in (signal.SIGINT, signal.SIGQUIT) and not running.alone and _in_foreground():
            return
        running.signal(number)


def _in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


async def end_recording(system: System, terminal: Terminal, run: RunId) -> None:
    """Of a recording whose recorder is gone. Raises Busy while it is not."""
    await system.end_recording(run)
    state = await system.runs.load(run)
    terminal.say(f"recording {run} was cut off; it ends with {count(state.looks, 'state')}")
