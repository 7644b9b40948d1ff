"""Reading events out of a SQLite ledger: by place, by id, by origin, by time. Nothing leaves here whose hash is wrong."""

from __future__ import annotations

import sqlite3

from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.port import OriginHead
from cavalcade.ledger.sqlite_check import SEGMENT
from cavalcade.ledger.sqlite_database import hex_of, number, queries, snapshot
from cavalcade.protocol.envelope import Recorded, Sealed


def page(connection: sqlite3.Connection, stream: StreamId | None, after: int, limit: int) -> list[Recorded]:
    """Raises LedgerDamaged, as all of these do."""
    name, place = ("page", ()) if stream is None else ("stream_page", (stream,))
    rows = _rows(connection, name, (*place, after, limit))
    return [chain.unpack(row) for row in rows]


def find(connection: sqlite3.Connection, event: EventId) -> Recorded | None:
    rows = _rows(connection, "event_by_id", (event,))
    return chain.unpack(rows[0]) if rows else None


def streams(connection: sqlite3.Connection, prefix: str) -> list[StreamId]:
    return [StreamId(name) for (name,) in connection.execute(queries()["streams"], {"prefix": prefix})]


def hash_at(connection: sqlite3.Connection, position: int) -> str:
    """Empty when there is none."""
    row: tuple[bytes] | None = connection.execute(queries()["row_hash"], (position,)).fetchone()
    return "" if row is None else hex_of(row[0])


def heads(connection: sqlite3.Connection) -> dict[OriginId, OriginHead]:
    rows = connection.execute(queries()["heads_by_first"])
    return {OriginId(name): OriginHead(seq, hex_of(digest)) for name, seq, digest in rows}


def sealed(connection: sqlite3.Connection, origin: OriginId, after: int, limit: int) -> list[Sealed]:
    with snapshot(connection):
        head = connection.execute(queries()["head_of_origin"], (origin,)).fetchone()
        seq = max(after, 0) + 1
        if head is None or seq > head[1] or limit <= 0:
            return []
        return _sealed(connection, origin, head[0], seq, limit)


def _sealed(connection: sqlite3.Connection, origin: OriginId, origin_number: int, seq: int, limit: int) -> list[Sealed]:
    found: list[Sealed] = []
    spans = connection.execute(
        queries()["spans_from"], {"origin": origin_number, "seq": seq, "limit": limit}
    ).fetchall()
    for start, position, end in spans:
        first = position + seq - start
        for row in _rows(connection, "span_page", (first, end or 2**63 - 1, limit - len(found))):
            recorded = chain.unpack(row)
            if recorded.origin != origin or recorded.originseq != seq:
                raise chain.damaged(row.position, f"not event {seq} of origin {origin}")
            found.append(Sealed(hash=row.hash, body=row.body.decode()))
            seq += 1
        if len(found) == limit:
            break
    return found


def position_at(connection: sqlite3.Connection, limit_us: int, stream: StreamId | None) -> int:
    """The greatest position whose time is not later, 0 when there is none."""
    q = queries()
    if stream is not None:
        return number(connection, q["stream_position_at"], (stream, limit_us)) or 0
    last = number(connection, q["last_position"]) or 0
    complete = (number(connection, q["last_segment"]) or 0) * SEGMENT
    if position := number(connection, q["position_at"], (complete, last, limit_us)):
        return position
    segment = number(connection, q["segment_at"], (complete // SEGMENT + 1, limit_us)) or 0
    start = (segment - 1) * SEGMENT
    return number(connection, q["position_at"], (start, start + SEGMENT, limit_us)) or 0 if segment else 0


def _rows(connection: sqlite3.Connection, query: str, parameters: tuple[object, ...]) -> list[chain.Row]:
    """All at once: an error keeps its frames, and a cursor left in one would keep its transaction open."""
    return [
        chain.Row(position, version, hex_of(prevhash) or chain.GENESIS, hex_of(digest), body)
        for position, version, prevhash, digest, body in connection.execute(queries()[query], parameters).fetchall()
    ]
