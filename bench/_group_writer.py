"""The limit for many producers on SQLite: one thread that commits ready-made rows in groups, and nothing else.

No ids are looked up, no versions checked, nothing is hashed or encoded; rows, schema and durability (WAL, `synchronous=FULL`) are
those of the ledger.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from cavalcade.ledger.sqlite_writer import GROUP_EVENTS

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
    connection = open_raw(path, schema)
    requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    loop = asyncio.get_running_loop()
    writer = threading.Thread(target=_write, args=(connection, insert_into(rows), requests, loop))
    writer.start()

    async def produce(number: int) -> None:
        mine = rows[number::producers]
        for start in range(0, len(mine), batch):
            answer: asyncio.Future[None] = loop.create_future()
            requests.put((mine[start : start + batch], answer))
            await answer

    begin = time.perf_counter()
    await asyncio.gather(*(produce(number) for number in range(producers)))
    seconds = time.perf_counter() - begin
    requests.put(None)
    await asyncio.to_thread(writer.join)
    assert connection.execute("SELECT count(*) FROM events").fetchone() == (len(rows),)
    connection.close()
    return len(rows) / seconds


def _write(
    connection: sqlite3.Connection,
    insert: str,
    requests: queue.SimpleQueue[Request | None],
    loop: asyncio.AbstractEventLoop,
) -> None:
    while (request := requests.get()) is not None:
        group, held = [request], len(request[0])
        while held < GROUP_EVENTS and not requests.empty():
            following = requests.get()
            if following is None:  # everybody has been answered, so nobody is left out
                return
            group.append(following)
            held += len(following[0])
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, [row for rows, _ in group for row in rows])
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(_answer, [answer for _, answer in group])


def _answer(answers: Sequence[asyncio.Future[None]]) -> None:
    for answer in answers:
        answer.set_result(None)
