"""All stores do what every ledger must do."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.ledger_conformance import DamageConformance, LedgerConformance
from cavalcade.testing.postgres_server import PostgresServer


class TestMemoryLedger(LedgerConformance):
    @pytest.fixture
    async def ledger(self) -> AsyncIterator[Ledger]:
        ledger = MemoryLedger(entropy=SeededEntropy(3))
        yield ledger
        await ledger.aclose()


class TestSqliteLedger(LedgerConformance, DamageConformance):
    @pytest.fixture
    async def ledger(self, tmp_path: Path) -> AsyncIterator[Ledger]:
        ledger = SqliteLedger(tmp_path / "ledger.db", clock=FakeClock(), entropy=SeededEntropy(3))
        yield ledger
        await ledger.aclose()

    @pytest.fixture
    def alter(self, tmp_path: Path) -> Callable[[int], Awaitable[None]]:
        async def alter(position: int) -> None:
            with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
                connection.execute(
                    "UPDATE events SET body = replace(body, 'note', 'nota') WHERE position = ?", (position,)
                )

        return alter


class TestPostgresLedger(LedgerConformance, DamageConformance):
    @pytest.fixture
    def url(self, postgres: PostgresServer) -> str:
        return postgres.new_database()

    @pytest.fixture
    async def ledger(self, url: str) -> AsyncIterator[Ledger]:
        ledger = PostgresLedger(url, clock=FakeClock(), entropy=SeededEntropy(3))
        yield ledger
        await ledger.aclose()

    @pytest.fixture
    def alter(self, url: str) -> Callable[[int], Awaitable[None]]:
        async def alter(position: int) -> None:
            with psycopg.connect(url) as connection:
                connection.execute(
                    "UPDATE events SET body = convert_to(replace(convert_from(body, 'UTF8'), 'note', 'nota'), 'UTF8') "
                    "WHERE position = %s",
                    (position,),
                )

        return alter
