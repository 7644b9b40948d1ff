"""The limit for many producers on PostgreSQL: one thread that copies ready-made rows in by groups, and nothing else.

No lock is taken, no ids are looked up, no versions checked, nothing is hashed or encoded, nobody is notified; rows, tables and
durability (`synchronous_commit=on`) are those of the ledger.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Sequence
from typing import LiteralString, NamedTuple

import psycopg

from cavalcade.ledger.group_commit import GROUP_EVENTS
from cavalcade.ledger.postgres_database import Connection

EVENT_COLUMNS = ("position", "stream", "version", "time_us", "tenant", "prevhash", "hash", "body")
_EVENT_TYPES = ("int8", "int8", "int8", "int8", "bytea", "bytea", "bytea", "bytea")
_COPY_EVENTS = "COPY cavalcade.events (position, stream, version, time_us, tenant, prevhash, hash, body) FROM STDIN (FORMAT BINARY)"
_COPY_IDS = "COPY cavalcade.ids (id, position) FROM STDIN (FORMAT BINARY)"

EventRow = tuple[int, int, int, int, bytes, bytes, bytes, bytes]
IdRow = tuple[bytes, int]


class ReadyRow(NamedTuple):
    id: IdRow
    event: EventRow


Request = tuple[ReadyRow, asyncio.Future[None]]


async def rate(url: str, rows: Sequence[ReadyRow], producers: int) -> float:
    """Rows per second until all are acknowledged: each producer waits for its row before it sends the next."""
    connection = psycopg.connect(url, autocommit=True)
    requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
    loop = asyncio.get_running_loop()
    writer = threading.Thread(target=_write, args=(connection, requests, loop))
    writer.start()

    async def produce(number: int) -> None:
        for row in rows[number::producers]:
            answer: asyncio.Future[None] = loop.create_future()
            requests.put((row, answer))
            await answer

    begin = time.perf_counter()
    await asyncio.gather(*(produce(number) for number in range(producers)))
    seconds = time.perf_counter() - begin
    requests.put(None)
    await asyncio.to_thread(writer.join)
    assert connection.execute("SELECT count(*) FROM cavalcade.events").fetchone() == (len(rows),)
    connection.close()
    return len(rows) / seconds


def _write(
    connection: Connection, requests: queue.SimpleQueue[Request | None], loop: asyncio.AbstractEventLoop
) -> None:
    while (request := requests.get()) is not None:
        group = [request]
        while len(group) < GROUP_EVENTS and not requests.empty():
            following = requests.get()
            if following is None:  # everybody has been answered, so nobody is left out
                return
            group.append(following)
        connection.execute("BEGIN")
        _copy(connection, _COPY_IDS, ("bytea", "int8"), [row.id for row, _ in group])
        _copy(connection, _COPY_EVENTS, _EVENT_TYPES, [row.event for row, _ in group])
        connection.execute("COMMIT")
        loop.call_soon_threadsafe(_answer, [answer for _, answer in group])


def _copy(
    connection: Connection, statement: LiteralString, types: Sequence[str], rows: Sequence[EventRow] | Sequence[IdRow]
) -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _answer(answers: Sequence[asyncio.Future[None]]) -> None:
    for answer in answers:
        answer.set_result(None)
