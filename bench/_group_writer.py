"""The limit for many producers on SQLite: one thread that commits rows in groups, and nothing else.

No ids are looked up, no versions checked; rows, schema and durability (WAL, `synchronous=FULL`) are those of the ledger. `rate` takes rows
that are ready; `engine_rate` makes each event when it is due, as whoever waits for the one before must: an id, its JSON, its link in
the chain of hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from cavalcade.kernel.ids import EventId
from cavalcade.ledger.group_commit import GROUP_EVENTS
from cavalcade.protocol.envelope import Draft

Request = tuple[Sequence[tuple[object, ...]], asyncio.Future[None]]


def open_raw(path: Path, schema: Sequence[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    for statement in schema:
        connection.execute(statement)
    return connection


def kept_in(path: Path) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """The table of events in a ledger's file, its indexes included, and the rows in it."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'events' AND sql IS NOT NULL")
        schema = tuple(sql for (sql,) in found)
        columns = "position, stream, version, time_us, previous, id, hash, body"
        return schema, connection.execute(f"SELECT {columns} FROM events ORDER BY position").fetchall()


def insert_into(rows: Sequence[tuple[object, ...]]) -> str:
    return f"INSERT INTO events VALUES ({', '.join('?' * len(rows[0]))})"


async def rate(
    path: Path, schema: Sequence[str], rows: Sequence[tuple[object, ...]], producers: int, batch: int
) -> float:
    """Rows per second until all are acknowledged: each producer waits for its batch before it sends the next."""

    async def produce(writer: Writer, number: int) -> None:
        mine = rows[number::producers]
        for start in range(0, len(mine), batch):
            await writer.append(mine[start : start + batch])

    return len(rows) / await _seconds(path, schema, len(rows), insert_into(rows), produce, producers)


async def engine_rate(path: Path, schema: Sequence[str], drafts: Sequence[Draft], producers: int) -> float:
    """Events per second, each made when the one before it of the same producer is acknowledged."""
    encode = msgspec.json.Encoder().encode
    head = ["0" * 64, 0]

    def chained(request: Sequence[tuple[object, ...]]) -> Sequence[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for number, event, body in request:
            digest = hashlib.sha256(f"{head[0]}{body}".encode()).digest()
            head[0], head[1] = digest.hex(), int(head[1]) + 1
            rows.append((head[1], number, head[1], 0, head[1], event, digest, body))
        return rows

    async def produce(writer: Writer, number: int) -> None:
        for draft in drafts[number::producers]:
            event = str(uuid.uuid4())
            body = encode(msgspec.structs.replace(draft, id=EventId(event))).decode()
            await writer.append([(number, event, body)])

    insert = f"INSERT INTO events VALUES ({', '.join('?' * 8)})"
    return len(drafts) / await _seconds(path, schema, len(drafts), insert, produce, producers, chained)


Prepare = Callable[[Sequence[tuple[object, ...]]], Sequence[tuple[object, ...]]]


class Writer:
    """The thread and its queue. `prepare` makes rows of what is appended, in the order in which they are committed."""

    def __init__(self, connection: sqlite3.Connection, insert: str, prepare: Prepare | None) -> None:
        self._connection = connection
        self._insert = insert
        self._prepare = prepare
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def append(self, rows: Sequence[tuple[object, ...]]) -> asyncio.Future[None]:
        answer: asyncio.Future[None] = self._loop.create_future()
        self._requests.put((rows, answer))
        return answer

    async def aclose(self) -> None:
        """Call it when everything has been answered."""
        self._requests.put(None)
        await asyncio.to_thread(self._thread.join)

    def _write(self) -> None:
        while (request := self._requests.get()) is not None:
            group, held = [request], len(request[0])
            while held < GROUP_EVENTS and not self._requests.empty():
                following = self._requests.get()
                if following is None:  # everybody has been answered, so nobody is left out
                    return
                group.append(following)
                held += len(following[0])
            rows = [row for appended, _ in group for row in appended]
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(self._insert, self._prepare(rows) if self._prepare else rows)
            self._connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, [answer for _, answer in group])


async def _seconds(
    path: Path,
    schema: Sequence[str],
    count: int,
    insert: str,
    produce: Callable[[Writer, int], Awaitable[None]],
    producers: int,
    prepare: Prepare | None = None,
) -> float:
    connection = open_raw(path, schema)
    writer = Writer(connection, insert, prepare)
    begin = time.perf_counter()
    await asyncio.gather(*(produce(writer, number) for number in range(producers)))
    seconds = time.perf_counter() - begin
    await writer.aclose()
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (count,)
    connection.close()
    return seconds


def _answer(answers: Sequence[asyncio.Future[None]]) -> None:
    for answer in answers:
        answer.set_result(None)
