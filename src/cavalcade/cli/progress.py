"""What is known of a run under way, folded from its events as they come; and how it is shown, moving or line by line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cavalcade.cli.report import GateTally
from cavalcade.cli.report_view import gate_text
from cavalcade.domain.run import (
    AwaitProgram,
    DoTask,
    Effect,
    ExploreTask,
    Finish,
    MakePlan,
    Publish,
    RunState,
    TaskState,
    VerifyTask,
    WaitForHuman,
    evolve,
    pending,
)
from cavalcade.kernel.ids import RunId
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.supervisor.runs import fact_of
from cavalcade.supervisor.timeline import Row, count, duration, row_of

TONES = {"good": "green", "bad": "red", "ask": "cyan", "plain": "default"}
_SHOWN_TASKS = 12


class Progress:
    """The run so far. `last` is the time of its last event, `started` of its first; a fork's time is its own."""

    def __init__(self) -> None:
        self.state = RunState()
        self.gates: dict[str, GateTally] = {}
        self.started: datetime | None = None
        self.last: datetime | None = None
        self._edit_started: datetime | None = None
        self._edits_done = 0

    def add(self, recorded: Recorded) -> Row:
        fact = fact_of(recorded)
        self.state = evolve(self.state, fact)
        self.started = self.started or fact.time
        self.last = fact.time
        match fact.payload:
            case e.GateJudged(receipt=receipt):
                self.gates[receipt.gate] = self.gates.get(receipt.gate, GateTally()).plus(receipt)
            case e.RunForked():
                self.started = self._edit_started = fact.time
                self._edits_done = 0
            case e.TaskStarted():
                self._edit_started, self._edits_done = fact.time, 0
            case e.EditApplied() | e.EditRejected():
                self._edits_done += 1
            case _:
                pass
        return row_of(recorded)

    def left_s(self, now: datetime) -> float | None:
        """Seconds until the edits under way are made, by the pace so far; None where nobody can know."""
        working = [task for task in self.state.tasks.values() if task.status == "started"]
        if self._edit_started is None or not self._edits_done or not working:
            return None
        pace = (now - self._edit_started).total_seconds() / self._edits_done
        open_edits = sum(len(task.edits()) - len(task.applied) - len(task.rejected) for task in working)
        return pace * open_edits

    def waits_for(self) -> list[str]:
        return [_owed(effect, self.state) for effect in pending(self.state)]


def _owed(effect: Effect, state: RunState) -> str:
    match effect:
        case MakePlan(round=number):
            return "the plan: resolving references" if number == 1 else f"plan {number}: resolving references"
        case WaitForHuman():
            return "your approval"
        case DoTask(task=task):
            done = state.tasks[task]
            made = len(done.applied) + len(done.rejected)
            return f"{task}: edit {min(made + 1, len(done.edits()))} of {len(done.edits())}"
        case VerifyTask(task=task):
            limit = f" (tests at most {duration(state.settings.test_timeout_s)})" if state.settings.tests else ""
            return (
                f"{task}: gates over the whole tree, then tests{limit}"
                if limit
                else f"{task}: gates over the whole tree"
            )
        case ExploreTask(task=task):
            return f"{task}: finding out why it failed"
        case Publish() | Finish():
            return "the result branch"
        case AwaitProgram():
            return "the end of the recorded program"


def newsworthy(recorded: Recorded) -> bool:
    """Not each step of each edit: those are in `cavalcade log`."""
    match decode(recorded.event):
        case e.EditProposed():
            return False
        case e.GateJudged() as judged:
            return judged.edit is None or judged.receipt.verdict == "failed"
        case _:
            return True


class Display(Protocol):
    def add(self, recorded: Recorded) -> None: ...

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """One plain line per event that is news."""

    def __init__(self, say: Callable[[Text], None], *, after: int = 0) -> None:
        self._say = say
        self._after = after

    def add(self, recorded: Recorded) -> None:
        if recorded.version > self._after and newsworthy(recorded):
            self._say(row_text(row_of(recorded)))

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def row_text(row: Row) -> Text:
    text = Text(f"{row.time.astimezone():%H:%M:%S} ", "dim")
    if row.task:
        text.append(f"{row.task} ", "bold")
    return text.append(row.text, TONES[row.tone])


class Moving:
    """A view that is drawn again four times a second, from a thread: a busy event loop doesn't stop the clock on it."""

    def __init__(self, run: RunId, console: Console, now: Callable[[], datetime]) -> None:
        self._run = run
        self._now = now
        self._progress = Progress()
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def add(self, recorded: Recorded) -> None:
        row = self._progress.add(recorded)
        if row.tone == "bad":
            self._live.console.print(row_text(row))

    def __enter__(self) -> Moving:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _draw(self) -> RenderableType:
        return drawn(self._run, self._progress, self._now())


def drawn(run: RunId, progress: Progress, now: datetime) -> RenderableType:
    state = progress.state
    if progress.started is None or progress.last is None:
        return Text(f"run {run}", "bold")
    elapsed = duration(max(0.0, (now - progress.started).total_seconds()))
    head = Text.assemble(
        (f"run {run} ", "bold"), (state.phase.replace("_", " "), "cyan"), (f"  {elapsed}  $0.00", "dim")
    )
    rows = Table.grid(padding=(0, 2))
    rows.add_column(no_wrap=True, style="bold", min_width=len("objective"))
    rows.add_column(overflow="ellipsis", no_wrap=True)
    rows.add_row("objective", Text(state.objective))
    tasks = list(state.tasks.values())
    for task in tasks[:_SHOWN_TASKS]:
        rows.add_row(task.spec.id, _task_text(task))
    if len(tasks) > _SHOWN_TASKS:
        rows.add_row("", f"... and {count(len(tasks) - _SHOWN_TASKS, 'task')} more")
    if progress.gates:
        for index, (name, gate) in enumerate(progress.gates.items()):
            rows.add_row("gates" if index == 0 else "", gate_text(name, gate))
    since = duration(max(0.0, (now - progress.last).total_seconds()))
    for index, owed in enumerate(progress.waits_for()):
        rows.add_row("waits for" if index == 0 else "", Text(owed).append(f"  since {since}", "dim"))
    if (left := progress.left_s(now)) is not None:
        rows.add_row("time left", f"about {duration(left)} for the edits")
    return Group(head, rows)


def _task_text(task: TaskState) -> Text:
    made = len(task.applied) + len(task.rejected)
    style = {"merged": "green", "bounced": "red"}.get(task.status, "default")
    text = Text(task.status, style).append(f"  {made}/{len(task.edits())} edits")
    if task.attempt:
        text.append(f"  attempt {task.attempt} of {task.spec.attempts}", "dim")
    return text
