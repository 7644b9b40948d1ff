"""Who drives a run: a lock file each, held by the kernel, so that it goes when its process goes, however that ends.

What is written in the file tells others who it is, and whether nothing of the run is under way there any more.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from pathlib import Path

from cavalcade.kernel.errors import Busy, LedgerUnwritable
from cavalcade.kernel.ids import RunId
from cavalcade.sandbox.ending import Process, identify

_MOST_BYTES = 64
_RESTING = b"at rest"


class Holding:
    """A lock that this process holds."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._write(b"")

    def rest(self) -> None:
        """Tells whoever stops the run that all it had under way here has ended; only clearing up is left."""
        self._write(b" " + _RESTING)

    def _write(self, more: bytes) -> None:
        with suppress(OSError):  # only tells others
            self._file.truncate(0)
            self._file.write(str(os.getpid()).encode() + more)


def only_driver(lock: Path, run: RunId) -> AbstractContextManager[Holding]:
    return alone(lock, f"run {run} is being driven", f"watch it with `cavalcade log {run} --follow`")


@contextmanager
def alone(lock: Path, doing: str, hint: str = "wait until it is done") -> Generator[Holding]:
    """Raises Busy while another process holds `lock`, LedgerUnwritable."""
    with _lock_file(lock) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            said = os.pread(file.fileno(), _MOST_BYTES, 0).split()
            raise Busy(f"{doing} by process {said[0].decode() if said else 'unknown'}", hint=hint) from exc
        yield Holding(file)


class Driver:
    """The process that holds a lock, as others see it."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock

    def process(self) -> Process | None:
        """None when nobody holds it. Who it is follows from the lock itself and the file that it has open, never from a number alone."""
        try:
            with self._lock.open("rb") as file:
                info = os.fstat(file.fileno())
                said = os.pread(file.fileno(), _MOST_BYTES, 0).split()
        except OSError:
            return None
        for pid in _holders(info.st_ino) or [int(word) for word in said[:1] if word.isdigit()]:
            process = identify(pid)
            if process is not None and _has_open(pid, info) and identify(pid) == process:
                return process
        return None

    @property
    def resting(self) -> bool:
        """See `Holding.rest`."""
        try:
            return self._lock.read_bytes().endswith(_RESTING)
        except OSError:
            return False


def _holders(inode: int) -> list[int]:
    """Who holds a lock on a file with this number, on whatever disk. Looking takes no lock, so nobody is kept out by it."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines if "FLOCK" in line and "->" not in line]
    return [int(row[4]) for row in rows if row[5].rpartition(":")[2] == str(inode)]


def _has_open(pid: int, info: os.stat_result) -> bool:
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        with suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), info):
                return True
    return False


def _lock_file(lock: Path) -> FileIO:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("a+b", buffering=0)
    except OSError as exc:
        raise LedgerUnwritable(
            f"{lock} can't be made: {exc.strerror}",
            hint="make room on the disk, or make the folder writable, and try again: what was acknowledged is safe",
        ) from exc
