"""The tree at an event without the whole history: found by bisection, then by a look back to the last event that says a tree.

A run's state is a fold over all its events. What its tree was needs only one of them, mostly a few events back, so that restoring costs
the same in a run of a hundred thousand edits as in one of a hundred.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple

from cavalcade.kernel.ids import EventId, RunId, StreamId, run_stream
from cavalcade.ledger.port import Ledger
from cavalcade.protocol import events as e
from cavalcade.protocol.envelope import Recorded
from cavalcade.protocol.events import decode
from cavalcade.supervisor.history import Instant, Nth, When, WithId
from cavalcade.supervisor.targets import View

_WINDOW = 256
"""Positions looked at first; doubled until the event is found."""
_WHOLE_ID = 36
_FAR = datetime.max.replace(tzinfo=UTC)
_OF_TASK = frozenset(kind.TYPE for kind in (e.TaskStarted, e.EditApplied, e.TaskProposed))
_OF_RUN = frozenset(kind.TYPE for kind in (e.TaskMerged, e.FilesChanged, e.RecordingEnded))


class Located(NamedTuple):
    """An event of a run, what was there just after it, and what the run began with."""

    event: Recorded
    view: View
    start: e.RunRequested | e.RecordingStarted


async def locate(ledger: Ledger, run: RunId, when: When) -> Located | None:
    """None where only the whole history can tell: for forks, for a part of an id, for an event that isn't there."""
    stream = run_stream(run)
    first = await ledger.read(stream=stream, limit=1)
    start = decode(first[0].event) if first else None
    if not isinstance(start, e.RunRequested | e.RecordingStarted):
        return None
    event = await _event(ledger, stream, when)
    if event is None:
        return None
    view = await _view(ledger, stream, event)
    return Located(event, view or View(first[0], start.base.commit, start.base.tree), start)


async def _event(ledger: Ledger, stream: StreamId, when: When) -> Recorded | None:
    match when:
        case Nth(0):
            return await _numbered(ledger, stream, await ledger.version(stream))
        case Nth(version):
            return await _numbered(ledger, stream, version)
        case WithId(part):
            found = await ledger.find(EventId(part)) if len(part) == _WHOLE_ID else None
            return found if found is not None and found.stream == stream else None
        case Instant(time):
            position = await ledger.at(time, stream=stream)
            found_at = await ledger.read(stream=stream, after=position - 1, limit=1) if position else []
            return found_at[0] if found_at else None


async def _numbered(ledger: Ledger, stream: StreamId, version: int) -> Recorded | None:
    """By bisection over the positions: the stream's events are numbered in their order."""
    low, high = 0, await ledger.at(_FAR)
    while low <= high:
        middle = (low + high) // 2
        found = await ledger.read(stream=stream, after=middle, limit=1)
        if found and found[0].version == version:
            return found[0]
        if found and found[0].version < version:
            low = found[0].position
        else:
            high = middle - 1
    return None


async def _view(ledger: Ledger, stream: StreamId, upto: Recorded) -> View | None:
    """What the event's task saw, or the head of the run for an event of none; None where that is still what the run began with."""
    task = upto.event.task
    head: View | None = None
    async for recorded in _back(ledger, stream, upto.position):
        kind = recorded.event.type
        mine = task and recorded.event.task == task
        if kind in _OF_RUN or (mine and kind in _OF_TASK):
            payload = decode(recorded.event)
            assert isinstance(
                payload,
                e.TaskStarted | e.EditApplied | e.TaskProposed | e.TaskMerged | e.FilesChanged | e.RecordingEnded,
            )
            view = View(recorded, payload.commit, payload.tree)
            if mine and kind in _OF_TASK:
                return view
            head = head or view
            if not task or mine:
                return head
    return head


async def _back(ledger: Ledger, stream: StreamId, position: int) -> AsyncIterator[Recorded]:
    """The stream's events from a position back to its first."""
    size = _WINDOW
    while position > 0:
        found = await ledger.read(stream=stream, after=max(0, position - size), limit=size)
        for recorded in reversed([each for each in found if each.position <= position]):
            yield recorded
        position -= size
        size *= 2
