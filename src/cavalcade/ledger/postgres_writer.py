"""What the one writing thread of a PostgreSQL ledger does with a group: lock, place, copy in, commit.

An append is answered after the server has committed it (`synchronous_commit` is never off). The row of `head` is locked from the first
statement of a transaction to its end, so processes take turns: positions become visible in the order they are given, and nobody who
reads up to a position can miss one below it. One notification for each group tells other processes that there is something to read.

A connection that is found broken before anything was placed is made anew at once. One that breaks later fails the group: whether it was
recorded is not known then, and appending the same events again is safe.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import psycopg

from cavalcade.kernel.errors import CavalcadeError
from cavalcade.kernel.ids import OriginId
from cavalcade.ledger.group_commit import Append, Ingest, Outcome
from cavalcade.ledger.postgres_database import Connection, Server, is_outage, queries
from cavalcade.ledger.postgres_group import Counters, Group, Heads

FaultPoint = Callable[[str], None]
FAULT_POINTS = ("begun", "placed", "inserted", "committed", "answered")
"""The steps of a commit, in order. The ledger calls its `fault_point` argument with each name as it gets there."""


class Recorder:
    """Used by one thread."""

    def __init__(self, server: Server, origin: OriginId, fault_point: FaultPoint) -> None:
        self._server = server
        self._origin = origin
        self._fault_point = fault_point
        self._heads = Heads(origin)
        self._connection: Connection | None = None
        self.process_id = 0
        """The server's process behind the connection: who sends this ledger's own notifications."""

    def record(self, works: Sequence[Append | Ingest]) -> list[Outcome]:
        """As `group_commit.Record`."""
        try:
            try:
                return self._commit(works, careful=False)
            except psycopg.errors.UniqueViolation:
                # Somebody repeats an append: once more, looking each id up.
                self._roll_back()
                return self._commit(works, careful=True)
        except psycopg.Error as exc:
            self._roll_back()
            return [self._failure(exc) for _ in works]
        except CavalcadeError as exc:
            # What is recorded already can't be read: the works that came to it are not told from the others.
            self._roll_back()
            return [_copy(exc) for _ in works]

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def _commit(self, works: Sequence[Append | Ingest], *, careful: bool) -> list[Outcome]:
        connection = self._begin()
        self._fault_point("begun")
        group = Group(connection, self._heads, works, careful=careful)
        outcomes = [group.place(work) for work in works]
        self._fault_point("placed")
        if not group.rows:
            connection.execute("ROLLBACK")
            return outcomes
        group.insert()
        self._fault_point("inserted")
        _settle(connection, group.counters)
        self._fault_point("committed")
        group.committed()
        return outcomes

    def _begin(self) -> Connection:
        """With the lock held, and the heads as they are now."""
        reused = self._connection is not None and not self._connection.closed
        try:
            return self._lock()
        except psycopg.Error as exc:
            if not (reused and is_outage(exc)):
                raise
            self.close()
            return self._lock()

    def _lock(self) -> Connection:
        connection = self._connection
        if connection is None or connection.closed:
            connection = self._connection = self._server.connect_writer()
            self.process_id = connection.info.backend_pid
        cursor = connection.execute(queries()["begin"])
        while cursor.nextset():
            pass
        row = cursor.fetchone()
        assert row is not None  # the head and the own origin are made with the schema
        self._heads.catch_up(connection, Counters(*row))
        return connection

    def _roll_back(self) -> None:
        self._heads = Heads(self._origin)
        if self._connection is not None:
            try:
                self._connection.execute("ROLLBACK")
            except psycopg.Error:
                self.close()

    def _failure(self, error: psycopg.Error) -> CavalcadeError:
        """One instance for each caller, because each raises it."""
        failure = self._server.translate(error)
        failure.__cause__ = error
        return failure


def _settle(connection: Connection, after: Counters) -> None:
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(queries()["settle"], after._asdict())


def _copy(error: CavalcadeError) -> CavalcadeError:
    copied = type(error)(error.what, expected=error.expected, hint=error.hint, places=error.places)
    copied.__cause__ = error
    return copied
