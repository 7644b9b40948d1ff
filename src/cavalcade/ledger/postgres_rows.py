"""Reading events out of a PostgreSQL ledger: by place, by id, by origin, by time. Nothing leaves here whose hash is wrong or whose
place is not dense."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.port import OriginHead
from cavalcade.ledger.postgres_database import Connection, hex_of, name_bytes, number, queries
from cavalcade.protocol.envelope import Recorded, Sealed

SEGMENT = 256
"""Positions per row of `moments`."""


def page(connection: Connection, stream: StreamId | None, after: int, limit: int) -> list[Recorded]:
    """Raises LedgerDamaged, as all of these do; also for a position that is missing."""
    cursor = connection.cursor(binary=True)
    if stream is not None:
        rows = cursor.execute(queries()["stream_page"], (name_bytes(stream), after, limit))
        return [chain.unpack(row) for row in rows_of(rows)]
    found: list[Recorded] = []
    after = max(after, 0)
    for row in rows_of(cursor.execute(queries()["page"], (after, limit))):
        after += 1
        if row.position != after:
            raise chain.damaged(after, "missing")
        found.append(chain.unpack(row))
    return found


def find_all(connection: Connection, ids: Sequence[EventId]) -> dict[EventId, Recorded]:
    cursor = connection.cursor(binary=True)
    rows = cursor.execute(queries()["events_by_id"], ([name_bytes(id) for id in ids],))
    events = [chain.unpack(row) for row in rows_of(rows)]
    return {recorded.event.id: recorded for recorded in events}


def streams(connection: Connection, prefix: str) -> list[StreamId]:
    rows = connection.execute(queries()["streams"], {"prefix": name_bytes(prefix)})
    return [StreamId(name.decode()) for (name,) in rows]


def version(connection: Connection, stream: StreamId) -> int:
    return number(connection, queries()["version_of_name"], (name_bytes(stream),)) or 0


def heads(connection: Connection) -> dict[OriginId, OriginHead]:
    rows = connection.execute(queries()["heads"])
    return {OriginId(name.decode()): OriginHead(seq, hex_of(digest)) for name, seq, digest in rows}


def sealed(connection: Connection, origin: OriginId, after: int, limit: int) -> list[Sealed]:
    q = queries()
    found: list[Sealed] = []
    head = connection.execute(q["heads_of"], ([name_bytes(origin)],)).fetchone()
    seq = max(after, 0) + 1
    while head is not None and seq <= head[2] and len(found) < limit:
        span = connection.execute(q["span_of"], (name_bytes(origin), seq)).fetchone()
        if span is None:
            raise chain.damaged(0, f"where event {seq} of origin {origin} stands is not known")
        position, first, end = span
        start, begun = position + seq - first, seq
        rows = connection.cursor(binary=True).execute(q["span_page"], (start, end or 2**63 - 1, limit - len(found)))
        for row in rows_of(rows):
            recorded = chain.unpack(row)
            if recorded.origin != origin or recorded.originseq != seq:
                raise chain.damaged(row.position, f"not event {seq} of origin {origin}")
            found.append(Sealed(hash=row.hash, body=row.body.decode()))
            seq += 1
        if seq == begun:
            raise chain.damaged(start, "missing")
    return found


def position_at(connection: Connection, limit_us: int, stream: StreamId | None) -> int:
    """The greatest position whose time is not later, 0 when there is none."""
    q = queries()
    if stream is not None:
        return number(connection, q["stream_position_at"], (name_bytes(stream), limit_us)) or 0
    last = number(connection, q["last_position"]) or 0
    complete = (number(connection, q["last_segment"]) or 0) * SEGMENT
    if position := number(connection, q["position_at"], (complete, last, limit_us)):
        return position
    segment = number(connection, q["segment_at"], (complete // SEGMENT + 1, limit_us)) or 0
    start = (segment - 1) * SEGMENT
    return number(connection, q["position_at"], (start, start + SEGMENT, limit_us)) or 0 if segment else 0


def rows_of(rows: Iterable[tuple[Any, ...]]) -> Iterator[chain.Row]:
    for position, version, prevhash, digest, body in rows:
        yield chain.Row(position, version, hex_of(prevhash), hex_of(digest), body)
