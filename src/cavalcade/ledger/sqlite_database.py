"""The database file under a SQLite ledger: connections, named SQL, migrations, and SQLite's errors in our words."""

from __future__ import annotations

import contextlib
import functools
import re
import sqlite3
import time
from collections.abc import Generator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import Busy, CavalcadeError, LedgerDamaged, LedgerError, LedgerUnwritable
from cavalcade.ledger.chain import GENESIS, microseconds

APPLICATION_ID = 0x43415641
"""`CAVA`, in the header of every ledger."""
_MAGIC = b"SQLite format 3\0"
_MODE_PAUSE_S = 0.005
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_SCHEMA)
_UNWRITABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
)


class Migration(NamedTuple):
    number: int
    statements: tuple[str, ...]


@functools.cache
def queries() -> dict[str, str]:
    """The statements of `sql/queries.sql` by name."""
    return named_statements("queries.sql")


def named_statements(file: str) -> dict[str, str]:
    """The statements of a file in `sql` by the names above them."""
    text = _sql().joinpath(file).read_text(encoding="utf-8")
    blocks = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(blocks[::2], blocks[1::2], strict=True)}


@functools.cache
def migrations() -> tuple[Migration, ...]:
    """The numbered files of `sql/migrations`, in order."""
    files = sorted(_sql().joinpath("migrations").iterdir(), key=lambda file: file.name)
    return tuple(Migration(int(file.name[:4]), statements(file.read_text(encoding="utf-8"))) for file in files)


def schema() -> tuple[str, ...]:
    """What the migrations add up to, for people and for the test that proves it."""
    return statements(_sql().joinpath("schema.sql").read_text(encoding="utf-8"))


def statements(script: str) -> tuple[str, ...]:
    """Splits a script; statements end at the end of a line."""
    found: list[str] = []
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement.strip())
            statement = ""
    return tuple(found)


def _sql() -> Traversable:
    return resources.files("cavalcade.ledger").joinpath("sql")


def connect(path: Path, *, busy_timeout_s: float, create: bool = False) -> sqlite3.Connection:
    """A connection any thread may use, one at a time. Transactions are ours alone to begin and end."""
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def read_connection(path: Path, *, busy_timeout_s: float) -> sqlite3.Connection:
    connection = connect(path, busy_timeout_s=busy_timeout_s)
    connection.execute("PRAGMA query_only = ON")
    return connection


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """All that is read inside is of one moment, while others may be writing."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def number(connection: sqlite3.Connection, sql: str, parameters: Sequence[object] = ()) -> int | None:
    """The first column of the first row."""
    row: tuple[int] | None = connection.execute(sql, parameters).fetchone()
    return None if row is None else row[0]


def hex_of(value: object) -> str:
    """Empty for what isn't a stored hash: a damaged file holds anything."""
    return value.hex() if isinstance(value, bytes) else ""


def check_file(path: Path, *, recorded: int) -> None:
    """Refuses, before SQLite may touch anything, what SQLite would take for a new file or for no database.

    `recorded` is the position of the head record beside it, 0 for none. Raises LedgerDamaged, LedgerUnwritable.
    """
    wal = path.with_name(path.name + "-wal")
    with boundary(path):
        try:
            with path.open("rb") as file:
                start = file.read(len(_MAGIC))
        except FileNotFoundError:
            start = b""
        if start and start != _MAGIC:
            raise LedgerDamaged(
                f"{path} is not a ledger: it begins with {start!r}",
                expected="a SQLite database",
                hint="nothing was changed. Put the ledger back from a backup, or name another file",
            )
        # SQLite deletes the log of an empty file: both would be gone.
        if not start and (recorded or (wal.exists() and wal.stat().st_size)):
            raise LedgerDamaged(
                f"{path} is {'empty' if path.exists() else 'missing'}, but what stands beside it says that events were recorded",
                hint="nothing was changed. Put the file back from a backup, or move its -head and -wal files elsewhere to begin anew",
                places=("position 1",),
            )


def prepare(
    connection: sqlite3.Connection,
    path: Path,
    clock: Clock,
    entropy: Entropy,
    steps: Sequence[Migration],
    *,
    busy_timeout_s: float,
) -> None:
    """Brings a new or older file to this schema and sets it to write ahead.

    Writes even when there is nothing to do: what can't be written is refused now, not at the first append.
    Raises LedgerError for a file of a newer program; SQLite's own errors pass.
    """
    newest = steps[-1].number
    version = _known_version(connection, path, newest)
    _write_ahead(connection, path, busy_timeout_s)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster: look again, now that nobody else can write.
        version = _known_version(connection, path, newest)
        if version < newest:
            _migrate(connection, clock, entropy, [step for step in steps if step.number > version])
            connection.execute("COMMIT")
        else:
            # SQLite lets a transaction begin on what it may only read; the first write tells. Rolled back, it leaves no trace.
            connection.execute(f"PRAGMA user_version = {version}")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection, clock: Clock, entropy: Entropy, steps: Sequence[Migration]) -> None:
    for step in steps:
        for statement in step.statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {step.number}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    if connection.execute(queries()["own_head"]).fetchone() is None:
        name = "o" + entropy.bytes(10).hex()
        connection.execute(queries()["insert_origin"], (name, microseconds(clock.now()), bytes.fromhex(GENESIS)))


def _known_version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    version = number(connection, "PRAGMA user_version") or 0
    application = number(connection, "PRAGMA application_id") or 0
    tables = number(connection, "SELECT count(*) FROM sqlite_master") or 0
    if application != APPLICATION_ID and (application or version or tables):
        raise LedgerDamaged(
            f"{path} is a SQLite database, but no ledger (application id {application:#x})",
            expected=f"application id {APPLICATION_ID:#x}",
            hint="nothing was changed. Name another file",
        )
    if version > newest or (application and not version):
        raise LedgerError(
            f"{path} has schema version {version}; this program knows up to {newest}",
            hint="nothing was changed. Open it with the version of Cavalcade that wrote it, or a newer one",
        )
    return version


def _write_ahead(connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    """SQLite doesn't wait for others when the mode changes, so this does."""
    mode = ""
    for patience in range(int(busy_timeout_s / _MODE_PAUSE_S), -1, -1):
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as exc:
            if _code(exc) not in _BUSY or not patience:
                raise
            time.sleep(_MODE_PAUSE_S)
    if mode != "wal":
        raise LedgerUnwritable(
            f"{path} can't be written ahead (journal mode {mode})",
            hint="put the ledger on a local file system; network file systems lack the shared memory it needs",
        )


@contextlib.contextmanager
def boundary(path: Path) -> Generator[None]:
    """Errors of SQLite and of the operating system leave here as those of the ledger."""
    try:
        yield
    except sqlite3.Error as exc:
        raise translate(exc, path) from exc
    except OSError as exc:
        raise LedgerUnwritable(f"{path} can't be used: {exc}", hint=_ROOM) from exc


_ROOM = "make room on the disk, or make the file and its folder writable, and try again: what was acknowledged is safe"


def translate(error: sqlite3.Error, path: Path) -> CavalcadeError:
    code = _code(error)
    if code in _BUSY:
        return Busy(f"another process holds {path}", hint="wait for it to finish, or end it, and try again")
    if code in _UNWRITABLE:
        return LedgerUnwritable(f"{path} can't be used: {error}", hint=_ROOM)
    if code in _DAMAGE:
        return LedgerDamaged(
            f"{path} is damaged: {error}",
            hint="nothing was changed. Keep the file, restore a backup beside it, and compare with `cavalcade verify`",
        )
    return LedgerError(f"{path}: {error}")


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, 0 for an error of the module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
