"""One transaction of a SQLite ledger in the making: each append and each ingest gets its places, then all rows are written together."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from cavalcade.kernel.errors import LedgerError
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.group_commit import Append, Ingest, Outcome
from cavalcade.ledger.port import OriginHead
from cavalcade.ledger.sealing import Link, accept
from cavalcade.ledger.sqlite_check import SEGMENT
from cavalcade.ledger.sqlite_database import number, queries
from cavalcade.ledger.sqlite_rows import find, hash_at
from cavalcade.protocol.envelope import Recorded

CACHED = 4096
"""Streams and origins whose last event is remembered from one transaction to the next."""

EventRow = tuple[int, int, int, int, int, EventId, bytes, str]


class _Stream(NamedTuple):
    number: int
    version: int
    json: str


class _Origin(NamedTuple):
    """The last event of an origin; `created_us` is written with its first only."""

    number: int
    seq: int
    hash: str
    position: int
    created_us: int = 0


class Heads:
    """Where the file stands: what the next event continues."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        q = queries()
        name, seq, digest, position = connection.execute(q["own_head"]).fetchone()
        self.origin = OriginId(name)
        self.origin_json = chain.json_text(name)
        self.own = _Origin(1, seq, digest.hex(), position)
        self.position = number(connection, q["last_position"]) or 0
        self.last_stream = number(connection, q["last_stream"]) or 0
        self.last_origin = number(connection, q["last_origin"]) or 0
        self.streams: dict[StreamId, _Stream] = {}
        self.origins: dict[OriginId, _Origin] = {}
        """Others than the own."""


class Group:
    """Starts from the heads and changes them only when it is committed."""

    def __init__(self, connection: sqlite3.Connection, heads: Heads) -> None:
        self.connection = connection
        self._heads = heads
        self._own = heads.own
        self.position = heads.position
        self.rows: list[EventRow] = []
        self._streams: dict[StreamId, _Stream] = {}
        self._new_streams: list[tuple[int, StreamId]] = []
        self._origins: dict[OriginId, _Origin] = {}
        self._new_origins = 0
        self._spans: list[tuple[int, int, int]] = []
        self._claims: dict[tuple[int, int], int] = {}
        self._signers: dict[int, str] = {}
        self._ids: dict[EventId, Recorded | None] = {}
        """None for those taken in, which are read back when somebody asks."""

    @property
    def last_hash(self) -> str:
        """Of the last event placed."""
        return self.rows[-1][6].hex()

    def place(self, work: Append | Ingest, *, careful: bool) -> Outcome:
        """Gives a batch its place, or says why it gets none. Looks ids up first when `careful`, or when the version is wrong."""
        try:
            return self._take_in(work) if isinstance(work, Ingest) else self._append(work, careful)
        except LedgerError as refusal:
            return refusal

    def _append(self, work: Append, careful: bool) -> list[Recorded]:
        stream, batch, expected = work
        head = self.stream(stream)
        wrong = expected is not None and expected != head.version
        if careful or wrong:
            known = chain.already_recorded(stream, batch, [self.find(prepared.draft.id) for prepared in batch])
            if known is not None:
                return known
        if expected is not None and wrong:
            raise chain.conflict(stream, expected, head.version)
        return self._extend(work, self._known(head, stream)) if batch else []

    def _extend(self, work: Append, head: _Stream) -> list[Recorded]:
        stream, (stream_number, version, stream_json) = work.stream, head
        origin, origin_json = self._heads.origin, self._heads.origin_json
        _, seq, prevhash, previous, _ = self._own
        self._begin_span(self._own)
        position = self.position
        placed: list[Recorded] = []
        for draft, text, time_us in work.batch:
            position, seq, version = position + 1, seq + 1, version + 1
            body = chain.body_text(origin_json, seq, stream_json, version, text)
            digest = chain.link(prevhash, body)
            hash_hex = digest.hex()
            placed.append(
                Recorded(
                    position=position, stream=stream, version=version, origin=origin, originseq=seq,
                    prevhash=prevhash, hash=hash_hex, event=draft,
                )
            )  # fmt: skip
            self.rows.append((position, stream_number, version, time_us, previous, draft.id, digest, body))
            prevhash, previous = hash_hex, position
        self.position = position
        self._own = _Origin(1, seq, prevhash, position)
        self._streams[stream] = _Stream(stream_number, version, stream_json)
        for recorded in placed:
            self._ids[recorded.event.id] = recorded
        return placed

    def _take_in(self, work: Ingest) -> OriginHead:
        head = self.origin(work.origin)
        links = accept(work.origin, work.batch, own=self._heads.origin, held=_HeldHere(self, head))
        if not links:
            return OriginHead(head.seq, head.hash)
        if not head.number:
            self._new_origins += 1
            head = head._replace(number=self._heads.last_origin + self._new_origins, created_us=links[0].time_us)
        self._begin_span(head)
        for link in links:
            head = self._link(link, head)
        self._origins[work.origin] = head
        return OriginHead(head.seq, head.hash)

    def _link(self, link: Link, origin: _Origin) -> _Origin:
        name, event = link.body.stream, link.body.event.id
        stream = self._known(self.stream(name), name)
        self.position += 1
        self.rows.append(
            (self.position, stream.number, stream.version + 1, link.time_us, origin.position, event,
             bytes.fromhex(link.hash), link.text)
        )  # fmt: skip
        self._streams[name] = stream._replace(version=stream.version + 1)
        self._claims[origin.number, stream.number] = link.body.version
        self._ids[event] = None
        if link.signer:
            self._signers[origin.number] = link.signer
        return origin._replace(seq=link.body.originseq, hash=link.hash, position=self.position)

    def _begin_span(self, origin: _Origin) -> None:
        if not origin.seq or origin.position != self.position:
            self._spans.append((self.position + 1, origin.number, origin.seq + 1))

    def insert(self) -> None:
        """Raises sqlite3.IntegrityError when an id is already recorded."""
        q, execute, executemany = queries(), self.connection.execute, self.connection.executemany
        if self._new_streams:
            executemany(q["insert_stream"], self._new_streams)
        executemany(q["insert_event"], self.rows)
        if self._spans:
            executemany(q["insert_span"], self._spans)
        for segment in range(self._heads.position // SEGMENT + 1, self.position // SEGMENT + 1):
            execute(q["insert_moment"], {"segment": segment})
        if self._own is not self._heads.own:
            execute(q["put_own_head"], (self._own.seq, bytes.fromhex(self._own.hash), self._own.position))
        for name, (origin, seq, digest, position, created_us) in self._origins.items():
            execute(q["put_head"], (origin, name, created_us, seq, bytes.fromhex(digest), position))
        executemany(q["put_signer"], list(self._signers.items()))
        executemany(q["put_claim"], [(*place, version) for place, version in self._claims.items()])

    def committed(self) -> None:
        heads = self._heads
        heads.own, heads.position = self._own, self.position
        heads.last_stream += len(self._new_streams)
        heads.last_origin += self._new_origins
        for kept in (heads.streams, heads.origins):
            if len(kept) > CACHED:
                kept.clear()
        heads.streams.update(self._streams)
        heads.origins.update(self._origins)

    def origin(self, name: OriginId) -> _Origin:
        """Number 0 for one that is new."""
        if name == self._heads.origin:
            return self._own
        head = self._origins.get(name) or self._heads.origins.get(name)
        if head is None:
            row = self.connection.execute(queries()["head_of_origin"], (name,)).fetchone()
            head = _Origin(row[0], row[1], row[2].hex(), row[3]) if row else _Origin(0, 0, chain.GENESIS, 0)
        return head

    def stream(self, name: StreamId) -> _Stream:
        """Version 0 for one that is new."""
        head = self._streams.get(name) or self._heads.streams.get(name)
        if head is None:
            stream = number(self.connection, queries()["stream_number"], (name,)) or 0
            version = number(self.connection, queries()["stream_version"], (stream,)) or 0
            head = _Stream(stream, version, chain.json_text(name))
        return head

    def _known(self, head: _Stream, name: StreamId) -> _Stream:
        """With its number, which a new stream gets here."""
        if head.version:
            return head
        new = self._heads.last_stream + len(self._new_streams) + 1
        self._new_streams.append((new, name))
        return head._replace(number=new)

    def find(self, event: EventId) -> Recorded | None:
        if event not in self._ids:
            return find(self.connection, event)
        return self._ids[event] or self._placed(event)

    def holds(self, event: EventId) -> bool:
        return event in self._ids or number(self.connection, queries()["position_of_id"], (event,)) is not None

    def claim(self, origin: int, stream: int) -> int:
        return self._claims.get((origin, stream)) or number(self.connection, queries()["claim"], (origin, stream)) or 0

    def signer(self, origin: int) -> str:
        if origin in self._signers:
            return self._signers[origin]
        row: tuple[str] | None = self.connection.execute(queries()["signer"], (origin,)).fetchone()
        return "" if row is None else row[0]

    def hash_at(self, origin: int, seq: int) -> str:
        """Of an origin's event that is recorded or placed."""
        spans = ((first, position) for position, number, first in reversed(self._spans) if number == origin)
        span = next((span for span in spans if span[0] <= seq), None)
        if span is None:
            span = self.connection.execute(queries()["span_of"], (origin, seq)).fetchone()
        position = span[1] + seq - span[0]
        return self._hash(position)

    def _hash(self, position: int) -> str:
        if position > self._heads.position:
            return self.rows[position - self._heads.position - 1][6].hex()
        return hash_at(self.connection, position)

    def _placed(self, event: EventId) -> Recorded:
        position, _, version, _, previous, _, digest, body = next(row for row in self.rows if row[5] == event)
        prevhash = self._hash(previous) if previous else chain.GENESIS
        return chain.unpack(chain.Row(position, version, prevhash, digest.hex(), body.encode()))


class _HeldHere:
    """Conforms to `sealing.Held`."""

    def __init__(self, group: Group, origin: _Origin) -> None:
        self._group = group
        self._origin = origin

    @property
    def head(self) -> OriginHead:
        return OriginHead(self._origin.seq, self._origin.hash)

    @property
    def signer(self) -> str:
        return self._group.signer(self._origin.number)

    def hash_at(self, seq: int) -> str:
        return self._group.hash_at(self._origin.number, seq)

    def version_in(self, stream: StreamId) -> int:
        return self._group.claim(self._origin.number, self._group.stream(stream).number)

    def holds(self, event: EventId) -> bool:
        return self._group.holds(event)
