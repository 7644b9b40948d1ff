"""What the one writing thread of a SQLite ledger does with a group: begin, place, insert, commit.

Each append and ingest is answered after the commit which holds it is on disk (write-ahead log, `synchronous=FULL`). Positions, versions and
the chain are continued from what the file says inside the immediate transaction; what was read there is kept until `PRAGMA data_version`
shows that another process has written. While somebody follows, the same pragma is looked at every few milliseconds.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from cavalcade.kernel.errors import CavalcadeError
from cavalcade.ledger.followers import Followers
from cavalcade.ledger.group_commit import Append, Ingest, Outcome
from cavalcade.ledger.head_file import HeadFile
from cavalcade.ledger.sqlite_database import number, translate
from cavalcade.ledger.sqlite_group import Group, Heads

POLL_S = 0.003
"""How often a followed ledger looks for other processes' commits: under 1 % of a core, and unnoticed by a person."""

FaultPoint = Callable[[str], None]
FAULT_POINTS = ("begun", "placed", "inserted", "committing", "committed", "headed", "answered")
"""The steps of a commit, in order. The ledger calls its `fault_point` argument with each name as it gets there."""


class Recorder:
    """Used by one thread, which owns the connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        head_file: HeadFile,
        followers: Followers,
        fault_point: FaultPoint,
    ) -> None:
        self._connection = connection
        self._path = path
        self._head_file = head_file
        self._followers = followers
        self._fault_point = fault_point
        self._heads: Heads | None = None
        self._data_version: int | None = None

    def record(self, works: Sequence[Append | Ingest]) -> Sequence[Outcome]:
        """As `group_commit.Record`."""
        try:
            try:
                return self._commit(works, careful=False)
            except sqlite3.IntegrityError:
                # Somebody repeats an append: once more, looking each id up.
                self._roll_back()
                return self._commit(works, careful=True)
        except sqlite3.Error as exc:
            self._roll_back()
            return [_failure(exc, self._path) for _ in works]

    def answered(self) -> None:
        self._fault_point("answered")
        self._followers.wake()

    def poll_s(self) -> float | None:
        return POLL_S if self._followers else None

    def look_around(self) -> None:
        """A failed look is no news: the next append or read meets the same error and reports it."""
        with contextlib.suppress(sqlite3.Error):
            seen = number(self._connection, "PRAGMA data_version")
            if seen != self._data_version:
                self._heads, self._data_version = None, seen
                self._followers.wake()

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        self._head_file.close()

    def _commit(self, works: Sequence[Append | Ingest], *, careful: bool) -> Sequence[Outcome]:
        group = self._begin()
        self._fault_point("begun")
        outcomes = [group.place(work, careful=careful) for work in works]
        self._fault_point("placed")
        if not group.rows:
            self._connection.execute("ROLLBACK")
            return outcomes
        group.insert()
        self._fault_point("inserted")
        self._fault_point("committing")
        self._connection.execute("COMMIT")
        self._fault_point("committed")
        group.committed()
        # The events are durable: a head record that can't be written is only less of a witness.
        with contextlib.suppress(OSError):
            self._head_file.write(group.position, group.last_hash)
        self._fault_point("headed")
        return outcomes

    def _begin(self) -> Group:
        self._connection.execute("BEGIN IMMEDIATE")
        seen = number(self._connection, "PRAGMA data_version")
        if self._heads is None or seen != self._data_version:
            self._heads = Heads(self._connection)
            self._data_version = seen
        return Group(self._connection, self._heads)

    def _roll_back(self) -> None:
        self._heads = None
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _failure(error: sqlite3.Error, path: Path) -> CavalcadeError:
    """One instance for each caller, because each raises it."""
    failure = translate(error, path)
    failure.__cause__ = error
    return failure
