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
    batch: list[chain.Prepared]
    expected_version: int | None

    @property
    def size(self) -> int:
        return len(self.batch)


class Ingest(NamedTuple):
    origin: OriginId
    events: Sequence[Sealed]

    @property
    def size(self) -> int:
        return len(self.events)


class Request(NamedTuple):
    work: Append | Ingest
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


Outcome = Any
"""What the work is answered with: its result, or the CavalcadeError that its caller raises (one instance for each)."""
Record = Callable[[Sequence[Append | Ingest]], list[Outcome]]
"""Records a group, durable when it returns; one outcome for each, in order."""


class GroupCommit:
    """Owns the thread from `start` on. `submit` may be called from any event loop of any thread.

    `record` runs in the thread, and so does `ended`, once, whatever ends it. `answered` is called there after each group.
    """

    def __init__(self, record: Record, *, answered: Callable[[], None], ended: Callable[[], None]) -> None:
        self._record = record
        self._answered = answered
        self._ended = ended
        self._queue: queue.SimpleQueue[list[Request] | None] = queue.SimpleQueue()
        self._inboxes = threading.local()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, work: Append | Ingest) -> asyncio.Future[Any]:
        """Everything that one turn of an event loop submits travels together."""
        loop = asyncio.get_running_loop()
        request = Request(work, loop, loop.create_future())
        waiting: tuple[asyncio.AbstractEventLoop, list[Request]] | None = getattr(self._inboxes, "waiting", None)
        if waiting is None or waiting[0] is not loop:
            self._inboxes.waiting = (loop, [request])
            loop.call_soon(self._send)
        else:
            waiting[1].append(request)
        return request.answer

    def stop(self) -> None:
        """What was submitted before is still committed. Wait with `join`."""
        with self._lock:
            self._stopping = True
            self._queue.put(None)

    def join(self) -> None:
        self._thread.join()

    def _send(self) -> None:
        requests: list[Request] = self._inboxes.waiting[1]
        self._inboxes.waiting = None
        with self._lock:
            if not self._stopping:
                self._queue.put(requests)
                return
        _resolve([(request.answer, closed()) for request in requests])

    def _run(self) -> None:
        requests: list[Request] | None = []
        try:
            while (requests := self._take()) is not None:
                self._answer(requests, self._record([request.work for request in requests]))
        finally:
            # Also when a defect ends this thread: nobody may wait for ever.
            self.stop()
            self._refuse(requests)
            while not self._queue.empty():
                self._refuse(self._queue.get())
            self._ended()

    def _take(self) -> list[Request] | None:
        """What waits, in order, up to a group's size; None to end."""
        first = self._queue.get()
        if first is None:
            return None
        requests, events = list(first), _size(first)
        while events < GROUP_EVENTS:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            requests += more
            events += _size(more)
        return requests

    def _answer(self, requests: Sequence[Request], outcomes: Sequence[Outcome]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Outcome]]] = {}
        for request, outcome in zip(requests, outcomes, strict=True):
            by_loop.setdefault(request.loop, []).append((request.answer, outcome))
        for loop, answers in by_loop.items():
            deliver(loop, _resolve, answers)
        self._answered()

    def _refuse(self, requests: Sequence[Request] | None) -> None:
        for request in requests or ():
            deliver(request.loop, _resolve, [(request.answer, closed())])


def _size(requests: Sequence[Request]) -> int:
    return sum(request.work.size for request in requests)


def _resolve(answers: Sequence[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for answer, outcome in answers:
        if answer.done():
            continue
        if isinstance(outcome, CavalcadeError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def closed() -> LedgerError:
    return LedgerError("this ledger is closed")
