"""The ledger of a shared hub: one PostgreSQL database, safe with many processes on many machines at once.

Events are partitioned by the hash of their tenant. Every process has one writing thread that commits what waits in groups, by COPY;
processes take turns by a lock on one row, so that positions are dense and become visible in order (see `postgres_writer`).

What is detected when it opens: another program's schema, a gap at either end, heads that disagree with the last events, a changed event
among the last 64. Reading finds a changed or missing event where it reads; `verify` finds them all. Nothing here can notice a database
that was put back from an older copy: heads must be signed or kept elsewhere for that.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

import psycopg

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import LedgerError, LedgerUnwritable
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain, postgres_check, postgres_rows
from cavalcade.ledger.followers import Followers
from cavalcade.ledger.group_commit import Append, GroupCommit, Ingest, closed
from cavalcade.ledger.port import OriginHead, Verification
from cavalcade.ledger.postgres_database import Connection, Server, is_outage, migrations, prepare, queries
from cavalcade.ledger.postgres_listener import Listener
from cavalcade.ledger.postgres_writer import FAULT_POINTS, FaultPoint, Recorder
from cavalcade.protocol.envelope import Draft, Recorded, Sealed

__all__ = ["FAULT_POINTS", "PostgresLedger"]

PAGE = 256
READERS = 4
_T = TypeVar("_T")


def _no_fault(_step: str) -> None:
    """Where tests put a crash, production does nothing."""


class PostgresLedger:
    """Conforms to `ledger.port.Ledger`; any thread and event loop may use it, other processes too.

    `url` is a PostgreSQL connection URL, straight to the server: a pool that shares connections between transactions can't carry
    notifications. Opening makes the schema `cavalcade` in its database when there is none, and draws the origin from `entropy` at the
    time of `clock`; it blocks, `open` does it in a thread. A lost connection fails the calls it meets and no later ones; followers wait
    until the server is back.

    Raises UsageError for a URL that isn't one; LedgerUnwritable when the server can't be reached or doesn't let this user in;
    LedgerDamaged, naming the position; LedgerError for a schema of a newer program; Busy when another process keeps its turn for longer
    than `busy_timeout_s`.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        entropy: Entropy,
        busy_timeout_s: float = 10.0,
        fault_point: FaultPoint = _no_fault,
    ) -> None:
        server = Server(url, busy_timeout_s=busy_timeout_s)
        self.label = server.label
        """The address without its password."""
        with server.boundary(), server.connect() as connection:
            prepare(connection, server, clock, entropy, migrations())
            self.origin = postgres_check.quick_check(connection)
        self._closed = False
        self._followers = Followers()
        self._readers = _Readers(server)
        recorder = Recorder(server, self.origin, fault_point)
        self._listener = Listener(server, self._followers, lambda process: process == recorder.process_id)

        def answered() -> None:
            fault_point("answered")
            self._followers.wake()

        self._writer = GroupCommit(recorder.record, answered=answered, ended=recorder.close)
        self._writer.start()

    @classmethod
    async def open(cls, url: str, *, clock: Clock, entropy: Entropy) -> PostgresLedger:
        """As the constructor, without blocking the event loop."""
        return await asyncio.to_thread(cls, url, clock=clock, entropy=entropy)

    async def append(
        self, stream: StreamId, events: Sequence[Draft], *, expected_version: int | None = None
    ) -> list[Recorded]:
        """As the port says. When this is cancelled the events may or may not be recorded; repeating it with the same ids is safe."""
        return await self._writer.submit(Append(stream, chain.prepare(stream, events), expected_version))

    async def ingest(self, origin: OriginId, events: Sequence[Sealed]) -> OriginHead:
        return await self._writer.submit(Ingest(origin, events))

    async def read(self, *, stream: StreamId | None = None, after: int = 0, limit: int | None = None) -> list[Recorded]:
        events: list[Recorded] = []
        # A ledger that grows while it is read ends where it stood at the beginning.
        last = await self._readers.run(_last_position)
        while after < last and (limit is None or len(events) < limit):
            page = await self._page(stream, after, PAGE if limit is None else min(PAGE, limit - len(events)))
            events += [recorded for recorded in page if recorded.position <= last]
            if not page:
                break
            after = page[-1].position
        if stream is None and limit is None and after < last:
            raise chain.damaged(max(after, 0) + 1, "missing")
        return events

    async def version(self, stream: StreamId) -> int:
        return await self._readers.run(lambda connection: postgres_rows.version(connection, stream))

    async def find(self, event: EventId) -> Recorded | None:
        found = await self._readers.run(lambda connection: postgres_rows.find_all(connection, [event]))
        return found.get(event)

    async def streams(self, prefix: str = "") -> list[StreamId]:
        return await self._readers.run(lambda connection: postgres_rows.streams(connection, prefix))

    def follow(self, *, stream: StreamId | None = None, after: int = 0) -> AsyncIterator[Recorded]:
        """As the port says; ends when this ledger is closed. Where the server can't be reached it waits until it can."""

        async def read_page(position: int) -> list[Recorded]:
            try:
                return await self._page(stream, position, PAGE)
            except LedgerUnwritable as exc:
                if not is_outage(exc.__cause__):
                    raise
                self._listener.renew()
                return []

        return self._followers.follow(read_page, after, self._listener.start)

    async def at(self, moment: datetime, *, stream: StreamId | None = None) -> int:
        limit_us = chain.microseconds(moment)
        return await self._readers.run(lambda connection: postgres_rows.position_at(connection, limit_us, stream))

    async def heads(self) -> Mapping[OriginId, OriginHead]:
        return await self._readers.run(postgres_rows.heads)

    async def sealed(self, origin: OriginId, *, after: int = 0, limit: int) -> list[Sealed]:
        return await self._readers.run(lambda connection: postgres_rows.sealed(connection, origin, after, limit))

    async def verify(self, *, keys: Collection[str] = ()) -> Verification:
        return await self._readers.run(lambda connection: postgres_check.verify(connection, keys))

    async def aclose(self) -> None:
        """Commits what was submitted, ends followers, closes the connections. Again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._writer.stop()
        self._followers.close()
        await asyncio.to_thread(self._writer.join)
        await asyncio.to_thread(self._listener.close)
        await asyncio.to_thread(self._readers.close)

    async def _page(self, stream: StreamId | None, after: int, limit: int) -> list[Recorded]:
        return await self._readers.run(lambda connection: postgres_rows.page(connection, stream, after, limit))


class _Readers:
    """A few threads with connections of their own: reading never waits for the writer, nor the event loop for the server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._idle: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._closed = False

    async def run(self, read: Callable[[Connection], _T]) -> _T:
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

    def _run(self, read: Callable[[Connection], _T]) -> _T:
        with self._server.boundary():
            while True:
                try:
                    connection = self._idle.get_nowait()
                except queue.Empty:
                    return self._read(self._server.connect(), read)
                try:
                    return self._read(connection, read)
                except psycopg.Error as exc:
                    # One that has lain idle may have lost its server since; a new one tells whether the server is there.
                    if not is_outage(exc):
                        raise

    def _read(self, connection: Connection, read: Callable[[Connection], _T]) -> _T:
        try:
            return read(connection)
        finally:
            if connection.closed:
                connection.close()
            else:
                self._idle.put(connection)


def _last_position(connection: Connection) -> int:
    row = connection.execute(queries()["last_position"]).fetchone()
    return row[0] if row else 0


def verify_url(url: str, *, keys: Collection[str] = (), busy_timeout_s: float = 10.0) -> Verification:
    """The full walk over a ledger that may refuse to open. Makes nothing: a database without a ledger raises LedgerError."""
    server = Server(url, busy_timeout_s=busy_timeout_s)
    with server.boundary(), server.connect() as connection:
        if not postgres_check.is_ledger(connection):
            raise LedgerError(f"there is no ledger at {server.label}", hint="name the database that holds it")
        return postgres_check.verify(connection, keys)


def label_of(url: str) -> str:
    """The address without its password. Raises UsageError for one that is none."""
    return Server(url, busy_timeout_s=0).label
