"""Whether a SQLite ledger is whole: a cheap look when it opens, and the full walk that names the first bad position."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import msgspec

from cavalcade.kernel.ids import OriginId
from cavalcade.ledger import chain
from cavalcade.ledger.chain_check import ChainCheck
from cavalcade.ledger.head_file import Head, HeadFile
from cavalcade.ledger.port import Verification
from cavalcade.ledger.sqlite_database import boundary, check_file, hex_of, number, queries, read_connection, snapshot

TAIL = 64
"""Events at the end that are hashed again at each opening."""
PAGE = 256
SEGMENT = 256
"""Positions per row of `moments`; the SQL says the same number."""

VerifyRow = tuple[int, int, bytes, bytes, str, int, int, str, str | None, int | None]


def quick_check(connection: sqlite3.Connection, head: Head) -> None:
    """Positions are dense, the heads agree with the last events, the tail hashes right, nothing the head record knows is missing.

    Reads one narrow index and the tail. Raises LedgerDamaged; SQLite's own errors pass.
    """
    q = queries()
    last, count = number(connection, q["last_position"]) or 0, number(connection, q["count_events"]) or 0
    if last != count:
        raise chain.damaged(_first_gap(connection, last), "missing")
    if head.position > last:
        raise chain.damaged(
            last + 1,
            f"missing: {head.position} events were recorded, {last} are here. A write-ahead log was lost or an older copy put in place",
        )
    if head.position and _hash(connection, head.position) != head.hash:
        raise chain.damaged(head.position, "not the event that was recorded there")
    _check_tail(connection, last)
    _check_heads(connection, last)


def _first_gap(connection: sqlite3.Connection, last: int) -> int:
    """The first position without an event, by bisection: below it count and position agree."""
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        held = number(connection, "SELECT count(*) FROM events WHERE position > 0 AND position <= ?", (middle,)) or 0
        low, high = (middle, high) if held == middle else (low, middle)
    return high


def _hash(connection: sqlite3.Connection, position: int) -> str:
    row: tuple[bytes] | None = connection.execute(queries()["row_hash"], (position,)).fetchone()
    return "" if row is None else hex_of(row[0])


def _check_tail(connection: sqlite3.Connection, last: int) -> None:
    # All at once: an error keeps its frames, and a cursor left in one would keep the file open.
    rows = connection.execute(queries()["page"], (max(last - TAIL, 0), TAIL)).fetchall()
    for position, version, prevhash, digest, body in rows:
        chain.unpack(chain.Row(position, version, hex_of(prevhash) or chain.GENESIS, hex_of(digest), body))


def _check_heads(connection: sqlite3.Connection, last: int) -> None:
    newest = 0
    for name, seq, digest, position in connection.execute(queries()["all_heads"]).fetchall():
        newest = max(newest, position)
        row: tuple[bytes, bytes] | None = connection.execute(
            "SELECT hash, CAST(body AS BLOB) FROM events WHERE position = ?", (position,)
        ).fetchone()
        if row is None:
            if seq or position or hex_of(digest) != chain.GENESIS:
                raise chain.damaged(last + 1, f"missing: the head of origin {name} stands at position {position}")
            continue
        try:
            body = chain.parse_body(row[1])
        except (msgspec.DecodeError, UnicodeError) as exc:
            raise chain.damaged(position, f"the body can't be read: {exc}") from exc
        if row[0] != digest or body.originseq != seq or body.origin != name:
            raise chain.damaged(position, f"the head of origin {name} says otherwise")
    if newest != last:
        raise chain.damaged(newest + 1, "an event beyond the head of its origin")


class _Walk:
    """The chain check, that each column says what the body says, and that the head record knows the same event."""

    def __init__(self, own: OriginId, head: Head, keys: Collection[str]) -> None:
        self.chain = ChainCheck(own, keys)
        self.last_of: dict[OriginId, int] = {}
        self._last: OriginId | None = None
        self._head = head

    def problem(self, row: VerifyRow) -> str:
        position, version, digest, body_bytes = row[:4]
        if problem := self.chain.problem(position, version, hex_of(digest), body_bytes):
            return problem
        wrong = self._disagreement(row, self.chain.body)
        if wrong:
            self.chain.position = position - 1
        return wrong

    def _disagreement(self, row: VerifyRow, body: chain.Body) -> str:
        position, _, digest, _, stream, time_us, previous, event_id, *span = row
        if body.event.time.tzinfo is None:
            return "altered: its time has no zone"
        expected = (body.stream, chain.microseconds(body.event.time), body.event.id)
        last, self.last_of[body.origin] = self.last_of.get(body.origin, 0), position
        if (stream, time_us, event_id) != expected or previous != last:
            return "altered: stream, time, id or previous position differ from the body"
        begins = body.origin != self._last
        self._last = body.origin
        if span != ([body.origin, body.originseq] if begins else [None, None]):
            return "altered: the span of its origin begins elsewhere"
        if position == self._head.position and hex_of(digest) != self._head.hash:
            return "not the event that was recorded there"
        return ""


def verify(connection: sqlite3.Connection, head: Head, keys: Collection[str] = ()) -> Verification:
    """Reads everything, page by page. Never raises for damage: it is the answer."""
    walk = _Walk(OriginId(""), head, keys)
    try:
        ends = _ends(connection)
        walk = _Walk(ends.own, head, keys)
        problem = _walk_to(connection, ends.last, walk) or _wrong_ends(walk, ends, head)
        return walk.chain.found(problem) if problem else _structure(connection, walk)
    except (sqlite3.DatabaseError, msgspec.DecodeError) as exc:
        if getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in (
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_NOTADB,
            sqlite3.SQLITE_IOERR,
        ):
            raise
        return walk.chain.found(f"unreadable: {exc}")


class _Ends(NamedTuple):
    """What the file says about its end, all of one moment, while others may be appending."""

    own: OriginId
    heads: list[tuple[str, int, bytes, int]]
    claims: list[tuple[str, str, int]]
    signers: list[tuple[str, str]]
    last: int


def _ends(connection: sqlite3.Connection) -> _Ends:
    q = queries()
    with snapshot(connection):
        own = connection.execute(q["own_head"]).fetchone()
        return _Ends(
            OriginId(own[0] if own else ""),
            connection.execute(q["all_heads"]).fetchall(),
            connection.execute(q["all_claims"]).fetchall(),
            connection.execute(q["all_signers"]).fetchall(),
            number(connection, q["last_position"]) or 0,
        )


def _walk_to(connection: sqlite3.Connection, last: int, walk: _Walk) -> str:
    after = -(2**63)
    while after < last:
        page: list[VerifyRow] = connection.execute(queries()["verify_page"], (after, PAGE)).fetchall()
        for row in page:
            if row[0] > last:
                return ""
            if problem := walk.problem(row):
                return problem
        if not page:
            return ""
        after = page[-1][0]
    return ""


def _wrong_ends(walk: _Walk, ends: _Ends, head: Head) -> str:
    """Whether the walk ended where the heads say, and reached what the head record knows."""
    said = {OriginId(name): (seq, hex_of(digest), position) for name, seq, digest, position in ends.heads if seq}
    walked = {origin: (*last, walk.last_of[origin]) for origin, last in walk.chain.heads.items()}
    if walked != said:
        return "missing, or the head of an origin altered: the chain ends elsewhere than its head"
    if walk.chain.made != {(origin, stream): version for origin, stream, version in ends.claims}:
        return "altered: what other origins last claimed in a stream is another version than their events say"
    signed = {signed.origin: signed.key for signed in walk.chain.signed.found.values() if signed.origin != ends.own}
    if signed != dict(ends.signers):
        return "altered: the keys of other origins are others than those they signed with"
    if head.position > ends.last:
        return f"missing: {head.position} events were recorded, {ends.last} are here"
    return ""


def _structure(connection: sqlite3.Connection, walk: _Walk) -> Verification:
    """Indexes and `moments` are derived: wrong ones would give wrong answers about right events."""
    check = walk.chain
    segment = number(connection, queries()["bad_moment"])
    complete = check.position // SEGMENT
    held = number(connection, "SELECT count(*) FROM moments WHERE segment BETWEEN 1 AND ?", (complete,)) or 0
    if segment is not None or held < complete:
        return check.found("the earliest time of 256 positions is wrong", position=((segment or 1) - 1) * SEGMENT + 1)
    report: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if report != "ok":
        place = re.search(r"row (\d+)", report)
        return check.found(f"the database's structure: {report}", position=int(place.group(1)) if place else 0)
    return check.found(check.unsigned(), position=0)


def verify_file(path: Path, *, keys: Collection[str] = (), busy_timeout_s: float = 10.0) -> Verification:
    """The full walk over a ledger that may refuse to open. Raises LedgerDamaged when the file can't be read as a database at all."""
    with boundary(path):
        head = HeadFile(path).read()
        check_file(path, recorded=head.position)
        connection = read_connection(path, busy_timeout_s=busy_timeout_s)
        try:
            return verify(connection, head, keys)
        finally:
            connection.close()
