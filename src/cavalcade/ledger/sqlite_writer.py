"""The one thread that writes to a SQLite ledger: it takes all appends and ingests that wait, commits them together, then answers them.

Each is answered after the commit which holds it is on disk (write-ahead log, `synchronous=FULL`). Positions, versions and the chain
are continued from what the file says inside the immediate transaction; what was read there is kept until `PRAGMA data_version` shows
that another process has written. While somebody follows, the same pragma is looked at every few milliseconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cavalcade.kernel.errors import CavalcadeError, LedgerError
from cavalcade.ledger.followers import Followers, deliver
from cavalcade.ledger.head_file import HeadFile
from cavalcade.ledger.sqlite_database import number, translate
from cavalcade.ledger.sqlite_group import Append, Group, Heads, Ingest, Outcome

POLL_S = 0.003
"""How often a followed ledger looks for other processes' commits: under 1 % of a core, and unnoticed by a person."""
GROUP_EVENTS = 2000
"""A group is closed at this many events, so that the first of a flood isn't kept waiting by the last."""
CACHED_STREAMS = 4096

FaultPoint = Callable[[str], None]
FAULT_POINTS = ("begun", "placed", "inserted", "committing", "committed", "headed", "answered")
"""The steps of a commit, in order. The ledger calls its `fault_point` argument with each name as it gets there."""


class Request(NamedTuple):
    work: Append | Ingest
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class Writer:
    """Owns its connection from `start` on. `submit` may be called from any event loop of any thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        head_file: HeadFile,
        followers: Followers,
        fault_point: FaultPoint,
    ) -> None:
        self._connection = connection
        self._path = path
        self._head_file = head_file
        self._followers = followers
        self._fault_point = fault_point
        self._queue: queue.SimpleQueue[list[Request] | None] = queue.SimpleQueue()
        self._inboxes = threading.local()
        self._lock = threading.Lock()
        self._stopping = False
        self._heads: Heads | None = None
        self._data_version: int | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, work: Append | Ingest) -> asyncio.Future[Any]:
        """Everything that one turn of an event loop submits travels together. The future gives what the port's method returns."""
        loop = asyncio.get_running_loop()
        request = Request(work, loop, loop.create_future())
        waiting: tuple[asyncio.AbstractEventLoop, list[Request]] | None = getattr(self._inboxes, "waiting", None)
        if waiting is None or waiting[0] is not loop:
            self._inboxes.waiting = (loop, [request])
            loop.call_soon(self._send)
        else:
            waiting[1].append(request)
        return request.answer

    def wake(self) -> None:
        """Somebody follows now: begin to look for other processes' commits."""
        self._queue.put([])

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
                if requests:
                    self._answer(requests, self._record(requests))
        finally:
            # Also when a defect ends this thread: nobody may wait for ever.
            self.stop()
            self._refuse(requests)
            while not self._queue.empty():
                self._refuse(self._queue.get())
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._head_file.close()

    def _take(self) -> list[Request] | None:
        """What waits, in order, up to a group's size. Empty when there was only other processes' news; None to end."""
        try:
            first = self._queue.get(timeout=POLL_S if self._followers else None)
        except queue.Empty:
            self._look_around()
            return []
        if not first:
            return first
        requests, events = list(first), sum(len(request.work.batch) for request in first)
        while events < GROUP_EVENTS:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            requests += more
            events += sum(len(request.work.batch) for request in more)
        return requests

    def _look_around(self) -> None:
        """A failed look is no news: the next append or read meets the same error and reports it."""
        with contextlib.suppress(sqlite3.Error):
            seen = number(self._connection, "PRAGMA data_version")
            if seen != self._data_version:
                self._heads, self._data_version = None, seen
                self._followers.wake()

    def _record(self, requests: Sequence[Request]) -> list[Outcome]:
        try:
            try:
                return self._commit(requests, careful=False)
            except sqlite3.IntegrityError:
                # Somebody repeats an append: once more, looking each id up.
                self._roll_back()
                return self._commit(requests, careful=True)
        except sqlite3.Error as exc:
            self._roll_back()
            return [_failure(exc, self._path) for _ in requests]

    def _commit(self, requests: Sequence[Request], *, careful: bool) -> list[Outcome]:
        group = self._begin()
        self._fault_point("begun")
        outcomes = [group.place(request.work, careful=careful) for request in requests]
        self._fault_point("placed")
        if not group.rows:
            self._connection.execute("ROLLBACK")
            return outcomes
        group.insert()
        self._fault_point("inserted")
        self._fault_point("committing")
        self._connection.execute("COMMIT")
        self._fault_point("committed")
        group.committed()
        # The events are durable: a head record that can't be written is only less of a witness.
        with contextlib.suppress(OSError):
            self._head_file.write(group.position, group.last_hash)
        self._fault_point("headed")
        return outcomes

    def _begin(self) -> Group:
        self._connection.execute("BEGIN IMMEDIATE")
        seen = number(self._connection, "PRAGMA data_version")
        if self._heads is None or seen != self._data_version:
            self._heads = Heads(self._connection)
            self._data_version = seen
        return Group(self._connection, self._heads)

    def _roll_back(self) -> None:
        self._heads = None
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _answer(self, requests: Sequence[Request], outcomes: Sequence[Outcome]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Outcome]]] = {}
        for request, outcome in zip(requests, outcomes, strict=True):
            by_loop.setdefault(request.loop, []).append((request.answer, outcome))
        for loop, answers in by_loop.items():
            deliver(loop, _resolve, answers)
        self._fault_point("answered")
        self._followers.wake()

    def _refuse(self, requests: Sequence[Request] | None) -> None:
        for request in requests or ():
            deliver(request.loop, _resolve, [(request.answer, closed())])


def _resolve(answers: Sequence[tuple[asyncio.Future[Any], Outcome]]) -> None:
    for answer, outcome in answers:
        if answer.done():
            continue
        if isinstance(outcome, CavalcadeError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _failure(error: sqlite3.Error, path: Path) -> CavalcadeError:
    """One instance for each caller, because each raises it."""
    failure = translate(error, path)
    failure.__cause__ = error
    return failure


def closed() -> LedgerError:
    return LedgerError("this ledger is closed")
