"""The embedded ledger: one SQLite file, safe with several processes at once.

Files: `<path>`, SQLite's own `<path>-wal` and `<path>-shm`, and `<path>-head`, the head record (see `head_file`).

What is detected when it opens: no or a foreign database, a truncated file, a gap, a changed event among the last 64, events cut off at
the end, a write-ahead log that was removed and an older copy put in place (as long as `-head` is there). What only `verify` finds:
changes further back; reading such an event fails as well. What neither can find: a chain computed anew from a changed event to its
end with the head record rewritten too; for that, heads must be kept or signed elsewhere.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain, sqlite_check, sqlite_rows
from cavalcade.ledger.followers import Followers
from cavalcade.ledger.group_commit import Append, GroupCommit, Ingest, closed
from cavalcade.ledger.head_file import HeadFile
from cavalcade.ledger.port import OriginHead, Verification
from cavalcade.ledger.sqlite_database import (
    boundary,
    check_file,
    connect,
    migrations,
    number,
    prepare,
    queries,
    read_connection,
)
from cavalcade.ledger.sqlite_writer import FAULT_POINTS, FaultPoint, Recorder
from cavalcade.protocol.envelope import Draft, Recorded, Sealed

__all__ = ["FAULT_POINTS", "SqliteLedger"]

PAGE = 256
READERS = 4
_T = TypeVar("_T")


def _no_fault(_step: str) -> None:
    """Where tests put a crash, production does nothing."""


class SqliteLedger:
    """Conforms to `ledger.port.Ledger`; any thread and event loop may use it, other processes too.

    Opening creates the file (its folder must exist) and draws its origin from `entropy` at the time of `clock`; it blocks
    for milliseconds, `open` does it in a thread. A disk that is
    full, a limit reached or an I/O error fails the appends it meets and no later ones: the same object goes on once there is room.

    Raises LedgerDamaged, naming the position; LedgerUnwritable for a read-only file or folder and a full disk; LedgerError for a file
    of a newer program; Busy when another process holds the file for longer than `busy_timeout_s`.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        entropy: Entropy,
        busy_timeout_s: float = 10.0,
        size_limit_bytes: int | None = None,
        fault_point: FaultPoint = _no_fault,
    ) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._followers = Followers()
        self._closed = False
        head_file = HeadFile(path)
        with boundary(path):
            check_file(path, recorded=head_file.read().position)
            connection = connect(path, busy_timeout_s=busy_timeout_s, create=True)
            try:
                self.origin = _open(connection, path, clock, entropy, head_file, busy_timeout_s, size_limit_bytes)
            except BaseException:
                connection.close()
                head_file.close()
                raise
        recorder = Recorder(connection, path, head_file, self._followers, fault_point)
        self._writer = GroupCommit(
            recorder.record,
            answered=recorder.answered,
            ended=recorder.close,
            poll_s=recorder.poll_s,
            idle=recorder.look_around,
        )
        self._readers = _Readers(path, busy_timeout_s)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, entropy: Entropy) -> SqliteLedger:
        """As the constructor, without blocking the event loop."""
        return await asyncio.to_thread(cls, path, clock=clock, entropy=entropy)

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        """As the port says. When this is cancelled the events may or may not be recorded; repeating it with the same ids is safe."""
        return await self._writer.submit(Append(stream, chain.prepare(stream, events), expected_version))

    async def read(self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None) -> list[Recorded]:
        size = PAGE if limit is None else min(PAGE, limit)

        def first(connection: sqlite3.Connection) -> tuple[int, list[Recorded]]:
            # A ledger that grows while it is read ends where it stood at the beginning.
            last = number(connection, queries()["last_position"]) or 0
            return last, sqlite_rows.page(connection, stream, after, size) if after < last and size > 0 else []

        last, page = await self._readers.run(first)
        events = [recorded for recorded in page if recorded.position <= last]
        while page and len(page) == size and page[-1].position < last and (limit is None or len(events) < limit):
            size = PAGE if limit is None else min(PAGE, limit - len(events))
            page = await self._page(stream, page[-1].position, size)
            events += [recorded for recorded in page if recorded.position <= last]
        return events

    async def version(self, stream: StreamId) -> int:
        return await self._readers.run(
            lambda connection: number(connection, queries()["version_of_name"], (stream,)) or 0
        )

    async def find(self, event: EventId) -> Recorded | None:
        return await self._readers.run(lambda connection: sqlite_rows.find(connection, event))

    async def streams(self, prefix: str = "") -> list[StreamId]:
        return await self._readers.run(lambda connection: sqlite_rows.streams(connection, prefix))

    def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        """As the port says; ends when this ledger is closed. Another process's events arrive within milliseconds."""

        async def read_page(position: int) -> list[Recorded]:
            return await self._page(stream, position, PAGE)

        return self._followers.follow(read_page, after, self._writer.wake)

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        limit_us = chain.microseconds(moment)
        return await self._readers.run(lambda connection: sqlite_rows.position_at(connection, limit_us, stream))

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        return await self._readers.run(sqlite_rows.heads)

    async def sealed(self, origin: OriginId, *, after: int = 0, limit: int) -> list[Sealed]:
        return await self._readers.run(lambda connection: sqlite_rows.sealed(connection, origin, after, limit))

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        """As the port says. Committed together with what others append; when this is cancelled, repeating it is safe."""
        return await self._writer.submit(Ingest(origin, events))

    async def verify(self, *, keys: Collection[str] = ()) -> Verification:
        head = HeadFile(self.path).read()
        return await self._readers.run(lambda connection: sqlite_check.verify(connection, head, keys))

    async def aclose(self) -> None:
        """Commits what was submitted, ends followers, closes the file. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._writer.stop()
        self._followers.close()
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._readers.close)

    async def _page(self, stream: StreamId | None, after: int, limit: int) -> list[Recorded]:
        return await self._readers.run(lambda connection: sqlite_rows.page(connection, stream, after, limit))


class _Readers:
    """A few threads with connections of their own: reading never waits for the writer, nor the event loop for the disk."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._closed = False

    async def run(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        if self._closed:
            raise closed()
        try:
            answer = asyncio.get_running_loop().run_in_executor(self._threads, self._run, read)
        except RuntimeError as exc:
            raise closed() from exc
        return await answer

    def close(self) -> None:
        self._closed = True
        self._threads.shutdown(wait=True)
        while not self._idle.empty():
            self._idle.get().close()

    def _run(self, read: Callable[[sqlite3.Connection], _T]) -> _T:
        with boundary(self._path):
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = read_connection(self._path, busy_timeout_s=self._busy_timeout_s)
            try:
                return read(connection)
            finally:
                self._idle.put(connection)


def _open(
    connection: sqlite3.Connection,
    path: Path,
    clock: Clock,
    entropy: Entropy,
    head_file: HeadFile,
    busy_timeout_s: float,
    size_limit_bytes: int | None,
) -> OriginId:
    if size_limit_bytes is not None:
        page_bytes = number(connection, "PRAGMA page_size") or 4096
        connection.execute(f"PRAGMA max_page_count = {max(size_limit_bytes // page_bytes, 1)}")
    prepare(connection, path, clock, entropy, migrations(), busy_timeout_s=busy_timeout_s)
    # Read before the transaction: another process's commit in between only makes the file newer than the record.
    head = head_file.read()
    connection.execute("BEGIN")
    try:
        sqlite_check.quick_check(connection, head)
        (name, *_) = connection.execute(queries()["own_head"]).fetchone()
        last = number(connection, queries()["last_position"]) or 0
        digest = sqlite_rows.hash_at(connection, last)
    finally:
        connection.execute("ROLLBACK")
    if last and not head.position:
        head_file.write(last, digest)
    return OriginId(name)
