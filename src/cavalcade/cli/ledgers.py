"""The ledger that commands use, wherever it lies: how it is called, opened, and walked when it refuses to open."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from cavalcade.config.ledger import ledger_url
from cavalcade.config.paths import DataFolder
from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import UsageError
from cavalcade.ledger.port import Ledger, Verification
from cavalcade.ledger.sqlite import SqliteLedger
from cavalcade.ledger.sqlite_check import verify_file


class LedgerPlace(Protocol):
    @property
    def label(self) -> str:
        """What people are shown, without any password."""
        ...

    @property
    def shared(self) -> bool:
        """Whether installations with other signing keys may write to it."""
        ...

    @property
    def begun(self) -> bool:
        """False when it is known that there is nothing yet."""
        ...

    async def open(self, clock: Clock, entropy: Entropy) -> Ledger:
        """Raises LedgerError, Busy."""
        ...

    def walk(self, keys: Collection[str]) -> Verification:
        """The full walk, also over a ledger that refuses to open. Blocks. Raises LedgerError when it can't be walked at all."""
        ...


class FilePlace:
    shared = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.label = str(path)

    @property
    def begun(self) -> bool:
        return self._path.exists()

    async def open(self, clock: Clock, entropy: Entropy) -> Ledger:
        return await SqliteLedger.open(self._path, clock=clock, entropy=entropy)

    def walk(self, keys: Collection[str]) -> Verification:
        return verify_file(self._path, keys=keys)


class PostgresPlace:
    """Raises UsageError for an address that is none, and where the client of PostgreSQL is not installed."""

    shared = True
    begun = True

    def __init__(self, url: str) -> None:
        try:
            from cavalcade.ledger import postgres
        except ImportError as exc:
            raise UsageError(
                f"CAVALCADE_LEDGER names a PostgreSQL database, but its client is not installed: {exc}",
                expected="Cavalcade with its extra `postgres`",
                hint="python -m pip install 'cavalcade[postgres]', or `unset CAVALCADE_LEDGER` for the ledger in the data folder",
            ) from exc
        self._url = url
        self._postgres = postgres
        self.label = postgres.label_of(url)

    async def open(self, clock: Clock, entropy: Entropy) -> Ledger:
        return await asyncio.to_thread(self._postgres.PostgresLedger, self._url, clock=clock, entropy=entropy)

    def walk(self, keys: Collection[str]) -> Verification:
        return self._postgres.verify_url(self._url, keys=keys)


def ledger_place(folder: DataFolder, environ: Mapping[str, str]) -> LedgerPlace:
    """Raises UsageError."""
    url = ledger_url(environ)
    return PostgresPlace(url) if url else FilePlace(folder.ledger)
