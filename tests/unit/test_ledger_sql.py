"""The database of a ledger is what its numbered migrations add up to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from cavalcade.kernel.ids import StreamId
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_check import SEGMENT
from cavalcade.ledger.sqlite_database import Migration, connect, migrations, number, prepare, queries, schema
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.events import Drafts


def shape(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
    return [(kind, name, " ".join(sql.split())) for kind, name, sql in rows]


def test_the_schema_is_the_sum_of_the_migrations() -> None:
    summed, whole = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    for migration in migrations():
        for statement in migration.statements:
            summed.execute(statement)
    for statement in schema():
        whole.execute(statement)
    assert shape(summed) == shape(whole) != []
    summed.close()
    whole.close()


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


def test_every_named_query_is_understood_by_the_schema(tmp_path: Path) -> None:
    connection = sqlite3.connect(":memory:")
    for statement in schema():
        connection.execute(statement)
    for name, query in queries().items():
        places = query.count("?")
        names = {"prefix": "", "segment": 1, "origin": 1, "seq": 1, "limit": 1}
        connection.execute(f"EXPLAIN {query}", names if not places else (None,) * places).fetchall()
        assert name.isidentifier()
    assert str(SEGMENT) in queries()["insert_moment"]
    connection.close()


def test_an_older_file_is_brought_forward_and_keeps_its_origin(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    newer = (*migrations(), Migration(len(migrations()) + 1, ("CREATE TABLE added (x)",)))
    origins: list[str] = []
    for steps in (migrations()[:1], migrations(), newer, newer):
        connection = connect(path, busy_timeout_s=1, create=True)
        prepare(connection, path, FakeClock(), SeededEntropy(len(origins)), steps, busy_timeout_s=1)
        assert number(connection, "PRAGMA user_version") == len(steps)
        origins.append(connection.execute(queries()["own_head"]).fetchone()[0])
        connection.close()
    assert len(set(origins)) == 1


async def test_a_file_from_before_there_were_several_origins_goes_on_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    drafts = Drafts(FakeClock(tick_s=0.001), SeededEntropy(5))
    ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(1))
    await ledger.append(StreamId("run/a"), drafts.many(300))
    before = await ledger.read()
    await ledger.aclose()
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("spans", "claims", "signers"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
    ledger = SqliteLedger(path, clock=FakeClock(), entropy=SeededEntropy(2))
    more = await ledger.append(StreamId("run/a"), drafts.many(2))
    assert await ledger.read() == before + more
    assert [event.hash for event in await ledger.sealed(ledger.origin, after=299, limit=5)] == [
        event.hash for event in (before + more)[299:]
    ]
    assert (await ledger.verify()).bad_position is None
    await ledger.aclose()


def test_lookups_use_their_indexes() -> None:
    connection = sqlite3.connect(":memory:")
    for statement in schema():
        connection.execute(statement)
    expected = {
        "event_by_id": "events_by_id",
        "stream_page": "events_by_stream",
        "version_of_name": "COVERING INDEX events_by_stream",
        "stream_position_at": "COVERING INDEX events_by_stream",
        "span_of": "spans_by_origin",
        "position_of_id": "events_by_id",
    }
    for name, index in expected.items():
        query = queries()[name]
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", (None,) * query.count("?")).fetchall()
        text = " ".join(row[3] for row in plan)
        assert index in text or index.split()[-1] in text, text
        assert "SCAN e" not in text
        assert "TEMP B-TREE" not in text
    connection.close()
