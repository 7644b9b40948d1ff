"""The human gate on a terminal: the plan, and approve, inject or abort."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from typing import Literal, NamedTuple, TextIO

from rich.text import Text

from cavalcade.cli.compose import System
from cavalcade.cli.feedback import Direction, directed
from cavalcade.cli.plan_view import plan_sheet
from cavalcade.cli.report import Report
from cavalcade.cli.report_view import headline
from cavalcade.cli.terminal import Terminal
from cavalcade.domain.run import Abort, Approve, Inject, RunState
from cavalcade.kernel.errors import UsageError
from cavalcade.kernel.ids import RunId, run_stream
from cavalcade.recipes.objective import parse_objective

_MENU = Text("[a] approve  [i] inject feedback  [x] abort  (Ctrl-D: leave it waiting) > ", "bold")


class Answer(NamedTuple):
    """`moved`: somebody else decided meanwhile. `leave`: nobody is there any more."""

    verb: Literal["approve", "inject", "abort", "leave", "moved"]
    text: str = ""


def show_plan(terminal: Terminal, report: Report) -> None:
    terminal.say(headline(report), plan_sheet(report).table)


async def ask(system: System, terminal: Terminal, run: RunId, state: RunState) -> Answer:
    """Waits for an answer, or for a decision made elsewhere."""
    elsewhere = asyncio.create_task(_decided_elsewhere(system, run, state))
    answer = asyncio.create_task(_answer(terminal))
    try:
        await asyncio.wait({answer, elsewhere}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        terminal.say("\nthe run was decided on elsewhere")
        return Answer("moved")
    finally:
        answer.cancel()
        elsewhere.cancel()


async def carry_out(system: System, terminal: Terminal, run: RunId, answer: Answer, state: RunState) -> None:
    """Puts the answer on the record. Raises Refused, UsageError."""
    match answer.verb:
        case "approve":
            await system.runs.execute(run, Approve(state.plan_hash, terminal.user))
        case "inject":
            await inject(system, terminal, run, answer.text)
        case "abort":
            await system.runs.execute(run, Abort(terminal.user, answer.text))
        case "leave" | "moved":
            pass


async def inject(system: System, terminal: Terminal, run: RunId, text: str) -> None:
    state = await system.runs.load(run)
    now = Direction(state.objective, state.recipe, state.settings)
    goal = understood(text, now, system.content_of(state).entries(state.head_tree))
    await system.runs.execute(run, Inject(text, terminal.user, goal.objective, goal.recipe, goal.settings))


def understood(text: str, now: Direction, files: Iterable[str]) -> Direction:
    """Where feedback leads in a tree of these files. Raises UsageError for words nobody understands, and paths that are not there."""
    goal = directed(text, now, parse_objective)
    there = tuple(files)
    for path in (*goal.settings.only, *goal.settings.without):
        if not any(file == path or file.startswith(path.rstrip("/") + "/") for file in there):
            raise UsageError(
                f"there is no {path!r} in the project", expected="a file or folder, seen from its top folder"
            )
    return goal


async def _decided_elsewhere(system: System, run: RunId, state: RunState) -> None:
    history = await system.runs.history(run)
    position = history[state.version - 1].position
    async for _recorded in system.ledger.follow(stream=run_stream(run), after=position):
        return


async def _answer(terminal: Terminal) -> Answer:
    while True:
        match await _asked(terminal, _MENU):
            case None:
                terminal.say("")
                return Answer("leave")
            case "a" | "approve" | "y" | "yes":
                return Answer("approve")
            case "x" | "abort":
                return Answer("abort")
            case "i" | "inject":
                if text := await _asked(terminal, Text("what should be different? > ")):
                    return Answer("inject", text)
            case other:
                terminal.say(Text(f"{other!r} is no answer; type a, i or x"))


async def _asked(terminal: Terminal, prompt: Text) -> str | None:
    terminal.console.print(prompt, end="")
    terminal.stderr.flush()
    line = await read_line(terminal.stdin)
    return None if line is None else line.strip()


async def read_line(source: TextIO) -> str | None:
    """A line that somebody types; None at the end of input. Can be cancelled, so that Ctrl-C and decisions made elsewhere get through."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Future[bytes] = loop.create_future()
    descriptor = source.fileno()
    data = bytearray()

    def readable() -> None:
        try:
            chunk = os.read(descriptor, 4096)
        except OSError as exc:
            _settle(typed, exc)
            return
        data.extend(chunk)
        if not chunk or b"\n" in chunk:
            _settle(typed, bytes(data))

    loop.add_reader(descriptor, readable)
    try:
        line = await typed
    except OSError:  # the terminal is gone
        return None
    finally:
        loop.remove_reader(descriptor)
    return line.decode("utf-8", "replace").partition("\n")[0] if line else None


def _settle(future: asyncio.Future[bytes], result: bytes | OSError) -> None:
    if future.done():
        return
    if isinstance(result, OSError):
        future.set_exception(result)
    else:
        future.set_result(result)
