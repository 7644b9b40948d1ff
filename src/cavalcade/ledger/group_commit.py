"""Many who submit, one thread that commits: what waits is taken together, recorded in one transaction, and answered afterwards."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cavalcade.kernel.errors import CavalcadeError, LedgerError
from cavalcade.kernel.ids import OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.followers import deliver
from cavalcade.protocol.envelope import Sealed

GROUP_EVENTS = 2000
"""A group is closed at this many events, so that the first of a flood isn't kept waiting by the last."""


class Append(NamedTuple):
    stream: StreamId
    batch: Sequence[chain.Prepared]
    expected_version: int | None


class Ingest(NamedTuple):
    origin: OriginId
    batch: Sequence[Sealed]


Outcome = Any
"""What the work is answered with: its result, or the CavalcadeError that its caller raises (one instance for each)."""
Record = Callable[[Sequence[Append | Ingest]], Sequence[Outcome]]
"""Records a group, durable when it returns; one outcome for each, in order."""


class _Parcel:
    """What one turn of an event loop submitted: it travels, and is answered, together."""

    __slots__ = ("answers", "events", "loop", "works")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.works: list[Append | Ingest] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.events = 0


class _Inbox(threading.local):
    """The parcel that is being filled in a thread."""

    parcel: _Parcel | None = None


class GroupCommit:
    """Owns the thread from `start` on. `submit` may be called from any event loop of any thread.

    `record` runs in the thread, and so does `ended`, once, whatever ends it. `answered` is called there after each group. While
    `poll_s` says a number of seconds, `idle` is called there whenever nothing was submitted for as long; `wake` asks it anew.
    """

    def __init__(
        self,
        record: Record,
        *,
        answered: Callable[[], None],
        ended: Callable[[], None],
        poll_s: Callable[[], float | None] = lambda: None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._record = record
        self._answered = answered
        self._ended = ended
        self._poll_s = poll_s
        self._idle = idle
        self._queue: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._inbox = _Inbox()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, work: Append | Ingest) -> asyncio.Future[Any]:
        """Everything that one turn of an event loop submits travels together. The future gives what the port's method returns."""
        loop = asyncio.get_running_loop()
        parcel = self._inbox.parcel
        if parcel is None or parcel.loop is not loop:
            parcel = self._inbox.parcel = _Parcel(loop)
            loop.call_soon(self._send, parcel)
        answer: asyncio.Future[Any] = loop.create_future()
        parcel.works.append(work)
        parcel.answers.append(answer)
        parcel.events += len(work.batch)
        return answer

    def wake(self) -> None:
        """What `poll_s` says has changed."""
        self._queue.put(_Parcel(asyncio.get_running_loop()))

    def stop(self) -> None:
        """What was submitted before is still committed. Wait with `join`."""
        with self._lock:
            self._stopping = True
            self._queue.put(None)

    def join(self) -> None:
        self._thread.join()

    def _send(self, parcel: _Parcel) -> None:
        if self._inbox.parcel is parcel:
            self._inbox.parcel = None
        with self._lock:
            if not self._stopping:
                self._queue.put(parcel)
                return
        _resolve(parcel.answers, _all_closed(parcel))

    def _run(self) -> None:
        parcels: list[_Parcel] | None = []
        try:
            while (parcels := self._take()) is not None:
                if parcels:
                    self._carry_out(parcels)
        finally:
            # Also when a defect ends this thread: nobody may wait for ever.
            self.stop()
            while not self._queue.empty():
                parcels = [*(parcels or ()), *filter(None, [self._queue.get()])]
            for parcel in parcels or ():
                deliver(parcel.loop, _resolve, parcel.answers, _all_closed(parcel))
            self._ended()

    def _take(self) -> list[_Parcel] | None:
        """What waits, in order, up to a group's size. Empty when there was nothing to record; None to end."""
        try:
            first = self._queue.get(timeout=self._poll_s())
        except queue.Empty:
            self._idle()
            return []
        if first is None:
            return None
        parcels, events = [first], first.events
        while events < GROUP_EVENTS:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            parcels.append(more)
            events += more.events
        return [parcel for parcel in parcels if parcel.works]

    def _carry_out(self, parcels: Sequence[_Parcel]) -> None:
        works = parcels[0].works if len(parcels) == 1 else [work for parcel in parcels for work in parcel.works]
        outcomes = self._record(works)
        start = 0
        for parcel in parcels:
            end = start + len(parcel.works)
            deliver(parcel.loop, _resolve, parcel.answers, outcomes[start:end])
            start = end
        self._answered()


def _resolve(answers: Sequence[asyncio.Future[Any]], outcomes: Sequence[Outcome]) -> None:
    for answer, outcome in zip(answers, outcomes, strict=True):
        if answer.done():
            continue
        if isinstance(outcome, CavalcadeError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _all_closed(parcel: _Parcel) -> list[Outcome]:
    return [closed() for _ in parcel.works]


def closed() -> LedgerError:
    return LedgerError("this ledger is closed")
