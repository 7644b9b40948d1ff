"""The database under a PostgreSQL ledger: connections, named SQL, migrations, and PostgreSQL's errors in our words."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Generator, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, LiteralString, NamedTuple, cast
from urllib.parse import quote

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from cavalcade.kernel.clock import Clock
from cavalcade.kernel.entropy import Entropy
from cavalcade.kernel.errors import Busy, CavalcadeError, LedgerDamaged, LedgerError, LedgerUnwritable, UsageError
from cavalcade.ledger.chain import GENESIS, microseconds

Connection = psycopg.Connection[tuple[Any, ...]]

SCHEMA = "cavalcade"
"""The one schema a ledger lives in: a database holds one ledger."""
CHANNEL = "cavalcade_ledger"
_LOCK = 0x43415641
"""`CAVA`, the advisory lock of whoever brings a database to this schema."""
_CONNECT_TIMEOUT_S = 10
_OUTAGE = ("57P01", "57P02", "57P03", "57P05", "25P03")
"""The server is ending, was ended, is not up yet, or ended this connection."""
_BUSY = (errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected, errors.TooManyConnections)
_DAMAGE = (errors.DataCorrupted, errors.IndexCorrupted, errors.UndefinedTable, errors.UndefinedColumn)
_UNWRITABLE = (
    errors.DiskFull,
    errors.OutOfMemory,
    errors.IoError,
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
)

# Plans must be right before anybody has counted the rows: a ledger is always read along an index.
_SESSION = f"""
SET search_path TO {SCHEMA};
SET jit = off;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""


class Migration(NamedTuple):
    number: int
    script: str


@functools.cache
def queries() -> dict[str, LiteralString]:
    """The statements of `sql/postgres/queries.sql` by name."""
    text = _sql().joinpath("queries.sql").read_text(encoding="utf-8")
    blocks = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    # What is read from our own file is as literal as what stands in the code.
    return {name: cast(LiteralString, body.strip()) for name, body in zip(blocks[::2], blocks[1::2], strict=True)}


@functools.cache
def migrations() -> tuple[Migration, ...]:
    """The numbered files of `sql/postgres/migrations`, in order."""
    files = sorted(_sql().joinpath("migrations").iterdir(), key=lambda file: file.name)
    return tuple(Migration(int(file.name[:4]), file.read_text(encoding="utf-8")) for file in files)


def schema() -> str:
    """What the migrations add up to, for people and for the test that proves it."""
    return _sql().joinpath("schema.sql").read_text(encoding="utf-8")


def _sql() -> Traversable:
    return resources.files("cavalcade.ledger").joinpath("sql", "postgres")


class Server:
    """How the database is reached. `label` names it without its password.

    `url` is a PostgreSQL connection URL. Raises UsageError for one that isn't, never repeating it: it may hold a password.
    """

    def __init__(self, url: str, *, busy_timeout_s: float) -> None:
        self._parameters = _parse(url)
        self.label = _label(self._parameters)
        self.busy_timeout_s = busy_timeout_s

    def connect(self) -> Connection:
        """A connection any thread may use, one at a time. Transactions are ours alone to begin and end. Raises psycopg.Error."""
        own: dict[str, Any] = {
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "application_name": "cavalcade",
            **self._parameters,
        }
        connection = psycopg.connect(**own, autocommit=True)
        try:
            connection.execute(_SESSION)
        except BaseException:
            connection.close()
            raise
        return connection

    def connect_writer(self) -> Connection:
        """Waits no longer than `busy_timeout_s` for its turn, and loses it when it stands still for half of that in the middle of one."""
        connection = self.connect()
        wait_ms = max(int(self.busy_timeout_s * 1000), 2)
        try:
            limits = f"SET lock_timeout = {wait_ms}; SET idle_in_transaction_session_timeout = {wait_ms // 2}"
            connection.execute(limits.encode())
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def boundary(self) -> Generator[None]:
        """Errors of PostgreSQL leave here as those of the ledger."""
        try:
            yield
        except psycopg.Error as exc:
            raise self.translate(exc) from exc

    def translate(self, error: psycopg.Error) -> CavalcadeError:
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        if is_outage(error):
            return LedgerUnwritable(
                f"the ledger at {self.label} can't be reached: {said}",
                hint="see that the server runs and lets you in (`cavalcade doctor`), then do it again: what was acknowledged is safe, "
                "and what was not is recorded once",
            )
        if isinstance(error, _BUSY):
            return Busy(
                f"another process holds the ledger at {self.label}",
                hint="wait for it to finish, or end it, and try again",
            )
        if isinstance(error, _UNWRITABLE):
            return LedgerUnwritable(
                f"the ledger at {self.label} can't be written: {said}",
                hint="make room on the server's disk, or grant this user the rights, and try again: what was acknowledged is safe",
            )
        if isinstance(error, _DAMAGE):
            return LedgerDamaged(
                f"the ledger at {self.label} is damaged: {said}",
                hint="nothing was changed. Keep the database, restore a backup beside it, and compare with `cavalcade verify`",
            )
        return LedgerError(f"the ledger at {self.label}: {said}")


def is_outage(error: BaseException | None) -> bool:
    """Whether the server, and not what was asked of it, is the reason."""
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError):
        return False
    if error.sqlstate is None:
        return not isinstance(error, psycopg.InternalError)
    return error.sqlstate in _OUTAGE or error.sqlstate.startswith(("08", "28", "3D"))


def _parse(url: str) -> dict[str, Any]:
    try:
        scheme, _, rest = url.partition("://")
        # libpq would take what follows the first of two for the host, and say it.
        if scheme not in ("postgresql", "postgres") or rest.partition("?")[0].count("@") > 1:
            raise psycopg.ProgrammingError
        return dict(conninfo_to_dict(url))
    except psycopg.Error:
        raise UsageError(
            "the address of the PostgreSQL ledger can't be understood (it is not shown, since it may hold a password)",
            expected="postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded",
            hint="correct CAVALCADE_LEDGER; a password may also come from PGPASSWORD or ~/.pgpass",
        ) from None


def _label(parameters: dict[str, Any]) -> str:
    user = f"{parameters['user']}@" if parameters.get("user") else ""
    host = quote(str(parameters.get("host", "")), safe=",.:[]-/")
    port = f":{parameters['port']}" if parameters.get("port") else ""
    return f"postgresql://{user}{host}{port}/{parameters.get('dbname', '')}"


def hex_of(value: object) -> str:
    """Empty for what isn't a stored hash."""
    return value.hex() if isinstance(value, bytes) else ""


def name_bytes(name: str) -> bytes:
    """As names are stored. What is no text is found nowhere."""
    return name.encode("utf-8", "surrogatepass")


def number(connection: Connection, sql: LiteralString, parameters: Sequence[object] = ()) -> int | None:
    """The first column of the first row."""
    row = connection.execute(sql, parameters).fetchone()
    return None if row is None else row[0]


@contextlib.contextmanager
def snapshot(connection: Connection) -> Generator[None]:
    """Everything read inside is of one moment."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("ROLLBACK")


def prepare(connection: Connection, server: Server, clock: Clock, entropy: Entropy, steps: Sequence[Migration]) -> None:
    """Brings a new or older database to this schema; one process at a time does so.

    Raises LedgerDamaged for a schema of another program, LedgerError for one of a newer program; psycopg's own errors pass.
    """
    newest = steps[-1].number
    if _known_version(connection, server, newest) == newest:
        return
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        # Another process may have been faster: look again, now that nobody else can begin.
        version = _known_version(connection, server, newest)
        if not version:
            connection.execute(
                f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}; "
                "CREATE TABLE migrations (number integer PRIMARY KEY, applied_us bigint NOT NULL)"
            )
        for step in steps:
            if step.number > version:
                connection.execute(step.script.encode())
                connection.execute(
                    "INSERT INTO migrations (number, applied_us) VALUES (%s, %s)",
                    (step.number, microseconds(clock.now())),
                )
        if connection.execute(queries()["own_origin"]).fetchone() is None:
            name = "o" + entropy.bytes(10).hex()
            values = (name.encode(), microseconds(clock.now()), bytes.fromhex(GENESIS))
            connection.execute(queries()["insert_origin"], values)


def _known_version(connection: Connection, server: Server, newest: int) -> int:
    tables = number(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = %s", (SCHEMA,))
    if not tables:
        return 0
    ours = number(
        connection,
        "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename = 'migrations'",
        (SCHEMA,),
    )
    if not ours:
        raise LedgerDamaged(
            f"the schema {SCHEMA} at {server.label} is no ledger: it has tables but not the one of its migrations",
            hint="nothing was changed. Name another database",
        )
    version = number(connection, "SELECT coalesce(max(number), 0) FROM migrations") or 0
    if version > newest or not version:
        raise LedgerError(
            f"the ledger at {server.label} has schema version {version}; this program knows up to {newest}",
            hint="nothing was changed. Open it with the version of Cavalcade that wrote it, or a newer one",
        )
    return version
