"""Whether a PostgreSQL ledger is whole: a cheap look when it opens, and the full walk that names the first bad position."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec
import psycopg

from cavalcade.kernel.ids import OriginId
from cavalcade.ledger import chain
from cavalcade.ledger.chain_check import ChainCheck
from cavalcade.ledger.port import Verification
from cavalcade.ledger.postgres_database import Connection, hex_of, name_bytes, number, queries, snapshot
from cavalcade.ledger.postgres_rows import SEGMENT, rows_of

TAIL = 64
"""Events at the end that are hashed again at each opening."""
PAGE = 8 * SEGMENT
"""Positions that `verify` looks at together."""
NO_TIME_US = 2**63 - 1
"""The earliest time among no events."""

VerifyRow = tuple[int, int, bytes, bytes, bytes | None, int, bytes, bytes]


def is_ledger(connection: Connection) -> bool:
    return number(connection, "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'head'") == 1


def quick_check(connection: Connection) -> OriginId:
    """Both ends of the positions are there, the tail is dense and hashes right, the heads agree with their events. Whose ledger it is.

    Its cost doesn't grow with the ledger. Raises LedgerDamaged; psycopg's own errors pass.
    """
    q = queries()
    with snapshot(connection):
        row = connection.execute(q["ends"]).fetchone()
        own = connection.execute(q["own_origin"]).fetchone()
        if row is None or own is None:
            raise chain.damaged(0, "the row that says where it ends is missing")
        first, newest, last = row[0], row[1] or 0, row[2]
        if last and first != 1:
            raise chain.damaged(1, "missing")
        _check_tail(connection, last)
        if newest > last:
            raise chain.damaged(last + 1, "an event beyond the head of the ledger")
        _check_heads(connection, last)
        return OriginId(own[0].decode())


def _check_tail(connection: Connection, last: int) -> None:
    expected = max(last - TAIL, 0)
    for row in rows_of(connection.cursor(binary=True).execute(queries()["tail"], (expected,))):
        expected += 1
        if row.position != expected:
            break
        chain.unpack(row)
    else:
        if expected >= last:
            return
    raise chain.damaged(_first_gap(connection, last), "missing")


def _first_gap(connection: Connection, last: int) -> int:
    """The first position without an event, by bisection: below it count and position agree."""
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        held = number(connection, queries()["held_until"], (middle,)) or 0
        low, high = (middle, high) if held == middle else (low, middle)
    return high


def _check_heads(connection: Connection, last: int) -> None:
    newest = 0
    for name, seq, digest, position, found, text in connection.execute(queries()["head_events"]).fetchall():
        origin = name.decode()
        newest = max(newest, position)
        if found is None:
            if seq or position or hex_of(digest) != chain.GENESIS:
                raise chain.damaged(last + 1, f"missing: the head of origin {origin} stands at position {position}")
            continue
        try:
            body = chain.parse_body(text)
        except (msgspec.DecodeError, UnicodeError) as exc:
            raise chain.damaged(position, f"the body can't be read: {exc}") from exc
        if found != digest or body.originseq != seq or body.origin != origin:
            raise chain.damaged(position, f"the head of origin {origin} says otherwise")
    if newest != last:
        raise chain.damaged(newest + 1, "an event beyond the head of its origin")


class _Ends(NamedTuple):
    """What the database says about its end, all of one moment, while others may be appending."""

    own: OriginId
    last: int
    earliest_us: int
    heads: dict[str, tuple[int, str, int]]
    """Sequence number, hash and position of each origin's last event."""
    claims: dict[tuple[str, str], int]
    signers: dict[str, str]
    counts: tuple[int, ...]
    """Rows of `ids`, `spans`, `moments`, `streams`, `origins`."""
    said: tuple[int, int]
    """How many streams and origins there are by the row of `head`."""


def _ends(connection: Connection) -> _Ends:
    q = queries()
    with snapshot(connection):
        own = connection.execute(q["own_origin"]).fetchone()
        row = connection.execute(q["ends"]).fetchone()
        counts = connection.execute(q["counts"]).fetchone()
        if own is None or row is None or counts is None:
            raise chain.damaged(0, "the row that says where it ends is missing")
        heads = connection.execute(q["head_events"]).fetchall()
        claims = connection.execute(q["all_claims"]).fetchall()
        signers = connection.execute(q["all_signers"]).fetchall()
    return _Ends(
        own=OriginId(own[0].decode()),
        last=row[2],
        earliest_us=row[5],
        heads={name.decode(): (seq, hex_of(digest), position) for name, seq, digest, position, *_ in heads if seq},
        claims={(_text(origin), _text(stream)): version for origin, stream, version in claims},
        signers={_text(origin): key for origin, key in signers},
        counts=counts,
        said=(row[3], row[4]),
    )


class _Walk:
    """The chain check, and that each column and each table derived from the events says what the bodies say."""

    def __init__(self, connection: Connection, own: OriginId, keys: Collection[str]) -> None:
        self.chain = ChainCheck(own, keys)
        self.spans = 0
        self.earliest_us = NO_TIME_US
        """Among the positions since the last complete segment."""
        self._connection = connection
        self._hashes: dict[OriginId, str] = {}
        self._positions: dict[OriginId, int] = {}
        self._last: OriginId | None = None
        self._segments: dict[int, int] = {}
        self._places: dict[bytes, int] = {}
        self._spans: dict[int, tuple[str, int]] = {}
        self._streams: set[str] = set()

    def page(self, after: int, last: int) -> str:
        """Looks at the positions beyond `after`, up to `last` or a page full. Empty when all is right."""
        q, connection = queries(), self._connection
        cursor = connection.cursor(binary=True)
        rows: list[VerifyRow] = cursor.execute(q["verify_page"], (after, PAGE)).fetchall()
        end = min(after + PAGE, last)
        self._spans = {row[0]: (_text(row[1]), row[2]) for row in connection.execute(q["spans_page"], (after, end))}
        segments = (after // SEGMENT, end // SEGMENT)
        self._segments = dict(connection.execute(q["moments_page"], segments).fetchall())
        self._places = self._places_of(rows)
        for row in rows:
            if row[0] > last:
                break
            if problem := self._problem(row):
                return problem
        return "" if self.chain.position >= end else "missing"

    def heads(self) -> dict[str, tuple[int, str, int]]:
        return {origin: (head.seq, head.hash, self._positions[origin]) for origin, head in self.chain.heads.items()}

    @property
    def streams(self) -> int:
        return len(self._streams)

    def _places_of(self, rows: list[VerifyRow]) -> dict[bytes, int]:
        ids: list[bytes] = []
        for row in rows:
            try:
                ids.append(name_bytes(chain.parse_body(row[3]).event.id))
            except (msgspec.DecodeError, UnicodeError):
                break  # the walk ends there
        return dict(self._connection.execute(queries()["places_of"], (ids,)).fetchall())

    def _problem(self, row: VerifyRow) -> str:
        position, version, digest, body_bytes = row[:4]
        if problem := self.chain.problem(position, version, hex_of(digest), body_bytes):
            return problem
        if wrong := self._disagreement(row, self.chain.body):
            self.chain.position = position - 1
            return wrong
        return ""

    def _disagreement(self, row: VerifyRow, body: chain.Body) -> str:
        position, _, digest, _, stream, time_us, tenant, prevhash = row
        if body.event.time.tzinfo is None:
            return "altered: its time has no zone"
        made_us = chain.microseconds(body.event.time)
        previous = self._hashes.get(body.origin, chain.GENESIS)
        self._hashes[body.origin], self._positions[body.origin] = hex_of(digest), position
        self._streams.add(body.stream)
        if (stream, time_us, tenant) != (name_bytes(body.stream), made_us, body.event.tenant.encode()):
            return "altered: stream, time or tenant differ from the body"
        if hex_of(prevhash) != previous:
            return "altered: the hash before it is another one"
        if self._places.get(name_bytes(body.event.id)) != position:
            return "altered: its id is found at another position, or not at all"
        return self._wrong_span(position, body) or self._wrong_moment(position, made_us)

    def _wrong_span(self, position: int, body: chain.Body) -> str:
        begins = body.origin != self._last
        self._last = body.origin
        self.spans += begins
        expected = (body.origin, body.originseq) if begins else None
        return "" if self._spans.get(position) == expected else "altered: the span of its origin begins elsewhere"

    def _wrong_moment(self, position: int, made_us: int) -> str:
        earliest_us = min(self.earliest_us, made_us)
        ends = position % SEGMENT == 0
        self.earliest_us = NO_TIME_US if ends else earliest_us
        if ends and self._segments.get(position // SEGMENT) != earliest_us:
            return f"the earliest time of the {SEGMENT} positions that end here is wrong"
        return ""


def verify(connection: Connection, keys: Collection[str] = ()) -> Verification:
    """Reads everything, page by page. Never raises for damage: it is the answer."""
    walk = _Walk(connection, OriginId(""), keys)
    try:
        ends = _ends(connection)
        walk = _Walk(connection, ends.own, keys)
        while walk.chain.position < ends.last:
            if problem := walk.page(walk.chain.position, ends.last):
                return walk.chain.found(problem)
        problem, position = _wrong_ends(walk, ends)
        return walk.chain.found(problem, position=position)
    except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted, msgspec.DecodeError) as exc:
        return walk.chain.found(f"unreadable: {exc}")


def _wrong_ends(walk: _Walk, ends: _Ends) -> tuple[str, int | None]:
    """Whether the walk ended where the heads say, and nothing is there that no event accounts for."""
    if walk.heads() != ends.heads:
        return "missing, or the head of an origin altered: the chain ends elsewhere than its head", None
    made: dict[tuple[str, str], int] = dict(walk.chain.made.items())
    if made != ends.claims:
        return "altered: what other origins last claimed in a stream is another version than their events say", None
    found = walk.chain.signed.found.values()
    if {signed.origin: signed.key for signed in found if signed.origin != ends.own} != ends.signers:
        return "altered: the keys of other origins are others than those they signed with", None
    if walk.earliest_us != ends.earliest_us:
        return "altered: the earliest time since the last complete segment is another one", None
    expected = (ends.last, walk.spans, ends.last // SEGMENT, walk.streams, ends.counts[4])
    if ends.counts != expected or ends.said != ends.counts[3:]:
        return "ids, spans, moments, streams or origins that no event accounts for, or too few of them", 0
    return walk.chain.unsigned(), 0


def _text(name: Any) -> str:
    return "" if name is None else bytes(name).decode("utf-8", "replace")
