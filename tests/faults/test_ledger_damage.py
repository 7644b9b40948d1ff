"""Bug class this catches: a ledger that shortens, reorders or changes history and says nothing.

Each kind of damage is done to the file with the tools of SQLite or byte by byte. Opening refuses what a quick look can find, `verify`
names the first bad position of the rest, reading never returns a changed event.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from cavalcade.kernel.errors import CavalcadeError, LedgerDamaged, LedgerError, LedgerUnwritable
from cavalcade.kernel.ids import EventId, StreamId
from cavalcade.ledger import chain
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_check import verify_file
from cavalcade.protocol.envelope import Recorded
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts

pytestmark = pytest.mark.faults

EVENTS = 400
"""More than one page of verification, one segment of moments and the tail that is looked at when opening."""
MIDDLE = 120

Damage = Callable[[sqlite3.Connection], object]


def opened(path: Path) -> SqliteLedger:
    return SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(2))


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    ledger = opened(path)
    drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(5))
    for number, draft in enumerate(drafts.many(EVENTS)):
        await ledger.append(StreamId(f"run/{number % 3}"), [draft])
    await ledger.aclose()
    return path


def content(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, data: bytes | bytearray) -> None:
    path.write_bytes(data)


def damage(path: Path, do: Damage) -> None:
    connection = sqlite3.connect(path)
    do(connection)
    connection.commit()
    connection.close()


def body(position: int, change: str) -> str:
    return f"UPDATE events SET body = {change} WHERE position = {position}"


def swap(connection: sqlite3.Connection) -> None:
    """Two events of one stream change places, each whole in itself."""
    first = connection.execute("SELECT hash, body FROM events WHERE position = ?", (MIDDLE,)).fetchone()
    second = connection.execute("SELECT hash, body FROM events WHERE position = ?", (MIDDLE + 3,)).fetchone()
    connection.execute("UPDATE events SET hash = ?, body = ? WHERE position = ?", (*second, MIDDLE))
    connection.execute("UPDATE events SET hash = ?, body = ? WHERE position = ?", (*first, MIDDLE + 3))


def double(connection: sqlite3.Connection) -> None:
    """An event stands again in the place of the next one."""
    row = connection.execute("SELECT hash, body FROM events WHERE position = ?", (MIDDLE - 1,)).fetchone()
    connection.execute("UPDATE events SET hash = ?, body = ? WHERE position = ?", (*row, MIDDLE))


def rewrite(old: str, new: str) -> Damage:
    """The text of the middle event changes and its own hash is computed again."""

    def do(connection: sqlite3.Connection) -> None:
        (before,) = connection.execute("SELECT hash FROM events WHERE position = ?", (MIDDLE - 1,)).fetchone()
        (text,) = connection.execute("SELECT body FROM events WHERE position = ?", (MIDDLE,)).fetchone()
        changed = text.replace(old, new, 1)
        assert changed != text
        digest = chain.link(before.hex(), changed)
        connection.execute("UPDATE events SET hash = ?, body = ? WHERE position = ?", (digest, changed, MIDDLE))

    return do


MIDDLE_DAMAGE: dict[str, Damage] = {
    "altered body": lambda c: c.execute(body(MIDDLE, """replace(body, '"note":"', '"note":"0')""")),
    "body that is no JSON": lambda c: c.execute(body(MIDDLE, "'{' || body")),
    "body that is no text": lambda c: c.execute(body(MIDDLE, "x'ff00fe'")),
    "altered hash": lambda c: c.execute(f"UPDATE events SET hash = zeroblob(32) WHERE position = {MIDDLE}"),
    "hash that is no digest": lambda c: c.execute(f"UPDATE events SET hash = 'text' WHERE position = {MIDDLE}"),
    "reordered": swap,
    "doubled": double,
    "originseq": rewrite(f'"originseq":{MIDDLE}', f'"originseq":{MIDDLE + 1}'),
    "version": rewrite('"version":', '"version":1'),
    "other stream in the column": lambda c: c.execute(f"UPDATE events SET stream = 2 WHERE position = {MIDDLE}"),
    "other version in the column": lambda c: c.execute(f"UPDATE events SET version = 9 WHERE position = {MIDDLE}"),
    "other time in the column": lambda c: c.execute(f"UPDATE events SET time_us = 9 WHERE position = {MIDDLE}"),
    "other id in the column": lambda c: c.execute(f"UPDATE events SET id = 'other' WHERE position = {MIDDLE}"),
    "other previous in the column": lambda c: c.execute(f"UPDATE events SET previous = 5 WHERE position = {MIDDLE}"),
}


@pytest.mark.parametrize("kind", MIDDLE_DAMAGE)
async def test_verify_names_the_first_bad_position(path: Path, kind: str) -> None:
    damage(path, MIDDLE_DAMAGE[kind])
    found = verify_file(path)
    assert found.bad_position == MIDDLE, found
    assert found.events == MIDDLE - 1
    assert found.problem
    ledger = opened(path)
    assert await ledger.verify() == found
    await ledger.aclose()


@pytest.mark.parametrize("kind", ["altered body", "altered hash", "body that is no text", "hash that is no digest"])
async def test_reading_a_changed_event_fails_and_names_it(path: Path, kind: str) -> None:
    damage(path, MIDDLE_DAMAGE[kind])
    ledger = opened(path)
    assert len(await ledger.read(limit=MIDDLE - 1)) == MIDDLE - 1
    with pytest.raises(LedgerDamaged, match=f"position {MIDDLE}"):
        await ledger.read()
    await ledger.aclose()


REFUSED: dict[str, tuple[int, str]] = {
    "an event missing in the middle": (MIDDLE, f"DELETE FROM events WHERE position = {MIDDLE}"),
    "the first event missing": (1, "DELETE FROM events WHERE position = 1"),
    "the last event missing": (EVENTS, f"DELETE FROM events WHERE position = {EVENTS}"),
    "many missing": (MIDDLE, f"DELETE FROM events WHERE position >= {MIDDLE} AND position % 7 = {MIDDLE % 7}"),
    "all missing": (1, "DELETE FROM events"),
    "the last event altered": (EVENTS, body(EVENTS, "body || ' '")),
    "an event near the end altered": (EVENTS - 40, body(EVENTS - 40, "replace(body, 'note', 'nota')")),
    "the head of the origin altered": (EVENTS, "UPDATE origins SET hash = zeroblob(32)"),
    "the head of the origin behind": (EVENTS - 1, "UPDATE origins SET position = position - 1"),
}


@pytest.mark.parametrize("head_record", ["with its head record", "without"])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_damaged_ledger_does_not_open_and_names_the_position(path: Path, kind: str, head_record: str) -> None:
    position, statement = REFUSED[kind]
    damage(path, lambda connection: connection.execute(statement))
    if head_record == "without":
        path.with_name("ledger.db-head").unlink()
    with pytest.raises(LedgerDamaged) as caught:
        opened(path)
    assert caught.value.places == (f"position {position}",)
    assert "nothing was changed" in caught.value.hint
    assert verify_file(path).bad_position is not None


async def test_an_older_copy_put_in_its_place_does_not_open(path: Path) -> None:
    older = content(path)
    ledger = opened(path)
    drafts = Drafts(FakeClock(), SeededEntropy(6))
    await ledger.append(StreamId("run/0"), drafts.many(5))
    await ledger.aclose()
    put(path, older)
    with pytest.raises(LedgerDamaged, match="405 events were recorded, 400 are here"):
        opened(path)
    assert verify_file(path).bad_position == 401


async def test_a_history_rewritten_from_some_event_on_does_not_open(path: Path) -> None:
    """Each event is whole and the chain is too: only the head record knows better."""
    other = path.with_name("other.db")
    ledger = opened(other)
    drafts = Drafts(FakeClock(tick_s=0.002), SeededEntropy(7))
    for draft in drafts.many(EVENTS):
        await ledger.append(StreamId("run/0"), [draft])
    await ledger.aclose()
    put(path, content(other))
    with pytest.raises(LedgerDamaged, match=f"position {EVENTS}"):
        opened(path)
    assert verify_file(path).bad_position == EVENTS


@pytest.mark.parametrize("data", [b"garbage" * 1000, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "ledger.db"
    put(path, data)
    with pytest.raises(LedgerDamaged):
        opened(path)
    with pytest.raises(LedgerDamaged):
        verify_file(path)
    assert content(path) == data


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    damage(path, lambda connection: connection.execute("CREATE TABLE theirs (x)"))
    before = content(path)
    with pytest.raises(LedgerDamaged, match="no ledger"):
        opened(path)
    assert content(path) == before


@pytest.mark.parametrize("kept", [0, 50, 5000, 40_000, -4096, -1])
def test_a_truncated_file_does_not_open(path: Path, kept: int) -> None:
    rest = content(path)[:kept]
    put(path, rest)
    with pytest.raises(LedgerDamaged):
        opened(path)
    assert content(path) == rest


def test_a_missing_file_whose_head_record_remains_is_not_begun_anew(path: Path) -> None:
    path.unlink()
    with pytest.raises(LedgerDamaged, match="missing"):
        opened(path)
    assert not path.exists()


async def test_a_torn_head_record_says_nothing_and_is_written_again(path: Path) -> None:
    record = path.with_name("ledger.db-head")
    good = record.read_bytes()
    for torn in (b"", good[:50], b"\0" * 120, good.replace(b"400", b"999")):
        record.write_bytes(torn)
        ledger = opened(path)
        await ledger.aclose()
        assert record.read_bytes() == good


@pytest.mark.parametrize("version", [99, 0])
def test_an_unknown_schema_version_does_not_open(path: Path, version: int) -> None:
    damage(path, lambda connection: connection.execute(f"PRAGMA user_version = {version}"))
    with pytest.raises(LedgerError, match=f"schema version {version}"):
        opened(path)


async def test_a_wrong_index_or_moment_is_found_by_verify(path: Path) -> None:
    damage(path, lambda connection: connection.execute("UPDATE moments SET earliest_us = earliest_us + 1"))
    found = verify_file(path)
    assert (found.bad_position, found.events) == (1, EVENTS)
    damage(path, lambda connection: connection.execute("DELETE FROM moments"))
    assert verify_file(path).bad_position == 1


async def test_a_flipped_bit_never_changes_what_is_read(path: Path) -> None:
    """Refused when opening, named by verify, or harmless because it fell into free space."""
    good = content(path)
    ledger = opened(path)
    expected = await ledger.read()
    await ledger.aclose()
    chance = random.Random(77)
    outcomes: dict[str, int] = {}
    for _ in range(150):
        place = chance.randrange(len(good))
        flipped = bytearray(good)
        flipped[place] ^= 1 << chance.randrange(8)
        put(path, flipped)
        outcome = await look(path, expected)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        for name in ("ledger.db-wal", "ledger.db-shm"):
            path.with_name(name).unlink(missing_ok=True)
    assert outcomes.keys() == {"refused", "named", "harmless"}


async def look(path: Path, expected: list[Recorded]) -> str:
    try:
        ledger = opened(path)
    except (LedgerDamaged, LedgerUnwritable, LedgerError):
        return "refused"
    try:
        found = await ledger.verify()
        if found.bad_position is not None:
            return "named"
        assert await ledger.read() == expected
        assert await ledger.find(EventId(expected[MIDDLE].event.id)) == expected[MIDDLE]
    except CavalcadeError:
        return "named"
    finally:
        await ledger.aclose()
    return "harmless"
