"""Bug class this catches: a ledger with several origins and signed heads that was changed, and says nothing or names another place.

As in `test_ledger_damage`, for what only such a ledger has; and a history that somebody computed anew, with everything beside it.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cavalcade.kernel.errors import LedgerDamaged, LedgerError
from cavalcade.kernel.ids import OriginId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.signing import SigningKey, SigningLedger
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_check import verify_file
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

pytestmark = pytest.mark.faults

RUN = StreamId("run/0")
OURS, THEIRS = SigningKey(b"1" * 32), SigningKey(b"2" * 32)
OWN_BEFORE, FOREIGN, FIRST_SIGNED = 150, 121, 101
"""150 own events, a head signed after 100 of them; then 120 of another origin and their signed head; then 30 own and theirs."""
BEGINS = OWN_BEFORE + 1
EVENTS = OWN_BEFORE + FOREIGN + 31
PAGE = 4096

Damage = Callable[[sqlite3.Connection], object]


def opened(path: Path) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(2))


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    clock = FakeClock(tick_s=0.001)
    drafts = Drafts(clock, SeededEntropy(5))
    other = SigningLedger(MemoryLedger(entropy=SeededEntropy(8)), lambda: THEIRS, clock, SeededEntropy(6))
    await other.append(RUN, drafts.many(FOREIGN - 1))
    await other.sign()
    ledger = SigningLedger(opened(path), lambda: OURS, clock, SeededEntropy(7), interval=100)
    for size in (100, 49):
        await ledger.append(RUN, drafts.many(size))
    await ledger.ingest(other.origin, await other.sealed(other.origin, limit=1000))
    await ledger.append(RUN, drafts.many(30))
    await ledger.aclose()
    found = verify_file(path, keys=[OURS.public, THEIRS.public])
    assert (found.events, found.bad_position) == (EVENTS, None)
    assert [(head.signatures, head.position) for head in found.signed] == [(2, EVENTS), (1, OWN_BEFORE + FOREIGN)]
    return path


def damage(path: Path, do: Damage | str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        if isinstance(do, str):
            connection.execute(do)
        else:
            do(connection)


NAMED: dict[str, tuple[int, str]] = {
    "a foreign body altered": (200, "UPDATE events SET body = replace(body, 'note', 'nota') WHERE position = 200"),
    "a foreign event's version here": (200, "UPDATE events SET version = version + 1 WHERE position = 200"),
    "a foreign event's previous": (200, "UPDATE events SET previous = 150 WHERE position = 200"),
    "a span missing": (BEGINS, f"DELETE FROM spans WHERE position = {BEGINS}"),
    "a span of another origin": (BEGINS, f"UPDATE spans SET origin = 1, seq = 999 WHERE position = {BEGINS}"),
    "a span with another number": (BEGINS, f"UPDATE spans SET seq = 2 WHERE position = {BEGINS}"),
    "a span too many": (60, "INSERT INTO spans (position, origin, seq) VALUES (60, 1, 60)"),
    "another claim": (EVENTS + 1, "UPDATE claims SET version = version - 1"),
    "a claim too many": (EVENTS + 1, "INSERT INTO claims VALUES (1, 1, 3)"),
    "claims missing": (EVENTS + 1, "DELETE FROM claims"),
    "another signer": (EVENTS + 1, "UPDATE signers SET key = replace(key, substr(key, 1, 1), '0')"),
    "signers missing": (EVENTS + 1, "DELETE FROM signers"),
    "a signed head altered": (
        FIRST_SIGNED,
        f"UPDATE events SET body = replace(body, 'signature', 'signaturf') WHERE position = {FIRST_SIGNED}",
    ),
}


@pytest.mark.parametrize("kind", NAMED)
def test_verify_names_the_first_bad_position(path: Path, kind: str) -> None:
    position, statement = NAMED[kind]
    damage(path, statement)
    found = verify_file(path)
    assert (found.bad_position, found.events) == (position, position - 1), found


def test_the_head_of_another_origin_that_says_otherwise_keeps_the_ledger_shut(path: Path) -> None:
    damage(path, "UPDATE origins SET seq = seq - 1 WHERE number = 2")
    with pytest.raises(LedgerDamaged) as caught:
        opened(path)
    assert caught.value.places == (f"position {OWN_BEFORE + FOREIGN}",)
    assert verify_file(path).bad_position == EVENTS + 1


def swapped(good: bytes, first: int) -> bytes:
    """A page and the next one change places."""
    start, size = first * PAGE, PAGE
    return good[:start] + good[start + size : start + 2 * size] + good[start : start + size] + good[start + 2 * size :]


def put(path: Path, data: bytes | bytearray) -> None:
    path.write_bytes(data)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def content(path: Path) -> bytes:
    return path.read_bytes()


async def test_swapped_pages_are_noticed(path: Path) -> None:
    """Each page is whole in itself: SQLite alone takes some for what they aren't."""
    good = content(path)
    places = range(1, len(good) // PAGE - 1, 2)
    for first in places:
        put(path, swapped(good, first))
        assert await refused_or_named(path), f"pages {first} and {first + 1}"
    assert len(places) > 15


async def test_a_flipped_bit_is_noticed_or_changes_nothing(path: Path) -> None:
    good = content(path)
    ledger = opened(path)
    expected = await ledger.read()
    chains = {origin: await ledger.sealed(origin, limit=1000) for origin in await ledger.heads()}
    await ledger.aclose()
    chance = random.Random(78)
    noticed = 0
    for _ in range(80):
        flipped = bytearray(good)
        flipped[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
        put(path, flipped)
        if await refused_or_named(path):
            noticed += 1
            continue
        ledger = opened(path)
        assert await ledger.read() == expected
        assert {origin: await ledger.sealed(origin, limit=1000) for origin in await ledger.heads()} == chains
        await ledger.aclose()
    assert 0 < noticed < 80


async def refused_or_named(path: Path) -> bool:
    try:
        ledger = opened(path)
    except LedgerError:
        return True
    try:
        return (await ledger.verify()).bad_position is not None
    except LedgerDamaged:
        return True
    finally:
        await ledger.aclose()


def rewrite(connection: sqlite3.Connection, position: int, old: str, new: str) -> None:
    """Changes an event and computes every hash after it anew, with the heads: what somebody does who knows the format."""
    heads: dict[str, tuple[int, str]] = {}
    rows = connection.execute("SELECT position, body FROM events ORDER BY position").fetchall()
    for at, text in rows:
        changed = text.replace(old, new, 1) if at == position else text
        assert at != position or changed != text
        origin = chain.parse_body(changed.encode()).origin
        _, prevhash = heads.get(origin, (0, chain.GENESIS))
        digest = chain.link(prevhash, changed)
        heads[origin] = (at, digest.hex())
        connection.execute("UPDATE events SET body = ?, hash = ? WHERE position = ?", (changed, digest, at))
    for origin, (_, digest_hex) in heads.items():
        connection.execute("UPDATE origins SET hash = ? WHERE name = ?", (bytes.fromhex(digest_hex), origin))


REWRITTEN = {"before the first signed head": (50, FIRST_SIGNED), "between two": (120, EVENTS)}


@pytest.mark.parametrize("kind", REWRITTEN)
async def test_a_history_computed_anew_is_found_by_the_next_signed_head(path: Path, kind: str) -> None:
    changed, named = REWRITTEN[kind]
    damage(path, lambda connection: rewrite(connection, changed, '"note":"', '"note":"0'))
    path.with_name("ledger.db-head").unlink()
    found = verify_file(path)
    assert (found.bad_position, found.events) == (named, named - 1)
    assert found.problem.startswith("wrong signature")
    ledger = opened(path)  # nothing but a signature knows
    assert await ledger.verify() == found
    await ledger.aclose()


async def test_a_history_signed_anew_is_found_by_a_key_that_is_known(tmp_path: Path) -> None:
    """Every signature is right, by another key: only who kept the public key knows."""
    path = tmp_path / "ledger.db"
    forger = SigningKey(b"9" * 32)
    forged = SigningLedger(opened(path), lambda: forger, FakeClock(tick_s=0.001), SeededEntropy(7))
    await forged.append(RUN, Drafts(FakeClock(), SeededEntropy(5)).many(10))
    await forged.aclose()
    assert verify_file(path).bad_position is None
    found = verify_file(path, keys=[OURS.public])
    assert (found.bad_position, found.events) == (11, 10)
    assert found.problem.startswith("wrong key")


async def test_a_damaged_event_is_not_passed_on(path: Path) -> None:
    damage(path, "UPDATE events SET body = replace(body, 'note', 'nota') WHERE position = 200")
    ledger = opened(path)
    foreign = next(origin for origin in await ledger.heads() if origin != ledger.origin)
    assert len(await ledger.sealed(foreign, limit=200 - BEGINS)) == 200 - BEGINS
    with pytest.raises(LedgerDamaged, match="position 200"):
        await ledger.sealed(foreign, limit=1000)
    assert len(await ledger.sealed(OriginId(ledger.origin), limit=1000)) == EVENTS - FOREIGN
    await ledger.aclose()
