"""A run's past, read only: which event is meant, and what the tree was when it happened."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cavalcade.domain.run import RunState, evolve, fold
from cavalcade.kernel.errors import NotRecorded, UsageError
from cavalcade.kernel.ids import CommitId, ProjectId, RunId, TreeId, run_stream
from cavalcade.ledger.port import Ledger
from cavalcade.protocol.envelope import Recorded
from cavalcade.supervisor.runs import RunService, fact_of

UNDERSTOOD = "an event (`12`, `#12`, its id, `last`) or a time (`2026-03-01T14:05`, `14:05`, `10m ago`)"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN = 8


class Nth(NamedTuple):
    """The event with this number in its run's history; 0 for the last one."""

    version: int


class WithId(NamedTuple):
    """The event whose id begins or ends like this."""

    part: str


class Instant(NamedTuple):
    """The last event at or before a moment."""

    time: datetime


When = Nth | WithId | Instant


class Moment(NamedTuple):
    """A run just after one of its events. `tree` is what the event's task saw then, or the head of the run; `commit` holds it."""

    run: RunId
    event: Recorded
    state: RunState
    commit: CommitId
    tree: TreeId


def parse_when(text: str, now: datetime) -> When:
    """What `--at` names. A time without zone is local. Raises UsageError."""
    text = text.strip()
    if text == "last":
        return Nth(0)
    if found := re.fullmatch(r"#([1-9]\d*)|([1-9]\d{0,5})", text):
        return Nth(int(found[1] or found[2]))
    if re.fullmatch(r"(\d+[smhd]\s*)+ago", text):
        return Instant(_before(now, text))
    if re.match(r"\d{4}-\d\d-\d\d|\d\d:\d\d", text):
        return Instant(_moment(text, now))
    if re.fullmatch(r"[0-9a-f-]{4,36}", text):
        return WithId(text)
    raise UsageError(
        f"{text!r} names no event and no time", expected=UNDERSTOOD, hint="`cavalcade log RUN` numbers the events"
    )


def _before(now: datetime, text: str) -> datetime:
    seconds = sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([smhd])", text))
    try:
        return now - timedelta(seconds=seconds)
    except OverflowError as exc:
        raise UsageError(f"{text!r} is before all time", expected=UNDERSTOOD) from exc


def _moment(text: str, now: datetime) -> datetime:
    whole = text if "-" in text[:5] else f"{now.astimezone():%Y-%m-%d}T{text}"
    try:
        return datetime.fromisoformat(whole).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise UsageError(f"{text!r} is no time", expected=UNDERSTOOD) from exc


def find_event(history: Sequence[Recorded], when: When) -> Recorded:
    """The event of a run's history that is meant. Raises NotRecorded when there is none, UsageError when there are several."""
    match when:
        case Nth(0):
            return history[-1]
        case Nth(version):
            if version > len(history):
                raise NotRecorded(
                    f"the run has no event #{version}",
                    expected=f"1 to {len(history)}",
                    hint="`cavalcade log RUN` numbers the events",
                )
            return history[version - 1]
        case WithId(part):
            return _only([recorded for recorded in history if _has_id(recorded, part)], part)
        case Instant(time):
            before = [recorded for recorded in history if recorded.event.time <= time]
            if not before:
                first = history[0].event.time
                raise NotRecorded(f"nothing had happened at {_local(time)}", expected=f"{_local(first)} or later")
            return before[-1]


def _has_id(recorded: Recorded, part: str) -> bool:
    return recorded.event.id.startswith(part) or recorded.event.id.endswith(part)


def _only(found: list[Recorded], part: str) -> Recorded:
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotRecorded(f"no event has the id {part}", hint="`cavalcade log RUN` shows the events")
    places = tuple(f"#{recorded.version}  {recorded.event.id}" for recorded in found[:_SHOWN])
    raise UsageError(
        f"{len(found)} events have an id like {part}", hint="give more of it, or the number", places=places
    )


def _local(time: datetime) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="seconds")


def moment_at(history: Sequence[Recorded], upto: Recorded) -> Moment:
    """The run just after `upto`, one of its events."""
    return _just_after(fold(fact_of(recorded) for recorded in history if recorded.version <= upto.version), upto)


def moments(history: Iterable[Recorded]) -> Iterator[Moment]:
    """The run just after each of its events, for the price of one walk through them."""
    state = RunState()
    for recorded in history:
        state = evolve(state, fact_of(recorded))
        yield _just_after(state, recorded)


def _just_after(state: RunState, upto: Recorded) -> Moment:
    task = state.tasks.get(upto.event.task)
    commit = task.commit if task and task.tree and task.status != "merged" else state.head
    return Moment(upto.event.run, upto, state, commit, state.tree_for(upto.event.task))


def tree_at(history: Sequence[Recorded], upto: Recorded) -> TreeId:
    """The tree when `upto` had just happened: its task's own, or the head of the run for an event of no task."""
    return moment_at(history, upto).tree


async def moment_of_run(runs: RunService, run: RunId, when: When) -> Moment:
    history = await runs.history(run)
    return await _located(runs, moment_at(history, find_event(history, when)))


async def _located(runs: RunService, moment: Moment) -> Moment:
    return moment._replace(state=await runs.located(moment.state))


async def runs_of(runs: RunService, project: ProjectId) -> list[RunId]:
    """The project's runs, oldest first."""
    states = [(run, await runs.load(run)) for run in await runs.list()]
    return [run for run, state in states if state.start is not None and state.start.project == project]


async def moment_of_project(ledger: Ledger, runs: RunService, project: ProjectId, when: When) -> Moment:
    """The latest event of any run of a project that is meant. Raises NotRecorded, UsageError (a bare number means nothing here)."""
    mine = await runs_of(runs, project)
    if not mine:
        raise NotRecorded("no run of this project is on record", hint="`cavalcade runs --all` lists all runs")
    match when:
        case Nth(version) if version:
            raise UsageError(
                f"#{version} counts the events of one run, not of a project", hint="name the run, or a time"
            )
        case Nth():
            events = [(await runs.history(run))[-1] for run in mine]
        case WithId(part):
            histories = [await runs.history(run) for run in mine]
            alike = {event.event.id: event for history in histories for event in history if _has_id(event, part)}
            events = [_only(list(alike.values()), part)]  # forks share events
        case Instant(time):
            latest = max([await ledger.at(time, stream=run_stream(run)) for run in mine])
            if not latest:
                first = min([(await runs.history(run))[0].event.time for run in mine])
                raise NotRecorded(
                    f"nothing had happened in this project at {_local(time)}",
                    expected=f"{_local(first)} or later",
                    hint="`cavalcade runs` shows when each run began",
                )
            events = await ledger.read(after=latest - 1, limit=1)
    last = max(events, key=lambda recorded: recorded.position)
    history = await runs.history(last.event.run)
    found = next(recorded for recorded in history if recorded.event.id == last.event.id)
    return await _located(runs, moment_at(history, found))
