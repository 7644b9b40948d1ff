"""All stores do what every ledger must do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cavalcade.ledger.memory import MemoryLedger
from cavalcade.ledger.port import Ledger
from cavalcade.ledger.postgres import PostgresLedger
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.testing.clock import FakeClock, SeededEntropy
from cavalcade.testing.ledger_conformance import LedgerConformance
from cavalcade.testing.postgres_server import PostgresServer


class TestMemoryLedger(LedgerConformance):
    @pytest.fixture
    async def ledger(self) -> AsyncIterator[Ledger]:
        ledger = MemoryLedger(entropy=SeededEntropy(3))
        yield ledger
        await ledger.aclose()


class TestSqliteLedger(LedgerConformance):
    @pytest.fixture
    async def ledger(self, tmp_path: Path) -> AsyncIterator[Ledger]:
        ledger = SqliteLedger(tmp_path / "ledger.db", clock=FakeClock(), entropy=SeededEntropy(3))
        yield ledger
        await ledger.aclose()


class TestPostgresLedger(LedgerConformance):
    @pytest.fixture
    async def ledger(self, postgres: PostgresServer) -> AsyncIterator[Ledger]:
        ledger = PostgresLedger(postgres.new_database(), clock=FakeClock(), entropy=SeededEntropy(3))
        yield ledger
        await ledger.aclose()
