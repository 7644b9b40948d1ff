"""All stores do what every ledger must do."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import subprocess
import sys
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


def test_a_third_store_runs_the_suite_as_the_documentation_shows(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text(encoding="utf-8")
    (example,) = (
        block for block in re.findall(r"^```text\n(.*?)^```$", page, re.M | re.S) if "LedgerConformance" in block
    )
    (tmp_path / "test_my_ledger.py").write_text(example)
    options = ["-q", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 60
