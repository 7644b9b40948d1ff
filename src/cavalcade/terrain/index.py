"""The code index by blob id: a blob analysed once is never analysed again, on any branch, at any moment, by any process.

What is kept is derived and can be thrown away: a cache file that is damaged is replaced, one that can't be written is done
without.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from tree_sitter import Tree

from cavalcade.content.port import TreeReader
from cavalcade.kernel.ids import BlobId
from cavalcade.terrain.facts import FileFacts
from cavalcade.terrain.importscan import ImportLine, base_names, scan
from cavalcade.terrain.python import analyse, parse
from cavalcade.terrain.source import SourceText

INDEX_VERSION: Final = 2
"""Part of every key: a changed analysis never reads rows of an older one. Raise it with any change to what facts hold."""

T = TypeVar("T")
_BATCH = 400
_KEPT_SOURCES = 1_024
_KEPT_TREES = 128
_BUSY_TIMEOUT_MS = 2_000


class Index:
    """Facts, import lines and source texts by blob. Not for use by several threads at once; any number of processes may share `cache`.

    `cache` is a SQLite file, made with its folder when absent; None keeps everything in memory.
    """

    def __init__(self, reader: TreeReader, cache: Path | None = None) -> None:
        self._reader = reader
        self._store = _Store(cache) if cache is not None else None
        self._facts: dict[BlobId, FileFacts] = {}
        self._imports: dict[BlobId, tuple[ImportLine, ...]] = {}
        self._sources: OrderedDict[BlobId, SourceText] = OrderedDict()
        self._trees: OrderedDict[BlobId, Tree] = OrderedDict()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode_facts = msgspec.msgpack.Decoder(FileFacts).decode
        self._bases: dict[BlobId, tuple[str, ...]] = {}
        self._decode_bases = msgspec.msgpack.Decoder(tuple[str, ...]).decode
        self._decode_imports = msgspec.msgpack.Decoder(tuple[ImportLine, ...]).decode

    def source(self, blob: BlobId) -> SourceText:
        """Raises ObjectMissing."""
        known = self._sources.get(blob)
        if known is None:
            known = self._sources[blob] = SourceText.of(self._reader.read(blob))
            if len(self._sources) > _KEPT_SOURCES:
                self._sources.popitem(last=False)
        return known

    def tree(self, blob: BlobId) -> Tree:
        """The syntax tree of a Python blob. Raises ObjectMissing."""
        known = self._trees.get(blob)
        if known is None:
            known = self._trees[blob] = parse(self.source(blob).body)
            if len(self._trees) > _KEPT_TREES:
                self._trees.popitem(last=False)
        return known

    def analyse(self, blob: BlobId) -> FileFacts:
        """The facts of a Python blob. Raises ObjectMissing."""
        known = self._facts.get(blob)
        if known is not None:
            return known
        if self._store is not None:
            for data in self._store.load("facts", [blob]).values():
                self._facts[blob] = self._decode_facts(data)
                return self._facts[blob]
        facts = analyse(self.source(blob), self.tree(blob))
        self._facts[blob] = facts
        if self._store is not None:
            self._store.save("facts", blob, self._encode(facts))
        return facts

    def imports(self, blobs: Iterable[BlobId]) -> Mapping[BlobId, tuple[ImportLine, ...]]:
        """The import lines of many blobs at once, by a scan that needs no parser."""
        return self._scanned("imports", blobs, self._imports, scan, self._decode_imports)

    def base_names(self, blobs: Iterable[BlobId]) -> Mapping[BlobId, tuple[str, ...]]:
        """The words in base classes, and names imported under another, of many blobs at once."""
        return self._scanned("bases", blobs, self._bases, base_names, self._decode_bases)

    def _scanned(
        self,
        kind: str,
        blobs: Iterable[BlobId],
        known: dict[BlobId, T],
        read: Callable[[bytes], T],
        decode: Callable[[bytes], T],
    ) -> Mapping[BlobId, T]:
        wanted = list(dict.fromkeys(blobs))
        missing = [blob for blob in wanted if blob not in known]
        if self._store is not None and missing:
            for blob, data in self._store.load(kind, missing).items():
                known[BlobId(blob)] = decode(data)
        for blob in missing:
            if blob not in known:
                known[blob] = read(self._reader.read(blob))
                if self._store is not None:
                    self._store.save(kind, blob, self._encode(known[blob]))
        return {blob: known[blob] for blob in wanted}

    def close(self) -> None:
        """Writes what was learnt. The index stays usable, without its file."""
        if self._store is not None:
            self._store.close()
            self._store = None


class _Store:
    """Rows `kind, version, blob -> bytes`, written in batches. Never raises: a cache that fails is a cache that is empty."""

    def __init__(self, path: Path) -> None:
        self._pending: list[tuple[str, int, str, bytes]] = []
        self._connection = self._open(path)

    @classmethod
    def _open(cls, path: Path) -> sqlite3.Connection | None:
        for attempt in (1, 2):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                return cls._connect(path)
            except sqlite3.OperationalError:
                return None
            except (sqlite3.DatabaseError, OSError):
                if attempt == 1:
                    with contextlib.suppress(OSError):
                        path.unlink()
        return None

    @staticmethod
    def _connect(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_MS / 1000)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS facts (kind TEXT, version INTEGER, blob TEXT, data BLOB, PRIMARY KEY (kind, version, blob))"
                " WITHOUT ROWID"
            )
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def load(self, kind: str, blobs: list[BlobId]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        if self._connection is None:
            return found
        for at in range(0, len(blobs), _BATCH):
            part = blobs[at : at + _BATCH]
            marks = ",".join("?" * len(part))
            query = f"SELECT blob, data FROM facts WHERE kind = ? AND version = ? AND blob IN ({marks})"
            try:
                found.update(self._connection.execute(query, (kind, INDEX_VERSION, *part)).fetchall())
            except sqlite3.DatabaseError:
                return found
        return found

    def save(self, kind: str, blob: BlobId, data: bytes) -> None:
        self._pending.append((kind, INDEX_VERSION, blob, data))
        if len(self._pending) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        rows, self._pending = self._pending, []
        if self._connection is None or not rows:
            return
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR IGNORE INTO facts VALUES (?, ?, ?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.DatabaseError:
            with contextlib.suppress(sqlite3.DatabaseError):
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
