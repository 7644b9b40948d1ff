"""What receivers acknowledged, in a small SQLite file of its own beside the ledger.

Not in the ledger's database: it is no truth (a lost file is filled again at the next connection, so commits needn't wait for the disk), it
must not queue behind the ledger's one writer, and ledgers in memory or in PostgreSQL keep it the same way.
"""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cavalcade.kernel.errors import LedgerDamaged
from cavalcade.kernel.ids import OriginId
from cavalcade.ledger.chain import microseconds
from cavalcade.ledger.outbox import Acknowledgement
from cavalcade.ledger.port import OriginHead
from cavalcade.ledger.sqlite_database import boundary, connect, named_statements

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_T = TypeVar("_T")


@functools.cache
def _statements() -> dict[str, str]:
    return named_statements("outbox.sql")


class SqliteAcknowledgements:
    """Conforms to `ledger.outbox.Acknowledgements`; several processes may use one file. Its folder must exist.

    Raises LedgerUnwritable, Busy, LedgerDamaged; the file may then be removed, nothing is lost by that.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 10.0) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s

    async def record(self, news: Sequence[Acknowledgement]) -> None:
        if not news:
            return
        rows = [(each.receiver, each.origin, *each.head, microseconds(each.time)) for each in news]

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_statements()["record"], rows)
            connection.execute("COMMIT")

        await asyncio.to_thread(self._run, write)

    async def all(self) -> list[Acknowledgement]:
        def read(connection: sqlite3.Connection) -> list[Acknowledgement]:
            return [
                Acknowledgement(
                    receiver, OriginId(origin), OriginHead(seq, digest), _EPOCH + timedelta(microseconds=time_us)
                )
                for receiver, origin, seq, digest, time_us in connection.execute(_statements()["all"])
            ]

        return await asyncio.to_thread(self._run, read)

    def _run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            with (
                boundary(self.path),
                closing(connect(self.path, busy_timeout_s=self._busy_timeout_s, create=True)) as connection,
            ):
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(_statements()["create"])
                return work(connection)
        except LedgerDamaged as exc:
            raise LedgerDamaged(
                exc.what, hint=f"remove {self.path}: nothing is lost, receivers say again what they hold"
            ) from exc
