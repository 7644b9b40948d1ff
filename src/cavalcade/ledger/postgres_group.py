"""One transaction of a PostgreSQL ledger in the making: each append and each ingest gets its places, then all rows are copied in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from cavalcade.kernel.errors import LedgerError
from cavalcade.kernel.ids import EventId, OriginId, StreamId
from cavalcade.ledger import chain, postgres_rows
from cavalcade.ledger.group_commit import Append, Ingest, Outcome
from cavalcade.ledger.port import OriginHead
from cavalcade.ledger.postgres_copy import copy_in, event_row, numbered_row
from cavalcade.ledger.postgres_database import Connection, hex_of, name_bytes, number, queries
from cavalcade.ledger.postgres_rows import SEGMENT
from cavalcade.ledger.sealing import Link, accept
from cavalcade.protocol.envelope import Recorded

CACHED = 4096
"""Streams and origins whose last event is remembered from one transaction to the next; and how far another process may have gone ahead
before all of them are forgotten."""
NO_TIME_US = 2**63 - 1


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


class Counters(NamedTuple):
    """The locked row, and where the ledger's own chain stands: what the next event continues."""

    position: int
    streams: int
    origins: int
    earliest_us: int
    own_seq: int
    own_hash: bytes
    own_position: int


class Heads:
    """What is remembered of the last transaction."""

    def __init__(self, origin: OriginId) -> None:
        self.origin = origin
        self.origin_json = chain.json_text(origin)
        self.counters = Counters(0, 0, 1, NO_TIME_US, 0, bytes.fromhex(chain.GENESIS), 0)
        self.streams: dict[StreamId, _Stream] = {}
        self.origins: dict[OriginId, _Origin] = {}
        """Others than the own."""

    def catch_up(self, connection: Connection, now: Counters) -> None:
        """What other processes recorded since is looked up, or everything forgotten when it is much."""
        before, self.counters = self.counters, now
        if now.position == before.position and now.own_hash == before.own_hash:
            return
        self.origins.clear()
        if not before.position or now.position - before.position > CACHED or now.position < before.position:
            self.streams.clear()
            return
        for name, stream, version in connection.execute(queries()["stream_heads_since"], (before.position,)):
            self.remember(name, stream, version)

    def remember(self, name: bytes, stream: int, version: int) -> None:
        text = StreamId(name.decode())
        self.streams[text] = _Stream(stream, version, chain.json_text(text))


class Group:
    """Begun with the lock held, by the heads as they are now; changes them only when it is committed."""

    def __init__(
        self, connection: Connection, heads: Heads, works: Sequence[Append | Ingest], *, careful: bool
    ) -> None:
        self.connection = connection
        self._heads = heads
        self._careful = careful
        now = heads.counters
        self._own = _Origin(1, now.own_seq, now.own_hash.hex(), now.own_position)
        self.position = now.position
        self.rows: list[bytes] = []
        self._times: list[int] = []
        self._ids: dict[EventId, Recorded] = {}
        self._streams: dict[StreamId, _Stream] = {}
        self._new_streams: list[tuple[int, bytes]] = []
        self._origins: dict[OriginId, _Origin] = {}
        self._new_origins = 0
        self._spans: list[tuple[int, int, int]] = []
        self._claims: dict[tuple[int, int], int] = {}
        self._signers: dict[int, str] = {}
        self._look_up_streams(works)
        if careful:
            wanted = [prepared.draft.id for work in works if isinstance(work, Append) for prepared in work.batch]
            self._ids.update(postgres_rows.find_all(connection, wanted))

    def place(self, work: Append | Ingest) -> Outcome:
        """Gives a batch its place, or says why it gets none. Looks ids up first when careful, or when the version is wrong."""
        try:
            return self._take_in(work) if isinstance(work, Ingest) else self._append(work)
        except LedgerError as refusal:
            return refusal

    def _append(self, work: Append) -> list[Recorded]:
        head = self._stream(work.stream)
        expected = work.expected_version
        wrong = expected is not None and expected != head.version
        # An id twice in one group would meet no unique index: it is written once for both.
        if self._careful or wrong or any(prepared.draft.id in self._ids for prepared in work.batch):
            found = self._found([prepared.draft.id for prepared in work.batch])
            known = chain.already_recorded(work.stream, work.batch, found)
            if known is not None:
                return known
        if expected is not None and wrong:
            raise chain.conflict(work.stream, expected, head.version)
        return self._extend(work, self._known(head, work.stream)) if work.batch else []

    def _extend(self, work: Append, head: _Stream) -> list[Recorded]:
        stream = work.stream
        stream_number, version, stream_json = head
        origin, origin_json = self._heads.origin, self._heads.origin_json
        _, seq, prevhash, _, _ = self._own
        self._begin_span(self._own)
        position, previous = self.position, bytes.fromhex(prevhash)
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
            self.rows.append(
                event_row(
                    position, stream_number, version, time_us, previous, digest, draft.tenant.encode(), body.encode()
                )
            )
            self._times.append(time_us)
            prevhash, previous = hash_hex, digest
        self.position = position
        self._own = _Origin(1, seq, prevhash, position)
        self._streams[stream] = _Stream(stream_number, version, stream_json)
        for recorded in placed:
            self._ids[recorded.event.id] = recorded
        return placed

    def _take_in(self, work: Ingest) -> OriginHead:
        head = self._origin(work.origin)
        links = accept(work.origin, work.batch, own=self._heads.origin, held=_HeldHere(self, work, head))
        if not links:
            return OriginHead(head.seq, head.hash)
        if not head.number:
            self._new_origins += 1
            number = self._heads.counters.origins + self._new_origins
            head = head._replace(number=number, created_us=links[0].time_us)
        self._begin_span(head)
        for link in links:
            head = self._link(link, head)
        self._origins[work.origin] = head
        return OriginHead(head.seq, head.hash)

    def _link(self, link: Link, origin: _Origin) -> _Origin:
        name, event = link.body.stream, link.body.event
        stream = self._known(self._stream(name), name)
        self.position += 1
        version = stream.version + 1
        digests = bytes.fromhex(link.prevhash), bytes.fromhex(link.hash)
        self.rows.append(
            event_row(
                self.position, stream.number, version, link.time_us, *digests, event.tenant.encode(), link.text.encode()
            )
        )
        self._times.append(link.time_us)
        self._streams[name] = stream._replace(version=version)
        self._claims[origin.number, stream.number] = link.body.version
        if link.signer:
            self._signers[origin.number] = link.signer
        self._ids[event.id] = Recorded(
            position=self.position, stream=name, version=version, origin=link.body.origin, originseq=link.body.originseq,
            prevhash=link.prevhash, hash=link.hash, event=event,
        )  # fmt: skip
        return origin._replace(seq=link.body.originseq, hash=link.hash, position=self.position)

    def _begin_span(self, origin: _Origin) -> None:
        if not origin.seq or origin.position != self.position:
            self._spans.append((self.position + 1, origin.number, origin.seq + 1))

    def insert(self) -> None:
        """Raises psycopg.errors.UniqueViolation when an id is already recorded."""
        q, connection = queries(), self.connection
        if self._new_streams:
            copy_in(connection, q["copy_streams"], (numbered_row(*new) for new in self._new_streams))
        last = self._heads.counters.position
        new = ((recorded.position, id.encode()) for id, recorded in self._ids.items() if recorded.position > last)
        copy_in(connection, q["copy_ids"], (numbered_row(*place) for place in new))
        copy_in(connection, q["copy_events"], self.rows)
        # One by one: after a pipeline, as `executemany` sends, the server would not count how long this transaction stands still.
        for span in self._spans:
            connection.execute(q["insert_span"], span)
        for moment in self._moments():
            connection.execute(q["insert_moment"], moment)
        for name, (origin, seq, digest, position, created_us) in self._origins.items():
            values = (origin, name_bytes(name), created_us, seq, bytes.fromhex(digest), position)
            connection.execute(q["put_head"], values)
        for place, version in self._claims.items():
            connection.execute(q["put_claim"], (*place, version))
        for signer in self._signers.items():
            connection.execute(q["put_signer"], signer)

    @property
    def counters(self) -> Counters:
        """As they are once this is committed."""
        before = self._heads.counters
        open_since = self.position // SEGMENT * SEGMENT - before.position
        earliest_us = min(self._times[max(open_since, 0) :], default=NO_TIME_US)
        if open_since <= 0:
            earliest_us = min(earliest_us, before.earliest_us)
        _, seq, digest, own_position, _ = self._own
        return Counters(
            self.position,
            before.streams + len(self._new_streams),
            before.origins + self._new_origins,
            earliest_us,
            seq,
            bytes.fromhex(digest),
            own_position,
        )

    def committed(self) -> None:
        heads = self._heads
        heads.counters = self.counters
        for kept in (heads.streams, heads.origins):
            if len(kept) > CACHED:
                kept.clear()
        heads.streams.update(self._streams)
        heads.origins.update(self._origins)

    def _moments(self) -> list[tuple[int, int]]:
        """Each segment that is complete now, and its earliest time."""
        before = self._heads.counters
        moments: list[tuple[int, int]] = []
        start, earliest_us = 0, before.earliest_us
        for segment in range(before.position // SEGMENT + 1, self.position // SEGMENT + 1):
            end = segment * SEGMENT - before.position
            moments.append((segment, min(earliest_us, *self._times[start:end])))
            start, earliest_us = end, NO_TIME_US
        return moments

    def _look_up_streams(self, works: Sequence[Append | Ingest]) -> None:
        """Those that aren't remembered, in one query."""
        names = {name for work in works for name in _streams_of(work) if name not in self._heads.streams}
        if names:
            wanted = [name_bytes(name) for name in names]
            for name, stream, version in self.connection.execute(queries()["stream_heads"], (wanted,)):
                self._heads.remember(name, stream, version)

    def _origin(self, name: OriginId) -> _Origin:
        """Number 0 for one that is new."""
        if name == self._heads.origin:
            return self._own
        head = self._origins.get(name) or self._heads.origins.get(name)
        if head is None:
            row = self.connection.execute(queries()["heads_of"], ([name_bytes(name)],)).fetchone()
            head = _Origin(row[1], row[2], hex_of(row[3]), row[4]) if row else _Origin(0, 0, chain.GENESIS, 0)
        return head

    def _stream(self, name: StreamId) -> _Stream:
        """Version 0 for one that is new."""
        return self._streams.get(name) or self._heads.streams.get(name) or _Stream(0, 0, chain.json_text(name))

    def _known(self, head: _Stream, name: StreamId) -> _Stream:
        """With its number, which a new stream gets here."""
        if head.number:
            return head
        new = self._heads.counters.streams + len(self._new_streams) + 1
        self._new_streams.append((new, name_bytes(name)))
        return head._replace(number=new)

    def _found(self, ids: Sequence[EventId]) -> list[Recorded | None]:
        if not self._careful:
            unknown = [id for id in ids if id not in self._ids]
            self._ids.update(postgres_rows.find_all(self.connection, unknown))
        return [self._ids.get(id) for id in ids]

    def placed(self, event: EventId) -> bool:
        return event in self._ids

    def claim(self, origin: int, stream: StreamId) -> int:
        place = (origin, self._stream(stream).number)
        return self._claims.get(place) or number(self.connection, queries()["claims"], place) or 0

    def signer(self, origin: int) -> str:
        if origin in self._signers:
            return self._signers[origin]
        row = self.connection.execute(queries()["signer"], (origin,)).fetchone()
        return "" if row is None else row[0]

    def hash_of(self, origin: OriginId, seq: int) -> str:
        """Of an origin's event that is recorded or placed."""
        for recorded in self._ids.values():
            if recorded.origin == origin and recorded.originseq == seq:
                return recorded.hash
        sealed = postgres_rows.sealed(self.connection, origin, seq - 1, 1)
        return sealed[0].hash if sealed else ""


class _HeldHere:
    """Conforms to `sealing.Held`. What a batch will be compared with is looked up in one go."""

    def __init__(self, group: Group, work: Ingest, origin: _Origin) -> None:
        self._group = group
        self._name = work.origin
        self._origin = origin
        bodies = list(_bodies(work))
        ids = [name_bytes(body.event.id) for body in bodies]
        self._known = {row[0] for row in group.connection.execute(queries()["known_ids"], (ids,))}
        first = min((body.originseq for body in bodies), default=0)
        self._hashes: dict[int, str] = {}
        if 0 < first <= origin.seq:
            after = max(first - 2, 0)
            held = postgres_rows.sealed(group.connection, work.origin, after, len(bodies) + 1)
            self._hashes = {seq: sealed.hash for seq, sealed in enumerate(held, after + 1)}

    @property
    def head(self) -> OriginHead:
        return OriginHead(self._origin.seq, self._origin.hash)

    @property
    def signer(self) -> str:
        return self._group.signer(self._origin.number)

    def hash_at(self, seq: int) -> str:
        return self._hashes.get(seq) or self._group.hash_of(self._name, seq)

    def version_in(self, stream: StreamId) -> int:
        return self._group.claim(self._origin.number, stream)

    def holds(self, event: EventId) -> bool:
        return self._group.placed(event) or name_bytes(event) in self._known


def _streams_of(work: Append | Ingest) -> Iterable[StreamId]:
    return (body.stream for body in _bodies(work)) if isinstance(work, Ingest) else (work.stream,)


def _bodies(work: Ingest) -> Iterable[chain.Body]:
    """Those that can be read: the others are refused by `accept`."""
    for sealed in work.batch:
        try:
            yield chain.parse_body(sealed.body.encode())
        except (msgspec.DecodeError, UnicodeError):
            continue
